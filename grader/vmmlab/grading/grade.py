"""Grades one lab: runs its checks in pytest, gives points, makes the report.

How a scenario is booted is the runner's business, what pytest does is the engine's. Points come
from course.yml and the outcomes alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import math
import os
import platform
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from vmmlab import __version__
from vmmlab.base.errors import CourseError, InfraError, UsageError, VmmlabError
from vmmlab.checks.hints import Hints
from vmmlab.checks.model import Check, Scenario, declared_in
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import ARCHES, Course, Step, check_defined
from vmmlab.failure import Failure
from vmmlab.grading.loading import LabPackage
from vmmlab.grading.run import CheckResult, LabRun
from vmmlab.report.model import SCHEMA, Build, Case, CheckReport, Diagnostic, FirstStep, Report

Mode = Literal["standalone", "own", "reference"]

_EMPTY_INI: Final = Path(__file__).with_name("pytest.ini")
# What pytest would bring along: nothing of it is needed, and each piece takes its time or changes
# something for the whole process.
_WITHOUT: Final = (
    "cacheprovider", "debugging", "doctest", "faulthandler", "junitxml", "logging", "pastebin",
    "setuponly", "setupplan", "stepwise", "terminal", "threadexception", "unittest",
    "unraisableexception", "warnings",
)  # fmt: skip
_ENVIRONMENT: Final = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": None,
    "PYTEST_PLUGINS": None,
    "PYTEST_CURRENT_TEST": None,
    "PYTEST_THEME": None,
    "PYTEST_DEBUG": None,
}
_ONE_AT_A_TIME: Final = threading.Lock()


class DiagnosticLike(Protocol):
    """A compiler's message, as `vmmlab.images.model.Diagnostic`."""

    @property
    def file(self) -> str:
        """Path as the student knows it."""

    @property
    def line(self) -> int:
        """From 1; 0 if unknown."""

    @property
    def column(self) -> int:
        """From 1; 0 if unknown."""

    @property
    def severity(self) -> Literal["error", "warning", "note"]:
        """How bad it is."""

    @property
    def message(self) -> str:
        """One line."""


@dataclass(frozen=True)
class RunRequest:
    """What a runner is to build and boot.

    Attributes:
        course: the instructor's course.
        lab: for example `lab3`.
        files: the student's files by path.
        mode: what the other labs' code is.
        cohort: the numbers in cohort.h.
        seed: varies the inputs of the boots.
        arch: what to build for.
        sandbox_required: refuse to run the student's code outside a sandbox.
        standins: folder of ready-made stand-ins, for a course without its reference.
        compiler: "gcc" or "clang".
        opt: how to optimise the student's files where a scenario does not say; None: -O2.
    """

    course: Course
    lab: str
    files: Mapping[str, bytes]
    mode: Mode
    cohort: Cohort
    seed: int
    arch: str
    sandbox_required: bool
    standins: Path | None = None
    compiler: str = "gcc"
    opt: str | None = None


