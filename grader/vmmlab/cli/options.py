"""Options that several commands share, and the objects that their values name.

Every start of `vmmlab` loads this module, so it imports other packages only inside functions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg

if TYPE_CHECKING:
    from vmmlab.course.model import Course
    from vmmlab.workspace.model import Workspace
    from vmmlab.workspace.source import Source

CourseOption = Annotated[
    Path | None,
    typer.Option("--course", metavar="DIR", help="The course; else it is looked for upwards."),
]
ArchOption = Annotated[str, typer.Option("--arch", help="x86_64 or i386.")]
CohortOption = Annotated[str | None, typer.Option(help="Whose numbers; else the course's.")]
LangOption = Annotated[
    str | None,
    typer.Option("--lang", metavar="en|ja", help="The language of what is shown; else LANG says."),
]
NbgraderOption = Annotated[
    Path, typer.Option(metavar="DIR", help="nbgrader's course folder; else this one.")
]
LabArgument = Annotated[str, typer.Argument(metavar="LAB", help="lab0 … lab4, or vmm.")]

HELP_NAMES = {"help_option_names": ["-h", "--help"]}
"""The context settings of every group of commands."""


def open_course(explicit: Path | None, start: Path | None = None) -> Course:
    """Load the course of a command.

    Args:
        explicit: the value of --course.
        start: where to look for one otherwise, upwards; None: from the working directory.

    Raises:
        UsageError: there is no course.
        CourseError: its course.yml is wrong.
    """
    from vmmlab.course.find import find_course
    from vmmlab.course.load import load_course

    return load_course(find_course(start or Path.cwd(), explicit))


def current_workspace() -> Workspace | None:
    """Return the workspace that the working directory lies in, or None.

    Raises:
        UsageError: there is one, but its workspace.toml cannot be read.
    """
    from vmmlab.workspace import model as workspace

    return workspace.locate(Path.cwd())


def workspace_at(directory: Path | None) -> Workspace:
    """Return the workspace at `directory`, or at the working directory if that is None.

    Raises:
        UsageError: there is none, or its workspace.toml cannot be read.
    """
    from vmmlab.base.workspacefile import WORKSPACE_FILE
    from vmmlab.workspace import model as workspace

    found = workspace.locate(directory or Path.cwd())
    if found is None:
        raise UsageError(
            msg("{directory} is not in a workspace.", directory=directory or Path.cwd()),
            expected=msg("a folder with {workspace_file}", workspace_file=WORKSPACE_FILE),
            next_step=msg("make one with vmmlab new DIR, or go into yours"),
        )
    return found


def source_named(name: str) -> Source:
    """Return whose work --submission names, seen from the working directory."""
    from vmmlab.workspace.source import REFERENCE, Source

    return Source(name, None if name == REFERENCE else current_workspace())
