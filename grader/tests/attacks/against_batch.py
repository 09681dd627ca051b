"""Submissions that attack what grades a class: its processes, its disk, its results.

What a student's code could make of the process that grades it, if it took it over, is a function
here; a real batch runs it in the same place. The fork happens below a process of its own, so that
what it kills is not the test.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from corpus import Attack, Defence, off

from vmmlab.base.errors import InfraError
from vmmlab.classroom.batch import forking, run
from vmmlab.classroom.batch.job import Job, Result, Settings
from vmmlab.classroom.batch.record import Record
from vmmlab.classroom.batch.run import Task
from vmmlab.classroom.batch.share import Share
from vmmlab.classroom.batch.store import MIB, Store
from vmmlab.classroom.intake import Submission

JOB = Job("key", "lab1", {}, "dev", Settings("/", "identity"), deadline_s=60.0)
GOOD = Result("graded", report="good")
LOOKED_AT = signal.SIGUSR1
"""Where a defence is switched off, a grading gets it each time the grader has looked at it."""
PATIENCE_S = 60.0
"""So long an attack waits to be ended, or to be looked at without a consequence."""
Grader = Callable[[Job], Result]


def _below(job: Job, graders: tuple[Grader, ...]) -> list[Result] | None:
    """Grade in children of a process of its own; None: it died of it."""
    mine, its = os.pipe()
    its = _far_away(its)  # from descriptors that an attack writes to
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.closerange(3, 500)  # an attack reaches no descriptor of the test's
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_BLOCK, {LOOKED_AT})
            forking.adopt_orphans()
            found = [forking.run(job, one).to_json().decode() for one in graders]
            os.write(its, json.dumps(found).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(its)
    with os.fdopen(mine, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    return [Result.from_json(one.encode()) for one in json.loads(data)] if data else None


def _far_away(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 500)
    os.close(descriptor)
    return moved


def _beside(attack: Grader, folder: Path, deadline_s: float = 60.0) -> str:
    """Grade the attack, and then an honest submission by the same worker."""
    found = _below(replace(JOB, deadline_s=deadline_s), (attack, lambda job: GOOD))
    if found is None:
        return "the worker is dead"
    bad, good = found
    if good.end != "graded" or good.report != "good":
        return f"the next one is not graded: {good.reason}"
    return "it counts as graded" if bad.end == "graded" else ""


# --- processes ------------------------------------------------------------------------------------


def _kills(number: int) -> Grader:
    def grade(job: Job) -> Result:
        os.kill(os.getpid(), number)
        return GOOD

    return grade


def _kills_its_group(job: Job) -> Result:
    os.killpg(0, signal.SIGKILL)
    return GOOD


def _until_ended() -> Result:
    """Wait to be ended by the grader; go on if it has looked and does nothing."""
    signal.sigtimedwait({LOOKED_AT}, PATIENCE_S)
    return GOOD


def _sleeps(job: Job) -> Result:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return _until_ended()


def _exits(job: Job) -> Result:
    os._exit(0)


def _answers(data: bytes, job: Job) -> Result:
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, data)
        except OSError:
            continue
    os._exit(0)


def _raises(job: Job) -> Result:
    raise SystemExit(0)


def _leaves(count: int, folder: Path) -> str:
    """Leave processes behind, in sessions of their own."""
    mark = f"{86400 + os.getpid()}.{time.time_ns() % 10**6}"

    def grade(job: Job) -> Result:
        for _ in range(count):
            subprocess.Popen(["sleep", mark], start_new_session=True)
        return GOOD

    found = _below(JOB, (grade,))
    left = [one for one in psutil.process_iter(["cmdline"]) if mark in (one.info["cmdline"] or ())]
    for one in left:
        one.kill()
    return f"{len(left)} processes are left" if left or found is None else ""


def _small(grader: Grader, folder: Path) -> str:
    """Grade with a small share of processes and of temporary files."""
    share = Share(processes=20, scratch_mib=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "JOB", replace(JOB, settings=replace(JOB.settings, share=share)))
        return _beside(grader, folder)


def _forks(job: Job) -> Result:
    for _ in range(25):
        if os.fork() == 0:
            os.closerange(3, 400)  # the answer does not wait for it
            signal.pause()
    return _until_ended()


def _writes(job: Job) -> Result:
    Path(tempfile.mkdtemp(), "large").write_bytes(bytes(8 << 20))
    return _until_ended()


def _litters(end: Callable[[], object], folder: Path) -> str:
    """Leave temporary files behind, and end in some way."""
    mark = f"left-{os.getpid()}-{time.time_ns()}"

    def grade(job: Job) -> Result:
        Path(tempfile.mkdtemp(prefix=mark), "file").write_text("x")
        end()
        return GOOD

    _below(JOB, (grade,))
    top = Path(tempfile.gettempdir())
    left = [*top.glob(f"{mark}*"), *top.glob(f"*/{mark}*")]
    return f"{len(left)} folders are left" if left else ""


def _answers_too_much(folder: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        if forking.RESULT_MOST < 1 << 40:
            patch.setattr(forking, "RESULT_MOST", 1 << 20)
        return _beside(lambda job: Result("graded", report="x" * (8 << 20)), folder)


# --- disk -----------------------------------------------------------------------------------------


def _record(student: str) -> Record:
    data: dict[str, Any] = {"student": student, "lab": "lab1", "fingerprint": "f"}
    return Record.model_validate(data | {"verdict": "graded", "graded_at": "2026-01-01"})


def _fills(folder: Path) -> str:
    """Have reports and pages of 300 KiB until the disk is full."""
    store = Store(folder, disk_mib=1)
    many = "x" * (300 << 10)
    try:
        for number in range(20):
            store.put("lab1", _record(f"eve{number}"), Result("graded", report=many, page=many))
    except InfraError:
        pass
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size} bytes" if size > 2 * MIB + (1 << 16) else ""


def _rewrites(folder: Path) -> str:
    """Change a report after it was written: is it still taken for what was graded?"""
    store = Store(folder)
    store.put("lab1", _record("eve"), Result("graded", report='{"points": 0}'))
    store.report_path("eve", "lab1").write_text('{"points": 20}')
    return "a report that nobody graded" if store.record("eve", "lab1") else ""


# --- names ----------------------------------------------------------------------------------------


def _name(name: str, folder: Path) -> str:
    """Return what of a student's name reaches a terminal or a page as it is."""
    entry = Submission.model_construct(student="eve", name=name, folder=folder)
    shown = Task(entry, "lab1", "lab1").shown
    return f"the name {shown!r}" if not shown.isprintable() or len(shown) > 80 else ""


