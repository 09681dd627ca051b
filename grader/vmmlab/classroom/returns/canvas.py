"""Fills the column of an assignment in Canvas' gradebook.

Sources: lib/gradebook_exporter.rb and lib/gradebook_importer.rb of instructure/canvas-lms. The
header of an assignment is its title with its number, `lab3 (77)`. The second row, or the third if
grades are posted by hand, has the points possible. Depending on the language, cells are separated
by semicolons and numbers have a comma. `EX` is an excused student, `N/A` one without the
assignment; these stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.base.text import clean_line
from vmmlab.classroom.returns.grades import (
    Filled,
    Grade,
    Grades,
    maximum_in,
    number,
    one_row_each,
    scaled,
)
from vmmlab.classroom.returns.rawcsv import RawTable
from vmmlab.classroom.roster import Entry, plain_header
from vmmlab.i18n.translate import Reader

_TITLE: Final = re.compile(r"(?P<title>.*) \((?P<number>\d+)\)", re.DOTALL)
_POSSIBLE: Final = "Points Possible"
_KEPT: Final = ("EX", "N/A")


def fill(
    table: RawTable,
    roster: Mapping[str, Entry],
    grades: Grades,
    lab: str,
    say: Reader,
    *,
    column: str = "",
    rescale: bool = False,
) -> Filled:
    """Fill a gradebook's column.

    Args:
        table: the gradebook; it is changed.
        roster: the same gradebook, read as a roster.
        grades: the reports.
        lab: the lab.
        say: the language of reasons.
        column: the header, or the title in it; "": the title that is, or begins with, the lab.
        rescale: the assignment has other points than the lab.

    Raises:
        UsageError: there is no such column, or it has other points.
    """
    at = _column(table, column or lab, exact=bool(column))
    done = Filled()
    possible = next(
        (table.value(row, at) for row in range(len(table)) if _POSSIBLE in table.value(row, 0)), ""
    )
    most = maximum_in(possible)
    if most is None:
        done.remarks.append(
            msg("the gradebook does not say how many points the assignment has: compare them")
        )
    if most is not None and most != Fraction(str(grades.maximum)) and not rescale:
        raise UsageError(
            msg("the assignment has {most} points, not {max}.", most=possible, max=grades.maximum),
            expected=msg("the points of the lab as those of the assignment"),
            next_step=msg("set them in Canvas and export the gradebook again, or use --scale"),
        )
    for row, entry in _students(table, roster):
        if table.value(row, at).strip().upper() in _KEPT:
            continue
        grade = _grade(entry, grades, say, done)
        if grade is not None and grade.points is not None:
            points = grade.points
            if most is not None and most != Fraction(str(grade.maximum)):
                points = scaled(points, grade.maximum, most)
            table.put(row, at, number(points, possible))
            done.with_grade(clean_line(entry.shown, 80), grade)
    done.table = table.data()
    return done


def _students(table: RawTable, roster: Mapping[str, Entry]) -> list[tuple[int, Entry]]:
    """Return the row of each student."""
    by_number = {entry.number: entry for entry in roster.values() if entry.number}
    columns = [index for index, name in enumerate(table.header) if plain_header(name) == "id"]
    numbers = [table.value(row, columns[0]).strip() for row in range(len(table)) if columns]
    rows = [(row, student) for row, student in enumerate(numbers) if student in by_number]
    one_row_each(table, rows)
    return [(row, by_number[student]) for row, student in rows]


def _grade(entry: Entry, grades: Grades, say: Reader, done: Filled) -> Grade | None:
    """Return a student's grade; None if there is none, and say why."""
    name = clean_line(entry.shown, 80)
    student = grades.student_of(entry)
    if not student:
        done.without(name, msg("was not graded"))
        return None
    grade = grades.grade(student, None, say)
    if grade.points is None:
        taken = grades.submission(student)
        told = taken.problem if taken else ""
        done.unjudged = done.unjudged or not grade.absent
        done.without(name, told or grade.why)
        return None
    return grade


def _column(table: RawTable, wanted: str, *, exact: bool) -> int:
    titles: list[str] = []
    like: list[int] = []
    begins = re.compile(rf"{re.escape(wanted)}(?![0-9a-z_])", re.IGNORECASE)
    for index, header in enumerate(table.header):
        match = _TITLE.fullmatch(header)
        if match is None:
            continue
        titles.append(match["title"])
        if wanted in (header, match["title"]):
            return index
        if not exact and begins.match(match["title"]):
            like.append(index)
    if len(like) == 1:
        return like[0]
    if like:
        named = ", ".join(table.header[index] for index in like)
        raise UsageError(
            msg("several assignments of this gradebook begin with {wanted!r}.", wanted=wanted),
            found=clean_line(named, 200),
            next_step=msg("name it with --column"),
        )
    missing = msg("this gradebook has no assignment {wanted!r}.", wanted=wanted)
    if not titles:
        raise UsageError(
            missing,
            expected=msg("Canvas' gradebook, as exported"),
            found=clean_line(", ".join(table.header), 120),
        )
    raise UsageError(
        missing,
        expected=msg("one of {titles}", titles=clean_line(", ".join(titles), 200)),
        next_step=msg("name it with --column"),
    )
