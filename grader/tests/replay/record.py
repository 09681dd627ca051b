"""Record the boots of submissions, for tests that replay them through the checks without QEMU.

`python grader/tests/replay/record.py [NAME …]` boots and records the named submissions, or all that
are recorded already. A NAME is `lab3` or `lab3.i386` for the reference, else the id of a mutant.
With --judge nothing is booted: only the expected verdicts are written anew, by the checks of today.
With --missing only the scenarios are booted that a recording does not have.
Look at the difference before you commit it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recordings import (
    EXPECTED,
    FOLDER,
    Recording,
    expected,
    load,
    names,
    replay,
    request,
    verdict,
)

from vmmlab.author import mutants
from vmmlab.author.mutants import Mutant
from vmmlab.checks import Scenario
from vmmlab.course.load import load_course
from vmmlab.course.model import ARCHES, Course
from vmmlab.course.reference import reference
from vmmlab.grading.boots import LabRunner
from vmmlab.grading.request import RunFacts, RunRequest
from vmmlab.observe.observation import Observation
from vmmlab.observe.schema import with_own_evidence
from vmmlab.report import Report
from vmmlab.report.make import report_lab

ROOT = Path(__file__).parents[3]


class RecordingRunner(LabRunner):
    """Boots as usual, and keeps what was seen in every scenario of the lab."""

    def __init__(self, request: RunRequest) -> None:
        super().__init__(request)
        self.boots: dict[str, Observation] = {}
        self._all: list[Scenario] = []

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Remember the scenarios, and start them."""
        self._all += scenarios
        super().prepare(scenarios)

    def close(self) -> None:
        """Wait for the boots that no check asked for; then end."""
        self.boots = {str(scenario): self.observe(scenario) for scenario in self._all}
        super().close()


class FillingRunner:
    """Answers with what is recorded, and boots what is not.

    Args:
        request: what to boot.
        known: what is recorded.
    """

    def __init__(self, request: RunRequest, known: Mapping[str, Observation]) -> None:
        self._request = request
        self._runner: LabRunner | None = None
        self.boots = dict(known)

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Forget the boots of scenarios that the lab does not have any more."""
        named = {str(scenario) for scenario in scenarios}
        self.boots = {name: boot for name, boot in self.boots.items() if name in named}

    def observe(self, scenario: Scenario) -> Observation:
        """Return the Observation of a scenario."""
        if str(scenario) not in self.boots:
            self._runner = self._runner or LabRunner(self._request)
            self.boots[str(scenario)] = self._runner.observe(scenario)
        return with_own_evidence(self.boots[str(scenario)])

    def facts(self) -> RunFacts:
        """Return nothing."""
        return RunFacts()

    def close(self) -> None:
        """End the boots."""
        if self._runner is not None:
            self._runner.close()


def fill(course: Course, name: str, known: Mapping[str, Mutant]) -> dict[str, Any]:
    """Add to a recording the boots that it lacks and checks ask for; return its verdict."""
    recording = load(name)
    lab, arch = recording.lab, recording.arch
    mutant = known.get(name)
    files = mutants.apply(course, mutant) if mutant else dict(reference(course, [lab]).files)
    made: list[FillingRunner] = []

    def factory(asked: RunRequest) -> FillingRunner:
        made.append(FillingRunner(asked, recording.boots))
        return made[0]

    asked = request(course, lab, files, recording.cohort, arch)
    report = report_lab(asked, runner_factory=factory)
    if made[0].boots != recording.boots:
        Recording(name, lab, arch, recording.cohort, made[0].boots).save()
    return verdict(report)


def record(
    course: Course, name: str, lab: str, arch: str, cohort: str, files: Mapping[str, bytes]
) -> tuple[Recording, Report]:
    """Grade a submission and record its boots."""
    made: list[RecordingRunner] = []

    def factory(asked: RunRequest) -> RecordingRunner:
        made.append(RecordingRunner(asked))
        return made[0]

    report = report_lab(request(course, lab, files, cohort, arch), runner_factory=factory)
    return Recording(name, lab, arch, cohort, made[0].boots), report


def record_named(course: Course, name: str, known: Mapping[str, Mutant]) -> dict[str, Any]:
    """Record one submission by its name; return its verdict.

    Raises:
        ValueError: a mutant is not caught by its check with its cause.
    """
    if mutant := known.get(name):
        lab, arch, cohort = mutant.lab, mutant.arch, mutant.cohort
        files = mutants.apply(course, mutant)
    else:
        lab, _, arch = name.partition(".")
        arch, cohort = arch or ARCHES[0], course.cohort
        files = dict(reference(course, [lab]).files)
    recording, report = record(course, name, lab, arch, cohort, files)
    if mutant and (result := mutants.judge(mutant, report)).verdict != "killed":
        raise ValueError(f"{name}: {result.verdict}: {result.message}")
    recording.save()
    return verdict(report)


def main(words: Sequence[str]) -> None:
    """Record what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--judge", action="store_true", help="boot nothing")
    parser.add_argument("--missing", action="store_true", help="boot only what is not recorded")
    given = parser.parse_args(words)
    FOLDER.mkdir(exist_ok=True)
    course = load_course(ROOT)
    known = {mutant.id: mutant for mutant in mutants.load(course)}
    verdicts = expected() if EXPECTED.is_file() else {}
    for name in given.names or names():
        if given.judge:
            verdicts[name] = verdict(replay(course, load(name)))
        elif given.missing:
            verdicts[name] = fill(course, name, known)
        else:
            verdicts[name] = record_named(course, name, known)
        sys.stdout.write(f"{name}: {verdicts[name]['points']} points\n")
        sys.stdout.flush()
        text = json.dumps({one: verdicts[one] for one in names()}, indent=1) + "\n"
        EXPECTED.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
