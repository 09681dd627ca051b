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
from vmmlab.explore.localstate import Action, LocalState
from vmmlab.explore.memory import SharedMemory
from vmmlab.explore.sharing import SharedBytes
from vmmlab.explore.states import Buffer, State, StateNumbers

BUFFER_CAPACITY: Final = 4
"""With store buffers, at most this many stores of a CPU are pending."""
# At most this many actions are merged into one move.
_MERGED: Final = 2000
# A CPU may enter these phases wherever the other CPUs are: no invariant depends on it.
_QUIET: Final = frozenset({"run", "call", "done", "gave up", "halted", "endless"})


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


_Outcome = tuple[int, Buffer, int, Ghost, list[MicroStep]]
"""Local state, store buffer, memory state and ghost after an action, and what happened."""


class Transitions:
    """Computes and remembers the moves of all CPUs.

    Args:
        model: the CPUs.
        harness: what they start with, and what the code that is not run does.
        buffers: stores become visible to other CPUs late (total store order).

    Attributes:
        memory: all memory states.
        numbers: all processes and worlds.
        sharing: the bytes that several CPUs use.
        buffer_filled: a store had to wait for room; a larger buffer would allow more schedules.
    """

    def __init__(self, model: CpuModel, harness: Harness, *, buffers: bool) -> None:
        self.model = model
        self.harness = harness
        self.memory = SharedMemory(model.program.initial, harness.initial_writes())
        self.numbers = StateNumbers(model.locals)
        self.sharing = SharedBytes(model.program)
        self.buffer_filled = False
        self._buffers = buffers
        self._moves: dict[tuple[int, int], tuple[Move, ...]] = {}
        self._recorded: set[int] = set()

    def start(self) -> State:
        """Return the initial state."""
        cpus = range(self.model.program.cpus)
        processes = [self.numbers.of_process(self.harness.start(cpu), ()) for cpu in cpus]
        return (*processes, self.numbers.of_world(0, Ghost()))

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
        lid, buffer = self.numbers.process(process)
        memory, ghost = self.numbers.world(world)
        if buffer:
            address, size, value = buffer[0]
            after = self.memory.write(memory, address, size, value)
            if logs is not None:
                cpu, action = self.model.locals[lid].cpu, self.model.actions[lid]
                logs.append([
                    MicroStep(cpu, lid, action, "drain", address, size, written=value, memory=after)
                ])  # fmt: skip
            drained = self.numbers.of_process(lid, buffer[1:])
            yield Move(drained, self.numbers.of_world(after, ghost), None, True, False, False)
        yield from self._advance(lid, buffer, memory, ghost, logs)

    def _advance(
        self,
        lid: int,
        buffer: Buffer,
        memory: int,
        ghost: Ghost,
        logs: list[list[MicroStep]] | None,
    ) -> Iterator[Move]:
        """Perform the next action and everything after it that other CPUs cannot observe."""
        actions, logging = self.model.actions, logs is not None
        before, late = self.model.locals[lid], bool(buffer)
        # Usually there is one outcome; there are several where a waiting loop may give up.
        pending: deque[tuple[_Outcome, bool]] = deque()
        pending.append(((lid, buffer, memory, ghost, []), False))
        seen: set[tuple[int, int]] = set()
        first, count = True, 0
        while pending:
            (lid, buffer, memory, ghost, log), progress = pending.popleft()
            action = actions[lid]
            stop = action.kind == "end" or (
                not first and (self._observable(lid, action, buffer) or (lid, memory) in seen)
            )
            count += 1
            outcomes = [] if stop else self._perform(lid, buffer, memory, ghost, logging)
            if not outcomes or count > _MERGED:
                if first:
                    return
                if logs is not None:
                    logs.append(log)
                yield self._move(before, (lid, buffer, memory, ghost, log), progress, late)
                continue
            first = False
            seen.add((lid, memory))
            for after, rest, mem, spirit, steps in outcomes:
                moved = progress or mem != memory or spirit != ghost or rest != buffer
                entry = [*log, *steps] if logging else log
                outcome = (after, rest, mem, spirit, entry)
                pending.append((outcome, moved or action.kind == "event"))

    def _move(self, before: LocalState, outcome: _Outcome, progress: bool, late: bool) -> Move:
        """Return the move that leads from one local state to this outcome."""
        lid, buffer, memory, ghost, _ = outcome
        local = self.model.locals[lid]
        must_check = not (
            local.context.region in (before.context.region, None)
            and (local.phase == before.phase or local.phase in _QUIET)
            and local.completed == before.completed
        )
        return Move(
            self.numbers.of_process(lid, buffer),
            self.numbers.of_world(memory, ghost),
            Violation(*local.reason) if local.phase == "wrong" else None,
            progress,
            must_check,
            late,
        )

    def _observable(self, lid: int, action: Action, buffer: Buffer) -> bool:
        """Return whether it matters to the other CPUs when this action happens."""
        if action.alone:
            return True
        if action.kind == "event":
            return bool(buffer) and self._depends_on_buffer(lid, action, buffer)
        if self._buffers and action.kind in ("store", "commit"):
            return False  # it goes into the buffer; others observe when it leaves the buffer
        return self.sharing.includes(action.address, action.size)

    def _depends_on_buffer(self, lid: int, action: Action, buffer: Buffer) -> bool:
        """Return whether an event may differ before and after these stores become visible.

        It cannot if the event reads no memory, or only what this CPU itself has just stored.
        """
        reads = self.harness.reads(self.model.locals[lid], action)
        if reads is None:
            return False
        start, size = reads
        stored = {at for one, length, _ in buffer for at in range(one, one + length)}
        return not stored.issuperset(range(start, start + size))

    # --- one action --------------------------------------------------------------------------

    def _perform(
        self, lid: int, buffer: Buffer, memory: int, ghost: Ghost, logging: bool
    ) -> list[_Outcome]:
        """Perform the next action; return no outcome if the CPU must wait for it."""
        model = self.model
        action = model.actions[lid]
        if action.fence and buffer:
            return []
        if action.kind == "event":
            return self._handle_event(lid, buffer, memory, ghost, logging)
        cpu = model.locals[lid].cpu
        if lid not in self._recorded:
            self._recorded.add(lid)
            write = action.kind != "load"
            self.sharing.record(action.address, action.size, cpu, write=write)
        if action.window and ghost.bsp == "returned":
            what = msg(
                "CPU {cpu} uses {name} when ap_wait has come back: the BSP may have unmapped it",
                cpu=cpu,
                name=model.program.name(action.address),
            )
            end = model.end(model.locals[lid], "wrong", "trampoline-gone", what)
            return [(end, buffer, memory, ghost, [])]
        if limit := self._other_stack(action, cpu):
            end = model.end(model.locals[lid], "unsupported", what=limit)
            return [(end, buffer, memory, ghost, [])]
        if action.kind in ("store", "commit"):
            return self._store(lid, buffer, memory, ghost, logging)
        return self._read(lid, buffer, memory, ghost, logging)

    def _store(
        self, lid: int, buffer: Buffer, memory: int, ghost: Ghost, logging: bool
    ) -> list[_Outcome]:
        action = self.model.actions[lid]
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
        return [(self.model.after(lid), buffer, memory, ghost, steps)]

    def _read(
        self, lid: int, buffer: Buffer, memory: int, ghost: Ghost, logging: bool
    ) -> list[_Outcome]:
        """Perform a load, or an atomic read-modify-write."""
        action = self.model.actions[lid]
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
            outcomes.append((following, buffer, after, ghost, steps))
        return outcomes

    def _handle_event(
        self, lid: int, buffer: Buffer, memory: int, ghost: Ghost, logging: bool
    ) -> list[_Outcome]:
        action = self.model.actions[lid]
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
        return [(effect.lid, buffer, after, effect.ghost, steps)]

    def _load(self, buffer: Buffer, memory: int, address: int, size: int) -> int:
        """Return what a CPU reads: its own pending stores take precedence over memory."""
        value = self.memory.read(memory, address, size)
        if not buffer:
            return value
        data = bytearray(value.to_bytes(size, "little"))
        for start, length, stored in buffer:
            for at, byte in enumerate(stored.to_bytes(length, "little"), start - address):
                if 0 <= at < size:
                    data[at] = byte
        return int.from_bytes(data, "little")

    def _other_stack(self, action: Action, cpu: int) -> Text:
        """Return the limit reached by an access to another CPU's stack, or "".

        The model follows stacks as private memory, so they cannot carry data between CPUs.
        """
        for owner, low, top in self.model.stacks.values():
            if owner != cpu and low <= action.address < top:
                return msg("an access to the stack of CPU {cpu}", cpu=owner)
        return ""
