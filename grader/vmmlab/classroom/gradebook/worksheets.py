"""Grades the worksheets of a class: nbgrader's autograde, with students' code in a sandbox.

nbgrader goes through the submissions; `vmmlab.worksheet.autograde` runs the notebooks. This module
combines the two, and reports a line for each student instead of nbgrader's log.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nbformat
from nbgrader.api import Gradebook, InvalidEntry, MissingEntry
from nbgrader.apps import AutogradeApp
from nbgrader.converters import Autograde
from nbgrader.converters.base import NbGraderException
from sqlalchemy.engine import make_url

from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.base.message import EMPTY, Text, msg
from vmmlab.base.text import clean, clean_line
from vmmlab.classroom.gradebook.folder import initialize, is_course_folder
from vmmlab.classroom.gradebook.quiet import quiet
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader, error_text
from vmmlab.worksheet.autograde import ExecuteApart, must_be_one
from vmmlab.worksheet.formgrader import instead_for_checks, is_of_checks, next_for_checks
from vmmlab.worksheet.handedin import check_sheets
from vmmlab.worksheet.intake import check_folder
from vmmlab.worksheet.kernel import shown, why_stopped

_ENGLISH: Final = Reader()
_SHOWN: Final = 200
_QUIET: Final = 50  # CRITICAL: the result has the errors


@dataclass(frozen=True, slots=True)
class Graded:
    """The result of grading one student's worksheet.

    Attributes:
        student: the id.
        points: those given automatically; None if it could not be graded.
        most: their maximum.
        by_hand: the maximum of the points that a person still has to give.
        stopped: a text for each cell that was stopped.
        before: it was graded before, and not again.
        problem: why it could not be graded; "" if it could.
        expected, found, next_step: as for `VmmlabError`, if there is a problem.
        exit_code: 0; 2 if the submission cannot be used; 3 if the grader failed.
    """

    student: str
    points: float | None = None
    most: float = 0.0
    by_hand: float = 0.0
    stopped: tuple[Text, ...] = ()
    before: bool = False
    problem: Text = EMPTY
    exit_code: int = 0
    expected: Text = EMPTY
    found: Text = EMPTY
    next_step: Text = EMPTY


def grade(
    folder: Path,
    assignment: str,
    *,
    student: str | None = None,
    again: bool = False,
    sandbox_required: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Graded]:
    """Grade the worksheets that were handed in, one student after the other.

    Args:
        folder: nbgrader's course folder.
        assignment: for example `lab3`.
        student: the only student to grade; None for all.
        again: grade worksheets again that are graded already.
        sandbox_required: refuse to grade without a sandbox.
        tell: called with the id of each student before the grading.

    Raises:
        UsageError: this is no course folder, it does not use `configure`, or there is nothing to
            grade.
        InfraError: there is no sandbox.
    """
    app = _ready(folder, assignment, student, again, sandbox_required)
    converter = _Recording(coursedir=app.coursedir, parent=app)
    converter.tell = tell
    try:
        with warnings.catch_warnings(), quiet():
            # nbgrader's use of its database, and what nbformat says of each cell of a student.
            warnings.simplefilter("ignore")
            converter.start()
    except NbGraderException as error:
        if not converter.seen:
            raise UsageError(
                msg("no student has submitted {assignment}.", assignment=assignment),
                expected=msg(
                    "submitted/{value}/{assignment}/worksheet.ipynb",
                    value=student or "STUDENT",
                    assignment=assignment,
                ),
            ) from error
    return [_graded(app, assignment, who, problem) for who, problem in converter.seen.items()]


def check(folder: Path, assignment: str, *, sandbox_required: bool = True) -> None:
    """Raise what `grade` would raise before it grades anything; the arguments are the same."""
    _ready(folder, assignment, None, False, sandbox_required)


def _ready(
    folder: Path, assignment: str, student: str | None, again: bool, sandbox_required: bool
) -> Any:
    """Return nbgrader's application, unless something is in the way of grading."""
    if is_of_checks(assignment):
        raise UsageError(instead_for_checks(assignment), next_step=next_for_checks(assignment))
    Sandbox.choose(require=sandbox_required)
    app = _app(folder, assignment, student, again, sandbox_required)
    _look_at(app, folder, assignment)
    return app


def lines(
    lab: str, graded: Sequence[Graded], say: Reader = _ENGLISH, width: int = 0
) -> Iterator[str]:
    """Yield the result for a terminal: a line for each worksheet, and its problems below.

    Args:
        lab: the lab.
        graded: the results.
        say: the reader's language.
        width: of the column of ids; it is as wide as the longest one at least.
    """
    width = max([width, *(len(one.student) for one in graded)])
    for one in graded:
        if one.problem:
            first, *rest = clean(_explained(one, say)).split("\n")
            said = say(msg("not graded: {first}", first=first)) + "".join(
                f"\n    {line.strip()}" for line in rest
            )
        elif one.before:
            said = say(msg("already graded; --force grades it again"))
        else:
            said = say(msg("{points:g}/{most:g} points", points=one.points or 0, most=one.most))
            if one.by_hand:
                said += say.label(", ") + say(
                    msg("{by_hand:g} more to be given by hand", by_hand=one.by_hand)
                )
        yield f"{clean_line(one.student):{width}}  {lab}  {said}"
        for stop in () if one.before else one.stopped:
            yield f"    {clean_line(say(stop))}"


def _explained(one: Graded, say: Reader) -> str:
    error = VmmlabError(
        one.problem, expected=one.expected, found=one.found, next_step=one.next_step
    )
    return error_text(error, say)


