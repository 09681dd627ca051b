"""Records what each CPU runs as a guest: its VMCB, why it comes back, how far the guest gets.

VMRUNs and exits are recorded by QEMU itself, see `vmmlab.observe.guest`. This probe adds what has
to be read while a CPU is stopped: at its first VMRUN, and at places inside the guest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb.registers import GENERAL
from vmmlab.observe.guest import GuestStart
from vmmlab.observe.msr import read_msr
from vmmlab.observe.nested import intercepted_msrs, intercepted_ports, nested_tables
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe
from vmmlab.probes.registry import probe
from vmmlab.x86.registers import EFER_LMA, PAGE_BYTES
from vmmlab.x86.vmcb import MSR_VM_HSAVE_PA, VMCB_BYTES, Vmcb, vmcb_of

STARTS: Final = "vmm_guest_starts"
"""The tracepoint that a CPU passes before its first VMRUN (core/tracepoints.c)."""
VMRUN: Final = "vmrun"
"""The place at which a CPU stands before its first VMRUN."""
GUEST_ENTRY: Final = "guest_entry"
"""The place at which a guest stands before its first instruction."""
_VMRUN_CODE: Final = b"\x0f\x01\xd8"
_EVENTS_MOST: Final = 64
"""VMRUNs at which the machine stops, until those that are waited for are given up."""


@probe("guest", cost=3)
@dataclass
class GuestProbe(BaseProbe):
    """Records the guests of all CPUs.

    Args:
        marks: places inside the guest: name and linear address of each. A CPU that executes the
            instruction there is recorded like one at a place of the VMM.
        until: the mark at which the boot is over; "" for none.
        by: which CPUs must have come there: the boot processor alone, or all.
    """

    records_guests: ClassVar[bool] = True
    places: tuple[str, ...] = (*BaseProbe.places, STARTS)
    marks: tuple[tuple[str, int], ...] = ()
    until: str = ""
    by: Literal["bsp", "all"] = "bsp"
    _runs_at: tuple[int, ...] | None = field(default=None, init=False)
    _waited_for: set[int] = field(default_factory=set, init=False)
    _to_enter: set[int] = field(default_factory=set, init=False)
    _stops: int = field(default=0, init=False)

    async def start(self, session: Session) -> None:
        """Watch the places inside the guest."""
        await BaseProbe.start(self, session)
        for name, address in self.marks:
            await session.places.watch(name, address)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Record a CPU at its first VMRUN, and its guest at its first instruction."""
        await BaseProbe.hit(self, session, hit)
        if hit.place == "segment_init_ap" and hit.cpu:
            # Its first argument, the number, which is free until here: which AP comes first is
            # luck, and what one of them does must not depend on it.
            await session.gdb.write_registers(hit.cpu, {"rdi": hit.cpu})
        if hit.place == STARTS and hit.cpu not in session.log.guest_starts:
            self._waited_for.add(hit.cpu)
            await self._watch_vmrun(session)
        elif hit.place == VMRUN:
            await self._at_vmrun(session, hit)
        elif hit.place == GUEST_ENTRY:
            self._to_enter.discard(hit.cpu)
            if not self._to_enter:
                await session.places.unwatch(GUEST_ENTRY)
        if self.until and hit.place == self.until:
            came = {one.cpu for one in session.log.at(self.until)}
            everyone = range(session.inputs.cpus) if self.by == "all" else (0,)
            session.finished = came.issuperset(everyone)

    async def _watch_vmrun(self, session: Session) -> None:
        """Stop every CPU at the VMRUN instructions of the image."""
        view = session.view
        if self._runs_at is None:
            start = view.addr("__image_start")
            size = view.addr("__image_end") - start
            image = await view.read_if_there(start - VMM_BASE, size)
            self._runs_at = tuple(start + at for at in _places_of(_VMRUN_CODE, image))
        self._stops = 0
        for address in self._runs_at:
            await session.places.watch(VMRUN, address)

    async def _at_vmrun(self, session: Session, hit: Hit) -> None:
        self._stops += 1
        if hit.cpu not in session.log.guest_starts:
            self._waited_for.discard(hit.cpu)
            started = await _started(session, hit)
            session.log.guest_starts[hit.cpu] = started
            entry = _entry(started.vmcb)
            if entry is not None and not session.view.symbols.owner(entry):
                self._to_enter.add(hit.cpu)
                await session.places.watch(GUEST_ENTRY, entry)
        if not self._waited_for or self._stops > _EVENTS_MOST:
            await session.places.unwatch(VMRUN)


def _places_of(code: bytes, image: bytes) -> list[int]:
    found, at = [], image.find(code)
    while at >= 0:
        found.append(at)
        at = image.find(code, at + 1)
    return found


def _entry(vmcb: Vmcb | None) -> int | None:
    """Return the linear address of a guest's next instruction."""
    if vmcb is None:
        return None
    return vmcb.rip if vmcb.efer & EFER_LMA else vmcb.linear_rip & 0xFFFFFFFF


async def _started(session: Session, hit: Hit) -> GuestStart:
    """Return what a CPU at its first VMRUN has prepared."""
    view = session.view
    registers = await session.gdb.registers(hit.cpu)
    at = registers.rax
    raw = await view.read_if_there(at & -PAGE_BYTES, VMCB_BYTES)
    vmcb = vmcb_of(raw) if raw else None
    return GuestStart(
        order=hit.order,
        state=hit.state,
        vmcb_address=at,
        vmcb=vmcb,
        ports=None if vmcb is None else await intercepted_ports(view, vmcb.iopm_base_pa),
        msrs=None if vmcb is None else await intercepted_msrs(view, vmcb.msrpm_base_pa),
        nested=await nested_tables(view, vmcb.n_cr3) if vmcb and vmcb.nested_paging else None,
        registers={name: registers[name] for name in GENERAL},
        vm_hsave_pa=await read_msr(session, hit.cpu, MSR_VM_HSAVE_PA),
    )
