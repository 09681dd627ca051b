"""An image and the addresses around it: what is where, which given code is run or modelled.

The VMM is linked at 1 GiB, which the emulator takes as it is. Beside the image the model has a copy
of the trampoline's data, stacks, and room for `alloc`. Knows nothing of what is right.
"""

from __future__ import annotations

import bisect
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from vmmlab.base.errors import InfraError
from vmmlab.explore.instructions import LONGEST, Instruction, decode

if TYPE_CHECKING:
    from vmmlab.images.symbols import Symbols

VMM_BASE: Final = 0x4000_0000  # include/layout.h: virtual = VMM_BASE + physical
WINDOW: Final = 0xC000_0000  # include/layout.h: MAPMEM_BASE
PAGE: Final = 0x1000

# Places of the model's own, inside the alias and far from image and low memory.
STACKS: Final = 0x5000_0000
HEAP: Final = 0x6000_0000
MARKS: Final = 0x4F00_0000
RETURN_MARK: Final = MARKS + 0x10
"""Where a function that the harness has called returns to."""
ARENA: Final = 0x40_0000
SLOT: Final = 0x10_0000
"""`alloc` number k of CPU c gives HEAP + c * ARENA + k * SLOT."""
SLOTS: Final = ARENA // SLOT
STACK_SIZE: Final = 0x8000  # of a stack that the harness makes
WINDOW_BYTES: Final = 4096
"""So much of a stack is followed; deeper use is reported, not judged."""

# include/pcpu.h, behind the padding: self, cpunum, apic_id, stackaddr; a test compares with DWARF.
PCPU_SELF: Final = 0
PCPU_CPUNUM: Final = 8
PCPU_APIC_ID: Final = 12
PCPU_STACKADDR: Final = 16
PCPU_BYTES: Final = 57  # before rounding up to 16

# Given functions whose effect is modelled; all other given code but the few below is refused.
STUBS: Final = frozenset((
    "acpi_apic_id", "acpi_num_of_processors", "acpi_pm_timer", "alloc", "ap_first_missing",
    "ap_proc", "apic_id", "panic", "printf", "segment_init_ap", "todo64", "usleep",
    "vmm_ap_missing", "vmm_parked", "vmm_synced", "vmm_todo", "vprintf",
))  # fmt: skip
# Given functions that are run as they are.
_RUN: Final = frozenset((
    "asm_wrrsp_and_jmp", "spinlock_init", "spinlock_lock", "spinlock_trylock",
    "spinlock_unlock", "memcpy", "memmove", "memset", "memcmp", "strcmp",
))  # fmt: skip
_AP_LOCKED_BYTES: Final = 16
_INLINED: Final = 64


class CohortLike(Protocol):
    """What the explorer needs to know of a cohort."""

    @property
    def apinit_addr(self) -> int:
        """Physical address of the trampoline's copy."""

    @property
    def pcpu_pad(self) -> int:
        """Bytes of padding in the per-CPU structure."""


class OptionsLike(Protocol):
    """What the explorer needs to know of how an image was built."""

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
    """What the explorer needs to know of an image; `vmmlab.images.Image` offers it."""

    @property
    def elf(self) -> Path:
        """ELF64 with symbols."""

    @property
    def symbols(self) -> Symbols:
        """Its symbols."""

    @property
    def options(self) -> OptionsLike:
        """How it was built."""

    @property
    def key(self) -> str:
        """Names the content."""


class Region(NamedTuple):
    """A stack that a CPU is on.

    Attributes:
        name: for people.
        block: names the memory: two CPUs with the same one share a stack.
        base: lowest address of the memory.
        low: lowest address that is followed.
        top: RSP when the stack was entered; what is above it does not belong to the frames.
    """

    name: str
    block: int
    base: int
    low: int
    top: int


Kind = Literal["shared", "rom", "fault", "unknown", "boot stack"]


