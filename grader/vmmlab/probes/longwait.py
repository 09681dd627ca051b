"""Lets the BSP wait again for a missing AP, with so many polls that short counters overflow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from vmmlab.observe.evidence import Lock, LongWait
from vmmlab.observe.session import Session
from vmmlab.probes.base import DELAY_FIELDS
from vmmlab.probes.shared import Variables
from vmmlab.probes.sleeping import Sleeps

_POLLS: Final = 0x10000 + 0x180
"""More than 16 bits can count; the low 16 and the low 8 bits are other numbers."""
_POLL_US: Final = 303
"""20 seconds in all: a product with 1000 needs more than 32 bits."""
FEW_POLLS: Final = 12
"""Of the wait in which the missing AP is counted in late."""
_BEFORE: Final = 7  # of the few
_COUNTER: Final = 4  # bytes of apinit_procs


@dataclass(frozen=True)
class Kept:
    """The BSP at the first instruction of ap_wait.

    Args:
        registers: its registers.
        variables: the student's variables.
    """

    registers: dict[str, int]
    variables: bytes


async def keep(session: Session) -> Kept:
    """Take note of the BSP where it is."""
    return Kept((await session.gdb.registers(0)).context, await Variables(session).held())


@dataclass
class LongerWait:
    """Calls ap_wait again where the BSP has given up: all is as it was, but usleep returns at once.

    Args:
        session: the boot; the BSP is at vmm_ap_missing.
        at_wait: the BSP as it was at the beginning of ap_wait.
    """

    session: Session
    at_wait: Kept

    async def look(self) -> None:
        """Record how long the BSP waits; nothing if it does not call usleep."""
        session = self.session
        known = session.log.lock or Lock()
        if known.poll_us is None or known.own_timer:
            return
        hits, sleeps = len(session.log.hits), Sleeps(session)
        await session.places.unwatch("usleep")
        await sleeps.install()
        await self._begin(_POLLS)
        named, slept, calls = await self._gives_up(sleeps)
        found = LongWait(_POLL_US, _POLLS * _POLL_US, slept, named)
        if calls and named:
            found = replace(found, late_us=await self._with_a_late_ap(sleeps))
        if calls and not session.ended:
            session.log.lock = replace(session.log.lock or Lock(), long_wait=found)
        await sleeps.remove()
        del session.log.hits[hits:]

    async def _begin(self, polls: int) -> None:
        """Let the BSP be where it was, with time for so many polls."""
        session, view = self.session, self.session.view
        for name, value in (("poll_us", _POLL_US), ("wait_us", polls * _POLL_US)):
            await view.write_u32("ap_delays", value, DELAY_FIELDS[name])
        await session.gdb.write_phys(view.phys("ap_lock"), b"\0")
        await Variables(session).put_back(self.at_wait.variables)
        await session.gdb.write_registers(0, self.at_wait.registers)

    async def _gives_up(self, sleeps: Sleeps) -> tuple[bool, int, int]:
        """Let the BSP wait until it gives up, or has waited too long; it may take its time.

        Returns:
            Whether it called vmm_ap_missing, and the microseconds and the calls of usleep.
        """
        slept = calls = 0
        while True:
            named = await self._comes_to("vmm_ap_missing")
            more_us, more_calls = await sleeps.take()
            slept, calls = slept + more_us, calls + more_calls
            if named or not more_calls or slept > (_POLLS + 2) * _POLL_US:
                return named, slept, calls

    async def _comes_to(self, place: str) -> bool:
        session = self.session
        verdict, state = await session.run_to(0, place, "vmm_ap_missing", "bsp_proc", attempts=1)
        return verdict == "reached" and session.places.at(state.pc) == place

    async def _with_a_late_ap(self, sleeps: Sleeps) -> int | None:
        """Return how long the BSP sleeps if the missing AP is counted in meanwhile, no further.

        Returns:
            Microseconds; None if the BSP did not come so far.
        """
        session, at = self.session, self.session.view.in_copy("apinit_procs")
        if session.ended or at is None:
            return None
        was = await session.gdb.read_phys(at, _COUNTER)
        await self._begin(FEW_POLLS)
        await session.places.watch("usleep")
        came = [await self._comes_to("usleep") for _ in range(_BEFORE)]
        await session.places.unwatch("usleep")
        everybody = len(session.view.ap_indices)
        await session.gdb.write_phys(at, everybody.to_bytes(_COUNTER, "little"))
        named = all(came) and await self._comes_to("vmm_ap_missing")
        slept, _ = await sleeps.take()
        await session.gdb.write_phys(at, was)
        return slept if named else None
