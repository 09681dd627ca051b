"""Reads a student's files: only those that course.yml lists, and only regular files.

Symbolic links, devices and pipes that a student may have put there are refused without being
opened. This module does not know how files are built.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from vmmlab.base.errors import SubmissionError, UngradableError, os_reason
from vmmlab.base.message import Text, listed, msg, nmsg
from vmmlab.base.text import clean_line
from vmmlab.base.workspacefile import PREBUILT_FOLDER, STATE_FOLDER
from vmmlab.course.likeness import instead_of, other_kind
from vmmlab.course.model import Course, Lab

MAX_BYTES: Final = 256 * 1024
"""The size in bytes of the largest file that is accepted."""

_MAX_NAMES: Final = 12
_MAX_ENTRIES: Final = 10_000
_MOST_SHOWN: Final = 120  # characters of a name

# What a workspace has at its top besides the given VMM: no note mentions it.
_OWN_FILES: Final = frozenset(
    {
        PREBUILT_FOLDER,
        STATE_FOLDER,
        "handin",
        "compile_commands.json",
        "docs",
        "build",
        ".venv",
        ".git",
        ".pytest_cache",
        "__pycache__",
    }
)


@dataclass(frozen=True, slots=True)
class Submission:
    """The files of one or more labs.

    Attributes:
        files: by path as the student knows it (`lab3/ap_start.c`).
        notes: remarks for the reader, such as files that were left out.
    """

    files: Mapping[str, bytes]
    notes: tuple[Text, ...] = ()

    def of(self, lab: str) -> dict[str, bytes]:
        """Return the files of one lab."""
        return {path: text for path, text in self.files.items() if path.startswith(f"{lab}/")}


def take(
    directory: Path,
    labs: Sequence[str],
    course: Course,
    *,
    own: bool = False,
    beside: Sequence[str] = (),
) -> Submission:
    """Read the files that course.yml lists for `labs` from `directory` (as `DIR/lab3/ap_start.c`).

    Other files are left out and named in a note; an empty file is accepted.

    Args:
        directory: the folder.
        labs: the labs.
        course: the course.
        own: the folder is the user's own: a file in it may have further names (hard links). In
            another person's folder such a name might be that of a third person's file.
        beside: the names of files that were handed in and are not in the folder.

    Raises:
        UngradableError: some of its files cannot be graded; it names all problems.
        SubmissionError: the folder cannot be read.
        UsageError: the course has no such lab.
    """
    wanted = [course.lab(name) for name in labs]
    files: dict[str, bytes] = {}
    problems: list[Text] = []
    extra: list[str] = []
    try:
        top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SubmissionError(
            msg("{directory} cannot be read as a submission.", directory=directory),
            expected=msg(
                "a folder that holds {labs}", labs=", ".join(f"{lab.name}/" for lab in wanted)
            ),
            found=os_reason(error),
        ) from None
    try:
        extra += _extra_at_top(top, course)
        for lab in wanted:
            taken, wrong, left_out = _take_lab(top, lab, course, own, beside)
            files.update(taken)
            problems += wrong
            extra += left_out
    finally:
        os.close(top)
    if problems:
        there = _something_of(directory, wanted)
        raise _refusal(directory, wanted, problems, _next_step(directory, wanted), there)
    return Submission(MappingProxyType(files), _left_out(extra))


def take_files(
    found: Mapping[str, bytes],
    source: Path,
    labs: Sequence[str],
    course: Course,
    *,
    unused: Sequence[Text] = (),
    extra: Sequence[str] = (),
) -> Submission:
    """Take the files that course.yml lists for `labs` from those of an archive.

    Args:
        found: the files by path, as `lab3/ap_start.c`.
        source: the archive, for messages.
        labs: the labs.
        course: the course.
        unused: what was found in it and cannot be taken, each with the reason.
        extra: the names of other files in it.

    Raises:
        UngradableError: some of the files cannot be graded; it names all problems.
        UsageError: the course has no such lab.
    """
    wanted = [course.lab(name) for name in labs]
    files: dict[str, bytes] = {}
    problems: list[Text] = []
    for path in (path for lab in wanted for path in lab.files):
        try:
            if path not in found:
                raise _Unusable(_missing(path, (*found, *extra)))
            _must_be_text(found[path])
            files[path] = found[path]
        except _Unusable as error:
            problems.append(msg("{path}: {why}", path=path, why=error.why))
    if problems:
        next_step = msg("pack these files as they are in a workspace: vmmlab handin does it")
        raise _refusal(source, wanted, [*problems, *unused], next_step)
    asked = {path for lab in course.labs.values() for path in lab.files}
    others = [*extra, *(one for one in found if one not in asked)]
    return Submission(MappingProxyType(files), (*_left_out(others), *unused[:_MAX_NAMES]))


def _refusal(
    source: Path,
    labs: Sequence[Lab],
    problems: Sequence[Text],
    next_step: Text,
    handed_in: bool = True,
) -> UngradableError:
    return UngradableError(
        nmsg(
            "the submission {directory} cannot be graded: one problem.",
            "the submission {directory} cannot be graded: {count} problems.",
            count=len(problems),
            directory=clean_line(str(source), _MOST_SHOWN),
        ),
        expected=_expected(labs),
        found=listed(problems, "\n            "),
        next_step=next_step,
        handed_in=handed_in,
    )


def _left_out(extra: Sequence[str]) -> tuple[Text, ...]:
    return (msg("left out, not asked for: {listed}", listed=_listed(extra)),) if extra else ()


# --- one lab ---------------------------------------------------------------------------------


def _take_lab(
    top: int, lab: Lab, course: Course, own: bool, beside: Sequence[str]
) -> tuple[dict[str, bytes], list[Text], list[str]]:
    """Return the files of one lab, what is wrong with them, and the names of other files."""
    files: dict[str, bytes] = {}
    problems: list[Text] = []
    if not lab.files:
        return files, problems, []
    try:
        with _folder(top, lab.name) as folder:
            for path in lab.files:
                try:
                    files[path] = _read(folder, path.partition("/")[2], own, beside)
                except _Unusable as error:
                    problems.append(msg("{path}: {why}", path=path, why=error.why))
            given = _names_in(course.labs_dir / lab.name)
            asked = {path.partition("/")[2] for path in lab.files} | given
            extra = [f"{lab.name}/{name}" for name in _entries(folder) if name not in asked]
    except _Unusable as error:
        return {}, [msg("{path}: {why}", path=f"{lab.name}/", why=error.why)], []
    return files, problems, extra


class _Unusable(Exception):
    """One entry of a submission cannot be read.

    Args:
        why: the reason, for the student.
    """

    def __init__(self, why: Text) -> None:
        super().__init__(str(why))
        self.why = why


@contextmanager
def _folder(parent: int, name: str) -> Iterator[int]:
    try:
        folder = os.open(
            name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent
        )
    except OSError as error:
        raise _Unusable(_why(error, parent, name, "folder")) from None
    try:
        yield folder
    finally:
        os.close(folder)


def _read(folder: int, name: str, own: bool, beside: Sequence[str]) -> bytes:
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise _Unusable(_why(error, folder, name, "file", beside)) from None
    found = os.fstat(handle)
    mode = found.st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise _Unusable(msg("is {kind}, not a file", kind=_kind(mode)))
    if found.st_nlink > 1 and not own:
        os.close(handle)
        raise _Unusable(msg("is the same file as another name (a hard link)"))
    with os.fdopen(handle, "rb") as file:
        try:
            data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise _Unusable(msg("cannot be read: {reason}", reason=os_reason(error))) from None
    _must_be_text(data)
    return data


def _must_be_text(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise _Unusable(msg("is larger than {max_bytes} KiB", max_bytes=MAX_BYTES // 1024))
    if kind := other_kind(data):
        raise _Unusable(msg("is not source code, but {kind}", kind=kind))
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise _Unusable(msg("is not text: it contains a zero byte in line {line}", line=line))


def _why(error: OSError, parent: int, name: str, wanted: str, beside: Sequence[str] = ()) -> Text:
    if error.errno == errno.ENOENT:
        return _missing(name, (*_entries(parent), *beside))
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except OSError:
        return msg("cannot be read: {reason}", reason=os_reason(error))
    right = stat.S_ISDIR(mode) if wanted == "folder" else stat.S_ISREG(mode)
    if not right:
        kind = _kind(mode)
        if wanted == "folder":
            return msg("is {kind}, not a folder", kind=kind)
        return msg("is {kind}, not a file", kind=kind)
    return msg("cannot be read: {reason}", reason=os_reason(error))


def _missing(name: str, there: Iterable[str]) -> Text:
    """Return that a file is missing; say so if it is there under a slightly other name."""
    found = instead_of(name, there)
    return msg("is missing; {found}", found=found) if found else msg("is missing")


def _kind(mode: int) -> Text:
    kinds = (
        (stat.S_ISLNK, msg("a symbolic link")),
        (stat.S_ISDIR, msg("a folder")),
        (stat.S_ISFIFO, msg("a named pipe")),
        (stat.S_ISSOCK, msg("a socket")),
        (stat.S_ISREG, msg("a file")),
    )
    return next((text for test, text in kinds if test(mode)), msg("a device"))


# --- other files ----------------------------------------------------------------------------


def _extra_at_top(top: int, course: Course) -> list[str]:
    known = _OWN_FILES | set(course.labs) | _names_in(course.tree)
    return [name for name in _entries(top) if name not in known]


def _entries(folder: int) -> list[str]:
    """Return the sorted names in a folder, at most `_MAX_ENTRIES` of them."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) >= _MAX_ENTRIES:
                break
    return sorted(names)


