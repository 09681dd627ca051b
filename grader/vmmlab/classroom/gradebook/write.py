"""Writes the marks of some students into an open gradebook. What a person entered stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Message, Text, msg
from vmmlab.classroom.gradebook.book import Book
from vmmlab.classroom.gradebook.lesson import Lesson
from vmmlab.classroom.gradebook.marks import Mark
from vmmlab.classroom.gradebook.notebook import markdown
from vmmlab.classroom.gradebook.rows import (
    Handed,
    Person,
    Remark,
    Rows,
    Score,
    new_id,
    read_students,
    save_students,
)
from vmmlab.classroom.lateness import Lateness
from vmmlab.classroom.roster import Entry, person


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


@dataclass(frozen=True, slots=True)
class Entered:
    """What is to be entered for one student.

    Attributes:
        student: made if the gradebook does not know the id; of a known one, missing names are
            filled in.
        marks: all marks of the lab.
        handed_in: the time of handing in, as naive UTC; None leaves what the gradebook has.
        late: how late it is by course.yml; None or unknown: nbgrader's own rule counts.
    """

    student: Entry
    marks: Sequence[Mark]
    handed_in: datetime | None = None
    late: Lateness | None = None


def write_marks(
    book: Book,
    inside: Connection,
    lesson: Lesson,
    entered: Sequence[Entered],
    drop_removed: bool,
) -> list[Changes]:
    """Write the marks of some students, of whom none comes twice; what a person entered stays.

    Args:
        book: the open gradebook.
        inside: from `book.connection`.
        lesson: the assignment and notebook to write to.
        entered: what; all of it has marks in the same cells.
        drop_removed: delete cells that are no longer among the marks, with what they hold.

    Returns:
        What has changed, in the order of `entered`.

    Raises:
        UsageError: the assignment has other notebooks, or marks of checks that are gone.
    """
    rows = Rows(inside, lesson, book.course_id)
    changes = [Changes(most=sum(mark.max for mark in one.marks)) for one in entered]
    first = changes[0]
    _must_be_ours(rows)
    gone = [name for name in rows.cells if name not in {mark.cell for mark in entered[0].marks}]
    if gone and not drop_removed:
        raise UsageError(
            msg(
                "the gradebook has points for checks that {notebook} no longer has.",
                notebook=lesson.notebook,
            ),
            found=", ".join(gone),
            next_step=msg("--drop-removed deletes them, with the points of all students"),
        )
    people = zip(entered, changes, strict=True)
    _students(inside, [(one.student, change) for one, change in people])
    if rows.fresh:
        first.what.append(msg("new assignment"))
    rows.make()
    if gone:
        rows.drop(gone)
        first.what.append(msg("dropped {names}", names=", ".join(gone)))
    _cells(rows, entered[0], first)
    known = rows.handed_in([one.student.id for one in entered])
    handed = []
    for one, change in zip(entered, changes, strict=True):
        submission = known.get(one.student.id) or Handed(one.student.id)
        _enter(book, rows, submission, one, change)
        handed.append(submission)
    rows.save(handed)
    return changes


def add_students(inside: Connection, roster: Iterable[Entry]) -> tuple[str, ...]:
    """Add the students whom the gradebook does not know; return their ids.

    Without such a row, a student who has handed in nothing would be missing in every table.
    """
    everybody = list(roster)
    known = read_students(inside, [entry.id for entry in everybody])
    new = [entry for entry in everybody if entry.id not in known]
    save_students(inside, [_person(entry) for entry in new], [])
    return tuple(entry.id for entry in new)


def _person(entry: Entry) -> Person:
    return Person(entry.id, *person(entry), entry.email)


def _students(inside: Connection, entries: Sequence[tuple[Entry, Changes]]) -> None:
    titles: Mapping[str, Message] = {
        "first_name": msg("first name"),
        "last_name": msg("last name"),
        "email": msg("email"),
    }
    known = read_students(inside, [entry.id for entry, _ in entries])
    new, changed = [], []
    for entry, changes in entries:
        row, told = known.get(entry.id), _person(entry)
        if row is None:
            new.append(told)
            changes.what.append(msg("new student"))
            continue
        if row.first_name or row.last_name:  # a half of a name goes with its own other half only
            told = Person(entry.id, entry.first_name, entry.last_name, entry.email)
        blank = {
            key: getattr(told, key)
            for key in titles
            if getattr(told, key) and not getattr(row, key)
        }
        if blank:
            changed.append(replace(row, **blank))
            changes.what += [titles[key] for key in blank]
    save_students(inside, new, changed)


def _must_be_ours(rows: Rows) -> None:
    """Raise UsageError if the assignment has a notebook that `sync` has not made."""
    if rows.others:
        raise UsageError(
            msg(
                "the assignment {assignment} has notebooks that are not worksheets of this lab.",
                assignment=rows.lesson.assignment,
            ),
            expected=msg("only the notebook {notebook}", notebook=rows.lesson.notebook),
            found=", ".join(rows.others),
            next_step=msg("give the worksheets' assignment another name"),
        )


def _cells(rows: Rows, one: Entered, changes: Changes) -> None:
    """Make or adjust the grade cell of each mark; flag scores by an old maximum for review."""
    new = not rows.cells
    fresh = [mark for mark in one.marks if mark.cell not in rows.cells]
    other = [
        mark
        for mark in one.marks
        if mark.cell in rows.cells and rows.cells[mark.cell].max != mark.max
    ]
    for mark in other:
        changes.what.append(
            msg(
                "{cell} is worth {max:g} instead of {max_score:g}",
                cell=mark.cell,
                max=mark.max,
                max_score=rows.cells[mark.cell].max,
            )
        )
        rows.rescale(mark.cell, mark.max)
    rows.add_cells((mark.cell, mark.max) for mark in fresh)
    if fresh and not new:
        changes.what.append(msg("new: {fresh}", fresh=", ".join(mark.cell for mark in fresh)))
    if not new and (fresh or other):
        names = [mark.cell for mark in (*other, *fresh)]
        changes.rescaled |= rows.look_again(names, one.student.id)


def _enter(book: Book, rows: Rows, handed: Handed, one: Entered, changes: Changes) -> None:
    """Put marks, comments and penalty into what a student has handed in."""
    if handed.fresh:
        changes.what.append(msg("new submission"))
        handed.timestamp = one.handed_in
    elif one.handed_in is not None and handed.timestamp != one.handed_in:
        handed.timestamp, handed.dirty = one.handed_in, True
        changes.what.append(msg("handed in {time} UTC", time=f"{one.handed_in:%Y-%m-%d %H:%M}"))
    changes.before = None if handed.fresh_sheet else _points(handed)
    for name in rows.cells:
        handed.scores.setdefault(name, Score(new_id()))
        handed.remarks.setdefault(name, Remark(new_id()))
    for mark in one.marks:
        _score(handed.scores[mark.cell], mark, changes)
    for mark in one.marks:
        _remark(handed.remarks[mark.cell], mark, changes)
    changes.after = _points(handed)
    if one.late is not None and one.late.status != "unknown":
        penalty = one.late.off(changes.after, changes.most) or None
    else:
        penalty = book.late_penalty(one.student.id, changes.after, _late_s(rows, handed))
    if handed.penalty != penalty:
        changes.what.append(msg("late: -{penalty:g}", penalty=penalty or 0))
        handed.penalty, handed.dirty = penalty, True


def _late_s(rows: Rows, handed: Handed) -> float:
    """Return how late a submission is by the assignment's date and the student's extension."""
    if rows.due is None or handed.timestamp is None:
        return 0.0
    due = rows.due if handed.extension is None else rows.due + handed.extension
    return max(0.0, (handed.timestamp - due).total_seconds())


def _score(score: Score, mark: Mark, changes: Changes) -> None:
    """Enter the grader's score. A score by hand stays, and is flagged for review if they differ.

    `nbgrader autograde` does the same.
    """
    by_hand = score.manual is not None
    changed = score.auto != mark.score
    if changed:
        changes.what.append(
            msg(
                "{cell}: {before} → {after}",
                cell=mark.cell,
                before=_shown(score.auto),
                after=_shown(mark.score),
            )
        )
        score.auto, score.dirty = mark.score, True
    look = (changed or score.look) if by_hand else mark.score is None
    if score.look != look:
        score.look, score.dirty = look, True
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


def _remark(remark: Remark, mark: Mark, changes: Changes) -> None:
    """Enter the grader's comment. A person's comment is another field, and takes precedence."""
    said = markdown(mark.comment) or None
    if remark.auto != said:
        remark.auto, remark.dirty = said, True
        changes.what.append(msg("{cell}: comment", cell=mark.cell))


def _points(handed: Handed) -> float:
    """Return what nbgrader counts: a score by hand before the grader's, then extra credit."""
    total = 0.0
    for score in handed.scores.values():
        points = score.auto if score.manual is None else score.manual
        total += 0.0 if points is None else points + (score.extra or 0.0)
    return total


def _shown(score: float | None) -> str:
    return "?" if score is None else f"{score:g}"
