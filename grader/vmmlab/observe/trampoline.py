"""Single-steps an AP through the trampoline, from physical 0 to ap_entry."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

from vmmlab.machine.gdb import Registers
from vmmlab.observe import segments
from vmmlab.observe.cpu import CpuState, DescriptorTable, Refusal, TrampolineStep
from vmmlab.observe.milestones import LONG_MODE, PROTECTED_MODE, REAL_MODE
from vmmlab.observe.modes import paging_refused
from vmmlab.observe.session import SPIN_REPEATS, Session
from vmmlab.observe.view import NO_INSTRUCTION
from vmmlab.x86.decode import decode

_BUDGET: Final = 2000  # instructions between physical 0 and ap_entry
_GP: Final = 13  # general protection


async def step_trampoline(session: Session, cpu: int, stop_at: int | None = None) -> bool:
    """Single-step an AP from physical 0 until it is in `ap_entry`, dies or gets nowhere.

    Args:
        session: the boot.
        cpu: the AP.
        stop_at: the instruction before which to stop on the way; another call goes on.

    Returns:
        Whether it stands at `stop_at`.
    """
    view, log = session.view, session.log.cpus[cpu]
    goal = view.symbols.maybe("ap_entry")
    counter = _Counter(session)
    await counter.read()
    state = await view.state(cpu)
    repeats: Counter[Registers] = Counter()
    for _ in range(_BUDGET):
        _note_mode(session, cpu, state)
        if state.pc == stop_at:
            return True
        if state.pc == goal:
            await session.note_stepped(cpu, "ap_entry", state)
            return False
        if not view.is_code(state):
            session.hold_outside_code(cpu, state.pc)
            return False
        registers = await session.gdb.registers(cpu)
        repeats[registers] += 1
        if repeats[registers] > SPIN_REPEATS:
            break
        if state.mode == "protected" and state.bits == 16:
            told = await session.gdb.describe(cpu)
            gdtr = DescriptorTable(told["gdt_base"], told["gdt_limit"])
            log.found = replace(log.found, gdtr=gdtr)
        if not await _step(session, cpu, state, registers, counter):
            return False
        state = await view.state(cpu)
        if paging_refused(log.steps[-1].text, registers, state):
            _refuse(session, cpu, Refusal("paging-needs-pae", _GP), log.steps[-1].state)
            return False
    if stop_at is None:
        # It waits, or is long: it runs free from here.
        log.found = replace(log.found, followed=False)
    return False


class _Counter:
    """The counter apinit_procs in the copy, read only where an instruction may have changed it."""

    def __init__(self, session: Session) -> None:
        self._view = session.view
        self._at = session.view.in_copy("apinit_procs")
        self._value = 0

    async def read(self) -> int:
        """Read it; return by how much it has changed since the last time."""
        if self._at is None:
            return 0
        before, self._value = self._value, await self._view.read_u32(self._at)
        return self._value - before


async def _step(
    session: Session, cpu: int, state: CpuState, registers: Registers, counter: _Counter
) -> bool:
    """Execute one instruction and write it down; return False if the AP can go no further."""
    steps = session.log.cpus[cpu].steps
    code = await session.view.code_at(cpu, state)
    decoded = decode(code, state.pc, state.bits)
    text = decoded.text if decoded else NO_INSTRUCTION
    raw = code[: decoded.size if decoded else 1]
    refusal = await segments.refused(session.gdb, cpu, state, code, registers)
    if refusal is not None:
        steps.append(TrampolineStep(state, raw, text, 0))
        _refuse(session, cpu, refusal, state)
        return False
    alive = await session.step(cpu)
    counted = await counter.read() if alive and decoded and decoded.writes_memory else 0
    steps.append(TrampolineStep(state, raw, text, counted))
    if not alive:
        session.give_up(cpu)  # processors do not leave HLT at the next SIPI; QEMU's do
    return alive


def _refuse(session: Session, cpu: int, refusal: Refusal, state: CpuState) -> None:
    """An instruction of an AP raises an exception on a real processor: hold the AP there."""
    log = session.log.cpus[cpu]
    log.found = replace(log.found, refusal=refusal)
    log.died_at = session.view.place(state)
    session.give_up(cpu)


def _note_mode(session: Session, cpu: int, state: CpuState) -> None:
    """Write down the milestone that a mode is."""
    log = session.log.cpus[cpu]
    start = session.inputs.apinit_addr
    if state.mode == "real":
        if start <= state.pc < start + max(session.view.trampoline_size, 1):
            log.reach(REAL_MODE, state)
    elif state.mode == "protected":
        log.reach(PROTECTED_MODE, state)
    else:
        log.reach(LONG_MODE, state)
