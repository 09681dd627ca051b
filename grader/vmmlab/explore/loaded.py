"""The loaded segments and the variables of an image, as its ELF file has them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg


@dataclass(frozen=True, slots=True)
class Segment:
    """A loaded segment of the image."""

    start: int
    data: bytes
    writable: bool

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.start + len(self.data)


@lru_cache(maxsize=8)
def _parse(path: Path) -> tuple[tuple[Segment, ...], list[tuple[int, int, str]]]:
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    file: Any = ELFFile(io.BytesIO(path.read_bytes()))
    segments = []
    for segment in file.iter_segments():
        if segment["p_type"] == "PT_LOAD" and segment["p_memsz"]:
            data = segment.data().ljust(segment["p_memsz"], b"\0")
            segments.append(Segment(segment["p_vaddr"], data, bool(segment["p_flags"] & 2)))
    data_symbols: dict[int, tuple[int, int, str]] = {}
    for table in file.iter_sections():
        if not isinstance(table, SymbolTableSection):
            continue
        for symbol in table.iter_symbols():
            if symbol["st_info"]["type"] == "STT_OBJECT" and symbol.name:
                start = symbol["st_value"]
                data_symbols[start] = (start, symbol["st_size"], symbol.name)
    return tuple(segments), sorted(data_symbols.values())


def read(elf: Path) -> tuple[tuple[Segment, ...], list[tuple[int, int, str]]]:
    """Return the segments, and the variables as address, size in bytes and name, sorted.

    Args:
        elf: the file.

    Raises:
        InfraError: it cannot be read.
    """
    from elftools.common.exceptions import ELFError

    try:
        return _parse(elf)
    except (OSError, ELFError) as error:
        raise InfraError(
            msg("The image cannot be read."), found=str(error), next_step=msg("Build it again.")
        ) from error
