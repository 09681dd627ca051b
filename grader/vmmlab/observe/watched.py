"""The places at which CPUs are stopped: named breakpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from vmmlab.machine.gdb import Gdb
from vmmlab.observe.view import SymbolTable


class WatchedPlaces:
    """Named places; every CPU that is about to execute the instruction there is stopped.

    Args:
        gdb: the machine.
        symbols: symbols of the image.
    """

    def __init__(self, gdb: Gdb, symbols: SymbolTable) -> None:
        self._gdb = gdb
        self._symbols = symbols
        self._names: dict[int, str] = {}

    def __contains__(self, address: object) -> bool:
        return address in self._names

    def at(self, pc: int) -> str | None:
        """Return the name of the watched place at a linear address."""
        return self._names.get(pc)

    async def watch_all(self, names: Iterable[str]) -> None:
        """Watch these symbols; those that the image does not have are passed over."""
        found = {where: name for name in names if (where := self._symbols.maybe(name)) is not None}
        new = {where: name for where, name in found.items() if where not in self._names}
        self._names |= new
        await self._gdb.set_breaks(new)

    async def watch(self, name: str, address: int | None = None) -> None:
        """Watch one place.

        Args:
            name: a symbol, or any name if `address` is given. A symbol that the image does not
                have is passed over.
            address: linear address.
        """
        where = address if address is not None else self._symbols.maybe(name)
        if where is not None and where not in self._names:
            self._names[where] = name
            await self._gdb.set_break(where)

    @asynccontextmanager
    async def stopping_at(self, address: int) -> AsyncIterator[None]:
        """Stop CPUs at one more address for a while; it gets no name.

        Args:
            address: linear address. A place that is watched already stays watched.
        """
        known = address in self
        if not known:
            await self._gdb.set_break(address)
        yield
        if not known:
            await self._gdb.clear_break(address)

    async def unwatch(self, name: str) -> None:
        """Stop no CPU at this place any more."""
        for where in [at for at, known in self._names.items() if known == name]:
            del self._names[where]
            await self._gdb.clear_break(where)
