"""Lets all APs of a boot run through the trampoline together, so that they can disturb each other.

All APs run the trampoline at the same time. One AP after the other would show none of the mistakes
that this makes possible. So one AP, the first in what follows, is held before it stores anything
but its count, while the second one passes. Then the first and the third go on in turn: the third is
stopped before it uses what it has stored, until the first one has stored there, too. All is
single-stepped: the same code gives the same record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from vmmlab.observe.cpu import CpuState, Touch, TrampolineStep
from vmmlab.observe.evidence import Race
from vmmlab.observe.insight import Looked
from vmmlab.observe.milestones import AP_ENTRY
from vmmlab.observe.session import Session
from vmmlab.observe.trampoline import Stepper, StopBefore

Shared = Callable[[Touch], bool]
"""Whether memory is in the copy and not the counter."""
How = Literal["overwritten", "waits"]
_COLLISIONS: Final = 130
"""How often the compare-and-exchange of an AP finds that another one has counted."""
_COLLIDED: Final = 900
"""Instructions after which no more collisions come: an AP may execute 2000 in all."""
_COME_BEFORE: Final = 450
"""APs that seem to have counted before one: what it makes of their number has room for as many."""
_LOOP: Final = 8  # instructions, at most, of a loop that waits
_LAST: Final = 2  # instructions of an AP, at most, that may be what it died of
_COUNTER: Final = 4  # bytes of apinit_procs
_LOCK: Final = 8  # bytes of apinit_lock


@dataclass(frozen=True, slots=True)
class Conflict:
    """A use and a store of the same memory on the way of one AP.

    Args:
        use: the step that uses the memory.
        store: the step that stores there.
        address: physical address of the first byte that both reach.
        meant: what the use has found.
        stored: what the store has left.
    """

    use: TrampolineStep
    store: TrampolineStep
    address: int
    meant: bytes
    stored: bytes


class Passage:
    """One passage of several APs through the trampoline.

    Args:
        session: the boot.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stepper = Stepper(session)
        self._before = b""

    async def let_pass(self, aps: list[int]) -> None:
        """Let these APs go from physical 0 as far as they come.

        Args:
            aps: the APs, which stand at physical 0.
        """
        rest: list[int] = []
        tried: list[Conflict] = []
        self._before = await self._copy()
        if len(aps) > 1:
            second, *rest, first = aps
            held = await self._follow(first, self._stores)
            await self._after_many(second)
            if held:
                self._note_dependence(first, second)
            if rest and self._arrived(second):
                tried = await self._try_pairs(first if held else None, rest[0], second)
        for cpu in aps:
            await (self._with_lock_taken(cpu) if cpu == aps[-1] else self._go_on(cpu))
        self._note_reliance(aps[0], aps[-1])
        if tried:
            self._note_harm(rest[0], aps[-1], aps[0], tried)
            self._note_harm(aps[-1], rest[0], aps[0], tried)

    # ---- steps -----------------------------------------------------------------------------

    async def _follow(self, cpu: int, stop_before: StopBefore) -> bool:
        """Let an AP go on until it stands before an instruction; return whether it does."""
        if not self._can_go_on(cpu):
            return False
        self._session.held.discard(cpu)
        return await self._stepper.follow(cpu, stop_before)

    async def _go_on(self, cpu: int) -> None:
        """Let an AP go as far as it comes; afterwards it may run, unless it has died."""
        if self._can_go_on(cpu):
            await self._follow(cpu, lambda now: False)
            if not self._arrived(cpu) and self._session.log.cpus[cpu].found.followed:
                await self._restore()  # it has died, and may have done anything before

    async def _after_many(self, cpu: int) -> None:
        """Do as `_go_on` while the counter says that very many APs have come before this one."""
        counter = self._session.view.in_copy("apinit_procs")
        if counter is not None:
            await self._add(counter, _COME_BEFORE)
        await self._go_on(cpu)
        if counter is not None and not self._session.ended:
            await self._add(counter, -_COME_BEFORE)

    async def _with_lock_taken(self, cpu: int) -> None:
        """Do as `_go_on` while apinit_lock is taken, if an AP before has looked at it."""
        lock = self._session.view.in_copy("apinit_lock")
        looked = lock is not None and any(
            touch.covers(lock, _LOCK)
            for one in self._session.log.cpus
            for step in one.steps
            for touch in step.touches
        )
        if lock is None or not looked or not self._can_go_on(cpu):
            await self._go_on(cpu)
            return
        before = await self._session.gdb.read_phys(lock, _LOCK)
        await self._session.gdb.write_phys(lock, b"\xff" * _LOCK)
        await self._go_on(cpu)
        await self._session.gdb.write_phys(lock, before)

    def _can_go_on(self, cpu: int) -> bool:
        log = self._session.log.cpus[cpu]
        dead = (
            log.found.refusal is not None
            or log.found.left_code is not None
            or log.died_at is not None
        )
        return not (dead or self._arrived(cpu) or not log.found.followed or self._session.ended)

    def _arrived(self, cpu: int) -> bool:
        """Whether an AP has come to the end of what is written: to ap_entry, or to a TODO."""
        return self._session.log.cpus[cpu].reached(AP_ENTRY) or cpu in self._stepper.at_todo

    def _stores(self, now: Looked) -> bool:
        """Whether an instruction stores into the copy, other than to count."""
        return any(one.writes and self._shared(one) for one in now.touches)

    def _shared(self, touch: Touch) -> bool:
        view = self._session.view
        counter = view.in_copy("apinit_procs")
        inside = touch.covers(view.inputs.apinit_addr, view.trampoline_size)
        return inside and not (counter is not None and touch.covers(counter, _COUNTER))

    async def _copy(self) -> bytes:
        view = self._session.view
        return await view.read_if_there(view.inputs.apinit_addr, view.trampoline_size)

    # ---- what an AP leaves out while another one stands still ----------------------------------

    def _note_dependence(self, first: int, second: int) -> None:
        """Record it if the second AP came to harm because the first one stood still."""
        log = self._session.log.cpus[second]
        if self._arrived(second) or not log.steps:
            return
        here = self._stepper.standing(first)
        passed = any(step.state.pc == here.state.pc for step in log.steps)
        if log.found.waits:
            self._session.log.race = Race("waits", second, first, log.steps[-1], here)
        elif not passed:
            self._session.log.race = Race("left-out", second, first, log.steps[-1], here)

    def _note_reliance(self, cpu: int, other: int) -> None:
        """Record it if an AP died of what it read, which only another one stores, and later."""
        log = self._session.log
        mine, theirs = log.cpus[cpu].steps, log.cpus[other].steps
        if log.race is not None or not mine or self._arrived(cpu) or not self._arrived(other):
            return
        start, size = self._session.inputs.apinit_addr, len(self._before)
        used = [one for step in mine[-_LAST:] for one in _uses(step, start, size)]
        passed = {step.state.pc for step in mine}
        for step in theirs:
            if step.state.pc not in passed and any(_meets(step, one) for one in used):
                log.race = Race("left-out", cpu, other, mine[-1], step)
                return

    # ---- two APs that use the same memory ----------------------------------------------------

    async def _try_pairs(self, first: int | None, third: int, second: int) -> list[Conflict]:
        """Let two APs go on in turn: one before each use, the other behind a store there.

        Where a store leaves another value than a use has found, only that pair is tried, the most
        telling one: what the other AP does later would make it good.

        Args:
            first: the AP that stands before its first store, if there is one.
            third: an AP that has executed nothing yet.
            second: the AP that has shown the way.
        """
        await self._count_between(third, second)
        if first is None:
            return []
        way = self._session.log.cpus[second].steps
        start = self._session.inputs.apinit_addr
        pairs = list(conflicts(way, self._shared, start, self._before))
        differing = sorted((one for one in pairs if one.meant != one.stored), key=_telling)
        pairs = differing[:1] or pairs
        if pairs:
            await self._restore()
        tried: list[Conflict] = []
        for one in pairs:
            if not await self._follow(third, _before(one.use)):
                break
            if not self._is_behind(first, one.store):
                if not await self._follow(first, _before(one.store)):
                    break
                await self._follow(first, self._behind(first, one.store))
            tried.append(one)
        await self._go_on(third)
        return tried

    async def _count_between(self, cpu: int, second: int) -> None:
        """Count once more, as another AP would, each time an AP compares the count it has read."""
        counter = self._session.view.in_copy("apinit_procs")
        compares = [
            step for step in self._session.log.cpus[second].steps
            if step.counted and "cmpxchg" in step.text
        ]  # fmt: skip
        if counter is None or not compares or not await self._follow(cpu, _before(compares[0])):
            return
        before, steps = (
            await self._session.view.read_u32(counter),
            self._session.log.cpus[cpu].steps,
        )
        others = 0
        while (
            others < _COLLISIONS
            and len(steps) < _COLLIDED
            and await self._follow(cpu, _before(compares[0]))
        ):
            await self._add(counter, 1)
            others += 1
            await self._follow(cpu, _longer(steps))
        await self._go_on(cpu)
        counted = await self._session.view.read_u32(counter) - before
        await self._add(counter, -min(others, counted))

    async def _add(self, counter: int, by: int) -> None:
        value = (await self._session.view.read_u32(counter) + by) & 0xFFFFFFFF
        await self._session.gdb.write_phys(counter, value.to_bytes(_COUNTER, "little"))

    async def _restore(self) -> None:
        """Make memory what it was before an AP came by: the copy and the far jump.

        Counter and lock stay as they are.
        """
        view, gdb = self._session.view, self._session.gdb
        if self._session.ended or not self._before:
            return
        start = view.inputs.apinit_addr
        now = bytearray(self._before)
        for name, size in (("apinit_procs", _COUNTER), ("apinit_lock", _LOCK)):
            at = view.in_copy(name)
            if at is not None:
                now[at - start : at - start + size] = await gdb.read_phys(at, size)
        await gdb.write_phys(start, bytes(now))
        if self._session.log.physical_0.during:
            await gdb.write_phys(0, self._session.log.physical_0.during)

    def _is_behind(self, cpu: int, step: TrampolineStep) -> bool:
        done = self._session.log.cpus[cpu].steps
        return any(one.state.pc == step.state.pc for one in done)

    def _behind(self, cpu: int, step: TrampolineStep) -> StopBefore:
        return lambda now: self._is_behind(cpu, step)

    def _same_end(self, cpu: int, like: int) -> bool:
        """Whether an AP has come to its end, and in the same mode as another one."""
        if not self._arrived(cpu):
            return False
        mine, theirs = self._end(cpu), self._end(like)
        return (mine.mode, mine.cs, mine.cr3) == (theirs.mode, theirs.cs, theirs.cr3)

    def _end(self, cpu: int) -> CpuState:
        """Return the registers of an AP that has arrived, where that was."""
        at_todo = self._stepper.at_todo.get(cpu)
        return at_todo or self._session.log.cpus[cpu].milestones[AP_ENTRY.name]

    def _note_harm(self, cpu: int, other: int, like: int, tried: Sequence[Conflict]) -> None:
        """Record that an AP came to harm after the other one had stored something."""
        log = self._session.log.cpus[cpu]
        if self._same_end(cpu, like) or self._session.log.race is not None:
            return
        if log.found.waits:
            loop = [touch for step in log.steps[-_LOOP:] for touch in step.touches]
            on = [one for one in tried if any(touch.covers(one.address, 1) for touch in loop)]
            if on:
                self._record("waits", cpu, other, on[0], log.steps[-1])
            return
        differing = [one for one in tried if one.meant != one.stored]
        used = [one for one in (*differing, *reversed(tried)) if self._is_behind(cpu, one.use)]
        met = used[0] if used else tried[-1]
        self._record("overwritten", cpu, other, met, met.use)

    def _record(self, how: How, cpu: int, other: int, met: Conflict, mine: TrampolineStep) -> None:
        size = len(met.meant)
        meant = self._stored(cpu, met.store, met.address, size)
        found = self._stored(other, met.store, met.address, size)
        if met.meant != met.stored or not meant or not found:
            meant, found = met.meant, met.stored
        self._session.log.race = Race(how, cpu, other, mine, met.store, met.address, meant, found)

    def _stored(self, cpu: int, store: TrampolineStep, address: int, size: int) -> bytes:
        """Return what an AP itself left at an address by an instruction; none if it did not."""
        for step in self._session.log.cpus[cpu].steps:
            for touch in step.touches:
                same = step.state.pc == store.state.pc and touch.covers(address, size)
                if same and touch.writes and touch.address is not None:
                    return touch.value[max(address - touch.address, 0) :][:size]
        return b""


