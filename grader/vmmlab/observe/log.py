"""Collects what a boot shows; the Observation is made from it at the end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from vmmlab.machine.gdb import MemoryUnreadable
from vmmlab.observe.cpu import Allocation, CpuFindings, CpuState, TrampolineStep
from vmmlab.observe.evidence import (
    Barrier,
    BringUp,
    Interleaving,
    LabEvidence,
    Lock,
    Physical0,
    PlacedCall,
    Race,
    Switch,
    Trampoline,
    Unreadable,
)
from vmmlab.observe.guest import FLOOD, GuestStart
from vmmlab.observe.milestones import Milestone
from vmmlab.observe.multiboot import Multiboot
from vmmlab.observe.observation import Hit
from vmmlab.observe.panicking import Panic
from vmmlab.observe.place import Place
from vmmlab.observe.starting import OwnCalls, Starting


@dataclass
class CpuLog:
    """What has been recorded of one CPU so far.

    Args:
        milestones: name of a milestone → registers when the CPU reached it.
        steps: the instructions that it was stepped through.
        allocations: the blocks that alloc returned to it.
        found: everything else that was recorded.
        rest: the kind of the rest place that the CPU reached, None so far.
        died_at: where it was when it was held for good.
    """

    milestones: dict[str, CpuState] = field(default_factory=dict)
    steps: list[TrampolineStep] = field(default_factory=list)
    allocations: list[Allocation] = field(default_factory=list)
    found: CpuFindings = field(default_factory=CpuFindings)
    rest: str | None = None
    died_at: Place | None = None

    def find(self, **found: Any) -> None:
        """Record further findings.

        Args:
            found: values of fields of `CpuFindings`, by name.
        """
        self.found = replace(self.found, **found)

    def reach(self, milestone: Milestone, state: CpuState) -> None:
        """Record that the CPU is at a milestone; only the first time counts."""
        self.milestones.setdefault(milestone.name, state)

    def reached(self, milestone: Milestone) -> bool:
        """Whether the CPU has been at a milestone."""
        return milestone.name in self.milestones


@dataclass
class Log:
    """What has been recorded of a boot so far; the fields are those of `Observation`."""

    cpus: list[CpuLog]
    hits: list[Hit] = field(default_factory=list)
    interleavings: list[Interleaving] = field(default_factory=list)
    physical_0: Physical0 = field(default_factory=Physical0)
    trampoline: Trampoline = field(default_factory=Trampoline)
    bringup: BringUp = field(default_factory=BringUp)
    multiboot: Multiboot | None = None
    switch: Switch | None = None
    call: PlacedCall | None = None
    starting: Starting | None = None
    own_calls: OwnCalls | None = None
    panic: Panic | None = None
    lock: Lock | None = None
    barrier: Barrier | None = None
    lab: LabEvidence | None = None
    race: Race | None = None
    restarted: bool = False
    guest_starts: dict[int, GuestStart] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    flood: int = FLOOD
    """VMRUNs of a CPU after which no end is in sight."""

    def at(self, place: str, cpu: int | None = None) -> list[Hit]:
        """Return the hits at a place so far, of one CPU or of all."""
        return [h for h in self.hits if h.place == place and cpu in (None, h.cpu)]

    def note_unreadable(self, error: MemoryUnreadable) -> None:
        """Write down that memory that a CPU uses cannot be read: evidence, no failure."""
        self.unreadable.append(Unreadable(error.cpu, error.address, error.size))
