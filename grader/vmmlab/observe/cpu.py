"""What is recorded of one vCPU: registers, milestones, exceptions, where and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from vmmlab.base.message import Text
from vmmlab.observe.milestones import WAITING, Milestone, ending, milestone_named
from vmmlab.observe.place import Place
from vmmlab.x86.registers import Mode, mode_of
from vmmlab.x86.rules import Refusal

Hex = Annotated[
    bytes,
    PlainSerializer(lambda value: value.hex(), return_type=str),
    PlainValidator(lambda value: bytes.fromhex(value) if isinstance(value, str) else value),
    WithJsonSchema({"type": "string", "pattern": "^([0-9a-f]{2})*$"}),
]
"""Bytes of the guest's memory, written in JSON as lower-case hexadecimal."""


@dataclass(frozen=True, slots=True)
class CpuState:
    """The registers of one vCPU at one moment, as QEMU's gdbstub gives them.

    Args:
        pc: linear address of the next instruction.
        bits: operand size of the code there (16, 32 or 64), as far as its earlier steps show.
    """

    pc: int
    bits: Literal[16, 32, 64]
    cs: int
    rip: int
    rsp: int
    rbp: int
    rdi: int
    rsi: int
    rax: int
    eflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    efer: int
    gs_base: int

    @property
    def mode(self) -> Mode:
        """The processor mode that CR0.PE and EFER.LMA select."""
        return mode_of(self.cr0, self.efer)


@dataclass(frozen=True, slots=True)
class Segment:
    """The hidden part of a segment register.

    Args:
        base: linear address at which the segment begins.
        limit: offset of its last byte.
        flags: the second half of its descriptor (Intel SDM vol. 3, 3.4.5).
    """

    base: int
    limit: int
    flags: int


@dataclass(frozen=True, slots=True)
class EntrySegments:
    """The segment registers of an AP at ap_entry, from QEMU's monitor.

    Args:
        cs: the code segment.
        ss: the stack segment.
        ds: a data segment.
        es: a data segment.
        cs_is_64_bit: whether CS holds a 64-bit code segment: its descriptor has the L bit.
    """

    cs: Segment
    ss: Segment
    ds: Segment
    es: Segment
    cs_is_64_bit: bool

    def named(self, register: str) -> Segment:
        """Return a register by its name: "CS", "SS", "DS" or "ES"."""
        found: Segment = getattr(self, register.lower())
        return found


@dataclass(frozen=True, slots=True)
class DescriptorTable:
    """GDTR or IDTR.

    Args:
        base: linear address of the table.
        limit: offset of its last byte.
    """

    base: int
    limit: int


@dataclass(frozen=True, slots=True)
class TakenException:
    """An exception that a CPU took through the VMM's IDT (include/exception.h).

    Args:
        vector: number of the exception.
        error: its error code; 0 if it has none.
        place: the instruction that raised it.
        cr2: the address of a page fault.
        sp: the stack pointer before the exception; 0 if unknown.
        code: that instruction, as text.
    """

    vector: int
    error: int
    place: Place
    cr2: int
    sp: int = 0
    code: str = ""


@dataclass(frozen=True, slots=True)
class Panicked:
    """A call of `panic`.

    Args:
        text: the message that it prints.
        place: the call in the student's code that led there; else the beginning of `panic`.
    """

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class TripleFault:
    """The exception that began the triple fault of a CPU, from QEMU's own log.

    Args:
        vector: the first exception.
        pc: linear address of the instruction that raised it.
        cr2: CR2 then.
    """

    vector: int
    pc: int
    cr2: int


@dataclass(frozen=True, slots=True)
class Touch:
    """Memory that an instruction reached.

    Args:
        address: physical address of the first byte; None where nothing is mapped.
        size: in bytes.
        reads: it read there.
        writes: it wrote there.
        value: what was there afterwards, of a write into the copy of the trampoline.
        by_stack: by a push, a pop or the like.
        table: it is the descriptor that a segment register was loaded from.
    """

    address: int | None
    size: int
    reads: bool
    writes: bool
    value: Hex = b""
    by_stack: bool = False
    table: bool = False

    def covers(self, first: int, size: int) -> bool:
        """Whether it reached one of the `size` bytes from physical address `first` on."""
        at = self.address
        return at is not None and at < first + size and first < at + self.size


@dataclass(frozen=True, slots=True)
class TrampolineStep:
    """One single-stepped instruction of an AP between physical 0 and ap_entry.

    Args:
        state: registers before the instruction.
        code: its bytes.
        text: its disassembly.
        counted: by how much it changed apinit_procs in the copy.
        place: where it is.
        touches: the memory that it reached.
        register: the control or segment register that it wrote, such as "cr0" or "cs"; or "msr".
        value: what it wrote there; of a segment register the selector.
        msr: the number of the MSR that it read or wrote.
        descriptor: the descriptor that the selector chose, in protected mode.
        made_for: the width in bits that the assembler made it for, if the CPU ran it as code of
            another one; else 0.
    """

    state: CpuState
    code: Hex
    text: str
    counted: int = 0
    place: Place | None = None
    touches: tuple[Touch, ...] = ()
    register: str = ""
    value: int | None = None
    msr: int | None = None
    descriptor: int | None = None
    made_for: int = 0


