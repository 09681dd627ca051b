"""The commands with which a student learns from a run: hints, progress, watch, debug."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.cli.options import (
    ArchOption,
    CourseOption,
    LangOption,
    WorkspaceOption,
    open_course,
    workspace_at,
)

if TYPE_CHECKING:
    from pathlib import Path

    from vmmlab.i18n.translate import Reader
    from vmmlab.student.grading import OwnWork

_SeedOption = Annotated[int | None, typer.Option("--seed", help="Vary the inputs of the boots.")]


def hint(
    context: typer.Context,
    check: Annotated[
        str | None,
        typer.Argument(
            metavar="CHECK",
            help="A check, a part of its name, or a lab. Default: the first check of the last run "
            "that fails.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show all hints at once.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Show those that you have seen, and no new one.")
    ] = False,
    directory: WorkspaceOption = None,
    arch: ArchOption = "x86_64",
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Give the next hint on a check that fails. Hints cost no points."""
    from vmmlab.report.console import show
    from vmmlab.student import hint as hints
    from vmmlab.student.hinttext import render

    here = workspace_at(directory)
    loaded = open_course(course, context.obj, here)
    found = hints.find(here, loaded, check, arch, context.obj.language)
    shown = hints.ask(found, here.root, everything=everything, again=again)
    say: Reader = context.obj.of(loaded.labs_dir / found.check.id.partition(".")[0])
    show(lambda width, color: render(shown, say, width=width, color=color))


def progress(
    context: typer.Context,
    directory: WorkspaceOption = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Show how far you are in each lab, and what comes next. It stays in this workspace."""
    from vmmlab.report.console import show
    from vmmlab.student.progress import render
    from vmmlab.workspace.progress import load

    here = workspace_at(directory)
    loaded = open_course(course, context.obj, here)
    known, damaged = load(here.root)
    say: Reader = context.obj.of(*(loaded.labs_dir / name for name in loaded.labs))
    show(lambda width, color: render(loaded, known, say, damaged=damaged, width=width, color=color))


def watch(
    context: typer.Context,
    lab: Annotated[str, typer.Argument(metavar="LAB", help="A lab of the course.")],
    seed: _SeedOption = None,
    directory: WorkspaceOption = None,
    arch: ArchOption = "x86_64",
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Grade a lab each time that one of its files is saved, until Ctrl-C."""
    from vmmlab.student.watch import watch as watch_lab

    work = _own_work(directory, course, context.obj, arch, seed)
    say: Reader = context.obj.of(work.course.labs_dir / work.course.lab(lab).name)
    watch_lab(work, lab, say)


def debug(
    context: typer.Context,
    check: Annotated[
        str, typer.Argument(metavar="CHECK", help="A check that fails, or a part of its name.")
    ],
    seed: _SeedOption = None,
    directory: WorkspaceOption = None,
    arch: ArchOption = "x86_64",
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Boot the scenario in which a check fails under gdb, up to where the evidence was taken."""
    from vmmlab.student.debugcheck import debug as debug_check

    work = _own_work(directory, course, context.obj, arch, seed)
    return debug_check(work, check, context.obj)


def _own_work(
    directory: Path | None, course: Path | None, say: Reader, arch: str, seed: int | None
) -> OwnWork:
    """Return what is graded in this process: a workspace, whose Python must be the course's."""
    from vmmlab.student.copied import check_python
    from vmmlab.student.grading import OwnWork

    here = workspace_at(directory)
    if here.copied:
        check_python(here)
    loaded = open_course(course, say, here)
    return OwnWork(here.root, loaded, here.cohort, here.copied, arch, seed)
