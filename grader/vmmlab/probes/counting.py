"""How APs take their numbers: what they change, and what happens if one is held meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import SameNumber, Verdict
from vmmlab.observe.session import Session, Watcher
from vmmlab.probes.gathering import LOCK_BYTES, GatheringProbe, lock_of, push

CALL_BUDGET: Final = 1500
"""Instructions for a short provided or contract function."""
CODE_BYTES: Final = 15
"""An instruction has at most as many."""


@dataclass(frozen=True)
class Change:
    """An instruction that changed what several CPUs share.

    Args:
        what: "lock", "count", or "guard", which is ap_lock.
        cpu: the CPU that executed it.
        pc: its linear address.
        now: the bytes after it.
    """

    what: str
    cpu: int
    pc: int
    now: bytes


@dataclass
class CountingProbe(GatheringProbe):
    """Follows what APs change, and holds one AP while it counts itself."""

    changes: list[Change] = field(default_factory=list, init=False)

    # ---- what the APs share ----------------------------------------------------------------

    def first(self, what: str, cpu: int) -> Change | None:
        """Return the first change that a CPU made, if it made one."""
        return next((c for c in self.changes if (c.what, c.cpu) == (what, cpu)), None)

    def shared_at(self, session: Session) -> dict[str, tuple[int, int]]:
        """Physical addresses and sizes in bytes."""
        shared = {
            "count": (session.view.phys("num_of_processors"), 4),
            "guard": (session.view.phys("ap_lock"), 1),
        }
        if (lock := session.view.in_copy("apinit_lock")) is not None:
            shared["lock"] = (lock, LOCK_BYTES)
        return shared

    async def shared(self, session: Session) -> dict[str, bytes]:
        """Return what several CPUs share, as it is now."""
        shared = self.shared_at(session)
        return {what: await session.gdb.read_phys(*where) for what, where in shared.items()}

    async def watcher(self, session: Session, cpu: int) -> Watcher:
        """Return a watcher that records the instructions of a CPU that change lock or count."""
        before = await self.shared(session)
        at = [(await session.view.state(cpu)).pc]

        async def look(state: CpuState) -> None:
            now = await self.shared(session)
            for what in now:
                if now[what] != before[what]:
                    self.changes.append(Change(what, cpu, at[0], now[what]))
            before.update(now)
            at[0] = state.pc

        return look

    # ---- the situations --------------------------------------------------------------------

    async def pass_by(self, session: Session, first: int, second: int) -> bool:
        """Let the second AP take a number while the first is held right after its unlock."""
        number_at = session.view.addr("segment_init_ap")
        verdict, _ = await push(
            session,
            second,
            lambda now: now.pc == number_at,
            budget=2 * CALL_BUDGET,
            others=[first],
            watcher=await self.watcher(session, second),
            peek=self.shared_at(session).values(),
        )
        await self._keep_guard(session, second)
        return verdict == "reached"

    async def _keep_guard(self, session: Session, cpu: int) -> None:
        """Record the instruction that took ap_lock, unless that is the provided function's."""
        taken = next(
            (c for c in self.changes if (c.what, c.cpu) == ("guard", cpu) and any(c.now)), None
        )
        if taken is not None and session.view.symbols.owner(taken.pc) == "student":
            code = await session.gdb.read_virt(cpu, taken.pc, CODE_BYTES)
            session.log.lock = replace(lock_of(session), guard_code=code)

    async def count(self, session: Session, first: int, second: int, third: int) -> None:
        """Hold the first AP right before it stores the count, and try to bring another there."""
        counted = self.first("count", second)
        if counted is None or self.first("count", first) is not None:
            return
        name, store = "count.store", counted.pc
        await session.places.watch(name, store)
        verdict, state = await self._first_section(session, first, store)
        if verdict == "reached" and state.pc != store:
            await self._number(session, first, third)  # it has given ap_lock back, uncounted
        elif verdict == "reached":
            code = await session.view.code_at(first, state)
            free = not any((await self.shared(session))["guard"])
            session.log.lock = replace(
                lock_of(session), store_code=code, unguarded=first if free else None
            )
            ends = (store, session.view.addr("segment_init_ap"))
            verdict, state = await session.step_until(
                third, lambda now: now.pc in ends, budget=2 * CALL_BUDGET
            )
            if verdict != "reached" or state.pc == store:
                session.add_interleaving(third, "counting", name, verdict, state)
            elif any((await self.shared(session))["guard"]):
                session.log.lock = replace(lock_of(session), skipped_guard=third)
            await session.step(first)
            await self._number(session, first, third)
        await session.places.unwatch(name)

    async def _first_section(
        self, session: Session, first: int, store: int
    ) -> tuple[Verdict, CpuState]:
        """Let the first AP go on to its store of the count, or to its first release of ap_lock."""
        watcher = await self.watcher(session, first)
        known = len(self.changes)
        verdict, state = await session.step_until(
            first,
            lambda now: (
                now.pc == store
                or any(c.what == "guard" and not any(c.now) for c in self.changes[known:])
            ),
            budget=2 * CALL_BUDGET,
            watcher=watcher,
            peek=self.shared_at(session).values(),
        )
        return (
            (verdict, state) if verdict == "reached" else await session.run_to(first, "count.store")
        )

    async def _number(self, session: Session, first: int, third: int) -> None:
        """Hold the first AP where it is, and see whether another one gets its number."""
        number_at = session.view.addr("segment_init_ap")
        await push(
            session, third, lambda now: now.pc == number_at, budget=CALL_BUDGET, others=[first]
        )
        numbers = []
        for cpu in (first, third):
            if not session.log.at("segment_init_ap", cpu):
                await session.run_to(cpu, "segment_init_ap")
            hits = session.log.at("segment_init_ap", cpu)
            numbers += [hit.state.rdi & 0xFFFFFFFF for hit in hits]
        if len(numbers) == 2 and numbers[0] == numbers[1]:
            same = SameNumber(first, numbers[0])
            session.log.lock = replace(lock_of(session), same_number=same)
