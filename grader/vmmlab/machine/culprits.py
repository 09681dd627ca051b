"""Which processors a triple fault has shut down."""

from __future__ import annotations

from collections.abc import Sequence

from vmmlab.machine.exceptions import CpuException, TripleFault
from vmmlab.machine.gdb import Gdb, Registers

_COMPARED = ("rip", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "cs", "cr3", "cr2")
_DOUBLE_FAULT_END = 4 * 9 - 1
"""The last byte of the real-mode vector of #DF."""


async def culprits(gdb: Gdb, faults: Sequence[TripleFault]) -> tuple[tuple[int, TripleFault], ...]:
    """Return the processors that were shut down, each with its triple fault.

    QEMU's record of a fault contains all registers but not the processor, so it is matched with the
    processor that has the same registers. Several may have faulted before the machine stopped.

    Args:
        gdb: the debug stub of a machine that has ended.
        faults: from its log.
    """
    found: list[tuple[int, TripleFault]] = []
    for registers in await gdb.all_registers() if faults else ():
        for fault in faults:
            if fault.last is None:
                faulted = await _shut_down_in_real_mode(gdb, registers)
            else:
                faulted = _same(registers, fault.last)
            if faulted:
                found.append((registers.cpu, fault))
                break
    return tuple(found)


async def _shut_down_in_real_mode(gdb: Gdb, registers: Registers) -> bool:
    """Whether a processor can have taken a triple fault in real mode.

    QEMU records no registers there. Only a table that is too short for #DF leads to a triple fault
    (Intel SDM vol. 3, 21.1.4).
    """
    if registers.mode != "real":
        return False
    told = await gdb.describe(registers.cpu)
    return told.get("idt_limit", 0xFFFF) < _DOUBLE_FAULT_END


def _same(registers: Registers, record: CpuException) -> bool:
    return all(record.registers.get(name) == registers[name] for name in _COMPARED)
