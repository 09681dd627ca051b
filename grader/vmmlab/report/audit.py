"""The audit trail of a report: what was judged, when, and by which version of the course."""

from __future__ import annotations

from datetime import UTC, datetime

from vmmlab.course.digest import course_version
from vmmlab.course.model import Course
from vmmlab.report.model import Audit


def audit_of(course: Course, lab: str, files: str) -> Audit:
    """Return the audit trail of a report that is made now.

    Args:
        course: the course.
        lab: the lab.
        files: the hash of its submitted files; empty if there are none.
    """
    return Audit(
        graded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=files,
        course=course_version(course, lab),
    )
