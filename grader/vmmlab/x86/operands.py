"""What one instruction reaches: memory through segments, control and segment registers.

Capstone knows operands, but neither the stack, nor far pointers, nor some writes; they are added
here. Nothing is executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import capstone
from capstone import x86

from vmmlab.x86.decode import LONGEST, Width, disassembler, effective

SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs")
_STORES: Final = frozenset(
    {"sgdt", "sidt", "sldt", "str", "smsw", "fnstcw", "fstcw", "fnstsw", "fstsw", "fxsave",
     "fnstenv", "fnsave", "xsave", "stmxcsr", "cmpxchg8b", "cmpxchg16b", "cmpxchg", "insb", "insw",
     "insd"}
)  # fmt: skip
"""Instructions of which capstone does not say that they write to their memory operand."""
_HALVES: Final = ("bx", "bp", "si", "di")
"""The registers of 16-bit addresses."""
_FAR_POINTERS: Final = {"lds": "ds", "les": "es", "lss": "ss", "lfs": "fs", "lgs": "gs"}


@dataclass(frozen=True, slots=True)
class SegmentUse:
    """Memory that an instruction reaches through a segment register.

    Args:
        segment: the register, such as "ds".
        offset: of the first byte, from the segment's base.
        size: in bytes.
        reads: it reads there.
        writes: it writes there.
        by_stack: it is a push, a pop or the like.
    """

    segment: str
    offset: int
    size: int
    reads: bool
    writes: bool
    by_stack: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """A segment register that an instruction loads with a selector.

    Args:
        register: the segment register, such as "ss".
        value: the selector, if no memory holds it.
        memory: where the selector is, else.
        target: for CS, the offset at which the code goes on, if no memory holds it.
        pointer: where that offset is, else.
    """

    register: str
    value: int | None = None
    memory: SegmentUse | None = None
    target: int | None = None
    pointer: SegmentUse | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One instruction with what it reaches.

    Args:
        name: its mnemonic; far jumps are "ljmp", far calls "lcall".
        size: its length in bytes.
        repeated: it has a REP prefix: a step may be one round of it.
        uses: the memory that it reaches.
        loads: the segment registers that it loads.
        control: the control register that it writes, such as "cr0", or "".
        value: what it writes there; of LMSW the low half of CR0.
    """

    name: str
    size: int
    repeated: bool
    uses: tuple[SegmentUse, ...]
    loads: tuple[Load, ...] = ()
    control: str = ""
    value: int = 0


def operation(code: bytes, width: Width, registers: Mapping[str, int]) -> Operation | None:
    """Return what the instruction that `code` begins with reaches; None if it is no instruction.

    Args:
        code: up to 15 bytes.
        width: default operand size of the code segment, in bits.
        registers: by their 64-bit names, before the instruction.
    """
    engine = disassembler(width)
    at = registers.get("rip", 0)
    for one in engine.disasm(code[:LONGEST], at, 1):
        name = _name(one)
        memory = tuple(_memory(engine, one, name, width, registers))
        stack = tuple(_stack(one, name, width, registers))
        control, value = _control(engine, one, registers)
        loads = tuple(_loads(engine, one, name, width, memory, stack, registers))
        repeated = bool({x86.X86_PREFIX_REP, x86.X86_PREFIX_REPNE} & set(one.prefix))
        return Operation(name, one.size, repeated, memory + stack, loads, control, value)
    return None


def _name(one: Any) -> str:
    """Return the mnemonic; capstone calls some far jumps and calls near ones."""
    name: str = one.mnemonic.split()[-1]
    extension = one.modrm >> 3 & 7
    if one.opcode[0] == 0xEA or (one.opcode[0] == 0xFF and extension == 5):
        return "ljmp"
    if one.opcode[0] == 0x9A or (one.opcode[0] == 0xFF and extension == 3):
        return "lcall"
    return name


def _operand_bytes(one: Any, width: Width) -> int:
    if width == 64 and one.rex & 8:
        return 8
    wide = (width == 16) == (0x66 in one.prefix)
    return 4 if wide else 2


def _memory(
    engine: Any, one: Any, name: str, width: Width, registers: Mapping[str, int]
) -> Iterator[SegmentUse]:
    """Yield what its operands reach; addresses that cannot be told are left out."""
    if name in ("lea", "nop"):
        return
    halves = {half: registers.get(f"r{half}", 0) & 0xFFFF for half in _HALVES}
    flat = {**registers, **halves, "fs_base": 0, "gs_base": 0}
    for op in one.operands:
        if op.type != x86.X86_OP_MEM:
            continue
        base = engine.reg_name(op.mem.base) if op.mem.base else ""
        segment = engine.reg_name(op.mem.segment) if op.mem.segment else ""
        offset = effective(engine, one, op.mem, flat)
        if offset is None:
            continue
        size = op.size
        if name in ("ljmp", "lcall", *_FAR_POINTERS):
            size = _operand_bytes(one, width) + 2
        writes = bool(op.access & capstone.CS_AC_WRITE) or name in _STORES
        reads = bool(op.access & capstone.CS_AC_READ) and not name.startswith(("fnst", "fst"))
        yield SegmentUse(
            segment or ("ss" if base and base[-2:] in ("bp", "sp") else "ds"),
            offset & (1 << 8 * one.addr_size) - 1,
            size,
            reads or name == "ljmp",
            writes,
        )


