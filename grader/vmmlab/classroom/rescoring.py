"""Computes the points of a folder of reports again, after course.yml has changed them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.message import msg
from vmmlab.classroom.intake import INTAKE, read_intake
from vmmlab.classroom.students import sources
from vmmlab.course.model import Course
from vmmlab.report.model import read_json, write_json
from vmmlab.report.rescore import rescored


@dataclass(frozen=True, slots=True)
class Rescored:
    """How many reports have other points now, and which were refused with the reason."""

    changed: int
    same: int
    refused: tuple[tuple[Path, UsageError], ...]


def rescore(course: Course, folder: Path, out: Path) -> Rescored:
    """Write each report of a folder with the points that course.yml has now.

    The times of receipt and what `vmmlab batch` noted go with them.

    Args:
        course: the course.
        folder: has STUDENT/labN.json; it is not changed.
        out: the same below another folder.

    Raises:
        UsageError: there are no reports, or a file cannot be written.
    """
    if out.resolve() == folder.resolve():
        raise UsageError(
            msg("{out} has the reports themselves.", out=out),
            expected=msg("another folder: the old reports stay"),
        )
    changed = same = 0
    refused: list[tuple[Path, UsageError]] = []
    for source in sources([folder]):
        try:
            before = read_json(source.path)
            after = rescored(before, course)
        except UsageError as error:
            refused.append((source.path, error))
            continue
        path = out / source.path.relative_to(folder)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if source.timestamp_file.is_file():
                shutil.copyfile(source.timestamp_file, path.with_name(source.timestamp_file.name))
        except OSError as error:
            raise UsageError(
                msg("{path}: cannot be written: {reason}.", path=path, reason=os_reason(error))
            ) from None
        write_json(after, path)
        changed, same = changed + (after != before), same + (after == before)
    intake = next(
        (one / INTAKE for one in (folder, folder.parent) if (one / INTAKE).is_file()), None
    )
    if intake is not None:
        read_intake(intake).write(out / INTAKE)
    return Rescored(changed, same, tuple(refused))
