"""Says what a worksheet that was handed in is, if it is none: before nbgrader reads it.

nbgrader's words for these are of its own insides, or of nbformat's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import SubmissionError
from vmmlab.base.message import EMPTY, Text, msg
from vmmlab.base.text import clean_line
from vmmlab.course.likeness import other_kind

FORMAT: Final = 4
"""The version of nbformat in which Jupyter saves notebooks."""

_STEM: Final = "worksheet"
_TIMESTAMP: Final = "timestamp.txt"
_CELLS: Final = ("code", "markdown", "raw")
_NAMED: Final = 5
_SHOWN: Final = 120


def check_sheets(folder: Path) -> None:
    """Check the files of a submission, submitted/STUDENT/LAB, that nbgrader reads.

    Raises:
        SubmissionError: there is no worksheet, or one that is no notebook; or the time when it was
            handed in is none.
    """
    found = sorted(path for path in folder.glob("*.ipynb") if path.name.startswith(_STEM))
    if not [path for path in found if path.name.split(".")[0] == _STEM]:
        there = sorted(path.name for path in folder.iterdir())[:_NAMED]
        raise SubmissionError(
            msg("{name} has no worksheet.", name=_shown(folder, folder)),
            expected=f"{_STEM}.ipynb",
            found=clean_line(", ".join(there), _SHOWN) or msg("nothing"),
            next_step=msg("give the file its name back, if it is the worksheet"),
        )
    for path in found:
        if why := why_none(path.read_bytes()):
            raise SubmissionError(
                msg("{name} is no notebook.", name=_shown(folder, path)),
                expected=msg("the notebook as Jupyter saves it"),
                found=why,
                next_step=msg("ask the student for the notebook itself, as Jupyter saves it"),
            )
    path = folder / _TIMESTAMP
    if path.is_file() and not _is_time(path.read_bytes()):
        raise SubmissionError(
            msg("{path}: this is not a time.", path=_shown(folder, path)),
            expected=msg("2026-11-22 23:59:00 +0900, or … UTC"),
            next_step=msg("correct it, or remove it"),
        )


def why_none(data: bytes) -> Text:
    """Return why data are no notebook; "" if they are one."""
    if kind := other_kind(data):
        return kind
    if data.startswith(b"\xef\xbb\xbf"):
        return msg("text with a byte order mark in front: save it from Jupyter again")
    try:
        notebook = json.loads(data.decode())
    except UnicodeDecodeError:
        return msg("it is not UTF-8 text")
    except ValueError:
        if not data.strip():
            return msg("an empty file")
        if b"<<<<<<<" in data and b">>>>>>>" in data:
            return msg("text with the marks of a merge that nobody has finished")
        return msg("text that is not JSON")
    version = notebook.get("nbformat") if isinstance(notebook, dict) else None
    if isinstance(version, int) and version != FORMAT:
        return msg(
            "a notebook of version {version}; version {wanted} is expected",
            version=version,
            wanted=FORMAT,
        )
    if version is None or not _has_cells(notebook):
        return msg("JSON that is no notebook: cells are missing, or are none")
    return EMPTY


def _has_cells(notebook: dict[str, Any]) -> bool:
    cells = notebook.get("cells")
    return isinstance(cells, list) and all(
        isinstance(one, dict)
        and one.get("cell_type") in _CELLS
        and isinstance(one.get("metadata"), dict)
        for one in cells
    )


def _is_time(data: bytes) -> bool:
    """Return whether nbgrader reads a time in a file: if not, it fails with an error of its own."""
    from nbgrader.utils import parse_utc

    try:
        text = data.decode().strip()
        return not text or parse_utc(text) is not None
    except (ValueError, OverflowError):
        return False


def _shown(folder: Path, path: Path) -> str:
    return clean_line(str(path.relative_to(folder.parent.parent)), _SHOWN)
