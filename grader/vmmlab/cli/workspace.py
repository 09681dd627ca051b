"""Commands for the rest of a workspace: worksheets, handing in, updates, solutions."""

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


def update(
    context: typer.Context,
    release: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RELEASE]",
            help="Folder of the newer release. Default: the course that the workspace belongs to.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would change, but change nothing.")
    ] = False,
    directory: WorkspaceOption = None,
    lang: LangOption = None,
) -> int:
    """Bring newer given code, handouts and checks into a workspace; your own files stay."""
    from vmmlab.student.new import update_workspace
    from vmmlab.workspace.new import remember

    here = workspace_at(directory)
    say: Reader = context.obj
    if release is not None:
        _require_release(release)
    loaded = open_course(release, say, here)
    made = update_workspace(here, loaded, try_only=dry_run)
    rows = (
        (msg("new"), tuple(made.added)),
        (msg("changed"), tuple(made.changed)),
        (msg("removed"), made.removed),
        (msg("conflict: changed by you and by the release"), made.conflicts),
        (msg("yours, kept as it is"), made.kept),
        (msg("yours, kept as it is; its starter has changed"), made.starters),
    )
    for what, paths in rows:
        for path in paths:
            typer.echo(f"  {path}{say.label(': ')}{say(what)}")
    if dry_run:
        typer.echo(say(msg("nothing was changed: --dry-run")))
        return 1 if made.conflicts else 0
    if release is not None:
        remember(here.root, loaded)
    done = msg("{root} is up to date: nothing to do", root=here.root)
    if not made.empty:
        done = msg("{root} is up to date", root=here.root)
    typer.echo(say(done))
    return 0


def _require_release(folder: Path) -> None:
    """Raise UsageError if a folder, or the course.yml in it, is not that of a release."""
    from vmmlab.base.errors import UsageError
    from vmmlab.course.find import COURSE_FILE

    root = folder.parent if folder.name == COURSE_FILE else folder
    if not (root / COURSE_FILE).is_file():
        raise UsageError(
            msg("{folder} is not a release.", folder=folder),
            expected=msg("the folder of the newer release, which holds {file}", file=COURSE_FILE),
            found=msg("a folder without this file") if root.is_dir() else msg("no such folder"),
            next_step=msg("unpack or clone the newer release, and name its folder"),
        )


def solution(
    context: typer.Context,
    lab: _Lab,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    directory: WorkspaceOption = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Show the solution of a lab beside your own files, if the course has solutions."""
    import shutil
    import sys

    from vmmlab.base.errors import UsageError
    from vmmlab.student import solution as solutions
    from vmmlab.workspace.solutions import mark_seen, seen

    here = workspace_at(directory)
    say: Reader = context.obj
    loaded = open_course(course, say, here)
    solutions.solution(loaded, lab)
    if not yes and lab not in seen(here.root):
        if not sys.stdin.isatty():
            raise UsageError(
                msg("the solution of {lab} is shown only after a confirmation.", lab=lab),
                next_step=msg("run it in a terminal, or add --yes"),
            )
        question = msg("Show the solution of {lab}? vmmlab hint gives hints instead", lab=lab)
        typer.confirm(say(question), abort=True)
    mark_seen(here.root, lab)
    for line in solutions.lines(here, loaded, lab, say, shutil.get_terminal_size().columns):
        typer.echo(line)


def handout(
    context: typer.Context,
    lab: _Lab,
    open: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = True,
    directory: WorkspaceOption = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Open the handout of a lab, with its pictures, in a browser."""
    from vmmlab.cli.pictures import opened_in_browser
    from vmmlab.student.handout import page_of

    here = workspace_at(directory)
    say: Reader = context.obj
    loaded = open_course(course, say, here)
    path = page_of(here, loaded, lab, say.language)
    shown = open and opened_in_browser(path)
    typer.echo(str(path) if shown else say(msg("{path}: open it in a browser", path=path)))
