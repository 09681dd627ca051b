"""What the manual requires of a write to the ICR, and QEMU does not check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from vmmlab.x86.registers import ICR_ASSERT, ICR_INIT, ICR_LEVEL, ICR_MODE, ICR_STARTUP

ICR_RESERVED: Final = 0xFFF33000
"""Bits 31 to 20, 17, 16 and 13 are reserved; bit 12, the delivery status, can only be read."""

IcrRule = Literal["assert", "edge", "vector", "reserved"]
"""A rule for INIT and start-up IPIs (Intel SDM vol. 3, 10.6.1).

assert: the level is 1 for every IPI but the INIT level de-assert.
edge: the trigger mode is edge; "level" is for the INIT level de-assert (table 10-3).
vector: the vector of an INIT is 0.
reserved: reserved bits are 0; an x2APIC raises #GP otherwise (10.12.9).
"""


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule that a write of the ICR breaks.

    Args:
        rule: which one.
        bits: the bits that are wrong, as a mask.
        section: of the Intel SDM, vol. 3.
    """

    rule: IcrRule
    bits: int
    section: str


def broken_rules(low: int) -> tuple[BrokenRule, ...]:
    """Return the rules that the low half of an INIT or a start-up IPI breaks, the gravest first.

    Args:
        low: bits 31 to 0, as written.
    """
    mode = low & ICR_MODE
    if mode not in (ICR_INIT, ICR_STARTUP):
        return ()
    out = []
    if not low & ICR_ASSERT:
        out.append(BrokenRule("assert", ICR_ASSERT, "10.6.1"))
    if low & ICR_LEVEL:
        out.append(BrokenRule("edge", ICR_LEVEL, "10.6.1, table 10-3"))
    if mode == ICR_INIT and low & 0xFF:
        out.append(BrokenRule("vector", low & 0xFF, "10.6.1"))
    if low & ICR_RESERVED:
        out.append(BrokenRule("reserved", low & ICR_RESERVED, "10.6.1, figure 10-12"))
    return tuple(out)
