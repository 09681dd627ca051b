"""Probes of the handshake: APs one by one, a late AP, and an AP that never arrives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import DELAY_FIELDS, BaseProbe
from vmmlab.probes.gathering import (
    GatheringProbe,
    boot_stack,
    bring_in,
    bring_in_noting,
    guard,
    lock_marked,
    lock_of,
    look_where_it_waits,
)
from vmmlab.probes.longwait import Kept, LongerWait, keep
from vmmlab.probes.registry import probe
from vmmlab.x86.decode import reads_a_clock

_LONG_US: Final = 600_000_000  # longer than any boot may take
_BYTES: Final = 16  # of physical 0
_TO_SLEEP: Final = 600  # instructions of one poll


@probe("one-by-one")
@dataclass
class OneByOneProbe(GatheringProbe):
    """Lets the APs enter one after the other, never two at once; then the BSP goes on.

    No AP enters at the turn that equals its APIC id.

    Args:
        holds: stackaddr holds another value when segment_init_ap has returned.
        delays: as for `BaseProbe`.
    """

    holds: bool = False
    delays: Mapping[str, int] = field(default_factory=dict)

    async def play(self, session: Session, everyone: bool) -> None:
        """Let them enter one after the other."""
        aps = list(session.view.ap_indices)
        await self._fill_boot_stack(session)
        shift = session.choice.between(1, len(aps) - 1)
        entered = 0
        for turn, cpu in enumerate(aps[shift:] + aps[:shift], 1):
            if cpu in session.held:
                log = session.log.cpus[cpu]
                log.find(turn=turn)
                if await bring_in_noting(session, cpu, holds=self.holds):
                    entered += 1
                    base = await session.view.stackaddr(await session.view.state(cpu))
                    log.find(stackaddr_before_barrier=base or 0)
                elif not session.log.at("apinitproc0", cpu) and not session.ended:
                    await look_where_it_waits(session, cpu)
        if everyone and entered == len(aps) and not session.ended:
            await self._bsp_goes_on(session)
        await session.places.unwatch("sync_all_processors")  # from here on, only the end counts

    async def _bsp_goes_on(self, session: Session) -> None:
        """Let the BSP run alone to bsp_proc: what the APs do in the barrier cannot stop it then."""
        verdict, _ = await session.run_to(0, "bsp_proc", "sync_all_processors")
        if verdict == "reached":
            seen = await guard(session)
            session.log.lock = replace(lock_of(session), guard_at_bsp_proc=seen)

    async def _fill_boot_stack(self, session: Session) -> None:
        """Fill the boot stack with random bytes: the BSP has left it, and no AP is there yet."""
        size = len(await boot_stack(session))
        await session.gdb.write_phys(
            session.view.phys("boot_stack"), session.choice.randbytes(size)
        )


@probe("late-ap", cost=2)
@dataclass
class LateProbe(GatheringProbe):
    """Delays one AP: it has not entered yet, then it has entered but waits before the lock.

    Meanwhile the BSP may poll as often as it likes; it must not go on, or write to the lock.

    Args:
        cpu: index of the AP.
        entered: only the second of the two.
        delays: as for `BaseProbe`.
        polls: of the BSP that are watched in each phase.
    """

    cpu: int | None = 1
    delays: Mapping[str, int] = field(default_factory=dict)
    entered: bool = False
    polls: int = field(default=4, init=False)

    async def start(self, session: Session) -> None:
        """Give the BSP time."""
        if self.entered:
            await BaseProbe.start(self, session)
        else:
            await GatheringProbe.start(self, session)
        await session.view.write_u32("ap_delays", _LONG_US, DELAY_FIELDS["wait_us"])

    async def hit(self, session: Session, hit: Hit) -> None:
        """End the boot when the BSP has gone on: there is nothing more to see."""
        await GatheringProbe.hit(self, session, hit)
        if self.played and (hit.place, hit.cpu) == ("bsp_proc", 0):
            session.finished = True

    async def play(self, session: Session, everyone: bool) -> None:
        """Bring in the others, then look at the BSP in both phases."""
        late = self.cpu
        if late is None or late not in session.held:
            return
        for cpu in session.view.ap_indices:
            if everyone and cpu != late:
                await bring_in(session, cpu)
        verdict = "reached"
        if not self.entered:
            if await self._phase(session, late, "not-entered", everyone):
                return
            verdict, _ = await session.run_to(late, "ap_entry")
        if verdict == "reached":
            await self._phase(session, late, "not-numbered", everyone)

    async def _phase(self, session: Session, cpu: int, name: str, everyone: bool) -> bool:
        """Let the BSP alone poll a few times. True if it went on."""
        await session.note(cpu, f"{name}.held", await session.view.state(cpu))
        async with lock_marked(session, 0):
            gone = everyone and await self._polls(session, name)
        found = await session.view.read_if_there(0, _BYTES)
        log = session.log
        if name == "not-entered":
            log.physical_0 = replace(log.physical_0, not_entered=found)
        else:
            log.physical_0 = replace(log.physical_0, not_numbered=found)
        return gone

    async def _polls(self, session: Session, name: str) -> bool:
        await session.places.watch("usleep")
        gone = False
        for _ in range(self.polls):
            verdict, state = await session.run_to(0, "usleep", "bsp_proc", attempts=2)
            gone = verdict == "reached" and session.places.at(state.pc) == "bsp_proc"
            if gone:
                await session.note(0, f"left while {name}", state)
                session.finished = True
            if gone or verdict != "reached":
                break  # or it waits without usleep
            known = lock_of(session)
            seen = known.guard_at_poll or await guard(session)
            session.log.lock = replace(known, guard_at_poll=seen)
        await session.places.unwatch("usleep")
        return gone


@probe("missing-ap")
@dataclass
class MissingProbe(GatheringProbe):
    """Holds one AP forever, with a short time limit for the VMM's wait.

    Another AP arrives while the BSP polls already. What the BSP sleeps is recorded.

    Args:
        cpu: index of the AP.
        delays: as for `BaseProbe`.
        entered: it is held in apinitproc0, so that it has entered and is not counted.
    """

    cpu: int | None = 1
    delays: Mapping[str, int] = field(default_factory=dict)
    entered: bool = False
    polls: int = field(default=5, init=False)
    _at_wait: Kept | None = field(default=None, init=False)

    async def start(self, session: Session) -> None:
        """Watch the place where the missing AP is held."""
        if self.entered:
            await BaseProbe.start(self, session)
        else:
            await GatheringProbe.start(self, session)

    async def hit(self, session: Session, hit: Hit) -> None:
        """End the boot when the BSP has reported the missing CPU or gone on."""
        await GatheringProbe.hit(self, session, hit)
        if self.cpu is not None and self.played:
            session.held.add(self.cpu)
        if hit.cpu == 0 and hit.place in ("vmm_ap_missing", "bsp_proc"):
            if hit.place == "vmm_ap_missing" and self._at_wait is not None:
                await LongerWait(session, self._at_wait).look()
            session.finished = True

    async def _begin(self, session: Session) -> None:
        await GatheringProbe._begin(self, session)
        if self.cpu is not None:
            session.held.add(self.cpu)

    async def play(self, session: Session, everyone: bool) -> None:
        """Let all others enter before the time is over, so that only one CPU can be named."""
        at = session.view.phys("ap_delays") + DELAY_FIELDS["poll_us"]
        session.log.lock = replace(
            lock_of(session),
            poll_us=await session.view.read_u32(at),
            own_timer=await _reads_a_clock(session),
        )
        if not everyone or self.cpu is None:
            return
        self._at_wait = await keep(session)
        *early, straggler = [cpu for cpu in session.view.ap_indices if cpu != self.cpu]
        for cpu in early:
            await bring_in(session, cpu)
        polls = self.polls if await _sleeps(session) else 0
        await session.places.watch("usleep")
        for _ in range(polls):
            verdict, state = await session.run_to(0, "usleep", "bsp_proc", attempts=2)
            if verdict != "reached" or session.places.at(state.pc) != "usleep":
                session.finished = session.log.cpus[0].rest is not None or verdict == "reached"
                break
        await bring_in(session, straggler)
        if self.entered:
            await session.run_to(self.cpu, "apinitproc0")


async def _reads_a_clock(session: Session) -> bool:
    """Whether an instruction of the student's code reads a clock."""
    view = session.view
    for one in view.symbols.student_ranges:
        if not one.section.startswith(".text"):
            continue
        code = await view.read_if_there(one.start - VMM_BASE, one.end - one.start)
        if reads_a_clock(code, view.abi.bits):
            return True
    return False


async def _sleeps(session: Session) -> bool:
    """Try whether the BSP calls usleep while it waits; then put it back to where it was.

    A BSP that measures the time itself would use it up while other CPUs are moved.
    """
    view = session.view
    wait_us = view.phys("ap_delays") + DELAY_FIELDS["wait_us"]
    was, context = await view.read_u32(wait_us), (await session.gdb.registers(0)).context
    await view.write_u32("ap_delays", _LONG_US, DELAY_FIELDS["wait_us"])
    usleep = view.addr("usleep")
    verdict, _ = await session.step_until(0, lambda now: now.pc == usleep, budget=_TO_SLEEP)
    if session.log.cpus[0].rest is None and not session.ended:
        await session.gdb.write_registers(0, context)
        await session.gdb.write_phys(view.phys("ap_lock"), b"\0")
    await view.write_u32("ap_delays", was, DELAY_FIELDS["wait_us"])
    return verdict == "reached"
