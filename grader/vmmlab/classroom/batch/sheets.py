"""The worksheets in a batch's results: a table of its summary, and DIR/worksheets.csv.

Their marks are in nbgrader's gradebook; here is what was graded automatically, and what was not.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from vmmlab.base.message import EMPTY, Text
from vmmlab.classroom.intake import Submission
from vmmlab.classroom.tables import not_a_formula

TABLE: Final = "worksheets.csv"
_COLUMNS: Final = ("student", "name", "lab", "points", "max", "by_hand", "fresh", "problem")


@dataclass(frozen=True, slots=True)
class Sheet:
    """The worksheet of one student.

    Attributes:
        student: the id.
        name: the name for people.
        lab: the lab.
        points: those given automatically; None: it was not graded.
        most: their maximum.
        by_hand: the maximum of those that a person gives.
        fresh: it was graded now, not before.
        problem: why it was not graded, or which cells were stopped.
        attention: it was not graded because something of the grader's broke.
    """

    student: str
    name: str
    lab: str
    points: float | None = None
    most: float = 0.0
    by_hand: float = 0.0
    fresh: bool = True
    problem: Text = EMPTY
    attention: bool = False


Grading = Callable[[Sequence[Submission]], Sequence[Sheet]]
"""Grades the worksheets of some submissions."""


def text_of(sheets: Sequence[Sheet]) -> str:
    """Return the table as CSV (RFC 4180); points that are not there are empty, never 0."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for one in sheets:
        graded = one.points is not None
        writer.writerow(
            (
                not_a_formula(one.student),
                not_a_formula(one.name),
                one.lab,
                f"{one.points:g}" if one.points is not None else "",
                f"{one.most:g}" if graded else "",
                f"{one.by_hand:g}" if graded else "",
                "yes" if one.fresh else "no",
                not_a_formula(" ".join(str(one.problem).split())),
            )
        )
    return out.getvalue()
