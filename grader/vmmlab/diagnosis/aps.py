"""Why an AP did not reach a milestone, and what keeps CPUs from parking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vmmlab.base.message import Text, listed, msg
from vmmlab.diagnosis.bsp import bsp_stopped, code_text
from vmmlab.diagnosis.cut_short import cut_short
from vmmlab.diagnosis.halting import crash, gave_up
from vmmlab.diagnosis.passage import disturbed
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.diagnosis.trampoline import died_in_trampoline, missed_trampoline
from vmmlab.failure import Failure
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuRecord
from vmmlab.observe.icr import apic_id
from vmmlab.observe.milestones import (
    AP_ENTRY,
    BOOT_STACK,
    NUMBERED,
    OWN_STACK,
    PARKED,
    PARKED_BY_ITSELF,
    PHYSICAL_0,
    WAITING,
    Milestone,
)
from vmmlab.observe.observation import Observation

_JUMPS: Final = {
    AP_ENTRY: ("trampoline", "ap_entry"),
    BOOT_STACK: ("apinit_enter", "apinitproc0"),
    OWN_STACK: ("apinitproc0", "apinitproc1"),
    NUMBERED: ("apinitproc1", "segment_init_ap"),
}
"""For a milestone that is a place: the code that leads there, and the place."""


def place_of(milestone: Milestone) -> Text:
    """Return where a CPU reaches a milestone, as messages name it."""
    code, place = _JUMPS.get(milestone, ("", ""))
    if not code:
        return milestone.title
    return msg("{code}, at its jump to {place}", code=code, place=place)


def why_not(boot: Observation, cpu: CpuRecord, milestone: Milestone) -> Failure:
    """Return why an AP did not reach a milestone.

    Args:
        boot: the boot.
        cpu: an AP that did not reach `milestone`.
        milestone: the one that it should have reached.
    """
    if todo := stopped_at_todo(boot, [cpu]):
        return todo
    return cut_short(boot, _why_not(boot, cpu, milestone))


def _why_not(boot: Observation, cpu: CpuRecord, milestone: Milestone) -> Failure:
    if milestone == AP_ENTRY and (low := _at_physical_ap_entry(boot, cpu)):
        return low
    if found := disturbed(boot, cpu):
        return found
    high = cpu.highest
    expected = milestone.goal_of(cpu.name)
    if high == WAITING:
        idle = _waits(cpu) or was_left_alone(boot, cpu)
        return bsp_stopped(boot) or (
            never_started(boot, cpu) if idle else _somewhere(cpu, expected)
        )
    if high > milestone:
        return _passed_by(cpu, milestone, expected)
    if found := parked_by_itself(cpu):
        return found
    if high == PHYSICAL_0:
        return missed_trampoline(boot, cpu)
    if milestone == AP_ENTRY and _went_on_in_the_image(boot, cpu):
        return _passed_by(cpu, milestone, expected)
    if high < AP_ENTRY:
        return died_in_trampoline(boot, cpu, expected)
    if todo := stopped_at_todo(boot, boot.aps):
        return todo  # another AP ran into it, and this one waits for that one
    return _stuck_later(boot, cpu, expected)


def not_reached(boot: Observation, cpu: CpuRecord, milestone: Milestone) -> Failure | None:
    """Return why an AP is not at a milestone; None if it was recorded there."""
    return None if cpu.reached(milestone) else why_not(boot, cpu, milestone)


def waits_for_sipi(cpu: CpuRecord) -> bool:
    """Whether a CPU is still at the reset vector, where INIT has put it."""
    return (cpu.end.cs, cpu.end.rip & 0xFFFF) == (0xF000, 0xFFF0)


def _waits(cpu: CpuRecord) -> bool:
    return cpu.end_kind == "waiting-for-sipi" and waits_for_sipi(cpu)


def was_left_alone(boot: Observation, cpu: CpuRecord) -> bool:
    """Whether an AP is where the firmware has left it, because no SIPI has reached it.

    An INIT alone need not be seen: QEMU 7.2 does not wake a halted CPU for it.
    """
    called = any(boot.reaches(one, cpu.index) for one in boot.sent("SIPI"))
    return bool(boot.icr) and not called and cpu.end_place.in_firmware


def why_not_all_parked(boot: Observation) -> Failure | None:
    """Return what kept CPUs from parking: a TODO, a fault, a lost AP, a BSP that waits."""
    if boot.all_parked:
        return None
    if found := stopped_at_todo(boot) or bsp_stopped(boot):
        return found
    for cpu in boot.cpus:
        if found := parked_by_itself(cpu):
            return found
    for ap in boot.aps:
        if gave_up(ap):
            return why_not(boot, ap, PARKED)
    for ap in boot.aps:
        if not ap.reached(NUMBERED):
            return why_not(boot, ap, NUMBERED)
    return cut_short(boot, _not_parked(boot))


def first_fault(boot: Observation) -> Failure | None:
    """Return the first exception or panic of a boot: a later one can be its consequence."""
    hit = next((one for one in boot.hits if one.place in ("exception_panic", "panic")), None)
    if hit is None:
        return None
    return why_not(boot, boot.cpus[hit.cpu], PARKED) if hit.cpu else bsp_stopped(boot)


def ends_otherwise(boots: Sequence[Observation], plain: str) -> Failure | None:
    """Return how the plain boot ended, if all CPUs park in every other boot but not in that one.

    Args:
        boots: all boots.
        plain: name of the scenario in which nothing shows the VMM that it is graded.
    """
    alone = next(boot for boot in boots if boot.scenario == plain)
    if not all(boot.all_parked for boot in boots if boot is not alone):
        return None
    found = why_not_all_parked(alone)
    if found is None:
        return None
    return Failure(
        "ends-otherwise-unwatched",
        cpu=found.cpu,
        place=found.place,
        expected=msg("{count} CPUs park, as in the other boots", count=len(alone.cpus)),
        observed=found.observed,
    )


def _not_parked(boot: Observation) -> Failure:
    bsp = boot.bsp
    if bsp.end_kind != "parked" and not boot.at("bsp_proc"):
        return Failure(
            "bsp-waits-for-ever",
            cpu=0,
            place=bsp.end_place.text,
            expected=msg("all APs have their numbers, so the BSP goes on"),
            observed=msg("the BSP is still at {place}", place=bsp.end_place.text),
            next=msg(
                "Which condition does it wait for? What happens with more or fewer CPUs than four?"
            ),
        )
    stuck = next(cpu for cpu in boot.cpus if cpu.end_kind != "parked")
    return Failure(
        "cpu-not-parked",
        cpu=stuck.index,
        place=stuck.end_place.text,
        expected=msg("{count} CPUs park", count=len(boot.cpus)),
        observed=msg(
            "{cpu} ended {ending} at {place}",
            cpu=stuck.name,
            ending=stuck.ended,
            place=stuck.end_place.text,
        ),
        next=msg("It did not get through the barriers: which CPU does it wait for?"),
    )


def parked_by_itself(cpu: CpuRecord) -> Failure | None:
    """Return that a CPU has parked because the student's code called `vmm_parked`, if it did."""
    if cpu.end_kind != PARKED_BY_ITSELF:
        return None
    return Failure(
        "parked-without-barrier",
        cpu=cpu.index,
        place=cpu.end_place.text,
        expected=msg("the VMM parks a CPU, after all rounds of the barrier"),
        observed=msg("the code of this lab has called vmm_parked on {cpu}", cpu=cpu.name),
        next=msg(
            "Only the given code calls vmm_parked. Return to it, or call it through initproc_ap."
        ),
        function=cpu.end_place.lab_function,
    )


