"""Unicorn's engine with the image of a program, its stacks, and the marks at which a run ends."""

from __future__ import annotations

from typing import Any, Final

import unicorn as _unicorn
from unicorn import x86_const as x86

from vmmlab.explore.context import REGISTERS
from vmmlab.explore.program import MARKS, PAGE, SLOT, STACK_SIZE, STACKS, Program

unicorn: Any = _unicorn  # its type hints are incomplete
IDS: Final = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in REGISTERS]
"""Unicorn's numbers of `REGISTERS`."""
ID: Final = dict(zip(REGISTERS, IDS, strict=True))
"""The same by name."""
HLT: Final = b"\xf4"
_TRANSLATED_BYTES: Final = 32 << 20  # of memory for translated code; 1 GiB is the default


def engine(program: Program) -> Any:
    """Return an engine; trampoline and heap are not mapped yet.

    Args:
        program: the image and its surroundings.
    """
    uc: Any = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_tcg_buffer_size(_TRANSLATED_BYTES)
    low = min(one.start for one in program.segments) & ~(PAGE - 1)
    high = max(one.end for one in program.segments)
    uc.mem_map(low, (high - low + PAGE - 1) & ~(PAGE - 1))
    for segment in program.segments:
        uc.mem_write(segment.start, segment.data)
    uc.mem_map(MARKS, PAGE)
    uc.mem_write(MARKS, HLT * PAGE)
    for cpu in range(program.cpus):
        uc.mem_map(STACKS + cpu * SLOT, STACK_SIZE)
    return uc
