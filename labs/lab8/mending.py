"""Changes nested page tables from outside, so that each function of lab 8 is judged for itself.

What a function has left wrong is recorded first, then put right for the next one. And where the
VMM's functions call np_map, the grader makes the change: the student's np_map has its own boots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from vmmlab.observe.session import Session

from .maps import (
    FOUR_GIB,
    FOUR_KIB,
    FRAME,
    LARGE,
    NO_EXECUTE,
    ONE_GIB,
    PRESENT,
    TWO_MIB,
    USER,
    WRITABLE,
    Change,
    Piece,
    differences,
)

_RESERVE: Final = 1 << 20
"""Bytes at the end of the VMM's memory, where alloc does not come."""
_ENTRIES: Final = 512
_ALL: Final = PRESENT | WRITABLE | USER
_USED: Final = 0x60
"""Accessed and dirty: the processor sets them."""


@dataclass
class Mender:
    """Changes the tables of one boot.

    Args:
        session: a stopped machine.
        root: physical address of the PML4.
        start: where the memory of the VMM begins.
        end: where it ends.
    """

    session: Session
    root: int
    start: int
    end: int
    _given: int = field(default=0, init=False)

    @property
    def can(self) -> bool:
        """Whether the root is a page of the VMM's memory."""
        return not self.root % FOUR_KIB and self._is_a_page(self.root)

    def _is_a_page(self, at: int) -> bool:
        return self.start <= at and at + FOUR_KIB <= self.end

    async def _page(self) -> int:
        """Return a page that nothing else uses."""
        self._given += FOUR_KIB
        return (self.end - _RESERVE & -FOUR_KIB) - self._given

    async def _read(self, table: int) -> list[int]:
        raw = await self.session.gdb.read_phys(table, FOUR_KIB)
        return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, FOUR_KIB, 8)]

    async def _write(self, table: int, entries: Sequence[int]) -> None:
        raw = b"".join(entry.to_bytes(8, "little") for entry in entries)
        await self.session.gdb.write_phys(table, raw)

    # ---- the tables ----------------------------------------------------------------------------

    async def sound(self) -> None:
        """Let each entry up to the page directories lead to a table of its own, with all rights.

        Where there is none, the new one is empty. Nothing is present above 4 GiB, and bits that
        must be 0 are 0. What pages lead to, and their rights, stay as they are.
        """
        used = {self.root}
        pml4 = await self._read(self.root)
        pdpt_at, pdpt = await self._table(pml4[0], used)
        await self._write(self.root, [pdpt_at | _ALL, *[0] * (_ENTRIES - 1)])
        directories = []
        for number in range(FOUR_GIB // ONE_GIB):
            at, entries = await self._table(pdpt[number], used)
            directories.append(at | _ALL)
            for index, entry in enumerate(entries):
                entries[index] = await self._pde(entry, used)
            await self._write(at, entries)
        await self._write(pdpt_at, [*directories, *[0] * (_ENTRIES - len(directories))])

    async def _table(self, entry: int, used: set[int]) -> tuple[int, list[int]]:
        """Return the table to which an entry leads, and what it holds; or a new one."""
        at = entry & FRAME
        fine = entry & PRESENT and not entry & LARGE and self._is_a_page(at) and at not in used
        entries = await self._read(at) if fine else [0] * _ENTRIES
        at = at if fine else await self._page()
        used.add(at)
        return at, entries

    async def _pde(self, entry: int, used: set[int]) -> int:
        """Return an entry of a page directory with bits that may be set."""
        if not entry & PRESENT:
            return 0
        if entry & LARGE:
            return entry & (FRAME & -TWO_MIB | _ALL | LARGE | _USED | NO_EXECUTE)
        at, entries = await self._table(entry, used)
        keep = FRAME | _ALL | _USED | NO_EXECUTE
        await self._write(at, [one & keep if one & PRESENT else 0 for one in entries])
        return at | _ALL

    # ---- np_map --------------------------------------------------------------------------------

    async def change(self, change: Change) -> None:
        """Do what np_map has to do; the tables are sound."""
        gpa, hpa, left = change.gpa, change.hpa, change.len
        rights = PRESENT | USER | (WRITABLE if change.writable else 0)
        while left > 0:
            pde_at = await self._pde_at(gpa)
            size = min(left, TWO_MIB - gpa % TWO_MIB)
            if size == TWO_MIB and (not change.present or hpa % TWO_MIB == 0):
                pde = hpa | rights | LARGE if change.present else 0
            else:
                pde = await self._split(pde_at)
                first = gpa % TWO_MIB // FOUR_KIB
                entries = b"".join(
                    (hpa + at | rights if change.present else 0).to_bytes(8, "little")
                    for at in range(0, size, FOUR_KIB)
                )
                await self.session.gdb.write_phys((pde & FRAME) + 8 * first, entries)
            await self.session.gdb.write_phys(pde_at, pde.to_bytes(8, "little"))
            gpa, hpa, left = gpa + size, hpa + size, left - size

    async def _pde_at(self, gpa: int) -> int:
        read = self.session.view.read_u64
        pdpt = await read(self.root) & FRAME
        directory = await read(pdpt + 8 * (gpa // ONE_GIB)) & FRAME
        return directory + 8 * (gpa % ONE_GIB // TWO_MIB)

    async def _split(self, pde_at: int) -> int:
        """Return an entry that leads to a page table which does what the entry there does."""
        old = await self.session.view.read_u64(pde_at)
        if old & PRESENT and not old & LARGE:
            return old
        table = await self._page()
        base, rights = old & FRAME & -TWO_MIB, old & (_ALL | NO_EXECUTE)
        entries = [base + at | rights if old & PRESENT else 0 for at in range(0, TWO_MIB, FOUR_KIB)]
        await self._write(table, entries)
        return table | _ALL

    async def restore(self, wanted: Sequence[Piece], found: Sequence[Piece]) -> None:
        """Let the tables map what is wanted.

        Args:
            wanted: pieces with all rights of user code, read-only or not.
            found: what they map now.
        """
        for first, end, want, _ in differences(wanted, found):
            if first >= FOUR_GIB:
                continue
            host = 0 if want is None else want.host
            writable = want is not None and want.writable
            await self.change(Change(first, host, end - first, want is not None, writable))
