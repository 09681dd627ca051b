"""Machine code as text: assembling (keystone) and disassembling (capstone)."""

from __future__ import annotations

import re
from typing import Final, Literal

from vmmlab.base.message import Text, msg
from vmmlab.worksheet.language import WorksheetError
from vmmlab.worksheet.libraries import imported
from vmmlab.x86.decode import decode

Bits = Literal[16, 32, 64]
"""The processor mode of machine code."""

_DECIMAL: Final = re.compile(r"(?<![\w.])(0|[1-9]\d*)(?![\w.])")
"""Numbers that keystone takes for hexadecimal in most places, as in `10(%rdi)`."""


def assemble(text: str, bits: Bits, *, att: bool = False, address: int = 0) -> bytes:
    """Return the machine code of assembly lines.

    Args:
        text: lines in Intel syntax, as `mov al, 1` or `lock inc dword ptr cs:[0x10]`.
        bits: 16, 32 or 64: the mode of the code.
        att: AT&T syntax instead, as `movb $1, %al`, which the files of the VMM use.
        address: the address of the code; it matters for jumps out of the code.

    Raises:
        WorksheetError: the lines cannot be assembled, or keystone is not installed.
    """
    keystone = imported("keystone", "keystone-engine")
    modes = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}
    engine = keystone.Ks(keystone.KS_ARCH_X86, modes[bits])
    if att:
        engine.syntax = keystone.KS_OPT_SYNTAX_ATT
    problem: Text = msg("no instruction in these lines")
    try:
        code, _ = engine.asm(_DECIMAL.sub(lambda found: hex(int(found[0])), text), address)
        if code:
            return bytes(code)
    except keystone.KsError as error:
        problem = str(error)
    raise WorksheetError(
        msg("these lines cannot be assembled."),
        expected=msg(
            "{bits}-bit assembly in {syntax} syntax; labels are words",
            bits=bits,
            syntax="AT&T" if att else "Intel",
        ),
        found=problem,
    )


def disassemble(code: bytes, bits: Bits, address: int = 0) -> list[str]:
    """Return the instructions in `code` as text, one an entry; "?" for bytes that are none.

    Args:
        code: machine code.
        bits: 16, 32 or 64: the mode of the code.
        address: the address of the code; it matters for the targets of jumps.
    """
    found: list[str] = []
    at = 0
    while at < len(code):
        instruction = decode(code[at:], address + at, bits)
        if instruction is None:
            return [*found, "?"]
        found.append(instruction.text)
        at += instruction.size
    return found
