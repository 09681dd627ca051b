"""The probe of the barrier: finds CPUs that leave before all have entered, or never leave.

The student chooses how the barrier works, so nothing here knows what its variables mean.
What matters is where a CPU is held: right before it stores what it has read, right after its last
store before it waits, in its waiting loop, or where the first of the others may leave. The CPUs of
a barrier may depend on each other in ways that are not known here, so a CPU that does not continue
while others are held proves nothing by itself. At the end all CPUs run freely; only a boot that
does not complete then is a mistake.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import Barrier
from vmmlab.observe.session import Session, Watcher
from vmmlab.probes.gathering import (
    LOOK_BUDGET,
    STILL_THERE,
    WAIT_BUDGET,
    GatheringProbe,
    bring_in,
    nudge,
    push,
    run_out,
)
from vmmlab.probes.registry import probe
from vmmlab.x86.decode import accesses

OWN_STACK: Final = 0x4000  # bytes around RSP that belong to the CPU that accesses them
TURNS: Final = 8
"""Times that a CPU executes an instruction in a loop; while others are held, none is of use."""
STORES: Final = 16  # of the last CPU to come; after each of them the others are tried


@dataclass
class Path:
    """What a CPU did to shared memory on its way into the waiting loop.

    Attributes:
        stores: instructions that wrote, in the order of their first execution.
        late_store: the first plain store to an address that a plain load has read before, if any:
            between the two another CPU can do the same, unless a lock prevents it.
    """

    stores: list[int] = field(default_factory=list)
    late_store: int | None = None
    loaded: set[int] = field(default_factory=set)


@probe("barrier", cost=3)
@dataclass
class BarrierProbe(GatheringProbe):
    """Goes through two rounds, in which each CPU is held where a mistake would have most effect."""

    places: tuple[str, ...] = (*GatheringProbe.places, "vmm_synced")
    ran_out: set[str] = field(default_factory=set, init=False)

    async def play(self, session: Session, everyone: bool) -> None:
        """Bring all CPUs to the barrier one by one; the first enters before the others arrive."""
        if not everyone:
            return
        aps = list(session.view.ap_indices)
        slow, *others = session.choice.shuffled(aps)
        path = Path()
        if not await bring_in(session, slow):
            return
        await self._waits(session, slow, "round-1", await self._recorder(session, slow, path))
        if self._escaped(session) and session.view.addr("num_of_processors") in path.loaded:
            count = await session.view.read_u32(session.view.phys("num_of_processors"))
            session.log.barrier = replace(_barrier(session), counted=count)
        came = [await bring_in(session, cpu) for cpu in others]
        verdict, _ = await session.run_to(0, "sync_all_processors")
        if all(came) and verdict == "reached" and not self._escaped(session):
            await self._rounds(session, slow, [*others, 0], path)
        await session.places.unwatch("sync_all_processors")  # from here on, only leaving counts

    async def _rounds(self, session: Session, slow: int, others: list[int], path: Path) -> None:
        last = others[-2]  # the AP with the highest number: a CPU that counts early leaves it out
        racer, waiter = session.choice.some(2, [cpu for cpu in others if cpu != last])
        await self._overlap(session, racer, waiter, path)
        if not self._escaped(session):
            await self._waits(session, slow, "round-1")  # still
        if self._escaped(session):
            return
        if not await self._open(session, last, waiter, others=[slow, racer]):
            return
        await self._second_round(session, slow, racer, [waiter, last], path)

    # ---- steps of the examination ------------------------------------------------------

    def _out(self, session: Session, state: CpuState) -> bool:
        return session.places.at(state.pc) == "vmm_synced"

    def _escaped(self, session: Session) -> bool:
        """Whether a CPU left although not all have entered; the boot is then of no further use."""
        return any(
            one.verdict not in STILL_THERE
            for one in session.log.interleavings
            if one.while_at in ("round-1", "round-2")
        )

    async def _waits(
        self, session: Session, cpu: int, name: str, watcher: Watcher | None = None
    ) -> None:
        """Let a CPU in; it must wait there, in a loop that only another CPU can end."""
        turns: Counter[int] = Counter()

        async def look(state: CpuState) -> None:
            turns[state.pc] += 1
            if watcher is not None:
                await watcher(state)

        verdict, state = await session.step_until(
            cpu, lambda now: self._out(session, now), budget=WAIT_BUDGET, watcher=look
        )
        kind = "BSP" if cpu == 0 else "AP"
        if verdict == "budget" and kind not in self.ran_out:
            self.ran_out.add(kind)  # one of each is enough: it takes long
            verdict, state = await run_out(session, cpu, "vmm_synced")
        by_itself = verdict == "reached" and max(turns.values(), default=0) >= TURNS
        session.add_interleaving(cpu, name, "vmm_synced", verdict, state, by_itself=by_itself)

    async def _recorder(self, session: Session, cpu: int, path: Path) -> Watcher:
        async def look(state: CpuState) -> None:
            registers = await session.gdb.registers(cpu)
            code = await session.view.code_at(cpu, state)
            for one in accesses(code, state.pc, state.bits, registers.as_dict()):
                if one.address is None or abs(one.address - state.rsp) < OWN_STACK:
                    continue
                if one.reads and not one.writes:
                    path.loaded.add(one.address)
                if one.writes and state.pc not in path.stores:
                    path.stores.append(state.pc)
                plain = one.writes and not one.locked
                if plain and (one.reads or one.address in path.loaded):
                    path.late_store = path.late_store or state.pc

        await look(await session.view.state(cpu))
        return look

    async def _overlap(self, session: Session, racer: int, waiter: int, path: Path) -> None:
        """Hold one CPU between load and store while another goes in; then let it go on."""
        if path.late_store is not None:
            store = path.late_store
            verdict, _ = await push(
                session,
                racer,
                lambda now: now.pc == store or self._out(session, now),
                budget=WAIT_BUDGET,
                others=[cpu for cpu in session.held if cpu not in (racer, waiter)],
            )
            if self._out(session, await session.view.state(racer)):
                await self._leaves(session, racer, "round-1", [])
                return
            passed = [False]

            async def look(state: CpuState) -> None:
                passed[0] = passed[0] or state.pc == store

            await self._waits(session, waiter, "round-1", look)
            if verdict == "reached" and passed[0]:
                session.log.barrier = replace(
                    _barrier(session), overlap_store=store, overlap_cpu=waiter
                )
            if self._escaped(session):
                return
        await self._waits(session, racer, "round-1")
        if not self._escaped(session):
            await self._waits(session, waiter, "round-1")

    async def _open(self, session: Session, last: int, waiter: int, others: list[int]) -> bool:
        """Let the last CPU in, and hold it as soon as the waiter may go; the waiter goes at once.

        Returns:
            Whether both are in round 2, the waiter having been first.
        """
        gone = False
        for _ in range(STORES):
            wrote = [False]
            recorder = await self._store_seen(session, last, wrote)
            verdict, state = await session.step_until(
                last,
                lambda now, wrote=wrote: wrote[0] or self._out(session, now),  # type: ignore[misc]
                budget=WAIT_BUDGET,
                watcher=recorder,
            )
            if verdict != "reached" or self._out(session, state):
                break
            verdict, state = await session.step_until(
                waiter, lambda now: self._out(session, now), budget=LOOK_BUDGET
            )
            if verdict == "reached":
                gone = True
                break
        if gone:
            await session.run_to(waiter, "sync_all_processors")
            await self._waits(session, waiter, "round-2")
            await self._in_turns(session, last, waiter)
            if self._escaped(session):
                return False
        if not await self._leaves(session, last, "round-1.last", [waiter, *others]):
            return False
        if not gone and not await self._leaves(session, waiter, "round-1.woken", others):
            return False
        for cpu in (last, waiter):
            if not (gone and cpu == waiter):
                await session.run_to(cpu, "sync_all_processors")
            await self._waits(session, cpu, "round-2")
        return not self._escaped(session)

    async def _in_turns(self, session: Session, last: int, waiter: int) -> None:
        """Let the waiter go on in round 2 after each store of the last CPU of round 1."""
        for _ in range(STORES):
            if self._escaped(session):
                return
            wrote = [False]
            verdict, state = await session.step_until(
                last,
                lambda now, wrote=wrote: wrote[0] or self._out(session, now),  # type: ignore[misc]
                budget=LOOK_BUDGET,
                watcher=await self._store_seen(session, last, wrote),
            )
            if verdict != "reached" or self._out(session, state):
                return
            await self._waits(session, waiter, "round-2")

    async def _store_seen(self, session: Session, cpu: int, wrote: list[bool]) -> Watcher:
        """Return a watcher that sets `wrote[0]` once an instruction wrote shared memory."""
        upcoming = [await self._stores(session, cpu, await session.view.state(cpu))]

        async def look(state: CpuState) -> None:
            wrote[0] = wrote[0] or upcoming[0]
            upcoming[0] = await self._stores(session, cpu, state)

        return look

    async def _stores(self, session: Session, cpu: int, state: CpuState) -> bool:
        registers = await session.gdb.registers(cpu)
        code = await session.view.code_at(cpu, state)
        return any(
            one.writes and one.address is not None and abs(one.address - state.rsp) >= OWN_STACK
            for one in accesses(code, state.pc, state.bits, registers.as_dict())
        )

    async def _leaves(self, session: Session, cpu: int, name: str, others: list[int]) -> bool:
        """Let a CPU that may go do so, and record whether it did."""
        state = await session.view.state(cpu)
        if self._out(session, state):
            session.add_interleaving(cpu, name, "vmm_synced", "reached", state)
            return True
        verdict, state = await push(
            session,
            cpu,
            lambda now: self._out(session, now),
            budget=WAIT_BUDGET,
            others=others,
        )
        if verdict in STILL_THERE:
            verdict, state = await session.run_to(cpu, "vmm_synced")
        session.add_interleaving(cpu, name, "vmm_synced", verdict, state)
        return verdict == "reached"

    async def _second_round(
        self, session: Session, slow: int, racer: int, others: list[int], path: Path
    ) -> None:
        """Begin round 2 with one CPU still in round 1, and one held after its last store."""
        if not await self._leaves(session, racer, "round-1.slow", [slow, *others]):
            return
        await session.run_to(racer, "sync_all_processors")
        if path.stores:
            stop = path.stores[-1]
            verdict, _ = await push(
                session, racer, lambda now: now.pc == stop, budget=WAIT_BUDGET, others=others
            )
            if verdict == "reached":
                await nudge(session, racer)
        else:
            await self._waits(session, racer, "round-2")
        if not await self._leaves(session, slow, "round-1.slow", others):
            return
        await session.run_to(slow, "sync_all_processors")
        if await self._leaves(session, slow, "round-2.last", others):
            await self._leaves(session, racer, "round-2.woken", others)


def _barrier(session: Session) -> Barrier:
    return session.log.barrier or Barrier()
