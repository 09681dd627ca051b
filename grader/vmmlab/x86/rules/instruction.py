"""Applies every rule to one instruction that a CPU is about to execute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vmmlab.x86.decode import Width
from vmmlab.x86.operands import Operation
from vmmlab.x86.registers import CR0_PE
from vmmlab.x86.rules.control import control_rules
from vmmlab.x86.rules.descriptors import Selected, descriptor_rules
from vmmlab.x86.rules.model import Refusal, refusal
from vmmlab.x86.rules.segments import segment_rules


@dataclass(frozen=True, slots=True)
class Situation:
    """A CPU that is about to execute an instruction.

    Args:
        doing: the instruction.
        bits: the width of the code.
        registers: by name, before it.
        hidden: the hidden parts of the segment registers, and GDTR: "ds_limit", "gdt_base".
        selected: the segment registers that it loads.
    """

    doing: Operation
    bits: Width
    registers: Mapping[str, int]
    hidden: Mapping[str, int]
    selected: tuple[Selected, ...] = ()


def broken(situation: Situation) -> Refusal | None:
    """Return the first rule that the instruction breaks, or None."""
    return next(_all(situation), None)


def _all(now: Situation) -> Iterator[Refusal]:
    yield from segment_rules(now.doing, now.bits, now.registers, now.hidden)
    if now.doing.name == "mov" and any(one.register == "cs" for one in now.selected):
        yield refusal("mov-to-cs", segment="cs")
    if now.registers["cr0"] & CR0_PE:
        for one in now.selected:
            yield from descriptor_rules(one, now.registers, now.hidden, now.bits)
    yield from control_rules(now.doing, now.registers, now.hidden)
