"""nbgrader's side: finds the course folder, opens its gradebook, writes one student's marks.

Everything goes through `nbgrader.api.Gradebook`. Its methods commit after every step; here they run
inside one outer transaction a report, so that a report is in the gradebook whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from nbgrader import api
from nbgrader.apps import NbGrader
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import AssignLatePenalties
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import scoped_session, sessionmaker

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.classroom.gradebook.marks import Mark
from vmmlab.classroom.gradebook.notebook import markdown
from vmmlab.classroom.gradebook.students import Entry
from vmmlab.course.model import ARCHES

_SIGNS: Final = ("nbgrader_config.py", "gradebook.db", "source")
_BUSY_MS: Final = 30_000
"""How long to wait for a gradebook that somebody else is writing to."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Where the marks of a lab go: an assignment with one notebook, both made here if need be.

    The assignment is not the worksheet's: `nbgrader autograde` of an assignment deletes what it did
    not make in autograded/, and gives 0 for each notebook that is not in submitted/.
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


@dataclass(slots=True)
class Changes:
    """What one report changed in the gradebook.

    Attributes:
        before: the student's points for this lab until now; None if there was nothing.
        after: the points now, with marks by hand.
        most: the points at most.
        what: each change in a few words.
        unjudged: cells that have no score, neither the grader's nor a person's.
        review: cells whose score by hand stays although the grader's own has changed.
        rescaled: cells of other students that need a look because what they are worth has changed.
    """

    before: float | None = None
    after: float = 0.0
    most: float = 0.0
    what: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    review: list[str] = field(default_factory=list)
    rescaled: set[str] = field(default_factory=set)


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
        """The ids of the students that the gradebook knows."""
        with self.transaction() as book:
            return frozenset(student.id for student in book.students)

    def awkward_names(self) -> list[str]:
        """The ids of the students whose names `nbgrader export` would spill over other columns."""
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
        """Where the formgrader looks for the notebook."""
        folder = self._directory.format_path(
            self._directory.autograded_directory, student, lesson.assignment
        )
        return Path(folder) / f"{lesson.notebook}.ipynb"

    def report_path(self, student: str, lesson: Lesson) -> Path:
        """Where a copy of the report goes; the formgrader counts these folders as submissions."""
        folder = self._directory.format_path(
            self._directory.submitted_directory, student, lesson.assignment
        )
        return Path(folder) / f"{lesson.notebook}.json"

    def source_readme(self, lesson: Lesson) -> Path:
        """A file in the folder without which the formgrader does not list the assignment."""
        folder = self._directory.format_path(
            self._directory.source_directory, ".", lesson.assignment
        )
        return Path(folder) / "README.md"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[api.Gradebook]:
        """The gradebook; what happens to it counts only if the block ends without an exception."""
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

    def put(
        self,
        book: api.Gradebook,
        lesson: Lesson,
        student: Entry,
        marks: Sequence[Mark],
        handed_in: datetime | None,
        drop_removed: bool,
    ) -> Changes:
        """Write one student's marks; what a person entered stays.

        Args:
            book: from `transaction`.
            lesson: where to.
            student: whose; made if the gradebook does not know the id, a name only filled in.
            marks: all marks of the lab.
            handed_in: when, as naive UTC; None: what the gradebook has stays.
            drop_removed: delete cells that are no longer among the marks, with what they hold.

        Raises:
            UsageError: the assignment is not what it should be.
        """
        changes = Changes(most=sum(mark.max for mark in marks))
        _student(book, student, changes)
        _lesson(book, lesson, marks, drop_removed, changes)
        _cells(book, lesson, marks, student.id, changes)
        submission, fresh = _submission(book, lesson, student.id, handed_in, changes)
        changes.before = None if fresh else _points(submission)
        _fill(book, submission)
        _grades(submission, marks, changes)
        _comments(submission, marks, changes)
        changes.after = _points(submission)
        self._penalty(submission, student.id, changes)
        book.db.flush()
        return changes

    def _penalty(self, submission: Any, student: str, changes: Changes) -> None:
        """nbgrader's own rule for late work, with the plugin of nbgrader_config.py."""
        rule = AssignLatePenalties(parent=self._app)
        rule.init_plugin()
        late_s = submission.assignment.total_seconds_late
        penalty = None
        if late_s > 0:
            penalty = rule.plugin_inst.late_submission_penalty(student, changes.after, late_s)
            if penalty is not None:
                penalty = min(max(0.0, float(penalty)), changes.after)
        if submission.late_submission_penalty != penalty:
            changes.what.append(f"late: -{penalty or 0:g}")
            submission.late_submission_penalty = penalty


