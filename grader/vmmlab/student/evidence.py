"""Where the evidence of a failed check was taken in a boot: at a CPU's stop, or at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vmmlab.failure import Failure
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
        call: the grader's own call of the function at the place is meant, the one with this
            number, from 1; 0: none.
    """

    cpu: int
    steps: int | None = None
    place: str = ""
    visit: int = 0
    after: str = ""
    any_cpu: bool = False
    call: int = 0

    @property
    def at_end(self) -> bool:
        """Whether the evidence was taken when the boot had ended."""
        return self.steps is None and not self.place


@dataclass(frozen=True, slots=True)
class Student:
    """What the student writes.

    Attributes:
        function: that of the step with the mistake; "" if that is not known.
        functions: all functions of the lab.
    """

    function: str = ""
    functions: tuple[str, ...] = ()


NOTHING: Final = Student()


def target_of(
    check: CheckReport,
    seen: Observation,
    wrote: Student = NOTHING,
    call: int = 0,
) -> Target:
    """Return where the evidence of a failed check was taken.

    Evidence that was taken elsewhere, such as in the firmware, in a guest or at the end of a boot
    that came to its end, is better understood from the beginning of the student's function.

    Args:
        check: how it failed.
        seen: the boot that it looked at.
        wrote: what the student writes.
        call: the number of the grader's own call that the failure is about; 0 if it is not.
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
    own = [one for one in wrote.functions if _names(said, one, inside=True)]
    if own and not _ends_there(said, record.end_place):
        return Target(cpu, place=max(own, key=len), visit=1, any_cpu=True, call=call)
    if record.steps and "ap_entry" not in hits:  # it got no further
        return Target(cpu, steps=len(record.steps) - 1)
    function = wrote.function
    if function and not _in_the_lab(record.end_place, check.id.partition(".")[0]):
        return Target(cpu, place=function, visit=1, any_cpu=True)
    return Target(cpu)


def _ends_there(said: str, place: Place | None) -> bool:
    """Whether a text names a place, or one that it was called from."""
    while place is not None:
        if _names(said, str(place)):
            return True
        place = place.caller
    return False


def _in_the_lab(place: Place | None, lab: str) -> bool:
    """Whether a place is in a file of the lab, or was called from one."""
    while place is not None:
        if place.file.startswith(f"{lab}/"):
            return True
        place = place.caller
    return False


def boot_of(check: CheckReport, boots: Sequence[Observation], failed: Failure | None = None) -> int:
    """Return which of the boots that a check looked at shows its failure.

    Args:
        check: how it failed.
        boots: at least one.
        failed: the failure itself, which may name its boot.
    """
    fitting = [one for one in boots if check.cohort in ("", one.cohort)] or list(boots)
    if failed is not None and failed.boot:
        fitting = [one for one in fitting if one.scenario == failed.boot] or fitting
    exact = [one for one in fitting if not target_of(check, one).at_end]
    return list(boots).index((exact or fitting)[0])


def _names(said: str, place: str, *, inside: bool = False) -> bool:
    """Whether a text names a place, as whole words.

    Args:
        said: the text.
        place: the place.
        inside: a place behind it counts, too: "ap_start+0x5" for "ap_start".
    """
    offset = r"(\+0x[0-9a-f]+)?" if inside else ""
    found = re.search(rf"(?<![\w.+]){re.escape(place)}{offset}(?![\w.+])", said)
    return bool(place) and found is not None
