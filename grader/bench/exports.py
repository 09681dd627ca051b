"""How long `vmmlab export` takes for a class, in each format. Prints; judges nothing.

The reports are that of one submission with half of the steps done, under as many names
as the class has students. The time is that of the whole command, from its start to its end; the
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
    words = [PROGRAM, "grade", lab, "--submission", scratch / "half", "--json", target, "--hidden"]
    done = subprocess.run([*words, "--course", course.root], capture_output=True, check=False)
    if done.returncode > 1:
        raise RuntimeError(done.stderr.decode())
    return target.read_bytes()


def export(form: str, reports: Path, to: Path) -> tuple[float, float]:
    """Return wall and processor seconds of one command."""
    env = {**os.environ, **dict.fromkeys(VARIABLES, "https://example.org/x")}
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [PROGRAM, "export", form, reports, "-o", to]
    done = subprocess.run(words, env=env, capture_output=True, check=False)
    took, now = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return took, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lab", default="lab3", help="the lab (default: lab3)")
    parser.add_argument("-n", type=int, default=500, help="students (default: 500)")
    asked = parser.parse_args()
    course = load_course(find_course(Path(__file__)))
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    table = Table(title=f"{asked.n} reports of {asked.lab}, {load}")
    for column in ("format", "s", "CPU s"):
        table.add_column(column, justify="left" if column == "format" else "right")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        report = graded(course, asked.lab, scratch)
        for number in range(asked.n):
            folder = scratch / "reports" / f"s{number:04}"
            folder.mkdir(parents=True)
            (folder / f"{asked.lab}.json").write_bytes(report)
        for form in (*FORMATS, *TABLES):
            took, used = export(form, scratch / "reports", scratch / form)
            table.add_row(form, f"{took:.1f}", f"{used:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
