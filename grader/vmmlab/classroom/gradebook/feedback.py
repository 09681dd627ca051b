"""Makes the feedback of a class: nbgrader's pages, and for the checks of a lab its report.

nbgrader itself makes pages of submissions that still need a mark, and shows the missing mark as 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nbgrader.api import MissingEntry
from nbgrader.apps import GenerateFeedbackApp
from nbgrader.converters import GenerateFeedback
from nbgrader.converters.base import NbGraderException

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.classroom.gradebook.book import Book
from vmmlab.classroom.gradebook.folder import initialize
from vmmlab.classroom.gradebook.opening import open_book
from vmmlab.classroom.gradebook.quiet import quiet, reason
from vmmlab.worksheet import feedback

_QUIET: Final = 50  # CRITICAL: the result has the errors


@dataclass(frozen=True, slots=True)
class Fed:
    """The feedback of one submission.

    Attributes:
        student: the id.
        assignment: for example lab3 or lab3-checks.
        files: what is in its folder now, by name.
        open: how many marks are missing; then nothing is made.
        problem: why nothing could be made; "" if something was.
    """

    student: str
    assignment: str
    files: tuple[str, ...] = ()
    open: int = 0
    problem: str = ""


def make(
    folder: Path,
    assignments: Sequence[str] = (),
    student: str | None = None,
    reader: feedback.LabReader | None = None,
) -> Iterator[Fed]:
    """Make the feedback of what has been graded; yield each as it is made.

    Args:
        folder: nbgrader's course folder.
        assignments: which; empty: all.
        student: only this one; None: everybody.
        reader: the language of the reports' pages.

    Raises:
        UsageError: this is no course folder, or nothing of what was named has been graded.
        InfraError: the gradebook cannot be used.
    """
    with open_book(folder) as book:
        wanted = [
            (name, who, missing)
            for name, who, missing in _graded(book, assignments)
            if student in (None, who)
        ]
    if not wanted:
        named = ", ".join(assignments) or msg("any assignment")
        raise UsageError(
            msg("nothing of {assignments} has been graded.", assignments=named),
            found=student or "",
            next_step=msg(
                "vmmlab gradebook sync enters labs, vmmlab gradebook autograde worksheets"
            ),
        )
    feedback.install(reader)
    app = GenerateFeedbackApp()
    app.load_cwd_config = False
    app.log_level = _QUIET
    initialize(app, [f"--Application.log_level={_QUIET}"], folder)
    feedback.hide_tests(app.config)
    app.coursedir.root = str(folder.resolve())
    for name, who, missing in wanted:
        yield Fed(who, name, open=missing) if missing else _made(app, name, who)


def _graded(book: Book, assignments: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Yield assignment, student, and the number of missing marks of each graded submission."""
    with book.transaction() as inside:
        for name in assignments:
            try:
                inside.find_assignment(name)
            except MissingEntry:
                known = ", ".join(one.name for one in inside.assignments)
                raise UsageError(
                    msg("the gradebook has no assignment {assignment}.", assignment=name),
                    expected=known,
                ) from None
        for assignment in inside.assignments:
            if assignments and assignment.name not in assignments:
                continue
            for one in sorted(assignment.submissions, key=lambda one: str(one.student_id)):
                marks = [grade for sheet in one.notebooks for grade in sheet.grades]
                yield assignment.name, one.student_id, sum(m.needs_manual_grade for m in marks)


def _made(app: Any, assignment: str, student: str) -> Fed:
    directory = app.coursedir
    directory.assignment_id, directory.student_id = assignment, student
    with quiet(app) as said:
        converter = GenerateFeedback(coursedir=directory, parent=app)
        converter.force = True
        try:
            converter.start()
        except NbGraderException as error:
            return Fed(student, assignment, problem=reason(error, said))
    folder = directory.format_path(directory.feedback_directory, student, assignment)
    files = sorted(one.name for one in Path(folder).glob("*.html"))
    return Fed(student, assignment, tuple(files))
