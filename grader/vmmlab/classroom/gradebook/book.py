"""An open gradebook of nbgrader: its students, its paths, its transactions, its rule for late work.

All access goes through `nbgrader.api.Gradebook`. Its methods commit after every step; here they run
inside one outer transaction for each report, so that a report is entered whole or not at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbgrader import api
from nbgrader.preprocessors import AssignLatePenalties
from sqlalchemy.orm import scoped_session, sessionmaker

from vmmlab.course.model import ARCHES


@dataclass(frozen=True, slots=True)
class Lesson:
    """The place for the marks of a lab: an assignment with one notebook.

    It is not the assignment of the worksheet: `nbgrader autograde` deletes from autograded/ what it
    did not make, and gives 0 for each notebook that is not in submitted/.
    """

    lab: str
    arch: str = ARCHES[0]

    @property
    def assignment(self) -> str:
        """nbgrader's name of the assignment, as lab3-checks or lab3-i386-checks."""
        return f"{self.notebook}-checks"

    @property
    def notebook(self) -> str:
        """nbgrader's name of the notebook, as lab3 or lab3-i386."""
        return self.lab if self.arch == ARCHES[0] else f"{self.lab}-{self.arch}"


class Book:
    """An open gradebook. Use as a context manager, from `open_book`."""

    def __init__(self, app: Any, directory: Any, gradebook: api.Gradebook) -> None:
        self._app = app
        self._directory = directory
        self._gradebook = gradebook

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self._gradebook.close()

    @property
    def file_mode(self) -> int:
        """The permissions that nbgrader gives what it writes to autograded/."""
        return 0o664 if self._directory.groupshared else 0o444

    def students(self) -> frozenset[str]:
        """Return the ids of the students that the gradebook knows."""
        with self.transaction() as book:
            return frozenset(student.id for student in book.students)

    def awkward_names(self) -> list[str]:
        """Return the ids of students whose names would shift the columns of `nbgrader export`."""
        with self.transaction() as book:
            return [
                student.id
                for student in book.students
                if any(
                    char in (name or "")
                    for name in (student.first_name, student.last_name, student.email)
                    for char in ',"\r\n'
                )
            ]

    def notebook_path(self, student: str, lesson: Lesson) -> Path:
        """Return where the formgrader looks for the notebook."""
        folder = self._directory.format_path(
            self._directory.autograded_directory, student, lesson.assignment
        )
        return Path(folder) / f"{lesson.notebook}.ipynb"

    def report_path(self, student: str, lesson: Lesson) -> Path:
        """Return where a copy of the report goes; its folder is a submission to the formgrader."""
        folder = self._directory.format_path(
            self._directory.submitted_directory, student, lesson.assignment
        )
        return Path(folder) / f"{lesson.notebook}.json"

    def source_readme(self, lesson: Lesson) -> Path:
        """Return a file of the folder without which the formgrader does not list the assignment."""
        folder = self._directory.format_path(
            self._directory.source_directory, ".", lesson.assignment
        )
        return Path(folder) / "README.md"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[api.Gradebook]:
        """Yield the gradebook; if the block ends with an exception, nothing has changed."""
        book = self._gradebook
        outside = book.db
        try:
            with book.engine.connect() as connection, connection.begin():
                book.db = scoped_session(
                    sessionmaker(bind=connection, join_transaction_mode="rollback_only")
                )
                try:
                    yield book
                finally:
                    book.db.remove()
        finally:
            book.db = outside

    def late_penalty(self, submission: Any, student: str, points: float) -> float | None:
        """Return the points that late work loses by the rule of nbgrader_config.py, or None.

        Args:
            submission: nbgrader's row of the submitted notebook.
            student: the id.
            points: the points without the penalty, and the largest possible penalty.
        """
        rule = AssignLatePenalties(parent=self._app)
        rule.init_plugin()
        late_s = submission.assignment.total_seconds_late
        if late_s <= 0:
            return None
        penalty = rule.plugin_inst.late_submission_penalty(student, points, late_s)
        return None if penalty is None else min(max(0.0, float(penalty)), points)
