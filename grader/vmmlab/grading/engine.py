"""The pytest plugin that runs checks and records how each one ended.

pytest collects, selects and calls; this plugin hands out Observations and keeps the record. It
serves the instructor's grader and the student's own pytest alike, and knows nothing of points,
reports or courses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vmmlab.base.errors import CourseError, VmmlabError
from vmmlab.base.message import msg
from vmmlab.checks.declaring import Check, declared_in
from vmmlab.checks.failing import CheckFailed
from vmmlab.checks.judging import judge
from vmmlab.checks.scoring import Case
from vmmlab.course.labpackage import LabPackage
from vmmlab.grading.crashes import crashed, second_opinion
from vmmlab.grading.items import STATUS, Waits, refuse_pytest, result_of, show, text_of
from vmmlab.grading.results import CheckResult
from vmmlab.grading.run import LabRun


@dataclass(slots=True)
class _Bound:
    """A pytest item that belongs to a check."""

    run: LabRun
    check: Check
    cases: tuple[Case, ...] = ()
    result: CheckResult | None = None


_BOUND = pytest.StashKey[_Bound]()


class LabModule(pytest.Module):
    """A test file of a lab, imported as a module of the lab's package."""

    run: LabRun
    engine: Engine

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Yield an item for each declared check, whatever its function is called.

        Other tests are items, too, and so named as a mistake.
        """
        checks: dict[str, list[Check]] = {}
        for one in declared_in(self.obj):
            checks.setdefault(one.function, []).append(one)
        for node in super().collect():
            if getattr(node, "originalname", node.name) not in checks:
                yield node
        for name, here in checks.items():
            mine = next((one for one in here if one in self.run.selection), here[0])
            yield pytest.Function.from_parent(self, name=name, callobj=_caller(mine))

    def _getobj(self) -> ModuleType:
        self.engine.loaded.append(self.run.package)
        try:
            module = self.run.package.load(self.path)
            refuse_pytest(self.path, module)
            return module
        except VmmlabError as error:
            self.engine.error = self.engine.error or error
            raise self.CollectError(str(error)) from error


@dataclass(eq=False)  # pytest keeps its plugins in a set
class Engine:
    """The pytest plugin.

    Args:
        run_of: the LabRun that a test file belongs to, or None if it belongs to no lab.
        alone: every test in the session must be a check (the instructor's grader).
    """

    run_of: Callable[[Path], LabRun | None]
    alone: bool = False
    error: BaseException | None = None
    runs: dict[str, LabRun] = field(default_factory=dict)
    loaded: list[LabPackage] = field(default_factory=list)

    # --- collecting ---------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(
        self, module_path: Path, parent: pytest.Collector
    ) -> pytest.Module | None:
        """Load a lab's test file as a LabModule."""
        run = self.run_of(module_path)
        if run is None:
            return None
        module: LabModule = LabModule.from_parent(parent, path=module_path)
        module.run = run
        module.engine = self
        return module

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep the reason when pytest itself cannot collect a test file."""
        if report.failed and self.error is None:
            self.error = CourseError(
                msg("{nodeid}: cannot be collected.", nodeid=report.nodeid), found=text_of(report)
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> Iterator[None]:
        """Validate the checks, let pytest select, add those that the selected ones are after."""
        if self.error is not None and self.alone:
            raise pytest.UsageError(str(self.error))
        try:
            everything = self._bind(session, items)
        except CourseError as error:
            self.error = error
            raise pytest.UsageError(str(error)) from None
        yield
        self._select(config, items, everything)

    def _bind(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> dict[LabRun, list[pytest.Item]]:
        """Bind every item to its check; return all items of each lab, selected or not.

        Items of checks that do not belong to the run are taken out of `items`.
        """
        modules: dict[Path, LabModule] = {}
        mine: dict[Path, list[pytest.Item]] = {}
        for item in items:
            module = item.getparent(pytest.Module)
            if isinstance(module, LabModule):
                modules.setdefault(module.path, module)
                mine.setdefault(module.path, []).append(item)
        everything: dict[LabRun, list[pytest.Item]] = {}
        for path, module in modules.items():
            self.runs[module.run.lab] = module.run
            found = everything.setdefault(module.run, [])
            found += mine[path]
            if not self.alone:  # a node id or --lf may already have left out items
                chosen = {item.name for item in mine[path]}
                found += [item for item in _items_of(module) if item.name not in chosen]
        for run, found in everything.items():
            declared = [
                check
                for path in run.files
                if path in modules
                for check in declared_in(modules[path].obj)
            ]
            run.plan(declared)
            others = _bind_items(run, declared, found)
            found[:] = [item for item in found if item not in others]
            items[:] = [item for item in items if item not in others]
        return everything

    def _select(
        self,
        config: pytest.Config,
        items: list[pytest.Item],
        everything: Mapping[LabRun, Sequence[pytest.Item]],
    ) -> None:
        """Add to the items that pytest selected those of the checks that they are after."""
        added: set[pytest.Item] = set()
        for run, found in everything.items():
            of_run = set(found)
            chosen = [item for item in items if item in of_run]
            if not chosen:
                self.runs.pop(run.lab, None)
                continue
            wanted = _with_earlier(run, found, set(chosen))
            run.partial = len(wanted) < len(found)
            run.items_left = len(wanted)
            added.update(item for item in wanted if item not in chosen)
            place = items.index(chosen[0])
            items[:] = [item for item in items if item not in of_run]
            items[place:place] = wanted
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        if added and terminal is not None:
            deselected = terminal.stats.get("deselected", [])
            deselected[:] = [item for item in deselected if item not in added]

    # --- running ------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Start the boots with the first check; stop a check that has to wait."""
        bound = item.stash.get(_BOUND, None)
        if bound is None:
            return
        try:
            bound.run.begin()
        except VmmlabError as error:
            if self.alone:
                self.error = error
                pytest.exit(str(error), returncode=error.exit_code)
            raise
        if (failed := bound.run.observations.build_failed) is not None:
            raise failed
        waited_for = bound.run.waits_for(bound.check)
        if waited_for is not None:
            raise Waits(waited_for)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        """Record what happened, and make pytest show and count it."""
        bound = item.stash.get(_BOUND, None)
        if bound is None:
            return (yield)
        excinfo, call.excinfo = call.excinfo, None
        try:  # without the exception: formatting a traceback that is not shown takes 10 ms
            report: Any = yield
        finally:
            call.excinfo = excinfo
        report.__dict__.pop("wasxfail", None)
        error = None if excinfo is None else excinfo.value
        if error is not None and bound.run.error is not None:
            report.outcome, report.longrepr = "failed", str(bound.run.error)
            report.vmmlab = "error"
        elif error is not None or call.when == "call":
            output = text_of(report)
            result = result_of(bound.check, bound.cases, error, call.when, output)
            if crashed(result, error) and call.when == "call":
                result = second_opinion(bound.run, result)
            if bound.result is None or result.outcome == "infra-error":  # a plugin may break after
                bound.result = result
                bound.run.record(result)
            show(report, bound.result)
        return report  # type: ignore[no-any-return]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """End a lab's boots after its last check."""
        try:
            return (yield)
        finally:
            bound = item.stash.get(_BOUND, None)
            if bound is not None:
                bound.run.items_left -= 1
                if bound.run.items_left == 0:
                    bound.run.end()

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Show outcomes in the words of a report; failures stand there, not in tracebacks."""
        return STATUS.get(getattr(report, "vmmlab", ""))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember that the run was interrupted."""
        if self.error is None:
            self.error = excinfo.value

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        """End all boots and unload the test files, however the session ended."""
        for run in self.runs.values():
            run.end()
        for package in self.loaded:
            package.unload()


def _caller(check: Check) -> Callable[[pytest.FixtureRequest], None]:
    """Return what pytest calls for a check."""

    def call(request: pytest.FixtureRequest) -> None:
        __tracebackhide__ = True
        bound = request.node.stash[_BOUND]
        with bound.run.package.scope.in_use():
            orders = bound.run.orders
            try:
                bound.cases = judge(check, bound.run.shown(check))
            except CheckFailed as error:
                orders.judge(check.id, error.failure)
                raise
            failed = [case.failure for case in bound.cases if case.failure is not None]
            orders.judge(check.id, *failed)

    return call


def _items_of(collector: pytest.Collector) -> Iterator[pytest.Item]:
    """Yield all items below a collector, whatever the command line selected."""
    for node in collector.collect():
        if isinstance(node, pytest.Item):
            yield node
        elif isinstance(node, pytest.Collector):
            yield from _items_of(node)


def _bind_items(
    run: LabRun, declared: Sequence[Check], found: Sequence[pytest.Item]
) -> set[pytest.Item]:
    """Bind the items of a run to their checks; return those whose check is not part of it.

    Raises:
        CourseError: an item is not a check.
    """
    by_function = {(check.file, check.function): check for check in declared}
    by_function |= {(check.file, check.function): check for check in run.checks}
    others: set[pytest.Item] = set()
    for item in found:
        name = getattr(item, "originalname", item.name)
        check = by_function.get((str(item.path), name))
        if check is None:
            raise CourseError(
                msg("{path}: {name} is not a check.", path=item.path.name, name=name),
                expected=msg('@check("{lab}.topic.name", …) above it', lab=run.lab),
            )
        if check not in run.checks:
            others.add(item)
            continue
        item.stash[_BOUND] = _Bound(run, check)
        item.extra_keyword_matches.add(check.id)
    return others


def _with_earlier(
    run: LabRun, found: Sequence[pytest.Item], chosen: Collection[pytest.Item]
) -> list[pytest.Item]:
    """Return the chosen items and those of the checks that they are after, in their order.

    Sets `run.selected`.
    """
    ids = {item.stash[_BOUND].check.id for item in chosen}
    earlier: set[str] = set()
    for check in reversed(run.checks):  # the others always come earlier
        if check.id in ids | earlier:
            earlier.update(check.after)
    run.selected = tuple(check for check in run.checks if check.id in ids | earlier)
    order = {check.id: place for place, check in enumerate(run.checks)}
    wanted = [item for item in found if item in chosen or item.stash[_BOUND].check.id in earlier]
    return sorted(wanted, key=lambda item: order[item.stash[_BOUND].check.id])
