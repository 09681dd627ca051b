"""A small course on disk, and a runner that boots nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.checks import Scenario
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.grading.request import RunFacts, RunRequest
from vmmlab.images.model import BuildFailed, Diagnostic
from vmmlab.observe.observation import Observation
from vmmlab.observe.schema import from_json
from vmmlab.report import Report
from vmmlab.report.make import report_lab

SAMPLE = Path(__file__).parents[1] / "observe" / "observation.sample.json"
HEAD = (
    "from vmmlab.checks import check, expect, fail, fail_if, missing\n"
    "from vmmlab.probes import bringup, parking\n"
    "S = bringup(cpus=4)\n"
)


class FakeRunner:
    """Answers from a table: scenario name to an Observation, an exception, or a list of those."""

    def __init__(
        self,
        answers: Mapping[str, Any] | None = None,
        facts: RunFacts | None = None,
        reference: FakeRunner | None = None,
    ):
        self.answers = dict(answers or {})
        self.reference = reference
        self.said = facts or RunFacts()
        self.prepared: list[Scenario] = []
        self.observed: list[str] = []
        self.closed = 0
        self.request: RunRequest | None = None

    def __call__(self, request: RunRequest) -> FakeRunner:
        if request.reference_only and self.reference is not None:
            return self.reference
        self.request = request
        return self

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        assert not self.prepared, "prepare is called once"
        self.prepared = list(scenarios)

    def observe(self, scenario: Scenario) -> object:
        assert scenario in self.prepared or not self.prepared
        self.observed.append(scenario.name)
        answer = self.answers.get(scenario.name, scenario)
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def facts(self) -> RunFacts:
        assert not self.closed
        return self.said

    def close(self) -> None:
        self.closed += 1


class Kit:
    """A course with one lab, lab3."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tests = root / "labs" / "lab3"
        self.tests.mkdir(parents=True)
        self.runner = FakeRunner()
        self.files = {"lab3/ap_start.c": b"int x;\n"}

    def write(self, body: str, points: Mapping[str, int] | None = None, head: str = HEAD) -> None:
        """Write the lab's tests and a course.yml that gives these checks their points."""
        self.write_tests(body, head)
        points = points or {}
        lines = [
            "schema: 1",
            "title: A small course",
            "labs:",
            "  lab3:",
            "    title: APs",
            f"    points: {sum(points.values())}",
            "    files:",
            "      lab3/ap_start.c: [ap_start]",
            "    steps:",
            "      - {id: lab3.1, title: write the far jump, file: lab3/ap_start.c,"
            " function: ap_start}",
            "      - {id: lab3.2, title: copy the trampoline, file: lab3/ap_start.c,"
            " function: ap_start}",
            "    checks:",
        ]
        for place, (name, value) in enumerate(points.items()):
            lines.append(f"      {name}: {{points: {value}, step: lab3.{1 if place == 0 else 2}}}")
        if not points:
            lines[-1] = "    checks: {}"
        (self.root / "course.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def write_tests(self, body: str, head: str = HEAD) -> None:
        """Write the lab's tests, and leave course.yml as it is."""
        (self.tests / "test_lab3.py").write_text(head + textwrap.dedent(body), encoding="utf-8")

    def request(self, **more: Any) -> RunRequest:
        """Ask for its lab; `more` are further fields of the request."""
        return RunRequest(
            course=load_course(self.root),
            lab="lab3",
            files=self.files,
            cohort=Cohort.derive("dev"),
            seed=7,
            sandbox_required=False,
            **more,
        )

    def grade(self, **options: Any) -> Report:
        """Grade it with the fake runner."""
        options.setdefault("runner_factory", self.runner)
        fields = RunRequest.__dataclass_fields__
        more = {name: options.pop(name) for name in list(options) if name in fields}
        return report_lab(self.request(**more), **options)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path / "course")


@pytest.fixture(scope="session")
def sample() -> Observation:
    """A recorded boot of 2 CPUs that went well."""
    return from_json(SAMPLE.read_text(encoding="utf-8"))


def by_id(report: Report) -> dict[str, Any]:
    return {check.id.removeprefix("lab3."): check for check in report.checks}


@pytest.fixture
def checks_of() -> Any:
    return by_id


@pytest.fixture
def fake_runner() -> type[FakeRunner]:
    return FakeRunner


@pytest.fixture
def build_failed() -> BuildFailed:
    return BuildFailed(
        "lab3",
        [Diagnostic("lab3/ap_start.c", 12, 3, "error", "'x' undeclared")],
        log="lab3/ap_start.c:12:3: error: 'x' undeclared",
    )


@pytest.fixture
def qemu_died() -> InfraError:
    return InfraError("QEMU died", found="signal 9")
