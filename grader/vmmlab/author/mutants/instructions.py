"""Finds the instructions of a lab's merged object, and the changes that can be made to each.

capstone reads, keystone assembles. Changes whose result nobody can see are left out as far as the
registers tell: what is written and never read. Builds and grades nothing. x86_64 only.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import capstone
from capstone import x86

from vmmlab.base.errors import UsageError
from vmmlab.images.model import ObjectPatch
from vmmlab.images.symbols import Symbols

Bits = Literal[16, 32, 64]

_MODES: Final = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
_NOP: Final = b"\x90"
_NO_RELOCATION: Final = bytes(4)  # R_X86_64_NONE: System V ABI, AMD64 supplement, table 4.9
_SKIPPED: Final = re.compile(r"(data16 )*(cs )?nop|ud2|hlt|pause|endbr(32|64)|int3")
_FLAG_READERS_OF_EQUALITY: Final = frozenset({"je", "jne", "sete", "setne", "cmove", "cmovne"})


@dataclass(frozen=True)
class Instruction:
    """One instruction of a student's object.

    Attributes:
        function: the function or routine it belongs to.
        file: source file, or "" if unknown.
        line: source line, 0 if unknown.
        offset: of its first byte in the object file.
        bits: the mode it runs in.
        code: its bytes.
        text: as capstone writes it.
        address: where it is in the image.
        relocations: of each relocation inside: offset of the field from the first byte, and of the
            relocation's type in the object file.
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
        """Function and source line, as a person looks for it."""
        return f"{self.function} ({self.file}:{self.line})" if self.file else self.function


@dataclass(frozen=True)
class Change:
    """One instruction made another one.

    Attributes:
        at: the instruction.
        kind: such as `condition inverted`.
        code: the new bytes, as many as before.
        text: the new instruction.
        drops: its relocations are dropped: nothing is left to fill in.
    """

    at: Instruction
    kind: str
    code: bytes
    text: str
    drops: bool = False

    def patch(self, of: str) -> ObjectPatch:
        """What a builder needs, for the object with this SHA-256."""
        writes = [(self.at.offset, self.code)]
        if self.drops:
            writes += [(entry, _NO_RELOCATION) for _, entry in self.at.relocations]
        return ObjectPatch(of, tuple(writes))

    def trap(self, of: str) -> ObjectPatch:
        """A patch that ends the run wherever the old instruction would be executed."""
        code = b"\xcc" + _NOP * (len(self.at.code) - 1)
        writes = [(self.at.offset, code)]
        writes += [(entry, _NO_RELOCATION) for _, entry in self.at.relocations]
        return ObjectPatch(of, tuple(writes))


# --- finding -------------------------------------------------------------------------------------