# --- opening ---------------------------------------------------------------------------------


@contextlib.contextmanager
def open_book(folder: Path, *, copy: bool = False) -> Iterator[Book]:
    """Open the gradebook of an nbgrader course, and make it if there is none.

    Args:
        folder: the course folder, with nbgrader_config.py or gradebook.db.
        copy: work on a copy that is thrown away.

    Raises:
        UsageError: this is no such folder.
        InfraError: the gradebook cannot be made or opened.
    """
    app, directory = _course_folder(folder)
    url = make_url(directory.db_url)
    sqlite = url.get_backend_name() == "sqlite" and url.database
    file = folder.resolve() / str(url.database) if sqlite else None
    with contextlib.ExitStack() as stack:
        if copy:
            if file is None:
                raise UsageError(
                    "a dry run works on a copy, and only an SQLite gradebook can be copied.",
                    found=url.get_backend_name(),
                    next_step="leave --dry-run out",
                )
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmmlab-")))
            file = _copied(file, scratch / "gradebook.db")
        if file is not None:
            if not file.exists():
                _make(file, directory.course_id)
            url = url.set(database=str(file))
        with _explained(str(file or url)):
            gradebook = api.Gradebook(
                url.render_as_string(hide_password=False), directory.course_id
            )
            if file is not None:
                _whole_transactions(gradebook)
            with Book(app, directory, gradebook) as book:
                yield book


def is_course_folder(folder: Path) -> bool:
    """Whether `folder` looks like one of nbgrader's."""
    return any((folder / name).exists() for name in _SIGNS)


def _course_folder(folder: Path) -> tuple[Any, Any]:
    if not is_course_folder(folder):
        raise UsageError(
            f"{folder} is not a course folder of nbgrader.",
            expected=f"{', '.join(_SIGNS[:-1])} or {_SIGNS[-1]} in it",
            next_step="give --nbgrader the folder; nbgrader quickstart makes one",
        )
    app = NbGrader()
    app.load_cwd_config = False
    app.raise_config_file_errors = True  # else it would go on without
    app.log_level = "ERROR"
    initialize(app, [], folder)
    return app, CourseDirectory(parent=app)


def initialize(app: Any, words: list[str], folder: Path) -> None:
    """Let one of nbgrader's applications read the configuration of a course folder.

    Args:
        app: the application.
        words: its command line.
        folder: the course folder.

    Raises:
        UsageError: nbgrader cannot read nbgrader_config.py.
    """
    try:
        app.initialize(words, root=str(folder.resolve()))
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{folder / 'nbgrader_config.py'}: nbgrader cannot read it.",
            found=f"{type(error).__name__}: {error}",
        ) from error
    # root stands in the command, not in the file
    app.config.CourseDirectory.root = str(folder.resolve())


def _make(file: Path, course_id: str) -> None:
    """Make an empty gradebook: whole, or not at all.

    nbgrader calls the bare command `alembic`, which lies beside this very Python.
    """
    scripts = sysconfig.get_path("scripts")
    before = os.environ.get("PATH", "")
    place = os.pathsep.join(part for part in (scripts, before) if part)
    if shutil.which("alembic", path=place) is None:
        raise InfraError(
            "nbgrader cannot make a gradebook: its tool alembic is missing.",
            expected=f"{scripts}/alembic",
            next_step="pip install 'vmmlab[instructor]' into the environment of this vmmlab",
        )
    with tempfile.TemporaryDirectory(prefix=".gradebook-", dir=file.parent) as scratch:
        fresh = Path(scratch) / file.name
        os.environ["PATH"] = place
        try:
            api.Gradebook(f"sqlite:///{fresh}", course_id).close()
        finally:
            os.environ["PATH"] = before
        with contextlib.suppress(FileExistsError):  # somebody else was quicker
            os.link(fresh, file)


