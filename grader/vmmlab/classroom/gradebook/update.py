"""Updates a course's gradebook to this nbgrader, and keeps the old one as a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.classroom.gradebook.folder import open_folder
from vmmlab.classroom.gradebook.opening import copied, explained, place_of
from vmmlab.classroom.gradebook.version import (
    EMPTY,
    UNNAMED,
    must_not_be_newer,
    upgrade,
    version_of,
)


def update(folder: Path) -> Path | None:
    """Update a gradebook: a copy is updated and then put in its place.

    Args:
        folder: nbgrader's course folder.

    Returns:
        The gradebook as it was; None if there was nothing to do.

    Raises:
        UsageError: this is no course folder, or its gradebook is no file.
        InfraError: the gradebook cannot be used or updated; nothing has changed.
    """
    _, directory = open_folder(folder)
    url, file = place_of(folder, directory)
    if file is None:
        raise UsageError(
            msg("only an SQLite gradebook can be copied before its update."),
            found=url.get_backend_name(),
            next_step=msg(
                "make a backup with the tools of the server, then run nbgrader db upgrade"
            ),
        )
    if not file.exists():
        return None
    with (
        explained(str(file)),
        tempfile.TemporaryDirectory(prefix=".gradebook-", dir=file.parent) as scratch,
    ):
        fresh = copied(file, Path(scratch) / file.name)
        before = version_of(url.set(database=str(fresh)))
        if before != UNNAMED:
            must_not_be_newer(before, str(file))
        upgrade(fresh)
        if before in (EMPTY, version_of(url.set(database=str(fresh)))):
            return None
        backup = next(one for one in _backups(file, before) if not one.exists())
        backup.hardlink_to(file)
        fresh.replace(file)
        return backup


def _backups(file: Path, version: str) -> Iterator[Path]:
    """Yield names for a gradebook of an old version."""
    for number in count(1):
        yield file.with_name(f"{file.name}.{version}.{number}")
