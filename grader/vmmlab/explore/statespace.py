"""The states that one search has reached, the edges between them, and a path to each."""

from __future__ import annotations

import itertools
from array import array
from typing import NamedTuple

from vmmlab.explore.localstate import LocalState
from vmmlab.explore.states import LOW, Packing, State
from vmmlab.explore.transitions import Move, Transitions


class PathStep(NamedTuple):
    """One move on a path.

    Attributes:
        state: the state before the move.
        cpu: the CPU that moves.
        choice: index of the move among this CPU's moves in that state.
    """

    state: State
    cpu: int
    choice: int


class StateSpace:
    """States by index, in the order in which they were reached.

    Args:
        transitions: the moves of each CPU.

    Attributes:
        packing: how states are packed into integers.
        states: the packed states.
        index: the index of each packed state.
        starts: for each expanded state, where its edges begin in `ends`.
        ends: the states that edges lead to; ~index if the move was made late.
        finished: indexes of states in which nothing more has to happen.
    """

    def __init__(self, transitions: Transitions) -> None:
        self.transitions = transitions
        self.cpus = transitions.harness.cpus
        self.packing = Packing(self.cpus)
        self.states: list[int] = []
        self.index: dict[int, int] = {}
        self.starts = array("l")
        self.ends = array("l")
        self.finished: list[int] = []
        # The index of the state before, the CPU, and which of its moves was made.
        self._parents: list[tuple[int, int, int]] = []

    def add(self, state: int, parent: tuple[int, int, int]) -> int:
        """Add a packed state and return its index.

        Args:
            state: the packed state.
            parent: index of the state before it, the CPU that moved, and the index of its move.
        """
        at = self.index[state] = len(self.states)
        self.states.append(state)
        self._parents.append(parent)
        return at

    def moves(self, state: int, cpu: int) -> list[tuple[int, int, Move]]:
        """Return the moves of a CPU, each with its index and what it adds to the packed state."""
        at, top = self.packing.shifts[cpu], self.packing.shifts[self.cpus]
        process, world = state >> at & LOW, state >> top & LOW
        return [
            (choice, (move.process - process << at) + (move.world - world << top), move)
            for choice, move in enumerate(self.transitions.moves(process, world))
        ]

    def can_move(self, state: int, cpu: int) -> bool:
        """Return whether a CPU has any move in a packed state."""
        shifts = self.packing.shifts
        process, world = state >> shifts[cpu] & LOW, state >> shifts[self.cpus] & LOW
        return bool(self.transitions.moves(process, world))

    def move_between(self, start: int, end: int) -> tuple[int, int]:
        """Return a CPU and the index of its move that lead from one state to another.

        Args:
            start: index of the first state.
            end: index of a state to which an edge leads from there.
        """
        state, target = self.states[start], self.states[end]
        for cpu in range(self.cpus):
            for choice, added, _ in self.moves(state, cpu):
                if state + added == target:
                    return cpu, choice
        raise AssertionError("an edge without a move")

    # --- paths -------------------------------------------------------------------------------

    def path(self, at: int) -> list[PathStep]:
        """Return the moves from the initial state to the state with this index."""
        path = []
        while at:
            before, cpu, choice = self._parents[at]
            path.append(PathStep(self.unpacked(before), cpu, choice))
            at = before
        return path[::-1]

    def reroute(self, states: list[int]) -> None:
        """Make the path to the last of these states lead through all of them, in this order."""
        for start, at in itertools.pairwise(states):
            self._parents[at] = (start, *self.move_between(start, at))

    # --- states ------------------------------------------------------------------------------

    def unpacked(self, at: int) -> State:
        """Return the state with this index."""
        return self.packing.unpack(self.states[at])

    def local_id(self, state: int, cpu: int) -> int:
        """Return the number of a CPU's local state in a packed state."""
        process = state >> self.packing.shifts[cpu] & LOW
        return self.transitions.numbers.process(process)[0]

    def locals(self, state: int) -> list[LocalState]:
        """Return the local states of all CPUs in a packed state."""
        known, process = self.transitions.model.locals, self.transitions.numbers.process
        return [known[process(state >> at & LOW)[0]] for at in self.packing.shifts[: self.cpus]]

    def memory(self, state: int) -> int:
        """Return the number of the memory state in a packed state."""
        world = state >> self.packing.shifts[self.cpus] & LOW
        return self.transitions.numbers.world(world)[0]

    def all_finished(self, state: int) -> bool:
        """Return whether every CPU has finished in a packed state."""
        finished = self.transitions.numbers.finished
        shifts = self.packing.shifts
        return all(finished[state >> shifts[cpu] & LOW] for cpu in range(self.cpus))

    def reaches_limit(self, state: int) -> bool:
        """Return whether some CPU is where the model cannot follow it, in a packed state."""
        phases = (local.phase for local in self.locals(state))
        return any(phase in ("unsupported", "unfinished") for phase in phases)