def _somewhere(cpu: CpuRecord, expected: Text) -> Failure:
    """Return where a CPU is if only its end is known."""
    cause = "ap-stuck"
    if cpu.end_place.region == "trampoline":
        cause = f"ap-died-in-{cpu.end.mode}-mode"
    elif cpu.end.mode == "real":
        cause = "ap-missed-the-trampoline"
    elif cpu.end_place.is_in("apinit_enter"):
        cause = "ap-waits-for-the-lock"
    return Failure(
        cause,
        cpu=cpu.index,
        place=cpu.end_place.text,
        expected=expected,
        observed=msg(
            "{cpu} ended {ending} at {place}: {code}",
            cpu=cpu.name,
            ending=cpu.ended,
            place=cpu.end_place.text,
            code=code_text(cpu.end_code),
        ),
        next=msg("Look at where it is, and how it got there."),
    )


def _passed_by(cpu: CpuRecord, milestone: Milestone, expected: Text) -> Failure:
    """Report a CPU that got further than a milestone without passing its place."""
    known = milestone in _JUMPS
    place: Text = _JUMPS[milestone][1] if known else milestone.title
    return Failure(
        f"{_JUMPS[milestone][1].replace('_', '-')}-passed-by" if known else "milestone-passed-by",
        cpu=cpu.index,
        place=place_of(milestone) if known else cpu.end_place.text,
        expected=expected,
        observed=msg(
            "{cpu} got as far as this milestone: {milestone}, but did not go through {place}",
            cpu=cpu.name,
            milestone=cpu.highest.title,
            place=place,
        ),
        next=msg("Jump to {place}, not to code after it.", place=place),
    )


def _went_on_in_the_image(boot: Observation, cpu: CpuRecord) -> bool:
    """Whether an AP that was not at ap_entry is in code of another stage, where that is linked."""
    elsewhere = cpu.end_place.owner != "student"
    return boot.in_image(cpu.end.pc) and cpu.end_kind == "running" and elsewhere


def _at_physical_ap_entry(boot: Observation, cpu: CpuRecord) -> Failure | None:
    """Report an AP that executes ap_entry at its physical address, not where it is linked."""
    physical = boot.symbols.get("ap_entry", 0) - VMM_BASE
    if not any(step.state.pc == physical for step in cpu.steps):
        return None
    return Failure(
        "ap-entry-at-wrong-address",
        cpu=cpu.index,
        place=place_of(AP_ENTRY),
        expected=msg(
            "ap_entry at the address where it is linked, {address:#x}", address=physical + VMM_BASE
        ),
        observed=msg(
            "{cpu} went to {address:#x}, its physical address, and runs there",
            cpu=cpu.name,
            address=physical,
        ),
        next=msg(
            "The identity map is only for the trampoline: VMM code must run where it is linked."
        ),
    )


