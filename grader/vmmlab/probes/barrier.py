"""The probe of the barrier: who can leave before all have come, and who never leaves.

How a barrier works inside is its author's business. So nothing here knows what its variables mean;
what matters is where a CPU is held: right before it stores what it has read, right after its last
store before it waits, in its waiting loop, or where the first of the others may go. A barrier may
let its CPUs depend on each other in ways that are not known here: that somebody does not get on
while others stand still proves nothing by itself. In the end everyone runs free, and only if the
boot does not complete then is it a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vmmlab.observe.observation import CpuState
from vmmlab.observe.session import Director, Watcher
from vmmlab.probes.handshake import (
    LOOK_BUDGET,
    STILL_THERE,
    WAIT_BUDGET,
    GatheringProbe,
    bring_in,
    nudge,
    push,
)
from vmmlab.x86.decode import accesses

OWN_STACK = 0x4000  # bytes around RSP that belong to the CPU that accesses them
DEEDS = 16  # stores of the last CPU to come, after each of which the others are looked at


@dataclass
class Path:
    """What a CPU did to shared memory on its way into the waiting loop.

    Attributes:
        stores: instructions that wrote, in order of their first time.
        late_store: the first plain store to what a plain load had read before, if any: between
            the two another CPU can do the same, unless a lock keeps it out.
    """

    stores: list[int] = field(default_factory=list)
    late_store: int | None = None
    loaded: set[int] = field(default_factory=set)


@dataclass
class BarrierProbe(GatheringProbe):
    """Two rounds, in which each CPU is held where it could do most harm."""

    places: tuple[str, ...] = (*GatheringProbe.places, "vmm_synced")

    async def play(self, director: Director, everyone: bool) -> None:
        """Bring everybody to the barrier, one by one; the first is in it before others come."""
        if not everyone:
            return
        slow, *others = director.random.sample(list(director.ap_indices), len(director.ap_indices))
        path = Path()
        if not await bring_in(director, slow):
            return
        await self._waits(director, slow, "round-1", await self._recorder(director, slow, path))
        if self._escaped(director) and director.addr("num_of_processors") in path.loaded:
            count = await director.read_u32(director.phys("num_of_processors"))
            director.facts["barrier.counted"] = count
        came = [await bring_in(director, cpu) for cpu in others]
        verdict, _ = await director.run_to(0, "sync_all_processors")
        if all(came) and verdict == "reached" and not self._escaped(director):
            await self._rounds(director, slow, [*others, 0], path)
        await director.unwatch("sync_all_processors")  # from here on, only who comes out counts

    async def _rounds(self, director: Director, slow: int, others: list[int], path: Path) -> None:
        director.random.shuffle(others)
        racer, waiter, last = others[:3]
        await self._overlap(director, racer, waiter, path)
        if not self._escaped(director):
            await self._waits(director, slow, "round-1")  # still
        if self._escaped(director):
            return
        if not await self._open(director, last, waiter, others=[slow, racer]):
            return
        await self._second_round(director, slow, racer, [waiter, last], path)

    # ---- steps of the play -----------------------------------------------------------------

    def _out(self, director: Director, state: CpuState) -> bool:
        return director.at_place(state.pc) == "vmm_synced"

    def _escaped(self, director: Director) -> bool:
        """Somebody came out although not all have come: nothing more can be asked."""
        return any(
            trial.verdict not in STILL_THERE
            for trial in director.trials
            if trial.while_at in ("round-1", "round-2")
        )

    async def _waits(
        self, director: Director, cpu: int, name: str, watcher: Watcher | None = None
    ) -> None:
        """A CPU goes in; it must wait there."""
        await director.trial(cpu, name, "vmm_synced", budget=WAIT_BUDGET, watcher=watcher)

    async def _recorder(self, director: Director, cpu: int, path: Path) -> Watcher:
        async def look(state: CpuState) -> None:
            registers = await director.gdb.registers(cpu)
            code = await director.code_at(cpu, state)
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

        await look(await director.state(cpu))
        return look

    async def _overlap(self, director: Director, racer: int, waiter: int, path: Path) -> None:
        """One CPU stops between load and store while another goes in; then it goes on."""
        if path.late_store is not None:
            store = path.late_store
            verdict, _ = await push(
                director,
                racer,
                lambda now: now.pc == store or self._out(director, now),
                budget=WAIT_BUDGET,
                others=[cpu for cpu in director.held if cpu not in (racer, waiter)],
            )
            if self._out(director, await director.state(racer)):
                await self._leaves(director, racer, "round-1", [])
                return
            passed = [False]

            async def look(state: CpuState) -> None:
                passed[0] = passed[0] or state.pc == store

            await self._waits(director, waiter, "round-1", look)
            if verdict == "reached" and passed[0]:
                director.facts["barrier.overlap"] = store
                director.facts["barrier.overlap.cpu"] = waiter
            if self._escaped(director):
                return
        await self._waits(director, racer, "round-1")
        if not self._escaped(director):
            await self._waits(director, waiter, "round-1")

    async def _open(self, director: Director, last: int, waiter: int, others: list[int]) -> bool:
        """The last one comes in, and stops as soon as the waiter may go; that one goes at once.

        Returns:
            Whether both are in round 2, the waiter having been first.
        """
        gone = False
        for _ in range(DEEDS):
            wrote = [False]
            recorder = await self._store_seen(director, last, wrote)
            verdict, state = await director.step_until(
                last,
                lambda now, wrote=wrote: wrote[0] or self._out(director, now),  # type: ignore[misc]
                budget=WAIT_BUDGET,
                watcher=recorder,
            )
            if verdict != "reached" or self._out(director, state):
                break
            verdict, state = await director.step_until(
                waiter, lambda now: self._out(director, now), budget=LOOK_BUDGET
            )
            if verdict == "reached":
                gone = True
                break
        if gone:
            await director.run_to(waiter, "sync_all_processors")
            await self._waits(director, waiter, "round-2")
            if self._escaped(director):
                return False
        if not await self._leaves(director, last, "round-1.last", [waiter, *others]):
            return False
        if not gone and not await self._leaves(director, waiter, "round-1.woken", others):
            return False
        for cpu in (last, waiter):
            if not (gone and cpu == waiter):
                await director.run_to(cpu, "sync_all_processors")
            await self._waits(director, cpu, "round-2")
        return not self._escaped(director)

    async def _store_seen(self, director: Director, cpu: int, wrote: list[bool]) -> Watcher:
        """Sets `wrote[0]` when an instruction that has been executed wrote to shared memory."""
        upcoming = [await self._stores(director, cpu, await director.state(cpu))]

        async def look(state: CpuState) -> None:
            wrote[0] = wrote[0] or upcoming[0]
            upcoming[0] = await self._stores(director, cpu, state)

        return look

    async def _stores(self, director: Director, cpu: int, state: CpuState) -> bool:
        registers = await director.gdb.registers(cpu)
        code = await director.code_at(cpu, state)
        return any(
            one.writes and one.address is not None and abs(one.address - state.rsp) >= OWN_STACK
            for one in accesses(code, state.pc, state.bits, registers.as_dict())
        )

    async def _leaves(self, director: Director, cpu: int, name: str, others: list[int]) -> bool:
        """A CPU that may go: let it, and write down whether it did."""
        state = await director.state(cpu)
        if self._out(director, state):
            director.add_trial(cpu, name, "vmm_synced", "reached", state)
            return True
        verdict, state = await push(
            director,
            cpu,
            lambda now: self._out(director, now),
            budget=WAIT_BUDGET,
            others=others,
        )
        if verdict in STILL_THERE:
            verdict, state = await director.run_to(cpu, "vmm_synced")
        director.add_trial(cpu, name, "vmm_synced", verdict, state)
        return verdict == "reached"

    async def _second_round(
        self, director: Director, slow: int, racer: int, others: list[int], path: Path
    ) -> None:
        """Round 2 with one that is still in round 1, and one that sleeps after its last store."""
        if not await self._leaves(director, racer, "round-1.slow", [slow, *others]):
            return
        await director.run_to(racer, "sync_all_processors")
        if path.stores:
            stop = path.stores[-1]
            verdict, _ = await push(
                director, racer, lambda now: now.pc == stop, budget=WAIT_BUDGET, others=others
            )
            if verdict == "reached":
                await nudge(director, racer)
        else:
            await self._waits(director, racer, "round-2")
        if not await self._leaves(director, slow, "round-1.slow", others):
            return
        await director.run_to(slow, "sync_all_processors")
        if await self._leaves(director, slow, "round-2.last", others):
            await self._leaves(director, racer, "round-2.woken", others)
