"""A control group around all processes of one submission, where the system hands one out.

Limits of processes hold for each alone; a control group limits memory and number of all together,
and ends all of them at once. Only version 2 is used, and only below a folder that this user may
write to: nothing is asked of root or of systemd.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst ("Delegation", "Memory", "PID").
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.message import Text, msg

MEMORY_MIB: Final = 1280
"""All processes of one submission together, MiB."""
PROCESSES: Final = 512
"""Processes and threads of one submission at once; a machine with 20 CPUs needs some 30."""

_CONTROLLERS: Final = frozenset(("memory", "pids"))
_MOUNT: Final = Path("sys/fs/cgroup")
_GONE_WITHIN_S: Final = 2.0
_ENTER: Final = 'echo $$ > "$1" || exit 125; shift; exec "$@"'
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Support:
    """Whether control groups can be made here.

    Attributes:
        parent: the folder below which they can, None if they cannot.
        reason: why not.
    """

    parent: Path | None
    reason: Text = ""

    @property
    def text(self) -> Text:
        """What is limited, for people."""
        if self.parent is None:
            return msg(
                "limits of each process alone; no control group can be made ({reason})",
                reason=self.reason,
            )
        return msg(
            "a control group for each submission: {memory} MiB of memory, {processes} processes",
            memory=MEMORY_MIB,
            processes=PROCESSES,
        )


def examine(root: Path = Path("/")) -> Support:
    """Return where control groups can be made: below the nearest one that hands out controllers.

    Args:
        root: where /proc and /sys are looked for (for tests).
    """
    mount = root / _MOUNT
    if not (mount / "cgroup.controllers").is_file():
        return Support(None, msg("the system has no control groups of version 2"))
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return Support(None, msg("this process is in none of version 2"))
    here = mount / own.strip("/")
    for folder in (here, *here.parents):
        if not folder.is_relative_to(mount):
            break
        if _hands_out(folder) and _may_write(folder):
            return Support(folder)
    return Support(None, msg("none that this user may write to hands out memory and processes"))


def _hands_out(folder: Path) -> bool:
    try:
        handed = set((folder / "cgroup.subtree_control").read_text().split())
    except OSError:
        return False
    return handed >= _CONTROLLERS


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)


class Group:
    """One control group, until it is closed.

    Args:
        folder: its folder, which exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def enter(self) -> list[str]:
        """Return the command in front of a program that enters the group and becomes the program.

        The program has no rights outside of its sandbox to leave the group again.
        """
        return ["/bin/sh", "-c", _ENTER, "sh", str(self._folder / "cgroup.procs")]

    def close(self) -> None:
        """End all processes of the group, and remove it. Safe to call again."""
        end = time.monotonic() + _GONE_WITHIN_S
        while self._folder.is_dir():
            kill = self._folder / "cgroup.kill"  # Linux 5.14; else each sandbox ends its own
            with contextlib.suppress(OSError):
                if kill.exists():
                    kill.write_text("1")
            with contextlib.suppress(OSError):
                self._folder.rmdir()
                return
            if time.monotonic() > end:
                return  # give up: an empty group costs nothing
            time.sleep(0.005)


def make(support: Support | None = None) -> Group | None:
    """Make a group for one submission; None where that does not work.

    Args:
        support: where; looked for if None.
    """
    parent = (support or examine()).parent
    if parent is None:
        return None
    folder = parent / f"vmmlab-{os.getpid()}-{next(_numbers)}"
    limits = {"memory.max": MEMORY_MIB << 20, "memory.swap.max": 0, "pids.max": PROCESSES}
    try:
        folder.mkdir()
        for name, value in limits.items():
            if name != "memory.swap.max" or (folder / name).exists():
                (folder / name).write_text(str(value))
    except OSError:
        Group(folder).close()
        return None
    return Group(folder)
