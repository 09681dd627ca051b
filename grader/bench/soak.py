"""Grades the reference again and again while both cores are busy, looking for another verdict.

Prints the distribution of times. A verdict other than all points, or an infrastructure error, is
counted and shown, and makes the exit status 1; how long anything took never does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track

from vmmlab import course as courses
from vmmlab.cohort import Cohort
from vmmlab.grading import grade_lab
from vmmlab.submission import reference

LABS = ("lab1", "lab2", "lab3", "lab4")


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep `processes` processors busy with something else."""
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in load:
            one.kill()
            one.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Grade, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="gradings of each lab (default 50)")
    parser.add_argument("--idle", action="store_true", help="without another load")
    options = parser.parse_args(arguments)
    console = Console()
    course = courses.load(courses.find(Path.cwd(), None))
    files = {lab: reference(course, [lab], None).files for lab in LABS}
    times: dict[str, list[float]] = {lab: [] for lab in LABS}
    wrong = []
    with busy(0 if options.idle else os.cpu_count() or 1):
        for number in track(range(options.rounds), "gradings", console=console):
            for lab in LABS:
                began = time.monotonic()
                report = grade_lab(
                    course,
                    lab,
                    files[lab],
                    cohort=Cohort.derive("dev" if number % 2 else f"soak-{number}"),
                    seed=number,
                    sandbox_required=False,
                )
                times[lab].append(time.monotonic() - began)
                if report.points != report.max:
                    lost = [f"{c.id} {c.outcome} {c.cause}" for c in report.checks if not c.points]
                    wrong.append(f"{lab}, seed {number}: {report.points} of {report.max}; {lost}")
    for lab, seen in times.items():
        ordered = sorted(seen)
        console.print(
            f"{lab}: {len(seen)} gradings, median {statistics.median(seen):.2f} s, "
            f"p90 {ordered[len(ordered) * 9 // 10]:.2f} s, worst {ordered[-1]:.2f} s"
        )
    console.print(f"wrong verdicts: {len(wrong)}")
    for one in wrong:
        console.print("  " + one, markup=False)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
