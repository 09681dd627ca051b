"""From a path through the states to a counterexample that a person can follow.

Replays the path, names places by their source lines and memory by its variables, and keeps book of
who has which lock and who is on the boot stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vmmlab.explore.cpumodel import CpuModel, LocalState
from vmmlab.explore.exploration import Counterexample, CpuPosition, ScheduleStep
from vmmlab.explore.harness import EXPECTED
from vmmlab.explore.search import MicroStep, Search, SearchResult

_ENDS: Final = {
    "begin": "has not begun",
    "call": "is between two rounds",
    "done": "has come to the end",
    "returned": "has come out of ap_wait",
    "gave up": "has given up waiting",
    "halted": "stands still for ever: interrupts are off",
    "endless": "loops for ever and looks at no memory that could change",
    "unsupported": "does something that is not in the model",
    "unfinished": "has come to a TODO",
}
_LOCKS: Final = ("ap_lock", "sync_lock")
_VALUES: Final = ("num_of_processors", "sync_id", "sync_count", "ap_lock", "sync_lock")


def _number(value: int) -> str:
    """Small numbers as people write them, addresses and the like in hexadecimal."""
    return str(value) if value < 256 else f"{value:#x}"


@dataclass
class _Holders:
    """Who has what, as the steps go by."""

    model: CpuModel

    def __post_init__(self) -> None:
        addr = self.model.program.symbols.addr
        self._locks = {addr(name): name for name in _LOCKS}
        self._held: dict[str, int] = {}
        self._first: int | None = None

    def note(
        self, micro: MicroStep, now: Mapping[int, LocalState], taken: Mapping[str, bool]
    ) -> None:
        """One more step."""
        program = self.model.program
        if micro.kind == "event" and micro.action.name == "ap_locked":
            self._held["*apinitlock"] = micro.cpu
        written = micro.written is not None and micro.kind != "buffer"
        in_lock = program.lock <= micro.address < program.lock + 8
        if written and in_lock and self._held.get("*apinitlock") == micro.cpu:
            del self._held["*apinitlock"]
        name = self._locks.get(micro.address)
        if written and name:
            if taken[name]:
                self._held.setdefault(name, micro.cpu)
            else:
                self._held.pop(name, None)
        boot = [
            cpu
            for cpu, local in sorted(now.items())
            if local.context.region is not None and local.context.region.block == program.boot_low
        ]
        self._held.pop("boot stack", None)
        if boot:
            if self._first not in boot:
                self._first = boot[0]
            self._held["boot stack"] = self._first if self._first is not None else boot[0]

    def held(self) -> dict[str, int]:
        """What is taken, and by whom."""
        return dict(sorted(self._held.items()))


class Tracer:
    """Writes down what a search has found.

    Args:
        machine: the automata.
        search: the search that found it.
        sources: the student's files by path, for the text of lines; may be empty.
    """

    def __init__(self, model: CpuModel, search: Search, sources: Mapping[str, bytes]) -> None:
        self._model = model
        self._program = model.program
        self._search = search
        self._sources = {
            path: text.decode(errors="replace").splitlines() for path, text in sources.items()
        }

    def counterexample(self, found: SearchResult) -> Counterexample:
        """The wrong state, and the way to it."""
        assert found.wrong is not None
        cpus = self._program.cpus
        search = self._search
        memory, _ = search.world(found.last[cpus])
        stuck = found.wrong.kind == "never-completes"
        standing = tuple(
            self._standing(search.local_id(proc), memory, stuck=stuck) for proc in found.last[:cpus]
        )
        steps, early = list(self._steps(found)), found.hopeless
        return Counterexample(
            kind=found.wrong.kind,
            cpu=found.cpu,
            what=found.wrong.what,
            expected=EXPECTED[found.wrong.kind],
            steps=tuple(step for _, step in steps),
            cpus=standing,
            values=self._values(memory),
            hopeless=None if early is None else sum(move < early for move, _ in steps),
        )

    def where(self, lid: int) -> str:
        """The source line of a local, else its function."""
        local, action = self._model.locals[lid], self._model.actions[lid]
        rip = action.rip or local.context.rip
        return self._place(local, rip) or self._program.symbols.nearest(rip)

    # --- steps -------------------------------------------------------------------------------

    def _steps(self, found: SearchResult) -> Iterator[tuple[int, ScheduleStep]]:
        """Each step with the number of the move, from 0, that it is part of."""
        cpus, search = self._program.cpus, self._search
        holders = _Holders(self._model)
        number = 0
        states = [state for state, _, _ in found.path[1:]] + [found.last]
        moves = zip(found.path, states, strict=True)
        for move, ((state, cpu, way), after) in enumerate(moves):
            world = state[cpus]
            micros = search.replay(state[cpu], world, way)
            locals_ = {
                one: self._model.locals[search.local_id(proc)]
                for one, proc in enumerate(state[:cpus])
            }
            for at, micro in enumerate(micros):
                last = at + 1 == len(micros)
                lid = search.local_id(after[cpu]) if last else micros[at + 1].lid
                locals_[cpu] = self._model.locals[lid]
                taken = {
                    name: bool(search.memory.read(micro.memory, self._addr(name), 1))
                    for name in _LOCKS
                }
                holders.note(micro, locals_, taken)
                if not self._worth_showing(micro):
                    continue
                number += 1
                yield move, self._step(number, micro, holders.held())

    def _addr(self, name: str) -> int:
        return self._program.symbols.addr(name)

    def _worth_showing(self, micro: MicroStep) -> bool:
        """Constants that a CPU reads tell nothing."""
        if micro.kind != "read" or micro.written is not None:
            return True
        if self._program.name(micro.address).startswith("self of"):
            return False
        return self._search.is_shared(micro.address, micro.size)

    def _step(self, number: int, micro: MicroStep, holds: Mapping[str, int]) -> ScheduleStep:
        program, action = self._program, micro.action
        local = self._model.locals[micro.lid]
        if micro.kind == "drain":  # the store was made earlier
            name = program.name(micro.address)
            doing = "its store is now seen by the others"
            return ScheduleStep(
                number, micro.cpu, doing, target=name, written=micro.written, holds=holds
            )
        real = action.rip and action.name != "return"
        place = self._place(local, action.rip) if real else ""
        text = ""
        if micro.kind != "event":
            text = program.instruction(action.rip).text
        words = {
            "load": "reads",
            "rmw": "reads and writes at once",
            "split": "reads, the first half of an instruction without lock",
            "commit": "writes, the second half of that instruction",
            "store": "writes",
        }
        doing = micro.note if micro.kind == "event" else words[action.kind]
        if micro.kind == "buffer":
            doing += ", not seen by the others yet"
        if micro.skipped:
            doing += f", for the last time in this loop (pass {micro.skipped})"
        return ScheduleStep(
            number=number,
            cpu=micro.cpu,
            action=doing,
            place=place,
            function=program.symbols.nearest(action.rip) if real else "",
            instruction=text,
            source=self._source(place),
            target=program.name(micro.address) if micro.kind != "event" else "",
            read=micro.read,
            written=micro.written,
            holds=holds,
        )

    def _place(self, local: LocalState, rip: int) -> str:
        """The line of the student's code that a CPU is in, or has called given code from."""
        symbols = self._program.symbols
        if symbols.owner(rip) == "student":
            return self._program.place(rip)
        stack = local.context.stack
        for at in range(0, min(len(stack), 256) - 7, 8):
            back = int.from_bytes(stack[at : at + 8], "little")
            if symbols.owner(back) == "student" and (found := self._program.place(back - 1)):
                return found
        return self._program.place(rip)

    def _source(self, place: str) -> str:
        path, _, line = place.rpartition(":")
        lines = self._sources.get(path, [])
        at = int(line) - 1 if line.isdigit() else -1
        return " ".join(lines[at].split()) if 0 <= at < len(lines) else ""

    # --- the end -----------------------------------------------------------------------------

    def _standing(self, lid: int, memory: int, *, stuck: bool) -> CpuPosition:
        local, action = self._model.locals[lid], self._model.actions[lid]
        region = local.context.region
        doing = _ENDS.get(local.phase, "")
        if local.phase in ("run", "wrong"):
            doing = self._next(lid, memory, stuck=stuck)
        rip = action.rip or local.context.rip
        running = local.phase in ("run", "wrong", "halted", "endless", "unsupported", "unfinished")
        return CpuPosition(
            cpu=local.cpu,
            doing=doing,
            place=self._place(local, rip) if running else "",
            function=self._program.symbols.nearest(rip) if running else "",
            stack=region.name if region else "",
        )

    def _next(self, lid: int, memory: int, *, stuck: bool) -> str:
        local, action = self._model.locals[lid], self._model.actions[lid]
        if local.phase == "wrong":
            return "has made the last step"
        if action.kind == "event":
            known = {
                "switch": "is about to change its stack",
                "fence": "is about to execute a fence",
                "return": "is about to return",
            }
            if action.name not in known:
                return f"is about to enter {action.name}"
            return known[action.name]
        name = self._program.name(action.address)
        value = self._search.memory.read(memory, action.address, action.size)
        if action.kind in ("load", "rmw", "split"):
            return (
                f"reads {name} = {_number(value)} again and again"
                if stuck
                else f"is about to read {name}"
            )
        return f"is about to write {name}"

    def _values(self, memory: int) -> dict[str, int]:
        program, read = self._program, self._search.memory.read
        found = {name: (self._addr(name), 4) for name in _VALUES}
        found |= {name: (self._addr(name), 1) for name in _LOCKS}
        found["*apinitlock"] = (program.lock, 8)
        found["*apinitprocs"] = (program.procs, 4)
        for address in sorted(self._search.shared):
            if program.symbols.owner(address) == "student":
                name, start = program.data_symbol(address)
                size = program.data_size(address)
                if size in (1, 2, 4, 8):
                    found.setdefault(name, (start, size))
        return {name: read(memory, *place) for name, place in found.items()}
