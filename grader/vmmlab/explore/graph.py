"""Graphs of numbered states: from where nothing good can be reached, and where it ends then.

Pure functions over edges; knows nothing of what a state is.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from typing import Final

# A nearest end is looked for among so many states; among more, any end will do.
_NEAR: Final = 20_000
_SMALL: Final = 400
_PASSES: Final = 20


class Edges:
    """Edges by one of their ends.

    Args:
        total: how many states there are.
        key: for each edge the end by which it is looked up.
        value: for each edge the other end.
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
        """The other ends."""
        return self._items[self._start[at] : self._start[at + 1]]


def hopeless(before: Edges, good: Iterable[int]) -> int:
    """The first state from which none of the good ones can be reached, or -1.

    Args:
        before: edges by where they lead to.
        good: states.
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
    return known.find(0)


def all_reach(good: Iterable[int], starts: array[int], ends: array[int]) -> bool:
    """Whether one of the good states can be reached from every state, and cheaply seen to be.

    False does not say that it cannot: `hopeless` knows.

    Args:
        good: states.
        starts: where in `ends` the edges of each state begin, and where the last ones end.
        ends: the states that edges lead to; those below 0 are not used.
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


def end(first: int, after: Edges) -> int:
    """A state after `first` to which one comes back from wherever it leads: there it ends.

    A nearest one, if there are not too many states.
    """
    order, seen = [first], {first}
    for at in order:
        for one in after.of(at):
            if one not in seen:
                seen.add(one)
                order.append(one)
        if len(order) > _NEAR:
            return _some_end(first, after)
    for at in order:
        reach = reached(at, after, _SMALL)
        if reach is not None and all(at in (reached(one, after) or ()) for one in reach):
            return at
    return _some_end(first, after)


def reached(start: int, after: Edges, most: int | None = None) -> set[int] | None:
    """All states after `start`, itself too; None if there are more than `most`."""
    reach, todo = {start}, [start]
    while todo:
        for one in after.of(todo.pop()):
            if one not in reach:
                reach.add(one)
                todo.append(one)
        if most is not None and len(reach) > most:
            return None
    return reach


def _some_end(first: int, after: Edges) -> int:
    """The component that Tarjan's algorithm (1972) finds first: it has no way out."""
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


def way(first: int, last: int, after: Edges) -> list[int]:
    """The states on a shortest way, both ends too."""
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
