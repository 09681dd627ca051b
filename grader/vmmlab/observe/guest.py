"""Guests, seen from outside: when each CPU ran one, why it came back, and what it ran with.

VMRUNs and exits are QEMU's own record (`vmmlab.machine.svmlog`). The VMCB, the nested page tables
and the host's MSRs are read from the stopped machine at the first VMRUN of a CPU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from vmmlab.machine.svmlog import MAX_RUNS, ExitEvent, GuestCounts, RunEvent
from vmmlab.machine.trace import (
    APIC_ICR_HIGH,
    APIC_ICR_LOW,
    ApicWrite,
    IcrDest,
    IcrWrite,
    TraceEvent,
)
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.icr import Icr, timed_writes
from vmmlab.x86.vmcb import EFER_SVME, Vmcb, exit_name

FLOOD: Final = MAX_RUNS
"""How many VMRUNs of one CPU are kept."""


@dataclass(frozen=True, slots=True)
class GuestExit:
    """A #VMEXIT (AMD APM vol. 2, 15.6).

    Args:
        code: EXITCODE, 32 bits.
        info1: EXITINFO1.
        info2: EXITINFO2; the guest-physical address of a nested page fault.
        rip: the guest's RIP.
    """

    code: int
    info1: int
    info2: int
    rip: int

    @property
    def name(self) -> str:
        """The code as the manual calls it: "VMEXIT_NPF"."""
        return exit_name(self.code)


@dataclass(frozen=True, slots=True)
class ApicRegister:
    """A write to a register of the local APIC.

    Args:
        offset: of the register, in the page of xAPIC mode (Intel SDM vol. 3, 10.4.1).
        value: what was written.
    """

    offset: int
    value: int


@dataclass(frozen=True, slots=True)
class GuestRun:
    """One VMRUN of a CPU.

    Args:
        vmcb: physical address of the VMCB.
        before: what the CPU wrote to its ICR since its exit before, so the VMM did.
        inside: what it wrote there before the exit of this VMRUN, so the guest itself did.
        exit: why it came back; None if it did not, until the boot ended.
        apic: all that it wrote to its APIC since its exit before, in order.
    """

    vmcb: int
    before: tuple[Icr, ...] = ()
    inside: tuple[Icr, ...] = ()
    exit: GuestExit | None = None
    apic: tuple[ApicRegister, ...] = ()


@dataclass(frozen=True, slots=True)
class NestedRange:
    """A range of guest-physical addresses that nested page tables map in one piece.

    Args:
        guest: the first guest-physical address.
        host: the host-physical address that it leads to.
        size: bytes.
        writable: the guest may write there.
        user: bit 2, without which no access of a guest is allowed (APM vol. 2, 15.25.5).
        executable: bit 63 is clear.
    """

    guest: int
    host: int
    size: int
    writable: bool
    user: bool
    executable: bool

    def covers(self, address: int) -> bool:
        """Whether it maps a guest-physical address."""
        return self.guest <= address < self.guest + self.size


@dataclass(frozen=True, slots=True)
class NestedTables:
    """Nested page tables, walked from outside.

    Args:
        root: nCR3.
        ranges: what they map, by guest-physical address.
        unreadable: physical address of a table where there is no memory, if there is one.
        cut: there are more ranges, which were not kept.
    """

    root: int
    ranges: tuple[NestedRange, ...]
    unreadable: int | None = None
    cut: bool = False

    def at(self, address: int) -> NestedRange | None:
        """Return the range that maps a guest-physical address; None: a nested page fault."""
        return next((one for one in self.ranges if one.covers(address)), None)

    def host(self, address: int) -> int | None:
        """Return where a guest-physical address leads to."""
        found = self.at(address)
        return None if found is None else found.host + address - found.guest

    def leading_to(self, first: int, size: int) -> tuple[NestedRange, ...]:
        """Return the ranges by which a guest reaches one of `size` bytes of the host's memory."""
        return tuple(o for o in self.ranges if o.host < first + size and first < o.host + o.size)


@dataclass(frozen=True, slots=True)
class MsrIntercept:
    """An MSR that the MSR permission map intercepts.

    Args:
        msr: its number.
        read: RDMSR.
        write: WRMSR.
    """

    msr: int
    read: bool
    write: bool


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports that the I/O permission map intercepts.

    Args:
        first: the first port.
        last: the last one.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GuestStart:
    """A CPU at its first VMRUN, before it executes that.

    Args:
        order: its place among the stops of the boot.
        state: the host's registers.
        vmcb_address: physical address of the VMCB, which is in RAX.
        vmcb: the VMCB; None if there is no memory.
        vm_hsave_pa: VM_HSAVE_PA, the physical address of the host save area; None if unknown.
        ports: the ports that the I/O permission map intercepts; None if it cannot be read.
        msrs: the MSRs that the MSR permission map intercepts; None if it cannot be read.
        nested: the nested page tables; None if nested paging is off.
        registers: the general registers by name: RAX is the VMCB's address, the others are those
            with which the guest begins.
    """

    order: int
    state: CpuState
    vmcb_address: int
    vmcb: Vmcb | None = None
    vm_hsave_pa: int | None = None
    ports: tuple[PortRange, ...] | None = None
    msrs: tuple[MsrIntercept, ...] | None = None
    nested: NestedTables | None = None
    registers: dict[str, int] = field(default_factory=dict)

    @property
    def svme(self) -> bool:
        """Whether EFER.SVME is set."""
        return bool(self.state.efer & EFER_SVME)


