"""Where the course is found on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg

COURSE_FILE: Final = "course.yml"
"""The file that makes a folder a course."""

_PACKAGE: Final = Path(__file__).resolve().parents[1]


def find_course(start: Path, explicit: Path | None = None) -> Path:
    """Return the directory of the course to use.

    In this order: `explicit`; the nearest course.yml beside a folder labs/, from `start` upwards;
    the kit that vmmlab is installed from; the data in the wheel.

    Args:
        start: where the search begins.
        explicit: the value of --course: the directory, or the course.yml in it.

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
    start = start.resolve()
    for candidate in (start, *start.parents, _PACKAGE.parents[1], _PACKAGE / "data"):
        if (candidate / COURSE_FILE).is_file() and (candidate / "labs").is_dir():
            return candidate
    raise UsageError(
        msg("no course was found from {start} upwards.", start=start),
        expected=msg("a folder with {course_file} and labs/", course_file=COURSE_FILE),
        next_step=msg("call vmmlab inside the kit, or add --course DIR"),
    )
