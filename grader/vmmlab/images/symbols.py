"""Names and places in an image: addresses by name, names by address, source lines.

`addr` knows global symbols only, and of a student's objects only contract symbols are global: a
local symbol never shadows a provided one of the same name. Knows no labs.
"""

from __future__ import annotations

import bisect
import io
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg
from vmmlab.base.text import clean_name
from vmmlab.images.linemap import Range

if TYPE_CHECKING:
    from vmmlab.images.lines import LineTable

_SHF_ALLOC, _SHF_EXECINSTR = 0x2, 0x4
# An address that is this near behind a function's end still gets its name (padding).
_SLACK = 16


class Symbols:
    """The symbols of one image. Cheap to make from its cached form; safe for threads.

    Args:
        line_text: the file with the lines of the image, which `vmmlab.images.lines` reads.
        data: the result of `extract`.

    Attributes:
        line_text: the argument; with `data` all that another process needs to make the same.
        data: the argument.
    """

    def __init__(self, line_text: Path, data: Mapping[str, Any]) -> None:
        self.line_text = line_text
        self.data = data
        self._globals: dict[str, Sequence[int]] = dict(data["globals"])
        self._named: Sequence[tuple[int, int, str]] = data["named"]
        self._starts = [one[0] for one in self._named]
        self.ranges: tuple[Range, ...] = tuple(Range(*one) for one in data["ranges"])
        self._range_starts = [one.start for one in self.ranges]
        self._lines: LineTable | None = None
        self._lock = threading.Lock()

    def addr(self, name: str) -> int:
        """Return the virtual address of a global symbol.

        Raises:
            InfraError: the image has no such global symbol.
        """
        found = self._globals.get(name)
        if found is None:
            raise InfraError(
                msg("The image has no global symbol {name}.", name=name),
                next_step=msg(
                    "The given VMM code and the grader do not fit together; check out one "
                    "version of both."
                ),
            )
        return found[0]

    def maybe(self, name: str) -> int | None:
        """Return the virtual address of a global symbol, or None."""
        found = self._globals.get(name)
        return None if found is None else found[0]

    def size(self, name: str) -> int:
        """Return the size of a global symbol in bytes, 0 if its source gives none (labels).

        Raises:
            InfraError: as for `addr`.
        """
        self.addr(name)
        return self._globals[name][1]

    def __contains__(self, name: object) -> bool:
        return name in self._globals

    @property
    def names(self) -> tuple[str, ...]:
        """All global names, sorted."""
        return tuple(sorted(self._globals))

    def nearest(self, address: int) -> str:
        """Return "func+0x12" for an address in the image, otherwise the address in hexadecimal.

        Local functions and assembly labels count, too.
        """
        index = bisect.bisect_right(self._starts, address) - 1
        here = self.range_at(address)
        if index < 0 or here is None:
            return f"{address:#x}"
        start, size, name = self._named[index]
        if start < here.start or (size and address >= start + size + _SLACK):
            return f"{address:#x}"
        offset = address - start
        return f"{name}+{offset:#x}" if offset else name

    def range_at(self, address: int) -> Range | None:
        """Return the piece of the image that holds an address, or None."""
        index = bisect.bisect_right(self._range_starts, address) - 1
        if index < 0 or address not in self.ranges[index]:
            return None
        return self.ranges[index]

    def owner(self, address: int) -> str:
        """ "provided", "student", "prebuilt", "extra", or "" outside the image."""
        found = self.range_at(address)
        return found.owner if found else ""

    @property
    def student_ranges(self) -> tuple[Range, ...]:
        """The pieces that come from the student's files (code and data), in order of address."""
        return tuple(one for one in self.ranges if one.owner == "student")

    def line(self, address: int) -> tuple[str, int] | None:
        """Return source file and line of an address ("lab3/ap_start.c", 42), or None.

        Prebuilt objects have no debug information, so their lines are unknown.
        """
        here = self.range_at(address)
        if here is None or here.owner not in ("provided", "student"):
            return None
        found = self._line_table().find(address)
        # `#line` and debug information by hand can name any file.
        own = ("boot/", "core/") if here.owner == "provided" else (f"{here.unit}/",)
        if found is None or not found[0].startswith((*own, "include/")) or ".." in found[0]:
            return None
        return found

    def next_line(self, address: int) -> int | None:
        """Return the address behind a line of source code that begins at an address, or None."""
        return self._line_table().end(address)

    def _line_table(self) -> LineTable:
        with self._lock:
            if self._lines is None:
                from vmmlab.images.lines import LineTable

                self._lines = LineTable(self.line_text)
            return self._lines


def extract(elf: bytes, ranges: Sequence[Range]) -> dict[str, Any]:
    """Return the JSON-able form from which `Symbols` is made.

    Args:
        elf: the linked image.
        ranges: from its link map.
    """
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    globals_: dict[str, tuple[int, int]] = {}
    named: dict[int, tuple[tuple[int, ...], int, str]] = {}
    student = [one for one in ranges if one.owner == "student"]
    image = ELFFile(io.BytesIO(elf))
    flags = [section["sh_flags"] for section in image.iter_sections()]
    for table in image.iter_sections():
        if not isinstance(table, SymbolTableSection):
            continue
        for symbol in table.iter_symbols():
            info, index = symbol["st_info"], symbol["st_shndx"]
            name = clean_name(symbol.name)
            kind, bind, value = info["type"], info["bind"], symbol["st_value"]
            if not name or index == "SHN_UNDEF" or kind in ("STT_FILE", "STT_SECTION"):
                continue
            if bind != "STB_LOCAL":
                globals_[name] = (value, symbol["st_size"])
            if not isinstance(index, int) or not flags[index] & _SHF_ALLOC:
                continue
            code = bool(flags[index] & _SHF_EXECINSTR)
            label = kind == "STT_NOTYPE" and (code or any(value in one for one in student))
            if not (kind == "STT_FUNC" or label) or name.startswith((".L", "$")):
                continue
            # Of several names for one place the most telling one: a global function first.
            rank = (kind != "STT_FUNC", bind == "STB_LOCAL", name.startswith("_"))
            order = (*(int(one) for one in rank), len(name))
            if value not in named or (order, name) < (named[value][0], named[value][2]):
                named[value] = (order, symbol["st_size"], name)
    return {
        "globals": globals_,
        "named": [(start, size, name) for start, (_, size, name) in sorted(named.items())],
        "ranges": [(one.start, one.end, one.owner, one.unit, one.section) for one in ranges],
    }
