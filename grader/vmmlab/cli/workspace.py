"""The commands about what else is in a workspace: worksheets, handing in, updates, solutions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.message import msg
from vmmlab.cli.options import CourseOption, LangOption, WorkspaceOption, open_course, workspace_at
from vmmlab.i18n import translate

if TYPE_CHECKING:
    from vmmlab.i18n.translate import Reader

_Lab = Annotated[str, typer.Argument(metavar="LAB", help="A lab of the course.")]


def worksheet(
    context: typer.Context,
    lab: _Lab,
    open: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the worksheet in Jupyter.")
    ] = True,
    directory: WorkspaceOption = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Open the worksheet of a lab, a notebook with questions."""
    from vmmlab.student import worksheet as worksheets

    here = workspace_at(directory)
    say: Reader = context.obj
    loaded = open_course(course, say, here)
    language = "" if say.language == translate.ENGLISH else say.language
    path = worksheets.worksheet_of(here, loaded, lab, language)
    typer.echo(say(msg("{path}: the worksheet of {lab}", path=path, lab=lab)))
    return worksheets.open_notebook(path) if open else 0


def handin(
    context: typer.Context,
    labs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LAB...]", help="Labs of the course. Default: all of them."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write. Default: handin/LAB.zip."
        ),
    ] = None,
    directory: WorkspaceOption = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Pack the files to hand in, and only those, into a small archive."""
    from vmmlab.student import handin as handins

    here = workspace_at(directory)
    loaded = open_course(course, context.obj, here)
    say: Reader = context.obj.of(*(loaded.labs_dir / name for name in loaded.labs))
    for line in handins.hand_in(here, loaded, labs or (), output):
        typer.echo(say(line))
