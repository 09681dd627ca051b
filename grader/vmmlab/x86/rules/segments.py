"""Rules about memory that is reached through a segment register.

QEMU's translated code adds the base of a segment and looks neither at its limit nor at its kind. A
processor does both, before it touches memory (SDM vol. 3, 5.3 to 5.5; APM vol. 2, 4.12), and raises
#GP, or #SS for SS. What real mode has left in a segment register stays in force in protected mode
until it is loaded anew: 64 KiB (SDM vol. 3, 9.9.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from vmmlab.x86.decode import Width
from vmmlab.x86.operands import Operation
from vmmlab.x86.registers import (
    CR0_PE,
    DESC_CODE,
    DESC_EXPAND_DOWN,
    DESC_PRESENT,
    DESC_READABLE,
)
from vmmlab.x86.rules.model import Refusal, Rule, refusal

_SS: Final = 12  # the exception #SS


def segment_rules(
    doing: Operation, bits: Width, registers: Mapping[str, int], hidden: Mapping[str, int]
) -> Iterator[Refusal]:
    """Yield what the segment registers forbid an instruction; in 64-bit code they have no limit.

    Args:
        doing: the instruction.
        bits: the width of the code.
        registers: by name, before it.
        hidden: the hidden parts of the segment registers, such as "ds_limit".
    """
    if bits == 64:
        return
    last = registers["rip"] + doing.size - 1
    if "cs_limit" in hidden and last > hidden["cs_limit"]:
        yield refusal("code-limit", segment="cs", offset=last, limit=hidden["cs_limit"])
    for use in doing.uses:
        limit, flags = hidden[f"{use.segment}_limit"], hidden[f"{use.segment}_flags"]
        last = use.offset + use.size - 1
        rule: Rule | None = "segment-limit" if last > limit else None
        if registers["cr0"] & CR0_PE:
            inside = use.offset <= limit, last > limit
            rule = _kind(flags, *inside, bits, writes=use.writes)
        if rule is not None:
            vector = _SS if use.segment == "ss" and rule != "segment-null" else None
            yield refusal(rule, vector=vector, segment=use.segment, offset=last, limit=limit)


def _kind(flags: int, below: bool, beyond: bool, bits: int, *, writes: bool) -> Rule | None:
    """Return the rule that an access breaks in protected mode.

    Args:
        flags: the second half of the segment's descriptor.
        below: it begins at the limit or below.
        beyond: it ends above the limit.
        bits: the width of the code.
        writes: it writes.
    """
    if not flags & DESC_PRESENT:
        return "segment-null"
    if bits == 32:  # CS of real mode may be written; before a far jump it is in force
        if flags & DESC_CODE:
            if writes:
                return "segment-write"
            if not flags & DESC_READABLE:
                return "segment-read"
        elif writes and not flags & DESC_READABLE:
            return "segment-write"
    if not flags & DESC_CODE and flags & DESC_EXPAND_DOWN:  # its offsets are those above the limit
        return "segment-expand-down" if below else None
    return "segment-limit" if beyond else None
