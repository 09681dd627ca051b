"""Replaces many files of a workspace at once: after an interruption all are old or all are new.

New files are first written below .vmmlab/update. A list of what goes where, put in place by one
rename, is the moment from which the change counts: a command that finds such a list carries it
out, as `vmmlab.workspace.model` does for every command. Without a list nothing has happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.files import read_regular, staged
from vmmlab.base.message import msg
from vmmlab.base.workspacefile import STATE_FOLDER

_FOLDER: Final = "update"
_LIST: Final = "list.json"
_MOST: Final = 4 << 20  # bytes of a list


def write(root: Path, put: Mapping[str, bytes], remove: Iterable[str] = ()) -> None:
    """Put files into a workspace and remove others, all or nothing.

    Args:
        root: the workspace.
        put: the new files by path.
        remove: paths of files to remove; one that is not there is passed over.

    Raises:
        UsageError: a link or something else stands where a file or its folder belongs.
        InfraError: the files cannot be written; nothing has changed.
    """
    folder = _folder(root)
    check_places(root, [*put, *remove])
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        places: dict[str, str] = {}
        for number, (path, data) in enumerate(put.items()):
            places[path] = str(number)
            _write(folder / str(number), data)
        data = json.dumps({"put": places, "remove": list(remove)}).encode()
        with staged(folder / _LIST, data, durable=True) as put_in_place:
            put_in_place()
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InfraError(
            msg("{root} cannot be changed; it is as it was.", root=root), found=os_reason(error)
        ) from None
    finish(root)


def finish(root: Path) -> None:
    """Carry out a change of a workspace that was interrupted, if there is one.

    Args:
        root: the workspace, which is the user's own.

    Raises:
        UsageError: the list is damaged, or a place is taken.
        InfraError: a file cannot be put in place; the next call tries again.
    """
    folder = _folder(root)
    if not os.path.lexists(folder / _LIST):
        return
    put, remove = _read(folder / _LIST, root)
    check_places(root, [*put, *remove])
    try:
        try:
            _carry_out(root, put, remove)
        except KeyboardInterrupt:  # it is too late for the old state: bring about the new one
            _carry_out(root, put, remove)
            raise
    except OSError as error:
        raise InfraError(
            msg("the update of {root} could not be finished.", root=root),
            found=os_reason(error),
            next_step=msg("mend this and run any vmmlab command here: it finishes the update"),
        ) from None


def _carry_out(root: Path, put: Mapping[str, str], remove: Iterable[str]) -> None:
    """Do what a list says; what is done already stays so."""
    folder = _folder(root)
    for path, name in put.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it is in place already
            os.replace(folder / name, target)  # noqa: PTH105
    for path in remove:
        (root / path).unlink(missing_ok=True)
        _remove_empty(root, path)
    (folder / _LIST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def check_places(root: Path, paths: Iterable[str]) -> None:
    """Check that each path is free or a regular file, in folders of the workspace's own.

    Raises:
        UsageError: one is not.
    """
    for path in paths:
        place = root
        for part in PurePosixPath(path).parts[:-1]:
            place /= part
            if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
                raise _in_the_way(root, place)
        place = root / path
        if os.path.lexists(place) and (place.is_symlink() or not place.is_file()):
            raise _in_the_way(root, place)


def _folder(root: Path) -> Path:
    return root / STATE_FOLDER / _FOLDER


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, root: Path) -> tuple[Mapping[str, str], list[str]]:
    try:
        data = json.loads(read_regular(path, _MOST))
        put, remove = dict(data["put"]), list(data["remove"])
        for name in (*put, *put.values(), *remove):
            pure = PurePosixPath(name)
            if pure.is_absolute() or ".." in pure.parts or not pure.parts:
                raise ValueError(name)
        return put, remove
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            msg("{path} is damaged.", path=path),
            found=msg("a list of files that vmmlab update did not write"),
            next_step=msg(
                "remove the folder {folder}, then run: vmmlab update", folder=path.parent
            ),
        ) from None


def _remove_empty(root: Path, path: str) -> None:
    """Remove the folders that the removal of a file has left empty."""
    for folder in _parents(path):
        try:
            (root / folder).rmdir()
        except OSError:
            return


def _parents(path: str) -> Iterator[str]:
    folder = PurePosixPath(path).parent
    while folder.parts:
        yield str(folder)
        folder = folder.parent


def _in_the_way(root: Path, place: Path) -> UsageError:
    return UsageError(
        msg("{root} cannot be updated; nothing was changed.", root=root),
        expected=msg("a plain file or folder at {path}", path=place.relative_to(root)),
        found=msg("a link or something else"),
        next_step=msg("move it away, then run vmmlab update again"),
    )