def _copied(file: Path, to: Path) -> Path:
    if not file.exists():
        return to
    try:
        with (
            contextlib.closing(sqlite3.connect(file)) as old,
            contextlib.closing(sqlite3.connect(to)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        raise InfraError(f"{file}: the gradebook cannot be copied: {error}.") from error
    return to


def _whole_transactions(gradebook: api.Gradebook) -> None:
    """Let a transaction of SQLite begin with the right to write, as SQLAlchemy's manual shows."""

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    gradebook.db.remove()
    gradebook.engine.dispose()
    event.listen(gradebook.engine, "connect", connected)
    event.listen(gradebook.engine, "begin", begun)


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except api.InvalidEntry as error:
        raise InfraError(f"{place}: the gradebook took no entry: {error}.") from error
    except DBAPIError as error:
        said = str(error.orig)
        locked = "locked" in said
        raise InfraError(
            f"{place}: the gradebook cannot be used: {said}.",
            next_step="somebody is writing to it: run this again"
            if locked
            else "after an update of nbgrader: make a copy, then run nbgrader db upgrade",
        ) from error
    except SQLAlchemyError as error:
        raise InfraError(f"{place}: the gradebook cannot be used: {error}.") from error


# --- one report ------------------------------------------------------------------------------


def _student(book: api.Gradebook, entry: Entry, changes: Changes) -> None:
    known: Mapping[str, str] = {
        "first_name": entry.first_name,
        "last_name": entry.last_name,
        "email": entry.email,
    }
    try:
        student = book.find_student(entry.id)
    except api.MissingEntry:
        book.add_student(entry.id, **{key: value or None for key, value in known.items()})
        changes.what.append("new student")
        return
    for key, value in known.items():
        if value and not getattr(student, key):
            setattr(student, key, value)
            changes.what.append(key.replace("_", " "))


def _lesson(
    book: api.Gradebook,
    lesson: Lesson,
    marks: Sequence[Mark],
    drop_removed: bool,
    changes: Changes,
) -> None:
    try:
        assignment = book.find_assignment(lesson.assignment)
    except api.MissingEntry:
        assignment = book.add_assignment(lesson.assignment)
        changes.what.append("new assignment")
    others = [one.name for one in assignment.notebooks if one.name != lesson.notebook]
    if others:
        raise UsageError(
            f"the assignment {lesson.assignment} has notebooks of somebody else's.",
            expected=f"only the notebook {lesson.notebook}",
            found=", ".join(others),
            next_step="give the worksheets' assignment another name",
        )
    if not assignment.notebooks:
        book.add_notebook(lesson.notebook, lesson.assignment)
    notebook = book.find_notebook(lesson.notebook, lesson.assignment)
    wanted = {mark.cell for mark in marks}
    gone = [cell for cell in notebook.grade_cells if cell.name not in wanted]
    if not gone:
        return
    names = ", ".join(cell.name for cell in gone)
    if not drop_removed:
        raise UsageError(
            f"the gradebook has marks for checks that {lesson.notebook} no longer has.",
            found=names,
            next_step="--drop-removed deletes them, with the marks of all students",
        )
    for cell in (*gone, *(c for c in notebook.solution_cells if c.name not in wanted)):
        for row in (*(cell.grades or ()), *(cell.comments or ())):
            book.db.delete(row)
        book.db.delete(cell)
    book.db.flush()
    book.db.expire_all()
    changes.what.append(f"dropped {names}")


def _cells(
    book: api.Gradebook,
    lesson: Lesson,
    marks: Sequence[Mark],
    student: str,
    changes: Changes,
) -> None:
    """A grade cell for each mark, worth what course.yml says; flags what was scored otherwise."""
    notebook = book.find_notebook(lesson.notebook, lesson.assignment)
    there = {cell.name: cell for cell in notebook.grade_cells}
    fresh = []
    touched = []
    for mark in marks:
        cell = there.get(mark.cell)
        if cell is None:
            fresh.append(mark)
        elif cell.max_score != mark.max:
            changes.what.append(f"{mark.cell} is worth {mark.max:g} instead of {cell.max_score:g}")
            cell.max_score = mark.max
            touched.append(cell)
    for mark in fresh:
        where = (mark.cell, lesson.notebook, lesson.assignment)
        book.add_grade_cell(*where, max_score=mark.max, cell_type="code")
        book.add_solution_cell(*where)
    if fresh and there:
        changes.what.append(f"new: {', '.join(mark.cell for mark in fresh)}")
    book.db.flush()
    if not there or not (fresh or touched):
        return
    for submission in book.notebook_submissions(lesson.notebook, lesson.assignment):
        if submission.student.id == student:
            continue
        _fill(book, submission)
        changed = {cell.id for cell in touched} | {
            book.find_grade_cell(mark.cell, lesson.notebook, lesson.assignment).id for mark in fresh
        }
        for grade in submission.grades:
            if grade.cell_id in changed:
                grade.needs_manual_grade = True
        changes.rescaled.add(submission.student.id)


def _submission(
    book: api.Gradebook,
    lesson: Lesson,
    student: str,
    handed_in: datetime | None,
    changes: Changes,
) -> tuple[Any, bool]:
    """The student's notebook in the gradebook, and whether it is new."""
    given: dict[str, Any] = {} if handed_in is None else {"timestamp": handed_in}
    where = (lesson.notebook, lesson.assignment, student)
    try:
        submission = book.find_submission(lesson.assignment, student)
    except api.MissingEntry:
        with book.db.no_autoflush:  # else SQLAlchemy warns of half-made rows
            book.add_submission(lesson.assignment, student, **given)
        changes.what.append("new submission")
        return book.find_submission_notebook(*where), True
    if handed_in is not None and submission.timestamp != handed_in:
        submission.timestamp = handed_in
        changes.what.append(f"handed in {handed_in:%Y-%m-%d %H:%M} UTC")
    with contextlib.suppress(api.MissingEntry):
        return book.find_submission_notebook(*where), False
    notebook = book.find_notebook(lesson.notebook, lesson.assignment)
    book.db.add(api.SubmittedNotebook(notebook_id=notebook.id, assignment_id=submission.id))
    book.db.flush()
    return book.find_submission_notebook(*where), True


def _fill(book: api.Gradebook, submission: Any) -> None:
    """A grade and a comment for each cell: nbgrader makes them only with the submission."""
    graded = {grade.cell_id for grade in submission.grades}
    for cell in submission.notebook.grade_cells:
        if cell.id not in graded:
            book.db.add(api.Grade(cell_id=cell.id, notebook_id=submission.id))
    commented = {comment.cell_id for comment in submission.comments}
    for cell in submission.notebook.solution_cells:
        if cell.id not in commented:
            book.db.add(api.Comment(cell_id=cell.id, notebook_id=submission.id))
    book.db.flush()
    book.db.expire(submission)


def _grades(submission: Any, marks: Sequence[Mark], changes: Changes) -> None:
    """The grader's scores. A score by hand stays; it is to be looked at again if they differ now.

    That is what `nbgrader autograde` does too.
    """
    grades = {grade.name: grade for grade in submission.grades}
    for mark in marks:
        grade = grades[mark.cell]
        by_hand = grade.manual_score is not None
        changed = grade.auto_score != mark.score
        if changed:
            changes.what.append(f"{mark.cell}: {_shown(grade.auto_score)} → {_shown(mark.score)}")
            grade.auto_score = mark.score
        look = (changed or grade.needs_manual_grade) if by_hand else mark.score is None
        if grade.needs_manual_grade != look:
            grade.needs_manual_grade = look
            if not changed:
                changes.what.append(f"{mark.cell}: {'needs' if look else 'needs no'} look")
        if by_hand and look:
            changes.review.append(mark.cell)
        elif mark.score is None and not by_hand:
            changes.unjudged.append(mark.cell)


def _comments(submission: Any, marks: Sequence[Mark], changes: Changes) -> None:
    """The grader's comments; a person's comment is another field, and wins."""
    comments = {comment.name: comment for comment in submission.comments}
    for mark in marks:
        said = markdown(mark.comment) or None
        if comments[mark.cell].auto_comment != said:
            comments[mark.cell].auto_comment = said
            changes.what.append(f"{mark.cell}: comment")


def _points(submission: Any) -> float:
    """What nbgrader counts: a score by hand before the grader's, then extra credit."""
    total = 0.0
    for grade in submission.grades:
        score = grade.auto_score if grade.manual_score is None else grade.manual_score
        total += 0.0 if score is None else score + (grade.extra_credit or 0.0)
    return total


def _shown(score: float | None) -> str:
    return "?" if score is None else f"{score:g}"
