"""What a workspace remembers of its gradings, and of the hints that were requested.

It is kept in .vmmlab/progress.json and sent nowhere. Points do not depend on it: a file that is
missing, damaged or of another version only means that it begins anew. Does not know grading.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

from vmmlab.base.files import read_regular, staged
from vmmlab.base.workspacefile import STATE_FOLDER

SCHEMA: Final = "vmmlab/progress/1"
FILE: Final = "progress.json"
OLD: Final = "progress.json.old"
"""A file that could not be read, kept beside the new one."""

_MOST: Final = 1 << 20  # bytes of a file that is read


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True, allow_inf_nan=False)


class CheckProgress(_Model):
    """How a check ended when it last ran."""

    outcome: str = Field(max_length=20)
    points: NonNegativeFloat | None = None


class LabProgress(_Model):
    """The gradings of one lab for one architecture."""

    gradings: NonNegativeInt = 0
    checks: dict[str, CheckProgress] = {}


class Progress(_Model):
    """The whole file.

    Attributes:
        labs: from `key_of` to the gradings.
        last: the labs of the last run, each with its architecture.
        hints: from a check and a cause, as "lab3.ipi.init:no-init", to how many levels of the
            cause's hints were shown.
    """

    schema_: Literal["vmmlab/progress/1"] = Field(SCHEMA, alias="schema")
    labs: dict[str, LabProgress] = {}
    last: list[tuple[str, str]] = []
    hints: dict[str, NonNegativeInt] = {}


@dataclass(frozen=True, slots=True)
class Grading:
    """One lab of a run.

    Attributes:
        lab: its name.
        arch: what it was built for.
        checks: how each check that ran has ended.
        partial: only some of the checks ran; what is known of the others stays.
    """

    lab: str
    arch: str
    checks: Mapping[str, CheckProgress]
    partial: bool


def key_of(lab: str, arch: str) -> str:
    """Return under which key the gradings of a lab stand."""
    return lab if arch == "x86_64" else f"{lab}-{arch}"


def path_of(root: Path) -> Path:
    """Return the file of a workspace."""
    return root / STATE_FOLDER / FILE


def load(root: Path) -> tuple[Progress, bool]:
    """Return what a workspace remembers, and whether there is a file that cannot be read.

    Args:
        root: the workspace.
    """
    try:
        data = read_regular(path_of(root), _MOST + 1)
        if len(data) > _MOST:
            return Progress(schema=SCHEMA), True
        return Progress.model_validate_json(data), False
    except FileNotFoundError:
        return Progress(schema=SCHEMA), False
    except (OSError, ValidationError):
        return Progress(schema=SCHEMA), True


def store(root: Path, progress: Progress) -> None:
    """Write what a workspace remembers; a file that cannot be read is kept as `OLD`.

    Nothing depends on it: if it cannot be written, it is not.

    Args:
        root: the workspace.
        progress: the new content.
    """
    path = path_of(root)
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        if load(root)[1]:
            os.replace(path, path.with_name(OLD))  # noqa: PTH105
        data = progress.model_dump_json(by_alias=True, indent=1) + "\n"
        with staged(path, data.encode()) as put_in_place:
            put_in_place()


def note_run(root: Path, gradings: Sequence[Grading]) -> None:
    """Remember the gradings of one run.

    Args:
        root: the workspace.
        gradings: one for each lab that was graded.
    """
    if not gradings:
        return
    progress, _ = load(root)
    progress.last = [(one.lab, one.arch) for one in gradings]
    for one in gradings:
        known = progress.labs.setdefault(key_of(one.lab, one.arch), LabProgress())
        known.gradings += 1
        known.checks = {**(known.checks if one.partial else {}), **one.checks}
    store(root, progress)
