"""The result of an exploration, as frozen records that are written to JSON as they are.

Plain data: this module knows neither the emulator nor how the search works. A text for a reader is
a message (`TextData`), and an object in JSON; names, places and code are plain strings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.files import write_atomically
from vmmlab.base.message import msg
from vmmlab.base.messagedata import TextData, TextForm, to_json

SCHEMA = "vmmlab/exploration/4"

MemoryModel = Literal["in order", "store buffers"]
"""Time at which stores become visible to other CPUs: at once, or late through a buffer (TSO)."""

Verdict = Literal["correct", "no error found", "wrong", "unsupported", "unfinished"]
"""`correct` is exhaustive, but for a part that runs in one order; `no error found` holds within the
bound that is named."""


@dataclass(frozen=True, slots=True)
class ScheduleStep:
    """One step of one CPU.

    Attributes:
        number: from 1.
        cpu: 0 is the BSP.
        action: what the CPU does, such as "reads".
        details: what else there is to say about it, such as "not yet visible to the other CPUs".
        place: source file and line such as "lab4/handshake.c:57", or "" if unknown.
        function: such as "apinitproc1+0x3", or "".
        instruction: in Intel's notation, or "" for a step of the given code.
        source: the text of the source line, or "" if the sources are not available.
        target: name of the memory that is accessed, or "".
        read: the value that was read, or None.
        written: the value that was written, or None.
        holds: what is held afterwards, to the CPU that holds it: "boot stack", "ap_lock" and so on.
    """

    number: int
    cpu: int
    action: TextData
    details: tuple[TextData, ...] = ()
    place: str = ""
    function: str = ""
    instruction: str = ""
    source: str = ""
    target: TextData = ""
    read: int | None = None
    written: int | None = None
    holds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CpuPosition:
    """The position of one CPU at the end of a counterexample.

    Attributes:
        cpu: 0 is the BSP.
        doing: what it does there, such as "reads sync_id = 1 repeatedly".
        place: source file and line, or "".
        function: such as "sync_all_processors+0x58", or "".
        stack: name of the stack that the CPU is on, or "".
    """

    cpu: int
    doing: TextData
    place: str = ""
    function: str = ""
    stack: TextData = ""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A shortest schedule that leads to a wrong state.

    Attributes:
        kind: an identifier such as "boot-stack-shared".
        cpu: the CPU that makes the last step, or the first one that never finishes.
        what: what is wrong, in one sentence.
        expected: what the contract requires instead.
        steps: from the initial state to the wrong one.
        cpus: where each CPU is in the wrong state.
        values: shared variables by name, in the wrong state.
        doomed: after this step (0: from the start) the CPUs can no longer all finish, although
            that shows only later; None if the last step is the wrong one.
    """

    kind: str
    cpu: int
    what: TextData
    expected: TextData
    steps: tuple[ScheduleStep, ...]
    cpus: tuple[CpuPosition, ...]
    values: Mapping[str, int]
    doomed: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that the model cannot follow.

    Attributes:
        what: such as "the instruction rdtsc".
        place: source file and line, or else the function.
    """

    what: TextData
    place: str

    def __str__(self) -> str:
        return f"{self.what} ({self.place})" if self.place else str(self.what)


@dataclass(frozen=True, slots=True)
class Part:
    """The search of one scenario under one memory model.

    Attributes:
        scenario: name of the scenario that the lab declares, such as "barrier".
        title: the same for a reader.
        cpus: number of CPUs, including the BSP.
        memory: how stores become visible.
        verdict: the result of the search.
        states: number of states reached.
        transitions: number of transitions between them.
        bound: what was not tried, in words; "" if every interleaving was.
        assumptions: what was assumed about single loops, in words.
        limits: what the model cannot follow.
        counterexample: present if and only if the verdict is "wrong".
        one_order: the CPUs have run in one order only, as this part asks for.
        included: no search was needed: the search of the same scenario with store buffers includes
            every interleaving of this part, and found nothing wrong.
        seconds: CPU time; ignored in comparisons.
    """

    scenario: str
    title: TextData
    cpus: int
    memory: MemoryModel
    verdict: Verdict
    states: int
    transitions: int
    bound: TextData = ""
    assumptions: tuple[TextData, ...] = ()
    limits: tuple[Limit, ...] = ()
    counterexample: Counterexample | None = None
    one_order: bool = False
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
        parts: for each scenario stores in order, then store buffers if it has them; after a wrong
            part there is no other.
    """

    image: str
    compiler: str
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> Verdict:
        """The most severe verdict of the parts."""
        order: tuple[Verdict, ...] = ("wrong", "unfinished", "unsupported", "no error found")
        found = {part.verdict for part in self.parts}
        return next((one for one in order if one in found), "correct")

    @property
    def counterexample(self) -> Counterexample | None:
        """The first counterexample, or None."""
        return next((part.counterexample for part in self.parts if part.counterexample), None)

    @property
    def states(self) -> int:
        """Number of states of all parts."""
        return sum(part.states for part in self.parts)

    @property
    def seconds(self) -> float:
        """CPU time of all parts."""
        return sum(part.seconds for part in self.parts)

    def data(self) -> dict[str, Any]:
        """Return the exploration as dictionaries and lists, ready for JSON."""
        return {"schema": SCHEMA, "verdict": self.verdict, "states": self.states, **_data(self)}

    def to_json(self) -> str:
        """Return the exploration as JSON text."""
        return json.dumps(self.data(), indent=2) + "\n"


