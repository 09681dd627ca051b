"""Source lines from DWARF, read only when asked and only of the compilation unit concerned.

A student can write debug information by hand: whatever is damaged or odd is left out, and nothing
here decides points.

Source: DWARF 4, section 6.2 (line number information).
"""

from __future__ import annotations

import bisect
import io
import posixpath
from pathlib import Path
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.descriptions import describe_form_class
from elftools.elf.elffile import ELFFile

from vmmlab.build.model import clean

_DAMAGED = (
    ELFError,
    DWARFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    AssertionError,
    RecursionError,
)
_MAX_UNITS = 1000


class LineTable:
    """Line numbers of one image; empty if it has none or cannot be read."""

    def __init__(self, elf: Path) -> None:
        self._units: list[tuple[int, int, Any]] = []
        self._tables: dict[int, tuple[list[int], list[tuple[int, str, int]]]] = {}
        self._dwarf: Any = None
        try:
            image = ELFFile(io.BytesIO(elf.read_bytes()))
            self._dwarf = image.get_dwarf_info(relocate_dwarf_sections=False)
            self._read_units()
        except (OSError, *_DAMAGED):
            pass

    def find(self, address: int) -> tuple[str, int] | None:
        """File and line of an address, or None."""
        for low, high, unit in self._units:
            if low <= address < high:
                starts, rows = self._table(unit)
                index = bisect.bisect_right(starts, address) - 1
                if index >= 0 and address < rows[index][0]:
                    return rows[index][1], rows[index][2]
        return None

    def _read_units(self) -> None:
        for count, unit in enumerate(self._dwarf.iter_CUs()):
            if count >= _MAX_UNITS:
                return
            try:
                self._units += [(low, high, unit) for low, high in self._extent(unit) if low < high]
            except _DAMAGED:
                continue

    def _extent(self, unit: Any) -> list[tuple[int, int]]:
        top = unit.get_top_DIE().attributes
        low = top["DW_AT_low_pc"].value if "DW_AT_low_pc" in top else 0
        if "DW_AT_high_pc" in top:
            high = top["DW_AT_high_pc"]
            relative = describe_form_class(high.form) == "constant"
            return [(low, low + high.value if relative else high.value)]
        if "DW_AT_ranges" not in top:
            return []
        extent, base = [], low
        for one in self._dwarf.range_lists().get_range_list_at_offset(
            top["DW_AT_ranges"].value, cu=unit
        ):
            if hasattr(one, "base_address"):
                base = one.base_address
            else:
                offset = 0 if getattr(one, "is_absolute", False) else base
                extent.append((one.begin_offset + offset, one.end_offset + offset))
        return extent

    def _table(self, unit: Any) -> tuple[list[int], list[tuple[int, str, int]]]:
        key = unit.cu_offset
        if key not in self._tables:
            rows: list[tuple[int, int, str, int]] = []
            try:
                rows = self._rows(unit)
            except _DAMAGED:
                rows = []
            rows.sort(key=lambda row: row[0])
            self._tables[key] = ([row[0] for row in rows], [row[1:] for row in rows])
        return self._tables[key]

    def _rows(self, unit: Any) -> list[tuple[int, int, str, int]]:
        program = self._dwarf.line_program_for_CU(unit)
        if program is None:
            return []
        names: dict[int, str] = {}
        rows: list[tuple[int, int, str, int]] = []
        last = None
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if last is not None and state.address > last.address:
                if last.file not in names:
                    names[last.file] = self._name(program, last.file)
                rows.append((last.address, state.address, names[last.file], last.line))
            last = None if state.end_sequence else state
        return rows

    def _name(self, program: Any, index: int) -> str:
        five = program["version"] >= 5
        entry = program["file_entry"][index if five else index - 1]
        directory = b""
        if five:
            directory = program["include_directory"][entry.dir_index]
        elif entry.dir_index:
            directory = program["include_directory"][entry.dir_index - 1]
        path = posixpath.normpath(posixpath.join(directory, entry.name).decode(errors="replace"))
        return clean(path)
