"""The report that a student gets of an official grading: no seed, nothing of the hidden checks.

A failure that shows with the public seed as well keeps a command that shows it again.
"""

from __future__ import annotations

from dataclasses import replace

from vmmlab.grading.boots import LabRunner
from vmmlab.grading.request import RunnerFactory, RunRequest, default_seed
from vmmlab.report.make import report_lab
from vmmlab.report.model import CheckReport, Report


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
    return report.model_copy(
        update={
            "seed": None if report.label else report.seed,
            "checks": tuple(_open(check, again.get(check.id), report) for check in visible),
            "hidden_points": None,
            "hidden_judged": False,
            "hidden_elsewhere": True,
            "review_reasons": (),
        }
    )


def _open(check: CheckReport, public: CheckReport | None, report: Report) -> CheckReport:
    """Return what a student gets of an open check.

    Args:
        check: how it ended.
        public: how it ended with the public seed, if it was judged with it.
        report: the instructor's.
    """
    command = check.again
    if report.label:
        same = public is not None and (public.outcome, public.cause) == (check.outcome, check.cause)
        command = public.again if public is not None and same else ""
    return check.model_copy(update={"again": command, "infra": None, "review": ""})