class Place(NamedTuple):
    """What an access to memory meets: the address by which all CPUs know it, or why it has none."""

    kind: Kind
    address: int
    window: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A loaded part of the image."""

    start: int
    data: bytes
    writable: bool

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + len(self.data)


class Program:
    """One image, read.

    Args:
        image: built for lab 4, with symbols; x86_64.
        cohort: the one that it was built for.
        cpus: how many CPUs there are, the BSP among them.

    Raises:
        InfraError: the image lacks something that the given code always has.
    """

    def __init__(self, image: ImageLike, cohort: CohortLike, cpus: int) -> None:
        self.image = image
        self.symbols = image.symbols
        self.cpus = cpus
        # Not 0, 1, 2: a number that is really an APIC id shall show.
        self.apic_ids = (0, *(3 * n + 2 for n in range(cpus - 1)))
        self.sections, self._data = _read(image)
        self._data_starts = [start for start, _, _ in self._data]
        self._pad = cohort.pcpu_pad
        addr = self.symbols.addr
        self.copy = VMM_BASE + cohort.apinit_addr
        self.copy_bytes = addr("cpuinit_end") - addr("cpuinit_start")
        self.window = WINDOW + cohort.apinit_addr % PAGE
        self.lock_offset = addr("apinit_lock") - addr("cpuinit_start")
        self.procs_offset = addr("apinit_procs") - addr("cpuinit_start")
        self.lock = self.copy + self.lock_offset
        self.procs = self.copy + self.procs_offset
        self.apinit_addr = cohort.apinit_addr
        self.boot_top = addr("boot_stack_top")
        self.boot_low = addr("boot_stack")
        self.ap_locked = addr("ap_locked")
        found = next(((start, size) for start, size, name in self._data if name == "pcpus"), None)
        if found is None:
            raise InfraError(
                "The image has no pcpus.", next_step="Check out kit and grader of one version."
            )
        self.pcpus, self._pcpus_end = found[0], found[0] + found[1]
        self.pcpu_size = (self._pad + PCPU_BYTES + 15) & ~15
        self.stubs: Mapping[int, str] = {
            where: name for name in sorted(STUBS) if (where := self.symbols.maybe(name)) is not None
        }
        given = [r for r in self.symbols.ranges if r.owner != "student" and "text" in r.section]
        self._given = sorted((r.start, r.end) for r in given)
        self._run: list[tuple[int, int]] = [(self.ap_locked, self.ap_locked + _AP_LOCKED_BYTES)]
        for name in sorted(_RUN):
            start = self.symbols.maybe(name)
            if start is not None:
                self._run.append((start, start + max(self.symbols.size(name), 1)))
        self._decoded: dict[int, Instruction] = {}

    def runs(self, address: int) -> bool:
        """Whether code there is executed as it is: the student's, and a few given functions."""
        if any(low <= address < high for low, high in self._run):
            return True
        if any(low <= address < high for low, high in self._given):
            return False
        text = self._section(address)
        return text is not None and not text.writable

    def is_code(self, value: int) -> bool:
        """Whether a number could be an address of code."""
        section = self._section(value)
        return section is not None and not section.writable

    def instruction(self, address: int) -> Instruction:
        """The instruction at an address of the image."""
        found = self._decoded.get(address)
        if found is None:
            section = self._section(address)
            offset = address - section.start if section else 0
            code = section.data[offset : offset + LONGEST] if section else b""
            found = self._decoded[address] = decode(code, address)
        return found

    def initial(self, address: int) -> int:
        """The byte at a shared address before anything has run. Memory from alloc is rubbish."""
        section = self._section(address)
        if section is not None:
            return section.data[address - section.start]
        if self.copy <= address < self.copy + self.copy_bytes:
            return self.initial(self.symbols.addr("cpuinit_start") + address - self.copy)
        return 0xA5

    def classify(self, cpu: int, address: int, size: int) -> Place:
        """What an access of a CPU to memory other than its own stack meets.

        Args:
            cpu: who; only APs have the identity map.
            address: linear address.
            size: bytes.
        """
        window = self.window <= address < self.window + self.copy_bytes
        if window:
            address += self.copy - self.window
        elif address + size <= VMM_BASE:
            if cpu == 0:
                return Place("fault", address, why="a page fault: nothing is mapped there")
            address += VMM_BASE
        elif not VMM_BASE <= address < 2 * VMM_BASE:
            in_window = WINDOW <= address < WINDOW + 0x100_0000
            if in_window:
                return Place("unknown", address)
            return Place("fault", address, why="a page fault: nothing is mapped there")
        if self.copy <= address and address + size <= self.copy + self.copy_bytes:
            return Place("shared", address, window)
        section = self._section(address)
        if section is not None and address + size <= section.end:
            if not section.writable:
                return Place("rom", address)
            if self.boot_low <= address < self.boot_top:
                return Place("boot stack", address)
            return Place("shared", address)
        if address >= HEAP and address + size <= HEAP + self.cpus * ARENA:
            return Place("shared", address)
        if STACKS <= address < STACKS + self.cpus * SLOT:
            owner = (address - STACKS) // SLOT
            return Place("unknown", address, why=f"an access to the stack of CPU {owner}")
        return Place("unknown", address)

    def region(self, rsp: int, allocs: Mapping[int, int]) -> Region | None:
        """The stack that RSP leads to, or None.

        Args:
            rsp: the stack pointer.
            allocs: all blocks that may exist: base to size.
        """
        if self.boot_low < rsp <= self.boot_top:
            return self._stack("the boot stack", self.boot_low, self.boot_low, rsp)
        if HEAP <= rsp < HEAP + self.cpus * ARENA:
            base = rsp - (rsp - HEAP) % SLOT
            owner = (base - HEAP) // ARENA
            if base in allocs and rsp > base + allocs[base]:
                return None
            return self._stack(f"the block of CPU {owner}", base, base, rsp)
        section = self._section(rsp - 1)
        if section is not None and section.writable:
            name, base = self.data_symbol(rsp - 1)
            return self._stack(name, base, base, rsp)
        return None

    @staticmethod
    def _stack(name: str, block: int, base: int, rsp: int) -> Region:
        return Region(name, block, base, max(rsp - WINDOW_BYTES, base), rsp)

    def harness_stack(self, cpu: int) -> Region:
        """The stack that the harness gives to a CPU."""
        base = STACKS + cpu * SLOT
        name = "the BSP's stack" if cpu == 0 else f"the stack of CPU {cpu}"
        return self._stack(name, base, base, base + STACK_SIZE)

    def block(self, cpu: int, count: int) -> int:
        """What alloc gives to a CPU that has called it `count` times before."""
        return HEAP + cpu * ARENA + count * SLOT

    def pcpu(self, number: int) -> int:
        """Address of the per-CPU structure with this number (the GS base)."""
        return self.pcpus + number * self.pcpu_size

    def pcpu_field(self, number: int, field: int) -> int:
        """Address of one of its fields, such as PCPU_STACKADDR."""
        return self.pcpu(number) + self._pad + field

    def data_symbol(self, address: int) -> tuple[str, int]:
        """Name and start of the variable at an address; the address itself if it has no name."""
        at = bisect.bisect_right(self._data_starts, address) - 1
        if at >= 0:
            start, size, name = self._data[at]
            if start <= address < start + max(size, 1):
                return name.split(".")[0], start
        return f"{address:#x}", address

    def data_size(self, address: int) -> int:
        """Bytes of the variable at an address, 0 if it has no name."""
        at = bisect.bisect_right(self._data_starts, address) - 1
        start, size, _ = self._data[at] if at >= 0 else (0, 0, "")
        return size if start <= address < start + size else 0

    def name(self, address: int) -> str:
        """What people call a shared address."""
        if self.lock <= address < self.lock + 8:
            return _offset("*apinitlock", address - self.lock)
        if self.procs <= address < self.procs + 4:
            return "*apinitprocs"
        if self.copy <= address < self.copy + self.copy_bytes:
            return _offset("the trampoline's copy", address - self.copy)
        if HEAP <= address < HEAP + self.cpus * ARENA:
            at = address - HEAP
            return _offset(f"the block of CPU {at // ARENA}", at % SLOT)
        if self.pcpus <= address < self._pcpus_end:
            number, at = divmod(address - self.pcpus, self.pcpu_size)
            field = {
                PCPU_SELF: "self",
                PCPU_CPUNUM: "cpunum",
                PCPU_APIC_ID: "apic_id",
                PCPU_STACKADDR: "stackaddr",
            }.get(at - self._pad, f"byte {at}")
            return f"{field} of CPU number {number}"
        name, start = self.data_symbol(address)
        return _offset(name, address - start)

    def place(self, address: int) -> str:
        """Source file and line of code, or "".

        Of a header's code that was put into a student's function, the line before it.
        """
        found = line = self.symbols.line(address)
        for back in range(1, _INLINED):
            if line is None or not line[0].startswith("include/"):
                break
            line = self.symbols.line(address - back)
        if line and line[0].startswith("lab"):
            found = line
        return f"{found[0]}:{found[1]}" if found else ""

    def text(self, address: int) -> bytes | None:
        """A string in the image, without its zero, or None."""
        section = self._section(address)
        if section is None:
            return None
        at = address - section.start
        return section.data[at : at + 200].split(b"\0")[0]

    def _section(self, address: int) -> Section | None:
        return next((one for one in self.sections if one.start <= address < one.end), None)