def never_started(boot: Observation, cpu: CpuRecord) -> Failure:
    """Return why an AP executed nothing: the interrupts that were sent, and what they lacked."""
    writes = [w for w in boot.icr if w.kind in ("INIT", "SIPI", "INIT level de-assert")]
    seen = listed([w.text for w in writes], "; ") or msg("no write of an INIT or a SIPI to the ICR")
    reaching = [w for w in writes if boot.reaches(w, cpu.index)]
    kinds = [w.kind for w in reaching]
    if "INIT" not in kinds:
        cause, look = "ap-got-no-init", msg("Look at apic_send_init and at its callers.")
    elif "SIPI" not in kinds:
        cause = "ap-got-no-sipi"
        look = msg("Look at apic_send_startup_ipi and at ap_start_addr.")
    elif all(w.vector for w in reaching if w.kind == "SIPI"):
        cause = "sipi-wrong-vector"
        look = msg(
            "The SIPI's vector is a page number: the AP starts at vector * 4096. You want 0."
        )
    elif kinds.index("INIT") > kinds.index("SIPI"):
        cause = "sipi-before-init"
        look = msg("An AP takes a SIPI only while it waits for one: after INIT.")
    else:
        cause = "ap-never-started"
        look = msg(
            "Compare what apic_send_init and apic_send_startup_ipi write with SDM, vol. 3, 8.4.4."
        )
    return Failure(
        cause,
        cpu=cpu.index,
        place=msg("before its first instruction"),
        expected=msg(
            "INIT, then SIPI with vector 0, sent so that they reach this CPU, APIC id {id}",
            id=apic_id(boot.apic_ids, cpu.index),
        ),
        observed=msg(
            "{cpu} never executed an instruction; ICR writes recorded: {writes}",
            cpu=cpu.name,
            writes=seen,
        )
        if waits_for_sipi(cpu)
        else msg(
            "{cpu} is where the firmware has left it; ICR writes recorded: {writes}",
            cpu=cpu.name,
            writes=seen,
        ),
        next=look,
    )


def _stopped(cpu: CpuRecord, cause: str, expected: Text) -> Failure | None:
    """Return what an AP did that took an exception or called panic; None if it did not.

    Where it is at the end says less: somewhere in what prints that.
    """
    found = crash(cpu)
    if found is None:
        return None
    how, called = found.observed, cpu.panicked
    if cpu.exception is not None:
        cause = "ap-exception"
    elif called is not None:
        how = msg("it called panic: {text}", text=called.text)
    return replace(
        found,
        cause=cause,
        expected=expected,
        observed=msg(
            "{cpu} got as far as this milestone: {milestone}; then {how}",
            cpu=cpu.name,
            milestone=cpu.highest.title,
            how=how,
        ),
    )


_STUCK: Final = {
    AP_ENTRY: (
        "ap-waits-for-the-lock",
        msg("Which CPU holds *apinitlock, and which code releases it?"),
    ),
    BOOT_STACK: (
        "ap-lost-on-boot-stack",
        msg("Follow apinitproc0 from alloc to asm_wrrsp_and_jmp."),
    ),
    OWN_STACK: ("ap-not-numbered", msg("Follow apinitproc1 up to segment_init_ap.")),
    NUMBERED: (
        "ap-not-parked",
        msg("It has its number, but did not get through the barriers."),
    ),
}
"""For the highest milestone of an AP that goes no further: the cause, and where to look."""


def _stuck_later(boot: Observation, cpu: CpuRecord, expected: Text) -> Failure:
    """Return why an AP that reached ap_entry gets no further."""
    high = cpu.highest
    cause, look = _STUCK.get(high, ("ap-stuck", msg("Look at where it is.")))
    died = cpu.triple_fault is not None
    if died and high == AP_ENTRY:
        cause = "ap-died-at-the-lock"
        look = msg(
            "apinit_enter has no stack; apinitlock is a pointer that must be read first, "
            "before the lock."
        )
    before = [ap for ap in boot.aps if ap.reached(NUMBERED)]
    if high == AP_ENTRY and not died and len(before) == 1:
        cause = "lock-never-released"
        look = msg(
            "{cpu} has taken *apinitlock and left the boot stack: it must release the lock now.",
            cpu=before[0].name,
        )
    if stopped := _stopped(cpu, cause, expected):
        return stopped
    reset = boot.how_ended == "shutdown"
    how = msg("the machine reset") if reset else msg("it ended {ending}", ending=cpu.ended)
    return Failure(
        cause,
        cpu=cpu.index,
        place=cpu.end_place.text,
        expected=expected,
        observed=msg(
            "{cpu} got as far as this milestone: {milestone}; then {how} at {place}: {code}",
            cpu=cpu.name,
            milestone=high.title,
            how=how,
            place=cpu.end_place.text,
            code=code_text(cpu.end_code),
        ),
        next=look,
    )
