"""A look at a stopped machine: addresses, registers, memory and code. Nothing here lets it run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from vmmlab.images.layout import VMM_BASE
from vmmlab.images.linemap import Range
from vmmlab.machine import Machine
from vmmlab.machine.gdb import Gdb, GdbError
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.icr import Icr, apic_id, icr_writes
from vmmlab.observe.modes import ModeTracker
from vmmlab.observe.place import Place
from vmmlab.x86.abi import Abi, abi_of
from vmmlab.x86.decode import decode
from vmmlab.x86.registers import CR0_PG

FILLED: Final = 0x1800
"""Bytes that are filled, from the page in which the trampoline begins."""
FAR_JUMP_ROOM: Final = 16
"""Bytes at physical 0 that may be the far jump."""
NO_INSTRUCTION: Final = "(no instruction)"
"""The text of bytes that are not an instruction."""
_CALLER_WORDS: Final = 32  # of a stack, in which to look for the caller
_TEXT_BYTES: Final = 64  # of a C string, at most
_INSTRUCTION_BYTES: Final = 15  # at most (Intel SDM vol. 2, 2.3.11)


class SymbolTable(Protocol):
    """What is asked of the symbols of an image."""

    def maybe(self, name: str) -> int | None:
        """Return the address of a global symbol, or None."""

    def nearest(self, address: int) -> str:
        """Return the nearest symbol as text, or the address in hexadecimal."""

    def line(self, address: int) -> tuple[str, int] | None:
        """Return file and line of an instruction, where known."""

    def next_line(self, address: int) -> int | None:
        """Return where the line begins that comes after the one of an address, where known."""

    def owner(self, address: int) -> str:
        """Return "provided", "student", "prebuilt" or "extra"; "" outside the image."""

    @property
    def student_ranges(self) -> Sequence[Range]:
        """The pieces that come from the student's files."""


@dataclass(frozen=True)
class Inputs:
    """What one boot is given: everything that the seed or the cohort decides.

    Args:
        scenario: name of the scenario.
        seed: seed of this boot's inputs.
        cpus: number of vCPUs.
        apinit_addr: physical address where the trampoline is to be copied.
        apinit_offset: IP with which it is to be entered.
        stack_size: VMM_STACKSIZE in bytes.
        pcpu_pad: bytes of padding before the first field of `struct pcpu`.
        arch: what the image was built for.
        apinit_addr_linked: APINIT_ADDR of cohort.h, if `apinit_addr` is another value, which the
            variable of that name gets when ap_start begins.
        apic_ids: the APIC id of each vCPU by its index; empty: the index itself.
        cohort: name of the cohort that it was built for.
        uefi: UEFI firmware starts the VMM. It goes on using its memory, all of it.
    """

    scenario: str
    seed: int
    cpus: int
    apinit_addr: int
    apinit_offset: int
    stack_size: int
    pcpu_pad: int
    arch: str = "x86_64"
    apic_ids: tuple[int, ...] = ()
    cohort: str = ""
    apinit_addr_linked: int | None = None
    uefi: bool = False


