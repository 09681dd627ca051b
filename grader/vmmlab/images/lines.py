"""Source lines of an image, from the output of `readelf --debug-dump=decodedline`.

A student can write debug information by hand: rows that are damaged or odd are left out, and no
points depend on them.

Source: DWARF 4, section 6.2 (line number information); binutils, readelf(1).
"""

from __future__ import annotations

import bisect
import itertools
import posixpath
import re
from pathlib import Path

from vmmlab.base.text import clean

READELF = ("--debug-dump=decodedline", "--wide")
"""The options of readelf that print the text which is read here."""

_MOST_BYTES = 16 * 1024 * 1024  # of the text; the reference's has 0.2 MB
_FILE = re.compile(r"(?:CU: )?(?P<path>[^ ].*?):(?:\[\+\+\])?")
_LINE = re.compile(r"[0-9]{1,9}|-")
_ADDRESS = re.compile(r"0x[0-9a-f]{1,16}")


class LineTable:
    """Line numbers of one image; empty if it has none.

    Args:
        text: the output of readelf; a missing file counts as empty.
    """

    def __init__(self, text: Path) -> None:
        try:
            with text.open(encoding="utf-8", errors="replace") as file:
                told = file.read(_MOST_BYTES)
        except OSError:
            told = ""
        self._rows = sorted(_rows(told.splitlines()))
        self._starts = [row[0] for row in self._rows]

    def find(self, address: int) -> tuple[str, int] | None:
        """Return file and line of an address, or None."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._rows[index][1]:
            return None
        return self._rows[index][2:]

    def end(self, address: int) -> int | None:
        """Return the address behind a line that begins at an address, or None."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0 or self._starts[index] != address:
            return None
        return self._rows[index][1]


def _rows(lines: list[str]) -> list[tuple[int, int, str, int]]:
    """Return first address, address behind the last, file and line of each row that covers any."""
    rows = []
    path, last = "", None
    for text in lines:
        if row := _row(text):
            line, address = row
            if last is not None and address > last[0]:
                rows.append((last[0], address, *last[1:]))
            last = None if line == "-" or not path else (address, path, int(line))
        elif head := _FILE.fullmatch(text):
            path = clean(posixpath.normpath(head["path"]))
    return rows


def _row(text: str) -> tuple[str, int] | None:
    """Return line and address of a row; None if a text is none.

    A file's name stands before them, which can have any length and spaces in it: no pattern is
    looked for in all of it.
    """
    if text[:1] in ("", " "):
        return None
    words = text.split()
    for line, address in itertools.pairwise(words[1:]):
        if _LINE.fullmatch(line) and _ADDRESS.fullmatch(address):
            return line, int(address, 16)
    return None
