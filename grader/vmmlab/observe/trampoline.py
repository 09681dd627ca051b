"""Single-steps APs through the trampoline, from physical 0 to ap_entry."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb import GdbError, Registers
from vmmlab.observe.cpu import CpuState, Touch, TrampolineStep
from vmmlab.observe.insight import Insight, Looked
from vmmlab.observe.milestones import LONG_MODE, PROTECTED_MODE, REAL_MODE
from vmmlab.observe.session import Session
from vmmlab.observe.touched import PAUSE as _PAUSE
from vmmlab.observe.view import NO_INSTRUCTION
from vmmlab.x86.decode import decode

BUDGET: Final = 2000
"""Instructions between physical 0 and ap_entry."""
SPIN_REPEATS: Final = 1
"""Times that the same registers may be seen again before a CPU "waits"."""
_MOST_READ: Final = 64  # bytes of a store that are kept

_LEADS_ELSEWHERE: Final = re.compile(
    r"j[a-z]+|ljmp|l?call|ret[a-z]*|iret[a-z]*|loop[a-z]*|int[13o]?|ud[0-9a-z]*|sys[a-z]+|hlt|rsm"
)
"""Instructions after which another one than the next may follow."""

StopBefore = Callable[[Looked], bool]
"""Asked before each instruction; True stops the AP there."""
_TODO: Final = "todo32"  # boot/todo.S: given code that prints a TODO of the trampoline


class Stepper:
    """Steps the APs of one boot; each of them may be stopped on the way and go on later.

    Args:
        session: the boot.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._insights: dict[int, Insight] = {}
        self._repeats: dict[int, Counter[Registers]] = {}
        self._memory: dict[Touch, bytes] = {}
        self._counter = _CounterWord(session)
        self._stopped: dict[int, TrampolineStep] = {}
        self.at_todo: dict[int, CpuState] = {}
        """The APs that have come to a TODO in the trampoline, with their registers there."""

    async def follow(self, cpu: int, stop_before: StopBefore | None = None) -> bool:
        """Step an AP until it is in `ap_entry` or at a TODO, dies or gets nowhere.

        Args:
            cpu: the AP.
            stop_before: asked before each instruction; another call goes on from there.

        Returns:
            Whether `stop_before` stopped it.
        """
        session, log = self._session, self._session.log.cpus[cpu]
        goal = session.view.symbols.maybe("ap_entry")
        todo = (session.view.symbols.maybe(_TODO) or 0) - VMM_BASE
        log.find(stopped=False)
        insight = self._insights.setdefault(cpu, Insight(session, cpu))
        repeats = self._repeats.setdefault(cpu, Counter())
        await self._counter.read()
        while len(log.steps) < BUDGET:
            now = await insight.look()
            _note_mode(session, cpu, now.state)
            if now.state.pc == goal:
                await session.note_stepped(cpu, "ap_entry", now.state)
                return False
            if now.state.pc == todo:
                self.at_todo[cpu] = now.state
                return False
            if not session.view.is_code(now.state):
                session.hold_outside_code(cpu, now.state.pc)
                return False
            if stop_before is not None and stop_before(now):
                self._stopped[cpu] = self._written(now)
                log.find(stopped=True)
                return True
            repeats[now.registers] += 1
            if repeats[now.registers] > SPIN_REPEATS:
                log.find(waits=True)
                break
            if not await self._step(cpu, now, insight):
                return False
        log.find(followed=False)  # it waits, or is long: it runs free from here
        return False

    def standing(self, cpu: int) -> TrampolineStep:
        """Return the instruction before which `follow` has stopped an AP.

        Raises:
            KeyError: it was never stopped.
        """
        return self._stopped[cpu]

    async def _step(self, cpu: int, now: Looked, insight: Insight) -> bool:
        """Execute one instruction and write it down; return False if the AP can go no further."""
        session, log = self._session, self._session.log.cpus[cpu]
        done = self._written(now)
        if now.refusal is not None:
            log.steps.append(done)
            log.find(refusal=now.refusal)
            log.died_at = session.view.place(now.state)
            session.give_up(cpu)
            return False
        kept = [one for one in now.touches if one.writes and self._in_copy(one)]
        ranges = [(one.address or 0, min(one.size, _MOST_READ)) for one in kept]
        alive = await self._execute(cpu, now, ranges)
        insight.stepped(now.doing)
        counted = 0
        if alive and any(one.writes for one in now.touches):
            counted = await self._counter.read()
            done = replace(done, touches=await self._with_values(cpu, now.touches, kept))
        log.steps.append(replace(done, counted=counted))
        if alive and await self._has_faulted(cpu, now):
            log.find(faulted=True)
            log.died_at = session.view.place(now.state)
            alive = False
        if not alive:
            if not session.ended:
                log.died_at = log.died_at or session.view.place(now.state)
            session.give_up(cpu)  # processors do not leave HLT at the next SIPI; QEMU's do
        return alive

    async def _execute(self, cpu: int, now: Looked, peek: list[tuple[int, int]]) -> bool:
        """Execute one instruction; return False if the AP can go no further."""
        name = now.doing.name if now.doing else ""
        if name == "pause":  # a step of QEMU's would be of two instructions
            await self._session.gdb.write_register(cpu, "rip", now.registers.rip + len(_PAUSE))
            return True
        return await self._session.step(cpu, peek=peek) and name != "hlt"

    async def _has_faulted(self, cpu: int, now: Looked) -> bool:
        """Whether an instruction that goes on to the next one has led elsewhere: an exception."""
        if now.doing is None or _LEADS_ELSEWHERE.fullmatch(now.doing.name):
            return now.doing is None
        after = await self._session.gdb.registers(cpu)
        if after.rip == now.registers.rip and now.doing.repeated:
            return False
        return after.rip != now.registers.rip + now.doing.size

    def _written(self, now: Looked) -> TrampolineStep:
        decoded = decode(now.code, now.state.pc, now.state.bits)
        size = decoded.size if decoded else 1
        return TrampolineStep(
            now.state,
            now.code[:size],
            decoded.text if decoded else NO_INSTRUCTION,
            place=self._session.view.place(now.state),
            touches=now.touches,
            register=now.register,
            value=now.value,
            msr=now.msr,
            descriptor=now.descriptor,
            made_for=now.made_for,
        )

    def _in_copy(self, touch: Touch) -> bool:
        view = self._session.view
        return touch.covers(view.inputs.apinit_addr, view.trampoline_size)

    async def _with_values(
        self, cpu: int, touches: tuple[Touch, ...], kept: list[Touch]
    ) -> tuple[Touch, ...]:
        """Read what was stored; if a store has changed something, no loop has come to its start."""
        found = []
        for one in touches:
            value = b""
            if one in kept:
                try:
                    size = min(one.size, _MOST_READ)
                    value = await self._session.gdb.read_phys(one.address or 0, size)
                except GdbError:
                    value = b""
                if self._memory.get(one) != value:
                    self._memory[one] = value
                    self._repeats[cpu].clear()
            found.append(replace(one, value=value))
        return tuple(found)


class _CounterWord:
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
