"""Executes a piece of machine code and shows what it has done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vmmlab.worksheet.assembly import Bits
from vmmlab.worksheet.cpu import PAGE, TrialCpu

CODE: Final = 0x7000
"""The linear address of code for which no other is given."""


@dataclass(frozen=True)
class After:
    """The state after executing some code.

    Attributes:
        registers: by their 64-bit names in every mode, as `registers["rsp"]`; segments too.
        address: linear address of the next instruction.
        finished: it has run past its last instruction, or jumped out of the code.
        steps: the number of executed instructions.
        written: the writes to memory, as (address, number of bytes), in order.
        memory: the pages in use, by address.
    """

    registers: Mapping[str, int]
    address: int
    finished: bool
    steps: int
    written: tuple[tuple[int, int], ...]
    memory: Mapping[int, bytes] = field(repr=False)

    def bytes_at(self, address: int, count: int) -> bytes:
        """Return `count` bytes of memory; untouched memory is 0."""
        return bytes(
            self.memory.get(at & -PAGE, bytes(PAGE))[at % PAGE]
            for at in range(address, address + count)
        )


def run(
    code: bytes,
    bits: Bits,
    *,
    registers: Mapping[str, int] | None = None,
    memory: Mapping[int, bytes] | None = None,
    address: int = CODE,
    start: int | None = None,
    steps: int = 1000,
) -> After:
    """Execute `code` on a CPU of its own and return the state afterwards.

    There is memory at every address, and it is 0. In 16-bit mode the segments count.

    Args:
        code: machine code.
        bits: 16, 32 or 64: the mode of the CPU.
        registers: values before the first instruction, by 64-bit name (`rsp`) or segment (`cs`).
        memory: the content of memory before, by linear address.
        address: linear address of the code.
        start: linear address of the first instruction to execute, if not the code's first.
        steps: the most instructions to execute.

    Raises:
        WorksheetError: a register's name is wrong, or unicorn is not installed.
    """
    cpu = TrialCpu(code, bits, address, memory or {})
    for name, value in (registers or {}).items():
        cpu.set(name, value)
    cpu.at = address if start is None else start
    taken = 0
    while taken < steps and cpu.inside and cpu.step():
        taken += 1
    return After(
        cpu.registers(),
        cpu.at,
        not cpu.inside,
        taken,
        tuple(cpu.written),
        cpu.pages(),
    )
