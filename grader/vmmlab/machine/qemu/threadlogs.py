"""A log for each of QEMU's threads, through named pipes.

QEMU opens the log of a thread when the thread first has something to log, by the thread's id
(`-d tid`, `-D log.%d`). The ids of the processors' threads are known when QEMU has started, and the
processors have not executed anything then: so their pipes are made in time. What other threads log
is lost; a sandbox shows them a folder in which they cannot make files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from vmmlab.base.scratch import scratch_folder

PIPE_BYTES: Final = 1 << 18
"""How much a pipe holds, so that a burst of lines does not make a processor wait."""
FOLDER_INSIDE: Final = Path("/log")
"""The name of the folder in a sandbox."""
_NAME: Final = "log.%d"


class ThreadLogs:
    """The folder of the pipes.

    Args:
        stack: closes the pipes and removes the folder.

    Attributes:
        folder: where it is on this host.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.folder = stack.enter_context(scratch_folder("log"))

    def template(self, renames: bool) -> Path:
        """Return the name for QEMU's `-D`.

        Args:
            renames: QEMU runs in a sandbox in which the folder is `FOLDER_INSIDE`.
        """
        return (FOLDER_INSIDE if renames else self.folder) / _NAME

    def open(self, threads: Mapping[int, int]) -> dict[int, int]:
        """Make the pipes of these threads; return their ends for reading, non-blocking.

        Args:
            threads: key: a processor; value: the id of its thread, as QEMU itself knows it.
        """
        made = {}
        for cpu, thread in threads.items():
            path = self.folder / (_NAME % thread)
            os.mkfifo(path, 0o600)
            # Open for writing too: so it never ends, and QEMU need not wait for a reader.
            made[cpu] = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self._stack.callback(os.close, made[cpu])
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(made[cpu], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return made
