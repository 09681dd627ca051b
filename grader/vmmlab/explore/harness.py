"""Interface of a harness: the surroundings in which one part of a lab is explored.

A harness sets the CPUs up, stands in for the given code that is not run, and says what must hold.
It knows nothing of interleavings or memory models.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar, Final, NamedTuple, Protocol

from vmmlab.base.message import Text, msg
from vmmlab.explore.cpumodel import CpuModel
from vmmlab.explore.localstate import Action, LocalState
from vmmlab.explore.memory import Store

Read = Callable[[int, int], int]
"""Return the value in memory at an address, of a size in bytes."""


class Violation(NamedTuple):
    """A wrong state: its kind, a key of `GENERAL` or of the lab's own, and a sentence."""

    kind: str
    what: Text


Ghost = Hashable
"""Ghost state: facts that a harness keeps apart from memory, in a form of its own."""


class Effect(NamedTuple):
    """The effects of an event.

    Attributes:
        lid: number of the CPU's local state afterwards.
        ghost: the ghost afterwards.
        writes: stores that become visible at once.
        note: what the event is called in a counterexample, or "" to leave it out.
    """

    lid: int
    ghost: Ghost
    writes: tuple[Store, ...] = ()
    note: Text = ""


class Repeated(NamedTuple):
    """Calls that every CPU of a harness makes one after the other, and nothing else.

    Attributes:
        function: address of the function.
        rounds: how often each CPU calls it; none may come back before all have called it as often.
        gs_bases: the GS base of each CPU.
        writes: stores that are visible before the first call, besides those of `initial_writes`.
        leaps: after so many rounds, rounds that all do the same are left out (`rounds`).
        late: a CPU that calls only when no other one gets on.
    """

    function: int
    rounds: int
    gs_bases: tuple[int, ...]
    writes: tuple[Store, ...] = ()
    leaps: tuple[int, ...] = ()
    late: int | None = None


GENERAL: Final = {
    "boot-stack-shared": msg("only the CPU that holds *apinitlock is on the boot stack"),
    "stack-shared": msg("every CPU has a stack of its own"),
    "stack-outside": msg("a CPU stays within its stack, which grows down from its top"),
    "never-completes": msg("from every state, all CPUs can still finish"),
    "currentcpu-too-early": msg("currentcpu is used only after segment_init_ap"),
    "cpu-died": msg("no exception occurs: there is no handler yet"),
    "panic": msg("no CPU panics"),
}
"""Kind of a violation that the model itself finds, to the requirement that it breaks."""


class Harness(Protocol):
    """One situation that is explored.

    Attributes:
        name: in records.
        title: the same for a reader.
        cpus: number of CPUs, including the BSP.
        buffers: it is searched with store buffers, too.
        one_order: the CPUs run in one order only, in which they take turns; see `yields`.
    """

    name: ClassVar[str]
    title: ClassVar[Text]
    cpus: ClassVar[int]
    buffers: ClassVar[bool]
    one_order: ClassVar[bool]

    def __init__(self, model: CpuModel) -> None: ...

    def initial_ghost(self) -> Ghost:
        """Return the ghost of the initial state."""

    def initial_writes(self) -> Sequence[Store]:
        """Return the stores that make the initial memory from the image."""

    def shared(self) -> Sequence[tuple[int, int]]:
        """Return address and size of memory that several CPUs use, as far as that is known."""

    def start(self, cpu: int) -> int:
        """Return the number of a CPU's first local state."""

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """Return what an event does now, or None if the CPU must wait for it.

        Args:
            lid: number of the CPU's local state before the event.
            action: the event.
            ghost: the ghost before it.
            read: reads memory as this CPU sees it.
        """

    def reads(self, local: LocalState, action: Action) -> tuple[int, int] | None:
        """Return address and size of the memory that an event depends on, or None."""

    def forbidden(self, local: LocalState, action: Action, ghost: Ghost) -> Violation | None:
        """Return what is wrong if a CPU accesses memory now, or None; see `handle`."""

    def yields(self, before: LocalState, now: LocalState, read: Read, read_now: Read) -> bool:
        """Return whether the others are to run now, if the CPUs run in one order.

        Args:
            before: the CPU before its move.
            now: the CPU after it.
            read: reads memory as it was before the move.
            read_now: reads memory as it is.
        """

    def stays_away(self, local: LocalState) -> bool:
        """Return whether a CPU does nothing as long as others get on, if they run in one order."""

    def repeated(self) -> Repeated | None:
        """Return what all CPUs do, if they only call one function again and again."""

    def outcome(self, local: LocalState) -> Text:
        """Return what a CPU has done that has begun and is not in code, in words; or ""."""

    def check_step(
        self, now: Sequence[LocalState], cpu: int, before: LocalState, read: Read
    ) -> Violation | None:
        """Check the invariants after a move.

        Args:
            now: the local states of all CPUs.
            cpu: the CPU that has moved.
            before: its local state before the move.
            read: reads memory as all CPUs see it.
        """

    def check_end(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        """Check a state in which all CPUs have finished; see `check_step` for the arguments."""
