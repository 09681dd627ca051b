"""Waiting loops that count their passes, which would otherwise have as many states as passes.

A pass that comes to the same place and has read and written the same as the pass before differs
from an endless loop only by counters. Where such a loop leads while memory stays the same is found
out by running it ahead, mostly by leaps (`acceleration`). If it ends by itself, its last pass is
offered beside the next one, and the counters of the passes between are dropped; a short loop is
simply followed. If it does not seem to end, it becomes a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Literal, NamedTuple

from vmmlab.explore.constants import Constants
from vmmlab.explore.context import Context
from vmmlab.explore.localstate import Action, LocalState, LocalStates
from vmmlab.explore.program import Program
from vmmlab.explore.skipping import LoopSkipper

LOOK_AHEAD: Final = 400
"""A loop whose counters cannot be computed is run ahead for this many passes."""
# A loop that was run ahead before is run ahead for fewer passes when it reads other values.
_LOOK_AGAIN: Final = 80
# A pass of a loop has at most this many actions.
_LONGEST_PASS: Final = 16
# A loop that does something else from time to time is run ahead for so many of these turns.
_MOST_TURNS: Final = 6
# After so many ends of a loop, its counters are dropped.
_MOST_ENDS: Final = 2
# A loop that ends within this many passes is simply followed.
_SHORT: Final = 6

Following = tuple[int | None, int, int]
"""Outcome of a read: the value that is written (None: nothing), the next local state, and the
number of the last pass if equal passes were skipped, else 0."""

ReadResult = tuple[int | None, int]


class _Site(NamedTuple):
    """A place in the program, with its callers."""

    rip: int
    rsp: int
    kind: str
    address: int
    callers: tuple[int, ...]


class _Did(NamedTuple):
    """What an action has read and written; None: nothing."""

    read: int | None
    written: int | None


class _Loop(NamedTuple):
    """The last two passes of a loop.

    Attributes:
        heads: the local states before the passes, between them, and after them.
        places: address and size of what each action of a pass accesses, in order.
        did: what it did there.
    """

    heads: tuple[int, int, int]
    places: tuple[tuple[int, int], ...]
    did: tuple[_Did, ...]


class _Ahead(NamedTuple):
    """Behaviour of a loop while memory stays the same.

    Attributes:
        end: "exit": it does something else; "cycle": it repeats exactly; "open": it has not ended
            yet.
        passes: how many passes were run, including the two before.
        at: number of the local state in which it ended.
    """

    end: Literal["exit", "cycle", "open"]
    passes: int
    at: int


class CountingLoops:
    """Recognises waiting loops that count, and decides how to follow each.

    Args:
        program: tells code addresses from other values on a stack.
        states: all local states.
        read: returns what a local state writes and leads to when it reads a value.
        after: returns what a local state leads to whose action reads nothing.
        settle: numbers a local state.

    Attributes:
        counting: address of each loop that counts, to the pass in which it ends, None if it did
            not seem to end.
        dropped: numbers of the local states in loops that do not seem to end. Whether such a loop
            would end after more passes is not known.
    """

    def __init__(
        self,
        program: Program,
        states: LocalStates,
        read: Callable[[int, int], ReadResult],
        after: Callable[[int], int],
        settle: Callable[[LocalState], int],
    ) -> None:
        self._program = program
        self._constants = Constants(program)
        self._actions = states.actions
        self._locals = states.locals
        self._read = read
        self._after = after
        self._settle = settle
        self._sites: dict[int, _Site] = {}
        # For each local state first reached by an action: the state before, and what was done.
        self._trail: dict[int, tuple[int, _Did]] = {}
        # How often each loop has ended, by place, CPU, and what a pass does.
        self._ends: dict[tuple[_Site, int, Hashable, tuple[_Did, ...]], int] = {}
        # Addresses of loops that do something else from time to time, and go on.
        self._turning: set[int] = set()
        self.counting: dict[int, int | None] = {}
        self.dropped: set[int] = set()

    def went(self, lid: int, after: int) -> None:
        """Note that an action that reads nothing has led to a new local state."""
        action = self._actions[lid]
        written = _written(action)
        self._trail[after] = (lid, _Did(None, written))

    def follow(self, lid: int, value: int, written: int | None, after: int) -> list[Following]:
        """Return what to follow after a read that leads to a new local state.

        Args:
            lid: number of the local state before the read.
            value: the value that is read.
            written: the value that the read also writes, or None.
            after: number of the local state after the read.
        """
        self._trail[after] = (lid, _Did(value, written))
        exact: Following = (written, after, 0)
        loop = self._repeated_pass(after)
        if loop is None:
            return [exact]
        rip, back = self._actions[after].rip, loop.heads[1]
        ahead = self._ahead(loop)
        if ahead.end != "open" and ahead.passes < _SHORT:
            return [exact]
        if ahead.end == "exit":
            self.counting[rip] = ahead.passes
            return [(written, back, 0), (written, ahead.at, ahead.passes)]
        if any(one.written not in (None, one.read) for one in loop.did):
            return [exact]
        if ahead.end == "open":
            self.dropped.update(loop.heads)
            self.counting.setdefault(rip, None)
        return [(written, back, 0)]

    def _repeated_pass(self, after: int) -> _Loop | None:
        """Return the last two passes of a loop if they are the same except for counters."""
        chain = [after]
        did: list[_Did] = []
        rip = self._actions[after].rip
        while len(did) < 2 * _LONGEST_PASS and chain[-1] in self._trail:
            before, one = self._trail[chain[-1]]
            chain.append(before)
            did.append(one)
            period, odd = divmod(len(did), 2)
            if odd or self._actions[chain[period]].rip != rip:
                continue
            if self._actions[before].rip != rip or did[:period] != did[period:]:
                continue
            if self._site(after) == self._site(chain[period]) == self._site(before):
                actions = [self._actions[at] for at in reversed(chain[1 : period + 1])]
                return _Loop(
                    (before, chain[period], after),
                    tuple((one.address, one.size) for one in actions),
                    tuple(reversed(did[:period])),
                )
        return None

    # --- running ahead -----------------------------------------------------------------------

    def _ahead(self, loop: _Loop) -> _Ahead:
        """Run a loop ahead, unless it has come back after its end again and again."""
        local = self._locals[loop.heads[2]]
        key = (self._site(loop.heads[2]), local.cpu, local.notes, loop.did)
        ends = self._ends.get(key, 0)
        if ends == _MOST_ENDS:
            return _Ahead("open", 2, loop.heads[2])
        ahead = self._leap(loop) or self._run_ahead(loop)
        if ahead.end == "exit" and self._comes_back(ahead.at, loop) is not None:
            ahead = _Ahead("open", ahead.passes, ahead.at)
        if ahead.end == "open":
            ends = _MOST_ENDS
        elif ahead.end == "exit" and ahead.passes >= _SHORT:
            ends += 1
        self._ends[key] = ends
        return ahead

    def _leap(self, loop: _Loop) -> _Ahead | None:
        """Find the end of a loop that counts by constant steps; None if it has none, or others."""
        head = loop.heads[2]
        local = self._locals[head]

        def run_pass(context: Context) -> Context | None:
            at = self._settle(local._replace(context=context))
            following = self._pass(at, loop) if self._locals[at].context == context else None
            return None if following is None else self._locals[following].context

        def come_back(context: Context) -> Context | None:
            back = self._comes_back(self._settle(local._replace(context=context)), loop)
            return None if back is None else self._locals[back].context

        read = [one.read for one in loop.did if one.read is not None]
        constants = self._constants.of(local.context).union(read)

        def around(context: Context) -> Context | None:
            return run_pass(context) or come_back(context)

        skipper = LoopSkipper(run_pass, around, lambda _: constants)
        context: Context | None = local.context
        rip = self._actions[head].rip
        for _ in range(1 if rip in self._turning else _MOST_TURNS):
            assert context is not None
            end = skipper.skip(context)
            if end is None:
                return None
            context = around(end)
            if context is None:
                passes = skipper.passes + 2
                impatient = local.impatient or passes >= _SHORT
                last = self._settle(local._replace(context=end, impatient=impatient))
                return _Ahead("exit", passes, last)
        self._turning.add(rip)
        return None

    def _comes_back(self, at: int, loop: _Loop) -> int | None:
        """Return the head of a loop that a CPU comes back to by other ways; None if it does not."""
        site = self._site(loop.heads[2])
        memory: dict[tuple[int, int], int] = {}
        for place, did in zip(loop.places, loop.did, strict=True):
            if did.read is not None:
                memory.setdefault(place, did.read)
        for _ in range(2 * _LONGEST_PASS):
            action = self._actions[at]
            place = (action.address, action.size)
            if action.kind in ("load", "rmw", "split") and place in memory:
                written, at = self._read(at, memory[place])
            elif action.context is not None and action.name != "switch":
                written = _written(action)
                at = self._after(at)
            else:
                return None
            if written is not None:
                memory[place] = written
            if self._site(at) == site:
                return at
        return None

    def _pass(self, at: int, loop: _Loop) -> int | None:
        """Run one pass; return the local state at its end, or None if it goes another way."""
        site = self._site(at)
        for place, did in zip(loop.places, loop.did, strict=True):
            action = self._actions[at]
            if (action.address, action.size) != place:
                return None
            if did.read is not None and action.kind in ("load", "rmw", "split"):
                written, at = self._read(at, did.read)
            elif did.read is None and action.context is not None:
                written = _written(action)
                at = self._after(at)
            else:
                return None
            if written != did.written:
                return None
        return at if self._site(at) == site else None

    def _run_ahead(self, loop: _Loop) -> _Ahead:
        """Run a loop on, pass by pass, while memory stays the same."""
        at = loop.heads[2]
        seen, passes = {at}, 2
        most = _LOOK_AGAIN if self._actions[at].rip in self.counting else LOOK_AHEAD
        for _ in range(most):
            following = self._pass(at, loop)
            if following is None:
                end = self._locals[at]._replace(impatient=passes >= _SHORT)
                return _Ahead("exit", passes, self._settle(end))
            passes, at = passes + 1, following
            if at in seen:
                return _Ahead("cycle", passes, at)
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


def _written(action: Action) -> int | None:
    """Return what an action that reads nothing writes; None if it writes nothing."""
    return action.value if action.kind in ("store", "commit") else None
