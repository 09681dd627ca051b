"""The Observation: the frozen record of one boot, and the only thing that checks look at.

It holds what was recorded from outside the machine: registers of the vCPUs at stops, bytes of
memory, ICR writes, how the machine ended. It does not know what is right or wrong, and nothing in
it depends on what the guest prints; `serial` is only for people to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuRecord, CpuState
from vmmlab.observe.evidence import (
    Barrier,
    BringUp,
    Counters,
    Interleaving,
    Lock,
    Lost,
    OfLab,
    Physical0,
    PlacedCall,
    Race,
    Switch,
    Trampoline,
    Unreadable,
)
from vmmlab.observe.guest import CpuGuest
from vmmlab.observe.icr import Icr, apic_id
from vmmlab.observe.multiboot import Multiboot
from vmmlab.observe.panicking import Panic
from vmmlab.observe.starting import OwnCalls, Starting

NUM_OF_PCPU = 512
"""The number of a CPU is below it (include/pcpu.h)."""

HowEnded = Literal["complete", "shutdown", "quiet", "shown", "timeout", "lost"]
"""How a boot ended.

complete: every CPU came to rest at a place that ends a boot.
shutdown: a triple fault or a reset.
quiet: nothing more happened within the limit, or nothing could (`deadlock`).
shown: the probe had seen enough.
timeout: the time limit of the boot, or of all boots of the grade, was reached.
lost: QEMU ended or answered no more, or it refused the image; a reference boots in its place.
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """One CPU stopped at a named place before executing the instruction there.

    Args:
        order: 0, 1, 2 … over the whole boot.
        cpu: 0-based index of the vCPU.
        place: the symbol, or a name that the probe gave.
        state: registers at the stop.
        text: a string argument that was read for this place (call_initfunc, vmm_todo), if any.
        by_student: the student's code called it, of a tracepoint that only provided code calls.
    """

    order: int
    cpu: int
    place: str
    state: CpuState
    text: str = ""
    by_student: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """One boot, seen from outside.

    Args:
        scenario: name of the scenario.
        seed: the seed that its inputs came from.
        arch: what the VMM was built for; on i386 nothing of it runs in long mode.
        apinit_addr: physical address where the trampoline was to be copied.
        apinit_offset: IP with which it was to be entered.
        stack_size: VMM_STACKSIZE in bytes.
        symbols: linear addresses of provided and contract symbols of the image.
        cpus: one record for each vCPU, by index.
        hits: the stops at named places, in order.
        icr: the ICR writes, in order.
        interleavings: the outcomes of letting one CPU run while others were held, in order.
        physical_0: the first bytes of physical memory.
        trampoline: the trampoline and its copy.
        bringup: what ap_start prepared and left behind.
        counters: variables that CPUs share, at the end.
        multiboot: multiboot information and init functions.
        switch: the BSP's stack switch.
        call: a call of asm_wrrsp_and_jmp that the grader made.
        lock: the lock of the boot stack and the count.
        barrier: the inside of the barrier.
        lab: what a lab's own probe recorded.
        race: two APs that disturbed each other in the trampoline.
        how_ended: how the boot ended.
        restarted: whether something reset the BSP, so that the VMM began a second time.
        serial: what the guest printed; for people, never for points.
        lost: why nothing more is known, if `how_ended` is "lost" or the boot did not begin.
        unreadable: memory that CPUs use, where the grader found none, in order.
        wall_s: seconds from the entry of vmm_main to the end of the boot.
        starting: what the BSP did in ap_start, if the probe followed it.
        own_calls: calls that the grader made of the functions of ap_start.c.
        panic: a panic that the grader caused.
        apinit_addr_linked: APINIT_ADDR of cohort.h, if the grader has given apinit_addr another
            value.
        apic_ids: the APIC id of each CPU by its index; empty: the index itself.
        cohort: name of the cohort that the image was built for.
        guests: what each CPU did with guests, by its index; empty if guests were not recorded.
        later: steps that come after the one that is judged. A correct step earns its points while
            they are not written yet; so an unwritten step is never the cause.
    """

    scenario: str
    seed: int
    arch: str
    apinit_addr: int
    apinit_offset: int
    stack_size: int
    symbols: dict[str, int]
    cpus: tuple[CpuRecord, ...]
    hits: tuple[Hit, ...]
    icr: tuple[Icr, ...]
    interleavings: tuple[Interleaving, ...]
    physical_0: Physical0
    trampoline: Trampoline
    bringup: BringUp
    counters: Counters
    how_ended: HowEnded
    multiboot: Multiboot | None = None
    switch: Switch | None = None
    call: PlacedCall | None = None
    lock: Lock | None = None
    barrier: Barrier | None = None
    lab: OfLab | None = None
    race: Race | None = None
    restarted: bool = False
    serial: str = ""
    lost: Lost | None = None
    unreadable: tuple[Unreadable, ...] = ()
    wall_s: float = 0.0
    cohort: str = ""
    later: tuple[str, ...] = field(default=())
    apic_ids: tuple[int, ...] = field(default=())
    starting: Starting | None = None
    own_calls: OwnCalls | None = None
    panic: Panic | None = None
    apinit_addr_linked: int | None = None
    guests: tuple[CpuGuest, ...] = field(default=())

    @property
    def bsp(self) -> CpuRecord:
        """The bootstrap processor."""
        return self.cpus[0]

    @property
    def aps(self) -> tuple[CpuRecord, ...]:
        """The application processors."""
        return self.cpus[1:]

    @property
    def all_parked(self) -> bool:
        """Whether every CPU came to rest where a complete bring-up ends."""
        return all(cpu.end_kind == "parked" for cpu in self.cpus)

    @property
    def copy_range(self) -> range:
        """The physical addresses at which the copy of the trampoline belongs."""
        return range(self.apinit_addr, self.apinit_addr + len(self.trampoline.image))

    def addr(self, symbol: str) -> int:
        """Return the linear address of a provided or contract symbol.

        Raises:
            KeyError: the record does not have it.
        """
        return self.symbols[symbol]

    def phys(self, symbol: str) -> int:
        """Return the physical address of a provided or contract symbol.

        Raises:
            KeyError: the record does not have it.
        """
        return self.addr(symbol) - VMM_BASE

    def in_image(self, address: int) -> bool:
        """Whether a linear address is in the VMM's image."""
        start, end = self.symbols.get("__image_start", 0), self.symbols.get("__image_end", 0)
        return start <= address < end

    def at(self, place: str, cpu: int | None = None) -> tuple[Hit, ...]:
        """Return the hits at `place`, in order, of one CPU or of all."""
        return tuple(h for h in self.hits if h.place == place and cpu in (None, h.cpu))

    def first(self, place: str, cpu: int | None = None) -> Hit | None:
        """Return the first hit at `place`, or None."""
        return next(iter(self.at(place, cpu)), None)

    def reaches(self, write: Icr, cpu: int) -> bool:
        """Whether a write of the ICR is sent to the CPU with this index."""
        return write.reaches(*(apic_id(self.apic_ids, one) for one in (cpu, write.cpu or 0)))

    def sent(self, kind: str) -> tuple[Icr, ...]:
        """Return the ICR writes of one delivery mode, in order."""
        return tuple(write for write in self.icr if write.kind == kind)

    def while_at(self, situation: str) -> Iterator[Interleaving]:
        """Return the interleavings made in a situation, as the probe names it."""
        return (one for one in self.interleavings if one.while_at == situation)