@dataclass(frozen=True, slots=True)
class CpuGuest:
    """What one CPU did with guests.

    Args:
        runs: its VMRUNs, in order; the first `FLOOD`.
        count: number of all its VMRUNs.
        exits: number of its exits by their code.
        after: what it wrote to its ICR after its last exit; after the last one kept.
        apic_after: all that it wrote to its APIC after that.
        start: the CPU at its first VMRUN, if a probe recorded it.
    """

    runs: tuple[GuestRun, ...] = ()
    count: int = 0
    exits: dict[int, int] = field(default_factory=dict)
    after: tuple[Icr, ...] = ()
    apic_after: tuple[ApicRegister, ...] = ()
    start: GuestStart | None = None

    @property
    def flooded(self) -> bool:
        """Whether there were more VMRUNs than are kept."""
        return self.count > len(self.runs)

    @property
    def inside(self) -> bool:
        """Whether the CPU was in its guest at the end."""
        return self.count > sum(self.exits.values())

    @property
    def before_first(self) -> tuple[Icr, ...]:
        """What the CPU wrote to its ICR before it ran a guest at all."""
        return self.runs[0].before if self.runs else self.after

    def exits_with(self, code: int) -> Iterator[GuestExit]:
        """Return its exits with this code, in order, of the VMRUNs that are kept."""
        return (one.exit for one in self.runs if one.exit is not None and one.exit.code == code)


def guests_of(
    trace: Iterable[TraceEvent],
    since_s: float,
    counts: Mapping[int, GuestCounts],
    starts: Mapping[int, GuestStart],
    cpus: int,
) -> tuple[CpuGuest, ...]:
    """Return what each CPU did with guests; nothing if no guest was recorded.

    Args:
        trace: events of the machine, in order.
        since_s: host time in seconds at which the VMM began.
        counts: numbers of VMRUNs and exits of each CPU.
        starts: each CPU at its first VMRUN, as far as recorded.
        cpus: number of CPUs.
    """
    if not counts:
        return ()
    events = tuple(trace)
    writes = {id(event): write for event, write in timed_writes(events, since_s)}
    of_cpu: dict[int | None, list[TraceEvent]] = defaultdict(list)
    for event in events:
        of_cpu[event.cpu].append(event)
    return tuple(
        _of_cpu(of_cpu[cpu], writes, counts.get(cpu), starts.get(cpu)) for cpu in range(cpus)
    )


def _of_cpu(
    events: Iterable[TraceEvent],
    writes: Mapping[int, Icr],
    counts: GuestCounts | None,
    start: GuestStart | None,
) -> CpuGuest:
    runs: list[GuestRun] = []
    pending = _Writes()
    entered: tuple[RunEvent, _Writes] | None = None
    for event in events:
        if isinstance(event, RunEvent):
            entered, pending = (event, pending), _Writes()
        elif isinstance(event, ExitEvent) and entered is not None:
            runs.append(_run(*entered, pending, event))
            entered, pending = None, _Writes()
        else:
            pending.add(event, writes.get(id(event)))
    if entered is not None:
        runs.append(_run(*entered, pending, None))
        pending = _Writes()
    counted = counts or GuestCounts()
    return CpuGuest(
        tuple(runs),
        counted.runs,
        dict(counted.exits),
        tuple(pending.icr),
        tuple(pending.apic),
        start,
    )


@dataclass
class _Writes:
    """What one CPU wrote to its APIC between two events."""

    icr: list[Icr] = field(default_factory=list)
    apic: list[ApicRegister] = field(default_factory=list)

    def add(self, event: TraceEvent, icr: Icr | None) -> None:
        """Take an event; `icr` is what it sent, if it is an IPI of the VMM's time."""
        if icr is not None:
            self.icr.append(icr)
        if isinstance(event, IcrWrite):
            self.apic.append(ApicRegister(APIC_ICR_LOW, event.value))
        elif isinstance(event, IcrDest):
            self.apic.append(ApicRegister(APIC_ICR_HIGH, event.value))
        elif isinstance(event, ApicWrite):
            self.apic.append(ApicRegister(event.offset, event.value))


def _run(event: RunEvent, before: _Writes, inside: _Writes, left: ExitEvent | None) -> GuestRun:
    found = None if left is None else GuestExit(left.code, left.info1, left.info2, left.rip)
    icr = tuple(before.icr), tuple(inside.icr)
    return GuestRun(event.vmcb, *icr, found, tuple(before.apic))
