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
