"""What is wrong with the IPIs that start the APs: their fields, their targets, the delays.

Functions from an Observation to a Failure, or None. Most of these mistakes leave a machine that
goes on: such a failure has `goes_on`, and later checks mean something all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from vmmlab.base.message import Text, listed, msg
from vmmlab.diagnosis import othertables, owncalls
from vmmlab.diagnosis.othertables import called
from vmmlab.failure import Failure
from vmmlab.observe.icr import Icr, icr_text
from vmmlab.observe.observation import Observation
from vmmlab.observe.starting import IcrCall, Starting
from vmmlab.x86.icr import BrokenRule, broken_rules

_HALF: Final = 0xFFFF
_LONG_US: Final = 250_000
"""Longer than any time that a student would write as a number."""
_DE_ASSERT: Final = "INIT level de-assert"
_NO_DE_ASSERT: Final = msg(
    "An INIT with ICR_ASSERT was sent before this one. If this one is meant to be the level "
    "de-assert, it needs ICR_LEVEL, bit 15: a de-assert is level triggered."
)
_SENDERS: Final = {"INIT": "apic_send_init", "SIPI": "apic_send_startup_ipi"}


def sender_of(kind: str) -> Text:
    """Return where an INIT or a SIPI is sent, as messages name it."""
    return msg("{function}, interrupt command register", function=_SENDERS[kind])


# --- the interrupt command register ---------------------------------------------------------------


def as_write(call: IcrCall) -> Icr:
    """Return the write of the ICR that a call of apic_write_icr makes (core/apic.c)."""
    return Icr(0, call.low, call.dest & 0xFF, 0.0)


def reaching(boot: Observation, cpu: int, kind: str) -> list[int]:
    """Return the numbers of the calls of apic_write_icr that send an IPI of a kind to a CPU."""
    calls = boot.starting.calls if boot.starting else ()
    writes = [as_write(call) for call in calls]
    return [at for at, one in enumerate(writes) if one.kind == kind and boot.reaches(one, cpu)]


def wrong_word(boot: Observation, kind: str) -> Failure | None:
    """Return a write of an INIT or a SIPI that breaks a rule of the manual, if there is one."""
    sent = boot.sent(kind)
    for number, write in enumerate(sent):
        for broken in broken_rules(write.low):
            found = _wrong_word(write, kind, broken)
            again = kind == "INIT" and broken.rule == "assert" and number
            return replace(found, next=_NO_DE_ASSERT) if again else found
    return None


def _wrong_word(write: Icr, kind: str, broken: BrokenRule) -> Failure:
    section = broken.section
    observed: Text = msg("{write}: the bits {bits:#x} are 1", write=write.text, bits=broken.bits)
    if broken.rule == "assert":
        cause = "init-without-assert" if kind == "INIT" else "sipi-without-assert"
        expected = msg("level assert: bit 14 is 1 (SDM vol. 3, {section})", section=section)
        observed = write.text
    elif broken.rule == "edge":
        cause = "ipi-level-triggered"
        expected = msg("edge triggered: bit 15 is 0 (SDM vol. 3, {section})", section=section)
    elif broken.rule == "vector":
        cause = "init-with-vector"
        expected = msg("an INIT with vector 0: bits 7..0 (SDM vol. 3, {section})", section=section)
    else:
        cause = "icr-reserved-bits"
        expected = msg("0 in the reserved bits (SDM vol. 3, {section})", section=section)
    return Failure(
        cause,
        cpu=write.cpu,
        place=sender_of(kind),
        expected=expected,
        observed=observed,
        function=_SENDERS[kind],
        goes_on=True,
    )


def written_directly(boot: Observation, kind: str) -> Failure | None:
    """Return an INIT or a SIPI of the BSP that apic_write_icr did not send, if there is one."""
    if boot.starting is None:
        return None
    calls = list(boot.starting.calls)
    for write in boot.icr:
        if write.cpu not in (0, None):
            continue
        if calls and calls[0].low == write.low:
            del calls[0]
        elif write.kind == kind:
            return Failure(
                "icr-written-directly",
                cpu=0,
                place=sender_of(kind),
                expected=msg("every IPI is sent by apic_write_icr"),
                observed=msg("{write}, by a store to the ICR", write=write.text),
                function=_SENDERS[kind],
                goes_on=True,
            )
    return None


def destination(boot: Observation, kind: str) -> Text:
    """Return in words whom the IPIs of a kind reach, and why, where that is not obvious."""
    said: list[Text] = []
    calls = boot.starting.calls if boot.starting else ()
    for call in dict.fromkeys((call.dest, call.low) for call in calls):
        write = as_write(IcrCall(*call, 0, 0))
        if write.kind == kind and write.shorthand == "none" and (why := _why(write, call[0])):
            said.append(why)
        elif as_write(IcrCall(call[1], call[0], 0, 0)).kind == kind != write.kind:
            said.append(
                msg(
                    "apic_write_icr ({dest:#x}, {low:#x}): the APIC id comes first, and the word "
                    "for the ICR second",
                    dest=call[0],
                    low=call[1],
                )
            )
    return listed(said, "; ")


def _why(write: Icr, asked: int) -> Text:
    if asked > 0xFF:
        return msg(
            "apic_write_icr ({asked:#x}, {low:#x}) shifts the id to bits 31..24 by itself, so APIC "
            "id {id} is reached",
            asked=asked,
            low=write.low,
            id=write.dest,
        )
    if write.logical:
        return msg(
            "{low:#x} has bit 11, a logical destination: it is compared with the LDR of each CPU, "
            "which is 0, so no CPU is reached",
            low=write.low,
        )
    if write.dest == 0xFF:
        return msg("the destination 0xff is all CPUs, the sender too")
    if write.dest == 0:
        return msg("{low:#x} has no shorthand, and APIC id 0 is the BSP", low=write.low)
    return ""


def init_again(boot: Observation, cpu: int, alone: Observation | None = None) -> Failure | None:
    """Return an INIT that reaches an AP after a SIPI has, if there is one.

    Args:
        boot: the boot.
        cpu: index of the AP.
        alone: the boot with the grader's own calls, if there is one.
    """
    sipis, inits = (reaching(boot, cpu, kind) for kind in ("SIPI", "INIT"))
    ends = reaching(boot, cpu, _DE_ASSERT)
    if boot.starting is None:  # this boot does not follow ap_start
        sent = [(one.kind, boot.reaches(one, cpu)) for one in boot.icr]
        sipis = [at for at, one in enumerate(sent) if one == ("SIPI", True)]
        inits = [at for at, one in enumerate(sent) if one == ("INIT", True)]
        ends = [at for at, one in enumerate(sent) if one == (_DE_ASSERT, True)]
    later = [at for at in (*inits, *ends) if sipis and at > sipis[0]]
    if not later:
        return None
    by = "ap_start_addr"
    if alone is not None:
        with_sipi = owncalls.sent_with_sipi(alone)
        once = owncalls.sends_one_init(alone)
        by = "apic_send_startup_ipi" if with_sipi else "ap_start" if once else by
    only_ends = not set(later) - set(ends)
    if only_ends and alone is not None:
        by = _ends_late(alone)
    return Failure(
        "init-after-sipi",
        cpu=cpu,
        place=by,
        expected=msg("no INIT once a SIPI has been sent"),
        observed=msg(
            "IPI number {number} is an INIT, and CPU {cpu} had got a SIPI before: it is reset",
            number=later[0] + 1,
            cpu=cpu,
        )
        if not only_ends
        else msg(
            "IPI number {number} is the level de-assert that ends an INIT, and CPU {cpu} had got a "
            "SIPI before",
            number=later[0] + 1,
            cpu=cpu,
        ),
        next=msg(
            "A level de-assert may follow INIT only before the first SIPI. Most processors need "
            "none: leave it out, or send it in apic_send_init."
        )
        if only_ends
        else "",
        goes_on=True,
    )


def _ends_late(alone: Observation) -> str:
    """Return the function that sends the level de-assert after a SIPI, as the grader's calls show.

    Args:
        alone: the boot with these calls.
    """
    sent = owncalls.sent_by(alone)
    for function in ("apic_send_startup_ipi", "ap_start_addr"):
        kinds = [one.kind for one in sent.get(function, ())]
        if "SIPI" in kinds and _DE_ASSERT in kinds[kinds.index("SIPI") :]:
            return function
    return "ap_start"


def init_with_sipi(boot: Observation, cpu: int, alone: Observation) -> Failure | None:
    """Return an INIT that apic_send_startup_ipi sends, if it does.

    Args:
        boot: the boot.
        cpu: index of an AP.
        alone: the boot with the grader's own calls.
    """
    sent = owncalls.sent_with_sipi(alone)
    if not sent:
        return None
    found = init_again(boot, cpu, alone)
    return found or Failure(
        "init-after-sipi",
        cpu=cpu,
        place="apic_send_startup_ipi",
        expected=msg("no INIT once a SIPI has been sent"),
        observed=icr_text(sent),
        goes_on=True,
    )


def sipi_after_all(boot: Observation, cpu: int, alone: Observation | None = None) -> Failure | None:
    """Return a SIPI that was sent although all APs had counted themselves in, if there is one.

    Args:
        boot: the boot.
        cpu: index of an AP.
        alone: the boot with the grader's own calls, if there is one.
    """
    calls = boot.starting.calls if boot.starting else ()
    if alone is not None and owncalls.sends_another_number(alone):
        return None  # ap_start_addr sends SIPIs that ap_start_loopcond is not asked about
    for at in reaching(boot, cpu, "SIPI"):
        if at and calls[at - 1].counted == len(boot.aps) and calls[at - 1].is_sipi:
            return Failure(
                "sipi-after-all-arrived",
                cpu=cpu,
                place="ap_start_loopcond",
                expected=msg(
                    "no SIPI once *apinitprocs is {aps}: the ACPI tables list {cpus} processors, "
                    "and one of them is the BSP",
                    aps=len(boot.aps),
                    cpus=len(boot.cpus),
                ),
                observed=msg(
                    "*apinitprocs was {aps} after IPI number {before}, and number {number} is "
                    "another SIPI",
                    aps=len(boot.aps),
                    before=at,
                    number=at + 1,
                ),
                goes_on=True,
            )
    return None


def another_kind(boot: Observation, alone: Observation | None = None) -> Failure | None:
    """Return an IPI of ap_start that is no INIT, no de-assert and no SIPI, if there is one.

    Args:
        boot: the boot.
        alone: the boot with the grader's own calls, which tell the function that sends it.
    """
    for call in boot.starting.calls if boot.starting else ():
        write = as_write(call)
        if _is_foreign(write):
            sent = owncalls.sent_by(alone) if alone is not None else {}
            by = (name for name, writes in sent.items() if any(map(_is_foreign, writes)))
            return Failure(
                "ipi-of-another-kind",
                cpu=0,
                place=next(by, "ap_start"),
                expected=msg("no IPIs but INIT, INIT level de-assert and SIPI"),
                observed=write.text,
                goes_on=True,
            )
    return None


def _is_foreign(write: Icr) -> bool:
    return write.kind not in ("INIT", _DE_ASSERT, "SIPI")


def disturbing(boot: Observation, alone: Observation | None = None) -> Failure | None:
    """Return an IPI of another kind where all else depends on whether an AP takes it: on luck.

    Args:
        boot: the boot.
        alone: as for `another_kind`.
    """
    found = another_kind(boot, alone)
    return replace(found, goes_on=False) if found is not None else None


# --- delays ---------------------------------------------------------------------------------------


def wrong_delay(boot: Observation) -> Failure | None:
    """Return a delay after an INIT or a SIPI that is not as long as ap_delays says."""
    found = list(_wrong_delays(boot))
    short = (one for one in found if one.cause.startswith("no-"))
    return next(short, found[0] if found else None)


def _wrong_delays(boot: Observation) -> Iterator[Failure]:
    start = boot.starting
    for ap in boot.aps if start else ():
        assert start is not None
        sipis, inits = (reaching(boot, ap.index, kind) for kind in ("SIPI", "INIT"))
        before = [at for at in inits if sipis and at < sipis[0]]
        if not before:
            continue
        spans: list[tuple[str, int, int, int | None]] = []
        spans.append(("init", start.init_us, before[-1], sipis[0]))
        for at, end in zip(sipis, [*sipis[1:], None], strict=True):
            # Without ap_wait nothing tells where the last delay ends: the BSP may wait by itself.
            if end is not None or start.at_ap_wait is not None:
                spans.append(("sipi", start.sipi_us, at, end))
        for what, asked, after, until in spans:
            if (found := _judged(what, asked, *_slept(start, after, until))) is not None:
                yield found


def wrong_short_delay(boot: Observation) -> Failure | None:
    """Return a delay that is wrong in a call that the grader made with short times in ap_delays."""
    made = boot.own_calls
    if made is None or made.slept_init_us is None or owncalls.sends_another_number(boot):
        return None
    found = _judged("init", made.init_us, made.slept_init_us, 0)
    if found is None and made.slept_us is not None:
        each, more = divmod(made.slept_us - made.slept_init_us, made.times)
        found = _judged("sipi", made.sipi_us, each + bool(more), 0)
    if found is None:
        return None
    slept = made.slept_init_us if "init" in found.cause else made.slept_us
    if "init" in found.cause and not made.init_sent:
        return replace(
            found,
            place=called("ap_start_addr"),
            function="ap_start_addr",
            observed=msg("it sent no INIT when loopcond (data) returned false at once"),
            next=msg("INIT and the wait after it come first. Then ap_start_addr asks loopcond."),
        )
    return replace(
        found,
        place=called("ap_start_addr"),
        function="ap_start_addr",
        observed=msg(
            "the grader has called it for {count} SIPIs; it asked usleep for {slept} microseconds "
            "in all",
            count=0 if "init" in found.cause else made.times,
            slept=slept or 0,
        ),
        next=msg(
            "ap_delays has other values in this call. Read it in every call, and keep no number "
            "from an earlier one."
        )
        if slept
        else "",
    )


def _slept(start: Starting, after: int, until: int | None) -> tuple[int, int]:
    """Return microseconds and calls of usleep between two IPIs, or to the end of ap_start."""
    between = start.calls[after + 1 : None if until is None else until + 1]
    more = (start.slept_us or 0, start.sleeps) if until is None else (0, 0)
    return (
        sum(call.slept_us for call in between) + more[0],
        sum(call.sleeps for call in between) + more[1],
    )


def _judged(what: str, asked: int, slept: int, sleeps: int) -> Failure | None:
    if asked <= slept <= 2 * asked:
        return None
    field = f"ap_delays.{what}_us"
    expected = (
        msg("{asked} microseconds ({field}) between INIT and the first SIPI", **_of(asked, field))
        if what == "init"
        else msg("{asked} microseconds ({field}) after each SIPI", **_of(asked, field))
    )
    observed: Text = msg("usleep was not called there")
    if sleeps == 1 and slept == asked & _HALF:
        observed = msg("usleep ({slept}) was called there: its low 16 bits only", slept=slept)
    elif sleeps == 1:
        observed = msg("usleep ({slept}) was called there", slept=slept)
    elif sleeps:
        observed = msg(
            "{sleeps} calls of usleep there ask for {slept} microseconds together",
            sleeps=sleeps,
            slept=slept,
        )
    if what == "init":
        cause = "no-delay-after-init" if slept < asked else "another-delay-after-init"
    else:
        cause = "no-delay-after-sipi" if slept < asked else "another-delay-after-sipi"
    return Failure(
        cause,
        cpu=0,
        place="ap_start_addr",
        expected=expected,
        observed=observed,
        next=msg(
            "Do you multiply the time? A product of two numbers of 32 bits may need more than 32."
        )
        if sleeps == 1 and _LONG_US < slept < asked and slept != asked & _HALF
        else "",
        goes_on=True,
    )


def _of(asked: int, field: str) -> dict[str, int | str]:
    return {"asked": asked, "field": field}


def none_without_tables(boot: Observation, late: Observation, cpu: int) -> Failure | None:
    """Return that fewer SIPIs are sent without ACPI tables than for an AP that does not arrive.

    Args:
        boot: a boot without tables.
        late: a boot in which an AP does not arrive.
        cpu: index of that AP.
    """
    made = boot.own_calls
    writes = boot.icr[: made.writes] if made is not None and made.writes else boot.icr
    sent = sum(one.kind == "SIPI" and one.reaches(1, 0) for one in writes)
    most = sum(one.kind == "SIPI" and late.reaches(one, cpu) for one in late.icr)
    right = max(min(most, 3), 1)
    if sent >= right:
        return othertables.stops_unlisted(made) if made else None
    return Failure(
        "no-sipi-without-tables",
        cpu=0,
        place="ap_start_loopcond",
        expected=msg(
            "as many SIPIs as for an AP that does not arrive, {count}: acpi_num_of_processors () "
            "is 0, so the number of APs is not known",
            count=right,
        ),
        observed=msg("{count} SIPIs that reach another CPU than the BSP", count=sent),
        goes_on=True,
    )