@dataclass(frozen=True)
class RunFacts:
    """What a runner has to say besides Observations.

    Attributes:
        warnings: the compiler's warnings about the student's files.
        versions: tool to version, for example `qemu`.
        times: what took how many seconds, for example `build`.
        notes: remarks for the reader of the report.
    """

    warnings: Sequence[DiagnosticLike] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Runner(Protocol):
    """Builds and boots. It may begin to build as soon as it is made."""

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Start the build and these boots in the background."""

    def observe(self, scenario: Scenario) -> object:
        """Wait for the Observation of one scenario.

        Called again for the same scenario after an InfraError, and must then boot anew.

        Raises:
            BuildFailed: the student's code does not build.
            InfraError: something failed that is not the student's fault.
        """

    def facts(self) -> RunFacts:
        """Called once, after the last check, whatever happened."""

    def close(self) -> None:
        """End every process; always called."""


RunnerFactory = Callable[[RunRequest], Runner]


def default_runner_factory(request: RunRequest) -> Runner:
    """Make the runner that really boots."""
    from vmmlab.grading.boots import LabRunner

    runner: Runner = LabRunner(request)
    return runner


def default_seed(lab: str, cohort: str) -> int:
    """The seed when nobody gives one: the same every time for one lab and cohort."""
    digest = hashlib.sha256(f"vmmlab seed 1\0{lab}\0{cohort}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 1_000_000


def grade_lab(
    course: Course,
    lab: str,
    submission_files: Mapping[str, bytes],
    *,
    cohort: Cohort,
    seed: int,
    sandbox_required: bool,
    mode: Mode = "standalone",
    arch: str = "x86_64",
    compiler: str = "gcc",
    opt: str | None = None,
    select: str | None = None,
    hidden: bool = False,
    tests_dir: Path | None = None,
    standins: Path | None = None,
    submission_name: str | None = None,
    notes: Sequence[str] = (),
    runner_factory: RunnerFactory | None = None,
) -> Report:
    """Grade one lab with the instructor's checks.

    Nothing of the submission is read by Python or pytest: it is bytes for the runner to build.
    One grading runs at a time in a process; others wait.

    Args:
        course: the instructor's course.
        lab: for example `lab3`.
        submission_files: the student's files by path, for example `lab3/ap_start.c`.
        cohort: the numbers in cohort.h.
        seed: varies the inputs of the boots.
        sandbox_required: refuse to run the student's code outside a sandbox.
        mode: what the other labs' code is.
        arch: what to build for.
        compiler: "gcc" or "clang".
        opt: how to optimise the student's files where a scenario does not say; None: -O2.
        select: a pytest `-k` expression over ids and function names of checks.
        hidden: run the hidden checks too; a lab without any has none to run.
        tests_dir: the folder of test_labN.py and hints.yml, if not `labs/labN` of the course.
        standins: folder of ready-made stand-ins, for a course without its reference.
        submission_name: what to write after `--submission` in the command that runs a check again.
        notes: remarks that belong into the report.
        runner_factory: makes the runner; a fake one in tests.

    Raises:
        CourseError: the checks are wrong, or disagree with course.yml.
        UsageError: no such lab, it has no checks for `arch`, or `select` cannot be read or matches
            nothing.
        InfraError: grading cannot start at all, for example for want of a sandbox.
    """
    course.graded_for(lab, arch)
    request = RunRequest(
        course=course,
        lab=lab,
        files=dict(submission_files),
        mode=mode,
        cohort=cohort,
        seed=seed,
        arch=arch,
        sandbox_required=sandbox_required,
        standins=standins,
        compiler=compiler,
        opt=opt,
    )
    words = ["vmmlab", "grade", lab, "--submission", submission_name or "DIR", "--seed", str(seed)]
    if arch != "x86_64":
        words += ["--arch", arch]
    if compiler != "gcc":
        words += ["--cc", compiler]
    if opt is not None:
        words += ["--opt", opt]
    if hidden and course.lab(lab).hidden_of(arch):
        words.append("--hidden")
    grading = Grading(
        request,
        hidden=hidden,
        tests_dir=tests_dir,
        again=words,
        notes=notes,
        runner_factory=runner_factory,
    )
    with _ONE_AT_A_TIME, contextlib.closing(grading):
        if not grading.files:
            raise CourseError(
                f"{lab} has no checks.", expected=str(grading.tests_dir / f"test_{lab}.py")
            )
        grading.start_early()  # compiler and QEMU work while pytest is being imported
        if select is None:
            grading.boot_early()
        _run_pytest(grading, select)
        return grading.report()


class Grading:
    """One lab on its way to a report. `grade_lab` and the student's pytest share it.

    Args:
        request: what to build and boot.
        hidden: run the hidden checks too.
        tests_dir: the folder of the checks, if not the course's own.
        hints: the hints.yml to use, if not the one in that folder.
        again: the command that runs the lab again; `-k ID` is appended.
        notes: remarks that belong into the report.
        runner_factory: makes the runner.
    """

    def __init__(
        self,
        request: RunRequest,
        *,
        hidden: bool = False,
        tests_dir: Path | None = None,
        hints: Path | None = None,
        again: Sequence[str],
        notes: Sequence[str] = (),
        runner_factory: RunnerFactory | None = None,
    ) -> None:
        self.request = request
        self.lab = request.course.lab(request.lab)
        self.tests_dir = tests_dir or request.course.labs_dir / request.lab
        self._specs = dict(self.lab.checks_of(request.arch))
        self._hidden = self.lab.hidden_points_of(request.arch)
        # Not by what lies in the folder: the course says whether there are any.
        judged = self.lab.hidden_of(request.arch) if hidden else {}
        self._with_hidden = bool(judged)
        self._specs |= judged
        self.files = test_files(self.tests_dir, request.lab, hidden=self._with_hidden)
        self._package = LabPackage(request.lab, self.tests_dir)
        self._again = tuple(again)
        self._notes = list(notes)
        self._factory = runner_factory or default_runner_factory
        self._runner: Runner | None = None
        self._facts = RunFacts()
        self._hints = Hints(hints or self.tests_dir / "hints.yml")
        self._began = self._ended = time.monotonic()
        self._run: LabRun | None = None
        self._booted: frozenset[Scenario] = frozenset()

    @property
    def run(self) -> LabRun:
        """The engine's side of this grading."""
        if self._run is None:
            self._run = LabRun(
                self.request.lab,
                self.files,
                self._package,
                start=self._start,
                accept=self._accept,
                finish=self.close,
                wanted=self._wanted,
                view=self._view,
            )
        return self._run

    def start_early(self) -> None:
        """Make the runner now, so that it can begin to build.

        Raises:
            InfraError: it cannot work at all.
        """
        if self._runner is None:
            self._began = time.monotonic()
            self._runner = self._factory(self.request)

    def boot_early(self) -> None:
        """Start all boots that the checks declare, before pytest has collected them.

        A file that cannot be read so is left to pytest, which says what is wrong with it.
        """
        assert self._runner is not None
        found: dict[Scenario, None] = {}
        for path in self.files:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    module = self._package.load(path)
            except VmmlabError:
                return
            for check in filter(self._wanted, declared_in(module)):
                found |= dict.fromkeys(check.scenarios)
        self._booted = frozenset(found)
        self._runner.prepare(list(found))

    def close(self) -> None:
        """Take the runner's last facts, end it and forget the lab's Python. Safe to call again."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self._end(runner)
        self._package.unload()

    def _end(self, runner: Runner) -> None:
        try:
            self._facts = runner.facts()
        except Exception as error:  # the verdict stands without them
            self._notes.append(f"what the boots had to say besides is lost: {error}")
        finally:
            runner.close()
            self._ended = time.monotonic()

    def report(self) -> Report:
        """The verdict on what ran so far."""
        self.close()
        results = self.run.results()
        checks = tuple(self._check(result) for result in results)
        open_ones = [check for check in checks if check.visibility == "visible"]
        hidden = [check for check in checks if check.visibility == "hidden"]
        request = self.request
        return Report(
            schema=SCHEMA,
            mode=request.mode,
            lab=request.lab,
            cohort=request.cohort.name,
            seed=request.seed,
            arch=request.arch,
            versions={**_versions(), **self._facts.versions},
            build=self._build(),
            checks=checks,
            points=_sum(open_ones),
            max=sum(check.max for check in open_ones),
            hidden_points=_sum(hidden) if self._with_hidden else None,
            hidden_max=sum(check.max for check in hidden) if hidden else self._hidden,
            hidden_judged=self._with_hidden,
            needs_attention=any(check.points is None for check in checks),
            partial_run=self.run.partial or len(results) < len(self.run.checks),
            first_step=self._first_step(checks),
            notes=tuple(dict.fromkeys([*self._notes, *self.run.notes, *self._facts.notes])),
            duration_s=round(self._ended - self._began, 3),
        )

    def _start(self) -> Runner:
        self.start_early()
        assert self._runner is not None
        return _BusyWhileBooting(self._runner, self._prepare_report, self._booted)

    def _prepare_report(self) -> None:
        """What the report will need, done while the machines boot."""
        self._hints.load()
        importlib.import_module("vmmlab.report.terminal")

    def _accept(self, checks: Sequence[Check]) -> None:
        where = {check.id: check.where for check in checks}
        check_defined(self.lab, where, hidden=self._with_hidden)
        arch_of = {one: arch for arch in ARCHES for one in self.lab.checks_of(arch)}
        arch_of |= dict.fromkeys(self.lab.hidden, ARCHES[0])
        for check in checks:
            for need in check.needs:
                if arch_of[need] != arch_of[check.id]:
                    raise CourseError(
                        f"{check.where}: {check.id} is for {arch_of[check.id]} and needs {need}, "
                        f"which is for {arch_of[need]}.",
                        expected=f"needs that are for {arch_of[check.id]} too",
                        next_step="mend needs=, or the key arch in course.yml",
                    )

    def _wanted(self, check: Check) -> bool:
        """Whether a declared check is one for the architecture that is being graded."""
        return check.id in self._specs

    def _view(self, check: Check, seen: object) -> object:
        """An Observation as a check sees it: it also knows which steps come later."""
        from vmmlab.observe.observation import Observation  # heavy: not before it is needed

        step = self._specs[check.id].step
        if not isinstance(seen, Observation) or step is None:
            return seen
        steps = [one.id for one in self.lab.steps]
        return replace(seen, later=tuple(steps[steps.index(step) + 1 :]))

    def _check(self, result: CheckResult) -> CheckReport:
        check = result.check
        spec = self._specs[check.id]
        failure = result.failure or Failure("")
        return CheckReport(
            id=check.id,
            title=spec.title or check.title,
            points=None if result.fraction is None else _rounded(result.fraction * spec.points),
            max=spec.points,
            outcome=result.outcome,
            cause=failure.cause or None,
            cpu=failure.cpu,
            place=failure.place,
            expected=failure.expected,
            observed=failure.observed,
            next=failure.next,
            hints=self._hints.first(failure.cause),
            waited_for=result.waited_for,
            reason=result.reason,
            cases=tuple(
                Case(
                    name=case.name,
                    outcome=case.outcome,
                    message="" if case.failure is None else case.failure.summary,
                )
                for case in result.cases
            ),
            visibility="hidden" if check.id in self.lab.hidden else "visible",
            scenario="; ".join(map(str, check.scenarios)),
            again=shlex.join([*self._again, "-k", check.id]),
            step=spec.step,
            infra=result.infra,
        )

    def _build(self) -> Build:
        failed: Any = self.run.build_failed
        return Build(
            ok=failed is None,
            warnings=_diagnostics(self._facts.warnings),
            diagnostics=() if failed is None else _diagnostics(failed.diagnostics),
        )

    def _first_step(self, checks: Sequence[CheckReport]) -> FirstStep | None:
        missing = {check.step for check in checks if check.outcome != "pass"}
        for step in self.lab.steps:
            if step.id in missing:
                return FirstStep(
                    id=step.id,
                    title=step.title,
                    file=step.file,
                    function=step.function,
                    line=self._todo_line(step),
                )
        return None

    def _todo_line(self, step: Step) -> int | None:
        mark = f"TODO({step.id})".encode()
        lines = self.request.files.get(step.file, b"").split(b"\n")
        return next((number for number, line in enumerate(lines, 1) if mark in line), None)


class _BusyWhileBooting:
    """The runner, with something to do for us while the first boots are on their way."""

    def __init__(
        self, runner: Runner, meanwhile: Callable[[], object], booted: frozenset[Scenario]
    ) -> None:
        self._runner = runner
        self._booted = booted
        self._meanwhile = meanwhile
        self.observe = runner.observe
        self.facts = runner.facts
        self.close = runner.close

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        if rest := [scenario for scenario in scenarios if scenario not in self._booted]:
            self._runner.prepare(rest)
        self._meanwhile()


def test_files(tests_dir: Path, lab: str, *, hidden: bool) -> tuple[Path, ...]:
    """The test files of a lab: the open one, then those that only the instructor's copy has."""
    visible = tests_dir / f"test_{lab}.py"
    more = sorted((tests_dir / "hidden").glob("test_*.py")) if hidden else []
    return tuple(path.resolve() for path in (visible, *more) if path.is_file())