class _Recording(Autograde):  # type: ignore[misc]
    """nbgrader's autograde, which records why a submission could not be graded."""

    tell: Callable[[str], None]

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.seen: dict[str, Exception | bool | None] = {}

    def init_destination(self, assignment_id: str, student_id: str) -> bool:
        wanted = bool(super().init_destination(assignment_id, student_id))
        self.seen[student_id] = None if wanted else False
        return wanted

    def init_assignment(self, assignment_id: str, student_id: str) -> None:
        self.tell(student_id)
        try:
            # nbgrader copies what it finds: a link to /dev/zero would never end
            place = Path(self._format_source(assignment_id, student_id))
            check_folder(place)
            check_sheets(place)
            super().init_assignment(assignment_id, student_id)
        except Exception as error:
            self.seen[student_id] = error
            raise

    def convert_single_notebook(self, notebook_filename: str) -> None:
        try:
            super().convert_single_notebook(notebook_filename)
        except Exception as error:
            who = Path(notebook_filename).parent.parent.name
            self.seen[who] = error
            raise


def _app(
    folder: Path, assignment: str, student: str | None, again: bool, sandbox_required: bool
) -> Any:
    if not is_course_folder(folder):
        raise UsageError(
            msg("{folder} is not a course folder of nbgrader.", folder=folder),
            next_step=msg("name that folder with --nbgrader; vmmlab gradebook init makes one"),
        )
    words = [assignment, f"--Application.log_level={_QUIET}"]
    words += [f"--student={student}"] if student else []
    words += ["--force"] if again else []
    app = AutogradeApp()
    app.load_cwd_config = False
    app.log_level = _QUIET
    initialize(app, words, folder)
    app.config.ExecuteApart.sandbox_required = sandbox_required
    app.coursedir.root = str(folder.resolve())
    app.coursedir.assignment_id = assignment
    return app


def _look_at(app: Any, folder: Path, assignment: str) -> None:
    if ExecuteApart not in app.config.Autograde.get("autograde_preprocessors", ()):
        raise UsageError(
            msg(
                "{folder} would run students' code without a sandbox.",
                folder=folder / "nbgrader_config.py",
            ),
            expected=msg("configure(c) from vmmlab.worksheet.autograde"),
            next_step=msg("see Worksheets in the instructor's guide"),
        )
    root = folder.resolve()
    for path in shown():
        if root.is_relative_to(path):
            raise UsageError(
                msg(
                    "{folder} is in {path}, which every kernel may read.",
                    folder=folder,
                    path=path,
                ),
                next_step=msg("move the course folder out of the Python environment"),
            )
    url = make_url(app.coursedir.db_url)
    sqlite = url.get_backend_name() == "sqlite"
    missing = UsageError(
        msg("the gradebook has no assignment {assignment}.", assignment=assignment),
        next_step=msg(
            "run `nbgrader generate_assignment {assignment}` first", assignment=assignment
        ),
    )
    if sqlite and not (root / str(url.database)).is_file():
        raise missing
    with Gradebook(app.coursedir.db_url, app.coursedir.course_id) as book:
        try:
            found = book.find_assignment(assignment)
        except MissingEntry:
            raise missing from None
        must_be_one(assignment, [one.name for one in found.notebooks])


def _graded(app: Any, assignment: str, student: str, problem: Exception | bool | None) -> Graded:
    if isinstance(problem, VmmlabError):
        return Graded(
            student,
            problem=problem.message,
            exit_code=problem.exit_code,
            expected=problem.expected,
            found=problem.found,
            next_step=problem.next_step,
        )
    if isinstance(problem, Exception):
        unusable = type(problem).__module__.startswith(("nbformat", "nbgrader", "jsonschema"))
        unusable = unusable and not isinstance(problem, InvalidEntry)  # the database fails
        said = clean_line(" ".join(str(problem).strip().splitlines()[:1]), _SHOWN)
        text = f"{type(problem).__name__}: {said}"  # of a library, in English
        if "No notebooks found" in text:  # of those that the assignment has; one is there
            return Graded(
                student,
                problem=msg("the worksheet is in another language than the assignment."),
                exit_code=2,
                next_step=msg("a class with another language gets a course folder of its own"),
            )
        if unusable:
            return Graded(
                student,
                problem=msg("the worksheet is no notebook that can be read."),
                exit_code=2,
                found=text,
                next_step=msg("ask the student for the notebook itself, as Jupyter saves it"),
            )
        return Graded(student, problem=text, exit_code=3)
    points = most = by_hand = 0.0
    with Gradebook(app.coursedir.db_url, app.coursedir.course_id) as book:
        submission = book.find_submission(assignment, student)
        for one in (grade for sheet in submission.notebooks for grade in sheet.grades):
            if one.auto_score is None:
                by_hand += one.max_score
            else:
                points, most = points + one.auto_score, most + one.max_score
    folder = Path(
        app.coursedir.format_path(app.coursedir.autograded_directory, student, assignment)
    )
    stopped = tuple(_stopped(folder))
    return Graded(student, points, most, by_hand, stopped, before=problem is False)


def _stopped(folder: Path) -> list[Text]:
    read: Any = nbformat.read
    found: list[Text] = []
    for path in sorted(folder.glob("*.ipynb")):
        number = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cells = read(path, as_version=4).cells
        for cell in cells:
            number += cell.cell_type == "code"
            for output in cell.get("outputs", ()):
                if why := why_stopped(output):
                    name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
                    place = name or msg("code cell {number}", number=number)
                    found.append(msg("{cell}: {why}", cell=place, why=why))
    return found
