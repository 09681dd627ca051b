"""The ladder probe: every instruction of every AP from physical 0 to ap_entry."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from vmmlab.observe.cpu import EntrySegments, Segment
from vmmlab.observe.icr import Icr
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe
from vmmlab.probes.passage import Passage
from vmmlab.probes.registry import probe
from vmmlab.probes.starting import StartWatch

MILESTONE_PLACES: Final = (
    "ap_entry", "apinitproc0", "apinitproc1", "segment_init_ap", "ap_wait", "bsp_proc",
)  # fmt: skip
# A segment register in QEMU's monitor: selector, then the hidden part, base, limit and flags.
SEGMENT: Final = re.compile(
    r"^([CDES]S) ?=[0-9a-f]{4} ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE
)


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
    watch: StartWatch | None = field(default=None, init=False)

    async def start(self, session: Session) -> None:
        """Watch where an AP executes its first instruction, and what the BSP does in ap_start."""
        await BaseProbe.start(self, session)
        await session.places.watch("physical-0", 0)
        # An INIT that reaches the BSP as well leaves no later moment to look.
        await session.places.watch("apic_write_icr")
        session.held |= set(session.view.ap_indices)
        self.watch = StartWatch(session)
        await self.watch.start()

    async def hit(self, session: Session, hit: Hit) -> None:
        """Bring the APs that the BSP has called to physical 0, and let them pass."""
        if self.watch is not None:
            await self.watch.hit(hit)
        await BaseProbe.hit(self, session, hit)
        if hit.place == "apic_write_icr" and hit.cpu == 0 and self.watch is not None:
            await self._send(session, hit, self.watch)
        if hit.cpu == 0 and hit.place in ("ap_wait", *rest_places()):
            await self._bring(session, self._called(session))  # a SIPI may be sent by a store
            await self._let_them_pass(session)
        if hit.place == "physical-0" and hit.cpu != 0:
            await self._came_again(session, hit.cpu)
        if hit.place == "ap_entry":
            await self._look_at_entry(session, hit.cpu)

    async def quiet(self, session: Session) -> bool:
        """Let the APs pass that the BSP may wait for."""
        await BaseProbe.quiet(self, session)
        marked = self.watch is not None and await self.watch.quiet()
        return await self._let_them_pass(session) or marked

    async def _send(self, session: Session, hit: Hit, watch: StartWatch) -> None:
        """Let the BSP send an IPI, and let the APs come that it starts.

        An IPI other than INIT may wake APs that no code is ready for, and what they overwrite is a
        matter of luck: so the look at what ap_start has prepared comes before.
        """
        low = await watch.call(hit)
        kind = Icr(0, low, 0, 0.0).kind
        harmless = ("fixed", "INIT", "INIT level de-assert")  # no AP starts by it
        await self.look_while_needed(session, final=kind not in harmless)
        await self._let_them_come(session, hit)
        await watch.called(sipi=kind == "SIPI")

    # ---- physical 0 ------------------------------------------------------------------------

    async def _let_them_come(self, session: Session, hit: Hit) -> None:
        """Let the BSP finish its write; then let every AP that got a SIPI come to physical 0."""
        before = len(session.view.icr())
        await session.run_to_return(0, hit.state)
        called = self._called(session)
        await self._bring(session, called)
        new = [one for one in session.view.icr()[before:] if one.kind == "SIPI"]
        again = any(session.view.reaches(one, ap) for one in new for ap in self.arrived - {*called})
        if again or len(self.arrived) == len(session.view.ap_indices):
            await self._let_them_pass(session)

    def _called(self, session: Session) -> list[int]:
        """Return the APs that got a SIPI and have not come to physical 0.

        An AP that was called to another page is held there.
        """
        sipis = [one for one in session.view.icr() if one.kind == "SIPI"]
        waiting = [ap for ap in session.view.ap_indices if not session.log.at("physical-0", ap)]
        for sipi in sipis:
            for ap in waiting if sipi.vector else ():
                if session.view.reaches(sipi, ap):
                    session.hold_outside_code(ap, sipi.vector << 12)
        return [
            ap
            for ap in waiting
            if session.log.cpus[ap].found.left_code is None
            and any(session.view.reaches(sipi, ap) for sipi in sipis)
        ]

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
