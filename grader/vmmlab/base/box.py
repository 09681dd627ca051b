"""Files by name that a stranger has put together: in a folder or in an archive.

`archive` and `foldertree` make boxes. Only regular files under plain relative names are in one;
everything else is refused with its reason. Nothing is ever unpacked onto the disk.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Protocol

from vmmlab.base.errors import SubmissionError
from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean_line

_NAME_SHOWN: Final = 120
_TOOLS_TIMES: Final = 20  # so many times the limit may lie in folders of tools
_PART_MAX: Final = 255  # bytes of one part of a name: what Linux takes
_DRIVE: Final = re.compile(r"[A-Za-z]:")


_LESS: Final = msg("hand in only the files that the lab asks for")


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that is taken.

    Attributes:
        archive: bytes of the archive itself.
        members: files, folders and everything else in it.
        depth: parts of a name.
        file: bytes of one file.
        total: bytes of all files that are read; of a tar, of everything that it unpacks to.
        instead: what to do if there is more.
    """

    archive: int
    members: int
    depth: int
    file: int
    total: int
    instead: Text = _LESS


SUBMISSION: Final = Limits(archive=32 << 20, members=2000, depth=12, file=8 << 20, total=64 << 20)
"""The upload of one student. A worksheet has 0.1 MB; pictures in it may need more."""

CLASS: Final = Limits(
    archive=2 << 30,
    members=250_000,
    depth=20,
    file=32 << 20,
    total=1 << 30,
    instead=msg("divide it into several folders or archives, and grade one after the other"),
)
"""The download of a class from a learning platform."""


TOOLS: Final = frozenset(
    {".git", ".svn", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".pytest_cache"}
)
"""Folders that tools make in a student's: nothing in them is handed in."""


class BoxError(SubmissionError):
    """A folder or an archive that cannot be used as a whole (exit 2)."""


class Unusable(Exception):
    """One file of a box cannot be read.

    Args:
        why: the reason, to follow the file's name.
        damaged: the archive is damaged there: the fault need not be the student's.
    """

    def __init__(self, why: Text, *, damaged: bool = False) -> None:
        super().__init__(str(why))
        self.why = why
        self.damaged = damaged


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file.

    Attributes:
        size: its bytes, as the box has it.
        modified: when it was changed, if the box says so; of a zip, local time without a zone.
    """

    size: int
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that was not taken. `name` is fit to be shown; `why` follows it."""

    name: str
    why: Text
    damaged: bool = False

    @property
    def line(self) -> Text:
        """One line for a reader."""
        return msg("{name}: {why}", name=self.name, why=self.why)


