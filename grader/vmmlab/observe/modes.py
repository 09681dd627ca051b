"""The mode and the operand size of a CPU, from registers that do not hold all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from vmmlab.machine.gdb import Registers
from vmmlab.observe.cpu import CpuState
from vmmlab.x86.registers import CR0_PG, CR4_PAE, EFER_LME

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

    def state(self, registers: Registers) -> CpuState:
        """Return the part of a CPU's registers that an Observation keeps."""
        bits: Literal[16, 32, 64] = 64
        if registers.mode == "real" or (registers.mode == "protected" and registers.cs_base):
            bits, self.protected_cs = 16, None
        elif registers.mode == "protected":
            bits, self.protected_cs = 32, registers.cs
        elif registers.cs == self.protected_cs:
            bits = 32
        else:
            self.protected_cs = None
        kept = {name: registers[name] for name in _KEPT}
        return CpuState(pc=registers.linear_pc, bits=bits, **kept)


def paging_refused(text: str, before: Registers, after: CpuState) -> bool:
    """Whether an instruction asked for paging with EFER.LME but without CR4.PAE.

    QEMU goes on without paging; a processor raises #GP (Intel SDM vol. 3, 9.8.5).

    Args:
        text: the instruction.
        before: the registers before it.
        after: what is left of them after it.
    """
    name = text.removeprefix("mov cr0, ")
    if name == text or after.cr0 & CR0_PG or not before.efer & EFER_LME or before.cr4 & CR4_PAE:
        return False
    return bool(before[f"r{name[1:]}"] & CR0_PG)