def _names_in(directory: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in directory.iterdir()) | {"__pycache__"}
    except OSError:
        return frozenset({"__pycache__"})


def _listed(names: Sequence[str]) -> Text:
    text = ", ".join(clean_line(name, _MOST_SHOWN) for name in names[:_MAX_NAMES])
    left = len(names) - _MAX_NAMES
    return msg("{text} and {left} more", text=text, left=left) if left > 0 else text


# --- words -----------------------------------------------------------------------------------


def _expected(labs: Sequence[Lab]) -> Text:
    return msg(
        "plain text files: {files}", files=", ".join(path for lab in labs for path in lab.files)
    )


def _something_of(directory: Path, labs: Sequence[Lab]) -> bool:
    """Return whether anything was handed in for labs, be it of use or not."""
    asked = {name for lab in labs for path in lab.files for name in path.split("/")}
    there = {entry.name.casefold() for entry in directory.iterdir()}
    return any(name.casefold() in there for name in asked)


def _next_step(directory: Path, labs: Sequence[Lab]) -> Text:
    for lab in labs:
        flat = [name for _, _, name in (path.partition("/") for path in lab.files)]
        if any((directory / name).is_file() for name in flat):
            if directory.absolute().name == lab.name:
                return msg("give the folder above {lab}: the files must be in {lab}/", lab=lab.name)
            return msg(
                "put {files} into a folder {lab}/ in {folder}",
                files=", ".join(flat),
                lab=lab.name,
                folder=directory,
            )
    return msg("submit regular files, each in its lab's folder")
