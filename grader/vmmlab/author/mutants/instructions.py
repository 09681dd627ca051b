"""Finds the instructions of a lab's merged object. x86_64 only.

Builds and grades nothing. `changes` knows what can be made of an instruction, `liveness` which
changes make no difference.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import capstone

from vmmlab.images.symbols import Symbols

Bits = Literal[16, 32, 64]

_MODES: Final = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}


@dataclass(frozen=True)
class Instruction:
    """One instruction of a student's object.

    Attributes:
        function: the function or routine it belongs to.
        file: source file, or "" if unknown.
        line: source line, 0 if unknown.
        offset: offset of its first byte in the object file.
        bits: the mode it runs in.
        code: its bytes.
        text: as capstone writes it.
        address: where it is in the image.
        relocations: for each relocation inside, the offset of its field from the first byte, and
            the offset of its type in the object file.
    """

    function: str
    file: str
    line: int
    offset: int
    bits: Bits
    code: bytes
    text: str
    address: int
    relocations: tuple[tuple[int, int], ...] = ()

    @property
    def where(self) -> str:
        """The function and the source line, for a reader."""
        return f"{self.function} ({self.file}:{self.line})" if self.file else self.function


def find(
    content: bytes, lab: str, symbols: Symbols, sources: Mapping[str, bytes]
) -> list[Instruction]:
    """Return the instructions of a lab's object, in order of address.

    Args:
        content: the merged object.
        lab: such as `lab3`.
        symbols: symbols of the image that it was linked into.
        sources: the files it was made from; directives such as `.code16` in them give the mode.
    """
    from elftools.elf.elffile import ELFFile

    elf: Any = ELFFile(io.BytesIO(content))
    text = elf.get_section_by_name(".text")
    rela = elf.get_section_by_name(".rela.text")
    start = next(
        one.start for one in symbols.student_ranges if one.unit == lab and one.section == ".text"
    )
    fields = {}
    if rela is not None:
        for number, entry in enumerate(rela.iter_relocations()):
            # The type is the lower half of r_info, 8 bytes into the entry.
            at = rela["sh_offset"] + number * rela["sh_entsize"] + 8
            fields[int(entry["r_offset"])] = at
    functions = [
        (one["st_value"], one["st_size"], one.name)
        for one in elf.get_section_by_name(".symtab").iter_symbols()
        if one["st_info"]["type"] == "STT_FUNC" and one["st_size"]
    ]
    code = text.data()
    found = []
    for offset, bits, name in _walk(code, start, functions, symbols, sources):
        made = decoded(code[offset : offset + 15], start + offset, bits)
        file, line = symbols.line(start + offset) or ("", 0)
        found.append(
            Instruction(
                function=name,
                file=file,
                line=line,
                offset=text["sh_offset"] + offset,
                bits=bits,
                code=bytes(made.bytes),
                text=text_of(made),
                address=start + offset,
                relocations=tuple(
                    (at - offset, entry)
                    for at, entry in sorted(fields.items())
                    if offset <= at < offset + made.size
                ),
            )
        )
    return found


def _walk(
    code: bytes,
    start: int,
    functions: Sequence[tuple[int, int, str]],
    symbols: Symbols,
    sources: Mapping[str, bytes],
) -> Iterator[tuple[int, Bits, str]]:
    """Yield offset, mode and function of each instruction: in C by size, in assembly by line."""
    inside = {at: (at + size, name) for at, size, name in functions}
    offset, end, name = 0, 0, ""
    last: tuple[str, int] | None = None
    while offset < len(code):
        if offset in inside:
            end, name = inside[offset]
        here = symbols.line(start + offset)
        bits: Bits = 64
        if offset >= end:
            # Data after the last instruction of a routine has that one's line.
            if here is None or here == last or not here[0].endswith(".S"):
                last, offset = here, offset + 1
                continue
            bits, name = _mode(sources.get(here[0], b""), here[1])
        last = here
        made = decoded(code[offset : offset + 15], start + offset, bits)
        if made is None:
            offset += 1
            continue
        yield offset, bits, name
        offset += made.size


def _mode(source: bytes, line: int) -> tuple[Bits, str]:
    """Return the mode at a line of assembly, and the global label before it."""
    bits, name = 64, ""
    for text in source.decode(errors="replace").split("\n")[:line]:
        if found := re.match(r"\s*\.code(16|32|64)\b", text):
            bits = int(found[1])
        elif found := re.match(r"\s*\.globl\s+(\w+)", text):
            name = found[1]
    return cast(Bits, bits), name


def decoded(code: bytes, address: int, bits: Bits) -> Any:
    """Return the first instruction in `code` as capstone describes it; None if there is none."""
    engine = capstone.Cs(capstone.CS_ARCH_X86, _MODES[bits])
    engine.detail = True
    return next(engine.disasm(code, address, 1), None)


def text_of(made: Any) -> str:
    """Return the text of an instruction that capstone has decoded."""
    return f"{made.mnemonic} {made.op_str}".strip()
