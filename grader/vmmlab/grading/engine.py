"""Runs checks inside pytest and records how each one ended.

pytest collects, selects and calls; this plugin hands out Observations, turns what a check raised
into an outcome, and keeps the record. It knows nothing of points, reports or courses: `grading`
makes a report of the records, for the instructor's grader and the student's own pytest alike.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from vmmlab.base.errors import CourseError, InfraError, VmmlabError
from vmmlab.checks.model import CasesFailed, Check, CheckFailed, CheckMistake, Score, declared_in
from vmmlab.grading.loading import LabPackage
from vmmlab.grading.run import ItemRecord, LabRun, Waits, is_build_failure


@dataclass(slots=True)
class _Bound:
    """A pytest item that belongs to a check."""

    run: LabRun
    check: Check
    score: Score | None = None
    record: ItemRecord | None = None


_BOUND = pytest.StashKey[_Bound]()


class LabModule(pytest.Module):
    """A test file of a lab, imported as a module of the lab's package."""

    run: LabRun
    engine: Engine

    def _getobj(self) -> ModuleType:
        self.engine.loaded.append(self.run.package)
        try:
            return self.run.package.load(self.path)
        except VmmlabError as error:
            self.engine.error = self.engine.error or error
            raise self.CollectError(str(error)) from error


@dataclass(eq=False)  # pytest keeps its plugins in a set
class Engine:
    """The pytest plugin.

    Args:
        run_of: the LabRun that a test file belongs to, or None if the file is none of ours.
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
        """Load a lab's test file in our own way."""
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
            self.error = CourseError(f"{report.nodeid}: cannot be collected.", found=_text(report))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> Iterator[None]:
        """Validate the checks, let pytest select, add what the selected ones need."""
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
        """Bind every item to its check; returns all items of each lab, selected or not.

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
            if not self.alone:  # a node id or --lf may have left out items before we saw them
                chosen = {item.name for item in mine[path]}
                found += [item for item in _items_of(module) if item.name not in chosen]
        for run, found in everything.items():
            checks = [
                check
                for path in run.files
                if path in modules
                for check in declared_in(modules[path].obj)
            ]
            run.plan(checks)
            by_function = {(check.file, check.function): check for check in checks}
            strangers: set[pytest.Item] = set()
            for item in found:
                name = getattr(item, "originalname", item.name)
                check = by_function.get((str(item.path), name))
                if check is None:
                    raise CourseError(
                        f"{item.path.name}: {name} is not a check.",
                        expected=f'@check("{run.lab}.topic.name", …) above it',
                    )
                if check not in run.checks:
                    strangers.add(item)
                    continue
                item.stash[_BOUND] = _Bound(run, check)
                item.extra_keyword_matches.add(check.id)
            found[:] = [item for item in found if item not in strangers]
            items[:] = [item for item in items if item not in strangers]
        return everything

    def _select(
        self,
        config: pytest.Config,
        items: list[pytest.Item],
        everything: Mapping[LabRun, Sequence[pytest.Item]],
    ) -> None:
        added: set[pytest.Item] = set()
        for run, found in everything.items():
            of_run = set(found)
            chosen = [item for item in items if item in of_run]
            if not chosen:
                self.runs.pop(run.lab, None)
                continue
            ids = {item.stash[_BOUND].check.id for item in chosen}
            needed: set[str] = set()
            for check in reversed(run.checks):  # a need always comes before what needs it
                if check.id in ids | needed:
                    needed.update(check.needs)
            wanted = [
                item
                for item in found
                if item in set(chosen) or item.stash[_BOUND].check.id in needed
            ]
            order = {check.id: place for place, check in enumerate(run.checks)}
            wanted.sort(key=lambda item: order[item.stash[_BOUND].check.id])
            run.selected = tuple(check for check in run.checks if check.id in ids | needed)
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
        """Start the boots with the first check; stop a check whose needs did not pass."""
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
        if bound.run.build_failed is not None:
            raise bound.run.build_failed
        waited_for = bound.run.waits_for(bound.check)
        if waited_for is not None:
            raise Waits(waited_for)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Iterator[None]:
        """After a check's last line, see whether all its cases passed."""
        result = yield
        bound = pyfuncitem.stash.get(_BOUND, None)
        if bound is not None and bound.score is not None and bound.score.fraction < 1:
            failed = next(case for case in bound.score.cases if case.failure is not None)
            assert failed.failure is not None
            raise CasesFailed(f"{failed.name}: {failed.failure.summary}")
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        """Record what happened, and make of it what pytest shows and counts."""
        bound = item.stash.get(_BOUND, None)
        if bound is None:
            return (yield)
        excinfo, call.excinfo = call.excinfo, None
        try:  # without the exception: a traceback that nobody will see takes 10 ms to format
            report: Any = yield
        finally:
            call.excinfo = excinfo
        report.__dict__.pop("wasxfail", None)
        error = None if excinfo is None else excinfo.value
        if error is not None and bound.run.error is not None:
            report.outcome, report.longrepr = "failed", str(bound.run.error)
            report.vmmlab = "error"
        elif error is not None or call.when == "call":
            record = _record(item, bound, error, call.when, _text(report))
            if bound.record is None:
                bound.record = record
                bound.run.record(bound.check, record)
            elif record.kind == "infra":  # a fixture broke after the check had ended
                bound.record.kind, bound.record.infra = "infra", record.infra
                bound.record.reason = record.reason
            _show(report, bound.record)
        return report  # type: ignore[no-any-return]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Let go of a lab's boots with its last check."""
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
        """Show outcomes in our words; failures appear in the lab's report, not as tracebacks."""
        return _STATUS.get(getattr(report, "vmmlab", ""))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember that the run was broken off."""
        if self.error is None:
            self.error = excinfo.value

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        """Let go of everything, however the session ended."""
        for run in self.runs.values():
            run.end()
        for package in self.loaded:
            package.unload()

    # --- fixtures -----------------------------------------------------------------------------

    @pytest.fixture
    def boot(self, request: pytest.FixtureRequest) -> object:
        """The Observation of the check's scenario."""
        return _observations(request)[0]

    @pytest.fixture
    def boots(self, request: pytest.FixtureRequest) -> tuple[object, ...]:
        """The Observations of the check's scenarios, in their order."""
        return _observations(request)

    @pytest.fixture
    def score(self, request: pytest.FixtureRequest) -> Score:
        """Sub-scores of the check."""
        bound = _bound_to(request)
        bound.score = Score()
        return bound.score


