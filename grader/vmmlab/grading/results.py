"""How a check ended: the records of its pytest items, and the result that they add up to. Pure.

Knows neither pytest nor points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from vmmlab.base.message import Text, listed, msg
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


@dataclass(slots=True)
class ItemRecord:
    """What happened to one pytest item: a whole check, or one parameter set of it."""

    parameters: str
    kind: Literal["judged", "skipped", "build-error", "infra"] = "judged"
    failure: Failure | None = None
    cases: tuple[Case, ...] = ()
    scored: bool = False
    waited_for: str | None = None
    infra: str | None = None
    reason: Text = ""


def combined(check: Check, records: Sequence[ItemRecord]) -> CheckResult:
    """Return what the items of one check come to; the most serious kind among them decides.

    Args:
        check: the check.
        records: one or more.
    """
    first = {record.kind: record for record in reversed(records)}
    if broken := first.get("infra"):
        return CheckResult(check, "infra-error", None, infra=broken.infra, reason=broken.reason)
    if unbuilt := first.get("build-error"):
        return CheckResult(check, "build-error", Fraction(0), reason=unbuilt.reason)
    if waiting := first.get("skipped"):
        return CheckResult(
            check,
            "skipped",
            Fraction(0),
            waited_for=waiting.waited_for,
            reason=msg("waits for {waited_for}", waited_for=waiting.waited_for or ""),
        )
    return _judged(check, records)


def _judged(check: Check, records: Sequence[ItemRecord]) -> CheckResult:
    cases: list[Case] = []
    parts: list[Fraction] = []
    for record in records:
        if record.scored and record.failure is None:
            passed = sum(case.failure is None for case in record.cases)
            parts.append(Fraction(passed, len(record.cases)))
        else:
            parts.append(Fraction(int(record.failure is None)))
        if record.scored:
            prefix = [record.parameters] if record.parameters else []
            cases += [Case(listed([*prefix, case.name]), case.failure) for case in record.cases]
        if record.parameters and (not record.scored or record.failure is not None):
            cases.append(Case(record.parameters, record.failure))
    share = sum(parts, Fraction(0)) / len(parts)
    whole = (record.failure for record in records)
    first = next(filter(None, whole), None) or next(filter(None, (c.failure for c in cases)), None)
    outcome: Outcome
    if first is None:
        outcome = "pass"
    elif share > 0:
        outcome = "partial"
    else:
        outcome = "timeout" if first.timeout else "fail"
    return CheckResult(check, outcome, share, failure=first, cases=tuple(cases))
