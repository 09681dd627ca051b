"""Contents of shared memory: each one that comes up has a number, so that states are small.

Knows nothing of CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Store = tuple[int, int, int]
"""Address, size in bytes, value."""


class Memory:
    """Contents of shared memory, each with a number; number 0 is the initial one.

    Args:
        initial: the byte at an address before anything has run.
        writes: what differs from that from the start.
    """

    def __init__(self, initial: Callable[[int], int], writes: Sequence[Store]) -> None:
        self._initial = initial
        self._base: dict[int, int] = {}
        for address, size, value in writes:
            for at, byte in enumerate(value.to_bytes(size, "little")):
                self._base[address + at] = byte
        self._known: list[dict[int, int]] = [{}]
        self._ids: dict[frozenset[tuple[int, int]], int] = {frozenset(): 0}
        self._reads: dict[tuple[int, int, int], int] = {}
        self._writes: dict[tuple[int, int, int, int], int] = {}

    def read(self, memory: int, address: int, size: int) -> int:
        """The number at an address."""
        key = (memory, address, size)
        found = self._reads.get(key)
        if found is None:
            now = self._known[memory]
            data = bytes(self._byte(now, at) for at in range(address, address + size))
            found = self._reads[key] = int.from_bytes(data, "little")
        return found

    def write(self, memory: int, address: int, size: int, value: int) -> int:
        """The memory with something else at an address."""
        key = (memory, address, size, value)
        found = self._writes.get(key)
        if found is None:
            now = dict(self._known[memory])
            for at, byte in enumerate(value.to_bytes(size, "little"), address):
                if byte == self._byte({}, at):
                    now.pop(at, None)
                else:
                    now[at] = byte
            content = frozenset(now.items())
            found = self._ids.get(content)
            if found is None:
                found = self._ids[content] = len(self._known)
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
