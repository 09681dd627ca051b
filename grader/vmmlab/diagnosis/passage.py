"""How an AP behaved in the trampoline: interrupts, stores, its count, and other APs.

All of it is judged by the instructions that were single-stepped, never by what the code looks like.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Final

from vmmlab.base.message import Text, msg, template
from vmmlab.base.message import filled as _filled
from vmmlab.failure import Failure
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuRecord, Touch, TrampolineStep
from vmmlab.observe.evidence import Race
from vmmlab.observe.milestones import AP_ENTRY
from vmmlab.observe.observation import Observation
from vmmlab.x86.decode import decode
from vmmlab.x86.registers import EFLAGS_DF, EFLAGS_IF

COUNTER: Final = 4
"""Bytes of apinit_procs."""
LOCK: Final = 8
"""Bytes of apinit_lock."""
_MANY_APS: Final = 400
_HALTS: Final = "hlt"
_TRAMPOLINE: Final = "cpuinit_start"
"""The function of the trampoline's steps."""


def at(step: TrampolineStep) -> Text:
    """Return the place of an instruction of the trampoline, in words."""
    if step.place is None:
        return msg("trampoline, `{instruction}`", instruction=step.text)
    return msg("{place}, `{instruction}`", place=step.place.text, instruction=step.text)


# --- other APs ------------------------------------------------------------------------------------


def disturbed(boot: Observation, cpu: CpuRecord) -> Failure | None:
    """Return how another AP kept this one from ap_entry, if one did.

    Args:
        boot: the boot.
        cpu: an AP.
    """
    race = boot.race
    if not cpu.steps:
        return None
    if found := _by_a_stray_store(boot, cpu):
        return found
    if race is not None and race.cpu == cpu.index:
        return _waits(boot, cpu, race) if race.how == "waits" else _race(boot, cpu, race)
    waits = cpu.waits and cpu.steps and not cpu.reached(AP_ENTRY)
    return _waits(boot, cpu, None) if waits else None


def _by_a_stray_store(boot: Observation, cpu: CpuRecord) -> Failure | None:
    """Return the store of another AP, outside the copy, to memory that this one used."""
    if cpu.reached(AP_ENTRY) or cpu.waits:
        return None
    for other in boot.aps:
        # Bytes that are read as code of another width store anywhere: that is not the mistake.
        steps = takewhile(lambda one: not one.made_for, _own_steps(other))
        for step in steps if other.index != cpu.index else ():
            for touch in step.touches:
                outside = touch.writes and not touch.by_stack and not _in_copy(boot, touch)
                met = outside and _met(cpu, touch)
                if met:
                    return _spoilt(boot, cpu, other, step, touch)
    return None


def runs_zeros(step: TrampolineStep) -> bool:
    """Whether a step executes bytes of 0, which are data or nothing at all, never code."""
    return step.code[:2] == bytes(2)


def _own_steps(cpu: CpuRecord) -> list[TrampolineStep]:
    """Return the steps of an AP, up to where it executes data, without those in other's code."""
    others = ("provided", "prebuilt")
    return [
        step
        for step in takewhile(lambda one: not runs_zeros(one), cpu.steps)
        if step.place is None or step.place.region != "image" or step.place.owner not in others
    ]


def _met(cpu: CpuRecord, store: Touch) -> bool:
    """Whether an AP executed or read a byte of what a store wrote."""
    return any(
        store.covers(step.state.pc, len(step.code))
        or any(
            touch.reads and touch.address is not None and store.covers(touch.address, touch.size)
            for touch in step.touches
        )
        for step in cpu.steps
    )


def _spoilt(
    boot: Observation, cpu: CpuRecord, other: CpuRecord, step: TrampolineStep, touch: Touch
) -> Failure:
    return Failure(
        "trampoline-overrun",
        cpu=other.index,
        place=at(step),
        expected=_inside(boot),
        observed=msg(
            "`{instruction}` of {other} wrote {size} bytes to {where}, which {cpu} uses too; "
            "{cpu} ended after `{last}`",
            instruction=step.text,
            other=other.name,
            size=touch.size,
            where=memory(boot, touch.address),
            cpu=cpu.name,
            last=cpu.steps[-1].text,
        ),
        function=_TRAMPOLINE,
    )


