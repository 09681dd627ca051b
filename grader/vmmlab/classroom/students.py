"""Finds the student of each report, by its folder or an option: report.json names none.

The convention is STUDENT/lab3.json, or STUDENT/lab3-i386.json, with the student's id in nbgrader.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.message import msg
from vmmlab.classroom.roster import valid_id
from vmmlab.course.ids import LAB_NAME
from vmmlab.course.model import ARCHES

_REPORTS: Final = "reports"  # in the folder of a batch
_REPORT: Final = re.compile(rf"({LAB_NAME.pattern})(?:-({'|'.join(ARCHES)}))?\.json")
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9000
_TIMESTAMP: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)? ?(UTC|Z|[+-]\d\d:?\d\d)"
)


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A report file and its student.

    Attributes:
        path: the file.
        student: the id; "" if neither the option nor the folder names one.
        lab: the lab that the file's name has; "" if it has none.
    """

    path: Path
    student: str
    lab: str

    @property
    def timestamp_file(self) -> Path:
        """The file with the time of handing in, if there is one: `lab3.timestamp.txt`."""
        return self.path.with_name(f"{self.path.stem}.timestamp.txt")


def sources(paths: Sequence[Path], student: str | None = None) -> tuple[ReportFile, ...]:
    """Return the reports that the arguments of a command mean.

    A folder stands for the files labN.json in it and in its subfolders, in order; that of
    `vmmlab batch` for its reports.

    Args:
        paths: files and folders.
        student: the student of all reports; None: the one that the folder names.

    Raises:
        UsageError: a path is not there, or a folder holds no report.
    """
    if student is not None and not valid_id(student):
        raise UsageError(
            msg("{student!r} cannot be a student's id.", student=student),
            expected=msg("letters, digits and . _ @ -, beginning with a letter or a digit"),
        )
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            found[path] = None
            continue
        inside = _inside(path) or _inside(path / _REPORTS)
        if not inside:
            raise UsageError(
                msg("{path}: no reports in this folder.", path=path),
                expected=msg("STUDENT/lab3.json and so on"),
                next_step=msg(
                    "name the files one by one, with --student ID if the folder is no id"
                ),
            )
        found.update(dict.fromkeys(sorted(inside)))
    return tuple(ReportFile(path, student or _folder(path), _lab_of(path)) for path in found)


def _inside(folder: Path) -> list[Path]:
    return [f for f in (*folder.glob("*.json"), *folder.glob("*/*.json")) if _lab_of(f)]


def read_timestamp(path: Path) -> datetime | None:
    """Return the time of handing in, as naive UTC like nbgrader's own; None without a file.

    Raises:
        UsageError: the text is not a time with a zone. (nbgrader takes an unknown zone, such as
            JST, for UTC.)
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = os_reason(error) if isinstance(error, OSError) else msg("it is not UTF-8 text")
        raise UsageError(msg("{path}: cannot be read: {reason}.", path=path, reason=why)) from None
    moment = timestamp(text)
    if moment is None:
        raise UsageError(
            msg("{path}: this is not a time.", path=path),
            expected=msg("2026-11-22 23:59:00 +0900, or … UTC"),
            found=text,
        )
    return moment.replace(tzinfo=None)


def timestamp(text: str) -> datetime | None:
    """Return the moment that a text names, in UTC; None if it is not a time with a zone."""
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" UTC", "Z").replace(" +", "+"))
    except ValueError:
        try:
            moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z")
        except ValueError:
            return None
    # Near the years 1 and 9999, adding a zone or an extension overflows.
    return moment.astimezone(UTC) if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None


def _lab_of(path: Path) -> str:
    match = _REPORT.fullmatch(path.name)
    return match[1] if match else ""


def _folder(path: Path) -> str:
    """Return the student that STUDENT/lab3.json names; "" if it names none."""
    return path.absolute().parent.name if _lab_of(path) else ""
