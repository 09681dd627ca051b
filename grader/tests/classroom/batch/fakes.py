"""A grader that boots nothing: what a submission says decides what happens to its process.

Loaded by path in the processes of a batch, and imported by the tests. As a program it runs a whole
batch: `python fakes.py CLASS OUT [--resume]`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from vmmlab.classroom.batch.job import Host, Job, Result, Settings

HERE = str(Path(__file__).resolve())
REHEARSE, GRADE = f"{HERE}:rehearse", f"{HERE}:grade"
LAB = "lab1"
FILES = ("lab1/vmm_main.c", "lab1/initfunc.c")
IDENTITY = "the same everywhere"
MOST = 20


def rehearse(settings: Settings, labs: tuple[str, ...]) -> Host:
    return Host("here", "none", "nothing", os.environ.get("FAKE_IDENTITY", IDENTITY))


def grade(job: Job) -> Result:
    """Do what the first file says: `WORD VALUE`, one a line."""
    points = MOST
    for line in next(iter(job.files.values())).decode().splitlines():
        word, _, value = line.partition(" ")
        match word:
            case "POINTS":
                points = int(value)
            case "LOG":
                with Path(value).open("a") as log:
                    log.write(f"{job.seed or job.settings.seed or 0}\n")
            case "KILL":
                os.kill(os.getpid(), signal.SIGKILL)
            case "KILL-BEFORE":
                lines, _, path = value.partition(" ")
                if not Path(path).exists() or Path(path).read_text().count("\n") < int(lines):
                    os.kill(os.getpid(), signal.SIGKILL)
            case "RAISE":
                raise ValueError(value)
            case "EXIT":
                os._exit(0)
            case "LEAVE":
                left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
                Path(value).write_text(str(left.pid))
            case "FAIL":
                return Result("failed", value)
            case "KILL-WORKER":
                if _first_time(value):
                    os.kill(_parent(os.getppid()), signal.SIGKILL)
                    signal.pause()
            case "WAIT":
                Path(value).touch()
                signal.pause()
            case "ALONE":
                os.mkdir(value)  # noqa: PTH102
                for _ in range(50):  # let others come, if they may
                    os.sched_yield()
                os.rmdir(value)  # noqa: PTH106
            case "SEED-DECIDES":
                points = (job.settings.seed or 0) % MOST
    return Result("graded", report=report(points).model_copy(update={"lab": job.lab}).to_json())


def report(points: int | None, cause: str = "wrong-value") -> Any:
    from vmmlab.report.model import SCHEMA, Report

    check = {
        "id": "lab1.a.b",
        "title": "A <b>check</b>",
        "points": points,
        "max": MOST,
        "outcome": "infra-error" if points is None else "pass" if points == MOST else "fail",
        "cause": None if points in (None, MOST) else cause,
        "next": "Look <i>there</i>.",
        "reason": "QEMU was lost" if points is None else "",
        "scenario": "",
        "again": "",
    }
    return Report.model_validate(
        {
            "schema": SCHEMA,
            "mode": "standalone",
            "lab": LAB,
            "cohort": "dev",
            "seed": 1,
            "arch": "x86_64",
            "build": {"ok": True},
            "checks": [check],
            "points": points,
            "max": MOST,
            "needs_attention": points is None,
            "duration_s": 0,
        }
    )


def _first_time(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def put(folder: Path, student: str, *lines: str, files: tuple[str, ...] = FILES) -> None:
    """Hand in a submission that says some lines."""
    for name in files:
        path = folder / student / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))


class Log:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.fresh: list[str] = []

    def began(self, task: Any) -> None:
        pass

    def ended(self, task: Any, found: Any, *, fresh: bool) -> None:
        if fresh:
            self.fresh.append(task.entry.student)


def run(source: Path, out: Path, **options: Any) -> tuple[Any, list[str]]:
    """Run a batch with this grader; return its outcome, and who was judged now."""
    import contextlib

    from vmmlab.classroom.batch import classrun
    from vmmlab.classroom.intake import intake
    from vmmlab.course.load import load_course
    from vmmlab.i18n.translate import Reader

    course = load_course(Path(__file__).parents[4])
    seed = options.pop("seed", None)
    labs, worksheets = options.pop("labs", (LAB,)), options.pop("worksheets", None)
    settings = Settings(str(course.root), IDENTITY, html=False, seed=seed)
    told = classrun.Options(labs, out, jobs=2, rehearse=REHEARSE, grade=GRADE, **options)
    log = Log()
    outcome = classrun.run(
        course,
        lambda folder: intake(source, course, folder / "submissions"),
        settings,
        told,
        lambda total: contextlib.nullcontext(log),
        Reader(),
        worksheets,
    )
    return outcome, log.fresh


def gone(pid: int, within_s: float = 20.0) -> bool:
    """Whether a process has ended, or ends soon."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        os.sched_yield()
    return False


if __name__ == "__main__":
    from vmmlab.base.errors import VmmlabError

    try:
        run(Path(sys.argv[1]), Path(sys.argv[2]), resume="--resume" in sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)
    except VmmlabError as error:
        sys.exit(str(error))
