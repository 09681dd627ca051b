"""Variants: right solutions written in another way. Reads, builds and grades them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmmlab.author.mutants.jobs import course_at, run_all
from vmmlab.author.mutants.model import SEED, mutants_dir
from vmmlab.author.mutants.progress import Watch
from vmmlab.base.errors import CourseError, VmmlabError
from vmmlab.base.message import msg
from vmmlab.base.yamlfile import shown
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import ARCHES, Course
from vmmlab.course.reference import reference
from vmmlab.grading.request import RunRequest
from vmmlab.report.make import report_lab


@dataclass(frozen=True, slots=True)
class Variant:
    """A right solution of one lab, written differently from the reference.

    Attributes:
        name: name of the variant.
        lab: for example `lab3`.
        folder: the folder with its files.
        arches: the architectures that it is right for.
    """

    name: str
    lab: str
    folder: Path
    arches: tuple[str, ...] = ARCHES[:1]

    def __str__(self) -> str:
        return f"{self.name}/{self.lab}"


def load_variants(course: Course, labs: Iterable[str] | None = None) -> tuple[Variant, ...]:
    """Return the variants of some labs, or of all, in order of name.

    Raises:
        CourseError: a file ARCHES is wrong.
    """
    wanted = tuple(course.labs if labs is None else labs)
    top = mutants_dir(course) / "correct"
    folders = sorted(top.glob("*/lab*"))
    return tuple(
        Variant(f.parent.name, f.name, f, _arches(f.parent)) for f in folders if f.name in wanted
    )


def _arches(folder: Path) -> tuple[str, ...]:
    path = folder / "ARCHES"
    if not path.is_file():
        return ARCHES[:1]
    found = tuple(path.read_text(encoding="utf-8").split())
    if not found or not set(found) <= set(ARCHES):
        raise CourseError(
            msg(
                "{path}:1: each line must be one of {arches}.",
                path=shown(path),
                arches=", ".join(ARCHES),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class VariantResult:
    """The outcome of grading one variant.

    Attributes:
        variant: the right solution.
        how: cohort, compiler, optimisation and architecture.
        accused: check, cause and message of each check that did not pass; must be empty.
        seconds: duration of the grading.
    """

    variant: Variant
    how: str
    accused: tuple[tuple[str, str, str], ...]
    seconds: float = 0.0


def variant_files(course: Course, variant: Variant) -> dict[str, bytes]:
    """Return the variant's files, and the reference's where it has none.

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
                msg(
                    "{folder}: {path} is identical to the reference's file.",
                    folder=shown(variant.folder),
                    path=path,
                )
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
        opt: such as "-O1", for the variant's code where a scenario names none.
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
        jobs: number of gradings at the same time, each in a process of its own.
        tell: called with each result when it is known.
        watch: called with the number of finished gradings and their total.
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
