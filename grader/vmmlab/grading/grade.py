"""From a request to a Grade: run the checks of one lab, then add up their points.

Knows no report. Boots are the runner's business, what pytest does is the engine's; points come
from course.yml and the outcomes alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from vmmlab.base.errors import CourseError
from vmmlab.base.message import Text, msg
from vmmlab.course.model import CheckSpec
from vmmlab.explore import Exploration
from vmmlab.grading.boots import LabRunner
from vmmlab.grading.inprocess import run_checks
from vmmlab.grading.observations import Observations
from vmmlab.grading.plain import disagreements
from vmmlab.grading.request import RunFacts, RunnerFactory, RunRequest
from vmmlab.grading.results import CheckResult
from vmmlab.grading.run import LabRun
from vmmlab.grading.score import Points, earned, total
from vmmlab.grading.selection import Selection
from vmmlab.images.model import BuildFailed
from vmmlab.observe.observation import Observation
from vmmlab.probes.scenario import Scenario

_ONE_AT_A_TIME: Final = threading.Lock()


@dataclass(frozen=True)
class CheckGrade:
    """One check and what it earned.

    Attributes:
        result: how it ended.
        spec: its points and step, from course.yml.
        points: what it earned; None if it could not be judged, never to be read as 0.
        hidden: whether it is a hidden check.
    """

    result: CheckResult
    spec: CheckSpec
    points: Points | None
    hidden: bool


@dataclass(frozen=True)
class Grade:
    """What the checks of one lab found, and what that earns.

    Attributes:
        request: what was graded, and how.
        checks: the checks that ran, in the order of their files.
        points: what the open checks earned; None if one of them could not be judged.
        worth: what those open checks are worth.
        hidden_points: what the hidden checks earned; None if they were not judged.
        hidden_worth: what the hidden checks are worth.
        hidden_judged: whether hidden checks were run.
        partial: only some of the selected checks ran: this is no grade.
        build_failed: why the submitted files do not build.
        facts: warnings, versions, times and notes of the runner.
        notes: remarks on the boots.
        duration_s: seconds from the start of the runner to its end.
        disagreements: in what the boots that leave no trace of the grader differ from the others.
        later: open checks that need a lab which is held back, and what each is worth.
        boots: the Observation of each scenario that was booted.
        exploration: all orders of the lab's steps, if a check asked for them.
    """

    request: RunRequest
    checks: tuple[CheckGrade, ...]
    points: Points | None
    worth: int
    hidden_points: Points | None
    hidden_worth: int
    hidden_judged: bool
    partial: bool
    build_failed: BuildFailed | None
    facts: RunFacts
    notes: tuple[Text, ...]
    duration_s: float
    disagreements: tuple[Text, ...] = ()
    later: Mapping[str, int] = field(default_factory=dict)
    boots: Mapping[Scenario, Observation] = field(default_factory=dict)
    exploration: Exploration | None = None

    @property
    def review(self) -> tuple[Text, ...]:
        """Why a person should look at this grade, each reason once; empty: there is no need."""
        reasons = (one.result.review for one in self.checks if one.result.review)
        return tuple(dict.fromkeys([*reasons, *self.disagreements, *self.facts.review]))


def grade_lab(
    request: RunRequest,
    *,
    select: str | None = None,
    hidden: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
    runner_factory: RunnerFactory = LabRunner,
) -> Grade:
    """Grade one lab with the instructor's checks.

    Nothing of the submission is read by Python or pytest: it is bytes for the runner to build.
    One grading runs at a time in a process; others wait.

    Args:
        request: what to grade, and how.
        select: a pytest `-k` expression over ids and function names of checks.
        hidden: run the hidden checks too; a lab without any has none to run.
        meanwhile: called once, while the first boots are running.
        runner_factory: makes the runner; a fake one in tests.

    Raises:
        CourseError: the checks are wrong, or disagree with course.yml.
        UsageError: no such lab, it has no checks for the architecture, or `select` cannot be read
            or matches nothing.
        InfraError: grading cannot start at all, for example for want of a sandbox.
    """
    request.course.graded_for(request.lab, request.arch)
    grading = Grading(request, hidden=hidden, meanwhile=meanwhile, runner_factory=runner_factory)
    selection, observations = grading.selection, grading.observations
    with _ONE_AT_A_TIME, contextlib.closing(observations):
        if not selection.files:
            raise CourseError(
                msg("{lab} has no checks.", lab=request.lab),
                expected=str(selection.tests_dir / f"test_{request.lab}.py"),
            )
        if not selection.specs and selection.lab.later_of(request.arch):
            return grading.grade()  # all of it is judged later
        # Compilers and QEMU work while pytest is being imported.
        observations.start()
        if select is None:
            observations.prepare(selection.scenarios(grading.run.package))
        run_checks(grading.run, selection.tests_dir, select)
        return grading.grade()


class Grading:
    """One lab on its way to a Grade. `grade_lab` and the student's pytest share it.

    Args:
        request: what to grade, and how.
        hidden: run the hidden checks too.
        tests_dir: the folder of the checks, if not the course's own.
        meanwhile: called once, while the first boots are running; may raise a VmmlabError.
        runner_factory: makes the runner.

    Attributes:
        selection: which checks it runs.
        observations: their boots.
        run: what the engine records.
    """

    def __init__(
        self,
        request: RunRequest,
        *,
        hidden: bool = False,
        tests_dir: Path | None = None,
        meanwhile: Callable[[], object] = lambda: None,
        runner_factory: RunnerFactory = LabRunner,
    ) -> None:
        self.request = request
        self.selection = Selection(
            request.course.lab(request.lab),
            request.arch,
            hidden=hidden,
            tests_dir=tests_dir or request.course.labs_dir / request.lab,
        )
        self.observations = Observations(request, runner_factory)
        self.run = LabRun(self.selection, self.observations, meanwhile)

    def grade(self) -> Grade:
        """End the boots and return the grade of what ran so far."""
        self.observations.close()
        run, observations, selection = self.run, self.observations, self.selection
        results = run.results()
        checks = tuple(self._check(result) for result in results)
        visible = [check for check in checks if not check.hidden]
        hidden = [check for check in checks if check.hidden]
        return Grade(
            request=self.request,
            checks=checks,
            points=total(check.points for check in visible),
            worth=_worth(visible),
            hidden_points=total(check.points for check in hidden)
            if selection.hidden_judged
            else None,
            hidden_worth=_worth(hidden)
            if hidden
            else selection.lab.hidden_points_of(self.request.arch),
            hidden_judged=selection.hidden_judged,
            partial=run.partial or len(results) < len(run.checks),
            build_failed=observations.build_failed,
            facts=self._facts(),
            notes=tuple(observations.notes),
            duration_s=observations.duration_s,
            disagreements=disagreements(observations.seen),
            later={
                name: spec.points
                for name, spec in selection.lab.later_of(self.request.arch).items()
            },
            boots={
                scenario: seen
                for scenario, seen in observations.seen.items()
                if isinstance(seen, Observation)
            },
            exploration=run.orders.found,
        )

    def _facts(self) -> RunFacts:
        facts, reason = self.observations.facts, self.run.orders.review
        return replace(facts, review=(*facts.review, reason)) if reason else facts

    def _check(self, result: CheckResult) -> CheckGrade:
        spec = self.selection.specs[result.check.id]
        return CheckGrade(
            result=result,
            spec=spec,
            points=earned(result.share, spec.points),
            hidden=result.check.id in self.selection.lab.hidden,
        )


def _worth(checks: Sequence[CheckGrade]) -> int:
    return sum(check.spec.points for check in checks)