class View:
    """Addresses, registers, memory and code of a machine that is stopped.

    Args:
        machine: the machine.
        symbols: symbols of the image that it boots.
        inputs: what the seed and the cohort decide.
    """

    def __init__(self, machine: Machine, symbols: SymbolTable, inputs: Inputs) -> None:
        self.machine = machine
        self.gdb: Gdb = machine.gdb
        self.symbols = symbols
        self.inputs = inputs
        self.abi: Abi = abi_of(inputs.arch)
        self.since_s = 0.0
        """Host time in seconds at which the VMM began; earlier ICR writes are the firmware's."""
        self._modes = [ModeTracker() for _ in range(inputs.cpus)]
        self._code: dict[tuple[int, str], bytes] = {}

    # ---- addresses -------------------------------------------------------------------------

    def addr(self, name: str) -> int:
        """Return the linear address of a provided or contract symbol.

        Raises:
            KeyError: the image has no such global symbol.
        """
        found = self.symbols.maybe(name)
        if found is None:
            raise KeyError(name)
        return found

    def phys(self, name: str) -> int:
        """Return the physical address of a symbol of the VMM.

        Raises:
            KeyError: the image has no such global symbol.
        """
        return self.addr(name) - VMM_BASE

    def in_copy(self, name: str) -> int | None:
        """Return the physical address that a label of the trampoline has in the copy."""
        label, start = self.symbols.maybe(name), self.symbols.maybe("cpuinit_start")
        if label is None or start is None:
            return None
        return self.inputs.apinit_addr + label - start

    @property
    def trampoline_size(self) -> int:
        """Bytes from cpuinit_start to cpuinit_end."""
        return self.addr("cpuinit_end") - self.addr("cpuinit_start")

    @property
    def ap_indices(self) -> range:
        """Indices of the APs."""
        return range(1, self.inputs.cpus)

    def reaches(self, write: Icr, cpu: int) -> bool:
        """Whether a write of the ICR is sent to the CPU with this index."""
        return write.reaches(*(apic_id(self.inputs.apic_ids, one) for one in (cpu, write.cpu or 0)))

    def on_boot_stack(self, rsp: int) -> bool:
        """Whether `rsp` points into the shared boot stack (its top included)."""
        return self.addr("boot_stack") <= rsp <= self.addr("boot_stack_top")

    def is_code(self, state: CpuState) -> bool:
        """Whether an AP is at physical 0, in the trampoline's copy or in the VMM's image."""
        start = self.inputs.apinit_addr
        if state.pc < FAR_JUMP_ROOM and state.mode == "real":
            return True
        if start <= state.pc < start + self.trampoline_size:
            return True
        virtual = state.cr0 & CR0_PG and self.symbols.owner(state.pc)
        return bool(virtual or self.symbols.owner(state.pc + VMM_BASE))

    # ---- places ----------------------------------------------------------------------------

    def image_place(self, address: int, *, line: bool = True) -> Place:
        """Return an address of the VMM as a student finds it: symbol, file and line.

        Args:
            address: linear address.
            line: look the line up; the first time that reads all of the debug information.
        """
        nearest = self.symbols.nearest(address)
        symbol = "" if nearest == f"{address:#x}" else nearest
        file, number = (self.symbols.line(address) if line else None) or ("", 0)
        owner = self.symbols.owner(address)
        return Place(address, "image", symbol, file, number, owner)

    def place(self, state: CpuState) -> Place:
        """Return where a CPU is."""
        start = self.inputs.apinit_addr
        base = self.symbols.maybe("cpuinit_start")
        if base is not None and start <= state.pc < start + self.trampoline_size:
            offset = state.pc - start
            at = self.image_place(base + offset)
            return Place(
                state.pc, "trampoline", at.symbol or f"{base + offset:#x}", at.file, at.line,
                at.owner, offset,
            )  # fmt: skip
        if state.pc < FAR_JUMP_ROOM and state.mode == "real":
            return Place(state.pc, "low")
        if state.mode == "real" or state.pc < VMM_BASE:
            at = self.image_place(state.pc + VMM_BASE)
            low = state.mode == "real" or state.pc < 0x100000
            if low or not (at.symbol or at.owner):  # of the firmware, or of a guest
                return Place(state.pc, "elsewhere")
            symbol = at.symbol or f"{at.address:#x}"
            return Place(state.pc, "elsewhere", symbol, at.file, at.line, at.owner)
        return self.image_place(state.pc)

    async def caller(self, cpu: int, state: CpuState) -> Place | None:
        """Return the place in the student's code that a CPU in provided code will return to.

        Found by looking for such an address on the stack; for people, not for verdicts.
        """
        if state.mode != self.abi.mode or self.symbols.owner(state.pc) != "provided":
            return None
        try:
            raw = await self.gdb.read_virt(cpu, state.rsp, _CALLER_WORDS * self.abi.word)
        except GdbError:
            return None
        for at in range(0, len(raw), self.abi.word):
            word = self.abi.pointer(raw[at:])
            # A return address is that of the next line, or of another function after a noreturn
            # call: so look at the call itself.
            if self.symbols.owner(word - 1) == "student":
                return self.image_place(word - 1)
        return None

    # ---- registers -------------------------------------------------------------------------

    async def state(self, cpu: int) -> CpuState:
        """Return the registers of a stopped CPU."""
        return self._modes[cpu].state(await self.gdb.registers(cpu))

    def tell_code_segment(self, cpu: int, selector: int, flags: int) -> None:
        """Take note of CS after a far jump in protected mode.

        Args:
            cpu: the CPU.
            selector: the visible part of CS.
            flags: the second half of its descriptor.
        """
        self._modes[cpu].tell(selector, flags)

    async def argument(self, cpu: int, function: str, number: int = 0) -> int:
        """Return an argument of a function at whose first instruction a CPU stands.

        Args:
            cpu: the CPU.
            function: its name.
            number: from 0.

        Raises:
            GdbError: it is on a stack that cannot be read.
        """
        where = self.abi.argument(function, number)
        if isinstance(where, int):
            return await self.stack_word(cpu, where)
        return (await self.gdb.registers(cpu))[where]

    async def set_argument(self, cpu: int, function: str, number: int, value: int) -> None:
        """Change an argument of a function at whose first instruction a CPU stands."""
        where = self.abi.argument(function, number)
        if isinstance(where, int):
            at = (await self.state(cpu)).rsp + where
            physical = await self.translate(cpu, at)
            if physical is not None:
                await self.gdb.write_phys(physical, value.to_bytes(self.abi.word, "little"))
        else:
            await self.gdb.write_register(cpu, where, value)

    # ---- memory ----------------------------------------------------------------------------

    async def read_u32(self, physical: int) -> int:
        """Return a 32-bit word of physical memory."""
        return int.from_bytes(await self.gdb.read_phys(physical, 4), "little")

    async def read_u64(self, physical: int) -> int:
        """Return a 64-bit word of physical memory."""
        return int.from_bytes(await self.gdb.read_phys(physical, 8), "little")

    async def read_pointer(self, physical: int) -> int:
        """Return a pointer in physical memory."""
        return self.abi.pointer(await self.gdb.read_phys(physical, self.abi.word))

    async def read_if_there(self, physical: int, size: int) -> bytes:
        """Return `size` bytes of physical memory, or none if they cannot be read."""
        try:
            return await self.gdb.read_phys(physical, size)
        except GdbError:
            return b""

    async def write_u32(self, name: str, value: int, offset: int = 0) -> None:
        """Write a 32-bit word of a provided variable.

        Args:
            name: the variable.
            value: what to write.
            offset: bytes from its beginning.
        """
        await self.gdb.write_phys(self.phys(name) + offset, value.to_bytes(4, "little"))

    async def stack_word(self, cpu: int, offset: int = 0) -> int:
        """Return a word of a CPU's stack, `offset` bytes from the stack pointer.

        Raises:
            GdbError: it cannot be read.
        """
        at = (await self.state(cpu)).rsp + offset
        return self.abi.pointer(await self.gdb.read_virt(cpu, at, self.abi.word))

    async def read_text(self, cpu: int, address: int, most: int = _TEXT_BYTES) -> str:
        """Return the C string at `address` as a CPU sees it, at most `most` bytes; "" if none."""
        try:
            raw = await self.gdb.read_virt(cpu, address, most)
        except GdbError:
            return ""
        return raw.split(b"\0", 1)[0].decode(errors="replace")

    async def text_argument(self, cpu: int, function: str) -> str:
        """Return the first argument of a function as a C string; "" if it cannot be read."""
        try:
            return await self.read_text(cpu, await self.argument(cpu, function))
        except GdbError:  # no stack
            return ""

    async def around_trampoline(self) -> Mapping[int, int]:
        """Return address → byte of the memory around the copy that was filled."""
        inputs = self.inputs
        page = inputs.apinit_addr & ~0xFFF
        raw = await self.gdb.read_phys(page, FILLED)
        inside = range(inputs.apinit_addr, inputs.apinit_addr + self.trampoline_size)
        return {page + at: byte for at, byte in enumerate(raw) if page + at not in inside}

    async def translate(self, cpu: int, virtual: int) -> int | None:
        """Return the physical address that a CPU's page tables give for a virtual one, or None."""
        table = (await self.state(cpu)).cr3 & self.abi.root_mask
        for shift in self.abi.shifts:
            try:
                entry = await self.read_u64(table + (virtual >> shift & 511) * 8)
            except GdbError:  # the table is overwritten, or nothing is there
                return None
            if not entry & 1:
                return None
            frame = entry & 0x000FFFFFFFFFF000
            if shift == 12 or (shift < 39 and entry & 1 << 7):
                inside = (1 << shift) - 1
                return (frame & ~inside) | (virtual & inside)
            table = frame
        return None

    async def stackaddr(self, state: CpuState) -> int | None:
        """Return `currentcpu->stackaddr`, or None if GS leads to no per-CPU data."""
        at = self.stackaddr_at(state.gs_base)
        try:
            return None if at is None else await self.read_pointer(at)
        except GdbError:
            return None

    def stackaddr_at(self, gs_base: int) -> int | None:
        """Return the physical address of `currentcpu->stackaddr` for a base of GS, or None."""
        if not VMM_BASE <= gs_base < 2 * VMM_BASE:
            return None
        return gs_base - VMM_BASE + self.inputs.pcpu_pad + self.abi.stackaddr

    # ---- code ------------------------------------------------------------------------------

    async def code_at(self, cpu: int, state: CpuState) -> bytes:
        """Return the bytes that a stopped CPU is about to execute."""
        key = (state.pc, state.mode)
        if key not in self._code:
            self._code[key] = await self._fetch(cpu, state.pc)
        return self._code[key]

    async def _fetch(self, cpu: int, pc: int) -> bytes:
        for size in (_INSTRUCTION_BYTES, 4096 - pc % 4096):
            try:
                return await self.gdb.read_virt(cpu, pc, min(size, _INSTRUCTION_BYTES))
            except GdbError:
                continue
        return b""

    async def instruction(self, cpu: int, state: CpuState) -> str:
        """Return the instruction that a stopped CPU is about to execute, as text."""
        decoded = decode(await self.code_at(cpu, state), state.pc, state.bits)
        return decoded.text if decoded else NO_INSTRUCTION

    # ---- the trace -------------------------------------------------------------------------

    def icr(self) -> tuple[Icr, ...]:
        """Return what has been written to the interrupt command register so far."""
        return icr_writes(self.machine.trace(), self.since_s)

    def called_since(self, time_s: float) -> bool:
        """Whether an IPI was sent after this moment of the host: it may still be on its way."""
        return bool(icr_writes(self.machine.trace(), time_s))
