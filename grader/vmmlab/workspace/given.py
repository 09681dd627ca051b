"""The hash of each file that vmmlab put into a workspace, by which changes are found.

The student's own files, starters and worksheets, are listed as well; nothing ever replaces them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from vmmlab.base.files import read_regular
from vmmlab.base.workspacefile import STATE_FOLDER, WORKSPACE_FILE
from vmmlab.course.model import Course

FILE: Final = f"{STATE_FOLDER}/given.json"
"""The file in a workspace."""

_MOST: Final = 4 << 20  # bytes
_NOT_GIVEN: Final = frozenset({WORKSPACE_FILE, FILE})


def files_of(folder: Path) -> Mapping[str, bytes]:
    """Return the given files of a workspace that was just made, by path."""
    return dict(_files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_symlink() and path.is_file() and name not in _NOT_GIVEN:
            yield name, path.read_bytes()


def listing(files: Mapping[str, bytes]) -> bytes:
    """Return the text of `FILE`."""
    text = json.dumps({name: digest(data) for name, data in files.items()}, indent=1)
    return f"{text}\n".encode()


def write_listing(folder: Path) -> None:
    """Write `FILE` into a workspace that was just made.

    Raises:
        OSError: it cannot be written.
    """
    (folder / STATE_FOLDER).mkdir(exist_ok=True)
    (folder / FILE).write_bytes(listing(files_of(folder)))


def read_listing(root: Path) -> Mapping[str, str]:
    """Return the hash of each given file, as it was put there; none if that is not known."""
    try:
        data = json.loads(read_regular(root / FILE, _MOST))
        return {str(name): str(value) for name, value in data.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def digest(data: bytes) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(data).hexdigest()


def digest_at(path: Path) -> str | None:
    """Return the hash of a file on the disk; None if there is none that can be read."""
    try:
        return digest(read_regular(path, os.stat(path).st_size + 1))  # noqa: PTH116
    except OSError:
        return None


def is_students(path: str, course: Course) -> bool:
    """Return whether a file of a workspace is the student's: a file to hand in, or a worksheet."""
    lab, _, name = path.partition("/")
    if lab not in course.labs:
        return False
    return path in course.labs[lab].files or name.endswith(".ipynb")
