"""Runs, holds and single-steps CPUs, and records the places that they reach.

Probes decide what to record; checks interpret it. Nothing here knows what is right or wrong.

A breakpoint stops all CPUs and reports one of them. Another CPU that was at a breakpoint at the
same moment stops again as soon as it may run, so no stop is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final

from vmmlab.base.choice import Choice
from vmmlab.machine import Machine
from vmmlab.machine.gdb import MemoryUnreadable, Stop
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import Interleaving, Verdict
from vmmlab.observe.faults import note_fault
from vmmlab.observe.log import CpuLog, Log
from vmmlab.observe.milestones import (
    LONG_MODE,
    OWN_STACK,
    PARKED_BY_ITSELF,
    PROTECTED_MODE,
    REAL_MODE,
    milestone_at,
    rest_places,
)
from vmmlab.observe.observation import Hit
from vmmlab.observe.touched import Loop
from vmmlab.observe.view import Inputs, SymbolTable, View
from vmmlab.observe.watched import WatchedPlaces

RESTARTED: Final = "early_init"
"""A provided function that is called once: a second call means that the BSP was reset."""
_GIVEN_CALLS: Final = ("vmm_parked", "vmm_synced")
"""Tracepoints that say how far a CPU has come only if provided code calls them."""
_WITH_TEXT: Final = ("vmm_todo", "call_initfunc", "panic")  # their first argument is a C string
RUN_ATTEMPTS: Final = 8  # how often a CPU may take long before it counts as waiting
_SHORT_ATTEMPTS: Final = 3  # before them: each twice as long as the last, up to `limits.alone_s`
_PASSED_MOST: Final = 64  # places that a CPU passes before the one that it should reach
_SPIN_BUDGET: Final = 200  # instructions in which a waiting CPU's state repeats
_RUN_TO_RETURN: Final = (
    "printf", "vprintf", "usleep", "putchar", "memset", "memcpy", "memmove", "alloc",
    "ap_first_missing",
)  # fmt: skip
"""Provided functions that are long and uninteresting: a stepped CPU runs through them."""

Watcher = Callable[[CpuState], Awaitable[None]]
"""Awaited with the registers of a CPU after each of its steps."""


class Session:
    """One boot under control: which CPUs run, and what has been recorded.

    Args:
        machine: a started machine; no CPU has run yet.
        symbols: symbols of the image that it boots.
        inputs: what the seed and the cohort decide.
    """

    def __init__(self, machine: Machine, symbols: SymbolTable, inputs: Inputs) -> None:
        self.view = View(machine, symbols, inputs)
        self.gdb = self.view.gdb
        self.inputs = inputs
        self.limits = machine.limits
        self.log = Log([CpuLog() for _ in range(inputs.cpus)])
        self.choice = Choice("vmmlab boot 1", inputs.seed, inputs.scenario)
        self.held: set[int] = set()
        """The CPUs that stand still."""
        self.trouble = False
        """Something has gone wrong: little can come any more."""
        self.finished = False
        """The probe has seen enough."""
        self.ended = False
        """The machine has shut down: no CPU can run any more."""
        self.places = WatchedPlaces(self.gdb, symbols)
        self._noted: dict[int, int] = {}

    def free(self) -> set[int]:
        """Return the CPUs that are not held."""
        return set(range(self.inputs.cpus)) - self.held

    def in_guest(self, cpu: int) -> bool:
        """Whether a CPU executes its guest, where guests are recorded."""
        counts = self.view.machine.guest_counts().get(cpu)
        return counts is not None and counts.runs > sum(counts.exits.values())

    def flooded(self) -> bool:
        """Whether a CPU has run its guest so often that no end is in sight."""
        return any(one.runs > self.log.flood for one in self.view.machine.guest_counts().values())

    # ---- recording --------------------------------------------------------------------------

    async def arrive(self, stop: Stop) -> Hit | None:
        """Record a stop at a place; return None if the CPU is at no place."""
        if stop.cpu is None:
            return None
        state = await self.view.state(stop.cpu)
        place = self.places.at(state.pc)
        return await self.note(stop.cpu, place, state) if place else None

    async def note(self, cpu: int, place: str, state: CpuState) -> Hit:
        """Record that a CPU is at a place."""
        text = await self.view.text_argument(cpu, place) if place in _WITH_TEXT else ""
        by_student = place in _GIVEN_CALLS and await self._student_calls(cpu)
        hit = Hit(len(self.log.hits), cpu, place, state, text, by_student)
        self.log.hits.append(hit)
        log = self.log.cpus[cpu]
        reached = milestone_at(place)
        still_on_boot_stack = reached is OWN_STACK and self.view.on_boot_stack(state.rsp)
        if reached is not None and cpu != 0 and not still_on_boot_stack:
            log.reach(reached, state)
        if place == "ap_entry" and not log.found.followed:
            for passed in (REAL_MODE, PROTECTED_MODE, LONG_MODE):
                log.reach(passed, state)
        if place == RESTARTED:
            self.log.restarted = self.ended = True
        kind = rest_places().get(place)
        if kind is not None and log.rest is None:
            log.rest = PARKED_BY_ITSELF if by_student else kind
            self.trouble = self.trouble or place != "vmm_parked"
        await note_fault(self.view, log, cpu, hit)
        return hit

    async def _student_calls(self, cpu: int) -> bool:
        """Whether the student's code has called the function that a CPU is at the beginning of."""
        back = await self.return_address(cpu)
        # The call, not the next byte: after a call that never returns another function may begin.
        return back is not None and self.view.symbols.owner(back - 1) == "student"

    async def note_stepped(self, cpu: int, place: str, state: CpuState) -> None:
        """Record that a CPU was stepped to a place; the stop that follows is the same one."""
        await self.note(cpu, place, state)
        self._noted[cpu] = state.pc

    def stands_at(self, cpu: int, pc: int) -> None:
        """Take note that a CPU was put back to a place at which its stop is already recorded."""
        self._noted[cpu] = pc

    def add_interleaving(
        self,
        cpu: int,
        while_at: str,
        until: str,
        verdict: Verdict,
        state: CpuState,
        *,
        by_itself: bool = False,
    ) -> Interleaving:
        """Record the outcome of letting one CPU run while all others were held."""
        held = tuple(sorted(set(range(self.inputs.cpus)) - {cpu}))
        reached = until if verdict == "reached" else ""
        place = self.view.place(state)
        made = Interleaving(cpu, held, while_at, reached, verdict, place, by_itself)
        self.log.interleavings.append(made)
        return made

    def give_up(self, cpu: int) -> None:
        """Hold a CPU for the rest of the boot, because it can no longer do anything useful."""
        self.trouble = True
        self.held.add(cpu)

    def hold_outside_code(self, cpu: int, pc: int) -> None:
        """Hold an AP that is about to execute non-code, before it corrupts memory others need.

        Args:
            cpu: the AP.
            pc: linear address of the instruction that it does not get to execute.
        """
        log = self.log.cpus[cpu]
        log.find(left_code=pc)
        if log.steps:
            log.died_at = self.view.place(log.steps[-1].state)
        self.give_up(cpu)

    # ---- running ---------------------------------------------------------------------------

    async def go(self, cpus: Collection[int] | None = None, timeout_s: float | None = None) -> Stop:
        """Let CPUs run until one is at a place, the machine shuts down or nothing happens.

        Args:
            cpus: which CPUs run; all that are not held if None.
            timeout_s: how long nothing may happen, in seconds of this host.

        Returns:
            The stop; kind "break", "shutdown" or "interrupt" (nothing happened).
        """
        running = self.free() if cpus is None else set(cpus)
        while running:
            await self.gdb.resume(running)
            stop = await self.gdb.wait(self.limits.quiet_s if timeout_s is None else timeout_s)
            if stop is None:
                stop = await self.gdb.interrupt()
            if stop.kind in ("shutdown", "exit"):
                self.ended = True
            if stop.kind == "break" and stop.cpu is not None:
                if self._noted.pop(stop.cpu, None) == stop.address:
                    continue  # it was stepped there, and that is already recorded
                self._noted.pop(stop.cpu, None)
            return stop
        return Stop("interrupt")

    async def step(self, cpu: int, *, peek: Iterable[tuple[int, int]] = ()) -> bool:
        """Execute one instruction of one CPU while all others are held.

        Args:
            cpu: the CPU.
            peek: physical addresses and sizes in bytes of what will be read next.

        Returns:
            False if the CPU cannot continue: it halted, or it shut down the machine.
        """
        self._noted.pop(cpu, None)
        stop = await self.gdb.step(cpu, peek=peek)
        if stop.kind in ("shutdown", "exit"):
            self.ended = True
        return stop.kind not in ("shutdown", "exit", "halted")

    async def step_until(
        self,
        cpu: int,
        wanted: Callable[[CpuState], bool],
        *,
        budget: int,
        watcher: Watcher | None = None,
        peek: Iterable[tuple[int, int]] = (),
    ) -> tuple[Verdict, CpuState]:
        """Step one CPU until `wanted` holds, it turns out to wait, or the budget is used up.

        With all other CPUs held, a CPU whose registers repeat while no memory changes is in a loop
        that only another CPU can end. Long provided functions are run through, not stepped.

        Args:
            cpu: the CPU to step.
            wanted: asked with the registers after every instruction.
            budget: instructions at most.
            watcher: awaited with the registers after every instruction, for its effects.
            peek: physical addresses and sizes in bytes of what it will read.
        """
        symbols = self.view.symbols
        skip = {found for name in _RUN_TO_RETURN if (found := symbols.maybe(name))}
        loop = Loop(self.view, cpu)
        state = await self.view.state(cpu)
        for _ in range(budget):
            await loop.before_step()
            alive = await self.step(cpu, peek=peek)
            state = await self.view.state(cpu)
            if alive and state.pc in skip and not wanted(state):
                state = await self.run_to_return(cpu, state)
            if self.ended:
                return "shutdown", state
            if not alive:
                return "halted", state
            if watcher is not None:
                await watcher(state)
            if place := self.places.at(state.pc):
                await self.note_stepped(cpu, place, state)
            if wanted(state):
                return "reached", state
            if await loop.closed(await self.gdb.registers(cpu)):
                return "waits", state
        return "budget", state

    async def return_address(self, cpu: int) -> int | None:
        """Return where a CPU at the first instruction of a function returns to.

        None, with a note in the log, if nothing is mapped where its stack should be.
        """
        try:
            return await self.view.stack_word(cpu)
        except MemoryUnreadable as error:
            self.log.note_unreadable(error)
            return None

    async def run_to_return(self, cpu: int, state: CpuState) -> CpuState:
        """Let a CPU at the first instruction of a function run until that returns.

        Args:
            cpu: which CPU runs; all others are held.
            state: its registers now.
        """
        back = await self.return_address(cpu)
        if back is None:
            return state
        async with self.places.stopping_at(back):
            for _ in range(RUN_ATTEMPTS):
                stop = await self.go([cpu], self.limits.alone_s)
                if stop.kind == "break" and stop.address != back:
                    await self.arrive(stop)
                if stop.kind != "interrupt":
                    break
        return await self.view.state(cpu)

    async def run_to(
        self, cpu: int, *places: str, attempts: int = RUN_ATTEMPTS
    ) -> tuple[Verdict, CpuState]:
        """Let one CPU run alone, at full speed, until it reaches one of the places.

        That it takes long proves nothing on a busy host: then it is stepped, and only if its
        state repeats does it wait.
        """
        ends = {*places, *rest_places()}
        patience_s = self.limits.alone_s / 2**_SHORT_ATTEMPTS
        for _ in range(_SHORT_ATTEMPTS + attempts):
            verdict, state = await self.run_free(cpu, *places, patience_s=patience_s)
            patience_s = min(2 * patience_s, self.limits.alone_s)
            if verdict != "waits":
                return verdict, state
            if not self.view.is_code(state):
                return "budget", state  # it is lost, and will not find the way back
            verdict, state = await self.step_until(
                cpu, lambda now: self.places.at(now.pc) in ends, budget=_SPIN_BUDGET
            )
            if verdict == "reached" and self.places.at(state.pc) not in places:
                return "halted", state
            if verdict != "budget":
                return verdict, state
        return "waits", state

    async def run_free(
        self, cpu: int, *places: str, patience_s: float | None = None
    ) -> tuple[Verdict, CpuState]:
        """Let one CPU run alone until it comes to one of the places, or nothing happens.

        Other places that it passes are written down on the way. A CPU that passes many of them goes
        round, and has used up its budget.

        Args:
            cpu: which CPU runs.
            places: where it is to come.
            patience_s: how long nothing may happen, in seconds; `limits.alone_s` if None.
        """
        for _ in range(_PASSED_MOST):
            stop = await self.go([cpu], patience_s or self.limits.alone_s)
            if stop.kind == "shutdown":
                return "shutdown", await self.view.state(cpu)
            state = await self.view.state(cpu)
            if stop.kind != "break":
                return "waits", state
            hit = await self.arrive(stop)
            if self.ended:
                return "shutdown", state
            if hit and hit.place in places:
                return "reached", state
            if hit and hit.place in rest_places():
                return "halted", state
        return "budget", state
