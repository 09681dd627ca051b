"""Reads and writes an MSR of a stopped CPU, which QEMU itself does not show.

The CPU executes one instruction of the grader's own, such as RDMSR or WRMSR; afterwards registers
and memory are as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb.registers import Registers
from vmmlab.observe.session import Session

_RDMSR: Final = b"\x0f\x32"
_WRMSR: Final = b"\x0f\x30"
_HALF: Final = 0xFFFFFFFF
_BORROWED: Final = "vmm_main"
"""A function that has been entered and is not called again: its first bytes are borrowed."""
_SAVED: Final = ("rax", "rcx", "rdx", "rip", "rsp", "eflags")


async def read_msr(session: Session, cpu: int, number: int) -> int | None:
    """Return the value of an MSR; None if the CPU has none of this number.

    Args:
        session: the boot; all CPUs are stopped.
        cpu: the CPU, which is in the VMM: in 64-bit mode, on page tables that map the image.
        number: of the MSR.
    """
    after = await execute(session, cpu, _RDMSR, {"rcx": number})
    return None if after is None else (after.rdx & _HALF) << 32 | after.rax & _HALF


async def write_msr(session: Session, cpu: int, number: int, value: int) -> bool:
    """Write an MSR; return whether the CPU has accepted it.

    Args:
        session: as for `read_msr`.
        cpu: as for `read_msr`.
        number: of the MSR.
        value: 64 bits.
    """
    halves = {"rcx": number, "rax": value & _HALF, "rdx": value >> 32}
    return await execute(session, cpu, _WRMSR, halves) is not None


async def execute(
    session: Session, cpu: int, code: bytes, registers: Mapping[str, int]
) -> Registers | None:
    """Let a CPU execute one instruction; return its registers then, None if it took a fault.

    Args:
        session: as for `read_msr`.
        cpu: as for `read_msr`.
        code: the instruction.
        registers: what it finds in registers.
    """
    gdb = session.gdb
    before = await gdb.registers(cpu)
    at = session.view.addr(_BORROWED)
    old = await gdb.read_phys(at - VMM_BASE, len(code))
    await gdb.write_phys(at - VMM_BASE, code)
    await gdb.write_registers(cpu, {**registers, "rip": at})
    try:
        alive = await session.step(cpu)
        after = await gdb.registers(cpu)
    finally:
        await gdb.write_phys(at - VMM_BASE, old)
        await gdb.write_registers(cpu, {name: before[name] for name in _SAVED})
        session.stands_at(cpu, before.linear_pc)
    return after if alive and after.rip == at + len(code) else None
