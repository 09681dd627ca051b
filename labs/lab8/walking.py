"""The walk of nested page tables from outside (APM vol. 2, 15.25.3)."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from vmmlab.machine.gdb import GdbError
from vmmlab.observe.session import Session

from .maps import (
    FOUR_KIB,
    FRAME,
    LARGE,
    NO_EXECUTE,
    PRESENT,
    USER,
    WRITABLE,
    Piece,
)

_SHIFTS: Final = (39, 30, 21, 12)
_ZERO_TABLE: Final = 0x18
_ZERO: Final = {39: 0x98, 30: 0x18, 21: 0x1FF018, 12: 0x98}
"""Bits of an entry that must be 0, by level: PWT, PCD, PAT, and what is reserved."""
_TABLES_MOST: Final = 400
_STRANGE_MOST: Final = 32
_PARSED_MOST: Final = 256  # tables that are remembered: several walks of one boot, two boots
_ENTRIES: Final = struct.Struct("<512Q")
_EMPTY: Final = bytes(FOUR_KIB)


@dataclass(frozen=True, slots=True)
class Strange:
    """An entry with bits that must be 0.

    Args:
        guest: the first guest-physical address that it translates.
        level: 4 for the PML4, 1 for a page table.
        entry: its value.
        bits: those that must be 0.
    """

    guest: int
    level: int
    entry: int
    bits: int


@dataclass(frozen=True, slots=True)
class Tables:
    """Nested page tables, walked from outside.

    Args:
        root: physical address of the PML4.
        pieces: what they map.
        tables: for each entry that leads to a table, the first guest-physical address that it
            translates, and the physical address of the table.
        strange: entries that cannot be right; the first ones.
    """

    root: int
    pieces: tuple[Piece, ...]
    tables: tuple[tuple[int, int], ...]
    strange: tuple[Strange, ...] = ()


async def walked(session: Session, root: int) -> Tables:
    """Walk nested page tables.

    Args:
        session: a stopped machine.
        root: what np_init returned.
    """
    walk = _Walk(session)
    pieces: list[Piece] = []
    raw = await session.view.read_if_there(root & FRAME, FOUR_KIB)
    if raw:
        async for one in walk.leaves(raw, 0, 0, WRITABLE | USER):
            if pieces and _joins(pieces[-1], one):
                pieces[-1] = replace(pieces[-1], size=pieces[-1].size + one.size)
            else:
                pieces.append(one)
    return Tables(root, tuple(pieces), tuple(walk.tables), tuple(walk.strange))


@dataclass(slots=True)
class _Run:
    """Present entries of a table one after the other.

    Leaves with the same bits that lead to one piece of memory; or one entry with a table.
    """

    index: int
    count: int
    entry: int
    leaf: bool

    def goes_on_with(self, index: int, entry: int, shift: int) -> bool:
        """Whether a leaf is the next one of this run."""
        follows = self.leaf and index == self.index + self.count
        return follows and entry == self.entry + (self.count << shift)


@lru_cache(maxsize=_PARSED_MOST)
def _runs(raw: bytes, shift: int) -> tuple[_Run, ...]:
    """Return the runs of a table; most tables are the same in every walk of a boot."""
    runs: list[_Run] = []
    if raw == _EMPTY:
        return ()
    for index, entry in enumerate(_ENTRIES.unpack(raw)):
        if not entry & PRESENT:
            continue
        leaf = shift == _SHIFTS[-1] or (shift in _SHIFTS[1:3] and bool(entry & LARGE))
        if leaf and runs and runs[-1].goes_on_with(index, entry, shift):
            runs[-1].count += 1
        else:
            runs.append(_Run(index, 1, entry, leaf))
    return tuple(runs)


@dataclass
class _Walk:
    session: Session
    tables: list[tuple[int, int]] = field(default_factory=list)
    strange: list[Strange] = field(default_factory=list)

    def _note(self, run: _Run, guest: int, shift: int) -> None:
        """Take down the entries of a run that have bits which must be 0."""
        zero = _ZERO[shift] if run.leaf or shift == _SHIFTS[0] else _ZERO_TABLE
        level = len(_SHIFTS) - _SHIFTS.index(shift)
        for number in range(run.count):
            entry = run.entry + (number << shift)
            if not entry & zero or len(self.strange) >= _STRANGE_MOST:
                return
            self.strange.append(Strange(guest + (number << shift), level, entry, entry & zero))

    async def leaves(
        self, raw: bytes, number: int, first: int, rights: int
    ) -> AsyncIterator[Piece]:
        """The pieces below a table.

        Args:
            raw: the table.
            number: 0 for the PML4, 3 for a page table.
            first: the first guest-physical address that it translates.
            rights: what the entries above it allow.
        """
        shift = _SHIFTS[number]
        for run in _runs(raw, shift):
            guest = first + (run.index << shift)
            entry = run.entry
            allowed = rights & entry & (WRITABLE | USER) | (rights | entry) & NO_EXECUTE
            self._note(run, guest, shift)
            if run.leaf:
                yield _piece(guest, run, shift, allowed)
                continue
            table = entry & FRAME
            self.tables.append((guest, table))
            below = await self._read(table)
            async for one in self.leaves(below, number + 1, guest, allowed):
                yield one

    async def _read(self, table: int) -> bytes:
        if len(self.tables) > _TABLES_MOST:
            return _EMPTY
        try:
            return await self.session.gdb.read_phys(table, FOUR_KIB)
        except GdbError:
            return _EMPTY


def _piece(guest: int, run: _Run, shift: int, allowed: int) -> Piece:
    page = 1 << shift
    writable, user = bool(allowed & WRITABLE), bool(allowed & USER)
    host = run.entry & FRAME & ~(page - 1)
    return Piece(guest, host, page * run.count, page, writable, user, not allowed & NO_EXECUTE)


def _joins(last: Piece, one: Piece) -> bool:
    """Whether a piece only continues the one before it."""
    return (
        (last.end, last.host + last.size, last.page) == (one.guest, one.host, one.page)
        and (last.writable, last.user, last.executable)
        == (one.writable, one.user, one.executable)
    )  # fmt: skip
