"""What probes record of ap_start: its calls, in order, and what was in place when.

All of it is seen from outside: arguments at the entry of provided functions, page tables, memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vmmlab.observe.cpu import Hex
from vmmlab.x86.registers import ICR_MODE, ICR_STARTUP, PAGE_BYTES


@dataclass(frozen=True, slots=True)
class IcrCall:
    """A call of apic_write_icr by the BSP (include/apic.h).

    Args:
        dest: its first argument, the APIC id of the destination.
        low: its second argument, the low half of the ICR.
        slept_us: microseconds that were asked of usleep since the call before, added up.
        sleeps: number of calls of usleep since then.
        procs: apinit_procs in the copy before the call.
        lock: the 8 bytes of apinit_lock in the copy before the call.
        counted: apinit_procs after the call, when every AP that it started was in ap_entry.
    """

    dest: int
    low: int
    slept_us: int
    sleeps: int
    procs: int | None = None
    lock: Hex = b""
    counted: int | None = None

    @property
    def is_sipi(self) -> bool:
        """Whether it sends a start-up IPI."""
        return self.low & ICR_MODE == ICR_STARTUP


@dataclass(frozen=True, slots=True)
class Mapping:
    """A call of mapmem by ap_start (include/mm.h).

    Args:
        physical: physical address.
        size: bytes.
        writable: whether it asked for MAPMEM_WRITE.
        virtual: what mapmem returned.
        written: whether the processor has marked a page of it as written (Intel SDM vol. 3, 4.8)
            by the end of the mapping, or by ap_wait.
    """

    physical: int
    size: int
    writable: bool
    virtual: int
    written: bool = False

    def holds(self, physical: int) -> bool:
        """Whether a page of the mapping shows a physical address."""
        end = -(-(self.physical + self.size) // PAGE_BYTES) * PAGE_BYTES
        return self.physical & -PAGE_BYTES <= physical < end

    def shows(self, virtual: int) -> bool:
        """Whether a virtual address is in the mapping."""
        return self.virtual <= virtual < self.virtual + self.size


@dataclass(frozen=True, slots=True)
class Changed:
    """A piece of low memory that has changed.

    Args:
        address: physical address of its first byte.
        size: bytes from the first to the last one that differ.
        now: its first bytes afterwards.
    """

    address: int
    size: int
    now: Hex


@dataclass(frozen=True, slots=True)
class AtApWait:
    """What is in place when the BSP calls ap_wait.

    Args:
        physical_0: the first bytes of physical memory.
        copy: the first bytes at apinit_addr.
        mapped: physical pages that ap_start has mapped and that are still mapped.
        counter: apinit_procs in the copy.
        entered: APs that had added to it, as far as their steps show.
        lock_written: whether the BSP has written to apinit_lock after the first SIPI.
    """

    physical_0: Hex
    copy: Hex
    mapped: tuple[int, ...]
    counter: int | None = None
    entered: int = 0
    lock_written: bool = False


@dataclass(frozen=True, slots=True)
class Starting:
    """What the BSP does between the entry of ap_start and bsp_proc.

    Args:
        init_us: `ap_delays.init_us` of this boot.
        sipi_us: `ap_delays.sipi_us` of this boot.
        calls: the calls of apic_write_icr.
        mappings: the calls of mapmem.
        at_ap_wait: what was in place at ap_wait; None if it was not called.
        started_early: ap_started was true while a mapping of ap_start was still to be unmapped.
        before: low memory that was changed outside of the copy before the first call of
            apic_write_icr, so by the BSP.
        after: the same between then and bsp_proc.
        slept_us: microseconds that were asked of usleep after the last call of apic_write_icr, up
            to ap_wait or to where the BSP came to rest.
        sleeps: number of calls of usleep then.
        image: the bytes from cpuinit_start to cpuinit_end in the image at the first call, if they
            have changed.
    """

    init_us: int
    sipi_us: int
    calls: tuple[IcrCall, ...] = field(default=())
    mappings: tuple[Mapping, ...] = field(default=())
    at_ap_wait: AtApWait | None = None
    started_early: bool = False
    slept_us: int | None = None
    sleeps: int = 0
    image: Hex = b""
    before: tuple[Changed, ...] = field(default=())
    after: tuple[Changed, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class CondCall:
    """One call of ap_start_loopcond.

    Args:
        sent: the number that data pointed to.
        answer: what it returned, as a byte.
        left: the number that it left.
    """

    sent: int
    answer: int
    left: int


@dataclass(frozen=True, slots=True)
class OwnCalls:
    """What came of calls that the grader itself made of the functions of ap_start.c.

    Args:
        first: what ap_start_loopcond returned when no SIPI had been sent; None: nothing.
        count: the number that it left then.
        last: what it returned when three had been sent.
        vector: the page that ap_start_addr was asked to start APs at.
        asked: how often it asked the loopcond that it was given.
        data: whether it handed on the pointer that it was given.
        times: how often that loopcond said yes.
        writes: ICR writes of the boot before these calls; the later ones are ap_start_addr's.
        sipi_vector: the vector that apic_send_startup_ipi was asked for.
        sipi_writes: ICR writes before that call.
        returned: whether every call came back.
        init_us: ap_delays.init_us in these calls.
        sipi_us: ap_delays.sipi_us in these calls.
        slept_init_us: what ap_start_addr asked of usleep when no SIPI was wanted; None: it did not
            come back.
        slept_us: the same with as many SIPIs as `times`.
        cond_slept_us: what ap_start_loopcond asked of usleep.
        init_writes: ICR writes before the call of apic_send_init; None: it did not come back.
        waits: ap_start_addr has called ap_wait.
        send_sipi_slept_us: what apic_send_startup_ipi asked of usleep.
        send_init_slept_us: what apic_send_init asked of usleep.
        last_count: the number that ap_start_loopcond left when three had been sent.
        first_beside: what it returned when no SIPI had been sent, with other bytes behind the int.
        last_beside: the same when three had been sent.
        far: its answers to two large numbers whose low 16 bits are 0 and 3.
        init_sent: whether ap_start_addr sent anything when no SIPI was wanted.
        cond_turns: how often it executed one and the same instruction in a call, if too often.
        many: its answers when the tables list more processors than a byte can count: no SIPI has
            been sent and no AP has arrived; then one has been sent, and all have arrived.
        unlisted: its answers without tables: one SIPI has been sent and no AP has arrived, then
            one has; the same with two SIPIs.
        ids: the APIC ids that the tables listed in the last two calls, the BSP's among them.
        own_id: the APIC id that the BSP had there.
        init_told: what apic_send_init asked of apic_write_icr then; None: it did not come back.
        sipi_told: the same for apic_send_startup_ipi.
    """

    first: int | None = None
    count: int | None = None
    last: int | None = None
    vector: int = 0
    times: int = 0
    asked: int = 0
    data: bool = False
    writes: int = 0
    sipi_vector: int = 0
    sipi_writes: int = 0
    returned: bool = False
    init_us: int = 0
    sipi_us: int = 0
    slept_init_us: int | None = None
    slept_us: int | None = None
    cond_slept_us: int = 0
    init_writes: int | None = None
    waits: bool = False
    send_sipi_slept_us: int = 0
    send_init_slept_us: int = 0
    last_count: int | None = None
    first_beside: int | None = None
    last_beside: int | None = None
    far: tuple[CondCall, ...] = ()
    cond_turns: int = 0
    init_sent: bool = True
    many: tuple[CondCall, ...] = ()
    unlisted: tuple[CondCall, ...] = ()
    ids: tuple[int, ...] = ()
    own_id: int = 0
    init_told: tuple[IcrCall, ...] | None = None
    sipi_told: tuple[IcrCall, ...] | None = None
