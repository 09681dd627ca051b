"""The Observation: the frozen record of one boot, and the only thing that checks look at.

It holds what was seen from outside the machine: registers of the vCPUs at stops, bytes of memory,
ICR writes, how the machine ended. It does not know what is right or wrong, and nothing in it rests
on what the guest says about itself; `serial` is there for people to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Literal

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from vmmlab.x86.decode import far_jump

Hex = Annotated[
    bytes,
    PlainSerializer(lambda value: value.hex(), return_type=str),
    PlainValidator(lambda value: bytes.fromhex(value) if isinstance(value, str) else value),
    WithJsonSchema({"type": "string", "pattern": "^([0-9a-f]{2})*$"}),
]
"""Bytes of the guest's memory, written in JSON as lower-case hexadecimal."""

CR0_PE = 1 << 0  # Intel SDM vol. 3, 2.5: protection enable
CR0_NW = 1 << 29  # not write-through
CR0_CD = 1 << 30  # cache disable
CR0_PG = 1 << 31  # paging
EFLAGS_IF = 1 << 9  # interrupts are taken
CR4_PAE = 1 << 5  # physical address extension
EFER_LME = 1 << 8  # Intel SDM vol. 3, 2.2.1: IA-32e mode enable
EFER_LMA = 1 << 10  # IA-32e mode active

NUM_OF_PCPU = 512  # include/pcpu.h: the number of a CPU is below it

Mode = Literal["real", "protected", "long"]


class Rung(IntEnum):
    """How far a CPU has come. Every rung needs the ones below it."""

    WAITING = 0
    PHYSICAL_0 = 1
    REAL_MODE = 2
    PROTECTED_MODE = 3
    LONG_MODE = 4
    AP_ENTRY = 5
    BOOT_STACK = 6
    OWN_STACK = 7
    NUMBERED = 8
    PARKED = 9

    @property
    def title(self) -> str:
        """What a person calls this rung."""
        return _RUNG_TITLES[self]


_RUNG_TITLES = {
    Rung.WAITING: "waiting for a SIPI",
    Rung.PHYSICAL_0: "executed physical address 0",
    Rung.REAL_MODE: "in the trampoline, real mode",
    Rung.PROTECTED_MODE: "in protected mode",
    Rung.LONG_MODE: "in long mode",
    Rung.AP_ENTRY: "arrived at ap_entry",
    Rung.BOOT_STACK: "in apinitproc0 on the boot stack",
    Rung.OWN_STACK: "on its own stack",
    Rung.NUMBERED: "has its number",
    Rung.PARKED: "parked after the last barrier",
}


