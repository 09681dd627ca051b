"""The CPUs as automata: what each does next, and where a value that it reads leads.

Every local state is computed once, with the emulator, and remembered. The model knows nothing of
interleavings, and nothing of what is right.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmmlab.base.message import Text, msg
from vmmlab.explore.advance import Advance
from vmmlab.explore.context import Context
from vmmlab.explore.emulator import Emulator
from vmmlab.explore.localstate import Action, LocalState, LocalStates, Phase
from vmmlab.explore.loops import CountingLoops, Following
from vmmlab.explore.ownership import foreign_accesses, on_current_stack, own_blocks
from vmmlab.explore.program import Program


class CpuModel:
    """The automata of all CPUs of one program.

    Args:
        program: the image and its surroundings.
        loops: find out where waiting loops that count end; otherwise they are only run.

    Attributes:
        program: as given.
        emulator: runs the program's code.
        locals: all local states by number.
        actions: the next action of each.
        stacks: blocks from alloc that are used as stacks: base address to the CPU that allocated
            the block, and the low and top addresses of the stack.
        counting: see `CountingLoops.counting`.
        dropped_counters: see `CountingLoops.dropped`.
    """

    def __init__(self, program: Program, *, loops: bool = True) -> None:
        self.program = program
        self._ends_loops = loops
        self.emulator = Emulator(program)
        self._states = LocalStates()
        self.locals = self._states.locals
        self.actions = self._states.actions
        self.stacks: dict[int, tuple[int, int, int]] = {}
        self._advance = Advance(program, self.emulator, self._states)
        self._loops = CountingLoops(program, self._states, self._read, self._leads_to, self.settle)
        self.counting = self._loops.counting
        self.dropped_counters = self._loops.dropped
        self._stepped: dict[Context, Context] = {}
        self._after: dict[int, int] = {}
        self._followed: dict[tuple[int, int], list[Following]] = {}
        self._reads: dict[tuple[int, int], tuple[int | None, int]] = {}
        # Local states that have been reached: one that is new after a read may belong to a loop.
        self._reached: set[int] = set()

    # --- local states ------------------------------------------------------------------------

    def waiting(self, local: LocalState, action: Action) -> int:
        """Return the number of a local state whose next action the harness chooses."""
        return self._states.add(local, action)

    def end(self, local: LocalState, phase: Phase, kind: str = "", what: Text = "") -> int:
        """Return the number of a local state without a next action; see `LocalStates.end`."""
        return self._states.end(local, phase, kind, what)

    def settle(self, local: LocalState) -> int:
        """Let a CPU run on to its next action; return the number of its local state there."""
        return self._advance.settle(local)

    def step(self, context: Context) -> Context:
        """Return the context after one instruction that accesses no memory."""
        found = self._stepped.get(context)
        if found is None:
            found = self._stepped[context] = self.emulator.step(context).context
        return found

    # --- going on ----------------------------------------------------------------------------

    def after(self, lid: int) -> int:
        """Return the local state after a store, a commit, or an event that leads to one context."""
        found = self._leads_to(lid)
        if found not in self._reached and self._ends_loops:
            self._reached.add(found)
            self._loops.went(lid, found)
        return found

    def _leads_to(self, lid: int) -> int:
        found = self._after.get(lid)
        if found is None:
            context = self.actions[lid].context
            assert context is not None
            arrived = self._arrived(self.locals[lid], context)
            found = self._after[lid] = self.settle(arrived)
        return found

    def follow(self, lid: int, value: int) -> Sequence[Following]:
        """Return what a "load", "rmw" or "split" leads to when it reads `value`.

        Usually that is one thing. A waiting loop that counts may go on or, at last, give up.
        """
        key = (lid, value)
        found = self._followed.get(key)
        if found is None:
            written, after = self._read(lid, value)
            found = [(written, after, 0)]
            if after not in self._reached and self._ends_loops:
                found = self._loops.follow(lid, value, written, after)
            self._reached.update(way[1] for way in found)
            self._followed[key] = found
        return found

    def _arrived(self, local: LocalState, context: Context) -> LocalState:
        """Return the local state with a new context; note which stacks it uses."""
        now = context.region
        if now is not None and now.block in own_blocks(self.program, local):
            self.stacks[now.block] = (local.cpu, now.low, now.top)
        stacks = local.stacks
        if now is not None and now.block not in stacks:
            stacks = (*stacks, now.block)
        return local._replace(context=context, pending=None, stacks=stacks)

    def _read(self, lid: int, value: int) -> tuple[int | None, int]:
        """Return what is written when this value is read, and the local state afterwards."""
        key = (lid, value)
        found = self._reads.get(key)
        if found is None:
            found = self._reads[key] = self._emulate_read(lid, value)
        return found

    def _emulate_read(self, lid: int, value: int) -> tuple[int | None, int]:
        local, action = self.locals[lid], self.actions[lid]
        done = self.emulator.step(local.context, (action.linear, action.size, value))
        text = self.program.instruction(action.rip).text
        if done.unsupported:
            what = msg("the instruction {instruction}: {fault}", instruction=text, fault=done.fault)
            return None, self.end(local, "unsupported", what=what)
        if done.fault:
            what = msg(
                "CPU {cpu} executes {instruction}: {fault}",
                cpu=local.cpu,
                instruction=text,
                fault=done.fault,
            )
            return None, self.end(local, "wrong", "cpu-died", what)
        context = on_current_stack(self.program, local, done.context)
        accesses = foreign_accesses(self.program, local.cpu, local.context.region, done)
        stores = [one for one in accesses if one.write]
        if not stores:
            return None, self.settle(self._arrived(local, context))
        store = stores[-1]
        if action.kind == "rmw":
            return store.value, self.settle(self._arrived(local, context))
        target = self.program.classify(local.cpu, store.address, store.size)
        if action.kind != "split" or target.kind != "shared":
            return None, self.end(
                local, "unsupported", what=msg("the instruction {instruction}", instruction=text)
            )
        commit = Action(
            "commit",
            action.rip,
            target.address,
            store.size,
            store.value,
            window=target.window,
            alone=action.alone,
            context=context,
        )
        # The CPU changes to another stack with the store, not before it.
        half = local._replace(
            pending=(target.address, store.size, store.value),
            context=context._replace(region=local.context.region),
        )
        return None, self.waiting(half, commit)