def _data(record: Any) -> dict[str, Any]:
    """Return a record as a dictionary, ready for JSON."""
    kind: type = type(record)
    texts = _texts(kind)
    return {
        one.name: _value(getattr(record, one.name), text=one.name in texts)
        for one in fields(record)
    }


def _value(value: Any, *, text: bool) -> Any:
    if isinstance(value, tuple):
        return [_value(one, text=text) for one in value]
    if text:
        return to_json(value)
    if is_dataclass(value):
        return _data(value)
    return dict(value) if isinstance(value, Mapping) else value


@cache
def _texts(kind: type) -> frozenset[str]:
    """Return the names of those fields that are texts for a reader, or tuples of them."""
    hints = get_type_hints(kind, include_extras=True)
    return frozenset(name for name, hint in hints.items() if _is_text(hint))


def _is_text(hint: Any) -> bool:
    marks = getattr(hint, "__metadata__", ())
    return any(isinstance(one, TextForm) for one in marks) or any(map(_is_text, get_args(hint)))


def write_json(found: Exploration, path: Path) -> None:
    """Write an exploration to a file, as JSON.

    Args:
        found: the exploration.
        path: the file.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        write_atomically(path, found.to_json().encode())
    except OSError as error:
        raise UsageError(
            msg("The exploration cannot be written to {path}.", path=path),
            found=os_reason(error),
            next_step=msg("Name a file in a folder that exists and is writable."),
        ) from error


def number_text(value: int) -> str:
    """Return a small number in decimal, an address or the like in hexadecimal."""
    return str(value) if value < 256 else f"{value:#x}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """When to stop searching.

    The number of states gives the same result on every machine; the CPU time is for machines on
    which that many states would take too long.

    Attributes:
        states: for all searches without a bound on preemptions together.
        seconds: CPU time for these searches.
        fallback_states: for all searches with a bound on preemptions together.
        fallback_seconds: CPU time for these searches.
        preemptions: that bound: how often a CPU that could go on is interrupted.
        one_order_seconds: CPU time for each part that runs in one order.
    """

    states: int = 600_000
    seconds: float = 10.0
    fallback_states: int = 100_000
    fallback_seconds: float = 3.0
    preemptions: int = 2
    one_order_seconds: float = 6.0