@dataclass(frozen=True, slots=True)
class Allocation:
    """One call of alloc that returned.

    Args:
        order: its place among the stops of the boot.
        size: bytes that were asked for.
        address: what alloc returned.
    """

    order: int
    size: int
    address: int


@dataclass(frozen=True, kw_only=True)
class CpuFindings:
    """What is recorded of one vCPU while a boot runs.

    Args:
        followed: whether all steps were recorded; a CPU that waits long is not stepped to the end.
        stackaddr_before_barrier: `currentcpu->stackaddr` when this AP reached the barrier, if a
            probe recorded it.
        turn: at which turn it was let in, from 1, if a probe let one AP in after the other.
        exception: the first exception that it took.
        panicked: its first call of `panic`; None if an exception made it.
        triple_fault: what began its triple fault.
        refusal: an instruction that a real processor would have refused; the CPU was held there.
        left_code: linear address at which it was about to execute non-code; the CPU was held there.
        gdtr: GDTR before the first far jump in protected mode.
        waits: in the trampoline it went round in a loop that only another CPU could end.
        faulted: its last instruction raised an exception, which went through the IDT; held there.
        stopped: the probe stopped it in the trampoline, and the boot ended before it could go on.
        entry_segments: segment registers at ap_entry.
        overrun: first physical address around the copy of the trampoline that it wrote to.
        wrote_on_stack: linear address in the boot stack that changed before it had the lock.
        numbered_under_lock: it held ap_lock when it called segment_init_ap.
        entered_under_lock: ap_lock was taken when it entered apinitproc1.
        stackaddr_held: what the probe had put into its stackaddr before it was set.
        word_at_entry: the word at RSP when it entered apinitproc1, if a probe recorded it.
        after_out: the machine was reset when this CPU had just written to a port.
    """

    followed: bool = True
    stackaddr_before_barrier: int | None = None
    turn: int | None = None
    exception: TakenException | None = None
    panicked: Panicked | None = None
    triple_fault: TripleFault | None = None
    refusal: Refusal | None = None
    left_code: int | None = None
    gdtr: DescriptorTable | None = None
    waits: bool = False
    faulted: bool = False
    stopped: bool = False
    entry_segments: EntrySegments | None = None
    overrun: int | None = None
    wrote_on_stack: int | None = None
    numbered_under_lock: bool = False
    entered_under_lock: bool = False
    stackaddr_held: int | None = None
    word_at_entry: int | None = None
    after_out: bool = False


@dataclass(frozen=True)
class CpuRecord(CpuFindings):
    """Everything that is known about one vCPU: what was recorded while it ran, and its end.

    Args:
        index: 0-based index of the vCPU; 0 is the BSP.
        milestones: name of a milestone → registers when the CPU reached it.
        steps: the instructions from physical 0 to ap_entry, where the probe stepped them.
        end: registers when the boot ended.
        end_kind: how it ended: the kind of a rest place (`milestones.rest_place`), or
            "waiting-for-sipi", "halted", "shutdown", "running", "held"; "shown" if the probe had
            seen what it wanted and stopped; "lost" if QEMU was lost, then `end` is where the CPU
            was last seen.
        end_place: where it ended.
        end_code: the instruction it was at, as text.
        stackaddr: `currentcpu->stackaddr` at the end, if the CPU has per-CPU data.
        allocations: the blocks that alloc returned to it, in order.
    """

    index: int
    milestones: dict[str, CpuState]
    steps: tuple[TrampolineStep, ...]
    end: CpuState
    end_kind: str
    end_place: Place
    end_code: str
    stackaddr: int | None = None
    allocations: tuple[Allocation, ...] = field(default=())

    @property
    def name(self) -> str:
        """The name of this CPU in messages."""
        return "CPU 0 (BSP)" if self.index == 0 else f"CPU {self.index}"

    @property
    def ended(self) -> Text:
        """How it ended, as text for a reader."""
        return ending(self.end_kind)

    @property
    def highest(self) -> Milestone:
        """The highest milestone reached."""
        return max(map(milestone_named, self.milestones), default=WAITING)

    def reached(self, milestone: Milestone) -> bool:
        """Whether the CPU reached a milestone."""
        return milestone.name in self.milestones

    def at(self, milestone: Milestone) -> CpuState:
        """Return the registers at a milestone.

        Raises:
            KeyError: the CPU did not reach it.
        """
        return self.milestones[milestone.name]
