"""Grades mutants: does the named check catch each one with the named cause?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vmmlab.author.mutants import localisation
from vmmlab.author.mutants.apply import apply, apply_early
from vmmlab.author.mutants.jobs import course_at, run_all
from vmmlab.author.mutants.localisation import Named
from vmmlab.author.mutants.model import SEED, Mutant, load, of_names
from vmmlab.author.mutants.progress import Watch
from vmmlab.base.choice import Choice
from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import Text, msg
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.grading.request import RunRequest
from vmmlab.report import Report
from vmmlab.report.make import report_lab

Verdict = Literal["killed", "survived", "wrong cause", "error"]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of grading one mutant.

    Attributes:
        mutant: the known-wrong solution.
        verdict: `killed` only if the named check failed, at least in part, with the named cause.
        cause: the cause that the named check gave.
        message: what a student would read, or what went wrong.
        next: what the student is told to look at.
        names: how exactly `message` and `next` name the place to change.
        points: what the mutant earned; None if it could not be judged.
        others: other checks that failed, with their causes, which should describe the same mistake.
        seconds: duration of the grading.
    """

    mutant: Mutant
    verdict: Verdict
    cause: str = ""
    message: Text = ""
    next: str = ""
    names: Named = ""
    points: float | None = None
    others: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


def judge(mutant: Mutant, report: Report) -> Result:
    """Return what a report on a mutant says about the checks. Pure."""
    checks = {check.id: check for check in report.checks}
    if not report.build.ok:
        first = next((d for d in report.build.diagnostics if d.severity == "error"), None)
        where = f"{first.file}:{first.line}: {first.message}" if first else msg("no reason given")
        return Result(mutant, "error", message=msg("it does not compile: {where}", where=where))
    broken = next((c for c in report.checks if c.points is None), None)
    if broken is not None:
        return Result(
            mutant,
            "error",
            message=msg(
                "{broken} could not be judged: {infra}", broken=broken.id, infra=broken.infra or ""
            ),
        )
    named = checks[mutant.check]
    failed = [c for c in report.checks if c.outcome in ("fail", "partial", "timeout")]
    others = tuple((c.id, c.cause or "") for c in failed if c.id != mutant.check)
    result = Result(
        mutant,
        "killed",
        cause=named.cause or "",
        message=f"{named.place}: {named.observed}" if named.place else str(named.observed),
        next=str(named.next),
        points=report.points,
        others=others,
    )
    if named not in failed:
        why = f" ({named.reason})" if named.reason else ""
        return replace(result, verdict="survived", message=f"{named.id}: {named.outcome}{why}")
    return result if named.cause == mutant.cause else replace(result, verdict="wrong cause")


def _told(result: Result, report: Report) -> str:
    """Return what a student reads about where the mistake is: the message, and its row `step`."""
    check = next(one for one in report.checks if one.id == result.mutant.check)
    step = check.mistake.function if check.mistake else ""
    return f"{result.message}\n{result.next}\n{step}"


def run_mutant(course: Course, mutant: Mutant, *, seed: int = SEED, early: bool = False) -> Result:
    """Make, build and grade one mutant. A mutant that cannot be graded gives an error result.

    Args:
        course: the course.
        mutant: the known-wrong solution.
        seed: seed of the boots.
        early: leave the steps that come later unwritten, as a student would.
    """
    began = time.monotonic()
    try:
        request = RunRequest(
            course=course,
            lab=mutant.lab,
            files=apply_early(course, mutant) if early else apply(course, mutant),
            cohort=Cohort.derive(mutant.cohort),
            seed=seed,
            sandbox_required=False,
            arch=mutant.arch,
        )
        hidden = mutant.check in course.labs[mutant.lab].hidden_of(mutant.arch)
        report = report_lab(request, submission=mutant.id, hidden=hidden)
        result = judge(mutant, report)
        named = localisation.named(localisation.target(course, mutant), _told(result, report))
        result = replace(result, names=named)
    except VmmlabError as error:
        result = Result(mutant, "error", message=str(error))
    return replace(result, seconds=time.monotonic() - began)


def run_mutants(
    course: Course,
    labs: Iterable[str] | None = None,
    *,
    names: Sequence[str] = (),
    sample: int | None = None,
    seed: int = SEED,
    jobs: int = 1,
    tell: Callable[[Result], object] | None = None,
    watch: Watch | None = None,
) -> tuple[Result, ...]:
    """Grade the mutants of some labs, or of all.

    Args:
        course: the course.
        labs: names of labs; None for all that have mutants.
        names: only the mutants of these names; `*` stands for anything.
        sample: only this many, chosen by `seed`.
        seed: seed of the boots and of the sample.
        jobs: number of gradings at the same time, each in a process of its own.
        tell: called with each result when it is known.
        watch: called with the number of finished gradings and their total.

    Returns:
        The results, in the order of the files.

    Raises:
        CourseError: a file of mutants is wrong.
        UsageError: there is no mutant of a name.
    """
    chosen = of_names(load(course, labs), names)
    if sample is not None and sample < len(chosen):
        picked = Choice("vmmlab mutants 1", seed).some(sample, range(len(chosen)))
        chosen = tuple(chosen[at] for at in sorted(picked))
    work = [(course.root, mutant, seed) for mutant in chosen]
    return run_all(_mutant_job, work, jobs, tell, watch)


def _mutant_job(job: tuple[Path, Mutant, int]) -> Result:
    root, mutant, seed = job
    return run_mutant(course_at(root), mutant, seed=seed)
