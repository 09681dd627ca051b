"""Calls a check's function, once or for each case, and finds out what stopped the BSP.

Knows neither pytest nor points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from vmmlab.base.message import Text, msg
from vmmlab.checks.declaring import Check
from vmmlab.checks.failing import NOT_OBSERVED, CheckFailed, CheckMistake
from vmmlab.checks.scoring import Case
from vmmlab.checks.subjects import JudgedCpu
from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.diagnosis.cut_short import cut_short, not_begun
from vmmlab.diagnosis.halting import stopped_by_an_ap
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.failure import Failure
from vmmlab.observe.cpu import CpuRecord
from vmmlab.observe.observation import Observation
from vmmlab.probes.words import boot_in_words

_CPUS: Final = {"ap": "aps", "cpu": "cpus"}


def judge(check: Check, boots: Sequence[Any]) -> tuple[Case, ...]:
    """Judge a check on the Observations of its scenarios.

    Args:
        check: the check.
        boots: one Observation for each of its scenarios, in their order.

    Returns:
        The cases, if the check has any; a failure ends its case only.

    Raises:
        CheckFailed: the check fails as a whole.
        CheckMistake: the check is wrong.
    """
    __tracebackhide__ = True
    first = len(check.together)
    usual = {one.setting for one in check.together}
    judged = list(_judged(check, boots[:first]))
    for scenario, boot in zip(check.also, boots[first:], strict=True):
        for case in _judged(check, [boot]):
            name = msg("{case}, cohort {cohort}", case=case.name, cohort=boot.cohort)
            if scenario.setting not in usual:
                name = msg("{case}; {boot}", case=case.name, boot=boot_in_words(scenario))
            judged.append(replace(case, name=name))
    return tuple(judged)


def _judged(check: Check, boots: Sequence[Any]) -> Iterator[Case]:
    """Judge a check on boots that it looks at together; yield its cases, if it has any.

    Raises:
        CheckFailed: the check fails as a whole.
        CheckMistake: it has cases, but none was judged.
    """
    __tracebackhide__ = True
    for boot in boots:
        if isinstance(boot, Observation) and (failure := not_begun(boot)):
            raise CheckFailed(failure)
    seen = boots[0] if check.takes_one else tuple(boots)
    if check.per is None:
        with _asking(check, boots):
            check.call(seen)
        return
    with _asking(check, boots):
        cases = list(_cases(check, seen, boots))
    if not cases:
        raise CheckMistake(
            f"{check.id} has cases but none was judged; "
            "count what must be there, not what happens to be"
        )
    for name, arguments, concerned in cases:
        failure = None
        try:
            with _asking(check, concerned):
                check.call(*arguments)
        except CheckFailed as failed:
            failure = failed.failure
        yield Case(name, failure)


def _cases(
    check: Check, seen: Any, boots: Sequence[Any]
) -> Iterator[tuple[Text, tuple[Any, ...], Sequence[Any]]]:
    """Return, for each case: its name, the arguments, and the boots that it is about."""
    per = check.per
    words = {scenario.name: boot_in_words(scenario) for scenario in check.scenarios}
    if per == "boot":
        for boot in boots:
            yield words.get(boot.scenario, boot.scenario), (boot,), [boot]
        return
    subjects = getattr(seen, _CPUS[per]) if isinstance(per, str) else per(seen)  # type: ignore[misc]
    for subject in subjects:
        if isinstance(subject, CpuRecord | JudgedCpu):
            record = subject.record if isinstance(subject, JudgedCpu) else subject
            yield record.name, (seen, JudgedCpu(seen, record)), boots
        elif isinstance(subject, tuple) and len(subject) > 1:
            name, *values = subject
            about = [value for value in values if isinstance(value, Observation)]
            if isinstance(name, str):  # the name of a scenario is shown in words
                name = words.get(name, name)
            yield name, (seen, *values), about or boots
        else:
            raise CheckMistake(
                f"{check.id}: `per` gives {subject!r}; it gives CPUs, or tuples of the case's name "
                "and the values for the check"
            )


class _asking:
    """Replaces the failure "something did not happen" by what stopped the BSP, if anything did.

    Adds the boot and its cohort to every failure.
    """

    def __init__(self, check: Check, boots: Sequence[Any]) -> None:
        self._check = check
        self._boots = boots

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        __tracebackhide__ = True
        if not isinstance(error, CheckFailed):
            return
        failure = error.failure
        about = self._boots if error.boot is None else [error.boot]
        for boot in about if error.absent else ():
            first = (
                what_stopped(self._check, boot, failure.cpu)
                if isinstance(boot, Observation)
                else None
            )
            if first is not None:
                failure = replace(first, expected=failure.expected or first.expected)
                about = [boot]
                break
            if isinstance(boot, Observation) and (
                boot.how_ended in ("timeout", "lost") or boot.unreadable
            ):
                failure = cut_short(boot, failure)
                about = [boot]
                break
            if len(about) == 1 and failure.cause == NOT_OBSERVED:
                failure = _where_it_ended(boot, failure)
        cohorts = {boot.cohort for boot in about if isinstance(boot, Observation)}
        if len(cohorts) == 1:
            failure = replace(failure, cohort=cohorts.pop())
        names = {boot.scenario for boot in about if isinstance(boot, Observation)}
        if len(names) == 1:
            failure = replace(failure, boot=names.pop())
        if failure != error.failure:
            raise CheckFailed(failure) from None


def _where_it_ended(boot: object, failure: Failure) -> Failure:
    """Return the failure that a boot did not get far enough, with where its BSP was last."""
    if not isinstance(boot, Observation) or not str(boot.bsp.end_place):
        return failure
    place = boot.bsp.end_place.text
    observed = msg("it ended before; CPU {cpu} was last at {place}", cpu=0, place=place)
    return replace(failure, cpu=0, place=failure.place or place, observed=observed)


def what_stopped(check: Check, boot: Observation, cpu: int | None = None) -> Failure | None:
    """Return what stopped the BSP first, or a CPU at a TODO if the check asks for all CPUs.

    Args:
        check: the check.
        boot: the boot.
        cpu: index of the CPU that did not come as far as it should, if the check says which.
    """
    if check.todo_of_any_cpu and (todo := stopped_at_todo(boot)):
        return todo
    by = check.bsp_in
    found = bsp_stopped(boot, by=by if isinstance(by, str) else by(boot))
    return found or stopped_by_an_ap(boot, cpu or 0)
