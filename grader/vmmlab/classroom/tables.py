"""Points of a class as CSV (RFC 4180), for the gradebooks of Canvas and Moodle.

Sources: GradebookImporter of instructure/canvas-lms; docs.moodle.org, Grade import. A student
without a grade has no row, because an empty cell would delete the grade that stands there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, listed, msg
from vmmlab.classroom.roster import Entry, person
from vmmlab.grading.score import Points
from vmmlab.report.export.sheet import Sheet

_NAMED: Final = 10
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "|")


@dataclass(frozen=True, slots=True)
class Score:
    """The points of one student.

    Attributes:
        student: the id.
        sheet: the report.
        absent: nothing was handed in.
    """

    student: str
    sheet: Sheet
    absent: bool = False

    @property
    def counts(self) -> bool:
        """Whether the points are a grade."""
        return not self.absent and self.sheet.points is not None

    @property
    def unjudged(self) -> bool:
        """Whether there is no grade because the grader failed."""
        return not self.absent and self.sheet.points is None


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file, and what is not in it.

    Attributes:
        text: the file's content, with line ends as RFC 4180 has them.
        remarks: who has no row, and who is not in the roster.
        complete: no grade is missing because the grader failed.
    """

    text: str
    remarks: tuple[Text, ...]
    complete: bool


def table(form: str, scores: Sequence[Score], roster: Mapping[str, Entry]) -> Table:
    """Return the points of a class in one lab.

    Args:
        form: a key of `TABLES`.
        scores: one for each student.
        roster: the class; empty if it is not known.

    Raises:
        UsageError: the reports are on several labs, or two are on the same student.
    """
    _must_be_one_lab(scores)
    graded = [one for one in scores if one.counts]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(
        TABLES[form]([(roster.get(one.student) or Entry(one.student), one.sheet) for one in graded])
    )
    return Table(
        out.getvalue(), tuple(_remarks(scores, roster)), not any(one.unjudged for one in scores)
    )


def _must_be_one_lab(scores: Sequence[Score]) -> None:
    labs = sorted({one.sheet.lab for one in scores})
    if len(labs) > 1:
        raise UsageError(
            msg("these reports are on several labs: {labs}.", labs=", ".join(labs)),
            next_step=msg("choose one with --lab"),
        )
    names = [one.student for one in scores]
    if "" in names:
        raise UsageError(
            msg("a report's file does not say whose it is."),
            expected=msg("STUDENT/lab3.json and so on"),
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(msg("two reports are on {student}.", student=twice[0]))


def _remarks(scores: Sequence[Score], roster: Mapping[str, Entry]) -> Iterable[Text]:
    unjudged = [one.student for one in scores if one.unjudged]
    if unjudged:
        yield msg(
            "no row, because the grader could not judge all checks: {students}",
            students=_few(unjudged),
        )
    if absent := [one.student for one in scores if one.absent]:
        yield msg("nothing was handed in, so no row: {students}", students=_few(absent))
    known = {one.student for one in scores}
    if roster and (strangers := sorted(known - roster.keys())):
        yield msg("not in the roster: {students}", students=_few(strangers))
    if without := sorted(roster.keys() - known):
        yield msg("no report, so no row: {students}", students=_few(without))


def _few(names: Sequence[str]) -> Text:
    shown: list[str | Text] = list(names[:_NAMED])
    if len(names) > _NAMED:
        shown.append(msg("and {count} more", count=len(names) - _NAMED))
    return listed(shown)


_Rows = Sequence[tuple[Entry, Sheet]]


def _canvas(rows: _Rows) -> Iterable[Sequence[str]]:
    lab, most = (rows[0][1].lab, rows[0][1].max) if rows else ("", 0)
    yield "Student", "ID", "SIS User ID", "SIS Login ID", "Section", lab
    yield "    Points Possible", "", "", "", "", _number(most)
    for entry, sheet in rows:
        name = ", ".join(filter(None, reversed(person(entry)))) or entry.id
        yield not_a_formula(name), "", "", entry.id, "", _number(sheet.points or 0)


def _moodle(rows: _Rows) -> Iterable[Sequence[str]]:
    lab = rows[0][1].lab if rows else ""
    yield "ID number", "Email address", "First name", "Last name", lab
    for entry, sheet in rows:
        names = map(not_a_formula, (entry.email, *person(entry)))
        yield entry.id, *names, _number(sheet.points or 0)


TABLES: Final[Mapping[str, Callable[[_Rows], Iterable[Sequence[str]]]]] = MappingProxyType(
    {"canvas": _canvas, "moodle": _moodle}
)
"""What makes the rows of each table, the header first."""


def _number(points: Points) -> str:
    return str(points)


def not_a_formula(value: str) -> str:
    """Return a name that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value
