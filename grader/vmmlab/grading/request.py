"""What is to be graded and how, and what a runner must offer. Holds data and a protocol only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from vmmlab.base.message import Text
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.course.secret import Secret
from vmmlab.images.model import Diagnostic
from vmmlab.probes.scenario import Scenario

Mode = Literal["standalone", "own", "reference"]
"""Whose code is linked: the student's lab with prebuilt others, the student's alone, the kit's."""


@dataclass(frozen=True)
class RunRequest:
    """What a runner is to build and boot.

    Attributes:
        course: the instructor's course.
        lab: for example `lab3`.
        files: the submitted files by path, for example `lab3/ap_start.c`.
        cohort: the numbers in the submission's cohort.h.
        seed: varies the inputs of the boots.
        sandbox_required: refuse to run the submitted code outside a sandbox.
        mode: whose code is linked.
        arch: what to build for.
        prebuilt: folder of prebuilt labs, for a course without its reference.
        compiler: "gcc" or "clang".
        opt: optimisation of the submitted files where a scenario names none; None: -O2.
        reference_only: boot the prebuilt objects of all labs; no submitted file is used.
        secret: the course's; decides the cohort of hidden checks. None: that is public, too.
        round: the occasion, if the seed follows from the secret; "": it does not.
    """

    course: Course
    lab: str
    files: Mapping[str, bytes]
    cohort: Cohort
    seed: int
    sandbox_required: bool
    mode: Mode = "standalone"
    arch: str = "x86_64"
    prebuilt: Path | None = None
    compiler: str = "gcc"
    opt: str | None = None
    reference_only: bool = False
    secret: Secret | None = None
    round: str = ""

    @property
    def label(self) -> str:
        """What a student may know of an official grading; "" if the seed is public."""
        return self.secret.label(self.lab, self.round) if self.secret and self.round else ""

    def cohort_of(self, scenario: Scenario) -> Cohort:
        """Return the cohort that a scenario is built for."""
        return self.cohort.in_role(scenario.cohort, "" if self.secret is None else self.secret.key)


@dataclass(frozen=True)
class RunFacts:
    """What a runner reports besides Observations.

    Attributes:
        warnings: the compiler's warnings about the submitted files.
        versions: version of each tool, for example of `qemu`.
        times: duration of each phase in seconds, for example of `build`.
        notes: remarks for the reader of the report.
        review: why a person should look at the report, if there is a reason.
    """

    warnings: Sequence[Diagnostic] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[Text] = ()
    review: Sequence[Text] = ()


class Runner(Protocol):
    """Builds and boots. It may begin to build as soon as it is made."""

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Start the build and these boots in the background."""

    def observe(self, scenario: Scenario) -> object:
        """Wait for the Observation of one scenario.

        After an InfraError it may be called again for the same scenario, and must boot anew.

        Raises:
            BuildFailed: the submitted files do not build.
            InfraError: the grader or its tools failed, not the submission.
        """

    def facts(self) -> RunFacts:
        """Return warnings, versions, times and notes; called once, after the last check."""

    def close(self) -> None:
        """End every process; always called."""


RunnerFactory = Callable[[RunRequest], Runner]


def default_seed(lab: str, cohort: str) -> int:
    """Return the seed to use when none is given: always the same for one lab and cohort."""
    digest = hashlib.sha256(f"vmmlab seed 1\0{lab}\0{cohort}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 1_000_000
