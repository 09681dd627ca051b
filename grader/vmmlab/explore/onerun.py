"""Runs the CPUs of one harness in one order, with more CPUs or rounds than a search can try.

The CPUs take turns: each one runs until it waits, has finished, or until the harness says that the
others are to run. What goes wrong in this one order goes wrong on a processor, too. Stores become
visible at once.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from dataclasses import replace
from typing import Final, Literal

from vmmlab.explore.bfs import SearchResult
from vmmlab.explore.cpumodel import CpuModel
from vmmlab.explore.emulator import OutOfTime
from vmmlab.explore.harness import Harness, Read, Violation
from vmmlab.explore.liveness import never_finish
from vmmlab.explore.localstate import LocalState
from vmmlab.explore.memory import PagedMemory
from vmmlab.explore.program import Program
from vmmlab.explore.states import State
from vmmlab.explore.statespace import PathStep
from vmmlab.explore.transitions import Transitions

# A CPU that has executed an instruction as often may wait, although its registers differ each time:
# it may count its looks, write to a lock to try it, or look through a table.
_LOOKS: Final = 6
_LOOKS_UNDER_A_LOCK: Final = 4 * _LOOKS
# After so many rounds of looks in which nothing has changed, the run has no result.
_QUIET_ROUNDS: Final = 60
# After so many rounds in which only locks change, and no CPU does anything new, none gets on.
_SAME_ROUNDS: Final = 2
# A CPU stays away for so many rounds at most.
_AWAY_ROUNDS: Final = 4 * _QUIET_ROUNDS
# So many of the last moves are shown.
_SHOWN_MOVES: Final = 60

Turn = Literal["waits", "idle", "blocked", "yields", "over"]
"""How the turn of a CPU ended: "waits" is a loop that changes nothing, however long it runs;
"idle" is one that may end by itself; "over" is the end of the whole run."""


class OneRun:
    """One order of the steps of all CPUs.

    Args:
        model: the CPUs.
        harness: how the CPUs start, and what must hold.

    Attributes:
        harness: as given.
        transitions: the moves of each CPU.
    """

    def __init__(self, model: CpuModel, harness: Harness) -> None:
        self.harness = harness
        self._emulator = model.emulator
        self._locals = model.locals
        self._actions = model.actions
        self._memory = PagedMemory(model.program.initial, harness.initial_writes())
        self.transitions = Transitions(
            model, harness, buffers=False, memory=self._memory, merge=False
        )
        self._locks = _bytes_of_locks(model.program)
        self._spinlocks = _bytes_of_locks(model.program, whole=False)
        self._path: deque[PathStep] = deque(maxlen=_SHOWN_MOVES)
        self._moves = 0
        self._now: list[LocalState] = []  # of each CPU
        self._places: set[tuple[int, int]] = set()
        self._memories: set[int] = set()
        self._result: SearchResult | None = None
        self._violation: Violation | None = None
        self._away = 0  # rounds for which a CPU has stayed away
        self._still = 0  # rounds in which no other has changed anything
        self._enough = 1  # such rounds after which it comes

    def run(self, seconds: float) -> SearchResult:
        """Let all CPUs run to their ends, or until something is wrong.

        Args:
            seconds: stop after this much CPU time.
        """
        deadline = time.thread_time() + seconds
        self._emulator.deadline = deadline
        state, quiet, same = self.transitions.start(), 0, 0
        self._now = self._all(state)
        try:
            while self._result is None and time.thread_time() < deadline:
                before, path = state, self._path.copy()
                state, ends = self._round(state)
                same = same + 1 if self._nothing_new(before, state) else 0
                if same and self._result is None:
                    self._path = path  # the looks of CPUs that wait are not worth showing
                if self._result is None and same > _SAME_ROUNDS:
                    self._result = self._end(state, [])
                quiet = 0 if "yields" in ends else quiet + 1
                last = quiet > _QUIET_ROUNDS if "idle" in ends else quiet
                if self._result is None and last:
                    self._result = self._end(state, ends)
        except OutOfTime:
            pass
        finally:
            self._emulator.deadline = math.inf
        return self._result or SearchResult(self._moves, self._moves)

    def _round(self, state: State) -> tuple[State, list[Turn]]:
        """Let each CPU have one turn; the result has "yields" if any of them changed something."""
        ends: list[Turn] = []
        others: list[Turn] = []
        for cpu in range(self.harness.cpus):
            away = self.harness.stays_away(self._local(state[cpu]))
            if away and self._others_get_on():
                self._away += 1
                ends.append("yields")
                continue
            self._away = 0 if away else self._away
            state, turn, changed = self._turn(state, cpu)
            ends.append("yields" if changed else turn)
            if not away:
                others.append(ends[-1])
            if turn == "over":
                if self._violation is not None:
                    self._result = self._violated(self._violation, cpu, state)
                break
        self._still = 0 if "yields" in others else self._still + 1
        self._enough = _QUIET_ROUNDS if "idle" in others else 1
        return state, ends

    def _others_get_on(self) -> bool:
        """Whether the CPUs get on that do not stay away; one that looks through a table may."""
        return self._still < self._enough and self._away < _AWAY_ROUNDS

    def _ends_looking(self, looks: int, state: State) -> bool:
        """Whether a CPU has looked often enough; one that looks under a lock comes to its release.

        Args:
            looks: how often it has executed the same instruction in this turn.
            state: the state.
        """
        if looks <= _LOOKS:
            return False
        return looks > _LOOKS_UNDER_A_LOCK or self._spinlocks_free(state[-1])

    def _spinlocks_free(self, world: int) -> bool:
        memory, _ = self.transitions.numbers.world(world)
        return not any(self._memory.read(memory, at, 1) for at in self._spinlocks)

    def _nothing_new(self, before: State, state: State) -> bool:
        """Whether a round has brought locks to values that are new, and no CPU to a new place.

        CPUs that count in a lock, to try it, have then done so in every way that they know. A lock
        whose values come again may only be unlucky in this order.
        """
        worlds = (self.transitions.numbers.world(one[-1]) for one in (before, state))
        old, new = (memory for memory, _ in worlds)
        if not all(at in self._locks for at in self._memory.changed(old, new)):
            self._places.clear()
        places = set(enumerate(state[:-1]))
        known = places <= self._places and new not in self._memories
        self._places |= places
        self._memories.add(new)
        return known

    def _turn(self, state: State, cpu: int) -> tuple[State, Turn, bool]:
        """Let one CPU run; also return whether it changed what others may wait for."""
        top = self.harness.cpus
        trail: dict[tuple[int, int], int] = {}
        path: list[PathStep] = []
        looks: Counter[int] = Counter()
        changed = False
        turn: Turn | None = None
        while turn is None:
            here = (state[cpu], state[top])
            if not self.transitions.moves(*here):
                turn = "blocked"
            elif here in trail:
                turn, state = "waits", self._taken_back(state, cpu, trail)
            elif self._ends_looking(max(looks.values(), default=0), state):
                turn = "idle"
            else:
                trail[here] = len(trail)
                before, state = state, self._step(state, cpu)
                path.append(PathStep(before, cpu, 0))
                looks[self._actions[self._lid(before[cpu])].rip] += 1
                phases = [self._local(one[cpu]).phase for one in (before, state)]
                changed = changed or state[top] != before[top] or phases[0] != phases[1]
                if self._wrong(before, state, cpu):
                    turn, changed = "over", True
                elif self._yields(before, state, cpu):
                    turn, changed = "yields", True
        if changed and (turn not in ("waits", "idle") or state[top] != path[0].state[top]):
            self._path.extend(path)  # the looks of a CPU that waits are not worth showing
        return state, turn, changed

    def _taken_back(self, state: State, cpu: int, trail: dict[tuple[int, int], int]) -> State:
        """Let a CPU that waits take back what it writes to try a lock, or release one.

        Args:
            state: it has been in this state before, and would come to it again and again.
            cpu: the CPU.
            trail: its processes and the worlds in this turn, with their numbers.
        """
        worlds = [world for _, world in trail]
        cycle = worlds[trail[state[cpu], state[-1]] :]
        free = [world for world in cycle if self._spinlocks_free(world)]
        first = min(free or cycle, key=worlds.index)
        while state[-1] != first:
            state = self._step(state, cpu)
        return state

    def _step(self, state: State, cpu: int) -> State:
        """Return the state after the next move of a CPU."""
        move = self.transitions.moves(state[cpu], state[-1])[0]
        self._moves += 1
        self._now[cpu] = self._local(move.process)
        return (*state[:cpu], move.process, *state[cpu + 1 : -1], move.world)

    # --- what is wrong -----------------------------------------------------------------------

    def _wrong(self, state: State, after: State, cpu: int) -> bool:
        """Check the last move; set the result if it ends the run."""
        move = self.transitions.moves(state[cpu], state[-1])[0]
        violation, limits = move.violation, []
        if violation is None and move.must_check:
            now = self._now
            if now[cpu].phase in ("unsupported", "unfinished"):
                limits = [self._lid(after[cpu])]
            else:
                before = self._local(state[cpu])
                violation = self.harness.check_step(now, cpu, before, self._reader(after))
        if violation is not None:
            self._violation = violation
        elif limits:
            self._result = SearchResult(self._moves, self._moves, limits=limits)
        return self._violation is not None or self._result is not None

    def _end(self, state: State, ends: list[Turn]) -> SearchResult:
        """Return the result when no CPU has changed anything in a round."""
        now = self._all(state)
        stuck = [local.cpu for local in now if local.phase != "done"]
        if not stuck:
            violation = self.harness.check_end(now, self._reader(state))
            if violation is not None:
                return self._violated(violation, 0, state)
            return SearchResult(self._moves, self._moves, complete=True, in_order=True)
        if "idle" in ends:  # a wait that may end by itself is no proof
            return SearchResult(self._moves, self._moves)
        violation = Violation("never-completes", never_finish(stuck))
        found = self._violated(violation, stuck[0], state)
        return replace(found, doomed_after=len(found.path))

    def _violated(self, violation: Violation, cpu: int, last: State) -> SearchResult:
        return SearchResult(
            self._moves,
            self._moves,
            violation=violation,
            cpu=cpu,
            path=list(self._path),
            last=last,
        )

    def _yields(self, state: State, after: State, cpu: int) -> bool:
        """Return whether the harness wants other CPUs to run after this move."""
        now = self._local(after[cpu])
        before = self._local(state[cpu])
        reads = (self._reader(state), self._reader(after))
        return self.harness.yields(before, now, *reads) or self.harness.stays_away(now)

    # --- states ------------------------------------------------------------------------------

    def _lid(self, process: int) -> int:
        return self.transitions.numbers.process(process)[0]

    def _local(self, process: int) -> LocalState:
        return self._locals[self._lid(process)]

    def _all(self, state: State) -> list[LocalState]:
        return [self._local(process) for process in state[:-1]]

    def _reader(self, state: State) -> Read:
        memory, _ = self.transitions.numbers.world(state[-1])
        read = self.transitions.memory.read
        return lambda address, size: read(memory, address, size)


def _bytes_of_locks(program: Program, *, whole: bool = True) -> frozenset[int]:
    """Return the addresses of the bytes of locks that the lab declares.

    Args:
        program: the image.
        whole: also of those whose representation is free, which may be free when they are not 0.
    """
    places = (
        program.variables[one.name]
        for one in program.declaration.variables
        if one.lock or (whole and one.taken_at)
    )
    return frozenset(at for start, size in places for at in range(start, start + size))
