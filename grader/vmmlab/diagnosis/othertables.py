"""Explains how functions of ap_start.c fail when the ACPI tables list other processors.

Functions from the grader's own calls to a Failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmmlab.base.message import Text, listed, msg
from vmmlab.failure import Failure
from vmmlab.observe.icr import Icr
from vmmlab.observe.starting import IcrCall, OwnCalls

_BSP: Final = 0  # its APIC id


def wrong_with_many(made: OwnCalls) -> Failure | None:
    """Return that ap_start_loopcond loses a part of the number of processors, or of the APs.

    Args:
        made: the calls: with 257 processors in the tables, none of whose APs has come, or all.
    """
    if [bool(one.answer) for one in made.many] in ([], [True, False]):
        return None
    none = not made.many[0].answer
    return Failure(
        "part-of-the-number-of-aps",
        cpu=0,
        place=called("ap_start_loopcond"),
        expected=msg("true until all 256 APs have arrived, and false then"),
        observed=msg("it returned false, although *apinitprocs was 0 and the tables list 257")
        if none
        else msg("it returned true, although *apinitprocs was 256 and the tables list 257"),
        function="ap_start_loopcond",
        goes_on=True,
    )


def wrong_destination(made: OwnCalls) -> Failure | None:
    """Return that an IPI leaves out a processor of the tables, or reaches the sender."""
    others = [one for one in made.ids if one != _BSP]
    for function, kind, told in (
        ("apic_send_init", "INIT", made.init_told),
        ("apic_send_startup_ipi", "SIPI", made.sipi_told),
    ):
        sent = [one for one in map(_as_written, told or ()) if one.kind == kind]
        missed = [one for one in others if not any(write.reaches(one, _BSP) for write in sent)]
        if told is None or not (missed or any(write.reaches(_BSP, _BSP) for write in sent)):
            continue
        return Failure(
            "cpu-of-the-tables-left-out",
            cpu=0,
            place=called(function),
            expected=msg(
                "one {kind} for each CPU in the tables but the sender: APIC ids {others}",
                kind=kind,
                others=_listed(others),
            ),
            observed=msg(
                "the tables list the APIC ids {ids}, in this order, and the sender's is {own}; "
                "the IPIs were for {told}",
                ids=_listed(made.ids),
                own=_listed([_BSP]),
                told=_listed([one.dest for one in sent]) if sent else msg("no CPU"),
            ),
            function=function,
            goes_on=True,
        )
    return None


def called(function: str) -> Text:
    """Return a function as the place of what it does when the grader calls it."""
    return msg("{function}, called by the grader", function=function)


def _as_written(call: IcrCall) -> Icr:
    """Return a call of apic_write_icr as a write; an id may need more bits than an xAPIC has."""
    return Icr(0, call.low, call.dest, 0.0)


def _listed(numbers: Sequence[int]) -> Text:
    return listed([f"{one:#x}" for one in numbers], ", ")
