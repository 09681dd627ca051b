"""What ended the work of a CPU: an exception, a panic, a triple fault or a reset."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb import GdbError
from vmmlab.observe.cpu import CpuState, Panicked, TakenException, TripleFault
from vmmlab.observe.log import CpuLog, Log
from vmmlab.observe.observation import Hit
from vmmlab.observe.printed import formatted
from vmmlab.observe.view import View

# OUT (Intel SDM vol. 2): its opcode and a port number, or its opcode alone with the port in DX.
_OUT_BYTES: Final = 2
_OUT_TO_NUMBER: Final = (0xE6, 0xE7)
_OUT_TO_DX: Final = (0xEE, 0xEF)


async def note_fault(view: View, log: CpuLog, cpu: int, hit: Hit) -> None:
    """Record the first exception or panic of a CPU, which comes to rest with it.

    Args:
        view: the machine, stopped.
        log: what has been recorded of the CPU.
        cpu: the CPU.
        hit: where it is.
    """
    if log.found.exception or log.found.panicked:
        return
    if hit.place == "exception_panic":
        log.find(exception=await _exception_taken(view, cpu, hit.state))
    elif hit.place == "panic":
        log.find(panicked=await _panicked(view, cpu, hit.state))


async def _exception_taken(view: View, cpu: int, state: CpuState) -> TakenException | None:
    """Read the frame that the exception handler was given (include/exception.h).

    Args:
        view: the machine, stopped.
        cpu: a CPU at the first instruction of exception_panic.
        state: its registers.
    """
    abi = view.abi
    try:
        at = await view.argument(cpu, "exception_panic")
        frame = await view.gdb.read_virt(cpu, at, abi.frame * abi.word)
    except GdbError:
        return None
    words = [abi.pointer(frame[i:]) for i in range(0, len(frame), abi.word)]
    vector, error, ip = words[abi.vector : abi.vector + 3]
    sp = at + abi.frame * abi.word if abi.arch == "i386" else words[abi.vector + 5]
    place = view.image_place(ip)
    at_fault = replace(state, pc=ip, rsp=sp)
    caller = await view.caller(cpu, at_fault)
    code = await view.instruction(cpu, at_fault)
    return TakenException(vector, error, replace(place, caller=caller), state.cr2, sp, code)


async def _panicked(view: View, cpu: int, state: CpuState) -> Panicked:
    """Return what a CPU at the first instruction of `panic` is about to print, and who called it.

    The boot may end before all of it is printed, at another place each time.
    """
    text = await formatted(view, cpu, "panic")
    return Panicked(text, await view.caller(cpu, state) or view.place(state))


async def note_resets(view: View, log: Log) -> None:
    """Record which CPUs had just written to a port when the machine was reset.

    A device asks for the reset, and the CPU stops right after the instruction.
    """
    for cpu, one in enumerate(log.cpus):
        pc = (await view.state(cpu)).pc
        if not view.symbols.owner(pc):
            continue
        # Port 0x92 may have turned A20 off, and then virtual addresses lead elsewhere.
        code = await view.read_if_there(pc - VMM_BASE - _OUT_BYTES, _OUT_BYTES)
        if code and (code[0] in _OUT_TO_NUMBER or code[1] in _OUT_TO_DX):
            one.find(after_out=True)


async def note_triple_faults(view: View, log: Log) -> None:
    """Record which exception began the triple fault of which CPU, from QEMU's own log."""
    for cpu, fault in await view.machine.culprits():
        first = fault.first or fault.last
        if first is not None:
            cr2 = first.registers.get("cr2", 0)
            log.cpus[cpu].find(triple_fault=TripleFault(first.vector, first.pc, cr2))
