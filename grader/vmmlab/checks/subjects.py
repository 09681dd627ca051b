"""What a check receives for one CPU: its record, with `must_reach`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vmmlab.base.message import Text
from vmmlab.checks.failing import CheckMistake, fail_if
from vmmlab.diagnosis.aps import not_reached, place_of
from vmmlab.observe.cpu import CpuRecord, CpuState
from vmmlab.observe.milestones import Milestone, milestone_named, milestones
from vmmlab.observe.observation import Observation


@dataclass(frozen=True)
class Arrival:
    """A CPU at a milestone: the registers there read as attributes, such as `cr3`.

    Args:
        cpu: 0-based index of the CPU.
        place: the milestone's place, as messages name it.
        state: the registers.
    """

    cpu: int
    place: Text
    state: CpuState

    def __getattr__(self, name: str) -> Any:
        return getattr(self.state, name)


@dataclass(frozen=True)
class JudgedCpu:
    """One CPU of a boot; the fields of its record read as attributes, such as `steps`.

    Args:
        boot: the boot.
        record: what is known about the CPU.
    """

    boot: Observation
    record: CpuRecord

    def __getattr__(self, name: str) -> Any:
        return getattr(self.record, name)

    def must_reach(self, milestone: Milestone | str) -> Arrival:
        """Return the registers at a milestone, or fail: the diagnosis says why it was not reached.

        Args:
            milestone: a milestone, its name, or the symbol that it is at.

        Raises:
            CheckFailed: the CPU did not get there.
            CheckMistake: there is no such milestone.
        """
        __tracebackhide__ = True
        wanted = _milestone(milestone)
        fail_if(not_reached(self.boot, self.record, wanted))
        return Arrival(self.record.index, place_of(wanted), self.record.at(wanted))


def _milestone(named: Milestone | str) -> Milestone:
    if isinstance(named, Milestone):
        return named
    for one in milestones():
        if named in (one.name, one.place):
            return one
    try:
        return milestone_named(named)
    except KeyError:
        known = ", ".join(one.name for one in milestones())
        raise CheckMistake(f"there is no milestone {named!r}; there are: {known}") from None
