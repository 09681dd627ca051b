"""Grading on the real machine: what the tests of verdicts share."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.grading.request import RunRequest
from vmmlab.report import Report
from vmmlab.report.make import report_lab

ROOT = Path(__file__).parents[3]
SEED = 20

Grade = Callable[..., Report]


@pytest.fixture(scope="session")
def course() -> Course:
    return load_course(ROOT)


@pytest.fixture(scope="session")
def grade(course: Course) -> Grade:
    """Grade the files of a lab; an infrastructure failure fails the test."""

    def run(
        lab: str, files: Mapping[str, bytes], cohort: str = "dev", arch: str = "x86_64"
    ) -> Report:
        request = RunRequest(
            course=course,
            lab=lab,
            files=files,
            cohort=Cohort.derive(cohort),
            seed=SEED,
            sandbox_required=False,
            arch=arch,
        )
        report = report_lab(request)
        broken = [check.infra for check in report.checks if check.outcome == "infra-error"]
        assert not broken, broken[0]
        return report

    return run


@pytest.fixture(scope="session")
def earned() -> Callable[[Report], dict[str, float]]:
    """The points of each check that earned any."""
    return lambda report: {c.id: c.points for c in report.checks if c.points}
