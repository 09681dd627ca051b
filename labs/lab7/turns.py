"""Lets the CPUs prepare their guests one after the other, and one in the middle of another one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import note_allocation
from vmmlab.probes.shared import Variables
from vmmlab.x86.vmcb import VMEXIT_NMI

from .asking import CPUID, IOIO, VMMCALL, AskingProbe
from .crossing import PASSED, RUN
from .evidence import Diverted

_GATES: Final = ("svm_init", "svm_vminit")
RESET: Final = "svm_reset"
_RUN_THROUGH: Final = ("memset", "memcpy", "memmove")
_BUDGET: Final = 1500
_LEADS_TO: Final = (CPUID, VMMCALL, IOIO, RUN, "panic")
"""Where svm_start_vm may lead a CPU after an exit."""
_EXITCODE: Final = 0x70


@dataclass
class TurnsProbe(AskingProbe):
    """Lets the CPUs call svm_init, and later svm_vminit, one after the other, by their index.

    What functions that use the same variable do then depends on the functions alone. In other boots
    all CPUs call them at the same time.

    With `asks` the first CPU stops in a function where another one may come between: behind the
    store of a variable that all CPUs share, or before it if that was read before. Then the next one
    has its turn, and the first one goes on after it.
    """

    _at_gate: dict[int, str] = field(default_factory=dict, init=False)
    _queue: list[int] = field(default_factory=list, init=False)
    _turn: int | None = field(default=None, init=False)
    _parted: set[str] = field(default_factory=set, init=False)
    """The functions in which a CPU was to stop."""

    async def _take_turns(self, session: Session, hit: Hit) -> None:
        cpu = hit.cpu
        if hit.place in _GATES and self._turn != cpu:
            self._at_gate[cpu] = hit.place
            session.held.add(cpu)
            if len(self._at_gate) == session.inputs.cpus:
                self._queue, self._at_gate = sorted(self._at_gate), {}
                await self._next(session, hit.place)
        elif cpu == self._turn and hit.place in ("sync_all_processors", *rest_places()):
            await self._next(session)
        elif cpu == self._turn and hit.place == RESET:
            await self._part(session, hit.place)

    async def _next(self, session: Session, function: str = "") -> None:
        """Let the next CPU have its turn; it stands at the first instruction of a function."""
        self._turn = self._queue.pop(0) if self._queue else None
        if self._turn is not None:
            session.held.discard(self._turn)
            if function:
                await self._part(session, function)

    async def _part(self, session: Session, function: str) -> None:
        """Let the CPU whose turn it is stop within a function, and the next one go first."""
        first = self._turn
        if first is None or not (self.asks and self._queue) or function in self._parted:
            return
        self._parted.add(function)
        if await self._comes_between(session, first, Variables(session)):
            session.held.add(first)
            self._note(first, parted=(function, self._queue[0]))
            self._queue.insert(1, first)
            await self._next(session)

    async def _comes_between(self, session: Session, cpu: int, variables: Variables) -> bool:
        """Step a CPU to where another one may come between; False if it returns before."""
        back = await session.return_address(cpu) if variables.ranges else None
        read: set[int | None] = set()
        stored = False
        for _ in range(_BUDGET if back is not None else 0):
            if not stored:
                touched = [one for one in await variables.touched(cpu) if not one.locked]
                stored = any(one.writes for one in touched)
                if any(one.writes and not one.reads and one.address in read for one in touched):
                    return True
                read |= {one.address for one in touched if one.reads}
            if not await session.step(cpu):
                return False
            state = await session.view.state(cpu)
            if stored:
                return state.pc != back
            if state.pc == back or await self._passes(session, cpu, state):
                return False
        return False

    async def _passes(self, session: Session, cpu: int, state: CpuState) -> bool:
        """Let a CPU run through a provided function; True if it has come to another place."""
        symbols = session.view.symbols
        if state.pc == symbols.maybe("alloc"):
            await session.note_stepped(cpu, "alloc", state)
            await note_allocation(session, session.log.hits[-1])
            return False
        if state.pc in [symbols.maybe(name) for name in _RUN_THROUGH]:
            await session.run_to_return(cpu, state)
            return False
        return bool(session.places.at(state.pc))

    def _let_all_go(self, session: Session) -> None:
        session.held -= {*self._at_gate, *self._queue}
        self._at_gate, self._queue, self._turn = {}, [], None

    # ---- the loop ------------------------------------------------------------------------------

    async def _all_back(self, session: Session, cpus: Sequence[int]) -> None:
        """See whether a CPU handles its exit as before while another CPU has a different one.

        The other one has an exit for which there is nothing to do. Then all is as it was.
        """
        variables = Variables(session)
        if not self.asks or not variables.ranges:
            return
        for first, second in itertools.permutations(cpus[:2], 2):
            alone, _ = await self._led(session, first, None, variables)
            code_at = self._pages[second][0] - VMM_BASE + _EXITCODE
            kept = await session.gdb.read_phys(code_at, 8)
            await session.gdb.write_phys(code_at, VMEXIT_NMI.to_bytes(8, "little"))
            found, between = await self._led(session, first, second, variables)
            await session.gdb.write_phys(code_at, kept)
            if alone and alone != found and not session.ended:
                self._note(first, diverted=Diverted(alone, found, second, between))

    async def _led(
        self, session: Session, cpu: int, other: int | None, variables: Variables
    ) -> tuple[str, bool]:
        """Step a CPU to where svm_start_vm leads it; another one runs when it stores a variable.

        Returns:
            The function, or "", and whether the other one has run.
        """
        held, between, waits = await variables.held(), False, False
        kept = {one: await _general(session, one) for one in (cpu, other) if one is not None}
        found: str | None = None
        for _ in range(_BUDGET):
            stores = other is not None and not waits and await variables.stored(cpu)
            if (found := await _stepped(session, cpu)) is not None:
                break
            if stores and other is not None:
                between, led = True, None
                for _ in range(_BUDGET):
                    if (led := await _stepped(session, other)) is not None:
                        break
                waits = led is None
                await session.gdb.write_registers(other, kept[other])
        for one, registers in kept.items():
            await session.gdb.write_registers(one, registers)
        await variables.put_back(held)
        return found or "", between


async def _general(session: Session, cpu: int) -> dict[str, int]:
    """Return what a CPU needs to be where it was."""
    now = (await session.gdb.registers(cpu)).as_dict()
    return {name: now[name] for name in (*PASSED, "rax", "rsp", "rip", "eflags")}


async def _stepped(session: Session, cpu: int) -> str | None:
    """Step a CPU; return where it is led, "" if it cannot go on, None if neither."""
    if not await session.step(cpu):
        return ""
    pc = (await session.view.state(cpu)).pc
    return next((one for one in _LEADS_TO if session.view.symbols.maybe(one) == pc), None)