def _run_pytest(grading: Grading, select: str | None) -> None:
    """Run the checks of one lab in this process, with nothing but the engine as a plugin."""
    with _only_ours():
        import pytest

        from vmmlab.grading.engine import Engine

        run = grading.run
        engine = Engine(lambda path: run if path in run.files else None, alone=True)
        folder = str(grading.tests_dir)
        arguments = [
            *("-c", str(_EMPTY_INI), "--rootdir", folder, "--confcutdir", folder),
            *("--noconftest", "--import-mode=importlib", "--assert=plain", "--capture=sys"),
        ]
        for name in _WITHOUT:
            arguments += ["-p", f"no:{name}"]
        if select:
            arguments += ["-k", select]
        arguments += map(str, run.files)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = pytest.main(arguments, plugins=[engine])
    if isinstance(engine.error, (VmmlabError, KeyboardInterrupt)):
        raise engine.error
    if engine.error is not None:
        raise CourseError(f"a check of {run.lab} ended the whole run.", found=repr(engine.error))
    if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise UsageError(
            f"no check of {run.lab} matches {select!r}." if select else f"{run.lab} has no checks.",
            expected=f"part of one of {', '.join(check.id for check in run.checks)}"
            if run.checks
            else "",
        )
    if code == pytest.ExitCode.USAGE_ERROR and select:
        raise UsageError(
            f"the selection {select!r} cannot be read.",
            expected='words with "and", "or", "not" and brackets, as for pytest -k',
            found=said.getvalue().strip().removeprefix("ERROR: "),
        )
    raise InfraError(
        "the engine that runs the checks broke.",
        found=said.getvalue().strip()[-2000:],
        next_step="this is a mistake in vmmlab; please report it",
    )


@contextlib.contextmanager
def _only_ours() -> Iterator[None]:
    """Keep what the environment says to pytest out, and put it back afterwards."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    _set_environment(_ENVIRONMENT)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _sum(checks: Sequence[CheckReport]) -> int | float | None:
    """The points of some checks; None if one of them could not be judged."""
    known = [check.points for check in checks if check.points is not None]
    if len(known) < len(checks):
        return None
    return _rounded(sum(map(Fraction, map(str, known)), Fraction(0)))


def _rounded(points: Fraction | int) -> int | float:
    """Points with at most two decimals, never rounded up to what was not earned."""
    hundredths = math.floor(points * 100)
    return hundredths // 100 if hundredths % 100 == 0 else hundredths / 100


def _diagnostics(found: Iterable[DiagnosticLike]) -> tuple[Diagnostic, ...]:
    return tuple(
        Diagnostic(
            file=one.file,
            line=one.line,
            column=one.column,
            severity=one.severity,
            message=one.message,
        )
        for one in found
    )


def _versions() -> dict[str, str]:
    return {"vmmlab": __version__, "python": platform.python_version()}
