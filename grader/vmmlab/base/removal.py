"""Removes a folder that an untrusted program has filled, whatever its depth, names and modes.

shutil.rmtree recurses and needs an open descriptor, or a path, for each level. Here a folder in a
folder is moved to the top before it is emptied, so nothing ever lies deeper than two levels.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

_AT_ONCE = 1000
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> bool:
    """Remove a folder with all that is in it; return whether it is gone. Links are not followed.

    No process may still use it.

    Args:
        path: the folder; nothing happens if there is none.
    """
    with contextlib.suppress(OSError):
        _empty(path)
        path.rmdir()
    return not os.path.lexists(path)


def _empty(path: Path) -> None:
    if stat.S_ISDIR(path.lstat().st_mode):
        with contextlib.suppress(OSError):
            path.chmod(0o700)
    top = os.open(path, _FLAGS)
    moved = _Moved(top)
    try:
        waiting = moved.strip(top)
        while waiting:
            name = waiting.pop()
            folder = os.open(name, _FLAGS, dir_fd=top)
            try:
                waiting += moved.strip(folder)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


class _Moved:
    """Moves folders to the top, under names that nothing in there can have.

    Args:
        top: descriptor of the folder above all.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._prefix = f".vmmlab-{secrets.token_hex(8)}-"
        self._count = 0

    def strip(self, folder: int) -> list[str]:
        """Delete all in a folder but the folders, which are moved; return their new names.

        Args:
            folder: its descriptor.
        """
        moved: list[str] = []
        while names := self._some(folder):
            for name in names:
                if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                    os.unlink(name, dir_fd=folder)
                    continue
                os.chmod(name, 0o700, dir_fd=folder)
                moved.append(f"{self._prefix}{self._count}")
                self._count += 1
                os.rename(name, moved[-1], src_dir_fd=folder, dst_dir_fd=self._top)
        return moved

    def _some(self, folder: int) -> list[str]:
        """Return names in a folder that were not moved there; none if there are no more."""
        found: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(self._prefix):
                    found.append(entry.name)
                    if len(found) >= _AT_ONCE:
                        break
        return found
