"""What a release for self-study adds: solutions, hidden checks, answers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from vmmlab.base.errors import CourseError
from vmmlab.base.message import msg
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.model import Course, Kind

ANSWERS: Final = ("answers.md", "answers.ja.md")
"""The pages of reference/ with the answers to the handouts' questions; a last chapter."""

WORKSHEETS: Final = "answered"
"""The folder of a lab with its worksheet as it has the answers."""

_NOT_COPIED: Final = shutil.ignore_patterns("__pycache__", "*.pyc")
_KIND: Final = re.compile(r"^(title:.*)$", re.MULTILINE)


def named_kind(text: str, kind: Kind) -> str:
    """Return a course.yml that says what kind of a course it is.

    Raises:
        CourseError: it has no line for the title, after which that goes.
    """
    named, count = _KIND.subn(lambda title: f"{title[1]}\nkind: {kind}", text, count=1)
    if not count:
        raise CourseError(
            msg("{file} does not say `title:` on a line of its own.", file=COURSE_FILE)
        )
    return named


def add_solutions(course: Course, made: Path) -> None:
    """Add reference, hidden checks, worksheets with answers, and the chapter of answers.

    Args:
        course: the instructor's course.
        made: the release.

    Raises:
        OSError: something cannot be copied.
    """
    shutil.copytree(
        course.reference_dir, made / "reference", ignore=shutil.ignore_patterns(*ANSWERS)
    )
    for lab in course.labs:
        source, target = course.labs_dir / lab, made / "labs" / lab
        if (source / "hidden").is_dir():
            shutil.copytree(source / "hidden", target / "hidden", ignore=_NOT_COPIED)
        for sheet in sorted(source.glob("worksheet*.ipynb")):
            (target / WORKSHEETS).mkdir(exist_ok=True)
            shutil.copy(sheet, target / WORKSHEETS / sheet.name)
    for page in ANSWERS:
        if (path := course.reference_dir / page).is_file():
            (made / "docs").mkdir(exist_ok=True)
            shutil.copy(path, made / "docs" / page)
