"""A student's workspace as its workspace.toml describes it. Does not know grading."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, msg
from vmmlab.base.workspacefile import (
    LANGUAGE_KEY,
    PREBUILT_FOLDER,
    SCHEMA,
    WORKSPACE_FILE,
    workspace_folder,
)
from vmmlab.course.cohort import Cohort


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace on disk, as its workspace.toml describes it.

    Attributes:
        root: the folder that holds workspace.toml.
        cohort: the numbers of its cohort.h.
        student: the name given when it was made.
        version: the version of vmmlab that made it.
        lang: the language that it was made in; "" if the file has none.
    """

    root: Path
    cohort: Cohort
    student: str
    version: str
    lang: str = ""

    @property
    def prebuilt(self) -> Path:
        """The folder of the prebuilt labs."""
        return self.root / PREBUILT_FOLDER


def locate(start: Path) -> Workspace | None:
    """Return the workspace that `start` lies in, or None.

    Raises:
        UsageError: there is one, but its workspace.toml cannot be read.
    """
    folder = workspace_folder(start.resolve())
    return None if folder is None else read(folder)


def read(root: Path) -> Workspace:
    """Read `root`/workspace.toml.

    Raises:
        UsageError: it cannot be read, or has a mistake.
    """
    path = root / WORKSPACE_FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise UsageError(
                msg("{path} is of another version.", path=path),
                expected=f"schema = {SCHEMA}",
                found=f"schema = {data['schema']!r}",
                next_step=msg("use the vmmlab that made this workspace, or make a new one"),
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
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        found: Text = str(error)
    except KeyError as error:
        found = msg("no key {name}", name=repr(error.args[0]))
    raise UsageError(
        msg("{path} cannot be read.", path=path),
        expected=msg("the file as vmmlab wrote it"),
        found=found,
        next_step=msg("put it back; or make a new workspace and copy your labs' files into it"),
    )


def _as(kind: type, table: Any, key: str) -> Any:
    value = table[key]
    if type(value) is not kind:
        raise TypeError(f"{key} = {value!r}")
    return value
