"""The report that a student gets of an official grading: no seed, nothing of the hidden checks.

A failure that shows with the public seed as well keeps a command that shows it again.
"""

from __future__ import annotations

from dataclasses import replace

from vmmlab.grading.boots import LabRunner
from vmmlab.grading.request import RunnerFactory, RunRequest, default_seed
from vmmlab.report.make import report_lab
from vmmlab.report.model import CheckReport, Report
from vmmlab.report.opened import opened


def report_for_student(
    report: Report,
    request: RunRequest,
    *,
    submission: str = ".",
    runner_factory: RunnerFactory = LabRunner,
) -> Report:
    """Return the report on the same grading for the student.

    If checks have failed, the lab is graded again with the public seed.

    Args:
        report: the instructor's.
        request: what was graded, and how.
        submission: the word after `--submission` in the commands for the student.
        runner_factory: makes the runner; a fake one in tests.

    Raises: as for `report_lab`.
    """
    visible = [check for check in report.checks if check.visibility == "visible"]
    failed = any(check.outcome not in ("pass", "build-error") for check in visible)
    again: dict[str, CheckReport] = {}
    if failed and report.label:
        public = replace(
            request, secret=None, round="", seed=default_seed(request.lab, request.cohort.name)
        )
        found = report_lab(public, submission=submission, runner_factory=runner_factory)
        again = {check.id: check for check in found.checks}
    open_ = opened(report)
    if not report.label:
        return open_
    checks = (_again(check, again.get(check.id)) for check in open_.checks)
    return open_.model_copy(update={"checks": tuple(checks)})


def _again(check: CheckReport, public: CheckReport | None) -> CheckReport:
    """Return an open check with the command that shows its failure with the public seed.

    Args:
        check: how it ended.
        public: how it ended with the public seed, if it was judged with it.
    """
    same = public is not None and (public.outcome, public.cause) == (check.outcome, check.cause)
    return check.model_copy(update={"again": public.again if public is not None and same else ""})
