"""Reads what a VMCB leads to: nested page tables, walked from outside, and the permission maps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from vmmlab.machine.gdb import GdbError
from vmmlab.observe.guest import MsrIntercept, NestedRange, NestedTables, PortRange
from vmmlab.observe.view import View
from vmmlab.x86.vmcb import IOPM_BYTES, MSRPM_BYTES, msrs_in, ports_in

_TABLE_BYTES: Final = 4096
_FRAME: Final = 0x000FFFFFFFFFF000
_PRESENT, _WRITABLE, _USER, _LARGE, _NO_EXECUTE = 1, 1 << 1, 1 << 2, 1 << 7, 1 << 63
_SHIFTS: Final = (39, 30, 21, 12)
_LARGE_AT: Final = (30, 21)
_TABLES_MOST: Final = 512
"""Tables that are read; 4 GiB in pages of 4 KiB would be 2048, which no course needs."""
_RANGES_MOST: Final = 1024


async def nested_tables(view: View, root: int) -> NestedTables:
    """Walk nested page tables (AMD APM vol. 2, 15.25): those of long mode, with four levels.

    Neighbouring pages are joined if they lead to neighbouring memory with equal rights.

    Args:
        view: a stopped machine.
        root: nCR3.
    """
    walk = _Walk(view)
    ranges: list[NestedRange] = []
    async for one in walk.leaves(root & _FRAME, 0, 0, _WRITABLE | _USER):
        if ranges and _joins(ranges[-1], one):
            last = ranges.pop()
            one = NestedRange(
                last.guest, last.host, last.size + one.size, one.writable, one.user, one.executable
            )
        elif len(ranges) == _RANGES_MOST:
            walk.cut = True
            break
        ranges.append(one)
    return NestedTables(root, tuple(ranges), walk.unreadable, walk.cut)


class _Walk:
    """One walk.

    Args:
        view: a stopped machine.

    Attributes:
        unreadable: physical address of a table where there is no memory.
        cut: there are more tables than are read.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._tables = 0
        self.unreadable: int | None = None
        self.cut = False

    async def leaves(
        self, table: int, level: int, first: int, rights: int
    ) -> AsyncIterator[NestedRange]:
        """Yield the pages that a table maps.

        Args:
            table: its physical address.
            level: 0 for the one that nCR3 points to.
            first: the first guest-physical address that it translates.
            rights: what the tables above allow, as bits of an entry.
        """
        self._tables += 1
        if self._tables > _TABLES_MOST:
            self.cut = True
            return
        try:
            raw = await self._view.gdb.read_phys(table, _TABLE_BYTES)
        except GdbError:
            self.unreadable = table
            return
        shift = _SHIFTS[level]
        for number in range(512):
            entry = int.from_bytes(raw[8 * number : 8 * number + 8], "little")
            if not entry & _PRESENT:
                continue
            guest = first + (number << shift)
            allowed = rights & entry & (_WRITABLE | _USER) | (rights | entry) & _NO_EXECUTE
            if shift == _SHIFTS[-1] or (shift in _LARGE_AT and entry & _LARGE):
                yield _leaf(guest, entry, shift, allowed)
            else:
                async for one in self.leaves(entry & _FRAME, level + 1, guest, allowed):
                    yield one


def _leaf(guest: int, entry: int, shift: int, allowed: int) -> NestedRange:
    size = 1 << shift
    host = entry & _FRAME & ~(size - 1)
    may_write, is_user = bool(allowed & _WRITABLE), bool(allowed & _USER)
    return NestedRange(guest, host, size, may_write, is_user, not allowed & _NO_EXECUTE)


def _joins(last: NestedRange, one: NestedRange) -> bool:
    same = (one.writable, one.user, one.executable) == (last.writable, last.user, last.executable)
    return same and last.guest + last.size == one.guest and last.host + last.size == one.host


async def intercepted_ports(view: View, iopm: int) -> tuple[PortRange, ...] | None:
    """Return the ports that an I/O permission map intercepts; None where there is no memory.

    Args:
        view: a stopped machine.
        iopm: IOPM_BASE_PA.
    """
    raw = await view.read_if_there(iopm & _FRAME, IOPM_BYTES)
    if not raw:
        return None
    ranges: list[PortRange] = []
    for port in ports_in(raw):
        first = ranges.pop().first if ranges and ranges[-1].last == port - 1 else port
        ranges.append(PortRange(first, port))
    return tuple(ranges[:_RANGES_MOST])


async def intercepted_msrs(view: View, msrpm: int) -> tuple[MsrIntercept, ...] | None:
    """Return the MSRs that an MSR permission map intercepts; None where there is no memory.

    Args:
        view: a stopped machine.
        msrpm: MSRPM_BASE_PA.
    """
    raw = await view.read_if_there(msrpm & _FRAME, MSRPM_BYTES)
    if not raw:
        return None
    return tuple(MsrIntercept(*one) for one in msrs_in(raw))[:_RANGES_MOST]
