"""The folder or archive that holds a class's submissions, seen from its top.

Only what lies at the top is looked at here; what one student has is opened on its own, so that
one student's files do not count against the limits of another.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from vmmlab.base import archive, foldertree
from vmmlab.base.box import (
    CLASS,
    SUBMISSION,
    Box,
    Limits,
    Listing,
    Member,
    Refused,
    Unusable,
    refusal,
    too_large,
)
from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.message import msg

_CHILDREN: Final = 1000
_UNLIMITED: Final = 1 << 40  # nothing of a zip is kept


@dataclass(frozen=True, slots=True)
class Piece:
    """Something at the top of a class's folder or archive that belongs to one student.

    Attributes:
        top: its name there.
        name: the name that it gets in the student's box; "": it is a folder, and its content is
            what the student has.
    """

    top: str
    name: str = ""


class Source(Protocol):
    """A class's folder or archive."""

    @property
    def top(self) -> Mapping[str, bool]:
        """The names at its top, in order, and whether each is a folder."""

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What at the top, or in an archive anywhere, is neither a file nor a folder."""

    @property
    def packed(self) -> bool:
        """Whether it is an archive."""

    def children(self, name: str) -> Mapping[str, bool]:
        """Return names in a folder at the top, and whether each is a folder; a thousand at most."""

    def below(self, name: str) -> Source:
        """Return a folder at the top as a source of its own."""

    def read(self, name: str) -> bytes:
        """Return the content of a file at the top.

        Raises:
            Unusable: it cannot be read.
        """

    def box(self, pieces: Sequence[Piece]) -> Iterator[Box]:
        """Yield what one student has; to be used by `opened_pieces`."""


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a class's submissions.

    Raises:
        UsageError: there is no such folder or file.
        BoxError: an archive cannot be read or is too large.
    """
    if path.is_dir():
        yield FolderSource(path)
        return
    if not path.is_file():
        raise UsageError(
            msg("{path}: there is no such folder or file.", path=path),
            expected=msg("a folder, or a zip or tar file, with a class's submissions"),
        )
    with archive.opened(path.resolve(), replace(CLASS, total=_UNLIMITED)) as box:
        yield ArchiveSource(box)


