"""Unicorn's engine with the image of a program, its stacks, and the marks at which a run ends."""

from __future__ import annotations

from typing import Any, Final

import unicorn as _unicorn
from unicorn import x86_const as x86

from vmmlab.explore.context import REGISTERS
from vmmlab.explore.program import ARENA, HEAP, MARKS, SLOT, STACK_SIZE, STACKS, Program
from vmmlab.x86.registers import PAGE_BYTES

unicorn: Any = _unicorn  # its type hints are incomplete
IDS: Final = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in REGISTERS]
"""Unicorn's numbers of `REGISTERS`."""
ID: Final = dict(zip(REGISTERS, IDS, strict=True))
"""The same by name."""
HLT: Final = b"\xf4"
_MAPPED_BLOCK: Final = 0x10000  # bytes that are mapped of each block from alloc
_TRANSLATED_BYTES: Final = 32 << 20  # of memory for translated code; 1 GiB is the default


def engine(program: Program) -> Any:
    """Return an engine; trampoline and heap are not mapped yet.

    Args:
        program: the image and its surroundings.
    """
    uc: Any = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_tcg_buffer_size(_TRANSLATED_BYTES)
    low = min(one.start for one in program.segments) & ~(PAGE_BYTES - 1)
    high = max(one.end for one in program.segments)
    uc.mem_map(low, (high - low + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1))
    for segment in program.segments:
        uc.mem_write(segment.start, segment.data)
    uc.mem_map(MARKS, PAGE_BYTES)
    uc.mem_write(MARKS, HLT * PAGE_BYTES)
    for cpu in range(program.cpus):
        uc.mem_map(STACKS + cpu * SLOT, STACK_SIZE)
    return uc


class Heap:
    """The blocks from alloc, each of which is mapped when it is first used.

    With hundreds of CPUs there are a thousand, and to map them all takes half a second.

    Args:
        uc: the engine.
        cpus: how many CPUs have blocks.
    """

    def __init__(self, uc: Any, cpus: int) -> None:
        self._uc = uc
        self._addresses = range(HEAP, HEAP + cpus * ARENA)
        self._mapped: set[int] = set()

    def map(self, address: int) -> bool:
        """Map the block that an address is in; return False if there is nothing to map."""
        at = address % SLOT  # HEAP is a multiple of it
        if address not in self._addresses or at >= _MAPPED_BLOCK or address - at in self._mapped:
            return False
        self._mapped.add(address - at)
        self._uc.mem_map(address - at, _MAPPED_BLOCK)
        return True