def _stack(one: Any, name: str, width: Width, registers: Mapping[str, int]) -> Iterator[SegmentUse]:
    """Yield what it pushes or pops, as one piece; the width of SS is taken to be that of CS."""
    word = _operand_bytes(one, width)
    near = 8 if width == 64 else word
    words, pushes = {
        "push": (1, True), "call": (1, True), "lcall": (2, True), "pushf": (1, True),
        "pushfd": (1, True), "pushfq": (1, True), "pushal": (8, True), "pushaw": (8, True),
        "int": (3, True), "int3": (3, True), "int1": (3, True), "pop": (1, False),
        "ret": (1, False), "retf": (2, False), "retfq": (2, False), "iret": (3, False),
        "iretd": (3, False), "iretq": (5, False), "popf": (1, False), "popfd": (1, False),
        "popfq": (1, False), "popal": (8, False), "popaw": (8, False), "leave": (1, False),
    }.get(name, (0, False))  # fmt: skip
    if not words:
        return
    size = words * (near if name in ("push", "pop", "call", "ret", "leave") else word)
    sp = registers["rbp" if name == "leave" else "rsp"]
    at = (sp - size if pushes else sp) & (1 << width) - 1
    yield SegmentUse("ss", at, size, not pushes, pushes, by_stack=True)


def _control(engine: Any, one: Any, registers: Mapping[str, int]) -> tuple[str, int]:
    operands = one.operands
    if one.mnemonic == "lmsw" and operands and operands[0].type == x86.X86_OP_REG:
        return "cr0", _register(engine, operands[0].reg, registers) & 0xFFFF
    if len(operands) != 2 or any(op.type != x86.X86_OP_REG for op in operands):
        return "", 0
    name: str = engine.reg_name(operands[0].reg)
    if not (name.startswith("cr") and name[2:].isdigit()):
        return "", 0
    return name, _register(engine, operands[1].reg, registers)


def _register(engine: Any, number: int, registers: Mapping[str, int]) -> int:
    """Return what a general register holds, by the name that capstone gives to its part."""
    name: str = engine.reg_name(number)
    if name in registers:
        return registers[name]
    if name[0] == "e" and f"r{name[1:]}" in registers:
        return registers[f"r{name[1:]}"] & 0xFFFFFFFF
    if f"r{name}" in registers:
        return registers[f"r{name}"] & 0xFFFF
    whole = name.rstrip("dwb")
    return registers.get(whole, 0) & (0xFFFF if name.endswith("w") else 0xFFFFFFFF)


def _loads(
    engine: Any,
    one: Any,
    name: str,
    width: Width,
    memory: tuple[SegmentUse, ...],
    stack: tuple[SegmentUse, ...],
    registers: Mapping[str, int],
) -> Iterator[Load]:
    operands = one.operands
    if name in ("ljmp", "lcall"):
        if len(operands) == 2 and all(op.type == x86.X86_OP_IMM for op in operands):
            yield Load("cs", operands[0].imm & 0xFFFF, target=operands[1].imm & 0xFFFFFFFF)
        elif memory:
            pointer = memory[0]
            offset = replace(pointer, size=pointer.size - 2)
            yield Load("cs", memory=_word(pointer, offset.size), pointer=offset)
    elif name in _FAR_POINTERS and memory:
        yield Load(_FAR_POINTERS[name], memory=_word(memory[0], memory[0].size - 2))
    elif name in ("retf", "retfq", "iret", "iretd", "iretq") and stack:
        yield Load("cs", memory=_word(stack[0], _operand_bytes(one, width)))
    elif operands and operands[0].type == x86.X86_OP_REG:
        register = engine.reg_name(operands[0].reg)
        if register not in SEGMENTS:
            return
        if name == "pop" and stack:
            yield Load(register, memory=_word(stack[0], 0))
        elif name == "mov" and operands[1].type == x86.X86_OP_REG:
            yield Load(register, _register(engine, operands[1].reg, registers) & 0xFFFF)
        elif name == "mov" and memory:
            yield Load(register, memory=_word(memory[0], 0))


def _word(use: SegmentUse, at: int) -> SegmentUse:
    """Return the two bytes of a selector within what an instruction reads."""
    return SegmentUse(use.segment, use.offset + at, 2, True, False, use.by_stack)