def _race(boot: Observation, cpu: CpuRecord, race: Race) -> Failure:
    if race.mine.text == _HALTS and (before := _came_after(boot, cpu)) > _MANY_APS:
        return _turned_away(cpu, race.mine, before)
    other = f"CPU {race.other}"
    if race.how == "left-out":
        observed = msg(
            "{cpu} never executed `{its}`, before which {other} stood still: it relies on what "
            "{other} was about to do; it ended after `{mine}`",
            cpu=cpu.name,
            its=race.its.text,
            other=other,
            mine=race.mine.text,
        )
        place = at(race.its)
    else:
        observed = msg(
            "before `{mine}` of {cpu}, {other} executed `{its}` and left {found} at "
            "{memory}, where {cpu} needs {meant}",
            mine=race.mine.text,
            cpu=cpu.name,
            other=other,
            its=race.its.text,
            found=race.found[:8].hex(" "),
            memory=memory(boot, race.address),
            meant=race.meant[:8].hex(" "),
        )
        place = at(race.its)
    return Failure(
        "trampoline-race",
        cpu=cpu.index,
        place=place,
        expected=msg("each AP reaches ap_entry, wherever another one is at that moment"),
        observed=observed,
        function=_TRAMPOLINE,
    )


def _turned_away(cpu: CpuRecord, step: TrampolineStep, before: int) -> Failure:
    """Return that an AP halted because many others seemed to have come before it."""
    return Failure(
        "ap-turned-away",
        cpu=cpu.index,
        place=at(step),
        expected=msg("each AP reaches ap_entry, however many have come before it"),
        observed=msg(
            "{cpu} halted: when it came, apinit_procs was {number}, as if so many APs had come "
            "before",
            cpu=cpu.name,
            number=before,
        ),
        function=_TRAMPOLINE,
    )


def _waits(boot: Observation, cpu: CpuRecord, race: Race | None) -> Failure:
    loop = _loop(cpu)
    reads = [touch for step in loop for touch in step.touches if touch.reads]
    where = memory(boot, reads[0].address) if reads else msg("no memory")
    last = loop[-1] if loop else cpu.steps[-1]
    first = next((step for step in loop if step.touches), last)
    values: dict[str, Text] = {"cpu": cpu.name, "instruction": first.text, "where": where}
    observed = msg(
        "{cpu} goes round at `{instruction}`, which reads {where}, and only another CPU can end "
        "that",
        **values,
    )
    if race is not None:
        observed = msg(
            "{cpu} goes round at `{instruction}`, which reads {where}, as long as CPU {other} "
            "stands at `{its}`",
            **values,
            other=race.other,
            its=race.its.text,
        )
    return Failure(
        "trampoline-waits",
        cpu=cpu.index,
        place=at(first),
        expected=msg("each AP reaches ap_entry, even if all other CPUs stand still"),
        observed=observed,
        function=_TRAMPOLINE,
    )


def _loop(cpu: CpuRecord) -> tuple[TrampolineStep, ...]:
    """Return the last lap of the loop that an AP went round in."""
    if not cpu.steps:
        return ()
    end = cpu.steps[-1].state.pc
    for back in range(2, len(cpu.steps) + 1):
        if cpu.steps[-back].state.pc == end:
            return cpu.steps[-back + 1 :]
    return cpu.steps[-1:]


def memory(boot: Observation, address: int | None) -> Text:
    """Return a physical address as a student finds it: a label of the copy, or the distance."""
    copy = boot.trampoline
    if address is None:
        return msg("an address where nothing is mapped")
    for label, label_at, size in (
        ("apinit_procs", copy.procs_at, COUNTER),
        ("apinit_lock", copy.lock_at, LOCK),
    ):
        if label_at is not None and label_at <= address < label_at + size:
            return msg("{label}, physical {address:#x}", label=label, address=address)
    if address in boot.copy_range:
        return msg(
            "physical {address:#x}, cpuinit_start + {offset:#x} in the copy",
            address=address,
            offset=address - boot.apinit_addr,
        )
    if boot.in_image(address + VMM_BASE):
        return msg(
            "physical {address:#x}, which is in the VMM: {linked:#x}",
            address=address,
            linked=address + VMM_BASE,
        )
    return msg("physical {address:#x}", address=address)


