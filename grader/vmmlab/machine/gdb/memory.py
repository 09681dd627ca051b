"""Memory of a paused machine, by physical and by linear address."""

from __future__ import annotations

from collections.abc import Sequence

from vmmlab.machine.gdb.errors import MemoryUnreadable
from vmmlab.machine.gdb.stub import Stub

PhysicalRange = tuple[int, int]
"""Physical address and size in bytes."""


class Memory:
    """Reads and writes memory, and keeps physical memory that was read until a processor runs.

    Args:
        stub: the connection.
    """

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._kept: dict[PhysicalRange, bytes] = {}

    async def read_phys(self, address: int, count: int) -> bytes:
        """Return `count` bytes of physical memory; no device's, which reading may change.

        Reading again what was read since the last run and the last write costs nothing.

        Raises:
            MemoryUnreadable: there is no memory.
        """
        self._stub.must_be_paused()
        if (found := self._kept.get((address, count))) is None:
            before = self._stub.select_addresses(physical=True)
            found = await self._read(None, address, count, before)
            self._kept[address, count] = found
        return found

    async def write_phys(self, address: int, data: bytes) -> None:
        """Write physical memory; raises MemoryUnreadable if there is none."""
        await self._write(None, address, data, self._stub.select_addresses(physical=True))

    async def read_virt(self, cpu: int, address: int, count: int) -> bytes:
        """Return `count` bytes at a linear address, by the page tables that `cpu` uses now.

        Raises:
            MemoryUnreadable: some of it is not mapped.
        """
        return await self._read(cpu, address, count, self._select_linear(cpu))

    async def write_virt(self, cpu: int, address: int, data: bytes) -> None:
        """Write at a linear address; raises MemoryUnreadable if it is not mapped."""
        await self._write(cpu, address, data, self._select_linear(cpu))

    def peek_requests(self, ranges: Sequence[PhysicalRange]) -> list[bytes]:
        """Return the requests that read physical ranges; their answers belong to `take_peeked`."""
        if not ranges:
            return []
        first = self._stub.select_addresses(physical=True)
        return [*first, *(b"m%x,%x" % one for one in ranges)]

    def take_peeked(self, ranges: Sequence[PhysicalRange], replies: Sequence[bytes]) -> None:
        """Keep the answers to `peek_requests`; ranges that could not be read are left out."""
        if not ranges:
            return
        for (address, size), body in zip(ranges, replies[-len(ranges) :], strict=True):
            if len(body) == 2 * size:
                self._kept[address, size] = bytes.fromhex(body.decode("ascii"))

    def forget(self) -> None:
        """Drop what was kept: a processor is about to run."""
        self._kept.clear()

    def _select_linear(self, cpu: int) -> tuple[bytes, ...]:
        return (*self._stub.select_addresses(physical=False), *self._stub.select_cpu(cpu))

    async def _read(
        self, cpu: int | None, address: int, count: int, before: tuple[bytes, ...]
    ) -> bytes:
        if not count:
            return b""  # the stub would have nothing to answer
        chunk = self._stub.packet_size // 2 - 8
        parts = [(at, min(chunk, count - at)) for at in range(0, count, chunk)]
        requests = [b"m%x,%x" % (address + at, size) for at, size in parts]
        replies = await self._stub.ask(*before, *requests)
        out = bytearray()
        for (at, size), body in zip(parts, replies[len(before) :], strict=True):
            if len(body) != 2 * size:
                raise MemoryUnreadable("read", address + at, size, cpu)
            out += bytes.fromhex(body.decode("ascii"))
        return bytes(out)

    async def _write(
        self, cpu: int | None, address: int, data: bytes, before: tuple[bytes, ...]
    ) -> None:
        if not data:
            return  # the stub would have nothing to answer
        chunk = self._stub.packet_size // 2 - 32
        requests = []
        for at in range(0, len(data), chunk):
            part = data[at : at + chunk]
            text = part.hex().encode("ascii")
            requests.append(b"M%x,%x:%b" % (address + at, len(part), text))
        self._kept.clear()
        replies = await self._stub.ask(*before, *requests)
        for at, body in enumerate(replies[len(before) :]):
            if body != b"OK":
                raise MemoryUnreadable("write", address + at * chunk, chunk, cpu)
