"""Errors of the debug stub's client."""

from __future__ import annotations

from vmmlab.base.errors import InfraError


class GdbError(InfraError):
    """The debug stub refused a request or sent an answer that makes no sense."""


class MemoryUnreadable(GdbError):
    """Memory that cannot be read or written: it is not mapped, or there is no RAM.

    Args:
        verb: "read" or "write".
        address: the first byte.
        size: bytes.
        cpu: the processor whose page tables do not map it, None for a physical address.
    """

    def __init__(self, verb: str, address: int, size: int, cpu: int | None) -> None:
        kind = "physical" if cpu is None else "linear"
        super().__init__(
            f"Cannot {verb} {size} bytes of memory at {kind} address {address:#x}.",
            expected="memory that is mapped",
            found="QEMU refused",
        )
        self.address = address
        self.size = size
        self.cpu = cpu