@contextmanager
def opened_pieces(source: Source, pieces: Sequence[Piece]) -> Iterator[Box]:
    """Open what one student has.

    Raises:
        BoxError: it cannot be read, or is too large.
    """
    yield from source.box(pieces)


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder."""

    path: Path
    top: Mapping[str, bool] = field(init=False)
    refused: tuple[Refused, ...] = field(init=False)
    packed: bool = False

    def __post_init__(self) -> None:
        top: dict[str, bool] = {}
        refused: list[Refused] = []
        try:
            with os.scandir(self.path) as entries:
                for entry in sorted(entries, key=lambda one: one.name):
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                        top[entry.name] = stat.S_ISDIR(mode)
                    else:
                        why = msg("is a special file")
                        if stat.S_ISLNK(mode):
                            why = msg("is a symbolic link")
                        refused.append(refusal(entry.name, why))
        except OSError as error:
            raise UsageError(
                msg("{path}: cannot be read: {reason}.", path=self.path, reason=os_reason(error))
            ) from None
        object.__setattr__(self, "top", MappingProxyType(top))
        object.__setattr__(self, "refused", tuple(refused))

    def children(self, name: str) -> Mapping[str, bool]:
        """Return names in a folder at the top, and whether each is a folder; a thousand at most."""
        found: dict[str, bool] = {}
        try:
            with os.scandir(self.path / name) as entries:
                for entry in entries:
                    found[entry.name] = entry.is_dir(follow_symlinks=False)
                    if len(found) >= _CHILDREN:
                        break
        except OSError:
            return {}
        return found

    def below(self, name: str) -> FolderSource:
        """Return a folder at the top as a source of its own."""
        return FolderSource(self.path / name)

    def read(self, name: str) -> bytes:
        """Return the content of a file at the top."""
        with foldertree.opened(self.path, CLASS, only=(name,)) as box:
            return box.read(name)

    def box(self, pieces: Sequence[Piece]) -> Iterator[Box]:
        """Yield what one student has."""
        if len(pieces) == 1 and not pieces[0].name:
            with foldertree.opened(self.path / pieces[0].top, SUBMISSION) as box:
                yield box
            return
        only = tuple(piece.top for piece in pieces)
        with foldertree.opened(self.path, replace(SUBMISSION, depth=20), only=only) as box:
            names = {piece.name: piece.top for piece in pieces if piece.top in box.names}
            yield _View(box, names, box.refused, SUBMISSION)


class ArchiveSource:
    """An archive, or a folder in one."""

    packed = True

    def __init__(self, whole: Box, prefix: str = "") -> None:
        self._whole = whole
        self._prefix = prefix
        self._below: dict[str, list[str]] = {}
        for name in whole.names:
            if name.startswith(prefix):
                first = name.removeprefix(prefix).partition("/")[0]
                self._below.setdefault(first, []).append(name)
        self.top: Mapping[str, bool] = {
            first: names != [f"{prefix}{first}"] for first, names in self._below.items()
        }
        self.refused: tuple[Refused, ...] = tuple(
            replace(one, name=one.name.removeprefix(prefix)) for one in whole.refused
        )
        self._add_folders_of_refused()

    def _add_folders_of_refused(self) -> None:
        """Add folders in which everything was refused: they are of students, too."""
        known = {name.casefold() for name in self.top}
        for one in self.refused:
            first, slash, _ = one.name.partition("/")
            if first and slash and first.casefold() not in known:
                self.top = {**self.top, first: True}
                known.add(first.casefold())

    def children(self, name: str) -> Mapping[str, bool]:
        """Return names in a folder at the top, and whether each is a folder; a thousand at most."""
        found: dict[str, bool] = {}
        for one in self._below.get(name, ()):
            first, slash, _ = one[len(f"{self._prefix}{name}/") :].partition("/")
            found[first] = bool(slash)
            if len(found) >= _CHILDREN:
                break
        return found

    def below(self, name: str) -> ArchiveSource:
        """Return a folder at the top as a source of its own."""
        return ArchiveSource(self._whole, f"{self._prefix}{name}/")

    def read(self, name: str) -> bytes:
        """Return the content of a file at the top."""
        return self._whole.read(self._prefix + name)

    def box(self, pieces: Sequence[Piece]) -> Iterator[Box]:
        """Yield what one student has."""
        listing = Listing(SUBMISSION)
        names: dict[str, str] = {}
        refused: list[Refused] = []
        for piece in pieces:
            start = len(f"{self._prefix}{piece.top}/")
            for one in self._below.get(piece.top, ()):
                if not listing.count(one):
                    continue
                names[piece.name or one[start:]] = one
            inside = (one for one in self.refused if one.name.startswith(f"{piece.top}/"))
            refused += [replace(one, name=one.name[len(piece.top) + 1 :]) for one in inside]
        yield _View(self._whole, names, tuple(refused), SUBMISSION)


class _View:
    """Some files of a box, under other names."""

    def __init__(
        self, box: Box, names: Mapping[str, str], refused: tuple[Refused, ...], limits: Limits
    ) -> None:
        self._box = box
        self._of = names
        self._limits = limits
        self._left = limits.total
        self.names: Mapping[str, Member] = {
            new: box.names[old] for new, old in sorted(names.items())
        }
        self.refused = refused

    def read(self, name: str) -> bytes:
        if name not in self.names:
            raise Unusable(msg("is missing"))
        if self.names[name].size > self._limits.file:
            raise Unusable(too_large(self._limits.file))
        if self.names[name].size > self._left:
            raise Unusable(msg("is too much, together with the other files"))
        data = self._box.read(self._of[name])
        self._left -= len(data)
        return data
