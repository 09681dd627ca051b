"""Grades as CSV by RFC 4180, for `vmmlab gradebook export` and `nbgrader export`.

For the latter use `--exporter=vmmlab.classroom.gradebook.export.QuotedCsv`.

nbgrader's own exporter writes names without quotes, so that a comma in a name shifts the columns.
It writes 0 for a score that is still to be given, and for work that was never handed in.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nbgrader.plugins import ExportPlugin

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.files import write_atomically
from vmmlab.base.message import msg
from vmmlab.classroom.gradebook.opening import open_book
from vmmlab.classroom.tables import not_a_formula

COLUMNS: Final = (
    "assignment",
    "duedate",
    "timestamp",
    "student_id",
    "last_name",
    "first_name",
    "email",
    "raw_score",
    "late_submission_penalty",
    "score",
    "max_score",
    "status",
)
_WHO: Final = ("student_id", "last_name", "first_name", "email")


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the number of students, and of grades that are not given yet."""

    students: int
    open: int


class QuotedCsv(ExportPlugin):  # type: ignore[misc]
    """nbgrader's columns and the column `status`: graded, needs a mark, or missing.

    The scores are empty unless the status is graded.
    """

    def export(self, gradebook: Any) -> None:
        """Write the file that `--to` names, else grades.csv."""
        destination = Path(self.to or "grades.csv")
        self.log.info("Exporting grades to %s", destination)
        wanted = {str(one) for one in self.assignment}
        who = {str(one) for one in self.student}
        rows = [
            row
            for row in long_rows(gradebook)
            if (not wanted or row["assignment"] in wanted) and (not who or row["student_id"] in who)
        ]
        destination.write_bytes(_csv(COLUMNS, rows))


def write(folder: Path, file: Path, *, long: bool = False) -> Written:
    """Write the grades of a course folder to a CSV file, whole or not at all.

    Args:
        folder: nbgrader's course folder.
        file: where to.
        long: a row for each assignment of each student, instead of a row for each student.

    Raises:
        UsageError: this is no course folder, or the file cannot be written.
        InfraError: the gradebook cannot be used.
    """
    with open_book(folder) as book, book.transaction() as inside:
        rows = list(long_rows(inside))
    columns, shown = (COLUMNS, rows) if long else _wide(rows)
    try:
        write_atomically(file, _csv(columns, shown))
    except OSError as error:
        raise UsageError(
            msg("{path}: cannot be written: {reason}.", path=file, reason=os_reason(error))
        ) from None
    return Written(
        len({row["student_id"] for row in rows}),
        sum(row["status"] == "needs a mark" for row in rows),
    )


def long_rows(gradebook: Any) -> Iterator[dict[str, Any]]:
    """Yield a row for each assignment of each student.

    Args:
        gradebook: nbgrader's.
    """
    students = sorted(gradebook.students, key=lambda one: one.id)
    for assignment in sorted(gradebook.assignments, key=lambda one: _in_order(one.name)):
        found = {one.student_id: one for one in assignment.submissions}
        for student in students:
            yield _row(assignment, student, found.get(student.id))


def _in_order(name: str) -> list[tuple[int, str]]:
    """Return a key that puts lab10 after lab9."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _wide(rows: Sequence[dict[str, Any]]) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """Return columns and rows with one row for each student; what is not graded is empty."""
    assignments = list(dict.fromkeys(row["assignment"] for row in rows))
    wide: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = wide.setdefault(row["student_id"], {name: row[name] for name in _WHO})
        one[row["assignment"]] = row.get("score", "")
        if row["status"] == "graded":
            one["total"] = one.get("total", 0.0) + row["score"]
        elif row["status"] == "needs a mark":
            one["needs a mark"] = f"{one.get('needs a mark', '')} {row['assignment']}".strip()
    return (*_WHO, *assignments, "total", "needs a mark"), list(wide.values())


def _csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(
        {
            name: not_a_formula(value) if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in rows
    )
    return out.getvalue().encode()


def _row(assignment: Any, student: Any, submission: Any | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "assignment": assignment.name,
        "duedate": assignment.duedate,
        "student_id": student.id,
        "last_name": student.last_name,
        "first_name": student.first_name,
        "email": student.email,
        "max_score": assignment.max_score,
    }
    if submission is None:
        return {**row, "status": "missing"}
    row["timestamp"] = submission.timestamp
    if submission.needs_manual_grade:
        return {**row, "status": "needs a mark"}
    penalty = submission.late_submission_penalty
    return {
        **row,
        "raw_score": submission.score,
        "late_submission_penalty": penalty,
        "score": max(0.0, submission.score - penalty),
        "status": "graded",
    }
