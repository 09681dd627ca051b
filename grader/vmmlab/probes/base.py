"""The interface of all probes, and the cheapest probe, which others extend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from vmmlab.images.layout import MAPMEM_BASE, MAPMEM_SIZE, VMM_BASE
from vmmlab.machine.gdb import Stop
from vmmlab.observe.cpu import Allocation
from vmmlab.observe.evidence import MappedPage, Pointer
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.x86.registers import PAGE_BYTES

DELAY_FIELDS: Final = {"init_us": 0, "sipi_us": 4, "poll_us": 8, "wait_us": 12}
"""Offsets in `struct ap_delays` (include/ap.h), in bytes."""
NOWHERE: Final = range(0x3000_0000, 0x3FFF_F000, 16)
"""Addresses at which there is no memory, and which no page table maps."""
_UPPER: Final = 0x7F15 << 32
"""The upper half of such an address where pointers have 64 bits: a store of 32 leaves it."""
_POISON_MOST: Final = 1 << 20  # bytes of one piece of memory to fill
_JUMP_BYTES: Final = 16
_PRESENT: Final = 1  # of a page-table entry
_FRAME: Final = 0x000FFFFFFFFFF000


class Probe:
    """Observes a boot; this one observes only its end."""

    places: tuple[str, ...] = ()
    """Symbols to stop at, besides those at which a CPU comes to rest."""
    leaves_traces: ClassVar[bool] = True
    """Whether the VMM can see that it is watched: memory is filled, the inputs follow the seed."""

    records_guests: ClassVar[bool] = False
    """Whether QEMU records VMRUNs and exits."""

    async def start(self, session: Session) -> None:
        """Called once, with all CPUs stopped and the BSP at the entry of `vmm_main`."""

    async def hit(self, session: Session, hit: Hit) -> None:
        """Called for every stop at a named place, with all CPUs stopped."""

    async def touched(self, session: Session, stop: Stop) -> None:
        """Called when a CPU has used memory that the probe watches, with all CPUs stopped."""

    async def quiet(self, session: Session) -> bool:
        """Called when nothing has happened for a while; True if the boot should go on."""
        return False

    async def over(self, session: Session) -> None:
        """Called once, at the end of the boot, however it came, with all CPUs stopped."""


@dataclass
class BaseProbe(Probe):
    """Records which numbers the APs get, which CPUs park, and what ap_start prepared.

    Args:
        delays: values in microseconds for fields of `struct ap_delays`, by name.
    """

    places: tuple[str, ...] = ("segment_init_ap", "ap_wait", "bsp_proc")
    delays: Mapping[str, int] = field(default_factory=dict)
    looked: bool = field(default=False, init=False)

    async def start(self, session: Session) -> None:
        """Set the delays that the scenario asks for."""
        for name, value in self.delays.items():
            await session.view.write_u32("ap_delays", value, DELAY_FIELDS[name])
        if session.inputs.apinit_addr_linked is not None:
            await session.places.watch("apic_write_icr")  # what happens later may hide the place

    async def hit(self, session: Session, hit: Hit) -> None:
        """Record what ap_start has prepared, while it is needed and after."""
        if hit.cpu == 0 and hit.place == "apic_write_icr":
            await self.look_while_needed(session, final=False)
        if hit.cpu == 0 and hit.place in ("ap_wait", *rest_places()):
            await self.look_while_needed(session)
        if hit.cpu == 0 and hit.place in ("ap_wait", "bsp_proc"):
            (started,) = await session.gdb.read_phys(session.view.phys("ap_started"), 1)
            known = session.log.bringup
            if hit.place == "ap_wait" and known.started_at_ap_wait is None:
                session.log.bringup = replace(known, started_at_ap_wait=started)
            if hit.place == "bsp_proc" and known.started_at_bsp_proc is None:
                session.log.bringup = replace(known, started_at_bsp_proc=started)
        if hit.cpu == 0 and hit.place == "bsp_proc":
            await _look_at_mappings(session)

    async def quiet(self, session: Session) -> bool:
        """Record now, since the BSP reached none of these places."""
        await self.look_while_needed(session)
        return False

    async def look_while_needed(self, session: Session, *, final: bool = True) -> None:
        """Record what ap_start has prepared, as it is now.

        Args:
            session: the boot.
            final: an AP has arrived, or the BSP waits or cannot continue: later records do not
                count.
        """
        if self.looked:
            return
        self.looked = final
        view, log = session.view, session.log
        during = await view.read_if_there(0, _JUMP_BYTES)
        log.physical_0 = replace(log.physical_0, during=during)
        copy = await view.read_if_there(session.inputs.apinit_addr, view.trampoline_size)
        log.trampoline = replace(log.trampoline, copy=copy)
        log.bringup = replace(
            log.bringup,
            apinitprocs=await _pointer(session, "apinitprocs"),
            apinitlock=await _pointer(session, "apinitlock"),
        )


@dataclass
class PlainProbe(BaseProbe):
    """Records what BaseProbe records, but changes nothing that the VMM could detect.

    Memory is as the firmware has left it, the machine is that of `vmmlab run`.
    """

    leaves_traces: ClassVar[bool] = False
    delays: Mapping[str, int] = field(default_factory=dict, init=False)


async def _look_at_mappings(session: Session) -> None:
    """Record that only the first of the two pages of a copy that was moved is unmapped.

    What is left mapped otherwise shows where the copy lies in one page.
    """
    view, known = session.view, session.log.bringup
    if session.inputs.apinit_addr_linked is None or known.left_mapped is not None:
        return
    copy = session.inputs.apinit_addr
    first, last = copy & -PAGE_BYTES, copy + view.trampoline_size - 1 & -PAGE_BYTES
    pages = MAPMEM_SIZE // PAGE_BYTES
    table = await session.gdb.read_phys(view.phys("mapmem_pagetables"), 8 * pages)
    entries = (int.from_bytes(table[8 * page : 8 * page + 8], "little") for page in range(pages))
    mapped = {
        entry & _FRAME: MAPMEM_BASE + page * PAGE_BYTES
        for page, entry in enumerate(entries)
        if entry & _PRESENT
    }
    if last in mapped and first not in mapped:
        session.log.bringup = replace(known, left_mapped=MappedPage(last, mapped[last]))


async def _pointer(session: Session, name: str) -> Pointer:
    view = session.view
    virtual = await view.read_pointer(view.phys(name))
    physical = await view.translate(0, virtual) if virtual else None
    return Pointer(virtual, physical or 0)


def nowhere(session: Session) -> int:
    """Return a pointer that is not 0 in any part of it, and leads to no memory."""
    low = session.choice.pick(NOWHERE)
    return low | _UPPER if session.view.abi.word == 8 else low


async def write_pointer(session: Session, physical: int, value: int) -> None:
    """Write a pointer to physical memory."""
    await session.gdb.write_phys(physical, value.to_bytes(session.view.abi.word, "little"))


async def note_allocation(session: Session, hit: Hit, gap: int = 0) -> None:
    """Let the CPU that called alloc return from it, and record the address that it got.

    The memory is filled with random bytes: its contents are undefined (include/mm.h), and at boot
    they would be zeros, which would hide mistakes.

    Args:
        session: the boot.
        hit: a stop at the first instruction of alloc.
        gap: bytes that are left free behind the memory, as where something is in the way.
    """
    size = await session.view.argument(hit.cpu, hit.place) & 0xFFFFFFFF
    back = await session.return_address(hit.cpu)
    if back is None:
        return  # no stack is mapped there (any more): no way to return
    name = "alloc returned"
    if gap:
        await session.view.set_argument(hit.cpu, hit.place, 0, size + gap)
    await session.places.watch(name, back)
    verdict, state = await session.run_to(hit.cpu, name)
    await session.places.unwatch(name)
    if verdict == "reached":
        order = session.log.at(name, hit.cpu)[-1].order
        made = Allocation(order, size, state.rax)
        session.log.cpus[hit.cpu].allocations.append(made)
        if VMM_BASE <= state.rax < 2 * VMM_BASE and 0 < size <= _POISON_MOST:
            poison = session.choice.randbytes(size)
            await session.gdb.write_phys(state.rax - VMM_BASE, poison)
