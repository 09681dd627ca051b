"""Grades mutants and variants, and says what the verdicts are worth."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeVar

from vmmlab.author.mutants import localisation
from vmmlab.author.mutants.apply import apply, apply_early
from vmmlab.author.mutants.localisation import Named
from vmmlab.author.mutants.model import Mutant, Variant, load, load_variants
from vmmlab.author.mutants.progress import Watch
from vmmlab.base import workers
from vmmlab.base.errors import CourseError, VmmlabError
from vmmlab.base.message import msg
from vmmlab.base.yamlfile import shown
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import ARCHES, Course
from vmmlab.course.reference import reference
from vmmlab.grading.request import RunRequest
from vmmlab.report import Report
from vmmlab.report.make import report_lab

SEED: Final = 1
"""The seed of the boots if nobody gives one."""

Verdict = Literal["killed", "survived", "wrong cause", "error"]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one mutant.

    Attributes:
        verdict: `killed` only if the named check failed, at least in part, with the named cause.
        cause: the cause that the named check gave.
        message: what a student would read, or what went wrong.
        next: what the student is told to look at.
        names: what of the place to change the message and `next` name.
        points: what the mutant earned; None when it could not be judged.
        beside: other checks that failed, with their causes: they should tell of the same mistake.
    """

    mutant: Mutant
    verdict: Verdict
    cause: str = ""
    message: str = ""
    next: str = ""
    names: Named = ""
    points: float | None = None
    beside: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


def judge(mutant: Mutant, report: Report) -> Result:
    """What a report on a mutant says about the checks. Pure."""
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
                "{broken} could not be judged: {infra}", broken=broken.id, infra=broken.infra
            ),
        )
    named = checks[mutant.check]
    failed = [c for c in report.checks if c.outcome in ("fail", "partial", "timeout")]
    beside = tuple((c.id, c.cause or "") for c in failed if c.id != mutant.check)
    result = Result(
        mutant,
        "killed",
        cause=named.cause or "",
        message=f"{named.place}: {named.observed}" if named.place else str(named.observed),
        next=str(named.next),
        points=report.points,
        beside=beside,
    )
    if named not in failed:
        why = f" ({named.reason})" if named.reason else ""
        return replace(result, verdict="survived", message=f"{named.id}: {named.outcome}{why}")
    return result if named.cause == mutant.cause else replace(result, verdict="wrong cause")


def run_mutant(course: Course, mutant: Mutant, *, seed: int = SEED, early: bool = False) -> Result:
    """Make, build and grade one mutant. Never raises for what a mutant or its file does.

    Args:
        course: the course.
        mutant: the known-wrong solution.
        seed: seed of the boots.
        early: grade it as a student's who has not written the later steps yet.
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
        report = report_lab(request, submission=mutant.id)
        result = judge(mutant, report)
        told = f"{result.message}\n{result.next}"
        result = replace(
            result, names=localisation.named(localisation.target(course, mutant), told)
        )
    except VmmlabError as error:
        result = Result(mutant, "error", message=str(error))
    return replace(result, seconds=time.monotonic() - began)


def run_mutants(
    course: Course,
    labs: Iterable[str] | None = None,
    *,
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
        sample: only this many, chosen by the seed.
        seed: seed of the boots and of the sample.
        jobs: gradings at the same time, each in a process of its own.
        tell: called with each result as it comes.
        watch: told how many are done, and of how many.

    Returns:
        The results, in the order of the files.

    Raises:
        CourseError: a file of mutants is wrong.
    """
    chosen = load(course, labs)
    if sample is not None and sample < len(chosen):
        picked = random.Random(seed).sample(range(len(chosen)), sample)
        chosen = tuple(chosen[at] for at in sorted(picked))
    work = [(course.root, mutant, seed) for mutant in chosen]
    return run_all(_mutant_job, work, jobs, tell, watch)


J = TypeVar("J")
R = TypeVar("R")


def run_all(
    one: Callable[[J], R],
    work: Sequence[J],
    jobs: int,
    tell: Callable[[R], object] | None,
    watch: Watch | None = None,
) -> tuple[R, ...]:
    """Do one thing for each piece of work, in processes of their own if `jobs` says so."""
    results: dict[int, R] = {}

    def keep(at: int, result: R) -> None:
        results[at] = result
        if tell is not None:
            tell(result)
        if watch is not None:
            watch(len(results), len(work))

    if watch is not None:
        watch(0, len(work))

    if jobs <= 1:
        for at, job in enumerate(work):
            keep(at, one(job))
    else:
        with workers.pool(jobs) as pool:
            waiting = {pool.submit(one, job): at for at, job in enumerate(work)}
            for done in as_completed(waiting):
                keep(waiting[done], done.result())
    return tuple(results[at] for at in sorted(results))


