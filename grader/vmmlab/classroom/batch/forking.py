"""The process of a worker that has everything loaded, and forks a child for each job.

It speaks with the worker over one connection: a job comes as a pickle of the worker's, a result
goes back as JSON. It has one thread, so that a fork of it is whole. Whatever a job leaves behind
ends with it: this process adopts orphans and ends them, and temporary files lie in a folder that it
removes. If the worker dies, the connection closes, and this process ends its child and itself.

Source: Linux, prctl(2): PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.base.removal import remove_tree
from vmmlab.base.scratch import scratch_folder
from vmmlab.base.text import clean_line
from vmmlab.classroom.batch.job import Job, Result
from vmmlab.classroom.batch.share import LOOK_S, Share, exceeded
from vmmlab.host.processes import children, end_tree

RESULT_MOST: Final = 64 << 20
"""So many bytes of a result are taken."""
_SUBREAPER: Final = 36
_PDEATHSIG: Final = 1
_EASY_TO_KILL: Final = "500"
_SAID_MOST: Final = 300

Grader = Callable[[Job], Result]


def serve(connection: Connection, grader: Grader) -> None:
    """Grade the jobs that come over a connection, until it closes.

    Args:
        connection: to the worker.
        grader: grades one job; called in a child.
    """
    adopt_orphans()
    while True:
        try:
            job: Job = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        connection.send_bytes(run(job, grader, connection.fileno()).to_json())


def run(job: Job, grader: Grader, worker: int | None = None) -> Result:
    """Grade one job in a child process.

    Args:
        job: the job.
        grader: grades it; called in the child.
        worker: descriptor that can be read when the worker is gone.

    Returns:
        The child's result, with what it and all that it started have used.
    """
    with scratch_folder("job") as folder:
        return _run(job, grader, worker, folder)


def _run(job: Job, grader: Grader, worker: int | None, folder: Path) -> Result:
    began, used = time.monotonic(), _children_seconds()
    mine, its = os.pipe()
    said = os.memfd_create("vmmlab-child")
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(mine)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        _be_child(job, grader, its, said, parent)
    os.close(its)
    try:
        data, ended = _read_all(
            mine, job.deadline_s, worker, _Watch(pid, folder, job.settings.share)
        )
    finally:
        os.close(mine)
    if ended is not None:
        end_tree(pid)
    _, status = os.waitpid(pid, 0)
    end_orphans()
    if worker is not None and ended is not None and _is_over(worker):
        remove_tree(folder)
        os._exit(0)
    result = ended or _result(data, os.waitstatus_to_exitcode(status), _last_words(said))
    os.close(said)
    total = _children_seconds() - used
    return replace(result, wall_s=time.monotonic() - began, tools_s=max(0.0, total - result.own_s))


def _be_child(job: Job, grader: Grader, out: int, said: int, parent: int) -> None:
    """Grade, write the result, and end; never returns."""
    code = 1
    try:
        _prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(null, descriptor)
        os.dup2(said, 2)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_EASY_TO_KILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        data = memoryview(grader(job).to_json())
        while data:
            data = data[os.write(out, data) :]
        code = 0
    except BaseException:
        import traceback

        with contextlib.suppress(BaseException):
            os.write(said, traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(code)


@dataclass(frozen=True, slots=True)
class _Watch:
    """What a child may use."""

    pid: int
    folder: Path
    share: Share

    def exceeded(self) -> Text:
        """Return of what it has too much."""
        return exceeded(self.pid, self.folder, self.share)


def _read_all(
    source: int, deadline_s: float, worker: int | None, watch: _Watch
) -> tuple[bytes, Result | None]:
    """Return all that a child writes, and its result if it has to be ended."""
    end = time.monotonic() + deadline_s
    poll = select.poll()
    poll.register(source, select.POLLIN | select.POLLHUP)
    if worker is not None:
        poll.register(worker, select.POLLIN | select.POLLHUP)
    data = bytearray()
    while True:
        left = end - time.monotonic()
        ready = dict(poll.poll(max(0.0, min(left, LOOK_S) * 1000)))
        if source in ready:
            piece = os.read(source, 1 << 20)
            data += piece
            if len(data) > RESULT_MOST:
                return b"", Result("exceeded", msg("its result is too large"))
            if not piece:
                return bytes(data), None
        elif worker in ready or left <= 0:
            return b"", Result("overdue", msg("it took longer than the time limit, and was ended"))
        elif why := watch.exceeded():
            return b"", Result("exceeded", why)


def _result(data: bytes, code: int, words: str) -> Result:
    if code == 0:
        with contextlib.suppress(ValueError):
            return Result.from_json(data)
    why: Text = msg("it ended with status {code}", code=code)
    if code < 0:
        why = msg("it was killed by signal {signal}", signal=signal.Signals(-code).name)
    if not words:
        return Result("died", msg("the process that graded it died: {why}", why=why))
    told = msg("the process that graded it died: {why}; {words}", why=why, words=words)
    return Result("died", told)


def adopt_orphans() -> None:
    """Make what children of this process leave behind children of this process."""
    _prctl(_SUBREAPER, 1)


def end_orphans() -> None:
    """End and reap all children of this process, and what they have left behind."""
    while True:
        for pid in children(os.getpid()):
            end_tree(pid)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _last_words(said: int) -> str:
    """Return the last line that the child wrote to its standard error."""
    size = os.fstat(said).st_size
    text = os.pread(said, 4096, max(0, size - 4096)).decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return clean_line(lines[-1], _SAID_MOST) if lines else ""


def _is_over(worker: int) -> bool:
    """Whether the worker has closed the connection: it never speaks while a job runs."""
    poll = select.poll()
    poll.register(worker, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _prctl(option: int, value: int) -> None:
    """Set an attribute of this process; nothing happens where there is no prctl(2)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
