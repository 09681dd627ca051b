"""A compiled VMM and its surroundings: what is at which address, and which given code is run.

The VMM is linked at 1 GiB, and the emulator maps it there. Beside the image the model has a copy of
the trampoline, stacks, and memory for `alloc`. This module knows nothing of what is right.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.explore.context import StackRegion
from vmmlab.explore.instructions import LONGEST, InstructionInfo, decode
from vmmlab.explore.loaded import Segment, read
from vmmlab.explore.surroundings import Surroundings, Variable
from vmmlab.images.layout import MAPMEM_BASE, MAPMEM_SIZE, VMM_BASE
from vmmlab.x86.registers import PAGE_BYTES

if TYPE_CHECKING:
    from vmmlab.images.symbols import Symbols

WINDOW: Final = MAPMEM_BASE

# Addresses of the model's own, inside the alias and far from the image and from low memory.
STACKS: Final = 0x5000_0000
HEAP: Final = 0x5A00_0000
MARKS: Final = 0x4F00_0000
RETURN_MARK: Final = MARKS + 0x10
"""The return address of a function that the harness calls."""
ARENA: Final = 0x20_0000
SLOT: Final = 0x8_0000
"""Call number k of `alloc` on CPU c returns HEAP + c * ARENA + k * SLOT; 304 CPUs fit."""
SLOTS: Final = ARENA // SLOT
STACK_SIZE: Final = 0x8000  # of a stack that the harness provides
WINDOW_BYTES: Final = 4096
"""This much of a stack is followed; deeper use is a limit, not a violation."""

# Offsets in struct pcpu after the padding (include/pcpu.h); a test compares them with DWARF.
PCPU_SELF: Final = 0
PCPU_CPUNUM: Final = 8
PCPU_APIC_ID: Final = 12
PCPU_STACKADDR: Final = 16
PCPU_BYTES: Final = 57  # before rounding up to 16
_PCPU_FIELDS: Final = {
    PCPU_SELF: "self",
    PCPU_CPUNUM: "cpunum",
    PCPU_APIC_ID: "apic_id",
    PCPU_STACKADDR: "stackaddr",
}

# Given functions that the model replaces. Other given code, except for _RUN, is a limit.
STUBS: Final = frozenset((
    "acpi_apic_id", "acpi_num_of_processors", "acpi_pm_timer", "alloc", "ap_first_missing",
    "ap_proc", "apic_id", "panic", "printf", "segment_init_ap", "todo64", "usleep",
    "vmm_ap_missing", "vmm_parked", "vmm_synced", "vmm_todo", "vprintf",
))  # fmt: skip
# Given functions that are executed as they are.
_RUN: Final = frozenset((
    "asm_wrrsp_and_jmp", "spinlock_init", "spinlock_lock", "spinlock_trylock",
    "spinlock_unlock", "memcpy", "memmove", "memset", "memcmp", "strcmp",
))  # fmt: skip
# Bytes of the given code at a tracepoint that are executed.
_TRACEPOINT_BYTES: Final = 16
WORD: Final = 8
"""Bytes of a word of a stack."""
_APIC_IDS: Final = 255
_IDENTITY_END: Final = 2**32
_ARBITRARY_BYTE: Final = 0xA5
_LONGEST_STRING: Final = 200
# Bytes of inlined code through which the line of the calling function is searched.
_INLINED: Final = 64


class CohortLike(Protocol):
    """A cohort, as far as the explorer needs it."""

    @property
    def apinit_addr(self) -> int:
        """Physical address of the copy of the trampoline."""

    @property
    def pcpu_pad(self) -> int:
        """Bytes of padding in the per-CPU structure."""


class OptionsLike(Protocol):
    """Build options, as far as the explorer needs them."""

    @property
    def arch(self) -> str:
        """Such as "x86_64"."""

    @property
    def compiler(self) -> str:
        """Such as "gcc"."""

    @property
    def opt(self) -> str:
        """Such as "-O2"."""


class ImageLike(Protocol):
    """An image, as far as the explorer needs it; `vmmlab.images.Image` is one."""

    @property
    def elf(self) -> Path:
        """Path of the ELF64 file, with symbols."""

    @property
    def symbols(self) -> Symbols:
        """Symbols and source lines."""

    @property
    def options(self) -> OptionsLike:
        """The options that it was built with."""

    @property
    def key(self) -> str:
        """Identifies the content."""


TargetKind = Literal["shared", "rom", "fault", "unknown", "stack"]


class Target(NamedTuple):
    """The target of an access to memory.

    Attributes:
        kind: what there is; only "shared" memory can be followed.
        address: the address by which all CPUs know it.
        window: the access goes through the mapping of the copy of the trampoline.
        why: the limit or the exception in words, if there is more to say than the kind.
    """

    kind: TargetKind
    address: int
    window: bool = False
    why: Text = ""


class Program:
    """One image, with the addresses that the model needs.

    Args:
        image: with symbols; x86_64.
        cohort: the cohort that it was built for.
        declaration: what the lab declares.
        exposed: addresses of the words of stacks that are followed as shared memory.
        cpus: number of CPUs that there is memory for; None: as many as a search of the lab needs.

    Attributes:
        symbols: of the image.
        cpus: number of CPUs that there is memory for, including the BSP.
        declaration: as given.
        exposed: as given.
        apic_ids: the APIC id of each CPU.
        segments: the loaded segments of the image.
        trampoline: address of the copy of the trampoline, in the alias.
        trampoline_size: its size in bytes.
        window: address at which mapmem maps that copy.
        variables: address and size in bytes of each variable that the lab declares, by name.
        tracepoints: address and name of each tracepoint that the lab declares.
        boot_low: lowest address of the boot stack; `boot_top` is the address after it.
        pcpus: address of the per-CPU structures; `pcpu_size` is the size of each in bytes.
        stubs: functions that the model replaces: address to name.

    Raises:
        InfraError: the image cannot be read, or it lacks something that the given code has.
    """

    def __init__(
        self,
        image: ImageLike,
        cohort: CohortLike,
        declaration: Surroundings,
        exposed: frozenset[int] = frozenset(),
        cpus: int | None = None,
    ) -> None:
        self.symbols = image.symbols
        self.declaration = declaration
        self.exposed = exposed
        self.cpus = cpus = cpus or declaration.cpus
        # Not 0, 1, 2: an APIC id that is used as a number must be noticed. It has 8 bits.
        gap = 3 if 3 * cpus < _APIC_IDS else 1
        self.apic_ids = (0, *(gap * n + 2 for n in range(cpus - 1)))
        self.segments, self._data = read(image.elf)
        self._bounds = [(one.start, one.end, one) for one in self.segments]
        self._data_starts = [start for start, _, _ in self._data]
        self._pad = cohort.pcpu_pad
        addr = self.symbols.addr
        self.trampoline = VMM_BASE + cohort.apinit_addr
        self.trampoline_size = addr("cpuinit_end") - addr("cpuinit_start")
        self.window = WINDOW + cohort.apinit_addr % PAGE_BYTES
        self.apinit_addr = cohort.apinit_addr
        self.variables = {one.name: self._place(one) for one in declaration.variables}
        self._names = [
            (self.variables[one.name], one.name) for one in declaration.variables if one.trampoline
        ]
        self.boot_top = addr("boot_stack_top")
        self.boot_low = addr("boot_stack")
        self.tracepoints = {addr(name): name for name in sorted(declaration.tracepoints)}
        found = next(((start, size) for start, size, name in self._data if name == "pcpus"), None)
        if found is None:
            raise InfraError(
                msg("The image has no pcpus."),
                next_step=msg("Check out the kit and the grader in the same version."),
            )
        self.pcpus, self._pcpus_end = found[0], found[0] + found[1]
        self.pcpu_size = (self._pad + PCPU_BYTES + 15) & ~15
        self.stubs: Mapping[int, str] = {
            where: name
            for name in sorted(STUBS | declaration.stubs)
            if (where := self.symbols.maybe(name)) is not None
        }
        provided = [r for r in self.symbols.ranges if r.owner != "student" and "text" in r.section]
        self._provided = sorted((r.start, r.end) for r in provided)
        self._executed = [(at, at + _TRACEPOINT_BYTES) for at in self.tracepoints]
        for name in sorted(_RUN | declaration.runs):
            start = self.symbols.maybe(name)
            if start is not None:
                self._executed.append((start, start + max(self.symbols.size(name), 1)))
        self._decoded: dict[int, InstructionInfo] = {}

    def _place(self, variable: Variable) -> tuple[int, int]:
        """Return address and size of a variable that the lab declares."""
        where = self.symbols.addr(variable.symbol or variable.name)
        if variable.trampoline:
            where += self.trampoline - self.symbols.addr("cpuinit_start")
        return where, variable.size

    def executes(self, address: int) -> bool:
        """Return True for code that is executed as it is: the student's, and a few functions."""
        if any(low <= address < high for low, high in self._executed):
            return True
        if any(low <= address < high for low, high in self._provided):
            return False
        return self.is_code(address)

    def is_code(self, value: int) -> bool:
        """Return whether a value could be an address of code."""
        segment = self._segment(value)
        return segment is not None and not segment.writable

    def instruction(self, address: int) -> InstructionInfo:
        """Return the instruction at an address of the image."""
        found = self._decoded.get(address)
        if found is None:
            segment = self._segment(address)
            offset = address - segment.start if segment else 0
            code = segment.data[offset : offset + LONGEST] if segment else b""
            found = self._decoded[address] = decode(code, address)
        return found

    def initial(self, address: int) -> int:
        """Return the byte at a shared address before any code has run.

        Memory from alloc holds arbitrary bytes.
        """
        segment = self._segment(address)
        if segment is not None:
            return segment.data[address - segment.start]
        if self.trampoline <= address < self.trampoline + self.trampoline_size:
            return self.initial(self.symbols.addr("cpuinit_start") + address - self.trampoline)
        return _ARBITRARY_BYTE

    def classify(self, cpu: int, address: int, size: int) -> Target:
        """Return the target of an access outside the CPU's own stack.

        Args:
            cpu: the CPU; only APs have the identity map.
            address: linear address.
            size: in bytes.
        """
        window = self.window <= address < self.window + self.trampoline_size
        if window:
            address += self.trampoline - self.window
        elif address + size <= VMM_BASE:
            if cpu == 0:
                return Target("fault", address, why=msg("a page fault: nothing is mapped there"))
            address += VMM_BASE
        elif not VMM_BASE <= address < 2 * VMM_BASE:
            in_window = WINDOW <= address < WINDOW + MAPMEM_SIZE
            # The APs' identity map reaches to 4 GiB: the local APIC, for example, is there.
            if in_window or (cpu and address < _IDENTITY_END):
                return Target("unknown", address)
            return Target("fault", address, why=msg("a page fault: nothing is mapped there"))
        if self.trampoline <= address and address + size <= self.trampoline + self.trampoline_size:
            return Target("shared", address, window)
        segment = self._segment(address)
        if segment is not None and address + size <= segment.end:
            if not segment.writable:
                return Target("rom", address)
            if self.boot_low <= address < self.boot_top:
                return Target("shared" if self.is_exposed(address, size) else "stack", address)
            return Target("shared", address)
        if address >= HEAP and address + size <= HEAP + self.cpus * ARENA:
            return Target("shared", address)
        if STACKS <= address < STACKS + self.cpus * SLOT:
            owner = (address - STACKS) // SLOT
            if self.is_exposed(address, size):
                return Target("shared", address)
            why = msg("an access to the stack of CPU {cpu}", cpu=owner)
            return Target("stack", address, why=why)
        return Target("unknown", address)

    def is_exposed(self, address: int, size: int) -> bool:
        """Return whether memory on a stack is followed as shared memory, at least in part."""
        if not self.exposed:
            return False
        first, last = address & -WORD, (address + size - 1) & -WORD
        return first in self.exposed or last in self.exposed

    def stack_at(self, rsp: int, allocs: Mapping[int, int]) -> StackRegion | None:
        """Return the stack that RSP points into, or None.

        Args:
            rsp: the stack pointer.
            allocs: blocks from alloc whose size is known: base address to size in bytes.
        """
        if self.boot_low < rsp <= self.boot_top:
            return self._stack(self.boot_low, rsp)
        if HEAP <= rsp < HEAP + self.cpus * ARENA:
            base = rsp - (rsp - HEAP) % SLOT
            if base in allocs and rsp > base + allocs[base]:
                return None
            return self._stack(base, rsp)
        segment = self._segment(rsp - 1)
        if segment is not None and segment.writable:
            return self._stack(self.data_symbol(rsp - 1)[1], rsp)
        return None

    @staticmethod
    def _stack(base: int, rsp: int) -> StackRegion:
        return StackRegion(base, base, max(rsp - WINDOW_BYTES, base), rsp)

    def harness_stack(self, cpu: int) -> StackRegion:
        """Return the stack that the harness provides for a CPU."""
        base = STACKS + cpu * SLOT
        return self._stack(base, base + STACK_SIZE)

    def stack_name(self, stack: StackRegion) -> Text:
        """Return the name of a stack for messages."""
        block = stack.block
        if block == self.boot_low:
            return msg("the boot stack")
        if HEAP <= block < HEAP + self.cpus * ARENA:
            return self._heap_block(block)
        if STACKS <= block < STACKS + self.cpus * SLOT:
            cpu = (block - STACKS) // SLOT
            return msg("the stack of CPU {cpu}", cpu=cpu) if cpu else msg("the BSP's stack")
        return self.data_symbol(block)[0]

    @staticmethod
    def _heap_block(address: int) -> Text:
        return msg("the block of CPU {cpu}", cpu=(address - HEAP) // ARENA)

    def alloc_block(self, cpu: int, count: int) -> int:
        """Return what alloc returns to a CPU that has called it `count` times before."""
        return HEAP + cpu * ARENA + count * SLOT

    def pcpu(self, number: int) -> int:
        """Return the address of the per-CPU structure with this number (the GS base)."""
        return self.pcpus + number * self.pcpu_size

    def pcpu_field(self, number: int, field: int) -> int:
        """Return the address of one of its fields, such as PCPU_STACKADDR."""
        return self.pcpu(number) + self._pad + field

    def data_symbol(self, address: int) -> tuple[str, int]:
        """Return name and start of the variable at an address, or the address as both."""
        at = bisect.bisect_right(self._data_starts, address) - 1
        if at >= 0:
            start, size, name = self._data[at]
            if start <= address < start + max(size, 1):
                return name.split(".")[0], start
        return f"{address:#x}", address

    def data_size(self, address: int) -> int:
        """Return the size in bytes of the variable at an address, 0 if it has no name."""
        at = bisect.bisect_right(self._data_starts, address) - 1
        start, size, _ = self._data[at] if at >= 0 else (0, 0, "")
        return size if start <= address < start + size else 0

    def name(self, address: int) -> Text:
        """Return the name of a shared address for messages."""
        for (start, size), known in self._names:
            if start <= address < start + size:
                return _offset(known, address - start)
        if self.trampoline <= address < self.trampoline + self.trampoline_size:
            return _offset(msg("the trampoline's copy"), address - self.trampoline)
        if HEAP <= address < HEAP + self.cpus * ARENA:
            at = address - HEAP
            return _offset(self._heap_block(address), at % SLOT)
        if self.pcpus <= address < self._pcpus_end:
            number, at = divmod(address - self.pcpus, self.pcpu_size)
            field = _PCPU_FIELDS.get(at - self._pad)
            if field is None:
                return msg("byte {at} of CPU number {number}", at=at, number=number)
            return msg("{field} of CPU number {number}", field=field, number=number)
        if STACKS <= address < STACKS + self.cpus * SLOT:
            cpu, at = divmod(address - STACKS, SLOT)
            stack = msg("the stack of CPU {cpu}", cpu=cpu) if cpu else msg("the BSP's stack")
            return _offset(stack, at)
        name, start = self.data_symbol(address)
        return _offset(name, address - start)

    def is_pcpu_self(self, address: int) -> bool:
        """Return whether an address is that of `self` in a per-CPU structure."""
        at = (address - self.pcpus) % self.pcpu_size - self._pad
        return self.pcpus <= address < self._pcpus_end and at == PCPU_SELF

    def source_line(self, address: int) -> str:
        """Return file and line of code, such as "lab4/sync.c:21", or "".

        For inlined code of a header this is the line before it in the student's file.
        """
        found = line = self.symbols.line(address)
        for back in range(1, _INLINED):
            if line is None or not line[0].startswith("include/"):
                break
            line = self.symbols.line(address - back)
        if line and line[0].startswith("lab"):
            found = line
        return f"{found[0]}:{found[1]}" if found else ""

    def string_at(self, address: int) -> bytes | None:
        """Return the string at an address of the image, up to 200 bytes, or None."""
        segment = self._segment(address)
        if segment is None:
            return None
        at = address - segment.start
        return segment.data[at : at + _LONGEST_STRING].split(b"\0")[0]

    def _segment(self, address: int) -> Segment | None:
        for start, end, segment in self._bounds:
            if start <= address < end:
                return segment
        return None


def _offset(name: Text, offset: int) -> Text:
    if not offset:
        return name
    if isinstance(name, str):
        return f"{name}+{offset:#x}"
    return msg("{name}+{offset:#x}", name=name, offset=offset)