_NOISE: Final = re.compile(r"/(_pytest|pluggy|vmmlab/checks)/")
_INFRA_MAX: Final = 2800
_OUTPUT_MAX: Final = 1000

_STATUS: Final = {
    "error": ("not graded", "E", "NOT GRADED"),
    "fail": ("not passed", "F", "FAILED"),
    "partial": ("not passed", "P", "PARTIAL"),
    "timeout": ("not passed", "T", "TIMEOUT"),
    "build-error": ("not built", "B", "BUILD ERROR"),
    "infra-error": ("not judged", "I", "NOT JUDGED"),
    "skipped": ("waiting", "w", "WAITING"),
}


def _bound_to(request: pytest.FixtureRequest) -> _Bound:
    bound = request.node.stash.get(_BOUND, None)
    if bound is None:
        raise CheckMistake(f"{request.fixturename} is only for functions with @check")
    return bound  # type: ignore[no-any-return]


def _observations(request: pytest.FixtureRequest) -> tuple[object, ...]:
    bound = _bound_to(request)
    return bound.run.shown(bound.check)


def _items_of(collector: pytest.Collector) -> Iterator[pytest.Item]:
    """All items below a collector, whatever the command line selected."""
    for node in collector.collect():
        if isinstance(node, pytest.Item):
            yield node
        elif isinstance(node, pytest.Collector):
            yield from _items_of(node)


def _record(
    item: pytest.Item,
    bound: _Bound,
    error: BaseException | None,
    phase: str,
    output: str,
) -> ItemRecord:
    """What one phase of one item comes to."""
    callspec = getattr(item, "callspec", None)
    record = ItemRecord(parameters="" if callspec is None else str(callspec.id))
    if bound.score is not None:
        record.cases = bound.score.cases
        record.scored = bool(record.cases)
    if error is None or isinstance(error, CasesFailed):
        return record
    if isinstance(error, CheckFailed) and phase == "call":
        record.failure = error.failure
    elif isinstance(error, Waits):
        record.kind, record.waited_for, record.reason = "skipped", error.check_id, str(error)
    elif isinstance(error, InfraError):
        record.kind, record.infra, record.reason = "infra", str(error), error.message
    elif is_build_failure(error):
        record.kind, record.reason = "build-error", "the code does not compile"
    else:
        record.kind = "infra"
        record.infra = _author_text(bound.check, error, output)
        record.reason = _student_text(bound.check, error)
    return record


def _student_text(check: Check, error: BaseException) -> str:
    what = type(error).__name__
    name = Path(check.file).name
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == check.file:
            return f"the check itself broke ({what} at {name}:{frame.lineno})"
    return f"the grader broke on the way to this check ({what})"


def _author_text(check: Check, error: BaseException, output: str) -> str:
    """The traceback without pytest's part, advice for usual mistakes, captured output."""
    trace = traceback.TracebackException.from_exception(error)
    told = [frame for frame in trace.stack if not _NOISE.search(frame.filename)]
    trace.stack = traceback.StackSummary.from_list(told or trace.stack)
    lines = list(trace.format())
    if isinstance(error, (AssertionError, pytest.fail.Exception)):
        lines.append("Only vmmlab.checks.fail(cause, …) takes points.\n")
    if isinstance(error, pytest.skip.Exception):
        lines.append("A check does not skip itself: use needs=[…].\n")
    text = "".join(lines)
    return text[-_INFRA_MAX:] + output[-_OUTPUT_MAX:]


def _text(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What pytest captured, or for a collection that failed the reason."""
    if isinstance(report, pytest.CollectReport):
        return str(report.longrepr)
    return "".join(f"--- {title} ---\n{content}\n" for title, content in report.sections)


def _show(report: Any, record: ItemRecord) -> None:
    """Make pytest's own report agree with the record."""
    if record.kind == "skipped":
        report.vmmlab, report.outcome = "skipped", "skipped"
        report.longrepr = (report.location[0], (report.location[1] or 0) + 1, record.reason)
        return
    if record.kind == "judged":
        failures = [case.failure for case in record.cases if case.failure is not None]
        first = record.failure or (failures[0] if failures else None)
        if first is None:
            report.outcome, report.longrepr = "passed", None
            return
        passed = record.failure is None and len(failures) < len(record.cases)
        report.vmmlab = "partial" if passed else "timeout" if first.timeout else "fail"
        report.longrepr = first.summary
    else:
        report.vmmlab = "infra-error" if record.kind == "infra" else "build-error"
        report.longrepr = record.reason
    report.outcome = "failed"
