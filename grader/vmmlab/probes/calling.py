"""Lets a CPU call a function for the grader, on the stack that it is on."""

from __future__ import annotations

from vmmlab.observe.session import Session
from vmmlab.probes.base import write_pointer

_ROOM = 0x200  # bytes of stack that a call of the grader's leaves alone
_ALIGNED = 16


async def stand_at(
    session: Session, function: str, back: int, *values: int, cpu: int = 0
) -> int | None:
    """Let a CPU stand at the first instruction of a function, as a call of C code leaves it.

    Args:
        session: the boot.
        function: its name.
        back: where it is to return to.
        values: its arguments.
        cpu: the CPU; the BSP if it is not given.

    Returns:
        RSP there; None if there is no such function, or if no stack is mapped.
    """
    view, gdb = session.view, session.gdb
    rsp = ((await view.state(cpu)).rsp - _ROOM & -_ALIGNED) - view.abi.word
    target, physical = view.symbols.maybe(function), await view.translate(cpu, rsp)
    if target is None or physical is None:
        return None
    await write_pointer(session, physical, back)
    registers = dict(zip(view.abi.registers, values, strict=False))
    await gdb.write_registers(cpu, {**registers, "rsp": rsp, "rip": target})
    return rsp