def not_followed(boot: Observation, cpu: CpuRecord) -> Failure | None:
    """Return why the way of an AP could not be followed to its end, if that is so."""
    if cpu.followed or not cpu.steps:
        return None
    if cpu.waits:
        return disturbed(boot, cpu) or _waits(boot, cpu, None)
    if not cpu.reached(AP_ENTRY):
        return None
    return Failure(
        "trampoline-not-followed",
        cpu=cpu.index,
        place=at(cpu.steps[-1]) if cpu.steps else cpu.end_place.text,
        expected=msg("ap_entry after at most 2000 instructions, whatever other CPUs do"),
        observed=msg(
            "{cpu} was not there after {count} instructions", cpu=cpu.name, count=len(cpu.steps)
        ),
    )


# --- interrupts -----------------------------------------------------------------------------------


def interrupts_on(cpu: CpuRecord) -> Failure | None:
    """Return where an AP turned interrupts on before ap_entry, if it did."""
    states = [step.state for step in cpu.steps]
    if cpu.reached(AP_ENTRY):
        states.append(cpu.at(AP_ENTRY))
    on = next((at for at, state in enumerate(states) if state.eflags & EFLAGS_IF), None)
    if on is None:
        return None
    still = bool(states[-1].eflags & EFLAGS_IF)
    culprit = cpu.steps[max(on - 1, 0)] if cpu.steps else None
    what = template("after `{instruction}`, EFLAGS = {eflags:#x}: IF (bit 9) is set")
    told = _filled(what, instruction=culprit.text if culprit else "", eflags=states[on].eflags)
    return Failure(
        "interrupts-on",
        cpu=cpu.index,
        place=at(culprit) if culprit else "",
        expected=msg("interrupts stay off from physical address 0 to ap_entry"),
        observed=msg("{told}, and still so at ap_entry", told=told)
        if still and cpu.reached(AP_ENTRY)
        else msg(
            "{told}, for {count} instructions",
            told=told,
            count=sum(bool(state.eflags & EFLAGS_IF) for state in states),
        ),
    )


def backwards(cpu: CpuRecord) -> Failure | None:
    """Return what set the direction flag of an AP that comes to ap_entry with it."""
    if not cpu.reached(AP_ENTRY) or not cpu.at(AP_ENTRY).eflags & EFLAGS_DF:
        return None
    clear = [step for step, after in zip(cpu.steps, cpu.steps[1:], strict=False)
             if not step.state.eflags & EFLAGS_DF and after.state.eflags & EFLAGS_DF]  # fmt: skip
    setter = clear[-1] if clear else cpu.steps[-1]
    return Failure(
        "direction-flag-set",
        cpu=cpu.index,
        place=at(setter),
        expected=msg("the direction flag, bit 10 of EFLAGS, is clear at ap_entry"),
        observed=msg(
            "after `{instruction}` it is set, and still so at ap_entry: EFLAGS = {eflags:#x}",
            instruction=setter.text,
            eflags=cpu.at(AP_ENTRY).eflags,
        ),
    )


# --- stores ---------------------------------------------------------------------------------------


def stack_used(cpu: CpuRecord) -> Failure | None:
    """Return the first instruction of an AP that used a stack, if one did."""
    for step in cpu.steps:
        decoded = decode(step.code, step.state.pc, step.state.bits)
        if decoded and decoded.uses_stack:
            return Failure(
                "trampoline-uses-stack",
                cpu=cpu.index,
                place=at(step),
                expected=msg("no push, pop, call or ret"),
                observed=msg(
                    "`{instruction}` sets SP to BP, {bp:#x}, and pops BP from there",
                    instruction=step.text,
                    bp=step.state.rbp,
                )
                if decoded.name == "leave"
                else msg(
                    "`{instruction}` with SP = {sp:#x}", instruction=step.text, sp=step.state.rsp
                ),
            )
    return None


