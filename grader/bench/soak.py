"""Grades right solutions again and again while both cores are busy, looking for another verdict.

The reference and every other right solution (grader/mutants/correct/) in turn, each time with
another seed and other numbers in cohort.h. Prints the distribution of times. A verdict other than
all points, or an infrastructure error, is counted and shown, and makes the exit status 1; how long
anything took never does.
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

LABS = ("lab1", "lab2", "lab3", "lab4")


@dataclass(frozen=True)
class Work:
    """One grading: what, of which lab, for which processor, and with which inputs."""

    name: str
    lab: str
    arch: str
    files: Mapping[str, bytes]
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


def solutions(course: Course) -> list[tuple[str, str, str, Mapping[str, bytes]]]:
    """Name, lab, architecture and files of everything that must earn all points."""
    found = [
        ("reference", lab, arch, dict(reference(course, [lab], None).files))
        for lab in LABS
        for arch in course.lab(lab).arches
    ]
    for one in mutants.load_variants(course):
        files = mutants.variant_files(course, one)
        found += [(one.name, one.lab, arch, files) for arch in one.arches]
    return found


def graded(work: Work) -> Seen:
    """One grading."""
    course = load_course(find_course(Path.cwd(), None))
    name = "dev" if work.number // 7 % 2 else f"soak-{work.number}"
    began = time.monotonic()
    try:
        request = RunRequest(
            course=course,
            lab=work.lab,
            files=work.files,
            cohort=Cohort.derive(name),
            seed=work.number,
            sandbox_required=False,
            arch=work.arch,
        )
        report = report_lab(request)
    except VmmlabError as error:
        return Seen(work.lab, time.monotonic() - began, f"{work.name}, {work.lab}: {error}")
    took_s, wrong = time.monotonic() - began, ""
    if report.points != report.max:
        lost = [f"{c.id} {c.outcome} {c.cause} {c.infra}" for c in report.checks if not c.points]
        wrong = f"{work.name}, {work.lab}, cohort {name}, seed {work.number}: "
        wrong += f"{report.points} of {report.max}; {lost}"
    return Seen(work.lab, took_s, wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    """Grade, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gradings", type=int, default=2000, help="how many (default 2000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="at the same time (default 2)")
    parser.add_argument("--idle", action="store_true", help="without another load")
    options = parser.parse_args(arguments)
    console = Console()
    todo = itertools.cycle(solutions(load_course(find_course(Path.cwd(), None))))
    work = [Work(*next(todo), options.first + number) for number in range(options.gradings)]
    times: dict[str, list[float]] = {lab: [] for lab in LABS}
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