@dataclass(frozen=True, slots=True)
class CpuState:
    """The registers of one vCPU at one moment, as QEMU's gdbstub gives them.

    `pc` is the linear address of the next instruction, and `bits` the operand size of the code
    there (16, 32 or 64), as far as the way the CPU came tells.
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
        if not self.cr0 & CR0_PE:
            return "real"
        return "long" if self.efer & EFER_LMA else "protected"


@dataclass(frozen=True, slots=True)
class Hit:
    """One CPU stopped at a named place before executing the instruction there.

    Args:
        order: 0, 1, 2 … over the whole boot.
        cpu: 0-based index of the vCPU.
        place: the symbol, or a name that the probe gave.
        state: registers at the stop.
        text: a string argument that was read for this place (call_initfunc, vmm_todo), if any.
        value: a number that was read for this place, for example a pointer found in memory.
    """

    order: int
    cpu: int
    place: str
    state: CpuState
    text: str = ""
    value: int | None = None


@dataclass(frozen=True, slots=True)
class TrampolineStep:
    """One single-stepped instruction of an AP between physical 0 and `ap_entry`.

    `state` is before the instruction; `counted` is by how much it changed apinit_procs in the copy.
    """

    state: CpuState
    code: Hex
    text: str
    counted: int = 0


EndKind = Literal[
    "parked",
    "todo",
    "panic",
    "exception",
    "missing",
    "waiting-for-sipi",
    "halted",
    "shutdown",
    "running",
    "held",
    "shown",
]
"""Where a CPU was when the boot ended. `shown`: the probe had seen what it wanted and stopped."""


@dataclass(frozen=True, slots=True)
class CpuRecord:
    """Everything known about one vCPU.

    Args:
        index: 0-based index of the vCPU; 0 is the BSP.
        rungs: rung → registers when it was reached.
        steps: the instructions from physical 0 to ap_entry, where the probe stepped them.
        whole: whether `steps` goes all the way; a CPU that waits long in between is not stepped
            to the end.
        end: registers when the boot ended.
        end_kind: where it ended.
        end_place: nearest symbol, with file and line where known.
        end_code: the instruction it was at, as text.
        stackaddr: `currentcpu->stackaddr` at the end, if the CPU has per-CPU data.
    """

    index: int
    rungs: dict[Rung, CpuState]
    steps: tuple[TrampolineStep, ...]
    end: CpuState
    end_kind: EndKind
    end_place: str
    end_code: str
    stackaddr: int | None = None
    whole: bool = True

    @property
    def name(self) -> str:
        """How messages call this CPU."""
        return "CPU 0 (BSP)" if self.index == 0 else f"CPU {self.index}"

    @property
    def highest(self) -> Rung:
        """The highest rung reached."""
        return max(self.rungs, default=Rung.WAITING)

    def reached(self, rung: Rung) -> bool:
        """Whether the CPU was seen on `rung`."""
        return rung in self.rungs


@dataclass(frozen=True, slots=True)
class Icr:
    """One write to the interrupt command register (Intel SDM vol. 3, 10.6.1).

    Args:
        cpu: index of the vCPU that wrote it; None when the trace does not say.
        low: bits 31..0 as written.
        dest: destination APIC id (bits 63..56 in xAPIC mode); meaningless with a shorthand.
        time_s: host time in seconds since the first trace line.
    """

    cpu: int | None
    low: int
    dest: int
    time_s: float

    @property
    def kind(self) -> str:
        """Delivery mode as the SDM names it."""
        names = {0: "fixed", 1: "lowest priority", 2: "SMI", 4: "NMI", 5: "INIT", 6: "SIPI"}
        if self.is_deassert:
            return "INIT level de-assert"
        return names.get((self.low >> 8) & 7, "reserved")

    @property
    def is_deassert(self) -> bool:
        """INIT with level 0 and trigger mode level: starts and stops nothing on xAPIC CPUs."""
        return (self.low >> 8) & 7 == 5 and not self.low & (1 << 14) and bool(self.low & (1 << 15))

    @property
    def vector(self) -> int:
        """Bits 7..0: for a SIPI the page number where the AP starts."""
        return self.low & 0xFF

    @property
    def shorthand(self) -> str:
        """Bits 19..18: whom it is sent to without looking at `dest`."""
        return ("none", "self", "all including self", "all excluding self")[(self.low >> 18) & 3]

    def reaches(self, apic_id: int, sender: int) -> bool:
        """Whether it is sent to the CPU with `apic_id` when CPU `sender` writes it."""
        how = self.shorthand
        if how == "none":
            if self.low & (1 << 11):  # logical destination, flat model
                return bool(self.dest & (1 << apic_id)) if apic_id < 8 else False
            return self.dest in (apic_id, 0xFF)
        if how == "self":
            return apic_id == sender
        return how == "all including self" or apic_id != sender

    def __str__(self) -> str:
        to = f"to APIC id {self.dest}" if self.shorthand == "none" else self.shorthand
        vector = f", vector {self.vector:#04x}" if self.kind in ("SIPI", "fixed") else ""
        return f"{self.kind}{vector}, {to} ({self.low:#07x})"


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of letting one CPU run while others were held.

    Args:
        cpu: the CPU that ran.
        held: the CPUs that stood still.
        while_at: where the held CPU stood, as a name.
        reached: the watched place that the CPU came to, or "" if it came to none.
        verdict: how it ended: it reached the place; its state repeated, so that it waits;
            it used up its steps; it halted; or the machine shut down.
        end_place: where it was at the end.
    """

    cpu: int
    held: tuple[int, ...]
    while_at: str
    reached: str
    verdict: Literal["reached", "waits", "budget", "halted", "shutdown"]
    end_place: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One boot, seen from outside.

    Args:
        scenario: name of the scenario.
        seed: the seed that its inputs came from.
        cpus: one record for each vCPU, by index.
        hits: the stops at named places, in order.
        icr: the ICR writes, in order.
        memory: named snapshots of guest memory.
        tables: the records of the section .initfunc at named moments, as (id, file name, function).
        trials: what hold probes found, in order.
        facts: named numbers and addresses that the grader itself knows or read (cohort, symbols,
            counters read from memory at the end).
        how_ended: "complete" when every CPU came to rest at a place that ends a boot;
            "shutdown" after a triple fault or reset; "quiet" when nothing more happened within
            the limit, or nothing could (`standstill`); "shown" when the probe had seen enough.
        serial: what the guest printed; for people, never for points.
        wall_s: seconds from the start of QEMU to the end of the boot.
        arch: what the VMM was built for; on i386 nothing of it runs in long mode.
        later: steps that come after the one that is judged. A correct step earns its points while
            they are not written yet; so that they are not is never the cause.
    """

    scenario: str
    seed: int
    cpus: tuple[CpuRecord, ...]
    hits: tuple[Hit, ...]
    icr: tuple[Icr, ...]
    memory: dict[str, Hex]
    tables: dict[str, tuple[tuple[str, str, str], ...]]
    trials: tuple[Trial, ...]
    facts: dict[str, int]
    how_ended: Literal["complete", "shutdown", "quiet", "shown"]
    serial: str = ""
    wall_s: float = 0.0
    notes: tuple[str, ...] = field(default=())
    arch: str = "x86_64"
    later: tuple[str, ...] = field(default=())

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
        """Whether every CPU came to rest where a whole bring-up ends."""
        return all(cpu.end_kind == "parked" for cpu in self.cpus)

    def at(self, place: str, cpu: int | None = None) -> tuple[Hit, ...]:
        """Hits at `place`, in order, of one CPU or of all."""
        return tuple(h for h in self.hits if h.place == place and cpu in (None, h.cpu))

    def first(self, place: str, cpu: int | None = None) -> Hit | None:
        """The first hit at `place`, or None."""
        return next(iter(self.at(place, cpu)), None)

    def sent(self, kind: str) -> tuple[Icr, ...]:
        """ICR writes of one delivery mode, in order."""
        return tuple(write for write in self.icr if write.kind == kind)

    def trials_at(self, while_at: str) -> Iterator[Trial]:
        """Trials made while the held CPU stood at `while_at`."""
        return (trial for trial in self.trials if trial.while_at == while_at)

    def far_jump_at_0(self) -> tuple[int, int] | None:
        """Segment and offset of the far jump found at physical 0 when it was needed, or None."""
        code = self.memory.get("physical-0.during")
        return far_jump(code) if code else None
