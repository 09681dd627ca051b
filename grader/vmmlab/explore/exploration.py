"""What an exploration found, as frozen records that go into JSON unchanged.

Plain data: knows neither the emulator nor how the search works.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vmmlab.base.errors import UsageError
from vmmlab.base.files import write_atomically

SCHEMA = "vmmlab/exploration/1"

CPUS = 3
"""How many there are in the model: the BSP, and two APs that can get in each other's way."""

SCENARIOS = ("registration", "barrier")
"""What is explored: the way of the APs past the lock to their numbers, and three rounds of the
barrier."""

MemoryModel = Literal["in order", "store buffers"]
"""How stores of one CPU are seen by the others: at once, or late through a buffer (TSO)."""

Verdict = Literal["correct", "no error found", "wrong", "unsupported", "unfinished"]
"""`correct` is exhaustive; `no error found` is so within the bound that is named."""


@dataclass(frozen=True, slots=True)
class ScheduleStep:
    """One step of one CPU.

    Attributes:
        number: from 1.
        cpu: 0 is the BSP.
        action: in words, such as "reads num_of_processors".
        place: source file and line such as "lab4/handshake.c:57", or "" where nothing is known.
        function: such as "apinitproc1+0x3".
        instruction: the instruction in Intel's notation, "" for a step of the given code.
        source: the text of the source line, if the sources were given.
        target: what memory is accessed, by name, "" if none.
        read: the value that was read, or None.
        written: the value that was written, or None.
        holds: what is taken now, to the CPU that has it: "boot stack", "*apinitlock", "ap_lock" …
    """

    number: int
    cpu: int
    action: str
    place: str = ""
    function: str = ""
    instruction: str = ""
    source: str = ""
    target: str = ""
    read: int | None = None
    written: int | None = None
    holds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CpuPosition:
    """Where one CPU is at the end.

    Attributes:
        cpu: 0 is the BSP.
        doing: in words, such as "waits: reads sync_id = 1 again and again".
        place: source file and line, or "".
        function: such as "sync_all_processors+0x58", or "".
        stack: the name of the stack that it is on, or "".
    """

    cpu: int
    doing: str
    place: str = ""
    function: str = ""
    stack: str = ""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The shortest order of steps that ends in a wrong state.

    Attributes:
        kind: an identifier such as "boot-stack-shared".
        cpu: the CPU that makes the last step, or the first that never goes on.
        what: the wrong state in one sentence.
        expected: what the contract says instead.
        steps: from the start to the wrong state.
        cpus: where each CPU is then.
        values: shared variables by name, as they are then.
        hopeless: after this step (0: from the start) nothing can help any more, though it shows
            later only; None if it is the last step that is wrong.
    """

    kind: str
    cpu: int
    what: str
    expected: str
    steps: tuple[ScheduleStep, ...]
    cpus: tuple[CpuPosition, ...]
    values: Mapping[str, int]
    hopeless: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that the model cannot follow.

    Attributes:
        what: such as "the instruction rdtsc".
        place: source file and line, or the function.
    """

    what: str
    place: str

    def __str__(self) -> str:
        return f"{self.what} ({self.place})" if self.place else self.what


@dataclass(frozen=True, slots=True)
class Part:
    """The search of one scenario under one memory model.

    Attributes:
        scenario: "registration" or "barrier".
        memory: how stores are seen.
        verdict: what came of it.
        states: how many states were reached.
        transitions: how many steps between them.
        bound: "" if every order was tried, else in words what was not.
        assumptions: what was taken for granted about single loops, in words.
        limits: what the model cannot follow.
        counterexample: if the verdict is "wrong".
        included: there was no search of its own: each of these orders is one of the same scenario
            with store buffers, and nothing is wrong there.
        seconds: CPU time; not part of equality.
    """

    scenario: str
    memory: MemoryModel
    verdict: Verdict
    states: int
    transitions: int
    bound: str = ""
    assumptions: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    counterexample: Counterexample | None = None
    included: bool = False
    seconds: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        if (self.verdict == "wrong") != (self.counterexample is not None):
            raise ValueError("a wrong part has a counterexample, and no other has one")
        if self.verdict in ("unsupported", "unfinished") and not self.limits:
            raise ValueError(f"{self.verdict}, and nothing says what")
        if min(self.states, self.transitions) < 0:
            raise ValueError("fewer states or transitions than none")


@dataclass(frozen=True, slots=True)
class Exploration:
    """All parts of one image.

    Attributes:
        image: key of the image.
        compiler: such as "gcc -O2".
        cpus: how many CPUs, the BSP among them.
        parts: for each scenario stores in order, then store buffers; after a wrong one there are
            no more of the same scenario.
    """

    image: str
    compiler: str
    cpus: int
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> Verdict:
        """The most telling verdict of the parts."""
        order: tuple[Verdict, ...] = ("wrong", "unfinished", "unsupported", "no error found")
        found = {part.verdict for part in self.parts}
        return next((one for one in order if one in found), "correct")

    @property
    def counterexample(self) -> Counterexample | None:
        """The first one, if any."""
        return next((part.counterexample for part in self.parts if part.counterexample), None)

    @property
    def states(self) -> int:
        """The states of all parts."""
        return sum(part.states for part in self.parts)

    @property
    def seconds(self) -> float:
        """CPU time of all parts."""
        return sum(part.seconds for part in self.parts)

    def data(self) -> dict[str, Any]:
        """The same as plain dictionaries and lists, fit for JSON."""
        return {"schema": SCHEMA, "verdict": self.verdict, "states": self.states, **asdict(self)}

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.data(), indent=2) + "\n"


def write_json(found: Exploration, path: Path) -> None:
    """Write the exploration to a file.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        write_atomically(path, found.to_json().encode())
    except OSError as error:
        raise UsageError(
            f"The exploration cannot be written to {path}.",
            found=error.strerror or str(error),
            next_step="Name a file in a folder that is there and may be written to.",
        ) from error


def number_text(value: int) -> str:
    """Return a small number in decimal, an address or the like in hexadecimal."""
    return str(value) if value < 256 else f"{value:#x}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """When to stop searching: after so many states, which is the same on every machine.

    Attributes:
        states: at most so many in all searches without any bound on preemptions together.
        seconds: CPU time for these, for machines on which that would take too long.
        fallback_states: at most so many in all searches with the bound together.
        fallback_seconds: CPU time for these.
        preemptions: the bound: how often a CPU that could go on is interrupted.
    """

    states: int = 300_000
    seconds: float = 10.0
    fallback_states: int = 100_000
    fallback_seconds: float = 3.0
    preemptions: int = 2
