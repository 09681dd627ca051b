"""Reads object files and decides whether a student's may become part of an image.

Allowed is what the VMM's linker script places: code, data, zeroed data and init-function records,
with their relocations and debug information. Everything that could run by itself, replace provided
code or hide from the linker is refused. Only reads bytes; starts nothing.

Source: System V ABI, chapter 4 (object files).
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from vmmlab.base.message import Text, msg
from vmmlab.images.model import Diagnostic, one_line

MAX_SECTIONS = 4096
MAX_SYMBOLS = 16384
MAX_PLACED_BYTES = 4 * 1024 * 1024
# Reading line numbers takes 10 µs a byte at worst; a lab's file has some 20 KiB.
MAX_DEBUG_BYTES = 512 * 1024
MAX_ALIGNMENT = 4096

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 0x1, 0x2, 0x4
SHF_MERGE, SHF_STRINGS, SHF_INFO_LINK = 0x10, 0x20, 0x40
SHF_TLS, SHF_COMPRESSED = 0x400, 0x800
_FLAGS = SHF_WRITE | SHF_ALLOC | SHF_EXECINSTR | SHF_MERGE | SHF_STRINGS | SHF_INFO_LINK

_COMMON = "*COM*"
_PLACED = re.compile(r"\.(?:text|rodata|data|bss)(?:\.[\w.$-]+)?|\.initfunc")
# Compilers and assemblers add these by themselves; dropped before the link.
DROPPED = (".eh_frame", ".note.gnu.property", ".note.GNU-stack", ".comment", ".llvm_addrsig")
# .debug_gdb_scripts has scripts, which gdb runs when it opens the image.
_KEPT_ASIDE = re.compile(r"\.debug(?:_(?!gdb)[\w.]+)?|\.symtab|\.strtab|\.shstrtab|\.symtab_shndx")
_BY_ITSELF = re.compile(r"\.(?:pre)?(?:init|fini)(?:_array)?(?:\..*)?|\.[cd]tors(?:\..*)?")


@dataclass(frozen=True)
class Symbol:
    """One symbol of an object.

    `section` is "" if undefined, "*ABS*" for a bare number, "*COM*" for a common symbol. `room` is
    the size of the section, `value` the place in it; of a common symbol `value` is the alignment.
    """

    name: str
    bind: str
    type: str
    section: str
    flags: int
    value: int
    size: int
    room: int = 0


@dataclass(frozen=True)
class Section:
    """One section of an object."""

    name: str
    type: str
    flags: int
    size: int
    alignment: int


@dataclass(frozen=True)
class ObjectFile:
    """The parts of an object file that are checked."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    @property
    def undefined(self) -> tuple[str, ...]:
        """The names that it uses and does not define."""
        return tuple(one.name for one in self.symbols if not one.section and one.name)

    @property
    def defined_globals(self) -> tuple[Symbol, ...]:
        """The symbols that other objects could link to."""
        return tuple(one for one in self.symbols if one.section and one.bind != "STB_LOCAL")


class BadObject(ValueError):
    """Data that is not an object file which can be checked; the text says why."""


