"""The execution context of one CPU: registers, and the live part of its stack. Plain data."""

from __future__ import annotations

from typing import Final, NamedTuple

_NAMES: Final = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{n}" for n in range(8, 16)),
)
REGISTERS: Final = (*_NAMES, "rip", "rflags", "gs_base")
"""The order of the registers in `Context.regs`."""
INDEX: Final = {name: at for at, name in enumerate(REGISTERS)}
RSP: Final = INDEX["rsp"]
RAX: Final = INDEX["rax"]
RDX: Final = INDEX["rdx"]
RDI: Final = INDEX["rdi"]
RSI: Final = INDEX["rsi"]
RIP: Final = INDEX["rip"]
RFLAGS: Final = INDEX["rflags"]
GS_BASE: Final = INDEX["gs_base"]

MASK: Final = 2**64 - 1


class StackRegion(NamedTuple):
    """A stack that a CPU is on.

    Attributes:
        block: identifies the memory: two CPUs with the same block share a stack.
        base: lowest address of the memory.
        low: lowest address that is followed.
        top: RSP when the CPU came to the stack; memory above it belongs to no frame.
    """

    block: int
    base: int
    low: int
    top: int


class Context(NamedTuple):
    """The execution context of one CPU.

    Attributes:
        regs: the values of `REGISTERS`.
        region: the stack that the CPU is on, or None.
        stack: the live bytes, from RSP to the top of the stack.
    """

    regs: tuple[int, ...]
    region: StackRegion | None
    stack: bytes

    @property
    def rip(self) -> int:
        """Address of the next instruction."""
        return self.regs[RIP]

    @property
    def rsp(self) -> int:
        """The stack pointer."""
        return self.regs[RSP]

    def having(self, **values: int) -> Context:
        """Return a copy with these registers changed."""
        regs = list(self.regs)
        for name, value in values.items():
            regs[INDEX[name]] = value & MASK
        return self._replace(regs=tuple(regs))
