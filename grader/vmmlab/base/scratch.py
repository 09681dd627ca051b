"""Temporary folders that do not stay, even if this process is killed.

A folder is locked as long as its process lives. The next process that needs one removes those that
are not locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vmmlab.base.removal import remove_tree

PREFIX: Final = "vmmlab-"
_UNLOCKED: Final = f".{PREFIX}"
"""The beginning of the name of a folder that is not locked yet."""
_YOUNG_S: Final = 60.0
"""A folder that is younger may be about to be locked."""
_OLD_S: Final = 24 * 3600.0
"""Where nothing can be locked, as on some network file systems, a folder is removed at this age."""
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_reaped: set[Path] = set()
_guard = threading.Lock()


@contextmanager
def scratch_folder(kind: str, parent: Path | None = None) -> Iterator[Path]:
    """Provide a new private folder, which is removed afterwards with all that is in it.

    Args:
        kind: a word in its name.
        parent: where; None: where temporary files go.

    Raises:
        OSError: it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    with _guard:
        first = parent not in _reaped
        _reaped.add(parent)
    if first:
        reap(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_UNLOCKED}{kind}-", dir=parent))
    try:
        lock = os.open(folder, _FLAGS)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = folder.rename(parent / folder.name.removeprefix("."))
            yield folder
        finally:
            os.close(lock)
    finally:
        remove_tree(folder)


def reap(parent: Path) -> None:
    """Remove what killed processes of this user have left in a folder.

    Args:
        parent: where `scratch_folder` has put them.
    """
    try:
        with os.scandir(parent) as entries:
            left = [entry.name for entry in entries if entry.name.startswith((PREFIX, _UNLOCKED))]
    except OSError:
        return
    for name in left:
        with contextlib.suppress(OSError):
            _reap_one(parent / name)


def _reap_one(folder: Path) -> None:
    found = folder.lstat()
    age = time.time() - found.st_mtime
    young = folder.name.startswith(_UNLOCKED) and 0 <= age < _YOUNG_S
    if found.st_uid != os.getuid() or young:
        return
    lock = os.open(folder, _FLAGS)  # OSError for a file or a link
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            if age < _OLD_S:
                return
        remove_tree(folder)
    finally:
        os.close(lock)
