"""The resources that one grading may use, and how many gradings fit into a batch's limits.

Limits of processes and control groups hold for programs in the sandbox. This is looked at from
outside, for everything that a grading has started and everything that it has written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, msg
from vmmlab.worksheet.guard import exceeded as too_many

LOOK_S: Final = 0.5
"""How often a grading is looked at."""
_ANY: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Share:
    """The most of one grading.

    Attributes:
        processes: its processes; four threads count as one. A boot with 20 CPUs has some ten.
        scratch_mib: its temporary files in MiB; a right submission has less than 20.
    """

    processes: int = 128
    scratch_mib: int = 256

    @property
    def text(self) -> Text:
        """What is enforced, for people."""
        return msg(
            "each grading: {processes} processes, {mib} MiB of temporary files",
            processes=self.processes,
            mib=self.scratch_mib,
        )

    def fit(self, processes: int, scratch_mib: int) -> int:
        """Return how many gradings fit into what a whole batch may have; 0: any number.

        Args:
            processes: of the whole batch; 0: any number.
            scratch_mib: MiB of temporary files of the whole batch; 0: any number.

        Raises:
            UsageError: not one fits.
        """
        asked = (
            ("--processes", processes, self.processes),
            ("--scratch", scratch_mib, self.scratch_mib),
        )
        for option, whole, part in asked:
            if 0 < whole < part:
                raise UsageError(
                    msg("{option} {count}: no grading fits in.", option=option, count=whole),
                    expected=msg("at least {count}", count=part),
                )
        return min((whole // part for _, whole, part in asked if whole), default=0)


def exceeded(pid: int, folder: Path, share: Share) -> Text:
    """Return of what a grading has more than its share; "" for nothing.

    Args:
        pid: its process.
        folder: holds all its temporary files.
        share: the most that it may have.
    """
    if _bytes_in(folder, share.scratch_mib << 20) > share.scratch_mib << 20:
        return msg(
            "ended because it had more than {mib} MiB of temporary files", mib=share.scratch_mib
        )
    return too_many(pid, processes=share.processes, memory_mib=_ANY)


def _bytes_in(folder: Path, enough: int) -> int:
    """Return what the files in a folder take on the disk, counted up to `enough`."""
    waiting, total = [os.fspath(folder)], 0
    while waiting and total <= enough:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # it has been removed meanwhile, or is too deep for a path
    return total
