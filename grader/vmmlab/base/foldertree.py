"""Reads the files of a folder that a stranger has filled: regular ones only, no link followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vmmlab.base.box import (
    SUBMISSION,
    TOOLS,
    Box,
    BoxError,
    Limits,
    Listing,
    Member,
    Refused,
    Unusable,
    too_large,
)
from vmmlab.base.errors import os_reason
from vmmlab.base.message import Text, msg

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe must not wait for a writer.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@contextmanager
def opened(folder: Path, limits: Limits = SUBMISSION, *, only: Sequence[str] = ()) -> Iterator[Box]:
    """Open a folder; `folder` itself may be a symbolic link, nothing below it is followed.

    Args:
        folder: the folder.
        limits: the most that is taken.
        only: the names at its top to look at; empty: all.

    Raises:
        BoxError: it cannot be read, or holds too much.
    """
    try:
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BoxError(
            msg("the folder cannot be read: {reason}.", reason=os_reason(error))
        ) from None
    try:
        listing = Listing(limits)
        places: dict[str, tuple[str, ...]] = {}
        _walk(top, (), listing, places, only)
        yield _FolderBox(top, limits, places, listing.names(), listing.refused())
    finally:
        os.close(top)


@dataclass(frozen=True, slots=True)
class _FolderBox:
    """The files of a folder."""

    top: int
    limits: Limits
    places: Mapping[str, tuple[str, ...]]
    names: Mapping[str, Member]
    refused: tuple[Refused, ...]

    def read(self, name: str) -> bytes:
        if name not in self.names:
            raise Unusable(msg("is missing"))
        try:
            return self._read(self.places[name])
        except OSError as error:
            raise Unusable(msg("cannot be read: {reason}", reason=os_reason(error))) from None

    def _read(self, place: tuple[str, ...]) -> bytes:
        here = os.dup(self.top)
        try:
            for part in place[:-1]:
                below = os.open(part, _FOLDER, dir_fd=here)
                os.close(here)
                here = below
            handle = os.open(place[-1], _FILE, dir_fd=here)
        finally:
            os.close(here)
        with open(handle, "rb") as file:  # noqa: PTH123
            found = os.fstat(handle)
            if why := _refusal(found):  # it has changed since it was listed
                raise Unusable(why)
            data = file.read(self.limits.file + 1)
        if len(data) > self.limits.file:
            raise Unusable(too_large(self.limits.file))
        return data


def _walk(
    folder: int,
    place: tuple[str, ...],
    listing: Listing,
    places: dict[str, tuple[str, ...]],
    only: Sequence[str] = (),
) -> None:
    """List what is in a folder, and in the folders below it that are not too deep."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if only and entry.name not in only:
                continue
            listing.count()
            here = (*place, entry.name)
            raw = "/".join(part.replace("\\", "_") for part in here)  # no separator on this system
            try:
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode) and entry.name in TOOLS:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    if len(here) >= listing.limits.depth:
                        listing.refuse(
                            raw,
                            msg("lies more than {depth} folders deep", depth=len(here) - 1),
                        )
                        continue
                    below = os.open(entry.name, _FOLDER, dir_fd=folder)
                    try:
                        _walk(below, here, listing, places)
                    finally:
                        os.close(below)
                    continue
            except OSError as error:
                listing.refuse(raw, msg("cannot be read: {reason}", reason=os_reason(error)))
                continue
            if why := _refusal(found):
                listing.refuse(raw, why)
                continue
            if name := listing.add(raw, Member(found.st_size, _changed(found))):
                places[name] = here


def _refusal(found: os.stat_result) -> Text:
    """Return why a file is not taken; "" if it is."""
    if stat.S_ISLNK(found.st_mode):
        return msg("is a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        return msg("is a special file")
    if found.st_nlink > 1:
        return msg("is the same file as another name (a hard link)")
    return ""


def _changed(found: os.stat_result) -> datetime | None:
    """Return when a file was changed; None for a year that has no date."""
    try:
        return datetime.fromtimestamp(found.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return None
