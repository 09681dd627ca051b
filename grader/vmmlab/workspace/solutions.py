"""Records which solutions were requested in a workspace. Knows no solution itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from vmmlab.base.files import read_regular, write_atomically
from vmmlab.base.workspacefile import STATE_FOLDER
from vmmlab.course.model import Course

_FILE: Final = "solutions.json"
_MOST: Final = 64 * 1024  # bytes


def may_compare(course: Course, root: Path, lab: str) -> bool:
    """Return whether the right run of a lab may be shown beside the reader's own.

    Args:
        course: in a self-study release it may.
        root: the reader's workspace; elsewhere it may after `vmmlab solution LAB` there.
        lab: the lab.
    """
    return course.self_study or lab in seen(root)


def seen(root: Path) -> frozenset[str]:
    """Return the labs whose solutions were shown in a workspace; none if that cannot be read."""
    try:
        labs = json.loads(read_regular(_file(root), _MOST))["seen"]
        return frozenset(lab for lab in labs if isinstance(lab, str))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def mark_seen(root: Path, lab: str) -> None:
    """Remember in a workspace that the solution of a lab was shown.

    Raises:
        OSError: it cannot be written.
    """
    path = _file(root)
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"seen": sorted({*seen(root), lab})}, indent=1)
    write_atomically(path, f"{text}\n".encode())


def _file(root: Path) -> Path:
    return root / STATE_FOLDER / _FILE
