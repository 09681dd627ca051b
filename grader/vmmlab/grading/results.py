"""How a check ended. Pure.

Knows neither pytest nor points.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from vmmlab.base.message import Text
from vmmlab.checks.declaring import Check, Outcome
from vmmlab.checks.scoring import Case
from vmmlab.failure import Failure


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check ended.

    Attributes:
        check: the check.
        outcome: how it ended, in one word.
        share: the part of its points that it earned; None if it could not be judged.
        failure: the first failure.
        cases: the sub-scores, empty if the check has none.
        waited_for: the needed check that did not pass.
        infra: for the author: what broke, with a traceback if the check itself did.
        reason: the same for the student, in one line.
        review: why a person should look at it; empty: there is no need.
    """

    check: Check
    outcome: Outcome
    share: Fraction | None
    failure: Failure | None = None
    cases: tuple[Case, ...] = ()
    waited_for: str | None = None
    infra: str | None = None
    reason: Text = ""
    review: Text = ""

    @property
    def blocks(self) -> bool:
        """Whether the checks after it mean nothing."""
        if self.outcome == "pass":
            return False
        found = [self.failure, *(case.failure for case in self.cases if case.failure)]
        return not all(one is not None and one.goes_on for one in found)


def judged(
    check: Check, failure: Failure | None = None, cases: tuple[Case, ...] = ()
) -> CheckResult:
    """Return how a check ended that was judged.

    Args:
        check: the check.
        failure: why it failed as a whole.
        cases: its cases, if it has any; each has the same share of the points.
    """
    first = failure or next(filter(None, (case.failure for case in cases)), None)
    if first is None:
        return CheckResult(check, "pass", Fraction(1), cases=cases)
    passed = 0 if failure else sum(case.failure is None for case in cases)
    share = Fraction(passed, len(cases) or 1)
    outcome: Outcome = "partial" if share else "timeout" if first.timeout else "fail"
    return CheckResult(check, outcome, share, failure=first, cases=cases)
