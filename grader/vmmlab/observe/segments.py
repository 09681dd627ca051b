"""Accesses to memory that a segment register forbids, but that QEMU executes.

QEMU's translated code adds the base of a segment and checks neither its limit nor its type. A
processor checks both before it accesses memory (SDM vol. 3, 5.3 to 5.5; APM vol. 2, 4.12), and
raises #GP, or #SS for SS. In protected mode a segment register keeps its real-mode limit of 64 KiB
until it is loaded again (SDM vol. 3, 9.9.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmmlab.observe.cpu import CpuState, Refusal, Rule
from vmmlab.x86.decode import segment_uses
from vmmlab.x86.registers import CR0_PE, DESC_CODE, DESC_EXPAND_DOWN, DESC_PRESENT, DESC_READABLE

if TYPE_CHECKING:
    from vmmlab.machine.gdb import Gdb, Registers

REAL_MODE_LIMIT: Final = 0xFFFF  # bytes
_SS, _GP = 12, 13  # the exceptions #SS and #GP


async def refused(
    gdb: Gdb, cpu: int, state: CpuState, code: bytes, registers: Registers
) -> Refusal | None:
    """The access of a stopped CPU's next instruction that its segment registers forbid.

    64-bit code is not checked, because its segments have no limit.

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
        rule = _rule(flags, last > limit, state.bits, writes=one.writes)
        if rule is not None:
            vector = _SS if one.segment == "ss" and rule != "segment-null" else _GP
            return Refusal(rule, vector, one.segment, last, limit)
    return None


def _rule(flags: int, beyond: bool, bits: int, *, writes: bool) -> Rule | None:
    if not flags & DESC_PRESENT:
        return "segment-null"
    if bits == 32:  # a real-mode CS allows writes, and stays valid until a far jump
        if flags & DESC_CODE:
            if writes:
                return "segment-write"
            if not flags & DESC_READABLE:
                return "segment-read"
        elif writes and not flags & DESC_READABLE:
            return "segment-write"
    down = not flags & DESC_CODE and flags & DESC_EXPAND_DOWN
    return "segment-limit" if beyond and not down else None