def _offset(name: str, offset: int) -> str:
    return f"{name}+{offset}" if offset else name


@lru_cache(maxsize=8)
def _parse(path: Path) -> tuple[tuple[Section, ...], list[tuple[int, int, str]]]:
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    file: Any = ELFFile(io.BytesIO(path.read_bytes()))
    sections = []
    for segment in file.iter_segments():
        if segment["p_type"] == "PT_LOAD" and segment["p_memsz"]:
            data = segment.data().ljust(segment["p_memsz"], b"\0")
            sections.append(Section(segment["p_vaddr"], data, bool(segment["p_flags"] & 2)))
    data_symbols: dict[int, tuple[int, int, str]] = {}
    for table in file.iter_sections():
        if not isinstance(table, SymbolTableSection):
            continue
        for symbol in table.iter_symbols():
            if symbol["st_info"]["type"] == "STT_OBJECT" and symbol.name:
                start = symbol["st_value"]
                data_symbols[start] = (start, symbol["st_size"], symbol.name)
    return tuple(sections), sorted(data_symbols.values())


def _read(image: ImageLike) -> tuple[tuple[Section, ...], list[tuple[int, int, str]]]:
    from elftools.common.exceptions import ELFError

    try:
        return _parse(image.elf)
    except (OSError, ELFError) as error:
        raise InfraError(
            "The image cannot be read.", found=str(error), next_step="Build it again."
        ) from error
