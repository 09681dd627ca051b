"""The record of one lab's checks while they run: boots, outcomes, what waits for what.

Knows neither pytest nor points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol

from vmmlab.base.errors import InfraError, VmmlabError
from vmmlab.checks.model import Case, Check, Outcome, Scenario, validate
from vmmlab.failure import Failure
from vmmlab.grading.loading import LabPackage

BOOTS_AT_MOST: Final = 3
"""A boot that failed for reasons of ours is tried this many times in all."""


class Boots(Protocol):
    """What the engine needs of a runner; see `vmmlab.grading.grade.Runner`."""

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Start the build and the boots in the background."""

    def observe(self, scenario: Scenario) -> object:
        """Return the Observation of one scenario."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check ended.

    Attributes:
        fraction: what part of the points it earned; None when it could not be judged.
        failure: the first failure.
        cases: the sub-scores, empty if the check has none.
        waited_for: the needed check that did not pass.
        infra: for the author: what broke, with a traceback if the check itself did.
        reason: the same for the student, in one line.
    """

    check: Check
    outcome: Outcome
    fraction: Fraction | None
    failure: Failure | None = None
    cases: tuple[Case, ...] = ()
    waited_for: str | None = None
    infra: str | None = None
    reason: str = ""


@dataclass(slots=True)
class ItemRecord:
    """What happened to one pytest item: a whole check, or one parameter set of it."""

    parameters: str
    kind: Literal["judged", "skipped", "build-error", "infra"] = "judged"
    failure: Failure | None = None
    cases: tuple[Case, ...] = ()
    scored: bool = False
    waited_for: str | None = None
    infra: str | None = None
    reason: str = ""


class Waits(Exception):
    """The check waits for another one, which did not pass."""

    def __init__(self, check_id: str) -> None:
        super().__init__(f"waits for {check_id}")
        self.check_id = check_id


