"""Shared by the probes of the handshake: brings every CPU to its place, then runs one at a time.

The BSP runs to ap_wait and every AP to ap_entry, and all are held there. From then on the probe
decides which CPU runs, and how far. So the outcome does not depend on chance, and a mistake in one
step of the lab does not look like one in another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import Lock, LockWrite, Verdict
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session, Watcher
from vmmlab.observe.touched import PAUSE
from vmmlab.probes.base import BaseProbe, note_allocation, nowhere, write_pointer
from vmmlab.x86.decode import accesses

PLACES: Final = (
    "ap_entry", "ap_locked", "apinitproc0", "apinitproc1", "segment_init_ap", "ap_wait", "bsp_proc",
    "sync_all_processors",
)  # fmt: skip
LOCK_BYTES: Final = 8
"""Bytes of apinit_lock."""
WAIT_BUDGET: Final = 400
"""Instructions in which a CPU that is free to go would have gone."""
LOOK_BUDGET: Final = 100
"""Instructions in which a waiting CPU would see that it may go."""
STILL_THERE: Final = ("waits", "budget")
"""Verdicts of an interleaving in which the CPU did not get away."""
_OUT_WORK_S: Final = 0.3  # processor time in which a delay would have ended
_OUT_ATTEMPTS: Final = 64
_NUDGES: Final = 64  # instructions by which a CPU that may block another one is moved on


def lock_of(session: Session) -> Lock:
    """Return what is known of the lock so far."""
    return session.log.lock or Lock()


@asynccontextmanager
async def lock_marked(session: Session, cpu: int) -> AsyncIterator[None]:
    """Fill apinit_lock with random bytes while a CPU runs that does not own it.

    What the CPU has changed is recorded; then the lock is what it was before.

    Args:
        session: the boot.
        cpu: index of the CPU.
    """
    taken = bytes(session.choice.between(1, 255) for _ in range(LOCK_BYTES))
    lock = session.view.in_copy("apinit_lock")
    if lock is None:
        yield
        return
    was = await session.gdb.read_phys(lock, LOCK_BYTES)
    await session.gdb.write_phys(lock, taken)
    yield
    now = await session.gdb.read_phys(lock, LOCK_BYTES)
    if now != taken:
        not_the_owner = LockWrite(cpu, taken, now)
        session.log.lock = replace(lock_of(session), not_the_owner=not_the_owner)
    await session.gdb.write_phys(lock, was)


async def nudge(session: Session, cpu: int) -> bool:
    """Move a CPU on by one instruction, but not past a place.

    Returns:
        Whether it could be moved.
    """
    if session.places.at((await session.view.state(cpu)).pc):
        return False
    verdict, _ = await session.step_until(cpu, lambda now: True, budget=1)
    return verdict == "reached"


async def push(
    session: Session,
    cpu: int,
    wanted: Callable[[CpuState], bool],
    *,
    budget: int,
    others: list[int],
    watcher: Watcher | None = None,
    peek: Iterable[tuple[int, int]] = (),
) -> tuple[Verdict, CpuState]:
    """Step a CPU until `wanted` holds; move on others that may block it.

    A held CPU may own a lock, so another CPU that waits for it proves nothing.
    """
    verdict, state = await session.step_until(
        cpu, wanted, budget=budget, watcher=watcher, peek=peek
    )
    for _ in range(_NUDGES):
        if verdict not in STILL_THERE:
            break
        if not any([await nudge(session, other) for other in others]):
            break
        verdict, state = await session.step_until(
            cpu, wanted, budget=LOOK_BUDGET, watcher=watcher, peek=peek
        )
    return verdict, state


async def run_out(session: Session, cpu: int, *places: str) -> tuple[Verdict, CpuState]:
    """Let one CPU run alone, at full speed, for `_OUT_WORK_S` of processor time.

    A CPU that has used up the budget of its steps may be in a delay that ends by itself.

    Args:
        session: the boot.
        cpu: which CPU runs; all others are held.
        places: where it may come out.

    Returns:
        "budget" if it did not come out.
    """
    worked_s = session.view.machine.worked_s
    began_s = worked_s() or 0.0
    patience_s = session.limits.alone_s / 8
    verdict, state = await session.run_free(cpu, *places, patience_s=patience_s)
    for _ in range(_OUT_ATTEMPTS):
        over = (worked_s() or began_s) - began_s >= _OUT_WORK_S
        if verdict != "waits" or over or not session.view.is_code(state):
            break
        verdict, state = await session.run_free(cpu, *places, patience_s=patience_s)
    return ("budget" if verdict == "waits" else verdict), state


async def bring_in(session: Session, cpu: int) -> bool:
    """Let one AP run alone from where it is to the barrier."""
    verdict, _ = await session.run_to(cpu, "sync_all_processors")
    return verdict == "reached"


async def look_where_it_waits(session: Session, cpu: int) -> None:
    """Record if a CPU that waits before the lock does not look at the lock.

    The lock is where the pointer apinitlock leads. A loop may read that pointer as well.
    """
    pointer = session.view.addr("apinitlock")
    lock = await session.view.read_pointer(session.view.phys("apinitlock"))
    touched: dict[int | None, CpuState] = {}

    async def look(state: CpuState) -> None:
        registers = await session.gdb.registers(cpu)
        code = await session.view.code_at(cpu, state)
        if code.startswith(PAUSE):  # then one step is of two instructions
            code, skipped = code[len(PAUSE) :], len(PAUSE)
            state = replace(state, pc=state.pc + skipped, rip=state.rip + skipped)
        for one in accesses(code, state.pc, state.bits, registers.as_dict()):
            touched.setdefault(one.address, state)

    verdict, _ = await session.step_until(cpu, lambda now: False, budget=LOOK_BUDGET, watcher=look)
    if verdict != "waits" or None in touched:
        return
    beside = [at for at in touched if at is not None and at != pointer]
    if touched.keys() == {pointer}:
        session.log.lock = replace(lock_of(session), pointer=pointer)
        session.add_interleaving(cpu, "at-apinitlock", "apinitproc0", verdict, touched[pointer])
    elif len(beside) == 1 and lock and beside[0] not in range(lock, lock + LOCK_BYTES):
        at = session.view.image_place(beside[0], line=False)
        session.log.lock = replace(lock_of(session), beside=beside[0] - lock, beside_at=at)
        state = touched[beside[0]]
        session.add_interleaving(cpu, "beside-the-lock", "apinitproc0", verdict, state)


async def bring_in_noting(session: Session, cpu: int, *, holds: bool) -> bool:
    """Do as `bring_in`, and record what the CPU does to the boot stack, to memory and to ap_lock.

    The memory from alloc is filled with random bytes.

    Args:
        session: the boot.
        cpu: index of the AP.
        holds: let stackaddr hold another value before it is to be set.
    """
    ends = ("ap_locked", "alloc", "apinitproc1", "segment_init_ap", "sync_all_processors")
    await session.places.watch("alloc")
    stack = await boot_stack(session)
    verdict, state = await session.run_to(cpu, *ends)
    while verdict == "reached" and (place := session.places.at(state.pc)) != ends[-1]:
        if place == "ap_locked":
            changed = _changed(stack, await boot_stack(session))
            if changed is not None:
                session.log.cpus[cpu].find(wrote_on_stack=session.view.addr("boot_stack") + changed)
        elif place == "alloc":
            await note_allocation(session, session.log.hits[-1])
        elif place == "apinitproc1":
            word = await session.view.read_if_there(state.rsp - VMM_BASE, session.view.abi.word)
            session.log.cpus[cpu].find(
                word_at_entry=int.from_bytes(word, "little"),
                entered_under_lock=await guard(session) != 0,
            )
        else:
            session.log.cpus[cpu].find(numbered_under_lock=await guard(session) != 0)
            if holds:
                await _hold_stackaddr(session, cpu)
        verdict, state = await session.run_to(cpu, *ends)
    await session.places.unwatch("alloc")
    return verdict == "reached"


async def guard(session: Session) -> int:
    """Return the first byte of ap_lock."""
    return (await session.gdb.read_phys(session.view.phys("ap_lock"), 1))[0]


async def _hold_stackaddr(session: Session, cpu: int) -> None:
    """Let segment_init_ap return, and put a value into stackaddr: it is set whatever it was."""
    view, back = session.view, await session.return_address(cpu)
    if back is None or session.log.cpus[cpu].found.stackaddr_held is not None:
        return
    name = "segment_init_ap returned"
    await session.places.watch(name, back)
    verdict, state = await session.run_to(cpu, name)
    await session.places.unwatch(name)
    at = view.stackaddr_at(state.gs_base) if verdict == "reached" else None
    if at is not None:
        held = nowhere(session)
        await write_pointer(session, at, held)
        session.log.cpus[cpu].find(stackaddr_held=held)


async def boot_stack(session: Session) -> bytes:
    """Return the bytes of the boot stack."""
    view = session.view
    size = view.addr("boot_stack_top") - view.addr("boot_stack")
    return await view.read_if_there(view.phys("boot_stack"), size)


def _changed(before: bytes, after: bytes) -> int | None:
    """Return the offset of the last byte that differs; None if none does."""
    return max((at for at in range(len(before)) if before[at] != after[at]), default=None)


@dataclass
class GatheringProbe(BaseProbe):
    """Brings every CPU to where the handshake begins, then lets them run singly.

    Args:
        cpu: index of an AP that is held at physical address 0 instead, before it has executed
            anything.
    """

    places: tuple[str, ...] = PLACES
    cpu: int | None = field(default=None, init=False)
    delays: Mapping[str, int] = field(default_factory=dict, init=False)
    played: bool = field(default=False, init=False)

    async def start(self, session: Session) -> None:
        """Watch the place where the late AP is held."""
        await BaseProbe.start(self, session)
        if self.cpu is not None:
            await session.places.watch("physical-0", 0)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Hold the CPUs that arrive; when all are there, begin."""
        await BaseProbe.hit(self, session, hit)
        if self.played:
            return
        if hit.place == "physical-0" and hit.cpu == self.cpu:
            session.held.add(hit.cpu)
            await session.places.unwatch("physical-0")
        if (hit.place, hit.cpu) == ("ap_wait", 0) or (hit.place == "ap_entry" and hit.cpu):
            session.held.add(hit.cpu)
        if len(session.held) == session.inputs.cpus:
            await self._begin(session)

    async def quiet(self, session: Session) -> bool:
        """Some CPUs did not arrive: continue with those that did."""
        if self.played or not session.held:
            return await BaseProbe.quiet(self, session)
        await self._begin(session)
        return True

    async def _begin(self, session: Session) -> None:
        self.played = True
        everyone = len(session.held) == session.inputs.cpus
        session.held = set(range(session.inputs.cpus)) if everyone else session.held
        await self.play(session, everyone)
        session.held.clear()

    async def play(self, session: Session, everyone: bool) -> None:
        """Let CPUs run singly; called when all are held.

        Args:
            session: the boot.
            everyone: all CPUs are where they were to be held.
        """
