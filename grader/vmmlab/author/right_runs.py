"""Writes the reduced records of the reference that students see beside their own run.

    python -m vmmlab.author.right_runs [LAB ...]

boots the reference of each lab in its open scenarios and writes labs/labN/right-runs.json. A test
compares these files with the recorded boots of the reference.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vmmlab.course.cohort import Cohort
from vmmlab.course.find import find_course
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.grading.boots import LabRunner
from vmmlab.grading.grade import grade_lab
from vmmlab.grading.request import RunnerFactory, RunRequest
from vmmlab.report.reduced import RightRuns, file_of, reduced_runs

_SEED: Final = 1


def right_runs(
    course: Course, lab: str, arch: str, runner_factory: RunnerFactory = LabRunner
) -> RightRuns:
    """Return the reduced record of the reference of a lab in its open scenarios.

    Args:
        course: the course, with its reference.
        lab: the lab.
        arch: what to build for.
        runner_factory: makes the runner; one with recorded boots in tests.

    Raises: as for `grade_lab`.
    """
    request = RunRequest(
        course=course,
        lab=lab,
        files=dict(reference(course, [lab]).files),
        cohort=Cohort.derive(course.cohort),
        seed=_SEED,
        sandbox_required=False,
        mode="reference",
        arch=arch,
    )
    grade = grade_lab(request, runner_factory=runner_factory)
    return reduced_runs({scenario.name: seen for scenario, seen in grade.boots.items()})


def write(course: Course, lab: str, arch: str, runs: RightRuns) -> Path:
    """Write the reduced record of a lab; return the file."""
    path = course.labs_dir / lab / file_of(arch)
    path.write_text(runs.to_json(), encoding="utf-8")
    return path


def main(words: Sequence[str]) -> None:
    """Write the files of the named labs, or of all."""
    course = load_course(find_course(Path.cwd()))
    for lab in words or list(course.labs):
        for arch in course.lab(lab).arches:
            path = write(course, lab, arch, right_runs(course, lab, arch))
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
