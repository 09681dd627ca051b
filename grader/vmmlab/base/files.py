"""Where the program keeps files of its own, and writing a file in one go."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder for what can be made again: $XDG_CACHE_HOME/vmmlab, else ~/.cache/vmmlab.

    It need not exist.

    Raises:
        RuntimeError: the variable is not set and the user has no home directory.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "vmmlab"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old content or the whole new one.

    A symbolic link stays one; a pipe or a device such as /dev/stdout is written to directly.

    Args:
        path: where to; its folder exists.
        data: the content.

    Raises:
        OSError: it cannot be written there.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    beside = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
