"""Breakpoints and watchpoints.

Facts about the stub, found by experiment on QEMU 7.2.22 and 10.0.13:

- Stops at breakpoints are never lost: see `vmmlab.machine.gdb.running`.
- Stops at watchpoints are lost when several processors write at the same moment: only one is
  reported, the others never are, and a later stop may come one instruction early (both versions,
  both threadings; beside 600 stops that were reported, about as many were lost).
"""

from __future__ import annotations

from collections.abc import Iterable

from vmmlab.base.message import msg
from vmmlab.machine.gdb.errors import GdbError
from vmmlab.machine.gdb.stub import Stub


class Points:
    """The breakpoints and watchpoints that are set.

    Args:
        stub: the connection.

    Attributes:
        breaks: the linear addresses of the breakpoints.
    """

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self.breaks: set[int] = set()
        self._watches: dict[int, bytes] = {}  # linear address -> what clears it

    async def set_break(self, address: int) -> None:
        """Stop any processor that is about to execute at this linear address."""
        await self.set_breaks((address,))

    async def clear_break(self, address: int) -> None:
        """Undo `set_break`. A processor there whose stop was not reported yet never reports it."""
        await self.clear_breaks((address,))

    async def set_breaks(self, addresses: Iterable[int]) -> None:
        """Set several breakpoints in one round trip."""
        new = [a for a in dict.fromkeys(addresses) if a not in self.breaks]
        await self._ask(*(b"Z1,%x,1" % a for a in new))
        self.breaks.update(new)

    async def clear_breaks(self, addresses: Iterable[int]) -> None:
        """Remove several breakpoints in one round trip."""
        old = [a for a in dict.fromkeys(addresses) if a in self.breaks]
        await self._ask(*(b"z1,%x,1" % a for a in old))
        self.breaks.difference_update(old)

    async def set_watch(self, address: int, count: int, *, reads: bool = False) -> None:
        """Stop after a processor has written to one of `count` bytes at this linear address.

        Reliable only while one processor runs at a time: after `resume([cpu])` or in
        `wait_by_turns`.

        Args:
            address: of the first byte.
            count: bytes.
            reads: stop after a read, too.
        """
        what = b"%d,%x,%x" % (4 if reads else 2, address, count)
        await self._ask(b"Z" + what)
        self._watches[address] = b"z" + what

    async def clear_watch(self, address: int) -> None:
        """Undo `set_watch`."""
        clear = self._watches.pop(address, None)
        if clear is not None:
            await self._ask(clear)

    async def _ask(self, *packets: bytes) -> None:
        if not packets:
            return
        for packet, reply in zip(packets, await self._stub.ask(*packets), strict=True):
            if reply != b"OK":
                raise GdbError(
                    msg("QEMU refused a breakpoint or watchpoint."),
                    expected=msg("OK for {packet}", packet=packet.decode()),
                    found=repr(reply),
                )
