"""Grades as CSV by RFC 4180, for `nbgrader export`.

Use it with `--exporter=vmmlab.classroom.gradebook.export.QuotedCsv`.

nbgrader's own exporter writes names without quotes, so that a comma in a name shifts the columns.
It writes 0 for a score that is still to be given, and for work that was never handed in.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

from nbgrader.api import MissingEntry
from nbgrader.plugins import ExportPlugin

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
        with destination.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            for assignment in gradebook.assignments:
                for student in gradebook.students:
                    if (not wanted or assignment.name in wanted) and (not who or student.id in who):
                        writer.writerow(_row(gradebook, assignment, student))


def _row(gradebook: Any, assignment: Any, student: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "assignment": assignment.name,
        "duedate": assignment.duedate,
        "student_id": student.id,
        "last_name": student.last_name,
        "first_name": student.first_name,
        "email": student.email,
        "max_score": assignment.max_score,
    }
    try:
        submission = gradebook.find_submission(assignment.name, student.id)
    except MissingEntry:
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
