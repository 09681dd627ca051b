"""Reads an MSR of a stopped CPU, which QEMU itself does not show.

The CPU executes one RDMSR of the grader's own; afterwards registers and memory are as before.
"""

from __future__ import annotations

from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.session import Session

_RDMSR: Final = b"\x0f\x32"
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
    gdb = session.gdb
    before = await gdb.registers(cpu)
    at = session.view.addr(_BORROWED)
    code = await gdb.read_phys(at - VMM_BASE, len(_RDMSR))
    await gdb.write_phys(at - VMM_BASE, _RDMSR)
    await gdb.write_registers(cpu, {"rcx": number, "rip": at})
    try:
        alive = await session.step(cpu)
        after = await gdb.registers(cpu)
    finally:
        await gdb.write_phys(at - VMM_BASE, code)
        await gdb.write_registers(cpu, {name: before[name] for name in _SAVED})
        session.stands_at(cpu, before.linear_pc)
    if not alive or after.rip != at + len(_RDMSR):
        return None
    return (after.rdx & 0xFFFFFFFF) << 32 | after.rax & 0xFFFFFFFF
