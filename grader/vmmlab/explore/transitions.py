"""All moves of one CPU from a given state.

A move begins with one access to shared memory, or with one event, and includes everything the CPU
does afterwards up to its next such action: the other CPUs cannot observe when that happens. With
store buffers (total store order) a move may instead make the oldest buffered store visible.

It knows nothing of the order in which a search visits states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from vmmlab.base.message import Text, msg
from vmmlab.explore.cpumodel import CpuModel
from vmmlab.explore.harness import Ghost, Harness, Violation
from vmmlab.explore.localstate import Action
from vmmlab.explore.memory import SharedMemory
from vmmlab.explore.ownership import expose
from vmmlab.explore.sharing import SharedBytes
from vmmlab.explore.states import Buffer, State, StateNumbers

BUFFER_CAPACITY: Final = 4
"""With store buffers, at most this many stores of a CPU are pending."""
# At most this many actions are merged into one move.
_MERGED: Final = 2000
# A CPU may enter these phases wherever the other CPUs are: no invariant depends on it.
_QUIET: Final = frozenset({"run", "between", "done", "halted", "endless"})


class MicroStep(NamedTuple):
    """One thing that happens within a move, for the table of a counterexample.

    Attributes:
        cpu: the CPU that makes the move.
        lid: its local state before this step.
        action: what it does, or did when it made the store that is now drained.
        kind: "buffer" is a store that goes into the store buffer, "drain" one that leaves it.
        address: of the memory that is accessed, 0 for an event.
        size: in bytes.
        read: the value that was read, or None.
        written: the value that was written, or None.
        note: what an event is called in the table.
        skipped: the number of the last pass of a waiting loop whose equal passes were skipped.
        memory: the memory state afterwards.
    """

    cpu: int
    lid: int
    action: Action
    kind: Literal["read", "write", "buffer", "drain", "event"]
    address: int = 0
    size: int = 0
    read: int | None = None
    written: int | None = None
    note: Text = ""
    skipped: int = 0
    memory: int = 0


class Move(NamedTuple):
    """One possible move of a CPU.

    Attributes:
        process: the CPU's process afterwards.
        world: the world afterwards.
        violation: what is wrong afterwards whatever the other CPUs do, or None.
        progress: something has changed, so that interrupting this CPU counts as a preemption.
        must_check: the move may break an invariant that involves the other CPUs.
        late: the CPU makes this move while some of its stores are not visible to the others.
    """

    process: int
    world: int
    violation: Violation | None
    progress: bool
    must_check: bool
    late: bool


class _Point(NamedTuple):
    """A CPU within a move: local state, store buffer, memory state and ghost."""

    lid: int
    buffer: Buffer
    memory: int
    ghost: Ghost


_Outcome = tuple[_Point, list[MicroStep]]
"""The point after an action, and the steps of the action if they are logged."""


class Transitions:
    """Computes and remembers the moves of all CPUs.

    Args:
        model: the CPUs.
        harness: what they start with, and what the code that is not run does.
        buffers: stores become visible to other CPUs late (total store order).
        memory: all memory states; None: those of a search, in which few bytes change.
        merge: what other CPUs cannot observe is one move; False: each access is a move.

    Attributes:
        memory: all memory states.
        numbers: all processes and worlds.
        sharing: the bytes that several CPUs use.
        buffer_filled: a store had to wait for room; a larger buffer would allow more schedules.
    """

    def __init__(
        self,
        model: CpuModel,
        harness: Harness,
        *,
        buffers: bool,
        memory: SharedMemory | None = None,
        merge: bool = True,
    ) -> None:
        self.model = model
        self.harness = harness
        self.memory = memory or SharedMemory(model.program.initial, harness.initial_writes())
        self.numbers = StateNumbers(model.locals)
        self.sharing = SharedBytes(model.program, harness.cpus, harness.shared())
        self.buffer_filled = False
        self._buffers = buffers
        self._merge = merge
        self._moves: dict[tuple[int, int], tuple[Move, ...]] = {}
        self._recorded: set[int] = set()

    def start(self) -> State:
        """Return the initial state."""
        cpus = range(self.harness.cpus)
        processes = [self.numbers.of_process(self.harness.start(cpu), ()) for cpu in cpus]
        return (*processes, self.numbers.of_world(0, self.harness.initial_ghost()))

    def moves(self, process: int, world: int) -> tuple[Move, ...]:
        """Return all moves of the CPU that this process belongs to."""
        key = (process, world)
        found = self._moves.get(key)
        if found is None:
            found = self._moves[key] = tuple(self._generate(process, world))
        return found

    def forget(self) -> None:
        """Drop all moves, because they depend on the set of shared bytes, which has changed."""
        self._moves.clear()

    def replay(self, process: int, world: int, choice: int) -> list[MicroStep]:
        """Return in detail what happens in one of the moves.

        Args:
            process: the CPU's process before the move.
            world: the world before the move.
            choice: index of the move in `moves (process, world)`.
        """
        logs: list[list[MicroStep]] = []
        for number, _ in enumerate(self._generate(process, world, logs)):
            if number == choice:
                break
        return logs[choice]

    # --- moves -------------------------------------------------------------------------------

    def _generate(
        self, process: int, world: int, logs: list[list[MicroStep]] | None = None
    ) -> Iterator[Move]:
        """Yield the moves one by one; append the steps of each to `logs` before yielding it."""
        start = _Point(*self.numbers.process(process), *self.numbers.world(world))
        if start.buffer:
            yield self._drain(start, logs)
        yield from self._advance(start, logs)

    def _drain(self, start: _Point, logs: list[list[MicroStep]] | None) -> Move:
        """Return the move that makes the oldest buffered store visible."""
        lid, buffer, memory, ghost = start
        address, size, value = buffer[0]
        memory = self.memory.write(memory, address, size, value)
        if logs is not None:
            cpu, action = self.model.locals[lid].cpu, self.model.actions[lid]
            step = MicroStep(cpu, lid, action, "drain", address, size, written=value, memory=memory)
            logs.append([step])
        drained = self.numbers.of_process(lid, buffer[1:])
        return Move(
            drained,
            self.numbers.of_world(memory, ghost),
            violation=None,
            progress=True,
            must_check=False,
            late=False,
        )

    def _advance(self, start: _Point, logs: list[list[MicroStep]] | None) -> Iterator[Move]:
        """Perform the next action and everything after it that other CPUs cannot observe."""
        actions, logging = self.model.actions, logs is not None
        # Usually there is one outcome; there are several where a waiting loop may give up.
        pending: deque[tuple[_Point, list[MicroStep], bool]] = deque([(start, [], False)])
        seen: set[tuple[int, int]] = set()
        first, count = True, 0
        while pending:
            point, log, progress = pending.popleft()
            here, action = (point.lid, point.memory), actions[point.lid]
            stop = action.kind == "end" or (
                not first and (self._observable(point, action) or here in seen)
            )
            count += 1
            outcomes = [] if stop else self._perform(point, action, logging)
            if not outcomes or count > _MERGED:
                if first:
                    return
                if logs is not None:
                    logs.append(log)
                yield self._move(start, point, progress=progress)
                continue
            first = False
            seen.add(here)
            for after, steps in outcomes:
                changed = action.kind == "event" or after[1:] != point[1:]
                pending.append((after, [*log, *steps] if logging else log, progress or changed))

    def _move(self, start: _Point, end: _Point, *, progress: bool) -> Move:
        """Return the move that leads from one point to the other."""
        before, local = self.model.locals[start.lid], self.model.locals[end.lid]
        private = (
            local.context.region in (before.context.region, None)
            and (local.phase == before.phase or local.phase in _QUIET)
            and local.notes == before.notes
        )
        return Move(
            self.numbers.of_process(end.lid, end.buffer),
            self.numbers.of_world(end.memory, end.ghost),
            violation=Violation(*local.reason) if local.phase == "wrong" else None,
            progress=progress,
            must_check=not private,
            late=bool(start.buffer),
        )

    def _observable(self, point: _Point, action: Action) -> bool:
        """Return whether it matters to the other CPUs when this action happens."""
        if action.alone or not self._merge:
            return True
        if action.kind == "event":
            return bool(point.buffer) and self._depends_on_buffer(point, action)
        if self._buffers and action.kind in ("store", "commit"):
            return False  # it goes into the buffer; others observe when it leaves the buffer
        return self.sharing.includes(action.address, action.size)

    def _depends_on_buffer(self, point: _Point, action: Action) -> bool:
        """Return whether an event may differ before and after buffered stores become visible.

        It cannot if the event reads no memory, or only what this CPU itself has just stored.
        """
        reads = self.harness.reads(self.model.locals[point.lid], action)
        if reads is None:
            return False
        start, size = reads
        stored = {at for one, length, _ in point.buffer for at in range(one, one + length)}
        return not stored.issuperset(range(start, start + size))

    # --- one action --------------------------------------------------------------------------

    def _perform(self, point: _Point, action: Action, logging: bool) -> list[_Outcome]:
        """Perform the next action; return no outcome if the CPU must wait for it."""
        if action.fence and point.buffer:
            return []
        if action.kind == "event":
            return self._handle_event(point, action, logging)
        lid = point.lid
        if lid not in self._recorded:
            self._recorded.add(lid)
            cpu, write = self.model.locals[lid].cpu, action.kind != "load"
            self.sharing.record(action.address, action.size, cpu, write=write)
        end = self._not_allowed(point, action)
        if end is not None:
            return [(point._replace(lid=end), [])]
        if action.kind in ("store", "commit"):
            return self._store(point, action, logging)
        return self._read(point, action, logging)

    def _not_allowed(self, point: _Point, action: Action) -> int | None:
        """Return the number of the local state in which a wrong access ends, or None."""
        model, local = self.model, self.model.locals[point.lid]
        violation = self.harness.forbidden(local, action, point.ghost)
        if violation is not None:
            return model.end(local, "wrong", *violation)
        # Stacks are followed as private memory, except for the words that carry data.
        for owner, low, top in model.stacks.values():
            if owner != local.cpu and low <= action.address < top:
                if model.program.is_exposed(action.address, action.size):
                    continue
                expose(model.program, action.address, action.size)
                what = msg("an access to the stack of CPU {cpu}", cpu=owner)
                return model.end(local, "unsupported", what=what)
        return None

    def _store(self, point: _Point, action: Action, logging: bool) -> list[_Outcome]:
        lid, buffer, memory, ghost = point
        address, size, value = action.address, action.size, action.value
        buffered = self._buffers and self.sharing.includes(address, size)
        if buffered and len(buffer) == BUFFER_CAPACITY:
            self.buffer_filled = True
            return []
        if buffered:
            buffer = (*buffer, (address, size, value))
        else:
            memory = self.memory.write(memory, address, size, value)
        steps = []
        if logging:
            cpu = self.model.locals[lid].cpu
            kind: Literal["buffer", "write"] = "buffer" if buffered else "write"
            steps.append(
                MicroStep(cpu, lid, action, kind, address, size, written=value, memory=memory)
            )
        return [(_Point(self.model.after(lid), buffer, memory, ghost), steps)]

    def _read(self, point: _Point, action: Action, logging: bool) -> list[_Outcome]:
        """Perform a load, or an atomic read-modify-write."""
        lid, buffer, memory, ghost = point
        address, size = action.address, action.size
        value = self._load(buffer, memory, address, size)
        outcomes = []
        for written, following, skipped in self.model.follow(lid, value):
            after = memory
            if written is not None:
                after = self.memory.write(memory, address, size, written)
            steps = []
            if logging:
                cpu = self.model.locals[lid].cpu
                step = MicroStep(cpu, lid, action, "read", address, size, value, written,
                                 skipped=skipped, memory=after)  # fmt: skip
                steps.append(step)
            outcomes.append((_Point(following, buffer, after, ghost), steps))
        return outcomes

    def _handle_event(self, point: _Point, action: Action, logging: bool) -> list[_Outcome]:
        lid, buffer, memory, ghost = point
        cpu = self.model.locals[lid].cpu

        def read(address: int, size: int) -> int:
            return self._load(buffer, memory, address, size)

        effect = self.harness.handle(lid, action, ghost, read)
        if effect is None:
            return []
        after = memory
        for address, size, value in effect.writes:
            self.sharing.record(address, size, cpu, write=True)
            after = self.memory.write(after, address, size, value)
        steps = []
        if logging and effect.note:
            steps.append(MicroStep(cpu, lid, action, "event", note=effect.note, memory=after))
        return [(_Point(effect.lid, buffer, after, effect.ghost), steps)]

    def _load(self, buffer: Buffer, memory: int, address: int, size: int) -> int:
        """Return the value that a CPU reads: its own buffered stores hide memory."""
        value = self.memory.read(memory, address, size)
        if not buffer:
            return value
        data = bytearray(value.to_bytes(size, "little"))
        for start, length, stored in buffer:
            for at, byte in enumerate(stored.to_bytes(length, "little"), start - address):
                if 0 <= at < size:
                    data[at] = byte
        return int.from_bytes(data, "little")