def _attacks() -> Iterator[Attack]:
    def attack(
        name: str,
        expected: str,
        defence: str,
        attempt: Callable[[Path], str],
        shown: bool = False,
        full: bool = False,
    ) -> Attack:
        return Attack("batch", name, expected, defence, attempt, shown, full)

    next_one = "needs attention; the next one is graded"
    session = "a grading has a session of its own"
    yield attack(
        "it kills its process group", next_one, session,
        functools.partial(_beside, _kills_its_group), True,
    )  # fmt: skip
    child = "each grading has a process of its own"
    for name, grader in {
        "it kills itself": _kills(signal.SIGKILL),
        "it ends with SIGSEGV": _kills(signal.SIGSEGV),
        "it ends with status 0 and no answer": _exits,
        "it raises SystemExit": _raises,
    }.items():
        yield attack(name, next_one, child, functools.partial(_beside, grader), "itself" in name)
    answer = "an answer that is none is no grade"
    forged = GOOD.to_json().replace(b'"worker"', b'"x"')
    for name, data in {
        "it answers garbage": b"\x80\x04garbage",
        "it answers half a result": b'{"end": "graded"',
        "it answers a result with other fields": forged,
    }.items():
        grader = functools.partial(_answers, data)
        yield attack(name, next_one, answer, functools.partial(_beside, grader), "garbage" in name)
    deadline = "a grading has a deadline"
    for name, grader in {
        "it never ends, and ignores SIGTERM": _sleeps,
        "it stops itself": _kills(signal.SIGSTOP),
    }.items():
        tries = functools.partial(_beside, grader, deadline_s=0.2)
        yield attack(name, next_one, deadline, tries, "never" in name)
    size = "an answer has a limit"
    yield attack("it answers without end", next_one, size, _answers_too_much, True)
    orphans = "orphans are adopted and ended"
    yield attack("it leaves a process", "ended", orphans, functools.partial(_leaves, 1), True)
    yield attack("it leaves 20 processes", "ended", orphans, functools.partial(_leaves, 20))
    share = "a grading has a share of processes and disk"
    for name, grader in {"it forks 25 times": _forks, "it writes 8 MiB of 2": _writes}.items():
        yield attack(
            name, next_one, share, functools.partial(_small, grader), True, grader is _forks
        )
    litter = "temporary files are in a folder of the grading"
    for name, end in {
        "it leaves files behind": int,
        "it leaves files behind, and is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    }.items():
        yield attack(name, "removed", litter, functools.partial(_litters, end), end is int)
    yield attack(
        "it fills the disk", "no more pages", "a batch has a share of the disk", _fills, True
    )
    yield attack("a report is changed", "graded again", "a report has a hash", _rewrites, True)
    names = "names are one clean line"
    for kind, name in {
        "a line break": 'eve"\n0,20',
        "an escape sequence": "\x1b[2Jeve",
        "a text that runs backwards": "\u202eeve",
        "100,000 letters": "e" * 100_000,
    }.items():
        tries = functools.partial(_name, name)
        yield attack(f"a name with {kind}", "shown as text", names, tries, kind == "a line break")


ATTACKS = tuple(_attacks())


def _no_children(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(forking, "run", lambda job, grader, worker=None: grader(job))


def _for_ever(patch: pytest.MonkeyPatch) -> None:
    read = forking._read_all
    patch.setattr(forking, "_read_all", lambda source, left, *more: read(source, 600.0, *more))
    patch.setattr(forking, "exceeded", _nothing)


def _trusting(data: bytes, code: int, words: str) -> Result:
    try:
        return Result.from_json(data)
    except ValueError:
        return GOOD


def _nothing(pid: int, folder: Path, share: Share) -> str:
    """Look at a grading, tell it so, and find nothing."""
    os.kill(pid, LOOKED_AT)
    return ""


def _common_folder(patch: pytest.MonkeyPatch) -> None:
    """Let the folder of a grading be the one of everybody."""

    @contextlib.contextmanager
    def everybodys(kind: str) -> Iterator[Path]:
        yield Path(tempfile.gettempdir())

    patch.setattr(forking, "scratch_folder", everybodys)


_REAL = Store.__init__


DEFENCES = (
    Defence("a grading has a session of its own", off(os, "setsid", lambda: None)),
    Defence("each grading has a process of its own", _no_children),
    Defence("an answer that is none is no grade", off(forking, "_result", _trusting)),
    Defence("a grading has a deadline", _for_ever),
    Defence("an answer has a limit", off(forking, "RESULT_MOST", 1 << 40)),
    Defence("a grading has a share of processes and disk", off(forking, "exceeded", _nothing)),
    Defence("temporary files are in a folder of the grading", _common_folder),
    Defence("orphans are adopted and ended", off(forking, "end_orphans", lambda: None)),
    Defence(
        "a batch has a share of the disk",
        off(Store, "__init__", lambda self, folder, disk_mib=0: _REAL(self, folder, 1 << 20)),
    ),
    Defence("a report has a hash", off(Store, "record", lambda self, student, stem: student)),
    Defence("names are one clean line", off(run, "clean_line", lambda text, most: text)),
)
