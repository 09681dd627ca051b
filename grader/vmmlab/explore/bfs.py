"""Breadth-first search with a fixed set of shared bytes: visits states and checks invariants.

The first violation is found on a shortest path. Without a bound on preemptions the search visits
every state, and then also checks that all CPUs can finish from each of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.explore import graph
from vmmlab.explore.harness import Read, Violation
from vmmlab.explore.liveness import Liveness
from vmmlab.explore.states import LOW, State
from vmmlab.explore.statespace import PathStep, StateSpace
from vmmlab.explore.transitions import Move, Transitions

# The clock is read once for this many states.
_CLOCK_EVERY: Final = 256


@dataclass
class SearchResult:
    """The result of a search.

    Attributes:
        states: number of states reached.
        transitions: number of edges between them.
        complete: every state within the bound was reached, and none is wrong.
        violation: what is wrong, or None.
        cpu: the CPU that makes the last move, or the first one that never finishes.
        path: the moves from the initial state to the wrong one.
        doomed_after: after this many moves of the path the CPUs can no longer all finish.
        last: the state at the end of the path.
        uncertain: whether all CPUs can finish depends on a waiting loop that counts very far.
        in_order: all CPUs can finish without making any move late. If nothing is wrong either,
            then nothing is wrong when stores become visible in order.
        limits: numbers of the local states that the model cannot follow.
    """

    states: int = 0
    transitions: int = 0
    complete: bool = False
    violation: Violation | None = None
    cpu: int = 0
    path: list[PathStep] = field(default_factory=list)
    doomed_after: int | None = None
    last: State = ()
    uncertain: bool = False
    in_order: bool = False
    limits: list[int] = field(default_factory=list)


class PreemptionBudget:
    """Limits how often a CPU that makes progress is interrupted although it could go on.

    Uses the two spare fields of a packed state: the CPU that made progress last (from 1; 0 for
    none), and the number of preemptions that are left.

    Args:
        space: the states.
        preemptions: how many there may be on one path.
    """

    def __init__(self, space: StateSpace, preemptions: int) -> None:
        self._space = space
        self._preemptions = preemptions
        self._running, self._left = space.packing.shifts[space.cpus + 1 :]

    def start(self, state: int) -> int:
        """Return the initial state with the whole budget."""
        return state | self._preemptions << self._left

    def charge(self, state: int, cpu: int) -> int:
        """Return how many preemptions are left if `cpu` moves now; -1 if it may not."""
        running = state >> self._running & LOW
        left = state >> self._left
        if running and cpu + 1 != running and self._space.can_move(state, running - 1):
            left -= 1
        return left

    def tagged(self, state: int, left: int, cpu: int, *, progress: bool) -> int:
        """Return the state that a move of `cpu` leads to, with the spare fields filled in."""
        if progress:
            state |= cpu + 1 << self._running
        return state | left << self._left


class BreadthFirstSearch:
    """One search.

    Args:
        transitions: the moves of each CPU.
        max_states: stop when there are more.
        deadline: CPU time of this thread, in seconds, at which to stop.
        preemptions: see `PreemptionBudget`; None: no bound.
        explain: False: check whether all CPUs can finish only as far as `SearchResult.in_order`
            needs it, and stop at the first local state that the model cannot follow.
    """

    def __init__(
        self,
        transitions: Transitions,
        *,
        max_states: int,
        deadline: float,
        preemptions: int | None,
        explain: bool,
    ) -> None:
        self._transitions = transitions
        self._sharing = transitions.sharing
        self._locals = transitions.model.locals
        self._max_states = max_states
        self._deadline = deadline
        self._explain = explain
        self._space = StateSpace(transitions)
        self._budget: PreemptionBudget | None = None
        if preemptions is not None:
            self._budget = PreemptionBudget(self._space, preemptions)
        # For each CPU: its moves by the part of the state on which they depend.
        self._moves: list[dict[int, list[tuple[int, int, Move]]]] = [
            {} for _ in range(self._space.cpus)
        ]
        self._limits: dict[int, None] = {}

    def run(self) -> SearchResult:
        """Visit states until something is wrong, all are known, or a limit is reached.

        Raises:
            SharingGrew: the result would be invalid.
            OutOfTime: the emulator was running long after the deadline.
        """
        space, sharing = self._space, self._sharing
        state = space.packing.pack(self._transitions.start())
        space.add(state if self._budget is None else self._budget.start(state), (-1, 0, 0))
        states = space.states
        at = 0
        while at < len(states):
            timed_out = at % _CLOCK_EVERY == 0 and time.thread_time() > self._deadline
            if timed_out or len(states) > self._max_states:
                sharing.require_unchanged()
                return self.result()
            sharing.restart_if_late(len(states))
            result = self._expand(at)
            if result is not None:
                return result
            at += 1
        sharing.require_unchanged()
        if self._budget is None:
            return self._check_liveness()
        return self.result(complete=True)

    def result(self, *, complete: bool = False) -> SearchResult:
        """Return what is known up to now."""
        space = self._space
        return SearchResult(len(space.states), len(space.ends), complete, limits=list(self._limits))

    def _expand(self, at: int) -> SearchResult | None:
        """Make every move from a state; return a result if that ends the search."""
        space, budget = self._space, self._budget
        index, ends, masks = space.index, space.ends, space.packing.masks
        whole = space.packing.whole
        state = space.states[at]
        stays = True
        space.starts.append(len(ends))
        for cpu, known in enumerate(self._moves):
            moves = known.get(state & masks[cpu])
            if moves is None:
                moves = known[state & masks[cpu]] = space.moves(state, cpu)
            if not moves:
                continue
            before, left = state, 0
            if budget is not None:
                before, left = state & whole, budget.charge(state, cpu)
                if left < 0:
                    continue
            stays = False
            for choice, added, move in moves:
                after = before + added
                if move.must_check:
                    result = self._check_move(at, after, cpu, choice, move)
                    if result is not None:
                        return result
                if budget is not None:
                    after = budget.tagged(after, left, cpu, progress=move.progress)
                elif not added:
                    continue  # the state itself
                end = index.get(after)
                if end is None:
                    end = space.add(after, (at, cpu, choice))
                ends.append(~end if move.late else end)
        if self._transitions.numbers.finished[state & LOW] and space.all_finished(state):
            return self._check_end(at)
        if stays and space.reaches_limit(state):
            space.finished.append(at)
        return None

    # --- invariants --------------------------------------------------------------------------

    def _check_move(
        self, at: int, after: int, cpu: int, choice: int, move: Move
    ) -> SearchResult | None:
        """Check the packed state after a move; return a result if that ends the search."""
        space = self._space
        violation = move.violation
        if violation is None:
            now = space.locals(after)
            if now[cpu].phase in ("unsupported", "unfinished"):
                self._limits[space.local_id(after, cpu)] = None
            before = self._locals[space.local_id(space.states[at], cpu)]
            harness = self._transitions.harness
            violation = harness.check_step(now, cpu, before, self._reader(after))
        if violation is not None:
            self._sharing.require_unchanged()
            path = [*space.path(at), PathStep(space.unpacked(at), cpu, choice)]
            return self._violated(violation, path, space.packing.unpack(after))
        if self._limits and self._budget is None and not self._explain:
            return self.result()
        return None

    def _check_end(self, at: int) -> SearchResult | None:
        """Check a state in which all CPUs have finished."""
        space = self._space
        space.finished.append(at)
        state = space.states[at]
        harness = self._transitions.harness
        violation = harness.check_end(space.locals(state), self._reader(state))
        if violation is None:
            return None
        self._sharing.require_unchanged()
        return self._violated(violation, space.path(at), space.unpacked(at))

    def _reader(self, state: int) -> Read:
        memory, read = self._space.memory(state), self._transitions.memory.read
        return lambda address, size: read(memory, address, size)

    def _violated(self, violation: Violation, path: list[PathStep], last: State) -> SearchResult:
        cpu = path[-1].cpu if path else 0
        return replace(self.result(), violation=violation, cpu=cpu, path=path, last=last)

    def _check_liveness(self) -> SearchResult:
        """Check that all CPUs can finish from each of the states, which are all known now."""
        space = self._space
        space.starts.append(len(space.ends))
        if graph.all_reach(space.finished, space.starts, space.ends):
            return replace(self.result(complete=True), in_order=True)
        if not self._explain:
            return self.result(complete=True)
        liveness = Liveness(space, limited=bool(self._limits))
        stuck = liveness.find()
        if stuck is None:
            return replace(self.result(complete=True), uncertain=liveness.uncertain)
        self._sharing.require_unchanged()
        result = self._violated(stuck.violation, space.path(stuck.last), space.unpacked(stuck.last))
        return replace(result, cpu=stuck.cpu, doomed_after=stuck.doomed_after)
