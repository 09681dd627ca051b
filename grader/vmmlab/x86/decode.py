"""Decodes bytes of the guest as instructions, with capstone. It runs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import capstone
from capstone import x86

Width = Literal[16, 32, 64]

_MODES = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
LONGEST = 15  # bytes: the architectural limit, Intel SDM vol. 2, 2.3.11

_STACK_USERS = re.compile(
    r"(push|pop)([aw]|al|aw|f|fd|fq)?|l?call|l?ret(f|fq)?|iret[dq]?|enter|leave|int[13o]?"
)

# What a loop that waits is made of.
_PLAIN = re.compile(
    r"mov(abs|zx|sx|sxd)?|cmov[a-z]+|lea|cmp|test|add|adc|sub|sbb|inc|dec|neg|not|and|or|xor|imul"
    r"|sh[lr]|sa[lr]|ro[lr]|bt[crs]?|set[a-z]+|cdqe|cwde|cbw|cqo|cdq|xchg|cmpxchg|xadd|push|pop|call"
    r"|ret|leave|jmp|j[a-z]{1,4}|loop|pause|nop|endbr(32|64)|[lms]fence|cld|cli"
)
_BIT_STRINGS = ("bt", "bts", "btr", "btc")
_SPECIAL = re.compile(r"[cd]r\d+|[c-gs]s")


_CLOCK_READERS = re.compile(r"rdtscp?|in|ins[bwd]")


@lru_cache(maxsize=3)
def disassembler(width: Width) -> capstone.Cs:
    """Return the disassembler for code of a width in bits."""
    engine = capstone.Cs(capstone.CS_ARCH_X86, _MODES[width])
    engine.detail = True
    return engine


@lru_cache(maxsize=3)
def _writer(width: Width) -> capstone.Cs:
    """Return the disassembler that writes as GNU as and gdb do.

    Its operands are in another order, so that nothing but the text comes from it.
    """
    engine = capstone.Cs(capstone.CS_ARCH_X86, _MODES[width])
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    return engine


def as_text(code: bytes, address: int, width: Width) -> str:
    """Return the instruction that `code` begins with in AT&T syntax; "" if it is none.

    Args:
        code: up to 15 bytes.
        address: where they are, for jump targets.
        width: default operand size of the code segment, in bits.
    """
    for _, _, mnemonic, operands in _writer(width).disasm_lite(code[:LONGEST], address, 1):
        # GNU as wants a comma between the segment and the offset of a far pointer.
        return f"{mnemonic} {operands.replace(':$', ', $')}".strip()
    return ""


def as_intel(code: bytes, address: int, width: Width) -> str:
    """Return the instruction that `code` begins with in Intel's syntax; "" if it is none.

    Args: as for `as_text`.
    """
    found = disassembler(width).disasm_lite(code[:LONGEST], address, 1)
    return next((f"{mnemonic} {operands}".strip() for _, _, mnemonic, operands in found), "")


@dataclass(frozen=True, slots=True)
class Decoded:
    """One instruction: its text, its length in bytes, and what it does that checks ask about.

    Args:
        text: in AT&T syntax, as in the files of the VMM.
        locked: has a LOCK prefix, or is XCHG with memory, which locks by itself.
        writes_memory: writes to a memory operand.
        uses_stack: pushes or pops, explicitly or by CALL, RET, INT and the like.
        name: the mnemonic without prefixes and without AT&T's letter for the size.
        changes_memory: reads from a memory operand and writes to it.
    """

    text: str
    size: int
    locked: bool
    writes_memory: bool
    uses_stack: bool
    changes_memory: bool = False
    name: str = ""


def decode(code: bytes, address: int, width: Width) -> Decoded | None:
    """The instruction that `code` begins with, or None if it is none.

    Args:
        code: up to 15 bytes.
        address: where they are, for jump targets in the text.
        width: default operand size of the code segment, in bits.
    """
    for instruction in disassembler(width).disasm(code[:LONGEST], address, 1):
        name = instruction.mnemonic.split()[-1]
        memory = [op for op in instruction.operands if op.type == x86.X86_OP_MEM]
        locked = x86.X86_PREFIX_LOCK in instruction.prefix or (name == "xchg" and bool(memory))
        return Decoded(
            text=as_text(code, address, width),
            size=instruction.size,
            locked=locked,
            # A LOCK prefix is legal only on a read-modify-write (SDM vol. 2, LOCK); capstone does
            # not know that of CMPXCHG.
            writes_memory=((locked or name == "cmpxchg") and bool(memory))
            or any(op.access & capstone.CS_AC_WRITE for op in memory),
            uses_stack=_STACK_USERS.fullmatch(name) is not None,
            name=name,
            changes_memory=(name == "cmpxchg" and bool(memory))
            or any(op.access == capstone.CS_AC_READ | capstone.CS_AC_WRITE for op in memory),
        )
    return None


def reads_a_clock(code: bytes, width: Width) -> bool:
    """Whether there is an instruction in `code` that reads the TSC or a port, such as a timer's.

    Args:
        code: instructions, one after the other.
        width: default operand size of the code segment, in bits.
    """
    engine, at = disassembler(width), 0
    while at < len(code):
        found = next(engine.disasm_lite(code[at : at + LONGEST], at, 1), None)
        if found is not None and _CLOCK_READERS.fullmatch(found[2]):
            return True
        at += found[1] if found else 1  # a byte that is no instruction is passed over
    return False


@dataclass(frozen=True, slots=True)
class Access:
    """One access of an instruction to memory.

    Args:
        address: linear address of its first byte, or None if it is unknown.
        locked: it is atomic for other CPUs: LOCK, or XCHG.
        size: in bytes.
    """

    address: int | None
    reads: bool
    writes: bool
    locked: bool
    size: int


def accesses(
    code: bytes, address: int, width: Width, registers: Mapping[str, int]
) -> tuple[Access, ...]:
    """The memory accesses that the operands of the first instruction in `code` make.

    Pushes and the like are left out.

    Args:
        code: up to 15 bytes.
        address: where they are.
        width: default operand size of the code segment, in bits.
        registers: by their 64-bit names, and `fs_base` and `gs_base`, before the instruction.
    """
    engine = disassembler(width)
    for instruction in engine.disasm(code[:LONGEST], address, 1):
        name = instruction.mnemonic.split()[-1]
        if _STACK_USERS.fullmatch(name) or name == "lea":
            return ()
        found = []
        for op in instruction.operands:
            if op.type != x86.X86_OP_MEM:
                continue
            locked = x86.X86_PREFIX_LOCK in instruction.prefix or name == "xchg"
            found.append(
                Access(
                    _of_bit(engine, instruction, name, op, registers),
                    bool(op.access & capstone.CS_AC_READ),
                    locked or name == "cmpxchg" or bool(op.access & capstone.CS_AC_WRITE),
                    locked,
                    op.size,
                )
            )
        return tuple(found)
    return ()


def _of_bit(
    engine: Any, instruction: Any, name: str, op: Any, registers: Mapping[str, int]
) -> int | None:
    """Return the address of a memory operand; of BT and the like that of the bit's word.

    A bit number in a register reaches beyond the operand (SDM vol. 2, BT).
    """
    at = effective(engine, instruction, op.mem, registers)
    number = instruction.operands[-1]
    if at is None or name not in _BIT_STRINGS or number.type != x86.X86_OP_REG:
        return at
    whole = re.sub(r"(?<=\d)[dw]$|^e", "", engine.reg_name(number.reg))
    whole = whole if whole in registers else f"r{whole}"
    if whole not in registers:
        return None
    bits = 8 * int(op.size)
    value = registers[whole] & (1 << bits) - 1
    value -= (value >> bits - 1) << bits
    return (at + value // bits * int(op.size)) & (2**64 - 1)


def footprint(
    code: bytes, address: int, width: Width, registers: Mapping[str, int]
) -> tuple[Access, ...] | None:
    """All that an instruction does besides changing general registers and flags.

    Args:
        code: up to 15 bytes.
        address: where they are.
        width: default operand size of the code segment, in bits.
        registers: as for `accesses`.

    Returns:
        Its accesses to memory, those to the stack too; None if it is not known, or may do more:
        reach a device or the time, a control or segment register, a string of memory.
    """
    for instruction in disassembler(width).disasm(code[:LONGEST], address, 1):
        name = instruction.mnemonic.removeprefix("lock ")
        memory = any(op.type == x86.X86_OP_MEM for op in instruction.operands)
        special = any(
            op.type == x86.X86_OP_REG and _SPECIAL.fullmatch(instruction.reg_name(op.reg))
            for op in instruction.operands
        )
        if special or _PLAIN.fullmatch(name) is None:
            return None
        if name in ("lea", "nop"):
            return ()
        if _STACK_USERS.fullmatch(name) is None:
            return accesses(code, address, width, registers)
        if width == 16 or memory or 0x66 in instruction.prefix:
            return None
        return (_on_the_stack(name, width // 8, registers),)
    return None


def _on_the_stack(name: str, word: int, registers: Mapping[str, int]) -> Access:
    if name in ("push", "call"):
        at, writes = registers["rsp"] - word, True
    else:
        at, writes = registers["rbp" if name == "leave" else "rsp"], False
    return Access(at & (1 << 8 * word) - 1, not writes, writes, False, word)


def effective(engine: Any, instruction: Any, mem: Any, registers: Mapping[str, int]) -> int | None:
    """Return the address of a memory operand, or None if a register of it is not known.

    Args:
        engine: the disassembler.
        instruction: one of its instructions.
        mem: a memory operand of it.
        registers: by their 64-bit names, and the bases of segments such as `fs_base`.
    """
    total = mem.disp
    for register, scale in ((mem.base, 1), (mem.index, mem.scale)):
        if not register:
            continue
        name = engine.reg_name(register)
        if name in ("rip", "eip"):
            total += instruction.address + instruction.size
            continue
        name = re.sub(r"^e", "r", re.sub(r"d$", "", name) if name[1:2].isdigit() else name)
        if name not in registers:
            return None
        total += registers[name] * scale
    if mem.segment:
        total += registers.get(f"{engine.reg_name(mem.segment)}_base", 0)
    return int(total) & (2**64 - 1)


def far_jump(code: bytes) -> tuple[int, int] | None:
    """Segment and offset of the real-mode far jump that `code` begins with, else None.

    Any correct encoding counts: with or without prefixes, 16- or 32-bit offset
    (Intel SDM vol. 2, JMP: opcodes EA cd and EA cp).
    """
    for instruction in disassembler(16).disasm(code[:LONGEST], 0, 1):
        if instruction.id != x86.X86_INS_LJMP or len(instruction.operands) != 2:
            return None
        segment, offset = instruction.operands
        if segment.type != x86.X86_OP_IMM or offset.type != x86.X86_OP_IMM:
            return None
        return segment.imm & 0xFFFF, offset.imm & 0xFFFFFFFF
    return None
