"""The worksheets of a release: without solutions, by nbgrader's own steps."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vmmlab.base.message import Text, msg
from vmmlab.course.model import Course

_NBGRADER_AT_LEAST: Final = "pip install 'vmmlab[instructor]'"


def worksheets(course: Course, made: Path, cohorts: Sequence[str]) -> Iterator[Text]:
    """Write the students' worksheets into a release, and yield notes.

    Args:
        course: the instructor's course.
        made: the release.
        cohorts: those that the release is for.
    """
    everything = sorted(course.labs_dir.glob("lab*/worksheet*.ipynb"))
    sources = [one for one in everything if (made / "labs" / one.parent.name).is_dir()]
    if not sources:
        return
    if len(cohorts) > 1:
        yield msg(
            "no worksheets: their numbers depend on the cohort, and this release is for several"
        )
        return
    try:
        strip = _stripper(cohorts[0])
    except ImportError as error:
        yield msg(
            "no worksheets: nbgrader is not available ({error}); {nbgrader_at_least}",
            error=str(error),
            nbgrader_at_least=_NBGRADER_AT_LEAST,
        )
        return
    for source in sources:
        target = made / "labs" / source.parent.name / source.name
        target.write_text(strip(source), encoding="utf-8")


def _stripper(cohort: str) -> Any:
    """Return the function that makes a student's worksheet: nbgrader's own steps, in its order."""
    from nbgrader import preprocessors as steps
    from traitlets.config import Config

    from vmmlab.worksheet.autograde import configure

    nbformat: Any = importlib.import_module("nbformat")
    config = Config()
    configure(config, cohort)
    # All steps of `nbgrader generate_assignment` that need neither a gradebook nor a header file.
    wanted = [
        one
        for one in config.GenerateAssignment.preprocessors
        if one not in (steps.IncludeHeaderFooter, steps.InstantiateTests, steps.SaveCells)
    ]

    def strip(source: Path) -> str:
        notebook = nbformat.read(source, as_version=nbformat.NO_CONVERT)
        resources: Mapping[str, Any] = {
            "nbgrader": {"notebook": source.stem, "assignment": source.parent.name},
            "metadata": {},
        }
        for one in wanted:
            notebook, resources = one(config=config).preprocess(notebook, resources)
        return f"{nbformat.writes(notebook).rstrip()}\n"

    return strip