class LabRun:
    """The checks of one lab, their boots and their results, while pytest runs them.

    Args:
        lab: for example `lab3`.
        files: the test files, in the order in which they run.
        package: loads them.
        start: gives the runner; called once, when the first check is about to run.
        accept: called with all checks of the lab; raises CourseError if the course disagrees.
        finish: called once after the lab's last check, also if there is none.
        wanted: whether a check belongs to this run at all; for pytest the others do not exist.
        view: what a check is shown of an Observation; all of it if not given.
    """

    def __init__(
        self,
        lab: str,
        files: Sequence[Path],
        package: LabPackage,
        *,
        start: Callable[[], Boots],
        accept: Callable[[Sequence[Check]], None],
        finish: Callable[[], None],
        wanted: Callable[[Check], bool] = lambda check: True,
        view: Callable[[Check, object], object] = lambda check, seen: seen,
    ) -> None:
        self.lab = lab
        self.files = tuple(files)
        self.package = package
        self.checks: tuple[Check, ...] = ()
        self.selected: tuple[Check, ...] = ()
        self.partial = False
        self.notes: list[str] = []
        self.build_failed: Exception | None = None
        self.error: VmmlabError | None = None
        self.items_left = 0
        self._start = start
        self._accept = accept
        self._finish = finish
        self._wanted = wanted
        self._view = view
        self._finished = False
        self._boots: Boots | None = None
        self._seen: dict[Scenario, object | Exception] = {}
        self._traces: dict[Scenario, TracebackType | None] = {}
        self._records: dict[str, list[ItemRecord]] = {}

    def plan(self, checks: Sequence[Check]) -> None:
        """Take those of the declared checks that belong to this run.

        Raises:
            CourseError: they contradict each other or the course.
        """
        validate(self.lab, checks)
        self._accept(checks)
        self.checks = tuple(filter(self._wanted, checks))

    def begin(self) -> None:
        """Start the runner, once; every later call raises the same error if it could not."""
        if self.error is not None:
            raise self.error
        if self._boots is not None:
            return
        try:
            self._boots = self._start()
            scenarios = (boot for check in self.selected for boot in check.scenarios)
            self._boots.prepare(tuple(dict.fromkeys(scenarios)))
        except VmmlabError as error:
            self.error = error
            raise

    def shown(self, check: Check) -> tuple[object, ...]:
        """The Observations of a check's scenarios, in their order; raises what `observe` does."""
        return tuple(self._view(check, self.observe(scenario)) for scenario in check.scenarios)

    def observe(self, scenario: Scenario) -> object:
        """Return the Observation of `scenario`: one boot, however many checks ask.

        Raises:
            BuildFailed: the student's code does not build.
            InfraError: it did not work in `BOOTS_AT_MOST` attempts.
        """
        if self.build_failed is not None:
            raise self.build_failed
        if scenario not in self._seen:
            self._seen[scenario] = self._boot(scenario)
        seen = self._seen[scenario]
        if isinstance(seen, Exception):
            raise seen.with_traceback(self._traces.get(scenario))
        return seen

    def _boot(self, scenario: Scenario) -> object | Exception:
        assert self._boots is not None
        for attempt in range(1, BOOTS_AT_MOST + 1):
            try:
                return self._boots.observe(scenario)
            except InfraError as error:
                if attempt == BOOTS_AT_MOST:
                    return error
                self.notes.append(f"{scenario.name} was booted again: {error.message}")
            except Exception as error:
                if is_build_failure(error):
                    self.build_failed = error
                else:  # a mistake of ours: its author will want to see where
                    self._traces[scenario] = error.__traceback__
                return error
        raise AssertionError("unreachable")

    def waits_for(self, check: Check) -> str | None:
        """The first needed check that did not pass."""
        for need in check.needs:
            result = self.result(need)
            if result is None or result.outcome != "pass":
                return need
        return None

    def record(self, check: Check, record: ItemRecord) -> None:
        """Add what happened to one item of `check`."""
        self._records.setdefault(check.id, []).append(record)

    def result(self, check_id: str) -> CheckResult | None:
        """How the check ended so far; None if it did not run."""
        records = self._records.get(check_id)
        if not records:
            return None
        check = next(item for item in self.checks if item.id == check_id)
        return self._combined(check, records)

    def results(self) -> tuple[CheckResult, ...]:
        """How every check that ran ended, in the order of the file."""
        found = (self.result(check.id) for check in self.checks)
        results = tuple(result for result in found if result is not None)
        if self.build_failed is None:
            return results
        return tuple(
            CheckResult(result.check, "build-error", Fraction(0), reason=str(self.build_failed))
            for result in results
        )

    def end(self) -> None:
        """Close the runner, once."""
        if not self._finished:
            self._finished = True
            self._finish()

    def _combined(self, check: Check, records: Sequence[ItemRecord]) -> CheckResult:
        for record in records:
            if record.kind == "infra":
                return CheckResult(
                    check, "infra-error", None, infra=record.infra, reason=record.reason
                )
        for record in records:
            if record.kind == "build-error":
                return CheckResult(check, "build-error", Fraction(0), reason=record.reason)
        for record in records:
            if record.kind == "skipped":
                return self._skipped(check, record.waited_for or "")
        return _judged(check, records)

    def _skipped(self, check: Check, waited_for: str) -> CheckResult:
        blocker = self.result(waited_for)
        unknown = blocker is not None and blocker.fraction is None
        return CheckResult(
            check,
            "skipped",
            None if unknown else Fraction(0),
            waited_for=waited_for,
            reason=f"waits for {waited_for}",
        )


def _judged(check: Check, records: Sequence[ItemRecord]) -> CheckResult:
    cases: list[Case] = []
    parts: list[Fraction] = []
    for record in records:
        if record.scored and record.failure is None:
            passed = sum(case.failure is None for case in record.cases)
            parts.append(Fraction(passed, len(record.cases)))
        else:
            parts.append(Fraction(int(record.failure is None)))
        if record.scored:
            prefix = f"{record.parameters}, " if record.parameters else ""
            cases += [Case(prefix + case.name, case.failure) for case in record.cases]
        if record.parameters and (not record.scored or record.failure is not None):
            cases.append(Case(record.parameters, record.failure))
    fraction = sum(parts, Fraction(0)) / len(parts)
    whole = (record.failure for record in records)
    first = next(filter(None, whole), None) or next(filter(None, (c.failure for c in cases)), None)
    outcome: Outcome
    if first is None:
        outcome = "pass"
    elif fraction > 0:
        outcome = "partial"
    else:
        outcome = "timeout" if first.timeout else "fail"
    return CheckResult(check, outcome, fraction, failure=first, cases=tuple(cases))


def is_build_failure(error: BaseException) -> bool:
    """Whether `error` says that the student's code does not build."""
    # Imported here: where nothing failed, nothing of `build` needs to be loaded.
    from vmmlab.images.model import BuildFailed

    return isinstance(error, BuildFailed)
