"""How long `vmmlab export` and `vmmlab gradebook sync` take for a class. Prints; judges nothing.

The reports are that of one submission with half of the steps done, under as many names
as the class has students; for the gradebook one for each lab, written, and written again. The
time is that of the whole command, from its start to its end; the
processor time says more on a busy host.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vmmlab.classroom.tables import TABLES
from vmmlab.course.find import find_course
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.report.export import FORMATS

PROGRAM = Path(sys.executable).with_name("vmmlab")
VARIABLES = ("CLASSROOM", "ASSIGNMENT", "USERNAME", "SUBMISSION_TAG", "COMMIT_URL", "RELEASE_URL")
"""What the runner of Classroom 50 sets."""


def graded(course: Course, lab: str, scratch: Path) -> bytes:
    """Return the report.json of a submission that is half done."""
    steps = [step.id for step in course.lab(lab).steps]
    files = reference(course, [lab], steps[: len(steps) // 2]).files
    for name, data in files.items():
        (scratch / "half" / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / "half" / name).write_bytes(data)
    target = scratch / "report.json"
    words: list[str | Path] = [
        PROGRAM,
        "grade",
        lab,
        "--submission",
        scratch / "half",
        "--json",
        target,
        "--hidden",
    ]
    done = subprocess.run([*words, "--course", course.root], capture_output=True, check=False)
    if done.returncode > 1:
        raise RuntimeError(done.stderr.decode())
    return target.read_bytes()


def timed(*words: str | Path) -> tuple[float, float]:
    """Return wall and processor seconds of one command."""
    env = {**os.environ, **dict.fromkeys(VARIABLES, "https://example.org/x")}
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([PROGRAM, *words], env=env, capture_output=True, check=False)
    took, now = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return took, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def laid_out(course: Course, labs: Sequence[str], students: Sequence[str], scratch: Path) -> Path:
    """Write a report on each lab for each student; return their folder."""
    folder = scratch / "reports"
    for lab in labs:
        report = graded(course, lab, scratch / lab)
        for student in students:
            (folder / student).mkdir(parents=True, exist_ok=True)
            (folder / student / f"{lab}.json").write_bytes(report)
    return folder


def sync(course: Course, students: Sequence[str], scratch: Path) -> Iterator[tuple[float, float]]:
    """Yield the seconds of writing all labs into a new gradebook, and of doing it again."""
    labs = [lab.name for lab in course.labs.values() if lab.files]
    reports = laid_out(course, labs, students, scratch)
    (scratch / "roster.csv").write_text("id\n" + "\n".join(students))
    book, roster = scratch / "book", ("--roster", scratch / "roster.csv")
    timed("gradebook", "init", book, *roster, "--labs", "lab0", "--course", course.root)
    for _ in range(2):
        words = ("--nbgrader", book, *roster, "--course", course.root)
        yield timed("gradebook", "sync", reports, *words)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lab", default="lab3", help="the lab (default: lab3)")
    parser.add_argument("-n", type=int, default=500, help="students (default: 500)")
    parser.add_argument("--gradebook", action="store_true", help="only the gradebook")
    asked = parser.parse_args()
    course = load_course(find_course(Path(__file__)))
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    table = Table(title=f"{asked.n} reports of {asked.lab}, {load}")
    for column in ("format", "s", "CPU s"):
        table.add_column(column, justify="left" if column == "format" else "right")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        students = [f"s{number:04}" for number in range(asked.n)]
        reports = laid_out(course, [asked.lab], students, scratch / "one")
        for form in () if asked.gradebook else (*FORMATS, *TABLES):
            took, used = timed("export", form, reports, "-o", scratch / form)
            table.add_row(form, f"{took:.1f}", f"{used:.1f}")
        for what, (took, used) in zip(
            ("all labs into the gradebook", "and again"),
            sync(course, students, scratch / "all"),
            strict=True,
        ):
            table.add_row(what, f"{took:.1f}", f"{used:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