def _telling(one: Conflict) -> bool:
    """Return False, which sorts first, for a use on which the way of an AP depends at once."""
    changes = any(touch.reads and touch.writes for touch in one.use.touches)
    return not (changes or one.use.register == "cs" or one.use.text.startswith("lgdt"))


def _longer(steps: Sequence[TrampolineStep]) -> StopBefore:
    """Stop before the instruction after the next one that is recorded."""
    known = len(steps)
    return lambda now: len(steps) > known


def _before(step: TrampolineStep) -> StopBefore:
    return lambda now: now.state.pc == step.state.pc


def conflicts(
    way: Sequence[TrampolineStep], shared: Shared, start: int, copy: bytes
) -> Iterator[Conflict]:
    """Yield uses of memory, each with a store to the same memory that another AP could do then.

    A store that leaves another value than the use has found comes first, else the one that the use
    has found the value of. All are in the order of the uses, and of the stores too.

    Args:
        way: the instructions of one AP.
        shared: whether memory counts.
        start: physical address of the copy of the trampoline.
        copy: the copy before the AP came.
    """
    stores = [
        (step, touch)
        for step in way
        for touch in step.touches
        if touch.writes and touch.value and shared(touch)
    ]
    memory = dict(enumerate(copy, start))
    written = 0
    for step in way:
        for touch in _uses(step, start, len(copy)):
            pair = _pair(step, touch, stores, memory, shared)
            if pair is None:
                continue
            at = way.index(pair.store)
            if pair.meant != pair.stored or at >= written:  # the other AP only goes on
                written = max(at, written)
                yield pair
        for touch in step.touches:
            if touch.writes and touch.address is not None:
                memory |= dict(enumerate(touch.value, touch.address))


def _uses(step: TrampolineStep, start: int, size: int) -> Iterator[Touch]:
    """Yield the memory of the copy that a step reads, its own bytes too."""
    yield from (touch for touch in step.touches if touch.reads)
    code = Touch(step.state.pc, len(step.code), True, False)
    if code.covers(start, size):
        yield code


def _meets(step: TrampolineStep, use: Touch) -> bool:
    """Whether an instruction stores to memory that is used."""
    at = use.address
    return at is not None and any(one.writes and one.covers(at, use.size) for one in step.touches)


def _pair(
    step: TrampolineStep,
    touch: Touch,
    stores: Sequence[tuple[TrampolineStep, Touch]],
    memory: dict[int, int],
    shared: Shared,
) -> Conflict | None:
    if touch.address is None or not shared(touch):
        return None
    same = None
    for other, store in stores:
        first = max(touch.address, store.address or 0)
        last = min(touch.address + touch.size, (store.address or 0) + len(store.value))
        if first >= last:
            continue
        meant = bytes(memory.get(at, 0) for at in range(first, last))
        stored = store.value[first - (store.address or 0) : last - (store.address or 0)]
        same = Conflict(step, other, first, meant, stored)
        if meant != stored:
            return same
    return same