def stored_outside(boot: Observation, cpu: CpuRecord) -> Failure | None:
    """Return the first store of an AP that is not in the copy, or is in the lock there."""
    lock = boot.trampoline.lock_at
    for step in _own_steps(cpu):
        for touch in step.touches:
            if not touch.writes or touch.by_stack:
                continue
            if not _in_copy(boot, touch):
                return _outside(boot, cpu, step, touch)
            if lock is not None and touch.covers(lock, LOCK):
                return Failure(
                    "trampoline-writes-lock",
                    cpu=cpu.index,
                    place=at(step),
                    expected=msg("apinit_lock is left alone until ap_entry"),
                    observed=msg(
                        "`{instruction}` of {cpu} wrote {value} to {where}",
                        instruction=step.text,
                        cpu=cpu.name,
                        value=touch.value.hex(" "),
                        where=memory(boot, touch.address),
                    ),
                )
    if cpu.overrun is None:
        return None
    seen = (ap for ap in boot.aps if any(t.covers(cpu.overrun, 1) for t in _written_by(ap)))
    return Failure(
        "trampoline-overrun",
        cpu=cpu.index,
        place=msg("physical {address:#x}", address=cpu.overrun),
        expected=_inside(boot),
        observed=msg("{cpu} wrote to {address:#x}", cpu=next(seen, cpu).name, address=cpu.overrun),
    )


def _written_by(cpu: CpuRecord) -> Iterator[Touch]:
    yield from (touch for step in cpu.steps for touch in step.touches if touch.writes)


def _in_copy(boot: Observation, touch: Touch) -> bool:
    """Whether all that an instruction reached there is in the copy of the trampoline."""
    first = touch.address
    copy = boot.copy_range
    return first is not None and copy.start <= first and first + touch.size <= copy.stop


def _inside(boot: Observation) -> Text:
    return msg(
        "nothing is written outside the copy, {first:#x} to {last:#x}",
        first=boot.copy_range[0],
        last=boot.copy_range[-1],
    )


def _outside(boot: Observation, cpu: CpuRecord, step: TrampolineStep, touch: Touch) -> Failure:
    return Failure(
        "trampoline-overrun",
        cpu=cpu.index,
        place=at(step),
        expected=_inside(boot),
        observed=msg(
            "`{instruction}` of {cpu} wrote {size} bytes to {where}",
            instruction=step.text,
            cpu=cpu.name,
            size=touch.size,
            where=memory(boot, touch.address),
        ),
        next=msg(
            "When {cpu} came, apinit_procs was {number}, as if so many APs had come before. Up to "
            "511 may come: has your table a place for each?",
            cpu=cpu.name,
            number=before,
        )
        if (before := _came_after(boot, cpu)) > _MANY_APS and "(" in step.text
        else "",
    )


def _came_after(boot: Observation, cpu: CpuRecord) -> int:
    """Return how many APs had counted when an AP did; 0 if that is not known."""
    counts = (t for t in _written_by(cpu) if t.address == boot.trampoline.procs_at)
    last = next((int.from_bytes(t.value, "little") for t in counts if t.value), 1)
    return last - 1


# --- apinit_procs and apinit_lock --------------------------------------------------------------


def misaligned(boot: Observation) -> Failure | None:
    """Return which of apinit_procs and apinit_lock is not where it must be, if one is not."""
    start, size = boot.apinit_addr, len(boot.copy_range)
    for label, where, width in (
        ("apinit_procs", boot.trampoline.procs_at, COUNTER),
        ("apinit_lock", boot.trampoline.lock_at, LOCK),
    ):
        if where is None:
            continue
        values: dict[str, Text | int] = {"label": label, "offset": where - start, "width": width}
        observed: Text = ""
        if where < start or where + width > start + size:
            observed = msg(
                "{label} is cpuinit_start + {offset:#x}, and the copy has {size} bytes",
                size=size,
                **values,
            )
        elif (where - start) % width:
            observed = msg("{label} is cpuinit_start + {offset:#x}", **values)
        if observed:
            return Failure(
                "apinit-words-misplaced",
                cpu=0,
                place=msg("{label}, in the trampoline", label=label),
                expected=msg(
                    "{label} has {width} bytes between cpuinit_start and cpuinit_end, and its "
                    "distance from cpuinit_start is a multiple of {width}",
                    **values,
                ),
                observed=observed,
            )
    procs, lock = boot.trampoline.procs_at, boot.trampoline.lock_at
    if procs is not None and lock is not None and (procs < lock + LOCK and lock < procs + COUNTER):
        return Failure(
            "apinit-words-misplaced",
            cpu=0,
            place=msg("trampoline"),
            expected=msg("apinit_procs and apinit_lock do not share a byte"),
            observed=msg(
                "apinit_procs is cpuinit_start + {procs:#x}, apinit_lock cpuinit_start + {lock:#x}",
                procs=procs - start,
                lock=lock - start,
            ),
        )
    return None
