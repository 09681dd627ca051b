"""Turns the path of a search into a counterexample that a person can follow.

Replays the path, names places by their source lines and memory by its variables, and keeps track of
which CPU holds which lock and which one is on the boot stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.explore.bfs import SearchResult
from vmmlab.explore.cpumodel import CpuModel
from vmmlab.explore.exploration import Counterexample, CpuPosition, ScheduleStep, number_text
from vmmlab.explore.harness import GENERAL
from vmmlab.explore.localstate import LocalState
from vmmlab.explore.program import Program
from vmmlab.explore.transitions import MicroStep, Transitions

_ENDS: Final = {
    "begin": msg("has not begun"),
    "between": msg("is between two calls"),
    "done": msg("has finished"),
    "halted": msg("has halted forever: interrupts are off"),
    "endless": msg("loops forever and reads no memory that could change"),
    "unsupported": msg("does something that the model does not cover"),
    "unfinished": msg("has reached a TODO"),
}
_ACTIONS: Final = {
    "load": msg("reads"),
    "rmw": msg("reads and writes in one access"),
    "split": msg("reads"),
    "commit": msg("writes"),
    "store": msg("writes"),
}
_DETAILS: Final = {
    "split": msg("the first half of an instruction without the lock prefix"),
    "commit": msg("the second half of that instruction"),
}
# Bytes of a stack in which a return address to the student's code is searched.
_CALLERS: Final = 256


class _Holders:
    """Keeps track of which CPU holds what, step by step."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._locks = {program.variables[name][0]: name for name in locks(program)}
        declared = program.declaration.variables
        self._taken_at = {one.taken_at: one.name for one in declared if one.taken_at}
        self._held: dict[str, int] = {}
        self._first_on_boot_stack: int | None = None

    def note(
        self, step: MicroStep, now: Mapping[int, LocalState], taken: Mapping[str, bool]
    ) -> None:
        """Take one more step into account.

        Args:
            step: what has happened.
            now: the local state of each CPU afterwards.
            taken: for each lock, whether it is taken afterwards.
        """
        program = self._program
        if step.kind == "event" and step.action.name in self._taken_at:
            self._held[self._taken_at[step.action.name]] = step.cpu
        written = step.written is not None and step.kind != "buffer"
        for one in self._taken_at.values():
            start, size = program.variables[one]
            in_lock = start <= step.address < start + size
            if written and in_lock and self._held.get(one) == step.cpu:
                del self._held[one]
        name = self._locks.get(step.address)
        if written and name:
            if taken[name]:
                self._held.setdefault(name, step.cpu)
            else:
                self._held.pop(name, None)
        self._note_boot_stack(now)

    def _note_boot_stack(self, now: Mapping[int, LocalState]) -> None:
        """If several CPUs are on the boot stack, the first one holds it."""
        on_it = []
        for cpu, local in sorted(now.items()):
            region = local.context.region
            if region is not None and region.block == self._program.boot_low:
                on_it.append(cpu)
        self._held.pop("boot stack", None)
        if on_it:
            first = self._first_on_boot_stack
            if first is None or first not in on_it:
                first = self._first_on_boot_stack = on_it[0]
            self._held["boot stack"] = first

    def held(self) -> dict[str, int]:
        """Return what is held, and by which CPU."""
        return dict(sorted(self._held.items()))


def locks(program: Program) -> tuple[str, ...]:
    """Return the names of the locks that are taken while they are not 0."""
    return tuple(one.name for one in program.declaration.variables if one.lock)


