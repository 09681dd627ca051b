"""A check that failed itself is run again, also on the reference, before the submission is blamed.

If the reference passes it in the same scenarios, the submission caused the failure. Then the check
earns nothing for now, and a person must look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg
from vmmlab.checks.declaring import Check
from vmmlab.checks.judging import judge
from vmmlab.failure import Failure
from vmmlab.grading.items import result_of
from vmmlab.grading.results import CheckResult, judged
from vmmlab.grading.run import LabRun
from vmmlab.probes.scenario import Scenario

CRASHED: Final = "check-crashed"
"""The cause of a failure that is the check's own."""

Boot = Callable[[Scenario], object]


def crashed(result: CheckResult, error: BaseException | None) -> bool:
    """Whether the check, a diagnosis or a probe failed.

    Args:
        result: how the check ended.
        error: what it raised.
    """
    return result.outcome == "infra-error" and not isinstance(error, InfraError)


def second_opinion(run: LabRun, broken: CheckResult) -> CheckResult:
    """Return the result to keep for a check that failed itself.

    Args:
        run: the run that it belongs to.
        broken: how it ended.
    """
    check = broken.check
    again, error = _asked(run, check, run.observations.again)
    if not crashed(again, error):
        return again
    known, _ = _asked(run, check, run.observations.reference)
    if known.outcome != "pass":
        return broken  # the fault is the grader's own
    reason = broken.reason
    failure = Failure(
        CRASHED,
        observed=msg("the check could not judge this boot: {reason}", reason=reason),
        next=msg(
            "A person will look at it. Until then this check counts 0 points; you need not "
            "do anything."
        ),
    )
    review = msg("{id}: {reason}; the reference passes it", id=check.id, reason=reason)
    return replace(judged(check, failure), infra=broken.infra, review=review)


def _asked(run: LabRun, check: Check, boot: Boot) -> tuple[CheckResult, BaseException | None]:
    """Return how the check ends with other boots of its scenarios, and what it raised."""
    try:
        with run.package.scope.in_use():
            return judged(check, cases=judge(check, run.shown(check, boot))), None
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as error:  # pytest's own outcomes are no Exceptions
        return result_of(check, (), error, "call", ""), error
