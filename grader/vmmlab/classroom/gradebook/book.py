"""An open gradebook of nbgrader: its students, its paths, its transactions, its rule for late work.

The methods of `nbgrader.api.Gradebook` commit after every step; here they run inside one outer
transaction.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from nbgrader import api
from nbgrader.preprocessors import AssignLatePenalties
from sqlalchemy import Connection, select
from sqlalchemy.orm import scoped_session, sessionmaker

from vmmlab.classroom.gradebook.lesson import Lesson

QUOTING: Final = "QuotedCsv"
"""The class of `export.py` that `vmmlab gradebook init` configures for `nbgrader export`."""


class Book:
    """An open gradebook. Use as a context manager, from `open_book`.

    Args:
        app: nbgrader's application, configured for the course folder.
        directory: its `CourseDirectory`.
        gradebook: nbgrader's.
        dry: a connection in a transaction that is undone at the end; None: what is done stays.
    """

    def __init__(
        self,
        app: Any,
        directory: Any,
        gradebook: api.Gradebook,
        dry: Connection | None = None,
    ) -> None:
        self._app = app
        self._directory = directory
        self._gradebook = gradebook
        self._rule: Any = None
        self._dry = dry

    @property
    def course_id(self) -> str:
        """nbgrader's id of the course."""
        return str(self._gradebook.course_id)

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
        with self.connection() as connection:
            return frozenset(connection.scalars(select(api.Student.id)))

    def awkward_names(self) -> list[str]:
        """Return the ids of students whose names would shift the columns of `nbgrader export`.

        Empty if nbgrader_config.py names our exporter, which quotes names.
        """
        if str(self._app.config.ExportApp.get("plugin_class", "")).endswith(f".{QUOTING}"):
            return []
        row = api.Student
        with self.connection() as connection:
            everybody = connection.execute(
                select(row.id, row.first_name, row.last_name, row.email)
            ).all()
        return [
            key
            for key, *names in everybody
            if any(char in (name or "") for name in names for char in ',"\r\n')
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
    def connection(self) -> Iterator[Connection]:
        """Yield a connection; if the block ends with an exception, nothing has changed."""
        if self._dry is not None:
            with self._dry.begin_nested():
                yield self._dry
            return
        with self._gradebook.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[api.Gradebook]:
        """Yield the gradebook; if the block ends with an exception, nothing has changed."""
        book = self._gradebook
        outside = book.db
        try:
            with self.connection() as connection:
                book.db = scoped_session(
                    sessionmaker(bind=connection, join_transaction_mode="rollback_only")
                )
                try:
                    yield book
                finally:
                    book.db.remove()
        finally:
            book.db = outside

    def late_penalty(self, student: str, points: float, late_s: float) -> float | None:
        """Return the points that late work loses by the rule of nbgrader_config.py, or None.

        Args:
            student: the id.
            points: the points without the penalty, and the largest possible penalty.
            late_s: how late it is, in seconds.
        """
        if late_s <= 0:
            return None
        if self._rule is None:
            self._rule = AssignLatePenalties(parent=self._app)
            self._rule.init_plugin()
        penalty = self._rule.plugin_inst.late_submission_penalty(student, points, late_s)
        return None if penalty is None else min(max(0.0, float(penalty)), points)
