"""Which folders are the user's own: workspaces and courses that this vmmlab made or was told about.

A submission says whatever its author wants. So nothing in a folder decides whether it is the user's
own, but a record in the user's state folder. A record belongs to one path and one mark: another
workspace at the same path has another mark. A known mark at another path is a copy: the user's, or
that of a person to whom the workspace was given.

The variable `VMMLAB_OWN` names folders in which everything is the user's own: for containers and
CI, where no state folder lasts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.files import state_dir, write_atomically

_MARK: Final = re.compile(r"[0-9a-f]{32}")

VARIABLE: Final = "VMMLAB_OWN"
"""The environment variable with folders, separated as in PATH, in which everything is one's own."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a folder of the user's own.

    Attributes:
        mark: what the folder has to be marked with; "" for one that has no mark.
        course: the course that it was made from; None if that is the installed one, or unknown.
    """

    mark: str = ""
    course: Path | None = None

    def fits(self, mark: str) -> bool:
        """Return whether a folder with this mark is the one that is remembered."""
        return self.mark in ("", mark)


def record(folder: Path) -> Record | None:
    """Return what is remembered of a folder; None if it is not the user's own. Reads only records.

    Args:
        folder: without symbolic links.
    """
    for name in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        top = Path(name)
        if top.is_absolute() and folder.is_relative_to(os.path.realpath(top)):
            return Record()
    found = _read(os.fspath(folder))
    return found[1] if found and found[0] == os.fspath(folder) else None


def record_of_copy(mark: str) -> Record | None:
    """Return what is remembered of the folder that a mark was made for; None if it is unknown.

    Args:
        mark: as another folder has it.
    """
    if not _MARK.fullmatch(mark):
        return None
    found = _read(mark)
    return found[1] if found and found[1].mark == mark else None


def claim(folder: Path, mark: str = "", course: Path | None = None) -> None:
    """Remember a folder as the user's own.

    Args:
        folder: where it is.
        mark: as for `Record`.
        course: as for `Record`.

    Raises:
        OSError: the record cannot be written.
        RuntimeError: the user has no home directory.
    """
    folder = folder.resolve()
    data = {
        "path": os.fspath(folder),
        "mark": mark,
        "course": None if course is None else os.fspath(course.resolve()),
    }
    for key in filter(None, (os.fspath(folder), mark)):
        file = _file(key)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(file, json.dumps(data).encode() + b"\n")


def new_mark() -> str:
    """Return a mark that no folder has yet."""
    return secrets.token_hex(16)


def _read(key: str) -> tuple[str, Record] | None:
    """Return the path in a record, and the record; None if there is none that can be read."""
    try:
        data = json.loads(_file(key).read_bytes())
        path, mark, course = data["path"], data["mark"], data["course"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(path, str) or not isinstance(mark, str):
        return None
    return path, Record(mark, Path(course) if isinstance(course, str) else None)


def _file(key: str) -> Path:
    return state_dir() / "own" / f"{hashlib.sha256(os.fsencode(key)).hexdigest()}.json"
