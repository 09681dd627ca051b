"""The results of a batch as CSV (RFC 4180): one row for each lab of each student."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from vmmlab.classroom.batch.figures import Judged
from vmmlab.classroom.tables import not_a_formula

COLUMNS: Final = (
    "student", "name", "lab", "arch", "verdict", "points", "max", "late", "hidden_points",
    "hidden_max", "seed", "label", "graded_at", "attempts", "seconds", "reason", "report",
)  # fmt: skip


def text_of(everything: Sequence[Judged]) -> str:
    """Return the file; a field without a number is empty, never 0.

    Args:
        everything: what was judged.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in everything:
        found = one.record
        writer.writerow(
            (
                not_a_formula(found.student),
                not_a_formula(found.name),
                found.lab,
                found.arch,
                found.verdict,
                _number(found.points),
                _number(found.max),
                _number(found.late),
                _number(found.hidden_points),
                _number(found.hidden_max),
                _number(found.seed),
                found.label,
                found.graded_at,
                found.attempts,
                found.wall_s,
                not_a_formula(str(found.reason)),
                not_a_formula(one.page),
            )
        )
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
