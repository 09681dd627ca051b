"""How fast a class is graded, and what the processors do meanwhile. Prints; judges nothing.

Right submissions of one lab, no two with the same content, with hidden checks and the sandbox. The
same number of them is graded by two `vmmlab grade` at a time, by one warm worker, by two, and by
one whole `vmmlab batch`, one after the other on the same host: compare the rows, not days. The
processor time of a submission is the grader's own and that of its QEMUs, compilers and sandboxes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vmmlab.classroom.batch import identity
from vmmlab.classroom.batch.forking import adopt_orphans, end_orphans
from vmmlab.classroom.batch.job import Job, Result, Settings
from vmmlab.classroom.batch.worker import Warm
from vmmlab.course.find import find_course
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.reference import reference

_NUMBERS = count(time.time_ns())


def submissions(course: Course, lab: str) -> Iterator[dict[str, bytes]]:
    """Right submissions; each has another comment, so that nothing of it was built before."""
    files = reference(course, [lab]).files
    for number in _NUMBERS:
        yield {name: data + b"\n/* %d */\n" % number for name, data in files.items()}


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write a submission to a folder of its own."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def used_s() -> float:
    """Processor seconds of everything that this process has started and that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cold(course: Course, lab: str, number: int, scratch: Path) -> tuple[float, float]:
    """Wall and processor seconds of `vmmlab grade`, two at a time."""
    made = submissions(course, lab)
    folders = [put(scratch / str(n), next(made)) for n in range(number)]
    program = Path(sys.executable).with_name("vmmlab")

    def grade(folder: Path) -> None:
        words = [program, "grade", lab, "--submission", folder, "--hidden"]
        words += ["--course", course.root, "--json", folder / "r.json", "--html", folder / "r.html"]
        subprocess.run(words, capture_output=True, check=True)

    adopt_orphans()  # the time of a QEMU whose sandbox ended first
    used, began = used_s(), time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(grade, folders))
    took = time.monotonic() - began
    end_orphans()
    return took, used_s() - used


def warm(
    course: Course, lab: str, number: int, workers: int
) -> tuple[float, list[Result], list[int]]:
    """Wall seconds of some warm workers, the results, and the memory of each worker in MiB."""
    settings = Settings(str(course.root), identity.of(course))
    made = submissions(course, lab)
    jobs = [Job(str(n), lab, next(made), course.cohort, settings) for n in range(number)]
    todo = iter(jobs)
    with ThreadPoolExecutor(workers) as pool:
        ready = list(pool.map(lambda _: Warm(settings, (lab,)), range(workers)))

        def work(one: Warm) -> list[Result]:
            return [one.grade(job) for job in todo]

        began = time.monotonic()
        found = [result for results in pool.map(work, ready) for result in results]
        took = time.monotonic() - began
        shared = [one.resident_mib() for one in ready]
        for one in ready:
            one.close()
    if bad := [one for one in found if one.end != "graded"]:
        raise RuntimeError(str(bad[0].reason))
    return took, found, [mib + max(one.peak_mib for one in found) for mib in shared]


def whole(course: Course, lab: str, number: int, scratch: Path) -> float:
    """Wall seconds of `vmmlab batch` with two workers, their start included."""
    made = submissions(course, lab)
    for n in range(number):
        put(scratch / "class" / f"s{n}", next(made))
    program = Path(sys.executable).with_name("vmmlab")
    words = [program, "batch", scratch / "class", "--out", scratch / "out", "--labs", lab, "-j2"]
    began = time.monotonic()
    subprocess.run([*words, "--course", course.root], capture_output=True, check=True)
    return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lab", default="lab3", help="the lab (default: lab3)")
    parser.add_argument("-n", type=int, default=12, help="submissions of each row (default: 12)")
    asked = parser.parse_args()
    console = Console()
    course, lab, number = load_course(find_course(Path(__file__))), asked.lab, asked.n
    load = f"load at the start {os.getloadavg()[0]:.1f}, on {os.cpu_count()} processors"
    table = Table(title=f"{lab}, {number} right submissions, hidden checks, sandbox; {load}")
    for column in ("how", "a minute", "own CPU s", "QEMU, compilers s", "ratio", "MiB a worker"):
        table.add_column(column, justify="left" if column == "how" else "right")
    with tempfile.TemporaryDirectory() as scratch:
        took, used = cold(course, lab, number, Path(scratch) / "cold")
        each = f"{used / number:.2f} in all"
        table.add_row("two `vmmlab grade`", f"{60 * number / took:.1f}", each, "", "", "")
        for workers in (1, 2):
            took, found, mib = warm(course, lab, number, workers)
            own = sum(one.own_s for one in found) / number
            tools = sum(one.tools_s for one in found) / number
            table.add_row(
                f"{workers} warm", f"{60 * number / took:.1f}", f"{own:.2f}", f"{tools:.2f}",
                f"{(own + tools) / tools:.2f}", str(max(mib)),
            )  # fmt: skip
        took = whole(course, lab, number, Path(scratch))
        table.add_row("`vmmlab batch -j 2`", f"{60 * number / took:.1f}", "", "", "", "")
    console.print(table)
    console.print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
