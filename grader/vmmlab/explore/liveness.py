"""Deadlock and livelock detection: whether all CPUs can still finish from every state.

A state from which they cannot is *doomed*. The counterexample is followed from the first doomed
state to one in which it is evident that the stuck CPUs wait forever.
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

from vmmlab.base.message import Text, listed, msg
from vmmlab.explore import graph
from vmmlab.explore.harness import Violation
from vmmlab.explore.states import State
from vmmlab.explore.statespace import StateSpace

# An evident end is searched for among this many states after the first doomed one.
_NEAR: Final = 5000
# So many CPUs that never finish are named.
_NAMED: Final = 4
# A CPU that waits in a loop has at most this many processes in it.
_LONGEST_CYCLE: Final = 20


class Stuck(NamedTuple):
    """Evidence that some CPUs never finish.

    Attributes:
        violation: which CPUs.
        cpu: the first of them.
        last: index of the state in which the counterexample ends.
        doomed_after: number of moves that lead to the first doomed state.
    """

    violation: Violation
    cpu: int
    last: int
    doomed_after: int


class Liveness:
    """Judges the complete state space of a search.

    Args:
        space: all states, with `starts` closed by one more entry.
        limited: the model cannot follow some local states.

    Attributes:
        uncertain: no state is doomed only because a waiting loop may end after very many passes.
    """

    def __init__(self, space: StateSpace, *, limited: bool) -> None:
        self._space = space
        self._transitions = space.transitions
        self._model = space.transitions.model
        self._limited = limited
        self.uncertain = False
        self._from, self._to = array("l"), array("l")
        for at in range(len(space.states)):
            self._from.extend([at] * (space.starts[at + 1] - space.starts[at]))
        self._to.extend(end if end >= 0 else ~end for end in space.ends)

    def find(self) -> Stuck | None:
        """Return evidence for the first doomed state, or None if there is no doomed state."""
        space = self._space
        first = self._first_doomed()
        if first is None:
            return None
        doomed_after = len(space.path(first))
        after = graph.Edges(len(space.states), self._from, self._to)
        last = graph.terminal(first, after)
        stuck = self._unfinished_cpus(last)
        earlier = self._evident_end(first, stuck, after)
        last = last if earlier is None else earlier
        space.reroute(graph.shortest_path(first, last, after))
        violation = Violation("never-completes", never_finish(stuck))
        return Stuck(violation, stuck[0] if stuck else 0, last, doomed_after)

    def _first_doomed(self) -> int | None:
        space = self._space
        before = graph.Edges(len(space.states), self._to, self._from)
        good = list(space.finished)
        if self._limited:  # what the model cannot follow might finish
            good += [at for at, state in enumerate(space.states) if space.reaches_limit(state)]
        first = graph.first_doomed(before, good)
        if first is None:
            return None
        # A loop whose counter was dropped might end after very many passes.
        dropped = self._model.dropped_counters
        counting = [
            at
            for at, state in enumerate(space.states)
            if dropped and any(space.local_id(state, cpu) in dropped for cpu in range(space.cpus))
        ]
        if counting:
            first = graph.first_doomed(before, [*good, *counting])
            self.uncertain = first is None
        return first

    def _unfinished_cpus(self, at: int) -> list[int]:
        local_states = self._space.locals(self._space.states[at])
        return [local.cpu for local in local_states if local.phase != "done"]

    # --- an end that is evident --------------------------------------------------------------

    def _evident_end(self, first: int, stuck: list[int], after: graph.Edges) -> int | None:
        """Return a nearest state in which these CPUs wait forever whatever the others do.

        To be convincing, the others must have finished, or not even have begun.

        Args:
            first: index of the first doomed state.
            stuck: the CPUs that never finish.
            after: edges by the state in which they begin.
        """
        space = self._space
        order, seen = [first], {first}
        others = [cpu for cpu in range(space.cpus) if cpu not in stuck]
        for at in order:
            now = space.locals(space.states[at])
            if all(now[cpu].phase in ("done", "begin") for cpu in others):
                cycles = [self._cycle(space.unpacked(at), cpu) for cpu in stuck]
                if all(cycles) and self._remain(at, stuck, cycles, after):
                    return at
            for one in after.of(at):
                if one not in seen:
                    seen.add(one)
                    order.append(one)
            if len(order) > _NEAR:
                return None
        return None

    def _cycle(self, state: State, cpu: int) -> set[int]:
        """Return the processes a CPU goes through forever if only it moves and changes nothing.

        The set is empty if there is no such cycle.
        """
        start, world = state[cpu], state[self._space.cpus]
        moves = self._transitions.moves
        if self._transitions.numbers.finished[start]:
            return set()
        cycle, todo, closed = {start}, [start], not moves(start, world)
        while todo:
            for move in moves(todo.pop(), world):
                if move.world != world or len(cycle) > _LONGEST_CYCLE:
                    return set()
                closed = closed or move.process == start
                if move.process not in cycle:
                    cycle.add(move.process)
                    todo.append(move.process)
        return cycle if closed else set()

    def _remain(self, at: int, cpus: list[int], cycles: list[set[int]], after: graph.Edges) -> bool:
        """Return whether these CPUs remain in their cycles in all states after this one."""
        seen, todo = {at}, [at]
        while todo:
            one = todo.pop()
            state = self._space.unpacked(one)
            if any(state[cpu] not in cycle for cpu, cycle in zip(cpus, cycles, strict=True)):
                return False
            for following in after.of(one):
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
            if len(seen) > _NEAR:
                return False
        return True


def never_finish(stuck: list[int]) -> Text:
    """Return which CPUs never finish, in one sentence."""
    if len(stuck) > _NAMED:
        return msg(
            "{count} CPUs never finish, the first of them CPU {cpu}, whatever happens next",
            count=len(stuck),
            cpu=stuck[0],
        )
    aps = [f"CPU {cpu}" for cpu in stuck if cpu]
    last, others = aps[-1] if aps else "", listed(aps[:-1])
    if len(aps) == len(stuck):
        if others:
            return msg(
                "{others} and {last} never finish, whatever happens next",
                others=others,
                last=last,
            )
        return msg("{last} never finishes, whatever happens next", last=last)
    if others:
        return msg(
            "the BSP, {others} and {last} never finish, whatever happens next",
            others=others,
            last=last,
        )
    if last:
        return msg("the BSP and {last} never finish, whatever happens next", last=last)
    return msg("the BSP never finishes, whatever happens next")
