"""Writes one student's marks into an open gradebook. What a person entered stays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nbgrader import api

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Message, Text, msg
from vmmlab.classroom.gradebook.book import Book, Lesson
from vmmlab.classroom.gradebook.marks import Mark
from vmmlab.classroom.gradebook.notebook import markdown
from vmmlab.classroom.lateness import Lateness
from vmmlab.classroom.roster import Entry


@dataclass(slots=True)
class Changes:
    """What one report changed in the gradebook.

    Attributes:
        before: the student's points for this lab until now; None if there was nothing.
        after: the points now, with scores by hand.
        most: the maximum.
        what: each change in a few words.
        unjudged: cells that have no score, neither the grader's nor a person's.
        review: cells whose score by hand stays although the grader's own has changed.
        rescaled: other students whose scores need a review because a maximum has changed.
    """

    before: float | None = None
    after: float = 0.0
    most: float = 0.0
    what: list[Text] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    review: list[str] = field(default_factory=list)
    rescaled: set[str] = field(default_factory=set)


def write_marks(
    book: Book,
    inside: api.Gradebook,
    lesson: Lesson,
    student: Entry,
    marks: Sequence[Mark],
    handed_in: datetime | None,
    drop_removed: bool,
    late: Lateness | None = None,
) -> Changes:
    """Write one student's marks; what a person entered stays.

    Args:
        book: the open gradebook.
        inside: from `book.transaction`.
        lesson: the assignment and notebook to write to.
        student: made if the gradebook does not know the id; of a known one, missing names are
            filled in.
        marks: all marks of the lab.
        handed_in: the time of handing in, as naive UTC; None leaves what the gradebook has.
        drop_removed: delete cells that are no longer among the marks, with what they hold.
        late: how late it is by course.yml; None or unknown: nbgrader's own rule counts.

    Raises:
        UsageError: the assignment has other notebooks, or marks of checks that are gone.
    """
    changes = Changes(most=sum(mark.max for mark in marks))
    _student(inside, student, changes)
    _lesson(inside, lesson, marks, drop_removed, changes)
    _cells(inside, lesson, marks, student.id, changes)
    submission, fresh = _submission(inside, lesson, student.id, handed_in, changes)
    changes.before = None if fresh else _points(submission)
    _fill(inside, submission)
    _grades(submission, marks, changes)
    _comments(submission, marks, changes)
    changes.after = _points(submission)
    penalty = book.late_penalty(submission, student.id, changes.after)
    if late is not None and late.status != "unknown":
        penalty = late.off(changes.after, changes.most) or None
    _penalty(submission, penalty, changes)
    inside.db.flush()
    return changes


def add_students(inside: api.Gradebook, roster: Iterable[Entry]) -> tuple[str, ...]:
    """Add the students whom the gradebook does not know; return their ids.

    Without such a row, a student who has handed in nothing would be missing in every table.
    """
    known = {student.id for student in inside.students}
    new = [entry for entry in roster if entry.id not in known]
    for entry in new:
        _student(inside, entry, Changes())
    inside.db.flush()
    return tuple(entry.id for entry in new)


def _student(book: api.Gradebook, entry: Entry, changes: Changes) -> None:
    known: Mapping[str, tuple[Message, str]] = {
        "first_name": (msg("first name"), entry.first_name),
        "last_name": (msg("last name"), entry.last_name),
        "email": (msg("email"), entry.email),
    }
    try:
        student = book.find_student(entry.id)
    except api.MissingEntry:
        book.add_student(entry.id, **{key: value or None for key, (_, value) in known.items()})
        changes.what.append(msg("new student"))
        return
    for key, (title, value) in known.items():
        if value and not getattr(student, key):
            setattr(student, key, value)
            changes.what.append(title)


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
        changes.what.append(msg("new assignment"))
    others = [one.name for one in assignment.notebooks if one.name != lesson.notebook]
    if others:
        raise UsageError(
            msg(
                "the assignment {assignment} has notebooks that are not worksheets of this lab.",
                assignment=lesson.assignment,
            ),
            expected=msg("only the notebook {notebook}", notebook=lesson.notebook),
            found=", ".join(others),
            next_step=msg("give the worksheets' assignment another name"),
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
            msg(
                "the gradebook has points for checks that {notebook} no longer has.",
                notebook=lesson.notebook,
            ),
            found=names,
            next_step=msg("--drop-removed deletes them, with the points of all students"),
        )
    for cell in (*gone, *(c for c in notebook.solution_cells if c.name not in wanted)):
        for row in (*(cell.grades or ()), *(cell.comments or ())):
            book.db.delete(row)
        book.db.delete(cell)
    book.db.flush()
    book.db.expire_all()
    changes.what.append(msg("dropped {names}", names=names))


def _cells(
    book: api.Gradebook,
    lesson: Lesson,
    marks: Sequence[Mark],
    student: str,
    changes: Changes,
) -> None:
    """Make or adjust the grade cell of each mark; flag scores by an old maximum for review."""
    notebook = book.find_notebook(lesson.notebook, lesson.assignment)
    there = {cell.name: cell for cell in notebook.grade_cells}
    fresh = []
    touched = []
    for mark in marks:
        cell = there.get(mark.cell)
        if cell is None:
            fresh.append(mark)
        elif cell.max_score != mark.max:
            changes.what.append(
                msg(
                    "{cell} is worth {max:g} instead of {max_score:g}",
                    cell=mark.cell,
                    max=mark.max,
                    max_score=cell.max_score,
                )
            )
            cell.max_score = mark.max
            touched.append(cell)
    for mark in fresh:
        where = (mark.cell, lesson.notebook, lesson.assignment)
        book.add_grade_cell(*where, max_score=mark.max, cell_type="code")
        book.add_solution_cell(*where)
    if fresh and there:
        changes.what.append(msg("new: {fresh}", fresh=", ".join(mark.cell for mark in fresh)))
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
    """Return the student's notebook in the gradebook, and whether it is new."""
    given: dict[str, Any] = {} if handed_in is None else {"timestamp": handed_in}
    where = (lesson.notebook, lesson.assignment, student)
    try:
        submission = book.find_submission(lesson.assignment, student)
    except api.MissingEntry:
        with book.db.no_autoflush:  # SQLAlchemy would warn about incomplete rows
            book.add_submission(lesson.assignment, student, **given)
        changes.what.append(msg("new submission"))
        return book.find_submission_notebook(*where), True
    if handed_in is not None and submission.timestamp != handed_in:
        submission.timestamp = handed_in
        changes.what.append(msg("handed in {time} UTC", time=f"{handed_in:%Y-%m-%d %H:%M}"))
    with contextlib.suppress(api.MissingEntry):
        return book.find_submission_notebook(*where), False
    notebook = book.find_notebook(lesson.notebook, lesson.assignment)
    book.db.add(api.SubmittedNotebook(notebook_id=notebook.id, assignment_id=submission.id))
    book.db.flush()
    return book.find_submission_notebook(*where), True


