"""The probe of mutual exclusion: finds CPUs that are on the boot stack, or counting, at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import Lock, PrivateStack, SameNumber
from vmmlab.observe.milestones import NUMBERED, rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session, Watcher
from vmmlab.probes.gathering import (
    WAIT_BUDGET,
    GatheringProbe,
    bring_in,
    look_where_it_waits,
    push,
)
from vmmlab.probes.registry import probe

_CALL_BUDGET: Final = 1500  # instructions for a short provided or contract function
_CLOBBERED: Final = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""General registers without a meaning at ap_entry; RSP, which has none either, stays as it is."""
_CODE_BYTES: Final = 15  # an instruction has at most as many


@dataclass(frozen=True)
class Change:
    """An instruction that changed what several CPUs share.

    Args:
        what: "lock" or "count".
        cpu: the CPU that executed it.
        pc: its linear address.
    """

    what: str
    cpu: int
    pc: int


@probe("exclusion", cost=4)
@dataclass
class ExclusionProbe(GatheringProbe):
    """Records CPUs that are on the boot stack, or between load and store of the count, at once.

    While one AP is held on the boot stack, another is stepped until it either gets there too or
    turns out to wait. This is repeated at every point where a second AP could interfere.
    """

    changes: list[Change] = field(default_factory=list, init=False)

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
        free = (await self._shared(session)).get("lock")
        if not await self._enter(session, first):
            return
        if await self._gets_in(session, second, "boot-stack"):
            return
        if not await self._leave(session, first, second):
            if session.log.cpus[first].rest == "todo" and free is not None:
                # No CPU will release the lock any more, so restore its earlier value.
                await session.gdb.write_phys(self._shared_at(session)["lock"][0], free)
                await self._race(session, fourth, fifth)
            return
        if not await self._release(session, first):
            return
        early = self._first("count", first)
        if await self._pass_by(session, first, second):
            await self._count(session, first, second, third)
        for cpu in (first, second, third):
            await session.run_to(cpu, "sync_all_processors")
            if cpu == first:
                await self._keep_stackaddr(session, first)
        for cpu in order[5:]:  # the last two must not be moved on
            await bring_in(session, cpu)
        if await self._race(session, fourth, fifth) and early is not None:
            await self._late_release(session, fourth, fifth)

    async def _scramble(self, session: Session) -> None:
        """Put random values into the registers of which the contract promises nothing.

        RAX becomes 0, which is what a lock holds that is free.
        """
        for cpu in session.view.ap_indices:
            values = {name: session.choice.word() for name in _CLOBBERED}
            await session.gdb.write_registers(cpu, values | {"rax": 0})

    # ---- what the APs share ----------------------------------------------------------------

    def _first(self, what: str, cpu: int) -> Change | None:
        return next((c for c in self.changes if (c.what, c.cpu) == (what, cpu)), None)

    def _shared_at(self, session: Session) -> dict[str, tuple[int, int]]:
        """Physical addresses and sizes in bytes."""
        shared = {"count": (session.view.phys("num_of_processors"), 4)}
        if (lock := session.view.in_copy("apinit_lock")) is not None:
            shared["lock"] = (lock, 8)
        return shared

    async def _shared(self, session: Session) -> dict[str, bytes]:
        shared = self._shared_at(session)
        return {what: await session.gdb.read_phys(*where) for what, where in shared.items()}

    async def _watcher(self, session: Session, cpu: int) -> Watcher:
        """Return a watcher that records the instructions of a CPU that change lock or count."""
        before = await self._shared(session)
        at = [(await session.view.state(cpu)).pc]

        async def look(state: CpuState) -> None:
            now = await self._shared(session)
            for what in now:
                if now[what] != before[what]:
                    self.changes.append(Change(what, cpu, at[0]))
            before.update(now)
            at[0] = state.pc

        return look

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
        watcher = await self._watcher(session, first)
        arrived = session.view.addr("apinitproc0")
        verdict, _ = await session.step_until(
            first,
            lambda now: now.pc == arrived,
            budget=_CALL_BUDGET,
            watcher=watcher,
            peek=self._shared_at(session).values(),
        )
        if (taken := self._first("lock", first)) is not None:
            code = await session.gdb.read_virt(first, taken.pc, _CODE_BYTES)
            session.log.lock = replace(_lock(session), take=taken.pc, take_code=code)
        if verdict == "budget":
            verdict, _ = await session.run_to(first, "apinitproc0")
        return verdict == "reached"

    async def _leave(self, session: Session, first: int, second: int) -> bool:
        """Step the first AP off the boot stack; on the way, and if the lock moves, try another."""
        allocates = session.view.addr("alloc")
        tried = False
        watcher = await self._watcher(session, first)
        known = len(self.changes)
        for _ in range(_CALL_BUDGET):
            verdict, state = await session.step_until(
                first,
                lambda now, known=known, tried=tried: (
                    len(self.changes) > known  # type: ignore[misc]
                    or (now.pc == allocates and not tried)
                    or not session.view.on_boot_stack(now.rsp)
                ),
                budget=_CALL_BUDGET,
                watcher=watcher,
                peek=self._shared_at(session).values(),
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
                watcher = await self._watcher(session, first)
            tried = tried or state.pc == allocates
            known = len(self.changes)
        return False

    async def _release(self, session: Session, first: int) -> bool:
        """Step the first AP, on its own stack, to the instruction that releases the lock."""
        watcher = await self._watcher(session, first)
        known = len(self.changes)
        ends = ("sync_all_processors", *rest_places())
        await session.step_until(
            first,
            lambda now: (
                any(c.what == "lock" for c in self.changes[known:])
                or session.places.at(now.pc) in ends
            ),
            budget=2 * _CALL_BUDGET,
            watcher=watcher,
            peek=self._shared_at(session).values(),
        )
        released = any(c.what == "lock" for c in self.changes[known:])
        if released:
            await session.note(first, "lock-released", await session.view.state(first))
        return released

    async def _pass_by(self, session: Session, first: int, second: int) -> bool:
        """Let the second AP take a number while the first is held right after its unlock."""
        number_at = session.view.addr("segment_init_ap")
        verdict, _ = await push(
            session,
            second,
            lambda now: now.pc == number_at,
            budget=2 * _CALL_BUDGET,
            others=[first],
            watcher=await self._watcher(session, second),
            peek=self._shared_at(session).values(),
        )
        return verdict == "reached"

    async def _count(self, session: Session, first: int, second: int, third: int) -> None:
        """Hold the first AP right before it stores the count, and try to bring another there."""
        counted = self._first("count", second)
        if counted is None or self._first("count", first) is not None:
            return
        name, store = "count.store", counted.pc
        await session.places.watch(name, store)
        verdict, state = await session.run_to(first, name)
        if verdict == "reached":
            code = await session.view.code_at(first, state)
            session.log.lock = replace(_lock(session), store_code=code)
            verdict, state = await session.step_until(
                third, lambda now: now.pc == store, budget=2 * _CALL_BUDGET
            )
            session.add_interleaving(third, "counting", name, verdict, state)
            await self._number(session, first, third)
        await session.places.unwatch(name)

    async def _number(self, session: Session, first: int, third: int) -> None:
        """Hold the first AP right after it has counted, and see whether another gets its number."""
        number_at = session.view.addr("segment_init_ap")
        await session.step(first)
        await push(
            session, third, lambda now: now.pc == number_at, budget=_CALL_BUDGET, others=[first]
        )
        numbers = []
        for cpu in (first, third):
            if not session.log.at("segment_init_ap", cpu):
                await session.run_to(cpu, "segment_init_ap")
            hits = session.log.at("segment_init_ap", cpu)
            numbers += [hit.state.rdi & 0xFFFFFFFF for hit in hits]
        if len(numbers) == 2 and numbers[0] == numbers[1]:
            same = SameNumber(first, numbers[0])
            session.log.lock = replace(_lock(session), same_number=same)

    async def _keep_stackaddr(self, session: Session, first: int) -> None:
        state = await session.view.state(first)
        entered = session.log.at("apinitproc1", first)
        if session.log.at("sync_all_processors", first) and entered:
            base = entered[0].state.rsp - session.inputs.stack_size
            private = PrivateStack(first, base, await session.view.stackaddr(state) or 0)
            session.log.lock = replace(_lock(session), private=private)

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

    async def _late_release(self, session: Session, last: int, before: int) -> None:
        """Show what happens to the last AP if APs count themselves before they release the lock.

        The BSP goes on as soon as all are counted, and unmaps the trampoline.
        """
        if not await bring_in(session, before):
            return
        watcher = await self._watcher(session, last)
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
            budget=2 * _CALL_BUDGET,
            watcher=look,
            peek=[*self._shared_at(session).values(), (guard, 1)],
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


def _lock(session: Session) -> Lock:
    return session.log.lock or Lock()
