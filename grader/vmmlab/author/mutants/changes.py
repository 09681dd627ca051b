"""The possible changes of an instruction: inverted conditions, other registers, other constants.

capstone reads instructions, keystone assembles them. x86_64 only.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from capstone import x86

from vmmlab.author.mutants.instructions import Bits, Instruction, decoded, text_of
from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, msg
from vmmlab.images.model import ObjectPatch

_NOP: Final = b"\x90"
_NO_RELOCATION: Final = bytes(4)  # R_X86_64_NONE: System V ABI, AMD64 supplement, table 4.9
_SKIPPED: Final = re.compile(r"(data16 )*(cs )?nop|ud2|hlt|pause|endbr(32|64)|int3")


@dataclass(frozen=True)
class Change:
    """One instruction replaced by another of the same length.

    Attributes:
        at: the instruction.
        kind: such as `condition inverted`.
        code: the new bytes, as many as before.
        text: the new instruction.
        drops: whether its relocations are removed, because no field is left to fill in.
    """

    at: Instruction
    kind: Text
    code: bytes
    text: str
    drops: bool = False

    def patch(self, of: str) -> ObjectPatch:
        """Return the change as a patch of the object with this SHA-256."""
        writes = [(self.at.offset, self.code)]
        if self.drops:
            writes += [(entry, _NO_RELOCATION) for _, entry in self.at.relocations]
        return ObjectPatch(of, tuple(writes))

    def trap(self, of: str) -> ObjectPatch:
        """Return a patch that raises an exception where the old instruction would be executed."""
        code = b"\xcc" + _NOP * (len(self.at.code) - 1)
        writes = [(self.at.offset, code)]
        writes += [(entry, _NO_RELOCATION) for _, entry in self.at.relocations]
        return ObjectPatch(of, tuple(writes))


def changes(one: Instruction, assemble: Callable[[str, Bits, int], bytes | None]) -> list[Change]:
    """Return the possible changes of an instruction; none for padding and the like.

    Args:
        one: the instruction.
        assemble: turns Intel text, mode and address into machine code; None if it cannot.
    """
    if _SKIPPED.match(one.text):
        return []
    made = decoded(one.code, one.address, one.bits)
    found: list[Change] = [
        Change(one, msg("removed"), _NOP * len(one.code), "nop", drops=bool(one.relocations))
    ]
    for kind, code in _by_bytes(made, one.code):
        now = decoded(code, one.address, one.bits)
        if now is not None and now.size == len(one.code):
            found.append(Change(one, kind, code, text_of(now)))
        elif now is not None and code[:1] == _NOP:
            found.append(Change(one, kind, code, text_of(decoded(code[1:], one.address, one.bits))))
    for kind, text in _by_text(made):
        assembled = assemble(text, one.bits, one.address)
        if assembled is None or len(assembled) > len(one.code):
            continue
        fits = all(assembled[at : at + 4] == one.code[at : at + 4] for at, _ in one.relocations)
        code = assembled + _NOP * (len(one.code) - len(assembled))
        now = decoded(assembled, one.address, one.bits)
        if fits and code != one.code and now is not None and text_of(now) != one.text:
            found.append(Change(one, kind, code, text_of(now)))
    return found


def _by_bytes(made: Any, code: bytes) -> Iterator[tuple[Text, bytes]]:
    """Yield changes of the opcode, which keep the rest and its relocations in place."""
    opcode = made.encoding.modrm_offset or 0
    if made.mnemonic.startswith("j") and 0x70 <= code[0] <= 0x7F:
        yield msg("condition inverted"), bytes([code[0] ^ 1]) + code[1:]
    for at in range(min(4, len(code) - 1)):
        if code[at] == 0x0F:
            group = code[at + 1] & 0xF0
            if group in (0x80, 0x90, 0x40) and at <= max(opcode, 2):
                new = bytes([code[at + 1] ^ 1])
                yield msg("condition inverted"), code[: at + 1] + new + code[at + 2 :]
            break
    if x86.X86_PREFIX_LOCK in made.prefix:
        at = code.index(0xF0)
        yield msg("lock prefix removed"), _NOP + code[:at] + code[at + 1 :]
    if code[0] in (0xE8, 0xE9) and made.mnemonic in ("call", "jmp"):
        kind = msg("jmp instead of call") if code[0] == 0xE8 else msg("call instead of jmp")
        yield kind, bytes([code[0] ^ 1]) + code[1:]


_REGISTERS: Final = (
    ("rax", "rcx", "rdx", "rbx", "rsi", "rdi", "rbp", "r8"),
    ("eax", "ecx", "edx", "ebx", "esi", "edi", "ebp", "r8d"),
    ("ax", "cx", "dx", "bx", "si", "di", "bp"),
    ("al", "cl", "dl", "bl"),
    ("cr0", "cr3", "cr4"),
    ("ds", "es", "ss"),
)


def _by_text(made: Any) -> Iterator[tuple[Text, str]]:
    name, operands = made.mnemonic, made.op_str
    if name.split()[-1].startswith(("j", "call", "ljmp", "loop")):
        return
    for group in _REGISTERS:
        for register in group:
            word = re.compile(rf"\b{register}\b")
            if word.search(operands):
                at = group.index(register)
                other = group[(at + 1) % len(group)]
                if other == "r8d" or other == "r8":
                    other = group[0]
                text = f"{name} {word.sub(other, operands, count=1)}"
                yield msg("{other} instead of {register}", other=other, register=register), text
    for op in made.operands:
        if op.type == x86.X86_OP_IMM:
            old = operands.rsplit(", ", 1)
            for new in (op.imm + 1, op.imm - 1, 0 if op.imm else 2):
                if len(old) == 2 and new >= 0:
                    yield msg("another constant"), f"{name} {old[0]}, {new:#x}"
                elif len(old) == 1 and new >= 0:
                    yield msg("another constant"), f"{name} {new:#x}"
        if op.type == x86.X86_OP_MEM and op.mem.disp and op.mem.base:
            for new in (op.mem.disp + op.size, op.mem.disp - op.size):
                shown, wanted = f"{op.mem.disp:#x}]", f"{new:#x}]"
                if shown in operands and new > 0:
                    yield (
                        msg("another memory operand"),
                        f"{name} {operands.replace(shown, wanted, 1)}",
                    )
    two = operands.split(", ")
    if len(two) == 2 and two[0] != two[1] and not name.startswith(("test", "xchg", "lea")):
        yield msg("operands swapped"), f"{name} {two[1]}, {two[0]}"


def keystone() -> Callable[[str, Bits, int], bytes | None]:
    """Return an assembler of Intel syntax.

    Raises:
        UsageError: keystone is not installed.
    """
    try:
        ks = importlib.import_module("keystone")
    except ImportError:
        raise UsageError(
            msg("keystone-engine is not installed, or is not available for this kind of machine."),
            expected=msg("an assembler, which changing instructions needs"),
            next_step="python -m pip install 'vmmlab[author]'",
        ) from None
    modes = {16: ks.KS_MODE_16, 32: ks.KS_MODE_32, 64: ks.KS_MODE_64}
    engines = {bits: ks.Ks(ks.KS_ARCH_X86, mode) for bits, mode in modes.items()}

    def assemble(text: str, bits: Bits, address: int) -> bytes | None:
        try:
            code, _ = engines[bits].asm(text, address)
        except ks.KsError:
            return None
        return bytes(code) if code else None

    return assemble
