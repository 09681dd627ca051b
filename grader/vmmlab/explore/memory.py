"""Interned memory: every distinct state of shared memory has a number, which keeps states small.

It knows nothing of CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

Store = tuple[int, int, int]
"""Address, size in bytes, value."""


class SharedMemory:
    """All states of shared memory seen so far, by number; number 0 is the initial one.

    Args:
        initial: returns the byte at an address before any code has run.
        writes: stores that are already visible in the initial state.
    """

    def __init__(self, initial: Callable[[int], int], writes: Sequence[Store]) -> None:
        self._initial = initial
        self._base: dict[int, int] = {}
        for address, size, value in writes:
            for at, byte in enumerate(value.to_bytes(size, "little")):
                self._base[address + at] = byte
        # For each number, the bytes that differ from the initial state.
        self._known: list[dict[int, int]] = [{}]
        self._ids: dict[frozenset[tuple[int, int]], int] = {frozenset(): 0}
        self._reads: dict[tuple[int, int, int], int] = {}
        self._writes: dict[tuple[int, int, int, int], int] = {}

    def read(self, memory: int, address: int, size: int) -> int:
        """Return the value of `size` bytes at `address`, little-endian."""
        key = (memory, address, size)
        found = self._reads.get(key)
        if found is None:
            now = self._known[memory]
            data = bytes(self._byte(now, at) for at in range(address, address + size))
            found = self._reads[key] = int.from_bytes(data, "little")
        return found

    def write(self, memory: int, address: int, size: int, value: int) -> int:
        """Return the number of the memory state after a store of `size` bytes."""
        key = (memory, address, size, value)
        found = self._writes.get(key)
        if found is None:
            now = dict(self._known[memory])
            for at, byte in enumerate(value.to_bytes(size, "little"), address):
                if byte == self._byte({}, at):
                    now.pop(at, None)
                else:
                    now[at] = byte
            changes = frozenset(now.items())
            found = self._ids.get(changes)
            if found is None:
                found = self._ids[changes] = len(self._known)
                self._known.append(now)
            self._writes[key] = found
        return found

    def _byte(self, now: dict[int, int], at: int) -> int:
        value = now.get(at)
        if value is None:
            value = self._base.get(at)
        if value is None:
            value = self._base[at] = self._initial(at)
        return value


_PAGE: Final = 64  # bytes


class PagedMemory(SharedMemory):
    """The same for runs in which many bytes change: states share the pages that are equal.

    Args:
        initial: as for `SharedMemory`.
        writes: as for `SharedMemory`.
    """

    def __init__(self, initial: Callable[[int], int], writes: Sequence[Store]) -> None:
        super().__init__(initial, writes)
        self._states: list[dict[int, bytes]] = [{}]  # by number: the pages that have changed
        self._sums: list[int] = [0]  # by number: all hashes of these pages, combined
        self._numbers: dict[int, list[int]] = {0: [0]}  # by such a sum
        self._first: dict[int, bytes] = {}  # the pages of state 0 that have been looked at

    def read(self, memory: int, address: int, size: int) -> int:
        """See `SharedMemory.read`."""
        pages = self._states[memory]
        number, at = divmod(address, _PAGE)
        data = self._page(pages, number)[at : at + size]
        if at + size > _PAGE:
            data += self._page(pages, number + 1)[: at + size - _PAGE]
        return int.from_bytes(data, "little")

    def write(self, memory: int, address: int, size: int, value: int) -> int:
        """See `SharedMemory.write`."""
        if self.read(memory, address, size) == value:
            return memory
        pages = dict(self._states[memory])
        number, at = divmod(address, _PAGE)
        both = bytearray(self._page(pages, number))
        if at + size > _PAGE:
            both += self._page(pages, number + 1)
        both[at : at + size] = value.to_bytes(size, "little")
        total = self._sums[memory]
        for begin in range(0, len(both), _PAGE):
            total ^= self._put(pages, number + begin // _PAGE, bytes(both[begin : begin + _PAGE]))
        same = self._numbers.setdefault(total, [])
        for known in same:
            if self._states[known] == pages:
                return known
        same.append(len(self._states))
        self._states.append(pages)
        self._sums.append(total)
        return same[-1]

    def _put(self, pages: dict[int, bytes], number: int, page: bytes) -> int:
        """Change a page; return by what that changes the sum of the hashes."""
        before = pages.pop(number, None)
        changed = 0 if before is None else hash((number, before))
        if page != self._first[number]:
            pages[number] = page
            changed ^= hash((number, page))
        return changed

    def changed(self, before: int, now: int) -> set[int]:
        """Return the addresses at which two memory states differ."""
        one, other = self._states[before], self._states[now]
        return {
            number * _PAGE + at
            for number in one.keys() | other.keys()
            for at in range(_PAGE)
            if self._page(one, number)[at] != self._page(other, number)[at]
        }

    def _page(self, pages: dict[int, bytes], number: int) -> bytes:
        known = pages.get(number) or self._first.get(number)
        if known is None:
            start = number * _PAGE
            known = bytes(self._byte({}, at) for at in range(start, start + _PAGE))
            self._first[number] = known
        return known
