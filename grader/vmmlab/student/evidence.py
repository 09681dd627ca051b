"""Where in a boot the evidence of a failed check was taken: a stop of a CPU, or the boot's end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vmmlab.observe.observation import Observation
from vmmlab.observe.place import Place
from vmmlab.report.model import CheckReport


@dataclass(frozen=True, slots=True)
class Target:
    """A moment of a boot.

    Attributes:
        cpu: the CPU that the evidence is about.
        steps: so many instructions of the trampoline it has executed; None: that is not asked.
        place: the name of the place that it stops at; "" if it is not at a place.
        visit: how often it has reached that place by then, from 1.
        after: the name of the next place that it stopped at; "" if there is none.
        any_cpu: the first CPU that comes to the place is meant, and the boot did not stop there.
    """

    cpu: int
    steps: int | None = None
    place: str = ""
    visit: int = 0
    after: str = ""
    any_cpu: bool = False

    @property
    def at_end(self) -> bool:
        """Whether the evidence was taken when the boot had ended."""
        return self.steps is None and not self.place


def target_of(check: CheckReport, seen: Observation, function: str = "") -> Target:
    """Return where the evidence of a failed check was taken.

    Evidence that was taken elsewhere, such as in the firmware, in a guest or at the end of a boot
    that came to its end, is better understood from the beginning of the student's function.

    Args:
        check: how it failed.
        seen: the boot that it looked at.
        function: what the student writes in the check's step; "" if that is not known.
    """
    cpu = check.cpu if check.cpu is not None and check.cpu < len(seen.cpus) else 0
    said = str(check.place)
    record = seen.cpus[cpu]
    for number, step in enumerate(record.steps):
        if step.place is not None and _names(said, str(step.place)):
            return Target(cpu, steps=number)
    hits = [hit.place for hit in seen.hits if hit.cpu == cpu]
    named = [place for place in dict.fromkeys(hits) if _names(said, place)]
    if named:
        place = max(named, key=len)
        later = hits[len(hits) - hits[::-1].index(place) :]
        return Target(cpu, place=place, visit=hits.count(place), after=(later or [""])[0])
    if record.steps and "ap_entry" not in hits:  # it got no further
        return Target(cpu, steps=len(record.steps) - 1)
    if function and not _in_the_lab(record.end_place, check.id.partition(".")[0]):
        return Target(cpu, place=function, visit=1, any_cpu=True)
    return Target(cpu)


def _in_the_lab(place: Place | None, lab: str) -> bool:
    """Whether a place is in a file of the lab, or was called from one."""
    while place is not None:
        if place.file.startswith(f"{lab}/"):
            return True
        place = place.caller
    return False


def boot_of(check: CheckReport, boots: Sequence[Observation]) -> int:
    """Return which of the boots that a check looked at shows its failure.

    Args:
        check: how it failed.
        boots: at least one.
    """
    fitting = [one for one in boots if check.cohort in ("", one.cohort)] or list(boots)
    exact = [one for one in fitting if not target_of(check, one).at_end]
    return list(boots).index((exact or fitting)[0])


def _names(said: str, place: str) -> bool:
    """Whether a text names a place, as whole words."""
    return bool(place) and re.search(rf"(?<![\w.+]){re.escape(place)}(?![\w.+])", said) is not None
