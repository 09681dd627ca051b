"""From a Grade to a Report: hints, the first step to do, and the command that runs a check again.

Works out no points. `judge_lab` grades and reports in one call.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmmlab import __version__
from vmmlab.base.message import Message, Text, msg
from vmmlab.checks.causes import FILE, Cause, Causes
from vmmlab.checks.declaring import Check
from vmmlab.course.digest import digests
from vmmlab.course.model import Step
from vmmlab.course.stops import function_of, is_written_in, place_of
from vmmlab.failure import Failure
from vmmlab.grading.boots import LabRunner
from vmmlab.grading.grade import CheckGrade, Grade, grade_lab
from vmmlab.grading.request import RunnerFactory, RunRequest
from vmmlab.images.model import Diagnostic as BuildDiagnostic
from vmmlab.report.audit import audit_of
from vmmlab.report.model import (
    SCHEMA,
    Build,
    Case,
    CheckReport,
    Diagnostic,
    Report,
    StepPlace,
)
from vmmlab.report.opened import SEED_IS_PUBLIC

if TYPE_CHECKING:
    from vmmlab.report.runrecord import RunRecord


@dataclass(frozen=True)
class Judged:
    """A report, and what it was made from.

    Attributes:
        report: the report.
        grade: what the checks found.
        causes: the causes of the lab.
    """

    report: Report
    grade: Grade
    causes: Causes

    def record(self, report: Report | None = None) -> RunRecord:
        """Return what renderers draw from.

        Args:
            report: a report on the same grading that takes the place of its own.
        """
        from vmmlab.report.seen import run_record  # late: most gradings draw nothing

        return run_record(self.grade, report or self.report, self.causes)


def report_lab(
    request: RunRequest,
    *,
    submission: str = "DIR",
    select: str | None = None,
    hidden: bool = False,
    notes: Sequence[Text] = (),
    runner_factory: RunnerFactory = LabRunner,
) -> Report:
    """Grade one lab with the instructor's checks and report on it.

    Args and Raises: as for `judge_lab`.
    """
    return judge_lab(
        request,
        submission=submission,
        select=select,
        hidden=hidden,
        notes=notes,
        runner_factory=runner_factory,
    ).report


def judge_lab(
    request: RunRequest,
    *,
    submission: str = "DIR",
    select: str | None = None,
    hidden: bool = False,
    notes: Sequence[Text] = (),
    runner_factory: RunnerFactory = LabRunner,
) -> Judged:
    """Grade one lab with the instructor's checks and report on it.

    Args:
        request: what to grade, and how.
        submission: the word after `--submission` in the command that runs a check again.
        select: a pytest `-k` expression over ids and function names of checks.
        hidden: run the hidden checks too; a lab without any has none to run.
        notes: remarks that belong into the report.
        runner_factory: makes the runner; a fake one in tests.

    Raises:
        CourseError: the checks or their hints are wrong, or disagree with course.yml.
        UsageError: no such lab, it has no checks for the architecture, or `select` cannot be read
            or matches nothing.
        InfraError: grading cannot start at all, for example for want of a sandbox.
    """
    causes = causes_for(request)
    grade = grade_lab(
        request,
        select=select,
        hidden=hidden,
        meanwhile=lambda: preload(causes),
        runner_factory=runner_factory,
    )
    again = _command(grade, submission)
    return Judged(report_of(grade, causes=causes, again=again, notes=notes), grade, causes)


def causes_for(request: RunRequest) -> Causes:
    """Return the causes of the lab that a request is about."""
    return Causes(request.course.labs_dir / request.lab / FILE)


def preload(causes: Causes) -> None:
    """Load what a report needs, while the machines boot.

    Raises:
        CourseError: the hints are wrong.
    """
    causes.load()
    import vmmlab.report.terminal  # noqa: F401


def report_of(
    grade: Grade,
    *,
    causes: Causes | None = None,
    again: Sequence[str] | None = None,
    notes: Sequence[Text] = (),
) -> Report:
    """Return the report of a grade.

    Args:
        grade: what the checks found.
        causes: the causes of the lab, if they are already loaded.
        again: the words of the command that grades the lab again, without `-k`; `vmmlab grade`
            with a placeholder for the submission if not given.
        notes: remarks that belong into the report.

    Raises:
        CourseError: the hints are wrong.
    """
    causes = causes_for(grade.request) if causes is None else causes
    again = _command(grade, "DIR") if again is None else again
    request = grade.request
    checks = tuple(_check(grade, one, causes, again) for one in grade.checks)
    return Report(
        schema=SCHEMA,
        mode=request.mode,
        lab=request.lab,
        cohort=request.cohort.name,
        seed=request.seed,
        label=request.label,
        arch=request.arch,
        versions={
            "vmmlab": __version__,
            "python": platform.python_version(),
            **grade.facts.versions,
        },
        build=_build(grade),
        checks=checks,
        points=grade.points,
        max=grade.worth,
        hidden_points=grade.hidden_points,
        hidden_max=grade.hidden_worth,
        hidden_judged=grade.hidden_judged,
        hidden_elsewhere=not (request.course.self_study or request.course.lab(request.lab).hidden),
        self_study=request.course.self_study,
        handed_in=True,
        later=tuple(grade.later),
        later_max=sum(grade.later.values()),
        needs_attention=any(check.points is None for check in checks),
        review=bool(grade.review),
        review_reasons=grade.review,
        partial_run=grade.partial,
        first_step=_first_step(grade, checks),
        notes=tuple(dict.fromkeys([*notes, *grade.notes, *grade.facts.notes, *_public(grade)])),
        audit=audit_of(request.course, request.lab, digests(request.files).get(request.lab, "")),
        duration_s=round(grade.duration_s, 3),
    )


def _public(grade: Grade) -> Iterator[Text]:
    """Say what is public of a grading with hidden checks."""
    public = grade.request.secret is None and not grade.request.course.self_study
    if grade.hidden_judged and public:
        yield SEED_IS_PUBLIC


def _command(grade: Grade, submission: str) -> list[str]:
    """Return the `vmmlab grade` command that grades the lab again in the same way."""
    request = grade.request
    words = ["vmmlab", "grade", request.lab, "--submission", submission]
    if request.label:
        words += ["--secret-file", "FILE", "--round", request.round]
    else:
        words += ["--seed", str(request.seed)]
    if request.arch != "x86_64":
        words += ["--arch", request.arch]
    if request.compiler != "gcc":
        words += ["--cc", request.compiler]
    if request.opt is not None:
        words += ["--opt", request.opt]
    if grade.hidden_judged:
        words.append("--hidden")
    return words


def _check(grade: Grade, one: CheckGrade, causes: Causes, again: Sequence[str]) -> CheckReport:
    request, result, check = grade.request, one.result, one.result.check
    failure = result.failure or Failure("")
    cause = causes.of(failure.cause)
    return CheckReport(
        id=check.id,
        title=Message(one.spec.title or check.title),
        points=one.points,
        max=one.spec.points,
        outcome=result.outcome,
        cause=failure.cause or None,
        cpu=failure.cpu,
        place=failure.place,
        expected=failure.expected,
        observed=failure.observed,
        next=failure.next or Message(cause.next),
        hints=tuple(map(Message, cause.hints[:1])),
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
        visibility="hidden" if one.hidden else "visible",
        scenario="; ".join(
            scenario.described(request.cohort_of(scenario).name) for scenario in check.scenarios
        ),
        cohort=failure.cohort,
        numbers=_numbers(request, check, failure.cohort),
        again=shlex.join([*again, "-k", check.id]),
        step=one.spec.step,
        mistake=_mistake(grade, one, cause),
        infra=result.infra,
        review=result.review,
    )


def _numbers(request: RunRequest, check: Check, name: str) -> Text:
    """Return how the cohort of a boot differs from the submission's own, if that is why it failed.

    It is not if that boot also has another machine, or is watched for something else.

    Args:
        request: what was graded.
        check: a check that failed; what it judges in the own cohort has passed.
        name: the name of the cohort of the boot that failed.
    """
    own = request.cohort
    usual = {one.setting for one in check.together}
    cohorts = (request.cohort_of(one) for one in check.also if one.setting in usual)
    failing = next((one for one in cohorts if one.name == name != own.name), None)
    if failing is None:
        return ""
    values = {
        "cohort": name,
        "own": own.name,
        **failing.literals(),
        **{f"own_{key}": value for key, value in own.literals().items()},
    }
    if own.apinit_offset == 0:
        return msg(
            "This boot has the numbers of cohort {cohort}: APINIT_ADDR {apinit_addr}, "
            "APINIT_OFFSET {apinit_offset}, VMM_STACKSIZE {stack_size}, PCPU_PAD "
            "{pcpu_pad}. In cohort {own} the offset is 0, so code that omits it happens to "
            "work there. The same is true of code with {own_apinit_addr} and "
            "{own_stack_size} instead of the names, and of code that keeps only 16 bits of an "
            "address.",
            **values,
        )
    return msg(
        "This boot has the numbers of cohort {cohort}: APINIT_ADDR {apinit_addr}, "
        "APINIT_OFFSET {apinit_offset}, VMM_STACKSIZE {stack_size}, PCPU_PAD {pcpu_pad}. "
        "In cohort {own} they are {own_apinit_addr}, {own_apinit_offset}, {own_stack_size} "
        "and {own_pcpu_pad}, so code with these numbers instead of the names happens to "
        "work there.",
        **values,
    )


def _build(grade: Grade) -> Build:
    failed = grade.build_failed
    return Build(
        ok=failed is None,
        warnings=_diagnostics(grade.facts.warnings),
        diagnostics=() if failed is None else _diagnostics(failed.diagnostics),
    )


def _diagnostics(found: Sequence[BuildDiagnostic]) -> tuple[Diagnostic, ...]:
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


def _mistake(grade: Grade, one: CheckGrade, cause: Cause) -> StepPlace | None:
    """Return the step that contains the mistake for which a check fails; None if it does not.

    The failure itself may know the step or the function; or else the cause, or at last the check,
    whose points are of one step. Where the failure names a function of that file, it is named: a
    step may be several functions.
    """
    failure = one.result.failure
    if failure is None:
        return None
    steps = grade.request.course.lab(grade.request.lab).steps
    writing = [step.id for step in steps if step.function == failure.function]
    if one.spec.step in writing:
        writing = [one.spec.step]
    known = [failure.step, cause.step, *writing[:1], one.spec.step]
    named = next((step for step in known if step), None)
    place = next((_place(grade, step) for step in steps if step.id == named), None)
    function = failure.function or str(failure.place)
    if place is None or function == place.function:
        return place
    if not is_written_in(function, grade.request.files.get(place.file, b"")):
        return place
    return place.model_copy(update={"function": function, "line": None})


def _first_step(grade: Grade, checks: Sequence[CheckReport]) -> StepPlace | None:
    """Return the first step that contains a mistake, or else the first one that earns nothing yet.

    A check that waits for another one shows no mistake of its own.
    """
    steps = grade.request.course.lab(grade.request.lab).steps
    wrong = {check.mistake.id: check.mistake for check in reversed(checks) if check.mistake}
    waiting = {check.step for check in checks if check.outcome != "pass"}
    first = next((step for step in steps if step.id in (wrong or waiting)), None)
    return None if first is None else wrong.get(first.id) or _place(grade, first)


def _place(grade: Grade, step: Step) -> StepPlace:
    """Return a step with the line of its TODO in the student's file, if it still stands there."""
    return StepPlace(
        id=step.id,
        title=Message(step.title),
        file=step.file,
        function=function_of(step, grade.request.files),
        line=place_of(step, grade.request.files),
    )
