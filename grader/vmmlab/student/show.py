"""The record of the last grading of each lab in a workspace, and what is drawn from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.files import write_atomically
from vmmlab.base.message import msg
from vmmlab.base.text import clean_line
from vmmlab.course.digest import file_digests
from vmmlab.course.model import ARCHES, Course
from vmmlab.explore import Exploration
from vmmlab.i18n.translate import Reader
from vmmlab.report import reduced, runrecord
from vmmlab.report.runrecord import RunRecord
from vmmlab.student.build import folder_of
from vmmlab.workspace import progress

PAGE: Final = "report.html"
"""Name of the page in the folder of a lab's build."""


def keep(record: RunRecord, root: Path) -> None:
    """Keep the record of a grading in a workspace; the one before it goes, even if that fails.

    Args:
        record: what the grading has seen.
        root: the workspace.
    """
    path = path_of(root, record.report.lab, record.report.arch)
    try:
        runrecord.write(record, path)
    except OSError:  # a full disk: the verdict stands without it
        with suppress(OSError):
            path.unlink(missing_ok=True)


def keep_explored(found: Exploration, root: Path, lab: str, files: Mapping[str, bytes]) -> bool:
    """Keep what the explorer found with the last grading, if that was of the same files.

    Args:
        found: by the explorer.
        root: the workspace.
        lab: the lab.
        files: what was explored.

    Returns:
        whether it is kept.
    """
    try:
        record = last(root, lab, ARCHES[0])
    except UsageError:
        return False
    if record.files != file_digests(files):
        return False
    keep(record.model_copy(update={"exploration": found}), root)
    return True


def path_of(root: Path, lab: str, arch: str) -> Path:
    """Return where a workspace keeps the record of a lab's last grading."""
    return folder_of(root, lab, arch) / runrecord.FILE


def last(root: Path, lab: str, arch: str) -> RunRecord:
    """Return the record of the last grading of a lab.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = path_of(root, lab, arch)
    if not path.is_file():
        graded = f"pytest {lab}" if arch == "x86_64" else f"pytest {lab} --arch {arch}"
        raise UsageError(
            msg("{lab} has not been graded in this workspace yet.", lab=lab),
            next_step=msg("grade it first: {command}", command=graded),
        )
    found = runrecord.read(path)
    if (found.report.lab, found.report.arch) != (lab, arch):
        raise UsageError(
            msg("{path} is the record of another grading.", path=path),
            expected=f"{lab}, {arch}",
            found=f"{clean_line(found.report.lab, 40)}, {found.report.arch}",
            next_step=msg("grade the lab again"),
        )
    return found


def last_run(root: Path, course: Course) -> list[RunRecord]:
    """Return the records of the labs that were graded last, in the order of the course.

    Args:
        root: the workspace.
        course: the course.

    Raises:
        UsageError: one cannot be read.
    """
    known, _ = progress.load(root)
    newest = [(lab, arch) for lab, arch in known.last if path_of(root, lab, arch).is_file()]
    if not newest:  # an older vmmlab graded, or what it remembers is lost
        every = {(lab, arch): path_of(root, lab, arch) for lab in course.labs for arch in ARCHES}
        there = {what: path.stat().st_mtime_ns for what, path in every.items() if path.is_file()}
        newest = [max(there, key=lambda what: there[what])] if there else []
    order = list(course.labs)
    known_labs = sorted(
        (one for one in newest if one[0] in order), key=lambda one: order.index(one[0])
    )
    return [last(root, lab, arch) for lab, arch in known_labs]


def changed_since(record: RunRecord, root: Path) -> Iterator[str]:
    """Yield the files of the lab that have changed since the grading."""
    for name, digest in record.files.items():
        try:
            now = hashlib.sha256((root / name).read_bytes()).hexdigest()
        except (OSError, ValueError):
            now = ""
        if now != digest:
            yield name


def html_of(record: RunRecord, course: Course, say: Reader, *, beside: bool) -> str:
    """Return the page of a record.

    Args:
        record: what the grading has seen.
        course: the course.
        say: the reader's language.
        beside: show the right run beside it, if the course has a record of it.

    Raises:
        CourseError: the course's record of the right run holds what it must not.
    """
    from vmmlab.report.html import page  # late: jinja2

    lab = course.labs_dir / record.report.lab
    path = lab / reduced.file_of(record.report.arch)
    right = reduced.read(path) if beside else reduced.NONE
    return page(record, say.of(lab), right)


def write(text: str, path: Path) -> None:
    """Write a page or a trace.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UsageError(
            msg("{path} cannot be written.", path=path),
            found=os_reason(error),
            next_step=msg("name a file in a folder that exists and that you may write to"),
        ) from None
