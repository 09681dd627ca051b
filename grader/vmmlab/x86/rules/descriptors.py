"""Rules about loading a segment register in protected mode: selector, table and descriptor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vmmlab.x86.registers import (
    DESC_BIG,
    DESC_CODE,
    DESC_CONFORMING,
    DESC_GRANULAR,
    DESC_LONG,
    DESC_PRESENT,
    DESC_READABLE,
    DESC_S,
    EFER_LMA,
)
from vmmlab.x86.rules.model import Refusal, refusal

_SS: Final = 12  # the exception #SS
_GATES: Final = frozenset({1, 4, 5, 9, 12})
_LONG_GATES: Final = frozenset({12})
"""Types of system descriptors through which a far jump may go (SDM vol. 3, table 3-2): gates, and
task state segments that are not busy; in long mode call gates alone (SDM vol. 2, JMP)."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A segment register that is about to be loaded, with the descriptor that was found.

    Args:
        register: such as "cs".
        selector: what it is loaded with.
        descriptor: the eight bytes in the GDT as a number; None if they could not be read.
        target: for CS, the offset at which the code goes on; None if that is not known.
    """

    register: str
    selector: int
    descriptor: int | None
    target: int | None = None


def descriptor_rules(
    selected: Selected, registers: Mapping[str, int], hidden: Mapping[str, int], bits: int
) -> Iterator[Refusal]:
    """Yield what forbids to load a segment register.

    Args:
        selected: the register, the selector and what was found for it.
        registers: by name, before it.
        hidden: "gdt_base" and "gdt_limit".
        bits: the width of the code.
    """
    selector, register = selected.selector, selected.register
    base, limit = hidden["gdt_base"], hidden["gdt_limit"]
    found = selected.descriptor
    told: dict[str, Any] = {
        "segment": register, "value": selector, "limit": limit, "base": base, "bits": found or 0,
    }  # fmt: skip
    if selector < 4:
        if register == "cs" or (register == "ss" and bits != 64):
            yield refusal("selector-null", **told)
    elif selector & 4:
        yield refusal("selector-local", **told)  # no trampoline has an LDT
    elif selector | 7 > limit:
        yield refusal("selector-beyond-table", **told)
    elif found is not None:
        yield from _descriptor(selected, found, told, registers)


def _descriptor(
    selected: Selected, found: int, told: dict[str, Any], registers: Mapping[str, int]
) -> Iterator[Refusal]:
    high, register = found >> 32, selected.register
    rpl, dpl, code = selected.selector & 3, high >> 13 & 3, bool(high & DESC_CODE)
    if register == "cs":
        gates = _LONG_GATES if registers["efer"] & EFER_LMA else _GATES
        if not high & DESC_S and (high >> 8 & 15) in gates:
            return
        right_kind = bool(high & DESC_S) and code
        right_level = dpl == 0 and (rpl == 0 or bool(high & DESC_CONFORMING))
    elif register == "ss":
        right_kind = bool(high & DESC_S and not code and high & DESC_READABLE)
        right_level = rpl == dpl == 0
    else:
        right_kind = bool(high & DESC_S and (not code or high & DESC_READABLE))
        right_level = dpl >= rpl or bool(code and high & DESC_CONFORMING)
    if not right_kind:
        yield refusal("descriptor-type", **told)
    elif not right_level:
        yield refusal("descriptor-privilege", **told)
    elif not high & DESC_PRESENT:
        vector = _SS if register == "ss" else None
        yield refusal("descriptor-not-present", vector=vector, **told)
    elif register == "cs":
        yield from _code(selected, found, told, registers)


def _code(
    selected: Selected, found: int, told: dict[str, Any], registers: Mapping[str, int]
) -> Iterator[Refusal]:
    high = found >> 32
    long = registers["efer"] & EFER_LMA and high & DESC_LONG
    if long and high & DESC_BIG:
        yield refusal("descriptor-long-and-big", **told)
    last = found & 0xFFFF | high & 0xF0000
    if high & DESC_GRANULAR:
        last = last << 12 | 0xFFF
    if not long and selected.target is not None and selected.target > last:
        yield refusal("jump-beyond-limit", **{**told, "offset": selected.target, "limit": last})
