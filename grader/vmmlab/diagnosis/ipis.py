"""What is wrong with the IPIs that start the APs: the words that are sent, whom they reach, delays.

Functions from an Observation to a Failure, or None. Most of these mistakes leave a machine that
goes on: such a failure has `goes_on`, and later checks mean something all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from vmmlab.base.message import Text, listed, msg
from vmmlab.failure import Failure
from vmmlab.observe.icr import Icr, icr_text
from vmmlab.observe.observation import Observation
from vmmlab.observe.starting import IcrCall, OwnCalls, Starting
from vmmlab.x86.icr import BrokenRule, broken_rules

_HALF: Final = 0xFFFF
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
    for write in boot.sent(kind):
        for broken in broken_rules(write.low):
            return _wrong_word(write, kind, broken)
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
    if boot.starting is None:  # this boot does not follow ap_start
        sent = [(one.kind, boot.reaches(one, cpu)) for one in boot.icr]
        sipis = [at for at, one in enumerate(sent) if one == ("SIPI", True)]
        inits = [at for at, one in enumerate(sent) if one == ("INIT", True)]
    later = [at for at in inits if sipis and at > sipis[0]]
    if not later:
        return None
    return Failure(
        "init-after-sipi",
        cpu=cpu,
        place="ap_start" if alone is not None and _sends_one_init(alone) else "ap_start_addr",
        expected=msg("no INIT once a SIPI has been sent"),
        observed=msg(
            "IPI number {number} is an INIT, and CPU {cpu} had got a SIPI before: it is reset",
            number=later[0] + 1,
            cpu=cpu,
        ),
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
    if alone is not None and sends_another_number(alone):
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


def another_kind(boot: Observation) -> Failure | None:
    """Return an IPI of ap_start that is no INIT, no de-assert and no SIPI, if there is one."""
    for call in boot.starting.calls if boot.starting else ():
        write = as_write(call)
        if write.kind not in ("INIT", "INIT level de-assert", "SIPI"):
            return Failure(
                "ipi-of-another-kind",
                cpu=0,
                place="ap_start",
                expected=msg("no IPIs but INIT, INIT level de-assert and SIPI"),
                observed=write.text,
                goes_on=True,
            )
    return None


def disturbing(boot: Observation) -> Failure | None:
    """Return an IPI of another kind where all else depends on whether an AP takes it: on luck."""
    found = another_kind(boot)
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
    if made is None or made.slept_init_us is None or sends_another_number(boot):
        return None
    found = _judged("init", made.init_us, made.slept_init_us, 0)
    if found is None and made.slept_us is not None:
        each, more = divmod(made.slept_us - made.slept_init_us, made.times)
        found = _judged("sipi", made.sipi_us, each + bool(more), 0)
    if found is None:
        return None
    slept = made.slept_init_us if "init" in found.cause else made.slept_us
    return replace(
        found,
        place=msg("{function}, called by the grader", function="ap_start_addr"),
        function="ap_start_addr",
        observed=msg(
            "the grader has called it for {count} SIPIs; it asked usleep for {slept} microseconds "
            "in all",
            count=0 if "init" in found.cause else made.times,
            slept=slept or 0,
        ),
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
        cause, cpu=0, place="ap_start_addr", expected=expected, observed=observed, goes_on=True
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
        return None
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


# --- calls of the grader's own --------------------------------------------------------------------


def ignored_argument(boot: Observation) -> Failure | None:
    """Return an argument that a function of ap_start.c does not use."""
    made = boot.own_calls
    if made is None:
        return None
    if (made.first, made.count) != (1, 1) or made.last:
        return _ignored(
            "ap_start_loopcond",
            msg("true and 1 there if data points to 0; false if it points to 3"),
            msg("it returned false though data pointed to 0")
            if made.first == 0
            else msg("it left {count} there", count=made.count)
            if made.first is not None and made.count is not None and made.count != 1
            else msg("it returned true though data pointed to 3")
            if made.last
            else msg("it did not come back"),
        )  # fmt: skip
    sipis = _sent_by_own_call(boot, made, "SIPI")
    right = msg("it asks loopcond (data) before each SIPI: {times} times yes", times=made.times)
    after = boot.icr[made.sipi_writes : made.init_writes] if made.sipi_writes else ()
    if sum(_is_for_one(one, "SIPI") for one in after) > 1:
        return _ignored("apic_send_startup_ipi", msg("one SIPI for each CPU"), icr_text(after))
    if made.cond_slept_us:
        return _ignored(
            "ap_start_loopcond",
            msg("it waits for nothing"),
            msg("it asked usleep for {slept} microseconds", slept=made.cond_slept_us),
        )
    last = () if made.init_writes is None else boot.icr[made.init_writes :]
    if made.init_writes is not None and not any(_is_for_one(one, "INIT") for one in last):
        expected = msg("an INIT that reaches the CPU with APIC id 1")
        return _ignored("apic_send_init", expected, icr_text(last))
    if made.asked == 0:
        return _ignored(
            "ap_start_addr", right, msg("it never asked the loopcond that it was given")
        )
    if not made.data:
        return _ignored("ap_start_addr", right, msg("it gave loopcond another pointer than data"))
    if len(sipis) != made.times:
        return _ignored("ap_start_addr", right, msg("it sent {count} SIPIs", count=len(sipis)))
    own = [one.vector for one in after if one.kind == "SIPI"]
    if (own or made.returned) and set(own) != {made.sipi_vector}:
        return _ignored(
            "apic_send_startup_ipi",
            msg("a SIPI with vector {vector:#x}, its argument", vector=made.sipi_vector),
            msg("a SIPI with vector {vector:#x}", vector=own[0]) if own else icr_text(after),
        )
    if {one.vector for one in sipis} != {made.vector}:
        return _ignored(
            "ap_start_addr",
            msg("SIPIs with vector {vector:#x}, its argument addr", vector=made.vector),
            msg("a SIPI with vector {vector:#x}", vector=sipis[0].vector),
        )
    return None


def _sends_one_init(boot: Observation) -> bool:
    """Whether ap_start_addr, called by the grader, sends one INIT: it is called again, then."""
    made = boot.own_calls
    if made is None or not made.asked:
        return False
    return len(_sent_by_own_call(boot, made, "INIT")) == 1


def sends_another_number(boot: Observation) -> bool:
    """Whether ap_start_addr, called by the grader, sends more or fewer SIPIs than it asks for."""
    made = boot.own_calls
    if made is None or not made.asked:
        return False
    return len(_sent_by_own_call(boot, made, "SIPI")) != made.times


def _sent_by_own_call(boot: Observation, made: OwnCalls, kind: str) -> list[Icr]:
    """Return the IPIs of a kind that ap_start_addr sent to the CPU for which the grader called."""
    sent = boot.icr[made.writes : made.sipi_writes or None]
    return [one for one in sent if _is_for_one(one, kind)]


def _is_for_one(write: Icr, kind: str) -> bool:
    """Whether an IPI of a kind reaches APIC id 1, for which the grader calls the functions."""
    return write.kind == kind and write.reaches(1, 0)


def _ignored(function: str, expected: Text, observed: Text) -> Failure:
    return Failure(
        "argument-ignored",
        cpu=0,
        place=msg("{function}, called by the grader", function=function),
        expected=expected,
        observed=observed,
        function=function,
        goes_on=True,
    )
