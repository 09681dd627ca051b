"""What runs in a Dask worker: hands a job to the process that forks children, and waits.

There is one such process for each thread of the worker. If it dies, the next job gets a new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg
from vmmlab.base.messagedata import from_json
from vmmlab.classroom.batch.job import Host, Job, Result, Settings
from vmmlab.host.running import kill_tree

REHEARSE: Final = "vmmlab.classroom.batch.warm:rehearse"
GRADE: Final = "vmmlab.classroom.batch.child:grade"
_MODULE: Final = "vmmlab.classroom.batch.zygote"

_threads = threading.local()


class Warm:
    """A process that has everything loaded for some settings and labs.

    Args:
        settings: those of the batch.
        labs: what to load besides.
        rehearse: what loads it, as `module:function`.
        grade: what grades a job in a child, likewise.

    Attributes:
        host: what this host enforces.

    Raises:
        InfraError: nothing can be graded here.
    """

    def __init__(
        self,
        settings: Settings,
        labs: tuple[str, ...],
        rehearse: str = REHEARSE,
        grade: str = GRADE,
    ) -> None:
        self.made_for = (settings, labs, rehearse, grade)
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, *_flags(), "-m", _MODULE, str(its.fileno())],
                pass_fds=(its.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        order = {"settings": settings, "labs": labs, "rehearse": rehearse, "grade": grade}
        try:
            self._connection.send_bytes(pickle.dumps(order))
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            self.close()
            raise InfraError(msg("the process that grades ended while it was started.")) from None
        if "error" in answer:
            self.close()
            raise InfraError(**{name: from_json(text) for name, text in answer["error"].items()})
        self.host = Host.from_json(answer["host"])

    def grade(self, job: Job) -> Result:
        """Grade a job.

        Raises:
            InfraError: this process is gone.
        """
        try:
            self._connection.send_bytes(pickle.dumps(job))
            return Result.from_json(self._connection.recv_bytes())
        except (EOFError, OSError, ValueError):
            self.close()
            raise InfraError(msg("the process that starts gradings died.")) from None

    def resident_mib(self) -> int:
        """Return how much memory this process has now, in MiB."""
        text = Path(f"/proc/{self._process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

    def close(self) -> None:
        """End this process with everything that it has started. Safe to call again."""
        with contextlib.suppress(OSError):
            self._connection.close()
        kill_tree(self._process)


def grade(job: Job, labs: tuple[str, ...], rehearse: str = REHEARSE, grader: str = GRADE) -> bytes:
    """Grade a job on this worker; this is the task that the scheduler knows.

    Args:
        job: the job.
        labs: all labs of the batch.
        rehearse: as for `Warm`.
        grader: likewise.

    Returns:
        The result as JSON. A failure of the grader is a result, too.
    """
    try:
        warm = _warm(job.settings, labs, rehearse, grader)
        if warm.host.identity != job.settings.identity:
            what = msg("this worker has another grader, course or toolchain")
            return replace(Result("stranger", what), host=warm.host, worker=_address()).to_json()
        result = replace(warm.grade(job), host=warm.host)
    except InfraError as error:
        told = msg("{message} ({found})", message=error.message, found=error.found)
        result = Result("failed", told if error.found else error.message)
    return replace(result, worker=_address()).to_json()


def _warm(settings: Settings, labs: tuple[str, ...], rehearse: str, grader: str) -> Warm:
    """Return this thread's warm process."""
    found: Warm | None = getattr(_threads, "warm", None)
    wanted = (settings, labs, rehearse, grader)
    if found is not None and found.made_for == wanted and found._process.poll() is None:
        return found
    if found is not None:
        found.close()
    _threads.warm = None
    _threads.warm = found = Warm(settings, labs, rehearse, grader)
    return found


def _address() -> str:
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:  # called outside of a worker
        return f"process {os.getpid()}"


def _flags() -> list[str]:
    """Return the flags of a Python that looks for modules only where they are installed."""
    return ["-I", *(["-B"] if sys.flags.dont_write_bytecode else [])]