def _mutant_job(job: tuple[Path, Mutant, int]) -> Result:
    root, mutant, seed = job
    return run_mutant(course_at(root), mutant, seed=seed)


@functools.lru_cache(maxsize=1)
def course_at(root: Path) -> Course:
    """The course in a folder, read once for each process."""
    return load_course(root)


@dataclass(frozen=True, slots=True)
class VariantResult:
    """What came of one variant.

    Attributes:
        how: cohort and compiler.
        accused: check, cause and message of each check that did not pass; must be empty.
    """

    variant: Variant
    how: str
    accused: tuple[tuple[str, str, str], ...]
    seconds: float = 0.0


def variant_files(course: Course, variant: Variant) -> dict[str, bytes]:
    """The variant's files, and the reference's where it has none.

    Raises:
        CourseError: it has a file that the lab does not have, or only the reference's own.
    """
    files = dict(reference(course, [variant.lab]).files)
    own = {f"{variant.lab}/{path.name}": path.read_bytes() for path in variant.folder.iterdir()}
    for path, content in own.items():
        if path not in files:
            raise CourseError(
                msg(
                    "{folder}: {lab} has no file {path}.",
                    folder=shown(variant.folder),
                    lab=variant.lab,
                    path=path,
                )
            )
        if content == files[path]:
            raise CourseError(
                msg("{folder}: {path} is the reference's.", folder=shown(variant.folder), path=path)
            )
    return files | own


def run_variant(
    course: Course,
    variant: Variant,
    *,
    cohort: str = "dev",
    compiler: str = "gcc",
    opt: str | None = None,
    arch: str | None = None,
    seed: int = SEED,
) -> VariantResult:
    """Grade one variant, by the hidden checks too.

    Args:
        course: the course.
        variant: the right solution.
        cohort: name of the cohort whose numbers it is built with.
        compiler: gcc or clang, for all code.
        opt: such as "-O1", for the variant's code in boots that do not ask for something else.
        arch: what to build for; None for the first that the variant is right for.
        seed: seed of the boots.
    """
    began = time.monotonic()
    arch = arch or variant.arches[0]
    other = arch if arch != ARCHES[0] else None
    how = " ".join(filter(None, [cohort, compiler, opt, other]))
    try:
        request = RunRequest(
            course=course,
            lab=variant.lab,
            files=variant_files(course, variant),
            cohort=Cohort.derive(cohort),
            seed=seed,
            sandbox_required=False,
            arch=arch,
            compiler=compiler,
            opt=opt,
        )
        report = report_lab(request, submission=str(variant), hidden=True)
    except VmmlabError as error:
        accused: tuple[tuple[str, str, str], ...] = (("", "", str(error)),)
    else:
        words = {d.severity: f"{d.file}:{d.line}: {d.message}" for d in report.build.diagnostics}
        accused = tuple(
            (c.id, c.cause or c.outcome, words.get("error", "") or str(c.observed or c.reason))
            for c in report.checks
            if c.outcome != "pass"
        )
    return VariantResult(variant, how, accused, time.monotonic() - began)


def run_variants(
    course: Course,
    labs: Iterable[str] | None = None,
    *,
    how: Sequence[Mapping[str, str]] = ({},),
    seed: int = SEED,
    jobs: int = 1,
    tell: Callable[[VariantResult], object] | None = None,
    watch: Watch | None = None,
) -> tuple[VariantResult, ...]:
    """Grade the variants of some labs, or of all, in each of the ways of `how`.

    Args:
        course: the course.
        labs: names of labs; None for all.
        how: keyword arguments of `run_variant` (cohort, compiler, opt), one mapping for each way.
        seed: seed of the boots.
        jobs: gradings at the same time.
        tell: called with each result as it comes.
        watch: told how many are done, and of how many.
    """
    work = [
        (course.root, one, {**way, "arch": arch}, seed)
        for one in load_variants(course, labs)
        for arch in one.arches
        for way in how
    ]
    return run_all(_variant_job, work, jobs, tell, watch)


def _variant_job(job: tuple[Path, Variant, dict[str, str], int]) -> VariantResult:
    root, variant, way, seed = job
    return run_variant(course_at(root), variant, seed=seed, **way)
