"""Puts the report of a lab, as a page, into the feedback of the lab's checks.

nbgrader makes a page of the notebook with the marks and comments. Beside it the student gets what
`vmmlab` itself says of the submission, without hidden checks and secret seeds. The feedback of a
worksheet has no hidden tests.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from nbgrader.api import Gradebook
from nbgrader.converters import GenerateFeedback
from nbgrader.preprocessors import ClearHiddenTests
from nbgrader.utils import is_grade, is_solution

from vmmlab.base.errors import UsageError
from vmmlab.base.files import write_atomically
from vmmlab.base.message import Text, msg
from vmmlab.i18n.translate import Reader, choose
from vmmlab.worksheet.formgrader import CHECKS, is_of_checks

PAGE: Final = "report.html"
"""The page, in feedback/STUDENT/lab3-checks."""
_MARK: Final = "vmmlab_reader"


class HideTests(ClearHiddenTests):  # type: ignore[misc]
    """Cuts the hidden tests out of the feedback; nbgrader would show them.

    A student's cell stays as it is, whatever words are in it.
    """

    enforce_metadata = False

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
        """Change a test cell of the instructor's: a traceback would show the tests, too."""
        if not is_grade(cell) or is_solution(cell):
            return cell, resources
        before = cell.source
        cell, resources = super().preprocess_cell(cell, resources, index)
        if cell.source != before:
            for output in cell.get("outputs", ()):
                if output.output_type == "error":
                    output.traceback = [f"{output.ename}: {output.evalue}"]
        return cell, resources


LabReader = Callable[[str], Reader]
"""From a lab to the reader's language, with the texts of the lab."""


def hide_tests(config: Any) -> None:
    """Let nbgrader's configuration cut hidden tests out of the feedback."""
    config.GenerateFeedback.preprocessors = [HideTests, *GenerateFeedback.preprocessors.default()]


def install(reader: LabReader | None = None) -> None:
    """Let nbgrader's feedback carry the report of the lab; only the first call changes nbgrader.

    Args:
        reader: the language of the pages; None: that of the environment.
    """
    plain = GenerateFeedback.init_assignment
    if hasattr(plain, _MARK):
        if reader is not None:
            setattr(plain, _MARK, reader)
        return

    @functools.wraps(plain)
    def method(self: Any, assignment_id: str, student_id: str) -> None:
        plain(self, assignment_id, student_id)
        if is_of_checks(assignment_id):
            say = getattr(method, _MARK)(assignment_id.partition("-")[0])
            if text := page_of(self.coursedir, assignment_id, student_id, say):
                folder = Path(self._format_dest(assignment_id, student_id))
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / PAGE, text.encode("utf-8", "backslashreplace"))

    setattr(method, _MARK, reader or _reader_here)
    GenerateFeedback.init_assignment = method


def page_of(directory: Any, assignment: str, student: str, say: Reader) -> str:
    """Return the page for a student; "" if there is no report.

    Args:
        directory: nbgrader's CourseDirectory.
        assignment: for example lab3-checks.
        student: the id.
        say: the language, with the texts of the lab.
    """
    from vmmlab.report.html import page  # late: jinja2
    from vmmlab.report.model import read_json
    from vmmlab.report.opened import opened
    from vmmlab.report.runrecord import RunRecord

    name = f"{assignment.removesuffix(CHECKS)}.json"
    folder = directory.format_path(directory.submitted_directory, student, assignment)
    try:
        shown = opened(read_json(Path(folder) / name))
    except UsageError:
        return ""
    notes = (*shown.notes, _points(directory, assignment, student))
    return page(
        RunRecord.model_validate({"report": shown.model_copy(update={"notes": notes})}), say
    )


def _points(directory: Any, assignment: str, student: str) -> Text:
    """Say what the gradebook has: a person may have given other points than the report."""
    with Gradebook(directory.db_url, directory.course_id) as book:
        found = book.find_submission(assignment, student)
        penalty = float(found.late_submission_penalty or 0)
        return msg(
            "in the gradebook: {points:g}/{max:g} points, with the hidden checks, the marks that a "
            "person has given, and the penalty for late work",
            points=float(found.score) - penalty,
            max=float(found.max_score),
        )


def _reader_here(lab: str) -> Reader:
    """Return the language of the environment; without a course the lab's texts stay in English."""
    from vmmlab.course.find import find_course

    say = Reader(choose(None, os.environ))
    try:
        return say.of(find_course(Path.cwd()) / "labs" / lab)
    except UsageError:
        return say
