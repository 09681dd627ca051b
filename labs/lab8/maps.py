"""What nested page tables map, as pieces, and how two such maps differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

FOUR_KIB, TWO_MIB, ONE_GIB, FOUR_GIB = 1 << 12, 1 << 21, 1 << 30, 1 << 32
FRAME: Final = 0x000FFFFFFFFFF000
"""The bits of an entry with a physical address."""
PRESENT, WRITABLE, USER, LARGE, NO_EXECUTE = 1, 1 << 1, 1 << 2, 1 << 7, 1 << 63
"""Other bits of an entry (AMD APM vol. 2, 5.3)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Guest-physical memory that leads to host-physical memory in one piece.

    Args:
        guest: the first guest-physical address.
        host: the host-physical address that it leads to.
        size: bytes.
        page: size of its pages in bytes.
        writable: bit 1 is set at all levels.
        user: bit 2 is set at all levels.
        executable: bit 63 is clear at all levels.
    """

    guest: int
    host: int
    size: int
    page: int
    writable: bool
    user: bool
    executable: bool

    @property
    def end(self) -> int:
        """The first guest-physical address after it."""
        return self.guest + self.size

    def part(self, first: int, end: int) -> Piece:
        """The part of it from `first` up to `end`."""
        first, end = max(first, self.guest), min(end, self.end)
        return replace(self, guest=first, host=self.host + first - self.guest, size=end - first)


@dataclass(frozen=True, slots=True)
class Change:
    """A call of np_map.

    Args:
        gpa: its first argument.
        hpa: its second argument.
        len: its third argument, in bytes.
        present: its fourth argument.
        writable: its fifth argument.
    """

    gpa: int
    hpa: int
    len: int
    present: bool
    writable: bool

    @property
    def end(self) -> int:
        """The first guest-physical address after what it changes."""
        return self.gpa + self.len

    @property
    def text(self) -> str:
        """The call as C code."""
        flags = f"{str(self.present).lower()}, {str(self.writable).lower()}"
        return f"np_map ({self.gpa:#x}, {self.hpa:#x}, {self.len:#x}, {flags})"


Pieces = Sequence[Piece]


def without(pieces: Pieces, first: int, end: int) -> list[Piece]:
    """The pieces outside of a range of guest-physical addresses."""
    kept = []
    for one in pieces:
        if one.guest < min(first, one.end):
            kept.append(one.part(one.guest, first))
        if one.end > max(end, one.guest):
            kept.append(one.part(end, one.end))
    return kept


def within(pieces: Pieces, first: int, end: int) -> list[Piece]:
    """The pieces in a range of guest-physical addresses."""
    return [one.part(first, end) for one in pieces if one.guest < end and first < one.end]


def wanted(change: Change) -> list[Piece]:
    """What the range of a change should be after it."""
    if not change.present or not change.len:
        return []
    return [Piece(change.gpa, change.hpa, change.len, 0, change.writable, True, True)]


def differences(
    before: Pieces, after: Pieces
) -> Iterator[tuple[int, int, Piece | None, Piece | None]]:
    """Where two maps differ: first address, end, and what each of them has there.

    The sizes of pages do not count.
    """
    edges = sorted({edge for one in (*before, *after) for edge in (one.guest, one.end)})
    ours, theirs = _Walker(before), _Walker(after)
    for first, end in pairwise(edges):
        a, b = ours.at(first, end), theirs.at(first, end)
        if _meaning(a) != _meaning(b):
            yield first, end, a, b


class _Walker:
    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._rest = iter(sorted(pieces, key=lambda one: one.guest))
        self._now = next(self._rest, None)

    def at(self, first: int, end: int) -> Piece | None:
        """The part from `first` up to `end`; call it with rising addresses."""
        while self._now is not None and self._now.end <= first:
            self._now = next(self._rest, None)
        if self._now is None or first < self._now.guest:
            return None
        return self._now.part(first, end)


def _meaning(piece: Piece | None) -> tuple[int, bool, bool, bool] | None:
    return piece and (piece.host, piece.writable, piece.user, piece.executable)
