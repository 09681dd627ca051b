"""Keeps private copies of submitted files: FOLDER/STUDENT/LAB/FILE."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from vmmlab.base.errors import InfraError, os_reason
from vmmlab.base.files import write_atomically
from vmmlab.base.message import msg


def store(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder hold exactly these files; one that does so already is left alone.

    Args:
        folder: belongs to this program: whatever else is in it is removed.
        files: content by name, `lab3/ap_start.c`.

    Raises:
        InfraError: it cannot be written.
    """
    try:
        if _holds(folder, files):
            return
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, data)
    except OSError as error:
        raise InfraError(
            msg("{path}: cannot be written: {reason}.", path=folder, reason=os_reason(error)),
            next_step=msg("free some space, then run this again"),
        ) from None


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    there = {
        one.relative_to(folder).as_posix(): one
        for one in folder.rglob("*")
        if not one.is_dir() or one.is_symlink()
    }
    if folder.is_symlink() or not folder.is_dir() or there.keys() != files.keys():
        return False
    return all(not p.is_symlink() and p.read_bytes() == files[name] for name, p in there.items())
