"""Reachability in graphs of numbered states.

Pure functions over edges; they know nothing of what a state is.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from typing import Final

# A nearest terminal state is searched for among this many states; beyond them any one will do.
_NEAR: Final = 20_000
# It is in a component of at most this many states.
_SMALL: Final = 400
# Passes over all states in `all_reach`.
_PASSES: Final = 20


class Edges:
    """The edges of a graph, indexed by one of their ends.

    Args:
        total: number of states.
        key: for each edge, the end by which it is looked up.
        value: for each edge, the other end.
    """

    def __init__(self, total: int, key: array[int], value: array[int]) -> None:
        self._start = array("l", bytes(array("l").itemsize * (total + 1)))
        for one in key:
            self._start[one + 1] += 1
        for at in range(total):
            self._start[at + 1] += self._start[at]
        fill = array("l", self._start)
        self._items = array("l", bytes(array("l").itemsize * len(value)))
        for one, other in zip(key, value, strict=True):
            self._items[fill[one]] = other
            fill[one] += 1
        self.total = total

    def of(self, at: int) -> array[int]:
        """Return the other ends of the edges of state `at`."""
        return self._items[self._start[at] : self._start[at + 1]]


def first_doomed(before: Edges, good: Iterable[int]) -> int | None:
    """Return the first state from which no good state can be reached, or None.

    Args:
        before: edges, indexed by the state they lead to.
        good: the good states.
    """
    known = bytearray(before.total)
    todo = list(good)
    for at in todo:
        known[at] = 1
    while todo:
        for one in before.of(todo.pop()):
            if not known[one]:
                known[one] = 1
                todo.append(one)
    at = known.find(0)
    return None if at < 0 else at


def all_reach(good: Iterable[int], starts: array[int], ends: array[int]) -> bool:
    """Return True if a cheap test shows that every state can reach a good one.

    The test is one-sided: after False, `first_doomed` gives the exact answer.

    Args:
        good: the good states.
        starts: where in `ends` the edges of each state begin, and where the last ones end.
        ends: the states that edges lead to; negative entries are ignored.
    """
    known = bytearray(len(starts) - 1)
    for at in good:
        known[at] = 1
    left = [at for at, one in enumerate(known) if not one]
    left.reverse()  # most edges lead to states that were found later
    for _ in range(_PASSES):
        todo = []
        for at in left:
            for one in ends[starts[at] : starts[at + 1]]:
                if one >= 0 and known[one]:
                    known[at] = 1
                    break
            else:
                todo.append(at)
        if not todo or len(todo) == len(left):
            return not todo
        left = todo
    return False


def terminal(first: int, after: Edges) -> int:
    """Return a state in a terminal component that can be reached from `first`.

    From such a state every path leads back to it. It is a nearest one unless there are too many
    states to look for that.

    Args:
        first: where to start.
        after: edges, indexed by the state they begin in.
    """
    order, seen = [first], {first}
    for at in order:
        for one in after.of(at):
            if one not in seen:
                seen.add(one)
                order.append(one)
        if len(order) > _NEAR:
            return _any_terminal(first, after)
    for at in order:
        reach = reached(at, after, _SMALL)
        if reach is not None and all(at in (reached(one, after) or ()) for one in reach):
            return at
    return _any_terminal(first, after)


def reached(start: int, after: Edges, most: int | None = None) -> set[int] | None:
    """Return all states reachable from `start`, which is one; None if there are over `most`."""
    reach, todo = {start}, [start]
    while todo:
        for one in after.of(todo.pop()):
            if one not in reach:
                reach.add(one)
                todo.append(one)
        if most is not None and len(reach) > most:
            return None
    return reach


def _any_terminal(first: int, after: Edges) -> int:
    """Return a state of the component that Tarjan's algorithm (1972) finds first.

    No edge leads out of that component.
    """
    low: dict[int, int] = {first: 0}
    number = {first: 0}
    path = [(first, iter(after.of(first)))]
    while True:
        at, rest = path[-1]
        for one in rest:
            if one not in number:
                number[one] = low[one] = len(number)
                path.append((one, iter(after.of(one))))
                break
            low[at] = min(low[at], number[one])
        else:
            if low[at] == number[at]:
                return at
            path.pop()
            low[path[-1][0]] = min(low[path[-1][0]], low[at])


def shortest_path(first: int, last: int, after: Edges) -> list[int]:
    """Return the states on a shortest path, both ends included."""
    came: dict[int, int] = {first: -1}
    todo = deque([first])
    while last not in came:
        at = todo.popleft()
        for one in after.of(at):
            if one not in came:
                came[one] = at
                todo.append(one)
    found = [last]
    while found[-1] != first:
        found.append(came[found[-1]])
    return found[::-1]
