"""Grades known solutions again and again while both cores are busy, looking for another verdict.

The reference and every other right solution (grader/mutants/correct/), which must earn all points,
the starter, which must earn none, and some mutants of each lab, which must lose the check that they
name for the cause that they name; in turn, each time with another seed, and with other numbers in
cohort.h unless a mutant asks for its own. Prints the distribution of times. Another verdict, or an
infrastructure error, is counted and shown, and makes the exit status 1; how long anything took
never does.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from vmmlab.author import mutants
from vmmlab.author.mutants.progress import progress
from vmmlab.base import workers
from vmmlab.base.errors import VmmlabError
from vmmlab.course.cohort import Cohort
from vmmlab.course.find import find_course
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.grading.request import RunRequest
from vmmlab.report.make import report_lab
from vmmlab.report.model import Report

MUTANTS = 5
"""How many mutants of each lab are graded."""


@dataclass(frozen=True)
class Known:
    """A solution whose verdict is known: all points, none, or those of a mutant."""

    name: str
    lab: str
    arch: str
    files: Mapping[str, bytes]
    due: Literal["all", "none"] | mutants.Mutant = "all"


@dataclass(frozen=True)
class Work:
    """One grading: of what, and the seed of its inputs."""

    known: Known
    number: int


@dataclass(frozen=True)
class Seen:
    """What came of one grading: seconds, and what was wrong with the verdict."""

    lab: str
    took_s: float
    wrong: str


SPIN = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
"""A program that does nothing as fast as it can, until whoever has started it is gone."""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep `processes` processors busy with something else."""
    load = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in load:
            one.kill()
            one.wait()


def graded_labs(course: Course) -> list[str]:
    """The labs that have points."""
    return [name for name, lab in course.labs.items() if lab.files and lab.all_checks]


def solutions(course: Course, labs: Sequence[str]) -> list[Known]:
    """Everything that is graded, in turn, the labs mixed."""
    found = []
    for lab in labs:
        for arch in course.lab(lab).arches:
            found.append(Known("reference", lab, arch, dict(reference(course, [lab]).files)))
            found.append(
                Known("starter", lab, arch, dict(reference(course, [lab], ()).files), "none")
            )
        some = mutants.load(course, [lab])
        for one in some[:: max(len(some) // MUTANTS, 1)][:MUTANTS]:
            found.append(Known(one.id, lab, one.arch, mutants.apply(course, one), one))
    for variant in mutants.load_variants(course, labs):
        files = mutants.variant_files(course, variant)
        found += [Known(variant.name, variant.lab, arch, files) for arch in variant.arches]
    number = {lab: itertools.count() for lab in labs}
    return sorted(found, key=lambda one: next(number[one.lab]))


def graded(work: Work) -> Seen:
    """One grading."""
    course = load_course(find_course(Path.cwd(), None))
    known = work.known
    name = "dev" if work.number // 7 % 2 else f"soak-{work.number}"
    if isinstance(known.due, mutants.Mutant):
        name = known.due.cohort
    began = time.monotonic()
    try:
        request = RunRequest(
            course=course,
            lab=known.lab,
            files=known.files,
            cohort=Cohort.derive(name),
            seed=work.number,
            sandbox_required=False,
            arch=known.arch,
        )
        report = report_lab(request)
    except VmmlabError as error:
        return Seen(known.lab, time.monotonic() - began, f"{known.name}, {known.lab}: {error}")
    took_s, wrong = time.monotonic() - began, ""
    if not as_due(known, report):
        lost = [f"{c.id} {c.outcome} {c.cause} {c.infra}" for c in report.checks if not c.points]
        wrong = f"{known.name}, {known.lab}, {known.arch}, cohort {name}, seed {work.number}: "
        wrong += f"{report.points} of {report.max}; {lost}"
    return Seen(known.lab, took_s, wrong)


def as_due(known: Known, report: Report) -> bool:
    """Whether a report says what is known of a solution."""
    if isinstance(known.due, mutants.Mutant):
        return mutants.judge(known.due, report).verdict == "killed"
    judged = all(check.points is not None for check in report.checks)
    return judged and report.points == (report.max if known.due == "all" else 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Grade, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gradings", type=int, default=2000, help="how many (default 2000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="at the same time (default 2)")
    parser.add_argument("labs", nargs="*", help="labs (default: all that are graded)")
    parser.add_argument("--idle", action="store_true", help="without another load")
    options = parser.parse_args(arguments)
    console = Console()
    course = load_course(find_course(Path.cwd(), None))
    labs = options.labs or graded_labs(course)
    todo = itertools.cycle(solutions(course, labs))
    work = [Work(next(todo), options.first + number) for number in range(options.gradings)]
    times: dict[str, list[float]] = {lab: [] for lab in labs}
    wrong = []
    with (
        busy(0 if options.idle else os.cpu_count() or 1),
        workers.pool(options.jobs) as pool,
        progress("gradings") as tell,
    ):
        for number, seen in enumerate(pool.map(graded, work), 1):
            tell(number, len(work))
            times[seen.lab].append(seen.took_s)
            if seen.wrong:
                wrong.append(seen.wrong)
                console.print(seen.wrong, markup=False)
    for lab, took in times.items():
        if took:
            ordered = sorted(took)
            console.print(
                f"{lab}: {len(took)} gradings, median {statistics.median(took):.2f} s, "
                f"p90 {ordered[len(ordered) * 9 // 10]:.2f} s, worst {ordered[-1]:.2f} s"
            )
    console.print(f"wrong verdicts: {len(wrong)} of {len(work)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