@functools.lru_cache(maxsize=8)  # a merged object is looked at several times
def read(data: bytes) -> ObjectFile:
    """Read an object file.

    Raises:
        BadObject: it is damaged, or its tables are absurdly large.
    """
    # Imported here: it takes half of the time of a build that finds everything in the cache.
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    try:
        elf = ELFFile(io.BytesIO(data))
        if elf.num_sections() > MAX_SECTIONS:
            raise BadObject(msg("more than {max_sections} sections", max_sections=MAX_SECTIONS))
        sections = [
            Section(
                section.name,
                str(section["sh_type"]),
                section["sh_flags"],
                section["sh_size"],
                section["sh_addralign"],
            )
            for section in elf.iter_sections()
        ]
        symbols: list[Symbol] = []
        for table in elf.iter_sections():
            if not isinstance(table, SymbolTableSection):
                continue
            if table.num_symbols() > MAX_SYMBOLS:
                raise BadObject(msg("more than {max_symbols} symbols", max_symbols=MAX_SYMBOLS))
            for one in table.iter_symbols():
                where, flags, room = _section_of(one["st_shndx"], sections)
                symbols.append(
                    Symbol(
                        one.name,
                        str(one["st_info"]["bind"]),
                        str(one["st_info"]["type"]),
                        where,
                        flags,
                        one["st_value"],
                        one["st_size"],
                        room,
                    )
                )
    except BadObject:
        raise
    except (ELFError, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise BadObject(f"damaged ({error})") from error
    return ObjectFile(tuple(sections), tuple(symbols))


def _section_of(index: int | str, sections: Sequence[Section]) -> tuple[str, int, int]:
    """Return name, flags and size of the section that a symbol is in."""
    if isinstance(index, str):
        known = {"SHN_UNDEF": "", "SHN_ABS": "*ABS*", "SHN_COMMON": _COMMON}
        return known.get(index, "*?*"), 0, 0
    section = sections[index]
    return section.name, section.flags, section.size


def refused(file: str, contents: ObjectFile) -> list[Diagnostic]:
    """Return one message for each thing that a student's object must not contain.

    Args:
        file: the student's file that the object was made from.
        contents: the object.
    """
    words: list[Text] = []
    placed = sum(one.size for one in contents.symbols if one.section == _COMMON)
    debug = 0
    for section in contents.sections:
        if section.flags & SHF_ALLOC and section.name not in DROPPED:
            placed += section.size
        elif section.name.startswith(".debug"):
            debug += section.size
        if reason := _refused_section(section):
            words.append(reason)
    if placed > MAX_PLACED_BYTES:
        words.append(
            msg(
                "its code and data need {placed} bytes of memory; at most "
                "{max_placed_bytes} are allowed",
                placed=placed,
                max_placed_bytes=MAX_PLACED_BYTES,
            )
        )
    if debug > MAX_DEBUG_BYTES:
        words.append(
            msg(
                "its debug information has {debug} bytes; at most {max_debug_bytes} are allowed",
                debug=debug,
                max_debug_bytes=MAX_DEBUG_BYTES,
            )
        )
    for symbol in contents.symbols:
        if reason := _refused_symbol(symbol):
            words.append(reason)
    return [Diagnostic(file, 0, 0, "error", text) for text in dict.fromkeys(words)]


def _refused_section(section: Section) -> Text:
    name = section.name
    quoted = msg("section {name}", name=one_line(name)[:80])
    if section.type == "SHT_NULL" or name in DROPPED:
        return ""
    if section.flags & SHF_COMPRESSED:
        return msg("{quoted} is compressed, which is not allowed", quoted=quoted)
    if section.type in ("SHT_RELA", "SHT_REL"):
        target = name.removeprefix(".rela").removeprefix(".rel")
        known = target in DROPPED or _PLACED.fullmatch(target) or _KEPT_ASIDE.fullmatch(target)
        return "" if known else msg("{quoted} is not allowed", quoted=quoted)
    if section.type == "SHT_GROUP":
        return msg("{quoted} is a section group, which is not allowed", quoted=quoted)
    if _BY_ITSELF.fullmatch(name) or section.type in (
        "SHT_INIT_ARRAY",
        "SHT_FINI_ARRAY",
        "SHT_PREINIT_ARRAY",
    ):
        return msg(
            "{quoted} (code that runs by itself, such as a constructor) is not allowed",
            quoted=quoted,
        )
    if section.flags & SHF_TLS:
        return msg(
            "{quoted} (thread-local data) is not allowed: a VMM has no threads", quoted=quoted
        )
    if _PLACED.fullmatch(name):
        if section.type not in ("SHT_PROGBITS", "SHT_NOBITS"):
            return msg("{quoted} has a type that is not allowed", quoted=quoted)
        if section.flags & ~_FLAGS or not section.flags & SHF_ALLOC:
            return msg("{quoted} has flags that are not allowed", quoted=quoted)
        if section.alignment > MAX_ALIGNMENT:
            return msg(
                "{quoted} is aligned to {alignment} bytes; at most {max_alignment} are allowed",
                quoted=quoted,
                alignment=section.alignment,
                max_alignment=MAX_ALIGNMENT,
            )
        return ""
    if not section.flags & SHF_ALLOC and _KEPT_ASIDE.fullmatch(name):
        return ""
    return msg(
        "{quoted} is not allowed: code belongs in .text, data in .data, .rodata or "
        ".bss, init functions in .initfunc",
        quoted=quoted,
    )


def _refused_symbol(symbol: Symbol) -> Text:
    name = one_line(symbol.name)[:80]
    if symbol.type in ("STT_GNU_IFUNC", "STT_LOOS"):
        return msg("{name} is an indirect function (ifunc), which is not allowed", name=name)
    if symbol.section == _COMMON and symbol.value > MAX_ALIGNMENT:
        return msg(
            "{name} is aligned to {alignment} bytes; at most {max_alignment} are allowed",
            name=name,
            alignment=symbol.value,
            max_alignment=MAX_ALIGNMENT,
        )
    if symbol.type == "STT_TLS":
        return msg("{name} is thread-local, which is not allowed: a VMM has no threads", name=name)
    if symbol.bind not in ("STB_LOCAL", "STB_GLOBAL", "STB_WEAK"):
        return msg("{name} has a kind of linkage that is not allowed", name=name)
    if "@" in symbol.name:
        return msg("{name}: versions of symbols are not allowed", name=name)
    return ""


def missing_contract(
    symbols: Mapping[str, Sequence[str]], objects: Mapping[str, ObjectFile]
) -> list[Diagnostic]:
    """Return one message for each contract symbol that is not defined as it should be.

    Args:
        symbols: file to the names that it has to define.
        objects: file to its object, for all files of the lab.
    """
    found: list[Diagnostic] = []
    for file, names in symbols.items():
        for name in names:
            if reason := _contract(file, name, objects):
                found.append(Diagnostic(file, 0, 0, "error", reason))
    return found


def _contract(file: str, name: str, objects: Mapping[str, ObjectFile]) -> Text:
    in_c = PurePosixPath(file).suffix == ".c"
    what = msg("function") if in_c else msg("label")
    defined = [one for contents in objects.values() for one in contents.symbols if one.name == name]
    visible = [one for one in defined if one.section and one.bind != "STB_LOCAL"]
    if not visible:
        if any(one.section for one in defined):
            cure = msg("remove `static`") if in_c else msg("add `.globl {name}`", name=name)
            return msg("{name} is not visible to other files: {cure}", name=name, cure=cure)
        return msg("no {what} {name}, which this file must define", what=what, name=name)
    symbol = visible[0]
    if symbol.section == "*ABS*":
        return msg("{name} is a plain number, not a {what} in a section", name=name, what=what)
    if symbol.section == _COMMON or not symbol.flags & SHF_ALLOC:
        return msg("{name} is not a {what} in .text or .data", name=name, what=what)
    if not 0 <= symbol.value <= symbol.room:
        return msg(
            "{name} is {value:#x} bytes from the beginning of its section, which has "
            "{room} bytes: define it as a label in the code, not as a number",
            name=name,
            value=symbol.value,
            room=symbol.room,
        )
    # A label in an asm statement outside of any function has no type.
    code = symbol.type in ("STT_FUNC", "STT_NOTYPE") and symbol.flags & SHF_EXECINSTR
    if in_c and not code:
        return msg("{name} is data; it must be a function", name=name)
    return ""


def stray_globals(allowed: Sequence[str], merged: ObjectFile) -> list[str]:
    """Return the names that are global in a lab's merged object although they should not be."""
    return [one.name for one in merged.defined_globals if one.name not in allowed]
