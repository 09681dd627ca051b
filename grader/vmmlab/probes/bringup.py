"""Probes of the bring-up: every step of every AP, and the delay before the first SIPI."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.observe.cpu import EntrySegments, Segment
from vmmlab.observe.evidence import Delay, MappedPage
from vmmlab.observe.faults import note_exception
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.observe.trampoline import step_trampoline
from vmmlab.probes.base import DELAY_FIELDS, BaseProbe
from vmmlab.probes.registry import probe
from vmmlab.x86.decode import decode
from vmmlab.x86.registers import ICR_ASSERT, ICR_INIT, ICR_LEVEL, ICR_MODE, ICR_STARTUP

MILESTONE_PLACES: Final = (
    "ap_entry", "apinitproc0", "apinitproc1", "segment_init_ap", "ap_wait", "bsp_proc",
)  # fmt: skip
VERY_LONG_US: Final = 4_000_000_000
# A segment register in QEMU's monitor: selector, then the hidden part, base, limit and flags.
SEGMENT: Final = re.compile(
    r"^([CDES]S) ?=[0-9a-f]{4} ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE
)
PIECES: Final = 64  # calls of usleep after which the sum is not waited for any more
MAPMEM_BASE, WINDOW_PAGES = 0xC0000000, 8 * 512  # include/layout.h
PTE_ADDRESS: Final = 0x000FFFFFFFFFF000


@probe("ladder", cost=2)
@dataclass
class BringupProbe(BaseProbe):
    """Records every milestone of every AP, and each instruction of the trampoline.

    The BSP is held after each SIPI until the APs that it has started have arrived, because the
    student does not control how long they take on a busy host.
    """

    places: tuple[str, ...] = MILESTONE_PLACES
    patient: bool = field(default=True, init=False)

    async def start(self, session: Session) -> None:
        """Watch where an AP executes its first instruction, and the writes of the ICR."""
        await BaseProbe.start(self, session)
        await session.places.watch("physical-0", 0)
        # An INIT that reaches the BSP as well ends the boot, so record now.
        await session.places.watch("apic_write_icr")

    async def hit(self, session: Session, hit: Hit) -> None:
        """Follow an AP that is about to execute physical 0."""
        await BaseProbe.hit(self, session, hit)
        if hit.place == "apic_write_icr" and hit.cpu == 0:
            await self.look_while_needed(session, final=False)
            await self._let_them_come(session, hit)
        if hit.place == "bsp_proc":
            await self._left_mapped(session)
        if hit.place == "physical-0" and hit.cpu != 0:
            await self._follow(session, hit)
        if hit.place == "ap_entry":
            await self._look_at_entry(session, hit.cpu)

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

    async def _let_them_come(self, session: Session, hit: Hit) -> None:
        """Let the BSP finish its write; then let every AP that got a SIPI run to physical 0."""
        await session.run_to_return(0, hit.state)
        sipis = [one for one in session.view.icr() if one.kind == "SIPI"]
        for sipi in sipis:
            for ap in session.free() - {0} if sipi.vector else ():
                if session.view.reaches(sipi, ap) and not session.log.at("physical-0", ap):
                    session.hold_outside_code(ap, sipi.vector << 12)
        while self.patient and not session.ended:
            missing = {
                ap
                for ap in session.free() - {0}
                if not session.log.at("physical-0", ap)
                and any(session.view.reaches(sipi, ap) for sipi in sipis)
            }
            if not missing:
                break
            stop = await session.go(missing, session.limits.alone_s)
            self.patient = (
                stop.kind == "break"
            )  # waited for once in a boot: an AP that does not arrive then never will
            if (came := await session.arrive(stop)) is not None:
                await note_exception(session, came)
                await self.hit(session, came)

    async def _follow(self, session: Session, hit: Hit) -> None:
        await self.look_while_needed(session)
        times = len(session.log.at("physical-0", hit.cpu))
        if not session.log.cpus[hit.cpu].steps:
            other = await self._count_at_once(session, hit.cpu)
            await self._step_alone(session, hit.cpu)
            if other is not None:
                at_store = session.log.interleavings[-1].verdict == "reached"
                await self._lose_a_count(session, -1 if at_store else 0)
                await self._step_alone(session, other)
                await self._lose_a_count(session, 1 if at_store else 0)
        elif times > 3 or all(session.log.at("physical-0", cpu) for cpu in session.view.ap_indices):
            await session.places.unwatch("physical-0")  # it is lost, and passes here repeatedly

    async def _step_alone(self, session: Session, cpu: int) -> None:
        before = await session.view.around_trampoline()
        await step_trampoline(session, cpu)
        after = await session.view.around_trampoline()
        changed = next((at for at in before if before[at] != after.get(at)), None)
        if changed is not None:
            log = session.log.cpus[cpu]
            log.found = replace(log.found, overrun=changed)
        if session.log.at("ap_entry", cpu):
            await self._look_at_entry(session, cpu)

    async def _lose_a_count(self, session: Session, by: int) -> None:
        """Correct the counter: of two APs held before the same store one count is lost."""
        where = session.view.in_copy("apinit_procs")
        if by and where is not None:
            value = (await session.view.read_u32(where) + by) & 0xFFFFFFFF
            await session.gdb.write_phys(where, value.to_bytes(4, "little"))

    async def _count_at_once(self, session: Session, cpu: int) -> int | None:
        """Try to bring two APs before the same store of the count, if that has no lock prefix.

        Tried once, with the second AP to come and the next one: the first has shown the store.

        Returns:
            The other AP, if it has been brought into the trampoline for this.
        """
        steps = [step for other in session.log.cpus for step in other.steps if step.counted]
        if not steps or list(session.log.interleavings) or session.log.at("ap_entry", cpu):
            return None
        store = steps[0].state
        decoded = decode(steps[0].code, store.pc, store.bits)
        aps, logs = session.view.ap_indices, session.log.cpus
        others = [one for one in aps if not logs[one].steps and one != cpu]
        if not others or decoded is None or decoded.locked:
            return None
        if not await step_trampoline(session, cpu, store.pc):
            return None
        other = others[0]
        verdict, state = await session.run_to(other, "physical-0")
        if verdict != "reached":
            return None
        reached = await step_trampoline(session, other, store.pc)
        state = await session.view.state(other)
        verdict = "reached" if reached else "waits"
        session.add_interleaving(other, "counting", "count", verdict, state)
        return other

    async def _look_at_entry(self, session: Session, cpu: int) -> None:
        """Record what the segment registers hold; only QEMU's monitor shows it."""
        log = session.log.cpus[cpu]
        if log.found.entry_segments is not None:
            return
        told = await session.gdb.monitor(f"info registers {cpu}")
        found = {
            name.lower(): Segment(*(int(value, 16) for value in values))
            for name, *values in SEGMENT.findall(told)
        }
        segments = EntrySegments(**found, cs_is_64_bit="CS64" in told)
        log.found = replace(log.found, entry_segments=segments)


