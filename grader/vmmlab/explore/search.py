"""Breadth-first search over all orders of steps of all CPUs, with or without store buffers.

A state is one local and one store buffer for each CPU, the shared memory, and the ghost. A step is
one access to memory that several CPUs use, or an event; whatever a CPU does before its next such
step goes with the one before. Which memory that is is found out on the way: the search begins
again when it learns that more bytes are shared than it thought.

With store buffers every order without them is among the orders that are tried: a CPU that waits for
its buffer to be empty before each next step sees its stores in order.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from vmmlab.explore import graph
from vmmlab.explore.emulator import OutOfTime
from vmmlab.explore.machine import OVER, Action, Local, Machine
from vmmlab.explore.memory import Memory, Store
from vmmlab.explore.scenarios import Ghost, Read, Scenario, Wrong

BUFFERED: Final = 4
"""So many stores of a CPU may be on their way with store buffers."""
_MERGED: Final = 2000
_RESTART_AFTER: Final = 4000
# For a counterexample that is easy to follow: so many states are looked at.
_NEAR: Final = 5000
_SMALL: Final = 20
# With store buffers so many states are reached first, without preemptions: what is shared?
_WARM_UP: Final = 2000
# A single question to the oracle may still end when the time is over; a series of them may not.
_GRACE_S: Final = 0.5

Buffer = tuple[Store, ...]


class Micro(NamedTuple):
    """One thing that happens within a step, for the table of a counterexample."""

    cpu: int
    lid: int
    action: Action
    kind: Literal["read", "write", "buffer", "drain", "event"]
    address: int = 0
    size: int = 0
    read: int | None = None
    written: int | None = None
    note: str = ""
    skipped: int = 0
    memory: int = 0


class Move(NamedTuple):
    """One way a CPU may go on: its new local and buffer, the new memory and ghost.

    Attributes:
        proc: local and buffer afterwards.
        world: memory and ghost afterwards.
        wrong: what is wrong with it, whatever the others do.
        progress: something has changed, so that to interrupt this CPU is a preemption.
        plain: neither stack nor phase nor round have changed: the others need not be looked at.
        late: the CPU goes on while others do not see all its stores yet.
    """

    proc: int
    world: int
    wrong: Wrong | None
    progress: bool
    plain: bool
    late: bool


State = tuple[int, ...]
"""For each CPU its proc (local and buffer), then the world (memory and ghost)."""

# While it searches, a state is one number, with these fields side by side: a step is an addition
# then, and what a CPU's next step depends on is a mask.
_FIELD: Final = 24
_LOW: Final = (1 << _FIELD) - 1
# Phases in which a CPU may come without anybody asking where the others are.
_QUIET: Final = frozenset({"run", "call", "done", "gave up", "halted", "endless"})


@dataclass
class Found:
    """What a search came to.

    Attributes:
        states: how many.
        transitions: how many.
        complete: every state within the bound was reached.
        wrong: the wrong state, if there is one.
        path: moves from the start to it: the state before, the CPU, and which of its ways.
        hopeless: so many moves of the path lead to the first state without hope.
        last: the state at the end of the path.
        unsure: whether all come to the end depends on a loop that counts for very long.
        in_order: all come to the end without going on before their stores are seen, too: then
            nothing is wrong either when stores are seen in order.
        limits: locals that cannot be followed.
    """

    states: int = 0
    transitions: int = 0
    complete: bool = False
    wrong: Wrong | None = None
    cpu: int = 0
    path: list[tuple[State, int, int]] = field(default_factory=list)
    hopeless: int | None = None
    last: State = ()
    unsure: bool = False
    in_order: bool = False
    limits: list[int] = field(default_factory=list)


class _MoreShared(Exception):
    """More memory is shared than was thought."""


class Search:
    """All orders of one scenario.

    Args:
        machine: the automata of the CPUs.
        scenario: who starts how, and what must hold.
        buffers: stores are seen by others late (total store order).
    """

    def __init__(self, machine: Machine, scenario: Scenario, *, buffers: bool) -> None:
        self._machine = machine
        self.scenario = scenario
        self._buffers = buffers
        self.memory = Memory(machine.program.initial, scenario.memory())
        self._cpus = machine.program.cpus
        self._procs: list[tuple[int, Buffer]] = []
        self.over: list[bool] = []
        """For each proc whether it has come to the end, and all its stores are seen."""
        self._proc_ids: dict[tuple[int, Buffer], int] = {}
        self._worlds: list[tuple[int, Ghost]] = []
        self._world_ids: dict[tuple[int, Ghost], int] = {}
        self.known_moves: dict[tuple[int, int], tuple[Move, ...]] = {}
        """By proc and world, what `moves` has found."""
        self._shared: set[int] = set()
        self._users: dict[int, int] = {}
        self._registered: set[int] = set()
        self._more = False
        self.filled = False
        """A store buffer was full: with a longer one there are more orders."""
        addr = machine.program.symbols.addr
        for name, size in (("num_of_processors", 4), ("ap_lock", 1), ("sync_lock", 1),
                           ("sync_id", 4), ("sync_count", 4)):  # fmt: skip
            self._shared.update(range(addr(name), addr(name) + size))
        self._shared.update(range(machine.program.lock, machine.program.lock + 1))
        self._shared.update(range(machine.program.procs, machine.program.procs + 4))

    # --- numbers for things ------------------------------------------------------------------

    def _proc(self, lid: int, buffer: Buffer) -> int:
        key = (lid, buffer)
        found = self._proc_ids.get(key)
        if found is None:
            found = self._proc_ids[key] = len(self._procs)
            assert found <= _LOW
            self._procs.append(key)
            self.over.append(self._machine.locals[lid].phase in OVER and not buffer)
        return found

    def _world(self, memory: int, ghost: Ghost) -> int:
        key = (memory, ghost)
        found = self._world_ids.get(key)
        if found is None:
            found = self._world_ids[key] = len(self._worlds)
            assert found <= _LOW
            self._worlds.append(key)
        return found

    def local_id(self, proc: int) -> int:
        """The local of a CPU in a state."""
        return self._procs[proc][0]

    def buffer(self, proc: int) -> Buffer:
        """The stores of a CPU that others do not see yet."""
        return self._procs[proc][1]

    def world(self, world: int) -> tuple[int, Ghost]:
        """Memory and ghost of a state."""
        return self._worlds[world]

    @property
    def shared(self) -> frozenset[int]:
        """The bytes that several CPUs use."""
        return frozenset(self._shared)

    def is_shared(self, address: int, size: int) -> bool:
        """Whether several CPUs use one of these bytes."""
        return any(at in self._shared for at in range(address, address + size))

    # --- one CPU goes on ---------------------------------------------------------------------

    def moves(self, proc: int, world: int) -> tuple[Move, ...]:
        """All ways in which one CPU may make its next step."""
        key = (proc, world)
        found = self.known_moves.get(key)
        if found is None:
            found = self.known_moves[key] = tuple(self._all_moves(proc, world))
        return found

    def replay(self, proc: int, world: int, way: int) -> list[Micro]:
        """What happens in one of these ways, in detail."""
        logs: list[list[Micro]] = []
        for number, _ in enumerate(self._all_moves(proc, world, logs)):
            if number == way:
                break
        return logs[way]

    def _all_moves(
        self, proc: int, world: int, logs: list[list[Micro]] | None = None
    ) -> Iterator[Move]:
        lid, buffer = self._procs[proc]
        memory, ghost = self._worlds[world]
        cpu = self._machine.locals[lid].cpu
        if buffer:
            address, size, value = buffer[0]
            after = self.memory.write(memory, address, size, value)
            if logs is not None:
                micro = Micro(cpu, lid, self._machine.actions[lid], "drain", address, size,
                              written=value, memory=after)  # fmt: skip
                logs.append([micro])
            proc = self._proc(lid, buffer[1:])
            yield Move(proc, self._world(after, ghost), None, True, True, False)
        yield from self._forward(lid, buffer, memory, ghost, logs)

    def _forward(
        self,
        lid: int,
        buffer: Buffer,
        memory: int,
        ghost: Ghost,
        logs: list[list[Micro]] | None,
    ) -> Iterator[Move]:
        """The next action, and all after it that are nobody else's business."""
        first, late = True, bool(buffer)
        before = self._machine.locals[lid]
        # Ways that are still going on; more than one only where a waiting loop may give up.
        open_ways: deque[tuple[int, Buffer, int, Ghost, list[Micro], bool]] = deque()
        open_ways.append((lid, buffer, memory, ghost, [], False))
        seen: set[tuple[int, int]] = set()
        count = 0
        while open_ways:
            lid, buffer, memory, ghost, log, progress = open_ways.popleft()
            action = self._machine.actions[lid]
            stop = action.kind == "end" or (
                not first and (self._visible(lid, action, buffer) or (lid, memory) in seen)
            )
            count += 1
            ways = [] if stop else self._perform(lid, buffer, memory, ghost, logs is not None)
            if stop or not ways or count > _MERGED:
                if first:
                    return
                local = self._machine.locals[lid]
                wrong = Wrong(*local.why) if local.phase == "wrong" else None
                if logs is not None:
                    logs.append(log)
                proc = self._proc(lid, buffer)
                plain = (
                    local.core.region in (before.core.region, None)
                    and (local.phase == before.phase or local.phase in _QUIET)
                    and local.out == before.out
                )
                yield Move(proc, self._world(memory, ghost), wrong, progress, plain, late)
                continue
            first = False
            seen.add((lid, memory))
            for after, rest, mem, spirit, micro in ways:
                entry = [*log, *micro]
                moved = progress or mem != memory or spirit != ghost or rest != buffer
                open_ways.append((after, rest, mem, spirit, entry, moved or action.kind == "event"))

    def _visible(self, lid: int, action: Action, buffer: Buffer) -> bool:
        if action.alone:
            return True
        if action.kind == "event":
            return bool(buffer) and self._asks(lid, action, buffer)
        if self._buffers and action.kind in ("store", "commit"):
            return False  # it goes into the buffer; the step is when others see it
        return self.is_shared(action.address, action.size)

    def _asks(self, lid: int, action: Action, buffer: Buffer) -> bool:
        """Whether it matters for an event if it comes before or after these stores are seen.

        If it does not look at memory, or only at what this CPU itself has just stored, then what
        comes of it after the stores comes of it before them too.
        """
        asked = self.scenario.asks(self._machine.locals[lid], action)
        if asked is None:
            return False
        start, size = asked
        stored = {at for one, length, _ in buffer for at in range(one, one + length)}
        return not stored.issuperset(range(start, start + size))

    def _perform(
        self, lid: int, buffer: Buffer, memory: int, ghost: Ghost, logging: bool
    ) -> list[tuple[int, Buffer, int, Ghost, list[Micro]]]:
        """The next action of a CPU; nothing if it has to wait for its buffer or for somebody."""
        machine = self._machine
        action = machine.actions[lid]
        if action.fence and buffer:
            return []
        if action.kind == "event":
            return self._happen(lid, buffer, memory, ghost, logging)
        cpu = machine.locals[lid].cpu
        self._register(lid, action, cpu)
        if action.window and ghost.bsp == "returned":
            what = (
                f"CPU {cpu} uses {machine.program.name(action.address)} when ap_wait has come back:"
                " the BSP may have unmapped it"
            )
            end = machine.end(machine.locals[lid], "wrong", "trampoline-gone", what)
            return [(end, buffer, memory, ghost, [])]
        if reached := self._foreign_stack(action, cpu):
            end = machine.end(machine.locals[lid], "unsupported", what=reached)
            return [(end, buffer, memory, ghost, [])]
        address, size = action.address, action.size
        if action.kind in ("store", "commit"):
            late = self._buffers and self.is_shared(address, size)
            if late and len(buffer) == BUFFERED:
                self.filled = True
                return []
            value = action.value
            rest = (*buffer, (address, size, value)) if late else buffer
            after = memory if late else self.memory.write(memory, address, size, value)
            micro = Micro(cpu, lid, action, "buffer" if late else "write", address, size,
                          written=value, memory=after)  # fmt: skip
            return [(machine.after(lid), rest, after, ghost, [micro] if logging else [])]
        value = self._load(buffer, memory, address, size)
        ways = []
        for written, following, skipped in machine.follow(lid, value):
            after = memory
            if written is not None:
                after = self.memory.write(memory, address, size, written)
            micro = Micro(cpu, lid, action, "read", address, size, value, written,
                          skipped=skipped, memory=after)  # fmt: skip
            ways.append((following, buffer, after, ghost, [micro] if logging else []))
        return ways

    def _happen(
        self, lid: int, buffer: Buffer, memory: int, ghost: Ghost, logging: bool
    ) -> list[tuple[int, Buffer, int, Ghost, list[Micro]]]:
        action = self._machine.actions[lid]
        cpu = self._machine.locals[lid].cpu

        def read(address: int, size: int) -> int:
            return self._load(buffer, memory, address, size)

        effect = self.scenario.event(lid, action, ghost, read)
        if effect is None:
            return []
        after = memory
        for address, size, value in effect.writes:
            self._use(address, size, cpu, write=True)
            after = self.memory.write(after, address, size, value)
        micro = Micro(cpu, lid, action, "event", note=effect.note, memory=after)
        log = [micro] if logging and effect.note else []
        return [(effect.lid, buffer, after, effect.ghost, log)]

    def _load(self, buffer: Buffer, memory: int, address: int, size: int) -> int:
        """What a CPU reads: its own latest stores first."""
        value = self.memory.read(memory, address, size)
        if not buffer:
            return value
        data = bytearray(value.to_bytes(size, "little"))
        for start, length, stored in buffer:
            for at, byte in enumerate(stored.to_bytes(length, "little"), start - address):
                if 0 <= at < size:
                    data[at] = byte
        return int.from_bytes(data, "little")

    # --- who uses which memory ---------------------------------------------------------------

    def _register(self, lid: int, action: Action, cpu: int) -> None:
        if lid in self._registered:
            return
        self._registered.add(lid)
        self._use(action.address, action.size, cpu, write=action.kind != "load")

    def _use(self, address: int, size: int, cpu: int, *, write: bool) -> None:
        for at in range(address, address + size):
            users = self._users.get(at, 0) | 1 << cpu | (write << self._cpus)
            self._users[at] = users
            several = (users & (1 << self._cpus) - 1).bit_count() > 1
            if several and users >> self._cpus and at not in self._shared:
                self._shared.add(at)
                self._more = True

    def _foreign_stack(self, action: Action, cpu: int) -> str:
        """Memory that is the stack of another CPU at some time cannot be a mailbox here."""
        for owner, low, top in self._machine.stacks.values():
            if owner != cpu and low <= action.address < top:
                return f"an access to the stack of CPU {owner}"
        return ""

    # --- the search --------------------------------------------------------------------------

    def run(
        self,
        *,
        states: int,
        seconds: float,
        preemptions: int | None = None,
        explain: bool = True,
    ) -> Found:
        """Search until something is wrong, all is known, or it has been enough.

        Args:
            states: at most so many.
            seconds: at most so much CPU time.
            preemptions: how often a CPU that makes progress may be interrupted; None: ever.
            explain: False: whether all come to the end is only looked at for `in_order`, and it is
                over with the first thing that cannot be followed.
        """
        until = time.thread_time() + seconds
        self._machine.oracle.until = until + _GRACE_S
        warm = self._buffers and preemptions is None
        try:
            while True:
                self.known_moves.clear()
                self._more = False
                if warm:
                    warm = False
                    self._warm_up(until)
                    continue
                run = _Run(self, self._machine, until, states, preemptions, explain=explain)
                try:
                    return run.search()
                except _MoreShared:
                    continue
                except OutOfTime:
                    return run.found(complete=False)
        finally:
            self._machine.oracle.until = math.inf

    def _warm_up(self, until: float) -> None:
        """Learn which memory is shared: to begin the long search again would take longer."""
        with contextlib.suppress(_MoreShared, OutOfTime):
            _Run(self, self._machine, until, _WARM_UP, 0).search()

    def start(self) -> State:
        """The first state."""
        procs = [self._proc(self.scenario.start(cpu), ()) for cpu in range(self._cpus)]
        return (*procs, self._world(0, Ghost()))

    def must_restart(self, reached: int, *, over: bool) -> bool:
        """Whether the search has learned that more memory is shared."""
        return self._more and (over or reached > _RESTART_AFTER)


