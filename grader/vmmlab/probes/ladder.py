"""The probe of the way up: every instruction of every AP from physical 0 to ap_entry."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.observe.cpu import EntrySegments, Segment
from vmmlab.observe.evidence import MappedPage
from vmmlab.observe.faults import note_exception
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe
from vmmlab.probes.passage import Passage
from vmmlab.probes.registry import probe

MILESTONE_PLACES: Final = (
    "ap_entry", "apinitproc0", "apinitproc1", "segment_init_ap", "ap_wait", "bsp_proc",
)  # fmt: skip
# A segment register in QEMU's monitor: selector, then the hidden part, base, limit and flags.
SEGMENT: Final = re.compile(
    r"^([CDES]S) ?=[0-9a-f]{4} ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE
)
MAPMEM_BASE, WINDOW_PAGES = 0xC0000000, 8 * 512  # include/layout.h
PTE_ADDRESS: Final = 0x000FFFFFFFFFF000


@probe("ladder", cost=2)
@dataclass
class LadderProbe(BaseProbe):
    """Records every milestone of every AP, and each instruction of the trampoline.

    An AP runs only if a SIPI has called it, and only as far as physical 0. When all have come
    there, or no more will, they go through the trampoline in an order that depends on their
    indices only (`Passage`). So nothing depends on which CPU happens to be first, and how long an
    AP takes on a busy host is not the student's doing.
    """

    places: tuple[str, ...] = MILESTONE_PLACES
    arrived: set[int] = field(default_factory=set, init=False)
    """The APs that stand at physical 0 and have executed nothing yet."""
    patient: bool = field(default=True, init=False)

    async def start(self, session: Session) -> None:
        """Watch where an AP executes its first instruction, and the writes of the ICR."""
        await BaseProbe.start(self, session)
        await session.places.watch("physical-0", 0)
        # An INIT that reaches the BSP as well leaves no later moment to look.
        await session.places.watch("apic_write_icr")
        session.held |= set(session.view.ap_indices)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Bring the APs that the BSP has called to physical 0, and let them pass."""
        await BaseProbe.hit(self, session, hit)
        if hit.place == "apic_write_icr" and hit.cpu == 0:
            await self.look_while_needed(session, final=False)
            await self._let_them_come(session, hit)
        if hit.cpu == 0 and hit.place in ("ap_wait", *rest_places()):
            await self._let_them_pass(session)
        if hit.place == "bsp_proc":
            await self._left_mapped(session)
        if hit.place == "physical-0" and hit.cpu != 0:
            await self._came_again(session, hit.cpu)
        if hit.place == "ap_entry":
            await self._look_at_entry(session, hit.cpu)

    async def quiet(self, session: Session) -> bool:
        """Let the APs pass that the BSP may wait for."""
        await BaseProbe.quiet(self, session)
        return await self._let_them_pass(session)

    async def _left_mapped(self, session: Session) -> None:
        """Record a page of ap_start that mapmem's window still shows (core/mapmem.c)."""
        raw = await session.gdb.read_phys(session.view.phys("mapmem_pagetables"), WINDOW_PAGES * 8)
        copy = session.inputs.apinit_addr
        needed = {0, *range(copy & ~0xFFF, copy + session.view.trampoline_size, 4096)}
        for page, (entry,) in enumerate(struct.iter_unpack("<Q", raw)):
            if entry & 1 and (physical := entry & PTE_ADDRESS) in needed:
                left = MappedPage(physical, MAPMEM_BASE + page * 4096)
                known = session.log.bringup
                session.log.bringup = replace(known, left_mapped=known.left_mapped or left)

    # ---- physical 0 ------------------------------------------------------------------------

    async def _let_them_come(self, session: Session, hit: Hit) -> None:
        """Let the BSP finish its write; then let every AP that got a SIPI come to physical 0."""
        before = len(session.view.icr())
        await session.run_to_return(0, hit.state)
        sipis = [one for one in session.view.icr() if one.kind == "SIPI"]
        waiting = [ap for ap in session.view.ap_indices if not session.log.at("physical-0", ap)]
        for sipi in sipis:
            for ap in waiting if sipi.vector else ():
                if session.view.reaches(sipi, ap):
                    session.hold_outside_code(ap, sipi.vector << 12)
        called = [
            ap
            for ap in waiting
            if session.log.cpus[ap].found.left_code is None
            and any(session.view.reaches(sipi, ap) for sipi in sipis)
        ]
        await self._bring(session, called)
        new = [one for one in session.view.icr()[before:] if one.kind == "SIPI"]
        again = any(session.view.reaches(one, ap) for one in new for ap in self.arrived - {*called})
        if again or len(self.arrived) == len(session.view.ap_indices):
            await self._let_them_pass(session)

    async def _bring(self, session: Session, called: list[int]) -> None:
        """Let APs come to physical 0, one after the other; if one does not, the rest together."""
        left = list(called)
        while left and self.patient and not session.ended:
            stop = await session.go(left[:1], session.limits.alone_s)
            # Asked once in a boot: an AP that does not come never will.
            self.patient = stop.kind == "break"
            if not self.patient and not session.ended:
                stop = await session.go(left, session.limits.alone_s)
                self.patient = stop.kind == "break"
            came = await session.arrive(stop)
            if came is None:
                continue
            await note_exception(session, came)
            if came.place == "physical-0" and came.cpu in left:
                left.remove(came.cpu)
                self.arrived.add(came.cpu)
            else:
                await self.hit(session, came)
                left = [ap for ap in left if not session.log.cpus[ap].rest]

    async def _came_again(self, session: Session, cpu: int) -> None:
        times = len(session.log.at("physical-0", cpu))
        if times > 3 or all(session.log.at("physical-0", ap) for ap in session.view.ap_indices):
            await session.places.unwatch("physical-0")  # it is lost, and comes by again and again

    # ---- the trampoline --------------------------------------------------------------------

    async def _let_them_pass(self, session: Session) -> bool:
        """Let all APs that have come go through the trampoline; return whether there were any."""
        here, self.arrived = sorted(self.arrived), set()
        if not here:
            return False
        await self.look_while_needed(session)
        before = await session.view.around_trampoline()
        await Passage(session).let_pass(here)
        after = await session.view.around_trampoline()
        changed = next((at for at in before if before[at] != after.get(at)), None)
        for cpu in here:
            if changed is not None:
                session.log.cpus[cpu].find(overrun=changed)
            if session.log.at("ap_entry", cpu):
                await self._look_at_entry(session, cpu)
        return True

    async def _look_at_entry(self, session: Session, cpu: int) -> None:
        """Record what the segment registers hold; only QEMU's monitor tells."""
        if session.log.cpus[cpu].found.entry_segments is not None:
            return
        told = await session.gdb.monitor(f"info registers {cpu}")
        found = {
            name.lower(): Segment(*(int(value, 16) for value in values))
            for name, *values in SEGMENT.findall(told)
        }
        segments = EntrySegments(**found, cs_is_64_bit="CS64" in told)
        session.log.cpus[cpu].find(entry_segments=segments)
