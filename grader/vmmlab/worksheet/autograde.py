"""Configures nbgrader so that worksheets are graded safely, with each student's own numbers.

In nbgrader_config.py:

    from vmmlab.worksheet.autograde import configure

    c = get_config ()
    configure (c)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from traitlets import Bool, Float, Integer, Unicode

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Sandbox
from vmmlab.worksheet import feedback, formgrader, turns
from vmmlab.worksheet.apart import grade_apart
from vmmlab.worksheet.intake import check_folder
from vmmlab.worksheet.source import language_of
from vmmlab.worksheet.two_kernels import ReleasedCell, Timing

STUB: Final = "# YOUR CODE HERE"
_SOLUTION: Final = b"BEGIN SOLUTION"


def must_be_one(assignment: str, notebooks: Sequence[str]) -> None:
    """Raise UsageError if an assignment has the same worksheet in two languages.

    nbgrader would expect both of each student, and count the one that is missing as 0.

    Args:
        assignment: for example `lab0`.
        notebooks: the names of its notebooks.
    """
    sheets = [name for name in notebooks if name.partition(".")[0] == "worksheet"]
    if len(sheets) > 1:
        raise UsageError(
            msg("{assignment} has the worksheet in several languages.", assignment=assignment),
            expected=msg("one of them: a student hands in one, and would lose the other's points"),
            found=", ".join(sheets),
            next_step=msg(
                "leave one in source/{assignment}, then Generate again; "
                "a class with another language gets a course folder of its own",
                assignment=assignment,
            ),
        )


def _no_solutions_beside(folder: Path) -> None:
    """Raise UsageError if a file beside a worksheet has a solution: only notebooks lose theirs."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".ipynb" or not path.is_file():
            continue
        if _SOLUTION in path.read_bytes():
            raise UsageError(
                msg("{file} has a solution, and nbgrader would release it.", file=path),
                expected=msg("solutions in notebooks only: nbgrader cuts them out of those"),
                next_step=msg("take the file out of source/, then Generate again"),
            )


class NameCohort(NbGraderPreprocessor):  # type: ignore[misc]
    """Writes the name of the class into a worksheet before its release."""

    cohort = Unicode("dev", help="the name of the class").tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Change the call of `worksheet.student`.

        Raises:
            UsageError: the assignment has the worksheet twice, or a solution beside it.
        """
        if path := resources["metadata"].get("path"):  # not in a release, which has all languages
            found = sorted(Path(path).glob("*.ipynb"))
            must_be_one(Path(path).name, [one.stem for one in found])
            _no_solutions_beside(Path(path))
        for cell in nb.cells:
            if cell.cell_type == "code":
                named = f"worksheet.student(os.environ, cohort={self.cohort!r}"
                cell.source = cell.source.replace("worksheet.student(os.environ", named)
        return nb, resources


class RefuseLinks(NbGraderPreprocessor):  # type: ignore[misc]
    """Refuses a submission with symbolic links: nbgrader would follow them.

    They may point to another student's worksheet, or to the solution.
    """

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Check the folder of the submission; the notebook is not changed."""
        check_folder(Path(resources["metadata"]["path"]))
        return nb, resources


class KeepLast(NbGraderPreprocessor):  # type: ignore[misc]
    """Of cells that a student has copied, with their marks, the last one counts, as in nbgrader.

    nbgrader leaves an empty mark in the others, and then refuses the notebook for it.
    """

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Take the mark from all but the last one."""
        seen: set[str] = set()
        for cell in reversed(nb.cells):
            mark = cell.metadata.get("nbgrader")
            name = mark.get("grade_id") if isinstance(mark, dict) else None
            if name in seen:
                del cell.metadata["nbgrader"]
            elif isinstance(name, str):
                seen.add(name)
        return nb, resources


class ExecuteApart(NbGraderPreprocessor):  # type: ignore[misc]
    """Runs a submitted worksheet in two sandboxed kernels; see `vmmlab.worksheet.two_kernels`.

    VMMLAB_STUDENT is the student's id. It comes from nbgrader, which takes it from the folder in
    submitted/; nothing in the submission changes it.
    """

    sandbox_required = Bool(True, help="refuse to run where there is no sandbox").tag(config=True)
    cell_s = Float(30.0, help="seconds that a cell may take").tag(config=True)
    notebook_s = Float(300.0, help="seconds that a student's cells may take together").tag(
        config=True
    )
    memory_mib = Integer(2048, help="address space of each process in MiB").tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Run all code cells and put their outputs into the notebook.

        Raises:
            InfraError: there is no sandbox, or no kernel in it.
        """
        told = resources["nbgrader"]
        Sandbox.choose(require=self.sandbox_required)
        limits = ResourceLimits(file_mib=64, cpu_s=int(self.notebook_s), memory_mib=self.memory_mib)
        environment = {"VMMLAB_STUDENT": told["student"], "NBGRADER_EXECUTION": "autograde"}
        sources = _sources(told["db_url"], told["notebook"], told["assignment"])
        with turns.given_up():
            stops = grade_apart(
                nb,
                sources,
                sandbox_required=self.sandbox_required,
                environment=environment,
                limits=limits,
                timing=Timing(self.cell_s, self.notebook_s),
                language=language_of(one.text for one in sources.values()),
            )
        for stop in stops:
            self.log.warning("%s, %s: %s", told["student"], told["assignment"], stop)
        return nb, resources


def _sources(db_url: str, notebook: str, assignment: str) -> dict[str, ReleasedCell]:
    """Return the code cells as they were released, by id."""
    with Gradebook(db_url) as book:
        found = book.find_notebook(notebook, assignment)
        graded = {cell.name for cell in found.grade_cells}
        return {
            cell.name: ReleasedCell(
                cell.source,
                "answer" if not cell.locked else "test" if cell.name in graded else "given",
            )
            for cell in found.source_cells
            if cell.cell_type == "code"
        }


def configure(config: Any, cohort: str = "dev") -> None:
    """Fill in a course's nbgrader configuration.

    Args:
        config: the result of `get_config ()`.
        cohort: the name of the class. Another name gives all students other numbers; do not change
            it between releasing a worksheet and grading it.
    """
    config.NameCohort.cohort = cohort
    config.GenerateAssignment.preprocessors = [
        NameCohort,
        *GenerateAssignment.preprocessors.default(),
    ]
    config.Autograde.sanitize_preprocessors = [
        RefuseLinks,
        KeepLast,
        *Autograde.sanitize_preprocessors.default(),
    ]
    config.Autograde.autograde_preprocessors = [
        ExecuteApart if one is Execute else one
        for one in Autograde.autograde_preprocessors.default()
    ]
    feedback.hide_tests(config)
    formgrader.install()
    feedback.install()
    # nbgrader's own stub raises, so that a worksheet could not be run from top to bottom.
    config.ClearSolutions.code_stub = {"python": STUB}