class _Run:
    """One search with a fixed idea of what is shared."""

    def __init__(
        self,
        search: Search,
        machine: Machine,
        until: float,
        most: int,
        preemptions: int | None,
        *,
        explain: bool = False,
    ) -> None:
        self._search = search
        self._machine = machine
        self._until = until
        self._most = most
        self._bound = preemptions
        self._explain = explain
        self._cpus = machine.program.cpus
        self._fields = tuple(_FIELD * at for at in range(self._cpus + 3))
        self._states: list[int] = []
        self._at: dict[int, int] = {}
        self._parents: list[tuple[int, int, int]] = []
        # Where the edges of each state begin, and where they lead to; ~ if the step was late.
        self._starts = array("l")
        self._ends = array("l")
        self._limits: dict[int, None] = {}
        self._finished: list[int] = []
        self._unsure = False
        self._in_order = False

    def search(self) -> Found:
        search, cpus = self._search, self._cpus
        bound = self._bound
        fields = self._fields
        body = (1 << fields[cpus + 1]) - 1
        masks = [_LOW << fields[cpu] | _LOW << fields[cpus] for cpu in range(cpus)]
        # For each CPU, by what its next step depends on: what is added to the state, and the rest.
        tables: list[dict[int, list[tuple[int, int, Move]]]] = [{} for _ in range(cpus)]
        state = self._packed(search.start())
        self._add(state if bound is None else state | bound << fields[cpus + 2], (-1, 0, 0))
        at = 0
        states, known, ends = self._states, self._at, self._ends
        while at < len(states):
            if len(states) > self._most or (at % 256 == 0 and time.thread_time() > self._until):
                if search.must_restart(len(states), over=True):
                    raise _MoreShared
                return self.found(complete=False)
            if search.must_restart(len(states), over=False):
                raise _MoreShared
            state = states[at]
            moved = False
            self._starts.append(len(ends))
            for cpu in range(cpus):
                ways = tables[cpu].get(state & masks[cpu])
                if ways is None:
                    ways = tables[cpu][state & masks[cpu]] = self._ways(state, cpu)
                if not ways:
                    continue
                now = state
                left = 0
                if bound is not None:
                    current = state >> fields[cpus + 1] & _LOW
                    left = state >> fields[cpus + 2]
                    if current and cpu + 1 != current and self._goes_on(state, current - 1):
                        left -= 1
                        if left < 0:
                            continue
                    now = state & body
                moved = True
                for way, added, move in ways:
                    after = now + added
                    if not move.plain:
                        wrong = move.wrong or self._check(now, after, cpu)
                        if wrong is not None:
                            if search.must_restart(len(states), over=True):
                                raise _MoreShared
                            found = self.found(complete=False)
                            found.wrong, found.cpu = wrong, cpu
                            found.last = self.unpacked(after)
                            found.path = [*self._path(at), (self.unpacked(state), cpu, way)]
                            return found
                        if self._limits and bound is None and not self._explain:
                            return self.found(complete=False)
                    if bound is not None:
                        if move.progress:
                            after |= cpu + 1 << fields[cpus + 1]
                        after |= left << fields[cpus + 2]
                    elif not added:
                        continue  # it turns in a circle
                    end = known.get(after)
                    if end is None:
                        end = self._add(after, (at, cpu, way))
                    ends.append(~end if move.late else end)
            if search.over[state & _LOW] and self._is_over(state):
                self._finished.append(at)
                wrong = self._final(state)
                if wrong is not None:
                    return self._ended(at, wrong)
            elif not moved and self._has_limit(state):
                self._finished.append(at)
            at += 1
        if search.must_restart(len(states), over=True):
            raise _MoreShared
        if bound is None:
            stuck = self._stuck()
            if stuck is not None:
                return stuck
        return self.found(complete=True)

    # --- states ------------------------------------------------------------------------------

    def _packed(self, state: State) -> int:
        return sum(one << at for one, at in zip(state, self._fields, strict=False))

    def unpacked(self, state: int) -> State:
        """A state as it is outside: without the bound's fields."""
        return tuple(state >> at & _LOW for at in self._fields[: self._cpus + 1])

    def _ways(self, state: int, cpu: int) -> list[tuple[int, int, Move]]:
        """The moves of a CPU, each with its number and what it adds to the state."""
        at, top = self._fields[cpu], self._fields[self._cpus]
        proc, world = state >> at & _LOW, state >> top & _LOW
        moves = self._search.moves(proc, world)
        return [
            (way, (move.proc - proc << at) + (move.world - world << top), move)
            for way, move in enumerate(moves)
        ]

    def _add(self, state: int, parent: tuple[int, int, int]) -> int:
        end = self._at[state] = len(self._states)
        self._states.append(state)
        self._parents.append(parent)
        return end

    def _path(self, at: int) -> list[tuple[State, int, int]]:
        path = []
        while at:
            before, cpu, way = self._parents[at]
            path.append((self.unpacked(self._states[before]), cpu, way))
            at = before
        return path[::-1]

    def found(self, *, complete: bool) -> Found:
        """What there is up to now."""
        return Found(
            len(self._states),
            len(self._ends),
            complete,
            unsure=self._unsure,
            in_order=self._in_order,
            limits=list(self._limits),
        )

    def _ended(self, at: int, wrong: Wrong) -> Found:
        if self._search.must_restart(len(self._states), over=True):
            raise _MoreShared
        found = self.found(complete=False)
        found.wrong, found.path, found.last = wrong, self._path(at), self._state(at)
        found.cpu = found.path[-1][1] if found.path else 0
        return found

    def _state(self, at: int) -> State:
        return self.unpacked(self._states[at])

    def _local(self, state: int, cpu: int) -> int:
        return self._search.local_id(state >> self._fields[cpu] & _LOW)

    def _locals(self, state: int) -> list[Local]:
        return [self._machine.locals[self._local(state, cpu)] for cpu in range(self._cpus)]

    def _goes_on(self, state: int, cpu: int) -> bool:
        """Whether a CPU could make another step: to take another one is a preemption."""
        world = state >> self._fields[self._cpus] & _LOW
        return bool(self._search.moves(state >> self._fields[cpu] & _LOW, world))

    # --- what is wrong -----------------------------------------------------------------------

    def _check(self, before: int, after: int, cpu: int) -> Wrong | None:
        search = self._search
        old = self._machine.locals[self._local(before, cpu)]
        now = self._locals(after)
        if now[cpu].phase in ("unsupported", "unfinished"):
            self._limits[self._local(after, cpu)] = None
        return search.scenario.check(now, cpu, old, self._reader(after))

    def _reader(self, state: int) -> Read:
        memory, _ = self._search.world(state >> self._fields[self._cpus] & _LOW)
        return lambda address, size: self._search.memory.read(memory, address, size)

    def _is_over(self, state: int) -> bool:
        over = self._search.over
        return all(over[state >> self._fields[cpu] & _LOW] for cpu in range(self._cpus))

    def _has_limit(self, state: int) -> bool:
        phases = (local.phase for local in self._locals(state))
        return any(phase in ("unsupported", "unfinished") for phase in phases)

    def _final(self, state: int) -> Wrong | None:
        return self._search.scenario.final(self._locals(state), self._reader(state))

    # --- completion must be reachable --------------------------------------------------------

    def _stuck(self) -> Found | None:
        """The first state from which the end cannot be reached, followed to where all wait."""
        self._starts.append(len(self._ends))
        if graph.all_reach(self._finished, self._starts, self._ends):
            self._in_order = True
        if self._in_order or not self._explain:
            return None
        edges_from, edges_to = array("l"), array("l")
        for at, (begin, end) in enumerate(itertools.pairwise(self._starts)):
            edges_from.extend([at] * (end - begin))
        edges_to.extend(end if end >= 0 else ~end for end in self._ends)
        before = graph.Edges(len(self._states), edges_to, edges_from)
        first = self._hopeless(list(self._finished), before)
        if first < 0:
            return None
        # A loop that counts might come to its end after very many passes.
        known = self._machine.forgotten
        unsure = [
            at
            for at, state in enumerate(self._states)
            if known and any(self._local(state, cpu) in known for cpu in range(self._cpus))
        ]
        if unsure:
            first = self._hopeless([*self._finished, *unsure], before)
            if first < 0:
                self._unsure = True
                return None
        steps = len(self._path(first))
        after = graph.Edges(len(self._states), edges_from, edges_to)
        last = graph.end(first, after)
        what, stuck = self._who_is_stuck(last)
        cpu = stuck[0] if stuck else 0
        earlier = self._already_stuck(first, stuck, after)
        last = last if earlier is None else earlier
        self._hang_on(first, last, after)
        found = self._ended(last, Wrong("never-completes", what))
        found.cpu, found.hopeless = cpu, steps
        return found

    def _hopeless(self, good: list[int], before: graph.Edges) -> int:
        """The first state from which none of these can be reached, or -1."""
        # What the model cannot follow might come to the end.
        if self._limits:
            good += [at for at, state in enumerate(self._states) if self._has_limit(state)]
        return graph.hopeless(before, good)

    def _hang_on(self, first: int, last: int, after: graph.Edges) -> None:
        """The path to `last` shall lead through `first`."""
        states = graph.way(first, last, after)
        for start, at in itertools.pairwise(states):
            self._parents[at] = (start, *self._step(start, at))

    def _step(self, start: int, end: int) -> tuple[int, int]:
        state, target = self._states[start], self._states[end]
        for cpu in range(self._cpus):
            for way, added, _ in self._ways(state, cpu):
                if state + added == target:
                    return cpu, way
        raise AssertionError("an edge without a move")

    def _already_stuck(self, first: int, stuck: list[int], after: graph.Edges) -> int | None:
        """A nearest state in which these CPUs wait, and whatever the others do they still will.

        To be convincing, the others have come to the end or have not even begun.
        """
        order, seen = [first], {first}
        others = [cpu for cpu in range(self._cpus) if cpu not in stuck]
        for at in order:
            state = self._states[at]
            quiet = all(
                self._machine.locals[self._local(state, cpu)].phase in (*OVER, "begin")
                for cpu in others
            )
            circles = [self._circle(self._state(at), cpu) for cpu in stuck] if quiet else []
            if quiet and all(circles) and self._stay(at, stuck, circles, after):
                return at
            for one in after.of(at):
                if one not in seen:
                    seen.add(one)
                    order.append(one)
            if len(order) > _NEAR:
                return None
        return None

    def _circle(self, state: State, cpu: int) -> set[int]:
        """Where a CPU comes by in circles if it goes on alone and changes nothing; else nothing."""
        start, world = state[cpu], state[self._cpus]
        if self._search.over[start]:
            return set()
        circle, todo, back = {start}, [start], not self._search.moves(start, world)
        while todo:
            for move in self._search.moves(todo.pop(), world):
                if move.world != world or len(circle) > _SMALL:
                    return set()
                back = back or move.proc == start
                if move.proc not in circle:
                    circle.add(move.proc)
                    todo.append(move.proc)
        return circle if back else set()

    def _stay(self, at: int, cpus: list[int], circles: list[set[int]], after: graph.Edges) -> bool:
        """Whether these CPUs stay in their circles in all states after this one."""
        seen, todo = {at}, [at]
        while todo:
            state = self._state(todo[-1])
            if any(state[cpu] not in circle for cpu, circle in zip(cpus, circles, strict=True)):
                return False
            for one in after.of(todo.pop()):
                if one not in seen:
                    seen.add(one)
                    todo.append(one)
            if len(seen) > _NEAR:
                return False
        return True

    def _who_is_stuck(self, at: int) -> tuple[str, list[int]]:
        state = self._states[at]
        waiting = []
        for cpu in range(self._cpus):
            local = self._machine.locals[self._local(state, cpu)]
            if local.phase not in OVER:
                waiting.append((cpu, local))
        aps = [f"CPU {cpu}" for cpu, _ in waiting if cpu]
        last, others = aps[-1] if aps else "", ", ".join(aps[:-1])
        if len(aps) == len(waiting):
            what = f"{last} never comes to the end, whatever happens next"
            if others:
                what = f"{others} and {last} never come to the end, whatever happens next"
        elif others:
            what = f"the BSP, {others} and {last} never come to the end, whatever happens next"
        elif last:
            what = f"the BSP and {last} never come to the end, whatever happens next"
        else:
            what = "the BSP never comes to the end, whatever happens next"
        return what, [cpu for cpu, _ in waiting]
