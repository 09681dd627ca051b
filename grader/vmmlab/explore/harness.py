"""Interface of a harness: the surroundings in which one part of lab 4 is explored.

A harness sets the CPUs up, stands in for the given code that is not run, and says what must hold.
It knows nothing of interleavings or memory models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from vmmlab.explore.localstate import Action, LocalState
from vmmlab.explore.memory import Store

Read = Callable[[int, int], int]
"""Return the value in memory at an address, of a size in bytes."""


class Violation(NamedTuple):
    """A wrong state: its kind, which is a key of `EXPECTED`, and a sentence."""

    kind: str
    what: str


class Ghost(NamedTuple):
    """Ghost state: facts that the harness keeps apart from memory.

    Attributes:
        numbers: the numbers that APs have taken, one bit each.
        bsp: "", "waits", "returned" or "gave up".
        complete: all APs had been counted when the BSP began to wait.
        slept: the BSP has called usleep.
    """

    numbers: int = 0
    bsp: str = ""
    complete: bool = False
    slept: bool = False


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
    note: str = ""


EXPECTED: Final = {
    "boot-stack-shared": "only the CPU that has *apinitlock is on the boot stack",
    "stack-shared": "every CPU has a stack of its own",
    "stack-outside": "a CPU stays within its stack, which grows downwards from its end",
    "stack-not-own": "apinitproc1 runs at the end of a block that this CPU got from alloc",
    "stackaddr-wrong": "stackaddr is the lowest address of the stack that this CPU is on",
    "number-twice": "every AP has a number of its own",
    "number-wrong": "the numbers are 1 to n, n the number of APs",
    "not-numbered": "an AP calls segment_init_ap before initproc_ap",
    "count-wrong": "num_of_processors is in the end the number of APs",
    "bsp-went-on": "ap_wait returns when all APs have left the boot stack and have been counted",
    "bsp-gave-up": "the BSP gives up only if somebody has not come in time",
    "trampoline-gone": "an AP unlocks *apinitlock before it counts itself: then the BSP may go on",
    "barrier-passed-early": "nobody leaves a round of the barrier before all have come to it",
    "never-completes": "from every state on, all CPUs can still come to the end",
    "currentcpu-too-early": "currentcpu is used after segment_init_ap only",
    "cpu-died": "no exception: there is no handler yet",
    "panic": "nobody panics",
}
"""Kind of a violation to the requirement of the contract that it breaks."""


class Harness(Protocol):
    """One situation that is explored."""

    name: str

    def initial_writes(self) -> Sequence[Store]:
        """Return the stores that make the initial memory from the image."""

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
