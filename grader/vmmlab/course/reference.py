"""The reference solutions, whole or with some steps left to the student."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import MappingProxyType

from vmmlab.base.errors import CourseError, os_reason
from vmmlab.base.message import msg
from vmmlab.course.markup import starter_text
from vmmlab.course.model import Course
from vmmlab.course.submission import Submission


def reference(
    course: Course, labs: Sequence[str], steps: Collection[str] | None = None
) -> Submission:
    """Return the reference solution as a submission.

    Args:
        course: the course; a release has no reference.
        labs: the labs.
        steps: the steps that are filled in, the others stay as in the starter; None for all.

    Raises:
        CourseError: the course has no reference for one of the files, or its markup is wrong.
        UsageError: the course has no such lab.
    """
    files: dict[str, bytes] = {}
    for name in labs:
        for path in course.lab(name).files:
            text = reference_text(course, path)
            if steps is not None:
                text = starter_text(text, path=f"reference/{path}", keep=frozenset(steps))
            files[path] = text.encode()
    return Submission(MappingProxyType(files))


def reference_text(course: Course, path: str) -> str:
    """Return the text of reference/`path`.

    Raises:
        CourseError: it cannot be read.
    """
    source = course.reference_dir / path
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = os_reason(error) if isinstance(error, OSError) else msg("it is not UTF-8 text")
        raise CourseError(
            msg("reference/{path} cannot be read.", path=path),
            expected=msg("the solution in {path}, which course.yml lists", path=path),
            found=found,
            next_step=msg("a released kit contains no solutions; use the instructor's"),
        ) from None
