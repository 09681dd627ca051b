"""The set of bytes that several CPUs use, learned while a search runs.

Only accesses to these bytes are scheduling points. A search that started with a smaller set has
merged steps that must stay separate, so it must be restarted when the set grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vmmlab.explore.program import Program

# A young search is cheap to finish and may learn of more bytes; an older one is restarted at once.
_RESTART_AFTER: Final = 4000


class SharingGrew(Exception):
    """More memory is shared than the search assumed; restart it."""


class SharedBytes:
    """Tracks which CPU uses which byte.

    Args:
        program: its declared variables are shared from the start.
        cpus: number of CPUs.
        more: address and size of other memory that is shared from the start.

    Attributes:
        addresses: every byte that several CPUs use and at least one of them writes.
    """

    def __init__(self, program: Program, cpus: int, more: Iterable[tuple[int, int]] = ()) -> None:
        self._cpus = cpus
        self.addresses: set[int] = set()
        for start, size in (*program.variables.values(), *more):
            self.addresses.update(range(start, start + size))
        # For each byte one bit per CPU that uses it, and one more if any CPU writes it.
        self._users: dict[int, int] = {}
        self._grew = False

    def includes(self, address: int, size: int) -> bool:
        """Return whether at least one of these bytes is shared."""
        return not self.addresses.isdisjoint(range(address, address + size))

    def record(self, address: int, size: int, cpu: int, *, write: bool) -> None:
        """Record that `cpu` reads or writes `size` bytes at `address`."""
        for at in range(address, address + size):
            users = self._users.get(at, 0) | 1 << cpu | (write << self._cpus)
            self._users[at] = users
            several = (users & (1 << self._cpus) - 1).bit_count() > 1
            if several and users >> self._cpus and at not in self.addresses:
                self.addresses.add(at)
                self._grew = True

    def begin(self) -> None:
        """Start a search that uses the set as it is now."""
        self._grew = False

    def restart_if_late(self, reached: int) -> None:
        """Raise SharingGrew if the set has grown and the search has reached many states."""
        if self._grew and reached > _RESTART_AFTER:
            raise SharingGrew

    def require_unchanged(self) -> None:
        """Raise SharingGrew if the set has grown since `begin`: the search has no valid result."""
        if self._grew:
            raise SharingGrew
