"""The exceptions that the CPUs of a boot took: handled by the VMM, or ending in a triple fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb import GdbError
from vmmlab.observe.cpu import TakenException, TripleFault
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session

# OUT (Intel SDM vol. 2): its opcode and a port number, or its opcode alone with the port in DX.
_OUT_BYTES: Final = 2
_OUT_TO_NUMBER: Final = (0xE6, 0xE7)
_OUT_TO_DX: Final = (0xEE, 0xEF)


async def note_exception(session: Session, hit: Hit) -> None:
    """Read the frame that the exception handler was given (include/exception.h).

    Args:
        session: the boot.
        hit: a stop; anything but the first one of its CPU at exception_panic is ignored.
    """
    log = session.log.cpus[hit.cpu]
    if hit.place != "exception_panic" or log.found.exception is not None:
        return
    view, abi = session.view, session.view.abi
    try:
        at = await view.argument(hit.cpu, hit.place)
        frame = await session.gdb.read_virt(hit.cpu, at, abi.frame * abi.word)
    except GdbError:
        return
    words = [abi.pointer(frame[i:]) for i in range(0, len(frame), abi.word)]
    vector, error, ip = words[abi.vector : abi.vector + 3]
    sp = at + abi.frame * abi.word if abi.arch == "i386" else words[abi.vector + 5]
    place = view.image_place(ip)
    caller = await view.caller(hit.cpu, replace(hit.state, pc=ip, rsp=sp))
    taken = TakenException(vector, error, replace(place, caller=caller), hit.state.cr2, sp)
    log.find(exception=taken)


async def note_resets(session: Session) -> None:
    """Record which CPUs had just written to a port when the machine was reset.

    A device asks for the reset, and the CPU stops right after the instruction.
    """
    view = session.view
    for cpu, log in enumerate(session.log.cpus):
        pc = (await view.state(cpu)).pc
        if not view.symbols.owner(pc):
            continue
        # Port 0x92 may have turned A20 off, and then virtual addresses lead elsewhere.
        code = await view.read_if_there(pc - VMM_BASE - _OUT_BYTES, _OUT_BYTES)
        if code and (code[0] in _OUT_TO_NUMBER or code[1] in _OUT_TO_DX):
            log.find(after_out=True)


async def note_triple_faults(session: Session) -> None:
    """Record which exception began the triple fault of which CPU, from QEMU's own log."""
    for cpu, fault in await session.view.machine.culprits():
        first = fault.first or fault.last
        if first is not None:
            cr2 = first.registers.get("cr2", 0)
            log = session.log.cpus[cpu]
            log.find(triple_fault=TripleFault(first.vector, first.pc, cr2))
