"""Ends a kernel whose processes are too many or use too much memory.

Resource limits count for each process by itself, and not every system has cgroups that a user may
make. So the processes of a kernel are looked at several times a second.

Source: proc(5): `statm`, `task`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.host.processes import children

PROCESSES: Final = 64
"""The most processes of a kernel; threads count like processes, four for one."""
MEMORY_MIB: Final = 1024
"""The most memory of all processes of a kernel, in MiB."""
_PERIOD_S: Final = 0.1
_THREADS: Final = 4
_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Guard:
    """Watches a process and all that it has started, in a thread of its own.

    Args:
        pid: a child of this process that is not reaped before `close`.
        end: called once if there are too many or too large ones; ends them.

    Attributes:
        reason: why they were ended; "" if they were not.
    """

    def __init__(self, pid: int, end: Callable[[], None]) -> None:
        self.reason: Text = ""
        self._pid = pid
        self._end = end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_PERIOD_S):
            self.reason = exceeded(self._pid)
            if self.reason:
                self._end()
                return


def exceeded(pid: int, processes: int = PROCESSES, memory_mib: int = MEMORY_MIB) -> Text:
    """Return which limit a process exceeds together with all that it has started; "" for none.

    Args:
        pid: the process.
        processes: as `PROCESSES`.
        memory_mib: as `MEMORY_MIB`.
    """
    waiting, count, threads, pages = [pid], 0, 0, 0
    while waiting:
        one = waiting.pop()
        count += 1
        threads += _threads(one)
        pages += _resident(one)
        if count > processes or threads > processes * _THREADS:
            return msg("ended because it had more than {processes} processes", processes=processes)
        waiting += children(one)
    if pages * _PAGE > memory_mib << 20:
        return msg("ended because it needed more than {mib} MiB of memory", mib=memory_mib)
    return ""


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(_PROC / str(pid) / "task"))  # noqa: PTH208
    except OSError:
        return 0


def _resident(pid: int) -> int:
    """Return the pages of a process that are in memory."""
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
