"""Computes the points of a report again after course.yml has changed what checks are worth.

Nothing is built or booted: the share of each check that passed stays.
"""

from __future__ import annotations

from fractions import Fraction

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.course.model import CheckSpec, Course
from vmmlab.grading.score import Points, rounded, total
from vmmlab.report.model import CheckReport, Report


def rescored(report: Report, course: Course) -> Report:
    """Return a report with the points that course.yml has now.

    Args:
        report: of a whole grading.
        course: the course.

    Raises:
        UsageError: the lab has other checks by now, or the report is not of a whole grading.
    """
    lab = course.graded_for(report.lab, report.arch)
    specs, hidden = lab.every_check_of(report.arch), lab.hidden_of(report.arch)
    again = msg("grade {lab} again with this course.yml", lab=report.lab)
    if report.partial_run:
        raise UsageError(
            msg("only some of the checks ran, so this is not a grade."), next_step=again
        )
    ids = [check.id for check in report.checks]
    wanted = [name for name in specs if name in hidden or name not in report.later]
    if not report.hidden_judged:
        wanted = [name for name in wanted if name not in hidden]
    if sorted(ids) != sorted(wanted):
        other = sorted(set(ids) ^ set(wanted))
        raise UsageError(
            msg("the report has other checks than course.yml."),
            found=", ".join(other[:4]),
            next_step=again,
        )
    checks = tuple(_worth(check, specs[check.id]) for check in report.checks)
    visible = [check for check in checks if check.visibility == "visible"]
    secret = [check for check in checks if check.visibility == "hidden"]
    most = total(check.max for check in secret) or 0
    return report.model_copy(
        update={
            "checks": checks,
            "points": total(check.points for check in visible),
            "max": total(check.max for check in visible),
            "hidden_points": total(check.points for check in secret)
            if report.hidden_judged
            else None,
            "hidden_max": most if secret else lab.hidden_points_of(report.arch),
            "later_max": sum(specs[name].points for name in report.later if name in specs),
        }
    )


def _worth(check: CheckReport, spec: CheckSpec) -> CheckReport:
    points: Points | None = check.points
    if points is not None and check.max:
        points = rounded(Fraction(str(points)) / Fraction(str(check.max)) * spec.points)
    return check.model_copy(update={"points": points, "max": spec.points})