class CounterexampleBuilder:
    """Describes violations and places for people.

    Args:
        model: the CPUs.
        transitions: the moves of the search that found it.
        sources: the student's files by path, for the text of source lines; may be empty.
    """

    def __init__(
        self, model: CpuModel, transitions: Transitions, sources: Mapping[str, bytes]
    ) -> None:
        self._model = model
        self._program = model.program
        self._transitions = transitions
        self._locks = locks(model.program)
        self._sources = {
            path: text.decode(errors="replace").splitlines() for path, text in sources.items()
        }

    def build(self, found: SearchResult) -> Counterexample:
        """Return the violation and the path to it."""
        assert found.violation is not None
        cpus = self._transitions.harness.cpus
        memory, _ = self._transitions.numbers.world(found.last[cpus])
        stuck = found.violation.kind == "never-completes"
        positions = tuple(
            self._position(self._local_id(process), memory, stuck=stuck)
            for process in found.last[:cpus]
        )
        steps, doomed_after = list(self._steps(found)), found.doomed_after
        if doomed_after is not None:  # from moves to steps that are shown
            doomed_after = sum(move < doomed_after for move, _ in steps)
        return Counterexample(
            kind=found.violation.kind,
            cpu=found.cpu,
            what=found.violation.what,
            expected=self._requirement(found.violation.kind),
            steps=tuple(step for _, step in steps),
            cpus=positions,
            values=self._values(memory),
            doomed=doomed_after,
        )

    def _requirement(self, kind: str) -> Text:
        """Return the requirement that a kind of violation breaks."""
        return self._program.declaration.expected.get(kind) or GENERAL[kind]

    def where(self, lid: int) -> str:
        """Return the source line of a local state, or else its function."""
        local = self._model.locals[lid]
        rip = self._model.actions[lid].rip or local.context.rip
        return self._source_line(local, rip) or self._program.symbols.nearest(rip)

    def _local_id(self, process: int) -> int:
        return self._transitions.numbers.process(process)[0]

    # --- steps -------------------------------------------------------------------------------

    def _steps(self, found: SearchResult) -> Iterator[tuple[int, ScheduleStep]]:
        """Yield each step that is worth showing, with the number of its move from 0."""
        cpus, transitions = self._transitions.harness.cpus, self._transitions
        holders = _Holders(self._program)
        number = 0
        states = [one.state for one in found.path[1:]] + [found.last]
        moves = zip(found.path, states, strict=True)
        for move, ((state, cpu, choice), after) in enumerate(moves):
            steps = transitions.replay(state[cpu], state[cpus], choice)
            now = {
                one: self._model.locals[self._local_id(process)]
                for one, process in enumerate(state[:cpus])
            }
            lids = [*(step.lid for step in steps[1:]), self._local_id(after[cpu])]
            # A move may have no step to show; then `lids` is longer.
            for step, lid in zip(steps, lids, strict=False):
                now[cpu] = self._model.locals[lid]
                taken = {
                    name: bool(transitions.memory.read(step.memory, *self._program.variables[name]))
                    for name in self._locks
                }
                holders.note(step, now, taken)
                if self._worth_showing(step):
                    number += 1
                    yield move, self._step(number, step, holders.held())

    def _worth_showing(self, step: MicroStep) -> bool:
        """Return False for reads of memory that never changes."""
        if step.kind != "read" or step.written is not None:
            return True
        if self._program.is_pcpu_self(step.address):
            return False
        return self._transitions.sharing.includes(step.address, step.size)

    def _step(self, number: int, step: MicroStep, holds: Mapping[str, int]) -> ScheduleStep:
        program, action = self._program, step.action
        target = program.name(step.address) if step.kind != "event" else ""
        if step.kind == "drain":  # made earlier, by another instruction
            return ScheduleStep(
                number=number,
                cpu=step.cpu,
                action=msg("its store becomes visible to the other CPUs"),
                target=target,
                written=step.written,
                holds=holds,
            )
        in_code = action.rip and action.name != "return"
        local = self._model.locals[step.lid]
        place = self._source_line(local, action.rip) if in_code else ""
        return ScheduleStep(
            number=number,
            cpu=step.cpu,
            action=step.note if step.kind == "event" else _ACTIONS[step.action.kind],
            details=tuple(self._details(step)),
            place=place,
            function=program.symbols.nearest(action.rip) if in_code else "",
            instruction=program.instruction(action.rip).text if step.kind != "event" else "",
            source=self._source_text(place),
            target=target,
            read=step.read,
            written=step.written,
            holds=holds,
        )

    @staticmethod
    def _details(step: MicroStep) -> Iterator[Text]:
        """Yield what else there is to say about a step."""
        if step.action.kind in _DETAILS:
            yield _DETAILS[step.action.kind]
        if step.kind == "buffer":
            yield msg("not yet visible to the other CPUs")
        if step.skipped:
            yield msg("for the last time in this loop (iteration {number})", number=step.skipped)

    def _source_line(self, local: LocalState, rip: int) -> str:
        """Return the student's line that a CPU is in, or from which given code was called."""
        symbols = self._program.symbols
        if symbols.owner(rip) == "student":
            return self._program.source_line(rip)
        stack = local.context.stack
        for at in range(0, min(len(stack), _CALLERS) - 7, 8):
            back = int.from_bytes(stack[at : at + 8], "little")
            if symbols.owner(back) == "student" and (found := self._program.source_line(back - 1)):
                return found
        return self._program.source_line(rip)

    def _source_text(self, place: str) -> str:
        path, _, line = place.rpartition(":")
        lines = self._sources.get(path, [])
        at = int(line) - 1 if line.isdigit() else -1
        return " ".join(lines[at].split()) if 0 <= at < len(lines) else ""

    # --- the end -----------------------------------------------------------------------------

    def _position(self, lid: int, memory: int, *, stuck: bool) -> CpuPosition:
        local, action = self._model.locals[lid], self._model.actions[lid]
        region = local.context.region
        doing: Text = _ENDS.get(local.phase, "")
        if local.phase in ("begin", "between", "done"):
            doing = self._transitions.harness.outcome(local) or doing
        if local.phase in ("run", "wrong"):
            doing = self._next_action(lid, memory, stuck=stuck)
        rip = action.rip or local.context.rip  # 0: it has returned to the harness
        phases = ("run", "wrong", "halted", "endless", "unsupported", "unfinished")
        in_code = rip and local.phase in phases
        return CpuPosition(
            cpu=local.cpu,
            doing=doing,
            place=self._source_line(local, rip) if in_code else "",
            function=self._program.symbols.nearest(rip) if in_code else "",
            stack=self._program.stack_name(region) if region else "",
        )

    def _next_action(self, lid: int, memory: int, *, stuck: bool) -> Text:
        """Return what a CPU is about to do, in words."""
        local, action = self._model.locals[lid], self._model.actions[lid]
        if local.phase == "wrong":
            return msg("has executed its last step")
        if action.kind == "event":
            known = {
                "switch": msg("is about to switch its stack"),
                "fence": msg("is about to execute a fence"),
                "return": msg("is about to return"),
            }
            if action.name not in known:
                return msg("is about to enter {function}", function=action.name)
            return known[action.name]
        name = self._program.name(action.address)
        if action.kind not in ("load", "rmw", "split"):
            return msg("is about to write {name}", name=name)
        if not stuck:
            return msg("is about to read {name}", name=name)
        value = self._transitions.memory.read(memory, action.address, action.size)
        return msg(
            "reads {name} = {value} repeatedly",
            name=name,
            value=number_text(value),
        )

    def _values(self, memory: int) -> dict[str, int]:
        """Return the shared variables by name."""
        program, transitions = self._program, self._transitions
        variables = dict(program.variables)
        for address in sorted(transitions.sharing.addresses):
            if program.symbols.owner(address) == "student":
                name, start = program.data_symbol(address)
                size = program.data_size(address)
                if size in (1, 2, 4, 8):
                    variables.setdefault(name, (start, size))
        return {
            name: transitions.memory.read(memory, start, size)
            for name, (start, size) in variables.items()
        }
