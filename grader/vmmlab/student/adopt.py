"""Records a workspace or a course as the user's own, at the user's request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from vmmlab.base import owned
from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.files import staged
from vmmlab.base.message import msg
from vmmlab.base.workspacefile import ID_KEY, WORKSPACE_FILE, text_of
from vmmlab.course.find import COURSE_FILE
from vmmlab.workspace.model import read

_ID: Final = re.compile(rf"^{ID_KEY}\s*=.*\n", re.MULTILINE)
_FIRST_KEY: Final = re.compile(r"^\w+\s*=", re.MULTILINE)


def adopt(start: Path) -> Path:
    """Remember the nearest workspace or course, from `start` upwards, and return its folder.

    A workspace gets a new mark, so that the one it was copied from is not confused with it.

    Args:
        start: a folder.

    Raises:
        UsageError: there is neither, or the workspace.toml cannot be read.
        InfraError: it cannot be written, or nothing can be remembered.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        try:
            if (folder / WORKSPACE_FILE).is_file():
                read(folder)
                owned.claim(folder, _mark(folder))
                return folder
            if (folder / COURSE_FILE).is_file():
                owned.claim(folder)
                return folder
        except (OSError, RuntimeError) as error:
            raise InfraError(
                msg("this record cannot be stored."),
                found=os_reason(error) if isinstance(error, OSError) else str(error),
                next_step=msg("or set {variable}={folder}", variable=owned.VARIABLE, folder=folder),
            ) from error
    raise UsageError(
        msg("no workspace and no course was found in {start} or above it.", start=start),
        expected=msg(
            "a folder with {workspace} or {course}", workspace=WORKSPACE_FILE, course=COURSE_FILE
        ),
    )


def _mark(folder: Path) -> str:
    """Give the workspace a new mark, in its workspace.toml, and return that."""
    mark, text = owned.new_mark(), _ID.sub("", text_of(folder))
    first = _FIRST_KEY.search(text)
    at = first.start() if first else 0
    text = f'{text[:at]}{ID_KEY} = "{mark}"\n{text[at:]}'
    with staged(folder / WORKSPACE_FILE, text.encode()) as put_in_place:
        put_in_place()
    return mark
