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

_SHOWN: Final = 4  # ids
_BYTE: Final = 0x100  # the first index that needs more than a byte


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


def stops_unlisted(made: OwnCalls) -> Failure | None:
    """Return that ap_start_loopcond stops when an AP has arrived, though more may be there.

    Args:
        made: the calls: without tables, with and without an AP.
    """
    answers = [bool(one.answer) for one in made.unlisted]
    pairs = list(zip(answers[::2], answers[1::2], strict=False))
    stops = [number for number, (alone, met) in enumerate(pairs, 1) if alone and not met]
    if not stops:
        return None
    return Failure(
        "no-sipi-without-tables",
        cpu=0,
        place=called("ap_start_loopcond"),
        expected=msg(
            "as many SIPIs as for an AP that does not arrive: acpi_num_of_processors () is 0, so "
            "more APs may be there than have arrived"
        ),
        observed=msg(
            "when data pointed to {count}, it returned true with *apinitprocs = 0, and false with "
            "1",
            count=stops[0],
        ),
        next=msg("Without tables *apinitprocs says nothing: leave it out of the condition then."),
        function="ap_start_loopcond",
        goes_on=True,
    )


def wrong_destination(made: OwnCalls) -> Failure | None:
    """Return that an IPI leaves out a processor of the tables, or reaches the sender."""
    own = made.own_id
    for function, kind, told in (
        ("apic_send_init", "INIT", made.init_told),
        ("apic_send_startup_ipi", "SIPI", made.sipi_told),
    ):
        sent = [one for one in map(_as_written, told or ()) if one.kind == kind]
        missed = [at for at, one in enumerate(made.ids) if one != own and not _to(sent, one, own)]
        itself = _to(sent, own, own)
        if told is None or not (missed or itself):
            if kind == "SIPI" and (again := _sent_again(function, sent, made)):
                return again
            continue
        return Failure(
            "cpu-of-the-tables-left-out",
            cpu=0,
            place=called(function),
            expected=msg(
                "one {kind} for each CPU in the tables but the sender, whose APIC id is {own}",
                kind=kind,
                own=f"{own:#x}",
            ),
            observed=_what_was_wrong(made.ids, len(sent), missed[0] if missed else None),
            next=msg(
                "All CPUs up to the one with index 255 were sent one. An index of 8 bits counts no "
                "further."
            )
            if missed and missed[0] == _BYTE and not itself
            else "",
            function=function,
            goes_on=True,
        )
    return None


def _sent_again(function: str, sent: Sequence[Icr], made: OwnCalls) -> Failure | None:
    """Return that one call sends several SIPIs to a processor of the tables."""
    times = [sum(_to([one], dest, made.own_id) for one in sent) for dest in made.ids]
    most = max(times, default=0)
    if most < 2:
        return None
    return Failure(
        "argument-ignored",
        cpu=0,
        place=called(function),
        expected=msg("one SIPI for each CPU"),
        observed=msg(
            "{count} SIPIs for APIC id {id:#x} in one call",
            count=most,
            id=made.ids[times.index(most)],
        ),
        next=msg(
            "apic_write_icr sends the IPI, whatever apic_read returns afterwards: with ids above "
            "254 the APIC is in x2APIC mode, where apic_read returns 0."
        ),
        function=function,
        goes_on=True,
    )


def _to(sent: Sequence[Icr], dest: int, own: int) -> bool:
    """Whether an IPI is for an APIC id."""
    return any(one.reaches(dest, own) for one in sent)


def _what_was_wrong(ids: Sequence[int], sent: int, missed: int | None) -> Text:
    """Return which of the ids of the tables got no IPI, or that the sender got one.

    Args:
        ids: the ids.
        sent: the number of IPIs.
        missed: the index of the first one without an IPI.
    """
    first = listed([f"{one:#x}" for one in ids[:_SHOWN]], ", ")
    if missed is None:
        return msg(
            "the tables list {count} processors, with the APIC ids {ids} and so on; {sent} IPIs "
            "were sent, one of them to the sender itself",
            count=len(ids),
            ids=first,
            sent=sent,
        )
    return msg(
        "the tables list {count} processors, with the APIC ids {ids} and so on; {sent} IPIs were "
        "sent, and none was for APIC id {missed}, the one with index {index}",
        count=len(ids),
        ids=first,
        sent=sent,
        missed=f"{ids[missed]:#x}",
        index=missed,
    )


def called(function: str) -> Text:
    """Return a function as the place of what it does when the grader calls it."""
    return msg("{function}, called by the grader", function=function)


def _as_written(call: IcrCall) -> Icr:
    """Return a call of apic_write_icr as a write; an id may need more bits than an xAPIC has."""
    return Icr(0, call.low, call.dest, 0.0)
