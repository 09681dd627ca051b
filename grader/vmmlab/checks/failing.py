"""How a check takes points: `fail` and its relatives, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn, TypeVar

from vmmlab.base.message import Listed, Message, Text, msg
from vmmlab.course.ids import CAUSE
from vmmlab.failure import Failure

_T = TypeVar("_T")

NOT_OBSERVED: Final = "not-observed"
"""The cause of a boot that did not get so far that a check could look at it."""


class CheckFailed(Exception):
    """Raised by `fail`; carries the Failure.

    Args:
        failure: why the check fails.
        absent: something did not happen: an earlier stop of the BSP takes precedence.
        boot: the boot in which it did not happen, if the check looks at several.
    """

    def __init__(self, failure: Failure, *, absent: bool = False, boot: object = None) -> None:
        super().__init__(str(failure.summary))
        self.failure = failure
        self.absent = absent
        self.boot = boot


class CheckMistake(Exception):
    """The check itself is wrong: its author must fix it, and no student loses a point."""


def fail(
    cause: str,
    *,
    cpu: int | None = None,
    place: object = "",
    expected: object = "",
    observed: object = "",
    next: object = "",
    step: str = "",
    timeout: bool = False,
    goes_on: bool = False,
    call: int = 0,
    better: Sequence[str] = (),
) -> NoReturn:
    """End the check, or the case around this call, as failed: the mistake itself was observed.

    Texts are messages, made by `msg`; other values are shown as `str` shows them.

    Args:
        cause: an identifier such as `far-jump-wrong-target`; causes.yml is keyed by it.
        cpu: 0-based index of the CPU.
        place: address, symbol or file:line where it shows.
        expected: what should have been there.
        observed: what was there.
        next: the next thing to look at; that of causes.yml if it is not given.
        step: the step that contains the mistake; that of causes.yml if it is not given.
        timeout: there was no answer in time; the outcome is then `timeout` in place of `fail`.
        goes_on: a rule is broken, and the machine goes on: checks after this one are not skipped.
        call: the number of the grader's own call of the function at `place`, from 1: there
            `vmmlab debug` stops.
        better: causes that labs/labN/orders.py may give this check, and that name the mistake
            better: they come first.

    Raises:
        CheckFailed: always.
        CheckMistake: `cause` is not an identifier.
    """
    __tracebackhide__ = True
    texts = {"place": place, "expected": expected, "observed": observed, "next": next}
    found = _failure(cause, cpu, texts, step, timeout, goes_on)
    raise CheckFailed(replace(found, call=int(call), better=(*better,)))


def missing(
    cause: str,
    *,
    cpu: int | None = None,
    place: object = "",
    expected: object = "",
    observed: object = "",
    next: object = "",
    step: str = "",
    boot: object = None,
    goes_on: bool = False,
) -> NoReturn:
    """End the check, or the case around this call, as failed: something did not happen.

    If something else stopped the BSP before, that is reported instead, with what this check
    expected.

    Args:
        cause: as for `fail`.
        cpu: as for `fail`.
        place: as for `fail`.
        expected: as for `fail`.
        observed: as for `fail`.
        next: as for `fail`.
        step: as for `fail`.
        boot: the boot in which it did not happen, if the check looks at several.
        goes_on: as for `fail`.

    Raises:
        CheckFailed: always.
        CheckMistake: `cause` is not an identifier.
    """
    __tracebackhide__ = True
    texts = {"place": place, "expected": expected, "observed": observed, "next": next}
    failure = _failure(cause, cpu, texts, step, goes_on=goes_on)
    raise CheckFailed(failure, absent=True, boot=boot)


def needed(value: _T | None, *, boot: object = None) -> _T:
    """Return a piece of evidence, or fail: the boot did not get so far that it was recorded.

    Args:
        value: the evidence, None if it was not recorded.
        boot: the boot in which it was not, if the check looks at several.

    Raises:
        CheckFailed: it is None.
    """
    __tracebackhide__ = True
    if value is None:
        missing(
            NOT_OBSERVED,
            expected=msg("the boot gets so far that this can be seen"),
            observed=msg("it ended before"),
            next=msg("See where its CPUs stood at the end."),
            boot=boot,
        )
    return value


def fail_if(found: Failure | None, *, expected: object = "", better: Sequence[str] = ()) -> None:
    """End the check, or the case around this call, as failed if a diagnosis has found something.

    Args:
        found: what it has found; with None nothing happens.
        expected: what this check expects, where that says more than the diagnosis does.
        better: as for `fail`.

    Raises:
        CheckFailed: something was found.
    """
    __tracebackhide__ = True
    if found is not None:
        wanted = _text(expected) or found.expected
        raise CheckFailed(replace(found, expected=wanted, better=(*better,)))


def expect(
    cause: str,
    found: object,
    wanted: object,
    *,
    what: object,
    at: Any = None,
    cpu: int | None = None,
    place: object = "",
    next: object = "",
    step: str = "",
) -> None:
    """End the check, or the case around this call, as failed unless two values are equal.

    Args:
        cause: as for `fail`.
        found: what was found; numbers are shown in hexadecimal.
        wanted: what should have been found.
        what: its name, such as "CR3".
        at: where a CPU was then, as `must_reach` returns it; gives `cpu` and `place`.
        cpu: as for `fail`.
        place: as for `fail`.
        next: as for `fail`.
        step: as for `fail`.

    Raises:
        CheckFailed: they differ.
    """
    __tracebackhide__ = True
    if found != wanted:
        name = _text(what)
        fail(
            cause,
            cpu=at.cpu if at is not None and cpu is None else cpu,
            place=place or (at.place if at is not None else ""),
            expected=msg("{name} = {value}", name=name, value=_value(wanted)),
            observed=msg("{name} = {value}", name=name, value=_value(found)),
            next=next,
            step=step,
        )


def _failure(
    cause: str,
    cpu: int | None,
    texts: dict[str, object],
    step: str = "",
    timeout: bool = False,
    goes_on: bool = False,
) -> Failure:
    if not isinstance(cause, str) or not CAUSE.fullmatch(cause):
        raise CheckMistake(
            f'a cause is an identifier such as "far-jump-wrong-target", not {cause!r}'
        )
    return Failure(
        cause=cause,
        cpu=None if cpu is None else int(cpu),
        place=_text(texts["place"]),
        expected=_text(texts["expected"]),
        observed=_text(texts["observed"]),
        next=_text(texts["next"]),
        timeout=bool(timeout),
        step=step,
        goes_on=bool(goes_on),
    )


def _text(value: object) -> Text:
    return value if isinstance(value, Message | Listed) else str(value)


def _value(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