def _fill(book: api.Gradebook, submission: Any) -> None:
    """Make the missing grades and comments: nbgrader makes them only with the submission."""
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
    """Enter the grader's scores. A score by hand stays, and is flagged for review if they differ.

    `nbgrader autograde` does the same.
    """
    grades = {grade.name: grade for grade in submission.grades}
    for mark in marks:
        grade = grades[mark.cell]
        by_hand = grade.manual_score is not None
        changed = grade.auto_score != mark.score
        if changed:
            changes.what.append(
                msg(
                    "{cell}: {before} → {after}",
                    cell=mark.cell,
                    before=_shown(grade.auto_score),
                    after=_shown(mark.score),
                )
            )
            grade.auto_score = mark.score
        look = (changed or grade.needs_manual_grade) if by_hand else mark.score is None
        if grade.needs_manual_grade != look:
            grade.needs_manual_grade = look
            if not changed:
                changes.what.append(
                    msg("{cell}: must be graded by hand", cell=mark.cell)
                    if look
                    else msg("{cell}: need not be graded by hand", cell=mark.cell)
                )
        if by_hand and look:
            changes.review.append(mark.cell)
        elif mark.score is None and not by_hand:
            changes.unjudged.append(mark.cell)


def _comments(submission: Any, marks: Sequence[Mark], changes: Changes) -> None:
    """Enter the grader's comments. A person's comment is another field, and takes precedence."""
    comments = {comment.name: comment for comment in submission.comments}
    for mark in marks:
        said = markdown(mark.comment) or None
        if comments[mark.cell].auto_comment != said:
            comments[mark.cell].auto_comment = said
            changes.what.append(msg("{cell}: comment", cell=mark.cell))


def _penalty(submission: Any, penalty: float | None, changes: Changes) -> None:
    if submission.late_submission_penalty != penalty:
        changes.what.append(msg("late: -{penalty:g}", penalty=penalty or 0))
        submission.late_submission_penalty = penalty


def _points(submission: Any) -> float:
    """Return what nbgrader counts: a score by hand before the grader's, then extra credit."""
    total = 0.0
    for grade in submission.grades:
        score = grade.auto_score if grade.manual_score is None else grade.manual_score
        total += 0.0 if score is None else score + (grade.extra_credit or 0.0)
    return total


def _shown(score: float | None) -> str:
    return "?" if score is None else f"{score:g}"
