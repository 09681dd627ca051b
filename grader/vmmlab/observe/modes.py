"""The mode and the operand size of a CPU, from registers that do not hold all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from vmmlab.machine.gdb import Registers
from vmmlab.observe.cpu import CpuState
from vmmlab.x86.registers import DESC_BIG, DESC_LONG, EFER_LMA

_KEPT: Final = (
    "cs", "rip", "rsp", "rbp", "rdi", "rsi", "rax", "eflags", "cr0", "cr2", "cr3", "cr4", "efer",
    "gs_base",
)  # fmt: skip


@dataclass
class ModeTracker:
    """Follows one CPU through its modes: gdb's registers lack the hidden part of CS.

    After long mode is active, 32-bit code goes on until a far jump loads CS: while the selector is
    the old one, the code still is 32-bit code.
    """

    protected_cs: int | None = None
    told: tuple[int, int] | None = None

    def tell(self, selector: int, flags: int) -> None:
        """Take note of what a far jump in protected mode has loaded CS with.

        Args:
            selector: its visible part.
            flags: the second half of its descriptor.
        """
        self.told = selector, flags

    def state(self, registers: Registers) -> CpuState:
        """Return the part of a CPU's registers that an Observation keeps."""
        bits: Literal[16, 32, 64] = 64
        told = self.told if registers.mode != "real" else None
        if told is not None and told[0] == registers.cs:
            long = told[1] & DESC_LONG and registers.efer & EFER_LMA
            bits = 64 if long else 32 if told[1] & DESC_BIG else 16
        elif registers.mode == "real" or (registers.mode == "protected" and registers.cs_base):
            bits, self.protected_cs = 16, None
        elif registers.mode == "protected":
            bits, self.protected_cs = 32, registers.cs
        elif registers.cs == self.protected_cs:
            bits = 32
        else:
            self.protected_cs = None
        kept = {name: registers[name] for name in _KEPT}
        return CpuState(pc=registers.linear_pc, bits=bits, **kept)
