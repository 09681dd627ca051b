"""Ends a process together with everything that it has started, at any moment of its life.

Killing bubblewrap alone is not enough: between its clone and the moment in which the child asks to
die with its parent (prctl(2), PR_SET_PDEATHSIG), the child would survive. So a process is stopped
first, then its children are ended, then the process: a stopped process starts no others.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from pathlib import Path

_PROC = Path("/proc")
_STOP_WITHIN_S = 1.0
_UTIME, _STIME = 14, 15  # fields of /proc/PID/stat (proc(5)), from 1


def end_tree(pid: int) -> None:
    """Kill a process and all its descendants; processes that have ended already are skipped.

    Args:
        pid: a child of this process that has not been waited for, so that the number is still its
            own.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)
        _until_stopped(pid)
    for child in children(pid):
        end_tree(child)
        _until_ended(child)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def oom_kills() -> int | None:
    """Return how many processes Linux has ended since its start because memory ran out.

    In a container and in a cgroup as well (proc(5), /proc/vmstat, since Linux 4.13); None where the
    system does not say.
    """
    try:
        text = (_PROC / "vmstat").read_text("ascii")
    except OSError:
        return None
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def children(pid: int) -> list[int]:
    """Return the running processes that `pid` has started; empty where there is no /proc."""
    found: list[int] = []
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
        for task in tasks:
            found += map(int, (task / "children").read_text().split())
    except FileNotFoundError:
        found = [int(path.name) for path in _PROC.glob("[0-9]*") if _parent(path) == pid]
    except (ProcessLookupError, PermissionError):
        return []
    return found


def processor_time_s(pid: int) -> float | None:
    """Return the processor time of a process and its running descendants, in seconds.

    Args:
        pid: the process.

    Returns:
        The time; None where there is no /proc, or no such process.
    """
    fields = _stat(_PROC / str(pid))
    if len(fields) < _STIME:
        return None
    own = (int(fields[_UTIME - 3]) + int(fields[_STIME - 3])) / os.sysconf("SC_CLK_TCK")
    return own + sum(processor_time_s(child) or 0.0 for child in children(pid))


def _until_stopped(pid: int) -> None:
    """Wait until the kernel has stopped a process that was sent SIGSTOP: usually microseconds."""
    end = time.monotonic() + _STOP_WITHIN_S
    while _state(_PROC / str(pid)) in ("R", "S", "D") and time.monotonic() < end:
        os.sched_yield()


def _until_ended(pid: int) -> None:
    """Wait until a killed process has ended, usually for a few milliseconds.

    If its parent dies first, and is the first process of a namespace, the kernel forgets how much
    processor time it has used (pid_namespaces(7)).
    """
    if not hasattr(os, "pidfd_open"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(_STOP_WITHIN_S * 1000)
        finally:
            os.close(descriptor)


def _stat(path: Path) -> list[str]:
    """Return fields 3 and later of /proc/PID/stat (proc(5)); empty if the process is gone."""
    try:
        return (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return []


def _state(path: Path) -> str:
    return (_stat(path) or [""])[0]


def _parent(path: Path) -> int:
    fields = _stat(path)
    return int(fields[1]) if len(fields) > 1 else -1
