"""Recorded boots of a submission, and a runner that answers with them in place of QEMU."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from vmmlab.checks import Scenario
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.grading.request import RunFacts, RunRequest
from vmmlab.observe.observation import Observation
from vmmlab.observe.schema import with_own_evidence
from vmmlab.report import Report
from vmmlab.report.make import report_lab

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE / "recorded"
EXPECTED: Final = HERE / "expected.json"
SUFFIX: Final = ".json.xz"
SEED: Final = 1


@dataclass(frozen=True)
class Recording:
    """All boots of one submission.

    Args:
        name: `labN` or `labN.i386` for the reference, else the id of a mutant.
        lab: the lab.
        arch: what the VMM was built for.
        cohort: name of the cohort.
        boots: the scenarios as text, and what was seen of each. What the lab's own probe recorded
            is of its own class only while the lab is in use (`with_own_evidence`).
    """

    name: str
    lab: str
    arch: str
    cohort: str
    boots: Mapping[str, Observation]

    @property
    def path(self) -> Path:
        """Where it is stored."""
        return FOLDER / f"{self.name}{SUFFIX}"

    def save(self) -> None:
        """Write it to its file."""
        text = _adapter().dump_json(self)
        self.path.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


@cache
def _adapter() -> TypeAdapter[Recording]:
    return TypeAdapter(Recording)


def names() -> list[str]:
    """Return the names of all recordings there are."""
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


def load(name: str) -> Recording:
    """Return a recording.

    Raises:
        OSError: there is none of this name.
        ValueError: it does not fit the Observation of today.
    """
    return _adapter().validate_json(lzma.decompress((FOLDER / f"{name}{SUFFIX}").read_bytes()))


class ReplayRunner:
    """Gives the engine recorded Observations. It builds and boots nothing.

    Args:
        recording: the boots.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __call__(self, request: RunRequest) -> ReplayRunner:
        """Act as the factory, too."""
        return self

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Do nothing: all boots are over."""

    def observe(self, scenario: Scenario) -> Observation:
        """Return the recorded Observation of a scenario.

        Raises:
            LookupError: no such scenario was recorded.
            ValueError: what the lab's own probe recorded does not fit its class of today.
        """
        found = self._recording.boots.get(str(scenario))
        if found is None:
            raise LookupError(
                f"{self._recording.name}: {scenario} was not recorded; "
                f"python {Path(__file__).with_name('record.py')} {self._recording.name}"
            )
        return with_own_evidence(found)

    def facts(self) -> RunFacts:
        """Return nothing: no tool ran."""
        return RunFacts()

    def close(self) -> None:
        """Do nothing."""


def replay(course: Course, recording: Recording) -> Report:
    """Grade a submission by its recorded boots, with the checks of today."""
    asked = request(course, recording.lab, {}, recording.cohort, recording.arch)
    return report_lab(asked, runner_factory=ReplayRunner(recording))


def request(
    course: Course, lab: str, files: Mapping[str, bytes], cohort: str, arch: str
) -> RunRequest:
    """Return the request to grade files of a lab without a sandbox."""
    return RunRequest(
        course=course,
        lab=lab,
        files=files,
        mode="standalone",
        cohort=Cohort.derive(cohort),
        seed=SEED,
        arch=arch,
        sandbox_required=False,
    )


def verdict(report: Report) -> dict[str, Any]:
    """Return what is compared of a report: its points, and of each failed check the cause."""
    failed = {
        check.id: [check.outcome, check.points, check.cause, check.cpu]
        for check in report.checks
        if check.outcome not in ("pass", "skipped")
    }
    return {"points": report.points, "failed": failed}


def expected() -> dict[str, Any]:
    """Return the verdict that is expected for each recording."""
    found: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return found
