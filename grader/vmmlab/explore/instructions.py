"""Classification of instructions, with capstone: which ones the emulator may run on its own.

Only listed instructions are accepted. An instruction that the emulator runs silently but that does
more on a real CPU (ports, control registers, clocks) must not pass for arithmetic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import capstone
from capstone import x86

from vmmlab.x86.decode import as_text

LONGEST: Final = 15
"""Bytes: the longest instruction (Intel SDM volume 2, 2.3.11)."""

InstructionKind = Literal["plain", "halt", "cpuid", "fence", "undefined", "unsupported"]

# Integer instructions that compilers emit for -mgeneral-regs-only, or that people write by hand.
_PLAIN: Final = frozenset((
    "adc", "add", "and", "bsf", "bsr", "bswap", "bt", "btc", "btr", "bts", "call", "cbw",
    "cdq", "cdqe", "clc", "cld", "cli", "cmc", "cmp", "cmpsb", "cmpsd", "cmpsq", "cmpsw",
    "cmpxchg", "cmpxchg8b", "cqo", "cwd", "cwde", "dec", "div", "endbr64", "idiv", "imul",
    "inc", "jecxz", "jmp", "jrcxz", "lahf", "lea", "leave", "lfence", "lodsb", "lodsd",
    "lodsq", "lodsw", "loop", "loope", "loopne", "mov", "movabs", "movsb", "movsd", "movsq",
    "movsw", "movsx", "movsxd", "movzx", "mul", "neg", "nop", "not", "or", "pause", "pop",
    "popcnt", "prefetchnta", "prefetcht0", "prefetcht1", "prefetcht2", "prefetchw", "push",
    "pushfq", "rcl", "rcr", "ret", "rol", "ror", "sahf", "sal", "sar", "sbb", "scasb",
    "scasd", "scasq", "scasw", "sfence", "shl", "shld", "shr", "shrd", "stc", "std", "stosb",
    "stosd", "stosq", "stosw", "sub", "test", "tzcnt", "xadd", "xchg", "xor",
))  # fmt: skip
_CONDITIONAL: Final = re.compile(r"(j|set|cmov)(n?[abgl]e?|n?[cspoze]|p[eo])")
_PUSHES: Final = frozenset({"push", "pushfq", "call"})
_POPS: Final = frozenset({"pop", "ret", "leave"})


@dataclass(frozen=True, slots=True)
class Operand:
    """A memory operand: segment base + base + index * scale + disp.

    Attributes:
        base: capstone's name of the base register, or "".
        index: capstone's name of the index register, or "".
        scale: factor of the index.
        disp: displacement, including RIP if the operand is relative to it.
        segment: capstone's name of the segment register, or "".
        size: in bytes.
    """

    base: str
    index: str
    scale: int
    disp: int
    segment: str
    size: int


@dataclass(frozen=True, slots=True)
class InstructionInfo:
    """One instruction, as far as the emulator needs to know it.

    Attributes:
        text: in AT&T syntax, as in the files of the VMM.
        size: in bytes.
        kind: "plain" if the emulator may run it, else what it is.
        operands: its explicit memory operands.
        inexact: it may access memory outside its operand (a bit number in a register).
        locked: atomic, by a LOCK prefix or as XCHG with memory.
        pushes: it stores below RSP.
        pops: it loads at RSP.
        sets_rsp: it changes RSP by more than a push, a pop or a constant.
        immediates: its constant operands, without jump targets.
    """

    text: str
    size: int
    kind: InstructionKind
    operands: tuple[Operand, ...] = ()
    inexact: bool = False
    locked: bool = False
    pushes: bool = False
    pops: bool = False
    sets_rsp: bool = False
    immediates: tuple[int, ...] = ()


@lru_cache(maxsize=1)
def _engine() -> Any:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    return engine


def decode(code: bytes, address: int) -> InstructionInfo:
    """Return the instruction that `code` begins with.

    Args:
        code: bytes, of which at most 15 are used.
        address: their address.
    """
    one = next(iter(_engine().disasm(code[:LONGEST], address, 1)), None)
    if one is None:
        return InstructionInfo(f"bytes {code[:4].hex(' ')} …", 1, "undefined")
    name = one.mnemonic.split()[-1]
    text = as_text(code, address, 64)
    kind = _kind(name, one)
    memory = tuple(_operand(one, op) for op in one.operands if op.type == x86.X86_OP_MEM)
    if name in ("lea", "nop") or name.startswith("prefetch"):
        memory = ()
    locked = x86.X86_PREFIX_LOCK in one.prefix or (name == "xchg" and bool(memory))
    return InstructionInfo(
        text=text,
        size=one.size,
        kind=kind,
        operands=memory,
        inexact=name in ("bt", "bts", "btr", "btc") and bool(memory),
        locked=locked,
        pushes=name in _PUSHES,
        pops=name in _POPS,
        sets_rsp=_sets_rsp(name, one),
        immediates=_immediates(name, one),
    )


def _kind(name: str, one: Any) -> InstructionKind:
    if name == "hlt":
        return "halt"
    if name == "cpuid":
        return "cpuid"
    # LFENCE and SFENCE are plain: they do not wait for earlier stores (Intel SDM volume 3, 8.2.5).
    if name == "mfence":
        return "fence"
    if name in ("ud2", "ud0", "ud1", "int3"):
        return "undefined"
    if name not in _PLAIN and not _CONDITIONAL.fullmatch(name):
        return "unsupported"
    for op in one.operands:
        if op.type == x86.X86_OP_REG and not _general(one.reg_name(op.reg)):
            return "unsupported"
    return "plain"


def _immediates(name: str, one: Any) -> tuple[int, ...]:
    if name.startswith(("j", "call", "loop")):
        return ()
    return tuple(op.imm & (2**64 - 1) for op in one.operands if op.type == x86.X86_OP_IMM)


_GENERAL: Final = re.compile(
    r"r(8|9|1[0-5])[dwb]?|[re]?([abcd]x|[sd]i|[sb]p)|[abcd][lh]|[sd]il|[sb]pl"
)


def _general(name: str) -> bool:
    return _GENERAL.fullmatch(name) is not None


def _sets_rsp(name: str, one: Any) -> bool:
    if name == "leave":
        return True
    if not one.operands or name in ("push", "cmp", "test"):
        return False
    written = [one.operands[0], *(one.operands[1:] if name in ("xchg", "xadd") else ())]
    to_rsp = any(
        op.type == x86.X86_OP_REG and one.reg_name(op.reg) in ("rsp", "esp", "sp", "spl")
        for op in written
    )
    small = name in ("add", "sub") and one.operands[-1].type == x86.X86_OP_IMM
    return to_rsp and not small


def _operand(one: Any, op: Any) -> Operand:
    base = one.reg_name(op.mem.base) if op.mem.base else ""
    disp = op.mem.disp
    if base in ("rip", "eip"):
        base, disp = "", disp + one.address + one.size
    index = one.reg_name(op.mem.index) if op.mem.index else ""
    segment = one.reg_name(op.mem.segment) if op.mem.segment else ""
    return Operand(base, index, op.mem.scale, disp, segment, op.size)
