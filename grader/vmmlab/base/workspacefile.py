"""workspace.toml, the file that makes a folder a workspace: its name, and where one is.

The template `vmm-skeleton` writes it, `vmmlab.workspace.model` reads it. The pytest plugin imports
this module in every pytest run on the machine, so it imports next to nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

WORKSPACE_FILE = "workspace.toml"

SCHEMA = 1
"""The version of the file."""

PREBUILT_FOLDER = "standin"
"""The folder of the prebuilt labs in a workspace."""

STATE_FOLDER = ".vmmlab"
"""The folder of what vmmlab remembers about a workspace; it is never handed in."""

ID_KEY = "id"
"""The key of the mark by which vmmlab knows a workspace again; see `vmmlab.base.owned`."""

MAX_BYTES = 16 * 1024
"""The size in bytes of the largest workspace.toml that is read."""

LANGUAGE_KEY = "lang"
"""The key of the language that the workspace was made in; it may be missing."""


def workspace_folder(start: Path) -> Path | None:
    """Return the nearest folder with a workspace.toml, from `start` upwards; None: there is none.

    Args:
        start: an absolute path; it need not exist.
    """
    for folder in (start, *start.parents):
        # Path.is_file would raise for a folder that may not be searched.
        if os.path.isfile(folder / WORKSPACE_FILE):  # noqa: PTH113
            return folder
    return None


def own_workspace_folder(start: Path) -> Path | None:
    """Return the nearest folder with a workspace.toml, if it is the user's own, or a copy of that.

    Args:
        start: an absolute path without symbolic links; it need not exist.
    """
    folder = workspace_folder(start)
    if folder is None:
        return None
    from vmmlab.base import owned  # late: most pytest runs are in no workspace

    mark, known = mark_of(folder), owned.record(folder)
    own = known is not None and known.fits(mark)
    return folder if own or owned.record_of_copy(mark) is not None else None


def text_of(folder: Path) -> str:
    """Return the text of a workspace.toml.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or not UTF-8.
    """
    with open(folder / WORKSPACE_FILE, "rb") as file:  # noqa: PTH123
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES // 1024} KiB")
    return data.decode()


def mark_of(folder: Path) -> str:
    """Return the mark in a workspace.toml; "" if there is none, or it cannot be read."""
    import tomllib

    try:
        said = tomllib.loads(text_of(folder)).get(ID_KEY)
    except (OSError, ValueError):
        return ""
    return said if isinstance(said, str) else ""
