"""Accesses to memory that a segment register forbids, and that QEMU carries out all the same.

QEMU's translated code adds the base of a segment and looks neither at its limit nor at its kind. A
processor does both, before it touches memory (SDM vol. 3, 5.3 to 5.5; APM vol. 2, 4.12), and raises
#GP, or #SS for SS. What real mode has left in a segment register stays in force in protected mode
until it is loaded anew: 64 KiB (SDM vol. 3, 9.9.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from vmmlab.observe.observation import CR0_PE, CpuState
from vmmlab.x86.decode import segment_uses

if TYPE_CHECKING:
    from vmmlab.machine.gdb import Gdb, Registers

NAMES: Final = ("es", "cs", "ss", "ds", "fs", "gs")
REASONS: Final = ("limit", "null", "read", "write")
REAL_MODE_LIMIT: Final = 0xFFFF  # bytes
# The second half of a descriptor (SDM vol. 3, 3.4.5).
_PRESENT: Final = 1 << 15
_CODE: Final = 1 << 11
_EXPAND_DOWN: Final = 1 << 10  # of a data segment
_READABLE: Final = 1 << 9  # a code segment may be read, a data segment written

Reason = Literal["limit", "null", "read", "write"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a processor would not carry out an access.

    Args:
        segment: the register, such as "ds".
        reason: beyond the limit; through the null selector; reads what may be executed only; writes
            what may be read only.
        offset: of the last byte, from the segment's base.
        limit: offset of the last byte that the segment has.
    """

    segment: str
    reason: Reason
    offset: int
    limit: int

    @property
    def vector(self) -> int:
        """The exception: 12 is #SS, 13 is #GP."""
        return 12 if self.segment == "ss" and self.reason != "null" else 13


async def refused(
    gdb: Gdb, cpu: int, state: CpuState, code: bytes, registers: Registers
) -> Refusal | None:
    """What in the next instruction of a stopped CPU its segment registers forbid.

    64-bit code is not asked: there segments have no limit.

    Args:
        gdb: the machine, paused.
        cpu: the CPU.
        state: where it is.
        code: the bytes that it is about to execute.
        registers: its registers.
    """
    if state.bits == 64:
        return None
    uses = segment_uses(code, state.bits, registers.as_dict())
    if not state.cr0 & CR0_PE:
        uses = tuple(one for one in uses if one.offset + one.size - 1 > REAL_MODE_LIMIT)
    if not uses:
        return None
    hidden = await gdb.describe(cpu)
    for one in uses:
        limit, flags = hidden[f"{one.segment}_limit"], hidden[f"{one.segment}_flags"]
        last = one.offset + one.size - 1
        reason = _reason(flags, last > limit, state.bits, writes=one.writes)
        if reason is not None:
            return Refusal(one.segment, reason, last, limit)
    return None


def _reason(flags: int, beyond: bool, bits: int, *, writes: bool) -> Reason | None:
    if not flags & _PRESENT:
        return "null"
    if bits == 32:  # CS of real mode may be written; before a far jump it is in force
        if flags & _CODE:
            if writes:
                return "write"
            if not flags & _READABLE:
                return "read"
        elif writes and not flags & _READABLE:
            return "write"
    down = not flags & _CODE and flags & _EXPAND_DOWN
    return "limit" if beyond and not down else None
