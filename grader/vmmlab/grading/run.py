"""The checks of one lab while pytest runs them: boots, records, which check waits for which.

Knows neither pytest nor points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from vmmlab.base.errors import VmmlabError
from vmmlab.checks.declaring import Check, validate
from vmmlab.course.labpackage import LabPackage
from vmmlab.grading.exploring import Orders
from vmmlab.grading.observations import Observations
from vmmlab.grading.results import CheckResult
from vmmlab.grading.selection import Selection
from vmmlab.probes.scenario import Scenario


class LabRun:
    """The checks of one lab, their boots and their results.

    Args:
        selection: which checks belong to it.
        observations: boots their scenarios.
        meanwhile: called once, while the first boots are running; may raise a VmmlabError.

    Attributes:
        package: loads its test files.
        orders: the search for wrong orders of its steps.
        checks: those of the declared checks that belong to it.
        selected: those of them that pytest runs.
        partial: whether pytest leaves some of them out.
        error: why no check can be run.
        items_left: pytest items that have not run yet.
    """

    def __init__(
        self,
        selection: Selection,
        observations: Observations,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        self.selection = selection
        self.observations = observations
        self.lab = selection.lab.name
        self.files = selection.files
        self.package = LabPackage(self.lab, selection.tests_dir)
        self.orders = Orders(self.lab, selection.tests_dir, self.package)
        self.checks: tuple[Check, ...] = ()
        self.selected: tuple[Check, ...] = ()
        self.partial = False
        self.error: VmmlabError | None = None
        self.items_left = 0
        self._meanwhile = meanwhile
        self._begun = False
        self._results: dict[str, CheckResult] = {}

    def plan(self, checks: Sequence[Check]) -> None:
        """Take those of the declared checks that belong to this run.

        Args:
            checks: all that the test files declare, in the order in which they run.

        Raises:
            CourseError: they contradict each other or course.yml.
        """
        validate(self.lab, checks)
        self.selection.validate(checks)
        self.checks = tuple(check for check in checks if check in self.selection)

    def begin(self) -> None:
        """Start the boots of the selected checks, once; raise the same error at each later call.

        Raises:
            VmmlabError: no check can be run.
        """
        if self.error is not None:
            raise self.error
        if self._begun:
            return
        self._begun = True
        try:
            runner = self.observations.start()
            self.orders.start(runner, [check.id for check in self.selected])
            self.observations.prepare([one for check in self.selected for one in check.scenarios])
            self._meanwhile()
        except VmmlabError as error:
            self.error = error
            raise

    def shown(
        self, check: Check, boot: Callable[[Scenario], object] | None = None
    ) -> tuple[object, ...]:
        """Return the Observations of a check's scenarios, in their order.

        Args:
            check: the check.
            boot: gives the Observation of a scenario; None: that of the submission.

        Raises:
            BuildFailed: the submitted files do not build.
            InfraError: a boot failed in every attempt.
        """
        boot = boot or self.observations.of
        return tuple(self.selection.view(check, boot(one)) for one in check.scenarios)

    def waits_for(self, check: Check) -> str | None:
        """Return the first of the checks that come before it (`after`) that stands in its way.

        That is one that did not pass. If it only found a rule broken (`Failure.goes_on`), the check
        decides (`strictly`).
        """
        for other in check.after:
            result = self.result(other)
            passed = result is not None and result.outcome == "pass"
            if result is None or result.blocks or (other in check.strictly and not passed):
                return other
        return None

    def record(self, result: CheckResult) -> None:
        """Keep how a check ended."""
        self._results[result.check.id] = result

    def result(self, check_id: str) -> CheckResult | None:
        """Return how the check ended so far; None if it did not run."""
        result = self._results.get(check_id)
        blocker = self.result(result.waited_for) if result and result.waited_for else None
        if result and blocker and blocker.share is None:  # then neither can this one be judged
            return replace(result, share=None)
        return result

    def results(self) -> tuple[CheckResult, ...]:
        """Return how every check that ran ended, in the order of the files."""
        found = (self.result(check.id) for check in self.checks)
        results = tuple(result for result in found if result is not None)
        failed = self.observations.build_failed
        if failed is None:
            return results
        return tuple(
            CheckResult(result.check, "build-error", Fraction(0), reason=str(failed))
            for result in results
        )

    def end(self) -> None:
        """Close the runner. Safe to call again."""
        self.observations.close()
