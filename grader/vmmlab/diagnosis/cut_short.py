"""Explains a boot that ran out of time, or whose QEMU was lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vmmlab.base.message import Text, listed, msg
from vmmlab.failure import Failure
from vmmlab.observe.evidence import Unreadable
from vmmlab.observe.observation import Observation

_SHOWN: Final = 4  # CPUs
_LOST: Final[dict[str, Text]] = {
    "ended": msg("QEMU itself ended during the boot"),
    "no-answer": msg("QEMU no longer answered"),
    "refused": msg("QEMU refused to start with this image"),
    "no-time": msg("the boots of this grade used up its time before this one was at its end"),
}


def cut_short(boot: Observation, failure: Failure) -> Failure:
    """Return a failure about something missing, adapted to a boot that was cut short.

    Args:
        boot: the boot.
        failure: what did not happen; returned as it is if the boot came to its own end.
    """
    if boot.lost is not None:
        return _lost(boot, failure)
    if boot.unreadable:
        failure = _without_memory(boot.unreadable[0], failure)
    if boot.how_ended != "timeout":
        return failure
    end = msg("the boot was ended after its time limit, with {cpus}", cpus=_doing(boot))
    observed = listed([failure.observed, end], "; ") if failure.observed else end
    return replace(failure, timeout=True, observed=observed)


def _without_memory(unreadable: Unreadable, failure: Failure) -> Failure:
    where: Text = msg("there is no memory at physical address {at:#x}", at=unreadable.address)
    if unreadable.cpu is not None:
        where = msg(
            "CPU {cpu} uses address {at:#x}, where nothing is mapped",
            cpu=unreadable.cpu,
            at=unreadable.address,
        )
    observed = listed([failure.observed, where], "; ") if failure.observed else where
    return replace(failure, observed=observed)


def not_begun(boot: Observation) -> Failure | None:
    """Return why the VMM did not begin to run; None if it came to vmm_main.

    Args:
        boot: the boot.
    """
    if boot.first("vmm_main") is not None:
        return None
    failure = Failure(
        "vmm-main-not-reached",
        cpu=0,
        place="vmm_main",
        expected=msg("the given code reaches vmm_main"),
        observed=msg("the BSP is at {place}", place=boot.bsp.end_place.text),
        next=msg(
            "No code of a lab runs before vmm_main. Does your code or data have a size or "
            "an address that leaves no room for the VMM?"
        ),
    )
    return cut_short(boot, failure)


def _lost(boot: Observation, failure: Failure) -> Failure:
    assert boot.lost is not None
    observed: Text = _LOST[boot.lost.how]
    began = boot.first("vmm_main") is not None
    if boot.lost.how in ("ended", "no-answer") or (boot.lost.how == "no-time" and began):
        observed = msg("{lost}; last recorded: {cpus}", lost=observed, cpus=_doing(boot))
    return Failure(
        "no-time-left" if boot.lost.how == "no-time" else "machine-lost",
        cpu=failure.cpu,
        place=failure.place,
        expected=failure.expected,
        observed=observed,
        next=msg(
            "Look at the checks that failed first: one of their boots took too long. A note of "
            "this report says which."
        )
        if boot.lost.how == "no-time"
        else msg(
            "The reference boots in the same machine, so your code causes this. Which "
            "device, port or size does it use that the handout does not mention?"
        ),
        timeout=boot.how_ended == "timeout",
    )


def _doing(boot: Observation) -> Text:
    """Return where the CPUs were, the first few of them."""
    return listed(
        msg("{cpu} waiting for a SIPI", cpu=cpu.name)
        if cpu.end_kind == "waiting-for-sipi"
        else msg("{cpu} at {place}", cpu=cpu.name, place=cpu.end_place.text)
        for cpu in boot.cpus[:_SHOWN]
    )
