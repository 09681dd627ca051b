"""Options that several commands share, and the objects that their values name.

Every start of `vmmlab` loads this module, so it imports other packages only inside functions.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg

if TYPE_CHECKING:
    from vmmlab.course.model import Course
    from vmmlab.i18n.translate import Reader
    from vmmlab.workspace.model import Workspace
    from vmmlab.workspace.source import Source

CourseOption = Annotated[
    Path | None,
    typer.Option(
        "--course",
        metavar="DIR",
        help="Folder of the course. Default: the nearest one above this folder.",
    ),
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        metavar="DIR",
        help="Workspace. Default: the one that contains the current folder.",
    ),
]
ArchOption = Annotated[str, typer.Option("--arch", help="x86_64 or i386.")]
CompilerOption = Annotated[str, typer.Option("--cc", help="gcc or clang.")]
NoSandboxOption = Annotated[
    bool,
    typer.Option("--no-sandbox", help="Grade other people's code even if no sandbox is available."),
]
CohortOption = Annotated[str | None, typer.Option(help="Cohort. Default: the course's.")]
LangOption = Annotated[
    str | None,
    typer.Option(
        "--lang", metavar="en|ja", help="Language of the output. Default: taken from LANG."
    ),
]
NbgraderOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="nbgrader's course folder. Default: the current folder, if it was named before.",
    ),
]
LabArgument = Annotated[str, typer.Argument(metavar="LAB", help="A lab of the course, or vmm.")]

GROUP: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""The settings of every group of commands."""


def open_course(
    explicit: Path | None,
    say: Reader,
    workspace: Workspace | None = None,
) -> Course:
    """Load the course of a command.

    Args:
        explicit: the value of --course.
        say: the reader's language, for a note on stderr about a course that is not used.
        workspace: the user's own workspace that the command is about; None: the one around the
            working directory, if any.

    Raises:
        UsageError: there is no course.
        CourseError: its course.yml is wrong.
    """
    from vmmlab.base.text import clean_line
    from vmmlab.course.find import find_course, passed_over
    from vmmlab.course.load import load_course

    here = workspace or current_workspace()
    start = here.root if workspace and here else Path.cwd()
    root = find_course(start, explicit, here.course if here else None)
    foreign = passed_over(start) if explicit is None else None
    if foreign is not None and foreign != root:
        note = msg(
            "note: {foreign} is not the course that this vmmlab belongs to, so {used} is "
            "used; if it is your own: vmmlab adopt {foreign}",
            foreign=clean_line(str(foreign)),
            used=root,
        )
        typer.echo(say(note), err=True)
    return load_course(root)


def authors_course(explicit: Path | None) -> Path:
    """Return the folder of the course for an author's command: that of the working directory.

    Args:
        explicit: the value of --course.

    Raises:
        UsageError: there is no course, or the nearest one is not the user's own.
    """
    from vmmlab.course.find import find_course, not_own, passed_over

    foreign = passed_over(Path.cwd()) if explicit is None else None
    if foreign is not None:
        raise not_own(foreign)
    return find_course(Path.cwd(), explicit)


def nbgrader_folder(explicit: Path | None) -> Path:
    """Return nbgrader's course folder; one that is named is remembered.

    Its nbgrader_config.py is Python, which runs as the user. A working directory that was never
    named may be a submission.

    Args:
        explicit: the value of --nbgrader.

    Raises:
        UsageError: the working directory is meant, and it was never named.
    """
    from vmmlab.base import owned

    if explicit is not None:
        if explicit.is_dir():
            with suppress(OSError, RuntimeError):
                owned.claim(explicit)
        return explicit
    here = Path.cwd()
    if owned.record(here.resolve()) is None:
        raise UsageError(
            msg("{here} was never named as nbgrader's course folder.", here=here),
            expected=msg(
                "a folder of your own: its nbgrader_config.py would run with your permissions"
            ),
            next_step=msg("if it is yours, add --nbgrader . once"),
        )
    return here


def current_workspace() -> Workspace | None:
    """Return the user's own workspace that the working directory lies in, or None.

    Raises:
        UsageError: there is one, but its workspace.toml cannot be read.
    """
    from vmmlab.workspace import model as workspace

    return workspace.locate(Path.cwd())


def workspace_or_reference(submission: str | None) -> Workspace | None:
    """Return what a command without --submission is about: the user's own workspace, or None.

    Args:
        submission: the value of --submission; None if it was not given.

    Raises:
        UsageError: the working directory is in a workspace that is not the user's own.
    """
    from vmmlab.base.workspacefile import workspace_folder

    if submission is not None:
        return None
    return workspace_at(None) if workspace_folder(Path.cwd().resolve()) else None


def workspace_at(directory: Path | None) -> Workspace:
    """Return the user's own workspace at `directory`, or at the working directory if that is None.

    Raises:
        UsageError: there is none, or its workspace.toml cannot be read.
    """
    from vmmlab.workspace import model as workspace

    return workspace.require(directory or Path.cwd())


def source_named(name: str, say: Reader) -> Source:
    """Return whose work --submission names, seen from the working directory.

    Args:
        name: the value of --submission.
        say: the reader's language, for a note on stderr if that might be the reader's own work.

    Raises:
        UsageError: the workspace.toml of the user's own workspace cannot be read.
    """
    from vmmlab.base.workspacefile import workspace_folder
    from vmmlab.workspace.source import REFERENCE, Source

    here = None if name == REFERENCE else current_workspace()
    known = name == REFERENCE or (here is not None and not here.copied)
    foreign = None if known else workspace_folder(Path.cwd().resolve())
    if foreign is not None and foreign == Path(name).resolve():
        note = msg(
            "note: graded as another person's work, because vmmlab did not create this "
            "workspace for you here; if it is your own: vmmlab adopt {folder}",
            folder=shlex.quote(str(foreign)),
        )
        typer.echo(say(note), err=True)
    return Source(name, here)
