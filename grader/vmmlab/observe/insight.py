"""What a stopped AP is about to execute, with all that gdb's registers do not tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vmmlab.images.layout import VMM_ALIAS_SIZE, VMM_BASE
from vmmlab.machine.gdb import GdbError, Registers
from vmmlab.observe.cpu import CpuState, DescriptorTable, Touch
from vmmlab.observe.session import Session
from vmmlab.x86.operands import Load, Operation, SegmentUse, operation
from vmmlab.x86.registers import CR0_PE, CR0_PG
from vmmlab.x86.rules import Refusal, Situation, broken
from vmmlab.x86.rules.descriptors import Selected

_DESCRIPTOR: Final = 8  # bytes
_WIDTHS: Final = (16, 32, 64)


@dataclass(frozen=True, slots=True)
class Looked:
    """One AP before an instruction.

    Args:
        state: its registers, as far as they are recorded.
        registers: all of them.
        code: the bytes of the instruction, and some more.
        doing: the instruction; None if the bytes are none.
        refusal: what a processor forbids in it.
        touches: the memory that it will reach.
        register: the control or segment register that it will write, or "msr".
        value: what it will write there; of a segment register the selector.
        msr: the number of the MSR that it will read or write.
        descriptor: the descriptor that the selector chooses, in protected mode.
        made_for: the width that the assembler made it for, if that is another one.
    """

    state: CpuState
    registers: Registers
    code: bytes
    doing: Operation | None
    refusal: Refusal | None = None
    touches: tuple[Touch, ...] = ()
    register: str = ""
    value: int | None = None
    msr: int | None = None
    descriptor: int | None = None
    made_for: int = 0


class Insight:
    """One AP that is single-stepped through the trampoline.

    Args:
        session: the boot.
        cpu: the AP.
    """

    def __init__(self, session: Session, cpu: int) -> None:
        self._session = session
        self._cpu = cpu
        self._hidden: Mapping[str, int] | None = None
        self._base: int | None = None
        self._far = False  # the last instruction has loaded CS

    async def look(self) -> Looked:
        """Return what the AP is about to execute."""
        view = self._session.view
        registers = await self._registers()
        if self._far and registers.cr0 & CR0_PE:
            await self._after_far_jump(registers)
            registers = await self._registers()
        self._far = False
        state = await view.state(self._cpu)
        code = await view.code_at(self._cpu, state)
        values = registers.as_dict()
        doing = operation(code, state.bits, values)
        if doing is None:
            return Looked(state, registers, code, None)
        selected = await self._selected(doing, state, values)
        hidden: Mapping[str, int] = {}
        needed = doing.uses or selected or doing.control == "cr0"
        if needed or (state.cr0 & CR0_PE and state.bits == 16):
            hidden = await self._parts()
        refusal = broken(Situation(doing, state.bits, values, hidden, selected))
        if state.mode == "protected" and state.bits == 16 and hidden:
            table = DescriptorTable(hidden["gdt_base"], hidden["gdt_limit"])
            self._session.log.cpus[self._cpu].find(gdtr=table)
        return Looked(
            state,
            registers,
            code,
            doing,
            refusal,
            await self._touches(doing, state, selected),
            *_value(doing, values, selected),
            values["rcx"] & 0xFFFFFFFF if doing.name in ("rdmsr", "wrmsr") else None,
            selected[0].descriptor if selected else None,
            self._made_for(state, code, doing.size),
        )

    def stepped(self, doing: Operation | None) -> None:
        """Take note that the AP has executed an instruction."""
        if doing is None or doing.loads or doing.control == "cr0" or doing.name in _TABLES:
            self._hidden = None
        self._far = doing is None or any(load.register == "cs" for load in doing.loads)

    # ---- registers -------------------------------------------------------------------------

    async def _registers(self) -> Registers:
        registers = await self._session.gdb.registers(self._cpu)
        if self._base is None or registers.mode == "real" or registers.cs_base == self._base:
            return registers
        return await self._session.gdb.with_code_base(self._cpu, self._base)

    async def _parts(self) -> Mapping[str, int]:
        """Return the hidden parts of the segment registers, and GDTR."""
        if self._hidden is None:
            self._hidden = await self._session.gdb.describe(self._cpu)
        return self._hidden

    async def _after_far_jump(self, registers: Registers) -> None:
        self._hidden = None
        hidden = await self._parts()
        base, flags = hidden["cs_base"], hidden["cs_flags"]
        self._session.view.tell_code_segment(self._cpu, registers.cs, flags)
        self._base = None if registers.mode == "long" else base

    # ---- memory ----------------------------------------------------------------------------

    async def _linear(self, use: SegmentUse, state: CpuState) -> int:
        if state.bits == 64 and use.segment not in ("fs", "gs"):
            return use.offset
        return (await self._parts())[f"{use.segment}_base"] + use.offset & 0xFFFFFFFF

    async def _physical(self, linear: int, state: CpuState) -> int | None:
        """Return where a linear address lies; the page tables of the APs are known in part."""
        if not state.cr0 & CR0_PG or linear < VMM_BASE:
            return linear
        if linear < VMM_BASE + VMM_ALIAS_SIZE:
            return linear - VMM_BASE
        return await self._session.view.translate(self._cpu, linear)

    async def _touches(
        self, doing: Operation, state: CpuState, selected: tuple[Selected, ...]
    ) -> tuple[Touch, ...]:
        found = []
        for use in doing.uses:
            at = await self._physical(await self._linear(use, state), state)
            found.append(Touch(at, use.size, use.reads, use.writes, by_stack=use.by_stack))
        for one in selected if state.cr0 & CR0_PE else ():
            base = (await self._parts())["gdt_base"]
            at = await self._physical(base + (one.selector & ~7), state)
            found.append(Touch(at, _DESCRIPTOR, True, False, table=True))
        return tuple(found)

    async def _selected(
        self, doing: Operation, state: CpuState, values: Mapping[str, int]
    ) -> tuple[Selected, ...]:
        """Return the segment registers that an instruction loads, each with its descriptor."""
        found = []
        for load in doing.loads:
            selector = await self._selector(load, state)
            if selector is None:
                continue
            descriptor = None
            if state.cr0 & CR0_PE:
                hidden = await self._parts()
                raw = await self._read(hidden["gdt_base"] + (selector & ~7), _DESCRIPTOR)
                descriptor = None if raw is None else int.from_bytes(raw, "little")
            target = load.target
            if load.pointer is not None:
                target = await self._number(load.pointer, state)
            found.append(Selected(load.register, selector, descriptor, target))
        return tuple(found)

    async def _selector(self, load: Load, state: CpuState) -> int | None:
        if load.memory is None:
            return load.value
        return await self._number(load.memory, state)

    async def _number(self, use: SegmentUse, state: CpuState) -> int | None:
        raw = await self._read(await self._linear(use, state), use.size)
        return None if raw is None else int.from_bytes(raw, "little")

    async def _read(self, linear: int, size: int) -> bytes | None:
        try:
            return await self._session.gdb.read_virt(self._cpu, linear, size)
        except GdbError:
            return None

    # ---- code ------------------------------------------------------------------------------

    def _linked_at(self, state: CpuState) -> int | None:
        """Return where the linker has put the instruction that a CPU is at; None if not in there.

        That is another address if it runs in the copy of the trampoline, or without paging.
        """
        view = self._session.view
        start, base = view.inputs.apinit_addr, view.symbols.maybe("cpuinit_start")
        if base is not None and start <= state.pc < start + view.trampoline_size:
            return base + state.pc - start
        for address in (state.pc, state.pc + VMM_BASE):
            if view.symbols.owner(address):
                return address
        return None

    def _made_for(self, state: CpuState, code: bytes, size: int) -> int:
        """Return the width that the assembler made an instruction for, if another one is sure.

        The debug information says where the next line begins: the instruction of this one ends
        there or before. If as code of this width it ends elsewhere, and as code of another width
        just there, it was made for that.
        """
        view = self._session.view
        at = self._linked_at(state)
        todo = at is not None and state.bits != 32 and code.startswith(_TODO32)
        if at is not None and todo and _is_todo(view.symbols.nearest(at + _TODO32_BYTES)):
            return 32
        end = None if at is None else view.symbols.next_line(at)
        if at is None or end is None or end - at == size:
            return 0
        other = [
            width
            for width in _WIDTHS
            if width != state.bits
            and (found := operation(code, width, _NO_REGISTERS)) is not None
            and found.size == end - at
        ]
        return min(other, default=0)


def _is_todo(symbol: str) -> bool:
    return symbol.startswith("todo_") and "+" not in symbol


_TABLES: Final = ("lgdt", "lidt")
_TODO32: Final = bytes.fromhex("2e8b1d")  # VMM_TODO32 begins so: mov %cs:apinit_addr, %ebx
_TODO32_BYTES: Final = 30  # to its label; all of it is one line for the debug information


_NO_REGISTERS: Final = Counter[str]()
"""Registers that hold 0."""


def _value(
    doing: Operation, values: Mapping[str, int], selected: tuple[Selected, ...]
) -> tuple[str, int | None]:
    """Return the register that an instruction writes, and what."""
    if doing.control:
        return doing.control, doing.value
    if doing.name == "wrmsr":
        return "msr", (values["rdx"] & 0xFFFFFFFF) << 32 | values["rax"] & 0xFFFFFFFF
    return (selected[0].register, selected[0].selector) if selected else ("", None)
