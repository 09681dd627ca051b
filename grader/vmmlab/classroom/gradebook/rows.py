"""The rows of nbgrader's database that hold the scores of one assignment of checks.

They are read and written for many students at once, because nbgrader's API needs some ten queries
for each score. The tables are those of `nbgrader.api`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from nbgrader import api
from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from vmmlab.classroom.gradebook.lesson import Lesson

_ASSIGNMENT: Final[Table] = api.Assignment.__table__
_NOTEBOOK: Final[Table] = api.Notebook.__table__
_CELL: Final[Table] = api.BaseCell.__table__
_GRADE_CELL: Final[Table] = api.GradeCell.__table__
_SOLUTION_CELL: Final[Table] = api.SolutionCell.__table__
_STUDENT: Final[Table] = api.Student.__table__
_SUBMISSION: Final[Table] = api.SubmittedAssignment.__table__
_SHEET: Final[Table] = api.SubmittedNotebook.__table__
_GRADE: Final[Table] = api.Grade.__table__
_COMMENT: Final[Table] = api.Comment.__table__
_GRADED, _COMMENTED = "GradeCell", "SolutionCell"


def new_id() -> str:
    """Return an id for a row, as nbgrader makes them."""
    return uuid.uuid4().hex


@dataclass(slots=True)
class Score:
    """A row of grades; `fresh`: it is not in the database yet."""

    id: str
    auto: float | None = None
    manual: float | None = None
    extra: float | None = None
    look: bool = True
    fresh: bool = True
    dirty: bool = False


@dataclass(slots=True)
class Remark:
    """A row of comments; `fresh`: it is not in the database yet."""

    id: str
    auto: str | None = None
    fresh: bool = True
    dirty: bool = False


@dataclass(slots=True)
class Handed:
    """What a student has handed in: the rows of the submission and its notebook.

    Attributes:
        student: the id.
        submission: the id of the row of the submission.
        sheet: the id of the row of its notebook.
        timestamp: when it was handed in, as naive UTC.
        extension: later than the assignment is due.
        penalty: the points that are taken off.
        scores: by the name of the cell.
        remarks: by the name of the cell.
        fresh: the submission is new.
        fresh_sheet: its notebook is new.
        dirty: the time or the penalty has changed.
    """

    student: str
    submission: str = field(default_factory=new_id)
    sheet: str = field(default_factory=new_id)
    timestamp: datetime | None = None
    extension: timedelta | None = None
    penalty: float | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    remarks: dict[str, Remark] = field(default_factory=dict)
    fresh: bool = True
    fresh_sheet: bool = True
    dirty: bool = False


@dataclass(slots=True)
class Cell:
    """A grade cell, with the solution cell that takes its comments."""

    name: str
    max: float
    grade: str = ""
    solution: str = ""


class Rows:
    """An assignment with one notebook, its cells, and what students have handed in.

    Args:
        connection: in a transaction of its own.
        lesson: the assignment.
        course: nbgrader's id of the course.
    """

    def __init__(self, connection: Connection, lesson: Lesson, course: str) -> None:
        self._on = connection
        self.lesson = lesson
        found = connection.execute(
            select(_ASSIGNMENT.c.id, _ASSIGNMENT.c.duedate).where(
                _ASSIGNMENT.c.name == lesson.assignment
            )
        ).first()
        self.fresh = found is None
        self.due: datetime | None = found[1] if found else None
        self._assignment: str = found[0] if found else new_id()
        self._course = course
        sheets = connection.execute(
            select(_NOTEBOOK.c.name, _NOTEBOOK.c.id).where(
                _NOTEBOOK.c.assignment_id == self._assignment
            )
        ).all()
        self.others = [name for name, _ in sheets if name != lesson.notebook]
        self._fresh_notebook = not sheets
        self._notebook: str = sheets[0][1] if sheets else new_id()
        self.cells = self._read_cells()

    def make(self) -> None:
        """Make the assignment and its notebook if they are not there."""
        if self.fresh:
            row = {
                "id": self._assignment,
                "name": self.lesson.assignment,
                "course_id": self._course,
            }
            self._on.execute(insert(_ASSIGNMENT), row)
        if self._fresh_notebook:
            row = {
                "id": self._notebook,
                "name": self.lesson.notebook,
                "assignment_id": self._assignment,
            }
            self._on.execute(insert(_NOTEBOOK), row)

    def _read_cells(self) -> dict[str, Cell]:
        joined = _CELL.outerjoin(_GRADE_CELL, _GRADE_CELL.c.id == _CELL.c.id)
        query = select(_CELL.c.name, _CELL.c.type, _CELL.c.id, _GRADE_CELL.c.max_score)
        found: dict[str, Cell] = {}
        for name, kind, key, most in self._on.execute(
            query.select_from(joined).where(_CELL.c.notebook_id == self._notebook)
        ):
            cell = found.setdefault(name, Cell(name, 0.0))
            if kind == _GRADED:
                cell.grade, cell.max = key, most
            elif kind == _COMMENTED:
                cell.solution = key
        return found

    def add_cells(self, cells: Iterable[tuple[str, float]]) -> None:
        """Add cells that are not there yet.

        Args:
            cells: names and maxima.
        """
        new = [Cell(name, most, new_id(), new_id()) for name, most in cells]
        base = [
            {"id": key, "name": one.name, "notebook_id": self._notebook, "type": kind}
            for one in new
            for key, kind in ((one.grade, _GRADED), (one.solution, _COMMENTED))
        ]
        graded = [{"id": one.grade, "max_score": one.max, "cell_type": "code"} for one in new]
        self._insert(_CELL, base)
        self._insert(_GRADE_CELL, graded)
        self._insert(_SOLUTION_CELL, [{"id": one.solution} for one in new])
        self.cells |= {one.name: one for one in new}

    def rescale(self, name: str, most: float) -> None:
        """Change the maximum of a cell."""
        cell = self.cells[name]
        cell.max = most
        self._on.execute(
            update(_GRADE_CELL).where(_GRADE_CELL.c.id == cell.grade).values(max_score=most)
        )

    def drop(self, names: Collection[str]) -> None:
        """Delete cells with the scores and comments of all students."""
        keys = [
            key
            for name in names
            for key in (self.cells[name].grade, self.cells[name].solution)
            if key
        ]
        for table in (_GRADE, _COMMENT):
            self._on.execute(delete(table).where(table.c.cell_id.in_(keys)))
        for table in (_GRADE_CELL, _SOLUTION_CELL, _CELL):
            self._on.execute(delete(table).where(table.c.id.in_(keys)))
        for name in names:
            del self.cells[name]

    def look_again(self, names: Collection[str], but: str) -> frozenset[str]:
        """Flag the scores in some cells for review, for all students who have handed in but one.

        Returns:
            The ids of these students.
        """
        joined = _SHEET.join(_SUBMISSION, _SUBMISSION.c.id == _SHEET.c.assignment_id)
        found = self._on.execute(
            select(_SHEET.c.id, _SUBMISSION.c.student_id)
            .select_from(joined)
            .where(_SHEET.c.notebook_id == self._notebook, _SUBMISSION.c.student_id != but)
        ).all()
        sheets = [key for key, _ in found]
        grades = [self.cells[name].grade for name in names]
        for part in _parts(sheets):
            self._on.execute(
                update(_GRADE)
                .where(_GRADE.c.cell_id.in_(grades), _GRADE.c.notebook_id.in_(part))
                .values(needs_manual_grade=True)
            )
        # A new cell has no rows yet; nbgrader makes them only with a submission.
        there = {
            (sheet, cell)
            for table in (_GRADE, _COMMENT)
            for part in _parts(sheets)
            for sheet, cell in self._on.execute(
                select(table.c.notebook_id, table.c.cell_id).where(table.c.notebook_id.in_(part))
            )
        }
        for table, keys in (
            (_GRADE, grades),
            (_COMMENT, [self.cells[name].solution for name in names]),
        ):
            more = {"needs_manual_grade": True} if table is _GRADE else {}
            new = [
                {"id": new_id(), "notebook_id": sheet, "cell_id": key, **more}
                for sheet in sheets
                for key in keys
                if key and (sheet, key) not in there
            ]
            self._insert(table, new)
        return frozenset(student for _, student in found)

    def handed_in(self, students: Collection[str]) -> dict[str, Handed]:
        """Return what some students have handed in, by their ids; whoever has not is missing."""
        joined = _SUBMISSION.outerjoin(
            _SHEET,
            (_SHEET.c.assignment_id == _SUBMISSION.c.id) & (_SHEET.c.notebook_id == self._notebook),
        )
        query = (
            select(
                _SUBMISSION.c.student_id,
                _SUBMISSION.c.id,
                _SHEET.c.id,
                _SUBMISSION.c.timestamp,
                _SUBMISSION.c.extension,
                _SHEET.c.late_submission_penalty,
            )
            .select_from(joined)
            .where(
                _SUBMISSION.c.assignment_id == self._assignment,
                _SUBMISSION.c.student_id.in_(students),
            )
        )
        found: dict[str, Handed] = {}
        for student, key, sheet, timestamp, extension, penalty in self._on.execute(query):
            one = Handed(student, key, fresh=False, timestamp=timestamp, extension=extension)
            if sheet is not None:
                one.sheet, one.fresh_sheet, one.penalty = sheet, False, penalty
            found[student] = one
        self._read_scores({one.sheet: one for one in found.values() if not one.fresh_sheet})
        return found

    def _read_scores(self, sheets: Mapping[str, Handed]) -> None:
        graded = {cell.grade: cell.name for cell in self.cells.values()}
        commented = {cell.solution: cell.name for cell in self.cells.values()}
        grade, comment = _GRADE.c, _COMMENT.c
        query = select(
            grade.notebook_id, grade.cell_id, grade.id, grade.auto_score, grade.manual_score,
            grade.extra_credit, grade.needs_manual_grade,
        ).where(grade.notebook_id.in_(sheets))  # fmt: skip
        for sheet, cell, key, auto, manual, extra, look in self._on.execute(query):
            if cell in graded:
                score = Score(key, auto, manual, extra, look, fresh=False)
                sheets[sheet].scores[graded[cell]] = score
        said = select(comment.notebook_id, comment.cell_id, comment.id, comment.auto_comment)
        for sheet, cell, key, auto in self._on.execute(said.where(comment.notebook_id.in_(sheets))):
            if cell in commented:
                sheets[sheet].remarks[commented[cell]] = Remark(key, auto, fresh=False)

    def save(self, handed: Iterable[Handed]) -> None:
        """Write what is new or has changed of some submissions."""
        handed = list(handed)
        self._insert(
            _SUBMISSION,
            [
                {
                    "id": one.submission,
                    "assignment_id": self._assignment,
                    "student_id": one.student,
                    "timestamp": one.timestamp,
                }
                for one in handed
                if one.fresh
            ],
        )
        self._insert(
            _SHEET,
            [
                {
                    "id": one.sheet,
                    "assignment_id": one.submission,
                    "notebook_id": self._notebook,
                    "late_submission_penalty": one.penalty,
                }
                for one in handed
                if one.fresh_sheet
            ],
        )
        for one in handed:
            if one.dirty and not one.fresh:
                self._on.execute(
                    update(_SUBMISSION)
                    .where(_SUBMISSION.c.id == one.submission)
                    .values(timestamp=one.timestamp)
                )
            if one.dirty and not one.fresh_sheet:
                self._on.execute(
                    update(_SHEET)
                    .where(_SHEET.c.id == one.sheet)
                    .values(late_submission_penalty=one.penalty)
                )
        self._save_scores(handed)

    def _save_scores(self, handed: Sequence[Handed]) -> None:
        scores = [(one.sheet, name, score) for one in handed for name, score in one.scores.items()]
        remarks = [(one.sheet, name, said) for one in handed for name, said in one.remarks.items()]
        self._insert(
            _GRADE,
            [
                {
                    "id": score.id,
                    "notebook_id": sheet,
                    "cell_id": self.cells[name].grade,
                    "auto_score": score.auto,
                    "needs_manual_grade": score.look,
                }
                for sheet, name, score in scores
                if score.fresh
            ],
        )
        self._insert(
            _COMMENT,
            [
                {
                    "id": said.id,
                    "notebook_id": sheet,
                    "cell_id": self.cells[name].solution,
                    "auto_comment": said.auto,
                }
                for sheet, name, said in remarks
                if said.fresh and self.cells[name].solution
            ],
        )
        changed = [one for _, _, one in scores if one.dirty and not one.fresh]
        if changed:
            self._on.execute(
                update(_GRADE)
                .where(_GRADE.c.id == bindparam("key"))
                .values(auto_score=bindparam("auto"), needs_manual_grade=bindparam("look")),
                [{"key": one.id, "auto": one.auto, "look": one.look} for one in changed],
            )
        told = [said for _, _, said in remarks if said.dirty and not said.fresh]
        if told:
            self._on.execute(
                update(_COMMENT)
                .where(_COMMENT.c.id == bindparam("key"))
                .values(auto_comment=bindparam("said")),
                [{"key": said.id, "said": said.auto} for said in told],
            )

    def _insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._on.execute(insert(table), rows)


@dataclass(frozen=True, slots=True)
class Person:
    """A row of students; what is not known is ""."""

    id: str
    first_name: str
    last_name: str
    email: str


def read_students(connection: Connection, ids: Collection[str]) -> dict[str, Person]:
    """Return the rows of some students by id; whom the gradebook does not know is missing."""
    row = _STUDENT.c
    query = select(row.id, row.first_name, row.last_name, row.email)
    return {
        key: Person(key, first or "", last or "", email or "")
        for part in _parts(list(ids))
        for key, first, last, email in connection.execute(query.where(row.id.in_(part)))
    }


def save_students(connection: Connection, new: Sequence[Person], changed: Sequence[Person]) -> None:
    """Add students, and write the names and addresses of others."""

    def values(one: Person) -> dict[str, str | None]:
        return {
            "first_name": one.first_name or None,
            "last_name": one.last_name or None,
            "email": one.email or None,
        }

    if new:
        connection.execute(insert(_STUDENT), [{"id": one.id, **values(one)} for one in new])
    for one in changed:
        connection.execute(update(_STUDENT).where(_STUDENT.c.id == one.id).values(**values(one)))


_IN_MOST: Final = 500
"""So many values an SQL statement has in a list; SQLite's own limit is some 32,000."""


def _parts(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[at : at + _IN_MOST] for at in range(0, len(values), _IN_MOST))
