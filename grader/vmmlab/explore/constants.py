"""Constants in the code that a CPU is in: values that a loop may compare its counter with."""

from __future__ import annotations

from typing import Final

from vmmlab.explore.context import Context
from vmmlab.explore.program import Program

# Bytes of a stack in which return addresses are searched.
_CALLERS: Final = 256
# Bytes of code before and after an address in which constants are.
_AROUND: Final = 400


class Constants:
    """The immediate operands of a program.

    Args:
        program: the code.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        # For each piece of the image: its immediate operands with their places.
        self._immediate_operands: dict[int, list[tuple[int, int]]] = {}

    def of(self, context: Context) -> frozenset[int]:
        """Return the immediate operands of the functions that a CPU is in, its callers included."""
        found = set(self._immediates(context.rip))
        stack = context.stack
        for at in range(0, min(len(stack), _CALLERS) - 7, 8):
            value = int.from_bytes(stack[at : at + 8], "little")
            if self._program.is_code(value):
                found |= self._immediates(value - 1)
        return frozenset(found)

    def _immediates(self, address: int) -> frozenset[int]:
        """Return the immediate operands of the instructions around an address."""
        here = self._program.symbols.range_at(address)
        if here is None:
            return frozenset()
        known = self._immediate_operands.get(here.start)
        if known is None:
            known, at = [], here.start
            while at < here.end:
                instruction = self._program.instruction(at)
                known += [(at, one) for one in instruction.immediates]
                at += instruction.size
            self._immediate_operands[here.start] = known
        return frozenset(one for at, one in known if abs(at - address) < _AROUND)
