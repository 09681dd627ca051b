"""Waiting loops that count their passes, which would otherwise have as many states as passes.

A pass that comes to the same place and has read the same values again differs from an endless loop
only by a counter. Running the loop ahead with unchanged memory shows what the counter is for. If
the loop ends by itself, it is followed pass by pass, and its last pass is also offered at once. If
it does not, the counter is dropped and the loop becomes a cycle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from vmmlab.explore.localstate import LocalStates
from vmmlab.explore.program import Program

LOOK_AHEAD: Final = 400
"""A loop is run ahead for this many passes before its counter is dropped."""
# A loop that was run ahead before is run ahead for fewer passes when it reads other values.
_LOOK_AGAIN: Final = 80
# A pass of a loop has at most this many reads.
_LONGEST_PASS: Final = 8
# A loop that ends within this many passes is simply followed.
_SHORT: Final = 6

Following = tuple[int | None, int, int]
"""Outcome of a read: the value that is written (None: nothing), the next local state, and the
number of the last pass if equal passes were skipped, else 0."""


class _Site(NamedTuple):
    """A place in the program, with its callers."""

    rip: int
    rsp: int
    kind: str
    address: int
    callers: tuple[int, ...]


class _Ahead(NamedTuple):
    """Behaviour of a loop while memory stays the same.

    Attributes:
        end: "exit": it does something else; "cycle": it repeats exactly; "writes": it changes
            memory; "open": it has not ended yet.
        passes: how many passes were run, including the two before.
        at: number of the local state in which it ended.
    """

    end: Literal["exit", "cycle", "writes", "open"]
    passes: int
    at: int


class CountingLoops:
    """Recognises waiting loops that count, and decides how to follow each.

    Args:
        program: tells code addresses from other values on a stack.
        states: all local states.
        read: returns what a local state writes and leads to when it reads a value.

    Attributes:
        counting: address of each loop that counts, to the pass in which it ends, None if it did
            not end while it was run ahead.
        dropped: numbers of the local states in loops whose counter was dropped. Whether such a loop
            would end after more passes is not known.
    """

    def __init__(
        self,
        program: Program,
        states: LocalStates,
        read: Callable[[int, int], tuple[int | None, int]],
    ) -> None:
        self._program = program
        self._actions = states.actions
        self._locals = states.locals
        self._read = read
        self._sites: dict[int, _Site] = {}
        # For each local state first reached by a read: the state before, and the value.
        self._trail: dict[int, tuple[int, int]] = {}
        self.counting: dict[int, int | None] = {}
        self.dropped: set[int] = set()

    def follow(self, lid: int, value: int, written: int | None, after: int) -> list[Following]:
        """Return what to follow after a read that changes nothing and leads to a new local state.

        Args:
            lid: number of the local state before the read.
            value: the value that is read.
            written: the same value if the read also writes it back, or None.
            after: number of the local state after the read.
        """
        self._trail[after] = (lid, value)
        exact: Following = (written, after, 0)
        last_pass = self._repeated_pass(after)
        if last_pass is None:
            return [exact]
        chain, values = last_pass
        ahead = self._run_ahead(chain, values)
        if ahead.end == "writes" or (ahead.end in ("exit", "cycle") and ahead.passes < _SHORT):
            return [exact]
        rip = self._actions[after].rip
        if ahead.end == "exit":
            self.counting[rip] = ahead.passes
            return [exact, (written, ahead.at, ahead.passes)]
        if ahead.end == "open":
            self.dropped.update(chain)
        self.counting.setdefault(rip, None)
        return [(written, chain[-1], 0)]

    def _repeated_pass(self, after: int) -> tuple[list[int], list[int]] | None:
        """Return the last pass of a loop if it is the same as the one before except for a counter.

        Return its local states, latest first and including the one before the pass, and the value
        that led to each but the last.
        """
        chain = [after]
        values: list[int] = []
        while len(values) < 2 * _LONGEST_PASS and chain[-1] in self._trail:
            before, read = self._trail[chain[-1]]
            chain.append(before)
            values.append(read)
        for period in range(1, len(values) // 2 + 1):
            same = all(values[at] == values[at + period] for at in range(period))
            if same and self._site(chain[0]) == self._site(chain[period]):
                return chain[: period + 1], values[:period]
        return None

    def _run_ahead(self, chain: list[int], values: list[int]) -> _Ahead:
        """Run a loop on while every read gives the same value as in the last pass."""
        period = len(values)
        memory = {self._actions[chain[at + 1]].address: values[at] for at in range(period)}
        at, rip = chain[0], self._actions[chain[0]].rip
        seen, passes = {at}, 2
        most = _LOOK_AGAIN if rip in self.counting else LOOK_AHEAD
        for _ in range(most * period):
            action = self._actions[at]
            value = memory.get(action.address)
            if action.kind not in ("load", "rmw") or value is None:
                return _Ahead("exit", passes, at)
            passes += action.rip == rip
            written, at = self._read(at, value)
            if at in seen:
                return _Ahead("cycle", passes, at)
            if written is not None and written != value:
                return _Ahead("writes", passes, at)
            seen.add(at)
        return _Ahead("open", passes, at)

    def _site(self, lid: int) -> _Site:
        found = self._sites.get(lid)
        if found is None:
            action, context = self._actions[lid], self._locals[lid].context
            stack = context.stack
            words = (stack[at : at + 8] for at in range(0, len(stack) - 7, 8))
            values = (int.from_bytes(word, "little") for word in words)
            callers = tuple(one for one in values if self._program.is_code(one))
            found = _Site(action.rip, context.rsp, action.kind, action.address, callers)
            self._sites[lid] = found
        return found
