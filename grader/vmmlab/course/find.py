"""Where the course is found on disk."""

from __future__ import annotations

import functools
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Final

from vmmlab.base import owned
from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg

COURSE_FILE: Final = "course.yml"
"""The file that makes a folder a course."""

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_INSTALLED: Final = (_PACKAGE.parents[1], _PACKAGE / "data")


def find_course(start: Path, explicit: Path | None = None, made_from: Path | None = None) -> Path:
    """Return the directory of the course to use.

    In this order: `explicit`; `made_from`; the nearest course from `start` upwards that is the
    user's own; the kit that vmmlab runs from; the data in the wheel; the folder that pip has
    installed vmmlab from. A course runs its Python as the user, so no other one is used: it may be
    part of a submission.

    Args:
        start: where the search begins.
        explicit: the value of --course: the directory, or the course.yml in it.
        made_from: the course that the user's own workspace was made from.

    Raises:
        UsageError: `explicit` holds no course.yml, or there is no course anywhere.
    """
    if explicit is not None:
        root = explicit.parent if explicit.name == COURSE_FILE else explicit
        if not (root / COURSE_FILE).is_file():
            raise UsageError(
                msg("{explicit} is not a course.", explicit=explicit),
                expected=msg("a folder that holds {course_file}", course_file=COURSE_FILE),
                next_step=msg("give --course the folder of the kit, or leave it out"),
            )
        return root.resolve()
    if made_from is not None and _is_course(made_from):
        return made_from
    for candidate in (*_upwards(start), *_INSTALLED):
        if _is_course(candidate) and _is_own(candidate):
            return candidate
    source = _installed_from()
    if source is not None and _is_course(source):
        return source
    raise UsageError(
        msg("no course was found in {start} or above it.", start=start.resolve()),
        expected=msg("a folder with {course_file} and labs/", course_file=COURSE_FILE),
        next_step=msg("run vmmlab inside the kit, or add --course DIR"),
    )


def passed_over(start: Path) -> Path | None:
    """Return the course that `find_course` does not use because it is not the user's own.

    Args:
        start: where the search begins.
    """
    for candidate in _upwards(start):
        if _is_course(candidate):
            return None if _is_own(candidate) else candidate
    return None


def not_own(folder: Path) -> UsageError:
    """Return the error about a course that is not known to be the user's own."""
    return UsageError(
        msg("{folder} is not the course that this vmmlab belongs to.", folder=folder),
        expected=msg("a course of your own: its Python would run with your permissions"),
        next_step=msg(
            "add --course {folder}, or declare once that it is yours: vmmlab adopt {folder}",
            folder=shlex.quote(str(folder)),
        ),
    )


def is_installed(root: Path) -> bool:
    """Return whether a course is the one that vmmlab comes with."""
    return root.resolve() in _INSTALLED


@functools.cache
def _installed_from() -> Path | None:
    """Return the folder that pip has installed this vmmlab from, if pip has noted one (PEP 610)."""
    from importlib import metadata  # late: these are slow, and seldom needed
    from urllib.parse import unquote, urlsplit

    try:
        found = metadata.distribution("vmmlab")
        note = json.loads(found.read_text("direct_url.json") or "{}")
        url = urlsplit(note.get("url", ""))
        running = Path(str(found.locate_file("vmmlab"))).resolve() == _PACKAGE
    except (metadata.PackageNotFoundError, OSError, ValueError, AttributeError):
        return None
    if not running or url.scheme != "file" or "dir_info" not in note:
        return None
    return Path(unquote(url.path)).resolve()


def _upwards(start: Path) -> tuple[Path, ...]:
    start = start.resolve()
    return (start, *start.parents)


def _is_course(folder: Path) -> bool:
    # Path.is_file would raise for a folder that may not be searched.
    return os.path.isfile(folder / COURSE_FILE) and os.path.isdir(folder / "labs")  # noqa: PTH112,PTH113


def _is_own(folder: Path) -> bool:
    """Return whether a course is the user's own: vmmlab runs from it, or the user said so."""
    return (
        folder in _INSTALLED
        or Path(sys.prefix).resolve().is_relative_to(folder)
        or owned.record(folder) is not None
        or folder == _installed_from()
    )
