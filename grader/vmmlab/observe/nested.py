"""Reads what a VMCB leads to: nested page tables, walked from outside, and the permission maps."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Any, Final

from vmmlab.machine.gdb import GdbError
from vmmlab.observe.guest import MsrIntercept, NestedRange, NestedTables, PortRange
from vmmlab.observe.view import View
from vmmlab.x86.registers import PAGE_BYTES
from vmmlab.x86.vmcb import IOPM_BYTES, MSRPM_BYTES, msrs_in, ports_in

_FRAME: Final = 0x000FFFFFFFFFF000
_PRESENT, _WRITABLE, _USER, _LARGE, _NO_EXECUTE = 1, 1 << 1, 1 << 2, 1 << 7, 1 << 63
_SHIFTS: Final = (39, 30, 21, 12)
_LARGE_AT: Final = (30, 21)
_TABLES_MOST: Final = 512
"""Tables that are read; 4 GiB in pages of 4 KiB would be 2048, which no course needs."""
_RANGES_MOST: Final = 1024


@dataclass(frozen=True, slots=True)
class _Table:
    """A table that another one points to.

    Args:
        address: physical address.
        shift: of the addresses that it translates: an entry translates so many bits.
        first: the first guest-physical address that it translates.
        rights: what the tables above allow, as bits of an entry.
    """

    address: int
    shift: int
    first: int
    rights: int


async def nested_tables(view: View, root: int) -> NestedTables:
    """Walk nested page tables (AMD APM vol. 2, 15.25): those of long mode, with four levels.

    Neighbouring pages are joined if they lead to neighbouring memory with equal rights.

    Args:
        view: a stopped machine.
        root: nCR3.
    """
    ranges: list[NestedRange] = []
    todo = [_Table(root & _FRAME, _SHIFTS[0], 0, _WRITABLE | _USER)]
    unreadable, tables = None, 0
    while todo and tables < _TABLES_MOST and len(ranges) <= _RANGES_MOST:
        table = todo.pop()
        tables += 1
        try:
            raw = await view.gdb.read_phys(table.address, PAGE_BYTES)
        except GdbError:
            unreadable = table.address
            continue
        below = []
        for one in _entries(raw, table.shift, table.first, table.rights):
            if isinstance(one, _Table):
                below.append(one)
            else:
                ranges.append(one)
        todo += reversed(below)
    joined: list[NestedRange] = []
    for one in sorted(ranges, key=lambda found: found.guest):
        _add(joined, one)
    cut = bool(todo) or len(joined) > _RANGES_MOST
    return NestedTables(root, tuple(joined[:_RANGES_MOST]), unreadable, cut)


@functools.lru_cache(maxsize=64)
def _entries(raw: bytes, shift: int, first: int, rights: int) -> tuple[NestedRange | _Table, ...]:
    """Return what a table maps, pages joined, and the tables that it points to.

    All CPUs usually have the same tables: hence the cache.
    """
    found: list[NestedRange | _Table] = []
    for number, entry in enumerate(struct.unpack("<512Q", raw)):
        if not entry & _PRESENT:
            continue
        guest = first + (number << shift)
        allowed = rights & entry & (_WRITABLE | _USER) | (rights | entry) & _NO_EXECUTE
        if shift == _SHIFTS[-1] or (shift in _LARGE_AT and entry & _LARGE):
            host = entry & _FRAME & -(1 << shift)
            rest = bool(allowed & _WRITABLE), bool(allowed & _USER), not allowed & _NO_EXECUTE
            _add(found, NestedRange(guest, host, 1 << shift, *rest))
        else:
            found.append(_Table(entry & _FRAME, shift - 9, guest, allowed))
    return tuple(found)


def _add(ranges: list[Any], one: NestedRange) -> None:
    """Append a range, or join it with the last one."""
    last = ranges[-1] if ranges else None
    if (
        isinstance(last, NestedRange)
        and last.guest + last.size == one.guest
        and last.host + last.size == one.host
        and _rights(last) == _rights(one)
    ):
        size = last.size + one.size
        ranges[-1] = NestedRange(last.guest, last.host, size, *_rights(one))
    else:
        ranges.append(one)


def _rights(one: NestedRange) -> tuple[bool, bool, bool]:
    return one.writable, one.user, one.executable


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