def find(
    content: bytes, lab: str, symbols: Symbols, sources: Mapping[str, bytes]
) -> list[Instruction]:
    """The instructions of a lab's object, in order of address.

    Args:
        content: the merged object.
        lab: such as `lab3`.
        symbols: of the image that it was linked into.
        sources: the files it was made from; `.code16` and so on in them tell the mode.
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
        made = _one(code[offset : offset + 15], start + offset, bits)
        file, line = symbols.line(start + offset) or ("", 0)
        found.append(
            Instruction(
                function=name,
                file=file,
                line=line,
                offset=text["sh_offset"] + offset,
                bits=bits,
                code=bytes(made.bytes),
                text=_text(made),
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
    """Offset, mode and function of each instruction: in C by size, in assembly one a line."""
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
        made = _one(code[offset : offset + 15], start + offset, bits)
        if made is None:
            offset += 1
            continue
        yield offset, bits, name
        offset += made.size


def _mode(source: bytes, line: int) -> tuple[Bits, str]:
    """The mode that holds at a line of assembly, and the global label before it."""
    bits, name = 64, ""
    for text in source.decode(errors="replace").split("\n")[:line]:
        if found := re.match(r"\s*\.code(16|32|64)\b", text):
            bits = int(found[1])
        elif found := re.match(r"\s*\.globl\s+(\w+)", text):
            name = found[1]
    return cast(Bits, bits), name


def _one(code: bytes, address: int, bits: Bits) -> Any:
    engine = capstone.Cs(capstone.CS_ARCH_X86, _MODES[bits])
    engine.detail = True
    return next(engine.disasm(code, address, 1), None)


def _text(made: Any) -> str:
    return f"{made.mnemonic} {made.op_str}".strip()


# --- changing ------------------------------------------------------------------------------------


def changes(one: Instruction, assemble: Callable[[str, Bits, int], bytes | None]) -> list[Change]:
    """What can be made of an instruction; empty for padding and the like.

    Args:
        one: the instruction.
        assemble: Intel text, mode and address to machine code, or None if there is none.
    """
    if _SKIPPED.match(one.text):
        return []
    made = _one(one.code, one.address, one.bits)
    found: list[Change] = [
        Change(one, "left out", _NOP * len(one.code), "nop", drops=bool(one.relocations))
    ]
    for kind, code in _by_bytes(made, one.code):
        now = _one(code, one.address, one.bits)
        if now is not None and now.size == len(one.code):
            found.append(Change(one, kind, code, _text(now)))
        elif now is not None and code[:1] == _NOP:
            found.append(Change(one, kind, code, _text(_one(code[1:], one.address, one.bits))))
    for kind, text in _by_text(made):
        assembled = assemble(text, one.bits, one.address)
        if assembled is None or len(assembled) > len(one.code):
            continue
        fits = all(assembled[at : at + 4] == one.code[at : at + 4] for at, _ in one.relocations)
        code = assembled + _NOP * (len(one.code) - len(assembled))
        now = _one(assembled, one.address, one.bits)
        if fits and code != one.code and now is not None and _text(now) != one.text:
            found.append(Change(one, kind, code, _text(now)))
    return found


def _by_bytes(made: Any, code: bytes) -> Iterator[tuple[str, bytes]]:
    """Changes of the opcode, which leave the rest and its relocations where they are."""
    opcode = made.encoding.modrm_offset or 0
    if made.mnemonic.startswith("j") and 0x70 <= code[0] <= 0x7F:
        yield "condition inverted", bytes([code[0] ^ 1]) + code[1:]
    for at in range(min(4, len(code) - 1)):
        if code[at] == 0x0F:
            group = code[at + 1] & 0xF0
            if group in (0x80, 0x90, 0x40) and at <= max(opcode, 2):
                new = bytes([code[at + 1] ^ 1])
                yield "condition inverted", code[: at + 1] + new + code[at + 2 :]
            break
    if x86.X86_PREFIX_LOCK in made.prefix:
        at = code.index(0xF0)
        yield "lock dropped", _NOP + code[:at] + code[at + 1 :]
    if code[0] in (0xE8, 0xE9) and made.mnemonic in ("call", "jmp"):
        kind = "jumps in place of calling" if code[0] == 0xE8 else "calls in place of jumping"
        yield kind, bytes([code[0] ^ 1]) + code[1:]


_REGISTERS: Final = (
    ("rax", "rcx", "rdx", "rbx", "rsi", "rdi", "rbp", "r8"),
    ("eax", "ecx", "edx", "ebx", "esi", "edi", "ebp", "r8d"),
    ("ax", "cx", "dx", "bx", "si", "di", "bp"),
    ("al", "cl", "dl", "bl"),
    ("cr0", "cr3", "cr4"),
    ("ds", "es", "ss"),
)


def _by_text(made: Any) -> Iterator[tuple[str, str]]:
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
                yield f"{other} in place of {register}", text
    for op in made.operands:
        if op.type == x86.X86_OP_IMM:
            old = operands.rsplit(", ", 1)
            for new in (op.imm + 1, op.imm - 1, 0 if op.imm else 2):
                if len(old) == 2 and new >= 0:
                    yield "another number", f"{name} {old[0]}, {new:#x}"
                elif len(old) == 1 and new >= 0:
                    yield "another number", f"{name} {new:#x}"
        if op.type == x86.X86_OP_MEM and op.mem.disp and op.mem.base:
            for new in (op.mem.disp + op.size, op.mem.disp - op.size):
                shown, wanted = f"{op.mem.disp:#x}]", f"{new:#x}]"
                if shown in operands and new > 0:
                    yield "another place", f"{name} {operands.replace(shown, wanted, 1)}"
    two = operands.split(", ")
    if len(two) == 2 and two[0] != two[1] and not name.startswith(("test", "xchg", "lea")):
        yield "operands exchanged", f"{name} {two[1]}, {two[0]}"


def keystone() -> Callable[[str, Bits, int], bytes | None]:
    """An assembler of Intel syntax.

    Raises:
        UsageError: keystone is not installed.
    """
    try:
        ks = importlib.import_module("keystone")
    except ImportError:
        raise UsageError(
            "keystone-engine is not installed, or there is none for this kind of machine.",
            expected="what changes instructions needs an assembler",
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


# --- what nobody can see -------------------------------------------------------------------------

_ARGUMENTS: Final = frozenset({"di", "si", "d", "c", "r8", "r9"})
_SCRATCH: Final = frozenset({*_ARGUMENTS, "a", "r10", "r11", "flags"})
_KEPT: Final = frozenset({"b", "bp", "r12", "r13", "r14", "r15", "sp"})
_MOST_STEPS: Final = 400


@dataclass(frozen=True)
class _Effect:
    reads: frozenset[str]
    writes: frozenset[str]
    kills: frozenset[str] = field(default=frozenset())
    other: bool = False


def unseen(change: Change, all_of_it: Sequence[Instruction]) -> bool:
    """Whether a change can make no difference, as far as the registers tell.

    True if old and new instruction do nothing but write registers or flags that are not read
    afterwards, or if a comparison is turned round and only equality is asked for.

    Args:
        change: the change.
        all_of_it: the instructions of the object.
    """
    old = _one(change.at.code, change.at.address, change.at.bits)
    if change.kind == "operands exchanged" and old.mnemonic == "cmp":
        return _only_equality(change.at, all_of_it)
    effects = [_effect(old)]
    rest = change.code
    while rest:
        now = _one(rest, change.at.address, change.at.bits)
        if now is None:
            return False
        effects.append(_effect(now))
        rest = rest[now.size :]
    if any(one.other for one in effects):
        return False
    written = frozenset[str]().union(*(one.writes for one in effects))
    return not _live_after(change.at, written, all_of_it)


def _effect(made: Any) -> _Effect:
    name = made.mnemonic.split()[-1]
    if name == "nop":
        return _Effect(frozenset(), frozenset())
    memory = any(
        op.type == x86.X86_OP_MEM and (op.access & capstone.CS_AC_WRITE or name == "cmpxchg")
        for op in made.operands
    )
    groups = {x86.X86_GRP_JUMP, x86.X86_GRP_CALL, x86.X86_GRP_RET, x86.X86_GRP_INT}
    reads, writes = (
        frozenset(_family(made.reg_name(one)) for one in some) for some in made.regs_access()
    )
    whole = {
        _family(made.reg_name(one))
        for one in made.regs_access()[1]
        if re.fullmatch(r"[re][a-ds].|r\d+d?|[re][sb]p|[re]flags", made.reg_name(one))
    }
    privileged = bool(set(made.groups) & {x86.X86_GRP_PRIVILEGE}) or not writes
    other = memory or bool(groups & set(made.groups)) or privileged or "sp" in writes
    segment = any(one in ("ds", "es", "ss", "gs", "fs", "cs") for one in writes)
    control = any(one.startswith("cr") for one in writes)
    return _Effect(reads, writes, frozenset(whole), other or segment or control)


def _family(name: str) -> str:
    if name in ("rflags", "eflags", "flags"):
        return "flags"
    if found := re.fullmatch(r"[re]?([abcd])x|([abcd])[lh]", name):
        return str(found[1] or found[2])
    if found := re.fullmatch(r"[re]?(si|di|bp|sp)l?", name):
        return found[1]
    return re.sub(r"(?<=\d)[bwd]$", "", name)


def _live_after(
    at: Instruction, registers: frozenset[str], all_of_it: Sequence[Instruction]
) -> bool:
    """Whether one of the registers may be read before it is written, after an instruction."""
    by_address = {one.address: one for one in all_of_it}
    todo = [(at.address + len(at.code), registers)]
    seen: set[tuple[int, frozenset[str]]] = set()
    while todo:
        address, live = todo.pop()
        if not live or (address, live) in seen:
            continue
        seen.add((address, live))
        one = by_address.get(address)
        if one is None or one.function != at.function or len(seen) > _MOST_STEPS:
            return True
        made = _one(one.code, one.address, one.bits)
        name = made.mnemonic.split()[-1]
        following = one.address + len(one.code)
        if name == "ret":
            if live & {*_KEPT, "a"}:
                return True
            continue
        if name == "call":
            if live & _ARGUMENTS or _effect(made).reads & live - {"sp"}:
                return True
            todo.append((following, live - _SCRATCH))
            continue
        if name.startswith("j"):
            direct = made.operands[0].type == x86.X86_OP_IMM and not one.relocations
            if not direct or (name != "jmp" and "flags" in live):
                return True
            todo.append((int(made.operands[0].imm), live))
            if name != "jmp":
                todo.append((following, live))
            continue
        effect = _effect(made)
        if effect.reads & live:
            return True
        todo.append((following, live - effect.kills))
    return False


def _only_equality(at: Instruction, all_of_it: Sequence[Instruction]) -> bool:
    """Whether the flags of a comparison are asked for equality only, in the code that follows."""
    behind = [one for one in all_of_it if one.address > at.address and one.function == at.function]
    for one in behind:
        name = one.text.split()[0]
        made = _one(one.code, one.address, one.bits)
        reads, writes = ({made.reg_name(r) for r in some} for some in made.regs_access())
        if "rflags" in reads or "eflags" in reads:
            return name in _FLAG_READERS_OF_EQUALITY
        if {"rflags", "eflags"} & writes or name in ("call", "ret", "jmp"):
            return False
    return False
