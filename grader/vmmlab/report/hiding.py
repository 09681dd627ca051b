"""Removes this host's paths from a report that students may be given.

Such a place gets into a report by the command that runs a check again, and by what broke in the
grader.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from vmmlab.base.files import cache_dir
from vmmlab.base.scratch import PREFIX

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_SHORTEST: Final = 2  # parts of a path: "/" and "/x" say nothing of a host


def places(course: Path, submission: str = "") -> dict[str, str]:
    """Return what each place of this host is called in a report.

    Args:
        course: the folder of the course.
        submission: the submission as it was named.
    """
    found: dict[Path, str] = {course.resolve(): "course", _PACKAGE: "vmmlab"}
    temporary = Path(tempfile.gettempdir())
    found[temporary] = "tmp"
    if temporary.name.startswith(PREFIX):  # of one grading of a batch
        found[temporary.parent] = "tmp"
    with suppress(RuntimeError):  # the user has no home directory
        found[cache_dir()] = "cache"
        found[Path.home()] = "~"
    if submission:
        name = Path(submission).resolve().name
        found[Path(submission).resolve()] = name
        if Path(submission).is_absolute() or ".." in Path(submission).parts:
            found[Path(submission)] = name
    return {str(path): name for path, name in found.items() if len(str(path)) > _SHORTEST}


def without_places(text: str, names: Mapping[str, str]) -> str:
    """Return the JSON text of a report without the places of this host.

    Args:
        text: from `Report.to_json`.
        names: from `places`.
    """
    for place in sorted(names, key=len, reverse=True):
        for written in (place, json.dumps(place, ensure_ascii=False)[1:-1]):
            text = text.replace(written, names[place])
    return text