@probe("delay")
@dataclass
class DelayProbe(BaseProbe):
    """Records the delay between INIT and the first SIPI, with `ap_delays.init_us` above an hour.

    Elapsed time proves nothing on a busy host, so it is not measured. usleep returns at once, and
    its arguments are added up; a VMM that waits in another way does not reach the SIPI.
    """

    places: tuple[str, ...] = ("apic_write_icr", "usleep")
    delays: Mapping[str, int] = field(default_factory=dict, init=False)

    async def start(self, session: Session) -> None:
        """Ask for a very long delay."""
        await session.view.write_u32("ap_delays", VERY_LONG_US, DELAY_FIELDS["init_us"])

    async def hit(self, session: Session, hit: Hit) -> None:
        """After the first INIT, follow the BSP to the SIPI."""
        if hit.place == "usleep":
            await session.view.set_argument(hit.cpu, "usleep", 0, 0)
        if hit.cpu != 0 or hit.place != "apic_write_icr":
            return
        if _kind(await session.view.argument(0, hit.place, 1)) != ICR_INIT:
            return
        slept, sipi = 0, False
        for _ in range(PIECES):
            verdict, state = await session.run_to(0, "apic_write_icr", "usleep", attempts=2)
            if verdict != "reached":
                break
            if session.places.at(state.pc) == "usleep":
                slept += await session.view.argument(0, "usleep") & 0xFFFFFFFF
                await session.view.set_argument(0, "usleep", 0, 0)
            elif _kind(await session.view.argument(0, "apic_write_icr", 1)) == ICR_STARTUP:
                sipi = True
                break
        session.log.delay = Delay(slept, sipi)
        session.finished = True


def _kind(icr_low: int) -> int:
    """Return the delivery mode; 0 for an INIT level de-assert, which starts nothing."""
    level_deassert = icr_low & ICR_LEVEL and not icr_low & ICR_ASSERT
    return 0 if level_deassert else icr_low & ICR_MODE
