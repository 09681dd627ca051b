"""The folder of a batch: only this module knows where its files lie, and only it writes them.

    reports/STUDENT/lab3.json, .html       the instructor's reports; `vmmlab gradebook sync` and
                                           `vmmlab export` read this folder
    reports/STUDENT/lab3.timestamp.txt     when it was handed in, as nbgrader reads it
    for-students/STUDENT/lab3.json         of an official grading
    records/STUDENT/lab3.json              what `--resume` needs; written last
    history/STUDENT/lab3/0001.json, .html  what an appeal has replaced

Each file appears at once, whole. A result counts when its record is there and fits its report, so
whatever interrupts the batch costs at most what was being graded.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.files import write_atomically
from vmmlab.base.message import msg
from vmmlab.classroom.batch import record
from vmmlab.classroom.batch.job import Result
from vmmlab.classroom.batch.record import Record

REPORTS: Final = "reports"
FOR_STUDENTS: Final = "for-students"
HISTORY: Final = "history"
RECORDS: Final = "records"
_LOCK: Final = ".lock"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
MIB: Final = 1 << 20
DISK_MIB: Final = 4096
"""So many MiB the folder may have, unless told otherwise."""


class Store:
    """The folder of a batch.

    Args:
        folder: where; it exists.
        disk_mib: beyond it no pages are written, and beyond twice as much nothing.

    Attributes:
        pages_left_out: how many pages were not written for want of room.
    """

    def __init__(self, folder: Path, disk_mib: int = DISK_MIB) -> None:
        self.folder = folder
        self.pages_left_out = 0
        self._most = disk_mib * MIB
        self._size = _size_of(folder)

    def report_path(self, student: str, stem: str) -> Path:
        """Return where a report lies.

        Args:
            student: the id.
            stem: the lab, with the architecture if that is not x86-64: `lab3-i386`.
        """
        return self.folder / REPORTS / student / f"{stem}.json"

    def page_path(self, student: str, stem: str) -> Path:
        """Return where the page of a report lies."""
        return self.report_path(student, stem).with_suffix(".html")

    def record(self, student: str, stem: str) -> Record | None:
        """Return the record of a result that is whole; None if there is none."""
        found = record.read(self._record_path(student, stem))
        if found is None:
            return None
        try:
            data = self.report_path(student, stem).read_bytes()
        except OSError:
            return None
        return found if hashlib.sha256(data).hexdigest() == found.report else None

    def history(self, student: str, stem: str) -> list[Path]:
        """Return the reports that were replaced, the oldest first."""
        return sorted((self.folder / HISTORY / student / stem).glob("[0-9]*.json"))

    def put(
        self, stem: str, found: Record, result: Result, received_at: datetime | None = None
    ) -> Record:
        """Write a result; the one that it replaces is kept in the history.

        Args:
            stem: as for `report_path`.
            found: its record; the hash of the report is filled in.
            result: the texts.
            received_at: when the submission was handed in.

        Returns:
            The record as written.

        Raises:
            InfraError: the disk is full, or the batch has its share of it.
        """
        student = found.student
        data = _bytes(result.report)
        found = found.model_copy(update={"report": hashlib.sha256(data).hexdigest()})
        with _telling_of(self.folder):
            self._keep_old(student, stem)
            path = self.report_path(student, stem)
            self._write(path, data)
            self._write_page(path.with_suffix(".html"), _bytes(result.page))
            if received_at is not None:
                stamp = received_at.strftime("%Y-%m-%d %H:%M:%S %z")
                self._write(path.with_name(f"{stem}.timestamp.txt"), stamp.encode())
            if result.student:
                told = self.folder / FOR_STUDENTS / student / f"{stem}.json"
                self._write(told, _bytes(result.student))
            self._write(self._record_path(student, stem), found.to_json())
        return found

    def put_record(self, stem: str, found: Record) -> Record:
        """Write another record of the same result; return it.

        Raises: as for `put`.
        """
        with _telling_of(self.folder):
            self._write(self._record_path(found.student, stem), found.to_json())
        return found

    def write(self, name: str, text: str) -> Path:
        """Write a file of the batch itself, such as its summary; return where.

        Raises:
            InfraError: the disk is full.
        """
        with _telling_of(self.folder):
            self._write(self.folder / name, _bytes(text))
        return self.folder / name

    def _record_path(self, student: str, stem: str) -> Path:
        return self.folder / RECORDS / student / f"{stem}.json"

    def _keep_old(self, student: str, stem: str) -> None:
        old = self.report_path(student, stem)
        if not old.is_file():
            return
        folder = self.folder / HISTORY / student / stem
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("[0-9]*.json"))) + 1
        for path, kind in (
            (old, "json"),
            (old.with_suffix(".html"), "html"),
            (self._record_path(student, stem), "record"),
        ):
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                os.link(path, folder / f"{number:04}.{kind}")

    def _write_page(self, path: Path, data: bytes) -> None:
        if data and self._size + len(data) > self._most:
            self.pages_left_out += 1
            data = b""
        if data:
            self._write(path, data)
        else:
            path.unlink(missing_ok=True)  # it would be that of another report

    def _write(self, path: Path, data: bytes) -> None:
        if self._size + len(data) > 2 * self._most:
            raise InfraError(
                msg(
                    "the batch has used its share of the disk: {mib} MiB.",
                    mib=2 * self._most // MIB,
                ),
                next_step=msg("raise it with --disk MIB, then use --resume"),
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
        self._size += len(data)


@contextlib.contextmanager
def opened(folder: Path, disk_mib: int = DISK_MIB) -> Iterator[Store]:
    """Provide the folder of a batch, which no other batch uses meanwhile.

    Args:
        folder: where; made if it is not there.
        disk_mib: as for `Store`.

    Raises:
        UsageError: it cannot be made, or another batch uses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            msg("{folder} cannot be used for the results.", folder=folder), found=os_reason(error)
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                msg("another batch is writing to {folder}.", folder=folder),
                next_step=msg("wait for it, or name another folder"),
            ) from None
        except OSError:  # some network file systems have no locks
            pass
        yield Store(folder, disk_mib)
    finally:
        os.close(lock)


@contextlib.contextmanager
def _telling_of(folder: Path) -> Iterator[None]:
    """Turn what the system says about writing into an error for people."""
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        raise InfraError(
            msg("the disk is full: {folder}.", folder=folder)
            if full
            else msg("{folder} cannot be written to.", folder=folder),
            found=os_reason(error),
            next_step=msg("make room, then use --resume: what is there is not graded again"),
        ) from None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _size_of(folder: Path) -> int:
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(top, name)).st_size  # noqa: PTH118
    return total
