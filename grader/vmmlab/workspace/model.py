"""A student's workspace as its workspace.toml describes it. Does not know grading."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmmlab.base import owned
from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, msg
from vmmlab.base.workspacefile import (
    ID_KEY,
    LANGUAGE_KEY,
    PREBUILT_FOLDER,
    SCHEMA,
    WORKSPACE_FILE,
    mark_of,
    text_of,
    workspace_folder,
)
from vmmlab.course.cohort import Cohort
from vmmlab.workspace import journal


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace on disk, as its workspace.toml describes it.

    Attributes:
        root: the folder that holds workspace.toml.
        cohort: the numbers of its cohort.h.
        student: the name given when it was made.
        version: the version of vmmlab that made it.
        lang: the language that it was made in; "" if the file has none.
        mark: by which vmmlab knows it again; "" if an older vmmlab made it.
        course: the course that it was made from; None for the one that vmmlab comes with.
        copied: it is not where it was made. Others may have got it: its files are not trusted.
    """

    root: Path
    cohort: Cohort
    student: str
    version: str
    lang: str = ""
    mark: str = ""
    course: Path | None = None
    copied: bool = False

    @property
    def prebuilt(self) -> Path:
        """The folder of the prebuilt labs."""
        return self.root / PREBUILT_FOLDER


def locate(start: Path) -> Workspace | None:
    """Return the user's own workspace that `start` lies in, perhaps copied or moved, or None.

    Raises:
        UsageError: there is one, but its workspace.toml cannot be read.
    """
    folder = workspace_folder(start.resolve())
    if folder is None:
        return None
    if (known := owned.record(folder)) is not None:
        found = read(folder)
        if known.fits(found.mark):
            journal.finish(folder)
            found = read(folder)
            return replace(found, course=known.course)
    if (known := owned.record_of_copy(mark_of(folder))) is not None:
        return replace(read(folder), course=known.course, copied=True)
    return None


def require(start: Path) -> Workspace:
    """Return the user's own workspace that `start` lies in.

    Raises:
        UsageError: there is none; the message says what to do about one that is not known.
    """
    found = locate(start)
    if found is not None:
        return found
    foreign = workspace_folder(start.resolve())
    if foreign is not None:
        raise not_own(foreign)
    raise UsageError(
        msg("{directory} is not in a workspace.", directory=start),
        expected=msg("a folder with {workspace_file}", workspace_file=WORKSPACE_FILE),
        next_step=msg("create one with vmmlab new DIR, or change to yours"),
    )


def not_own(folder: Path) -> UsageError:
    """Return the error about a workspace that is not known to be the user's own."""
    return UsageError(
        msg("{folder} is not a workspace that vmmlab created for you here.", folder=folder),
        found=msg("one of another person, of another machine, or created by an older vmmlab"),
        next_step=msg(
            "if it is your own: vmmlab adopt {folder}; another person's: vmmlab grade LAB "
            "--submission {folder}",
            folder=shlex.quote(str(folder)),
        ),
    )


def read(root: Path) -> Workspace:
    """Read `root`/workspace.toml.

    Raises:
        UsageError: it cannot be read, or has a mistake.
    """
    path = root / WORKSPACE_FILE
    try:
        data = tomllib.loads(text_of(root))
        if data["schema"] != SCHEMA:
            raise UsageError(
                msg("{path} has another version.", path=path),
                expected=f"schema = {SCHEMA}",
                found=f"schema = {data['schema']!r}",
                next_step=msg("use the vmmlab that created this workspace, or create a new one"),
            )
        numbers = data["cohort"]
        return Workspace(
            root=root,
            cohort=Cohort(
                _as(str, numbers, "name"),
                apinit_addr=_as(int, numbers, "apinit_addr"),
                apinit_offset=_as(int, numbers, "apinit_offset"),
                stack_size=_as(int, numbers, "stack_size"),
                pcpu_pad=_as(int, numbers, "pcpu_pad"),
            ),
            student=_as(str, data, "student"),
            version=_as(str, data, "vmmlab"),
            lang=_as(str, data, LANGUAGE_KEY) if LANGUAGE_KEY in data else "",
            mark=_as(str, data, ID_KEY) if ID_KEY in data else "",
        )
    except (OSError, ValueError, TypeError) as error:
        found: Text = str(error)
    except KeyError as error:
        found = msg("no key {name}", name=repr(error.args[0]))
    raise UsageError(
        msg("{path} cannot be read.", path=path),
        expected=msg("the file as vmmlab wrote it"),
        found=found,
        next_step=msg("restore it; or create a new workspace and copy your labs' files into it"),
    )


def _as(kind: type, table: Any, key: str) -> Any:
    value = table[key]
    if type(value) is not kind:
        raise TypeError(f"{key} = {value!r}")
    return value
