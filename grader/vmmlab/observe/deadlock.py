"""Deadlock detection: prove that a stopped machine can make no more progress.

Most mistakes of a bring-up end with CPUs that wait for each other. A time-out takes seconds to
notice that, and on a busy host it is wrong. So each CPU is examined: it is halted, or it runs in a
loop that leaves everything unchanged. If no loop changes what another one reads, none of them can
ever end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from vmmlab.machine import CpuReset
from vmmlab.machine.gdb import Registers, Stop
from vmmlab.observe.icr import Icr, icr_writes
from vmmlab.observe.touched import Touched
from vmmlab.x86.registers import EFLAGS_IF, RESET_AT

if TYPE_CHECKING:
    from vmmlab.observe.session import Session
    from vmmlab.observe.view import View

POLLS: Final = 3  # unsuccessful polls of the BSP, in a wait that is longer than the grader's
LONGEST: Final = 200  # instructions of one lap, or between two polls
_WAIT_US: Final = 12  # offset of wait_us in struct ap_delays (include/ap.h), in bytes


@dataclass
class Lap:
    """The words that a CPU accesses while it is examined, by physical address.

    That is more than one lap of its loop: an earlier change of its own may have released a CPU that
    was examined before.
    """

    reads: set[int] = field(default_factory=set)
    changes: set[int] = field(default_factory=set)


async def look(session: Session) -> Stop | bool:
    """Prove that nothing can happen any more in a stopped machine, if that is so.

    Args:
        session: the boot. CPUs are stepped, so they may be elsewhere afterwards.

    Returns:
        True: each CPU that is not held is halted, lost, or waits in a loop that no other CPU will
        end. False: that is not certain. A Stop: something has happened meanwhile.
    """
    laps: list[Lap] = []
    starts: list[Icr | CpuReset] | None = None
    for cpu in sorted(session.free()):  # the BSP first: its actions between polls are not recorded
        if (await session.gdb.describe(cpu)).get("hlt"):
            registers = await session.gdb.registers(cpu)
            starts = _starts(session.view) if starts is None else starts
            if registers.eflags & EFLAGS_IF or _is_called(session.view, starts, registers):
                return False  # the thread of a CPU of QEMU may be late
            continue
        if session.in_guest(cpu):
            return False  # nothing is known of what it waits for
        state = await session.view.state(cpu)
        if session.places.at(state.pc):
            return False  # it has just arrived there, and will stop as soon as it may run
        if not session.view.is_code(state):
            continue  # it executes non-code: no correct behaviour can follow
        lap: Lap | Stop | None = await _Looker(session, cpu).goes_round()
        if lap is None and cpu == 0 and await _waits_long(session):
            lap = await _Looker(session, cpu).polls()
        if isinstance(lap, Stop):
            return lap
        if lap is None:
            return False
        laps.append(lap)
    return not any(
        one.changes & (other.reads | other.changes)
        for one in laps
        for other in laps
        if one is not other
    )


def _starts(view: View) -> list[Icr | CpuReset]:
    """Return each INIT and SIPI that was sent, and each INIT that was taken, in order."""
    return [
        one
        for event in view.machine.trace()
        for one in ([event] if isinstance(event, CpuReset) else icr_writes([event], view.since_s))
        if isinstance(one, CpuReset) or one.kind in ("INIT", "SIPI")
    ]


def _is_called(view: View, starts: list[Icr | CpuReset], registers: Registers) -> bool:
    """Whether a halted CPU has yet to take the SIPI that was sent to it.

    INIT leaves the registers as a reset does, and a CPU in that state takes a SIPI (Intel SDM
    vol. 3, 8.4.2 and table 9-1). QEMU's CPU that halted takes an INIT only with the SIPI.

    Args:
        view: the boot.
        starts: what `_starts` returns.
        registers: of the CPU.
    """
    has_init = has_sipi = False
    for event in starts:
        if isinstance(event, CpuReset):
            has_init = has_init and event.cpu != registers.cpu
        elif view.reaches(event, registers.cpu):
            has_sipi = event.kind == "SIPI"
            has_init = has_init or not has_sipi
    return has_sipi and (has_init or (registers.cs, registers.rip) == RESET_AT)


async def _waits_long(session: Session) -> bool:
    """Whether the BSP is in `ap_wait`, with a longer time limit than the grader's.

    Then only the elapsed time changes from poll to poll, and its limit is not reached while the
    grader observes.
    """
    if not session.log.at("ap_wait", 0) or session.log.at("bsp_proc", 0):
        return False
    wait_us = await session.view.read_u32(session.view.phys("ap_delays") + _WAIT_US)
    return wait_us > session.limits.quiet_s * 1e6


@dataclass
class _Looker:
    """Follows one CPU while all others are held."""

    session: Session
    cpu: int
    lap: Lap = field(default_factory=Lap)
    touched: Touched = field(init=False)

    def __post_init__(self) -> None:
        """Look at the accesses of this CPU."""
        self.touched = Touched(self.session.view, self.cpu)

    async def goes_round(self) -> Lap | None:
        """Return one lap of its loop; None if it is in no loop, or if the loop changes anything."""
        registers = await self._registers()
        first = {registers: 0}
        for step in range(1, LONGEST):
            if not await self._watched_step({}):
                return None
            registers = await self._registers()
            if (before := first.setdefault(registers, step)) != step:
                return await self._round(step - before)
        return None

    async def _round(self, steps: int) -> Lap | None:
        """Follow one more lap and watch memory; all must be at the end as it was at the start."""
        start = await self._registers()
        was: dict[int, bytes] = {}
        for _ in range(steps):
            if not await self._watched_step(was):
                return None
        same = all([await self.touched.word(at) == value for at, value in was.items()])
        return self.lap if same and await self._registers() == start else None

    async def polls(self) -> Lap | Stop | None:
        """Follow several polls of a CPU that sleeps between them; only their number may change."""
        session = self.session
        usleep = session.view.addr("usleep")
        async with session.places.stopping_at(usleep):
            stop = await session.go([self.cpu], session.limits.alone_s)
        if stop.kind == "interrupt":
            return None
        if usleep in session.places or stop.kind != "break" or stop.address != usleep:
            return stop
        for _ in range(POLLS):
            await session.run_to_return(self.cpu, await session.view.state(self.cpu))
            if not await self._steps_to(usleep):
                return None
        return self.lap

    async def _steps_to(self, address: int) -> bool:
        for _ in range(LONGEST):
            if not await self._watched_step({}):
                return False
            if (await self._registers()).rip == address:
                return True
        return False

    # ---- one instruction -------------------------------------------------------------------

    async def _registers(self) -> Registers:
        return await self.touched.registers()

    async def _step(self) -> bool:
        """Step once; return False if that could not be done, or led to a watched place."""
        alive = await self.session.step(self.cpu)
        pc = (await self._registers()).linear_pc
        return alive and self.session.places.at(pc) is None

    async def _stays(self) -> bool:
        """Step; return whether the instruction does not complete: the processor refuses it."""
        before = await self._registers()
        return await self._step() and await self._registers() == before

    async def _watched_step(self, was: dict[int, bytes]) -> bool:
        """Step, and record what the CPU accesses.

        Args:
            was: what a word held before it was changed first, by physical address; added to.

        Returns:
            False if that is unknown.
        """
        touched = await self.touched.accesses()
        if touched is None:
            return await self._stays()
        written: dict[int, bytes] = {}
        for one in touched:
            words = await self.touched.words(one)
            if words is None:
                return False
            if one.writes:
                written |= {at: await self.touched.word(at) for at in words}
            self.lap.reads |= words
        if not await self._step():
            return False
        for at, before in written.items():
            if await self.touched.word(at) != before:
                self.lap.changes.add(at)
                was.setdefault(at, before)
        return True
