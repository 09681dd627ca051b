"""What the model needs to know about the code of a lab, apart from the scenarios."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vmmlab.base.message import Message


@dataclass(frozen=True)
class Variable:
    """Memory that several CPUs use, by the name that a counterexample shows.

    Args:
        name: for the reader.
        size: in bytes.
        symbol: where it is; "": the name itself.
        trampoline: it is in the copy of the trampoline, not where it was linked.
        lock: a spinlock_t: taken while it is not 0, by the CPU that has made it so.
        taken_at: a tracepoint that a CPU reaches when it has taken this lock; its own next store
            there releases it.
    """

    name: str
    size: int
    symbol: str = ""
    trampoline: bool = False
    lock: bool = False
    taken_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Surroundings(ABC):
    """Variables, given functions and requirements.

    Args:
        variables: those that are shown, and shared from the start.
        expected: the requirement that each kind of violation of the scenarios breaks.
        stubs: functions that the scenarios replace, beside those that `given` knows; all earlier
            stores of the CPU are visible before they take effect.
        runs: given functions that are executed as they are, beside those of `program`.
        tracepoints: labels in given code at which a scenario is asked; a few bytes are executed
            there.
        instructions: instructions without operands that the emulator does not know and the
            scenarios do, by their names: each is an event.
    """

    variables: Sequence[Variable] = ()
    expected: Mapping[str, Message] = field(default_factory=dict)
    stubs: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    tracepoints: frozenset[str] = frozenset()
    instructions: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def cpus(self) -> int:
        """The largest number of CPUs of a scenario, including the BSP."""
