"""Finds or makes the worksheet of a lab in a workspace, and opens it in Jupyter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.files import staged
from vmmlab.base.message import msg
from vmmlab.course import materials
from vmmlab.course.model import Course
from vmmlab.worksheet.assignment import NEEDS, text_for
from vmmlab.workspace.model import Workspace

_SERVER: Final = "notebook"
"""The Python package of Jupyter that opens a notebook; nbgrader brings it along."""


def worksheet_of(here: Workspace, course: Course, lab: str, lang: str) -> Path:
    """Return the worksheet of a lab in a workspace; one that is missing is made, none is changed.

    Args:
        here: the workspace.
        course: the course.
        lab: the lab.
        lang: the language of a new one; "" is English.

    Raises:
        UsageError: the lab has no worksheet.
        InfraError: it has to be made, and nbgrader is not installed.
    """
    course.lab(lab)
    wanted = materials.worksheet(course, lab, lang)
    if wanted is not None and (mine := here.root / lab / wanted.name).is_file():
        return mine
    made = text_for(course, lab, here.cohort.name, lang)
    if made is None:
        having = [name for name in course.labs if materials.worksheet(course, name) is not None]
        raise UsageError(
            msg("{lab} has no worksheet.", lab=lab),
            expected=msg("one of {labs}", labs=", ".join(having))
            if having
            else msg("a course with worksheets: this one has none"),
        )
    name, text = made
    path = here.root / lab / name
    path.parent.mkdir(exist_ok=True)
    with staged(path, text.encode()) as put_in_place:
        put_in_place()
    return path


def open_notebook(path: Path) -> int:
    """Open a notebook in Jupyter, on this terminal until it ends; return its exit code.

    Raises:
        InfraError: Jupyter is not installed.
    """
    if importlib.util.find_spec(_SERVER) is None:
        raise InfraError(
            msg("Jupyter is not installed, which opens {path}.", path=path),
            next_step=msg("{command}; or open the file with another editor", command=NEEDS),
        )
    return subprocess.run(
        [sys.executable, "-m", _SERVER, path.name], cwd=path.parent, check=False
    ).returncode