class Box(Protocol):
    """What is in a folder or an archive."""

    @property
    def names(self) -> Mapping[str, Member]:
        """The regular files, by name: normal form C, "/" between parts, in order."""

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What is in it besides: links, devices, names that lead elsewhere..."""

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            Unusable: it cannot be read, or is too large.
        """


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of a box that were wanted.

    Attributes:
        files: content by name.
        modified: when each of these files was changed, if the box says so.
        others: the names of other regular files, which were not read.
        refused: everything else.
    """

    files: Mapping[str, bytes]
    modified: Mapping[str, datetime]
    others: tuple[str, ...]
    refused: tuple[Refused, ...]


def everything(name: str) -> bool:
    """Want every file."""
    return True


def contents(box: Box, wanted: Callable[[str], bool] = everything) -> Contents:
    """Read the files of a box for whose name `wanted` is true."""
    files: dict[str, bytes] = {}
    refused = list(box.refused)
    others: list[str] = []
    for name in box.names:
        if not wanted(name):
            others.append(name)
            continue
        try:
            files[name] = box.read(name)
        except Unusable as error:
            refused.append(refusal(name, error.why))
    times = {name: box.names[name].modified for name in files}
    return Contents(
        MappingProxyType(files),
        MappingProxyType({name: at for name, at in times.items() if at is not None}),
        tuple(others),
        tuple(refused),
    )


def refusal(name: str, why: Text) -> Refused:
    """Return a refusal; the name may be anything."""
    return Refused(clean_line(name, _NAME_SHOWN) or "?", why)


def broken(reason: Text) -> BoxError:
    """Return the error for an archive that is damaged."""
    return BoxError(
        msg("the archive cannot be read: {reason}.", reason=reason),
        next_step=msg("ask for it again, or make it again"),
    )


def amount(count: int) -> Text:
    """Return a number of bytes for a reader, rounded up."""
    if count < 1 << 20:
        return msg("{kib} KiB", kib=-(-count >> 10))
    return msg("{mib} MiB", mib=-(-count >> 20))


def too_large(limit: int) -> Text:
    """Return the reason for a file with more than `limit` bytes."""
    return msg("is larger than {limit}", limit=amount(limit))


def plain_name(raw: str, depth: int) -> str:
    """Return the name of a member in one form: parts with "/" between them, normal form C.

    Windows' backslash counts as a separator.

    Args:
        raw: the name as the archive or the folder has it.
        depth: the most parts.

    Raises:
        Unusable: the name leads out of the folder, or no file of a course has such a one.
    """
    if any(unicodedata.category(char) == "Cs" for char in raw):
        raise Unusable(msg("has a name that is not UTF-8"))
    if any(unicodedata.category(char) == "Cc" for char in raw):
        raise Unusable(msg("has a name with control characters"))
    name = unicodedata.normalize("NFC", raw).replace("\\", "/")
    if name.startswith("/") or _DRIVE.match(name):
        raise Unusable(msg("has an absolute name"))
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Unusable(msg("has a name that leads out of the folder"))
    if not parts:
        raise Unusable(msg("has no name"))
    if len(parts) > depth:
        raise Unusable(msg("lies more than {depth} folders deep", depth=depth - 1))
    if any(len(part.encode()) > _PART_MAX for part in parts):
        raise Unusable(msg("has a name that is too long"))
    return "/".join(parts)


@dataclass(slots=True)
class Listing:
    """Collects the members of a box, one after the other, and finds names that collide.

    Attributes:
        limits: the most that is taken.
        members: how many have come.
        of_tools: how many besides, in folders of tools.
    """

    limits: Limits
    members: int = 0
    of_tools: int = 0
    _names: dict[str, Member] = field(default_factory=dict)
    _refused: list[Refused] = field(default_factory=list)
    _spelled: dict[str, set[str]] = field(default_factory=dict)
    _twice: set[str] = field(default_factory=set)

    def count(self, name: str = "") -> bool:
        """Count a member of any kind; return False if it is of a folder that tools have made.

        A student's own Git and Python folders have thousands of files, and none that is asked for.

        Raises:
            BoxError: there are more than the limit.
        """
        if not TOOLS.isdisjoint(name.split("/")[:-1]):
            self.of_tools += 1
            if self.of_tools <= self.limits.members * _TOOLS_TIMES:
                return False
        self.members += 1
        if self.members > self.limits.members:
            raise BoxError(
                msg("it holds more than {count} files.", count=self.limits.members),
                next_step=self.limits.instead,
            )
        return True

    def refuse(self, raw: str, why: Text) -> None:
        """Refuse a member."""
        self._refused.append(refusal(raw, why))

    def add(self, raw: str, member: Member) -> str | None:
        """Add a regular file; return its name in the box, None if it is refused for its name."""
        try:
            name = plain_name(raw, self.limits.depth)
        except Unusable as error:
            self.refuse(raw, error.why)
            return None
        if name in self._names:
            self._twice.add(name)
        self._names[name] = member
        self._spelled.setdefault(name.casefold(), set()).add(name)
        return name

    def names(self) -> Mapping[str, Member]:
        """Return the files with a name of their own, in order."""
        alone = (name for name in sorted(self._names) if not self._collides(name))
        return MappingProxyType({name: self._names[name] for name in alone})

    def refused(self) -> tuple[Refused, ...]:
        """Return what was refused, files whose names collide included."""
        found = list(self._refused)
        for name in sorted(self._names):
            if why := self._collides(name):
                found.append(refusal(name, why))
        return tuple(found)

    def _collides(self, name: str) -> Text:
        if name in self._twice:
            return msg("is there twice")
        if len(self._spelled[name.casefold()]) > 1:
            return msg("differs from another name only in upper and lower case")
        return ""
