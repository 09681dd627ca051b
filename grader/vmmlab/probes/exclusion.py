"""The probe of mutual exclusion: finds CPUs that are on the boot stack, or counting, at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import PrivateStack
from vmmlab.observe.milestones import NUMBERED, rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.counting import CALL_BUDGET, CODE_BYTES, CountingProbe
from vmmlab.probes.gathering import (
    WAIT_BUDGET,
    GatheringProbe,
    bring_in,
    lock_marked,
    lock_of,
    look_where_it_waits,
)
from vmmlab.probes.registry import probe

_CLOBBERED: Final = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""General registers without a meaning at ap_entry; RSP, which has none either, stays as it is."""


@probe("exclusion", cost=4)
@dataclass
class ExclusionProbe(CountingProbe):
    """Records CPUs that are on the boot stack, or between load and store of the count, at once.

    While one AP is held on the boot stack, another is stepped until it either gets there too or
    turns out to wait. This is repeated at every point where a second AP could interfere.
    """

    async def hit(self, session: Session, hit: Hit) -> None:
        """End the boot when all APs have numbers: what comes then is not examined."""
        await GatheringProbe.hit(self, session, hit)
        numbered = all(session.log.cpus[cpu].reached(NUMBERED) for cpu in session.view.ap_indices)
        if self.played and numbered:
            session.finished = True

    async def play(self, session: Session, everyone: bool) -> None:
        """Go through all situations, as long as continuing proves anything."""
        order = session.choice.shuffled(session.view.ap_indices)
        if not everyone or len(order) < 5:
            return
        first, second, third, fourth, fifth = order[:5]
        await self._scramble(session)
        free = (await self.shared(session)).get("lock")
        if not await self._enter(session, first):
            return
        if await self._gets_in(session, second, "boot-stack"):
            return
        if not await self._leave(session, first, second):
            if session.log.cpus[first].rest == "todo" and free is not None:
                # No CPU will release the lock any more, so restore its earlier value.
                await session.gdb.write_phys(self.shared_at(session)["lock"][0], free)
                await self._race(session, fourth, fifth)
            return
        if not await self._release(session, first):
            return
        early = self.first("count", first)
        if await self.pass_by(session, first, second):
            await self.count(session, first, second, third)
        for cpu in (second, first, third):  # the second one may hold ap_lock
            await session.run_to(cpu, "sync_all_processors")
            if cpu == first:
                await self._keep_stackaddr(session, first)
        for cpu in order[5:]:  # the last two must not be moved on
            await bring_in(session, cpu)
        if await self._race(session, fourth, fifth):
            came = await self._only_once(session, fifth)
            if came and early is not None:
                await self._late_release(session, fourth)

    async def _scramble(self, session: Session) -> None:
        """Put random values into the registers of which the contract promises nothing.

        RAX becomes 0, which is what a lock holds that is free.
        """
        for cpu in session.view.ap_indices:
            values = {name: session.choice.word() for name in _CLOBBERED}
            await session.gdb.write_registers(cpu, values | {"rax": 0})

    # ---- the situations --------------------------------------------------------------------------

    async def _gets_in(self, session: Session, cpu: int, while_at: str) -> bool:
        """Try to bring another AP to the boot stack; if it gets there, the boot is of no further
        use.

        An AP that neither waits in a small loop nor gets there has a long path: let it run.
        """
        arrived = session.view.addr("apinitproc0")
        verdict, state = await session.step_until(
            cpu, lambda now: now.pc == arrived, budget=WAIT_BUDGET
        )
        if verdict == "budget":
            verdict, state = await session.run_to(cpu, "apinitproc0", attempts=1)
        session.add_interleaving(cpu, while_at, "apinitproc0", verdict, state)
        if verdict == "waits":
            await look_where_it_waits(session, cpu)
        return verdict == "reached"

    async def _enter(self, session: Session, first: int) -> bool:
        """Let the first AP take the free lock, and find the instruction that does it."""
        watcher = await self.watcher(session, first)
        arrived = session.view.addr("apinitproc0")
        verdict, _ = await session.step_until(
            first,
            lambda now: now.pc == arrived,
            budget=CALL_BUDGET,
            watcher=watcher,
            peek=self.shared_at(session).values(),
        )
        if (taken := self.first("lock", first)) is not None:
            code = await session.gdb.read_virt(first, taken.pc, CODE_BYTES)
            session.log.lock = replace(lock_of(session), take=taken.pc, take_code=code)
        if verdict == "budget":
            verdict, _ = await session.run_to(first, "apinitproc0")
        taken_bytes = (await self.shared(session)).get("lock", b"")
        session.log.lock = replace(lock_of(session), taken_bytes=taken_bytes)
        return verdict == "reached"

    async def _leave(self, session: Session, first: int, second: int) -> bool:
        """Step the first AP off the boot stack; on the way, and if the lock moves, try another."""
        allocates = session.view.addr("alloc")
        tried = False
        watcher = await self.watcher(session, first)
        known = len(self.changes)
        for _ in range(CALL_BUDGET):
            verdict, state = await session.step_until(
                first,
                lambda now, known=known, tried=tried: (
                    len(self.changes) > known  # type: ignore[misc]
                    or (now.pc == allocates and not tried)
                    or not session.view.on_boot_stack(now.rsp)
                ),
                budget=CALL_BUDGET,
                watcher=watcher,
                peek=self.shared_at(session).values(),
            )
            if verdict != "reached":
                return False
            if not session.view.on_boot_stack(state.rsp):
                return True
            unlocked = any(c.what == "lock" for c in self.changes[known:])
            if unlocked or (state.pc == allocates and not tried):
                where = "boot-stack.unlocked" if unlocked else "boot-stack.alloc"
                if await self._gets_in(session, second, where):
                    return False
                if state.pc == allocates:  # provided code, and long: it may run
                    await session.run_to_return(first, state)
                watcher = await self.watcher(session, first)
            tried = tried or state.pc == allocates
            known = len(self.changes)
        return False

    async def _release(self, session: Session, first: int) -> bool:
        """Step the first AP, on its own stack, to the instruction that releases the lock."""
        watcher = await self.watcher(session, first)
        known = len(self.changes)
        held = (await self.shared(session)).get("lock", b"")
        ends = ("sync_all_processors", *rest_places())
        await session.step_until(
            first,
            lambda now: (
                any(c.what == "lock" for c in self.changes[known:])
                or session.places.at(now.pc) in ends
            ),
            budget=2 * CALL_BUDGET,
            watcher=watcher,
            peek=self.shared_at(session).values(),
        )
        released = any(c.what == "lock" for c in self.changes[known:])
        now = (await self.shared(session)).get("lock", b"")
        session.log.lock = replace(lock_of(session), held_bytes=held, released_bytes=now)
        if released:
            await session.note(first, "lock-released", await session.view.state(first))
        return released

    async def _keep_stackaddr(self, session: Session, first: int) -> None:
        state = await session.view.state(first)
        entered = session.log.at("apinitproc1", first)
        if session.log.at("sync_all_processors", first) and entered:
            base = entered[0].state.rsp - session.inputs.stack_size
            private = PrivateStack(first, base, await session.view.stackaddr(state) or 0)
            session.log.lock = replace(lock_of(session), private=private)

    async def _race(self, session: Session, slow: int, quick: int) -> bool:
        """Hold one AP right before it takes the free lock, let another take it; then the first.

        Returns:
            Whether the boot can go on as planned: not both of them are on the boot stack.
        """
        taken = next((c for c in self.changes if c.what == "lock"), None)
        if taken is None:
            return False
        await session.places.watch("lock.taken", taken.pc)
        verdict, _ = await session.run_to(slow, "lock.taken")
        await session.places.unwatch("lock.taken")
        if verdict != "reached":
            return False
        if not await self._gets_in(session, quick, "lock-free"):
            return False
        return not await self._gets_in(session, slow, "lock-taken")

    async def _only_once(self, session: Session, cpu: int) -> bool:
        """Look whether an AP changes the lock again after its release, when another may hold it.

        Args:
            session: the boot.
            cpu: an AP in apinitproc0 that holds the lock.

        Returns:
            Whether it is at the barrier.
        """
        where = self.shared_at(session).get("lock")
        watcher = await self.watcher(session, cpu)
        known = len(self.changes)
        barrier = session.view.addr("sync_all_processors")
        verdict, state = await session.step_until(
            cpu,
            lambda now: now.pc == barrier or any(c.what == "lock" for c in self.changes[known:]),
            budget=2 * CALL_BUDGET,
            watcher=watcher,
            peek=self.shared_at(session).values(),
        )
        if verdict != "reached" or where is None or state.pc == barrier:
            return (verdict == "reached" and state.pc == barrier) or await bring_in(session, cpu)
        async with lock_marked(session, cpu):
            return await bring_in(session, cpu)

    async def _late_release(self, session: Session, last: int) -> None:
        """Show what happens to the last AP if APs count themselves before they release the lock.

        The BSP goes on as soon as all are counted, and unmaps the trampoline.
        """
        watcher = await self.watcher(session, last)
        known = len(self.changes)
        guard = session.view.phys("ap_lock")
        free = [True]

        async def look(state: CpuState) -> None:
            await watcher(state)
            free[0] = not (await session.gdb.read_phys(guard, 1))[0]

        def counted(_: CpuState) -> bool:
            return free[0] and any(c.what == "count" for c in self.changes[known:])

        verdict, _ = await session.step_until(
            last,
            counted,
            budget=2 * CALL_BUDGET,
            watcher=look,
            peek=[*self.shared_at(session).values(), (guard, 1)],
        )
        # Its last change of the lock was to take it.
        held = sum(c.what == "lock" for c in self.changes[known:]) == 1
        if verdict == "reached" and held:
            verdict, _ = await session.run_to(0, "bsp_proc")
        if verdict == "reached" and held:
            # A processor may forget a translation at any time; writing CR3 makes it do so now.
            cr3 = (await session.view.state(last)).cr3
            await session.gdb.write_register(last, "cr3", cr3)
            verdict, state = await session.run_to(last, "sync_all_processors")
            session.add_interleaving(last, "released.late", "sync_all_processors", verdict, state)
