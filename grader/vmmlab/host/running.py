"""The processes that a sandbox has started, so that all of them can be ended at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import Any

from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg
from vmmlab.host.processes import end_tree


class Running:
    """Started processes. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def start(self, command: Any, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process, as subprocess.Popen does.

        Raises:
            InfraError: `stop` was called.
            OSError: it cannot be started.
        """
        with self._lock:
            if self._stopped:
                raise InfraError(msg("stopped"))
            process = subprocess.Popen(command, **options)
            self._processes.add(process)
            return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End and reap one of the processes with all that it has started."""
        with self._lock:
            self._processes.discard(process)
            kill_tree(process)

    def stop(self) -> None:
        """End all processes and start no more; a thread that waits for one of them continues."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                end_tree(process.pid)  # reaped by `end`


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process started from `Sandbox.wrap` and all that it has started, and reap it.

    Does nothing if the process has been reaped already.
    """
    if process.returncode is not None:
        return
    # Not reaped yet, so its number cannot belong to another process.
    end_tree(process.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
