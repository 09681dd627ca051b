"""The commands of a lab author: mutants, new labs, releases and wheels, the check of a course."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.cli.options import CourseOption, LangOption, authors_course

if TYPE_CHECKING:
    from vmmlab.author.mutants import Result, VariantResult
    from vmmlab.i18n.translate import Reader

_CohortsOption = Annotated[
    list[str] | None,
    typer.Option("--cohort", help="Cohort of the release; may be repeated. Default: the course's."),
]
_UntilOption = Annotated[
    str, typer.Option(metavar="LAB", help="Hold back what belongs to the labs after this one.")
]


_OutOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Grade nothing: write each as a submission, DIR/MUTANT."),
]


def mutants(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="MUTANT...", help="Only these; a * stands for anything."),
    ] = None,
    lab: Annotated[list[str] | None, typer.Option(help="Only this lab; may be repeated.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Only a random sample.")] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the tables into this page and its translation."),
    ] = None,
    out: _OutOption = None,
    random: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Change N random instructions instead; list what no check detects.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random choice.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Submissions graded at once.")] = 1,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Grade known-wrong solutions and correct variants, and write the kill matrix."""
    from vmmlab.author import mutants as matrix
    from vmmlab.author.mutants.progress import progress
    from vmmlab.course.load import load_course

    loaded = load_course(authors_course(course))
    say: Reader = context.obj.of(*(loaded.labs_dir / name for name in loaded.labs))
    for name in lab or ():
        loaded.lab(name)
    if out is not None:
        for place in matrix.write_folders(loaded, lab, names or (), out):
            typer.echo(place)
        return 0
    if write is not None and (names or lab or sample or random):
        raise UsageError(
            msg("a page holds the whole matrix."),
            expected=msg("--write without names, --lab, --sample or --random"),
        )
    if random is not None:
        from vmmlab.author.mutants import random_mutants

        with progress(msg("changes"), say) as watch:
            found = random_mutants.run_random(
                loaded, random, lab, seed=seed, jobs=jobs, watch=watch
            )
        typer.echo("\n".join(random_mutants.survivors(found, say)))
        return 0
    run = partial(matrix.run_mutants, loaded, lab, names=names or (), sample=sample, seed=seed)
    rest = None if sample or names else partial(matrix.run_variants, loaded, lab, jobs=jobs)
    wrong, right = _shown(partial(run, jobs=jobs), rest, say)
    if write is not None:
        matrix.write_page(write, wrong, right)
    accused = any(one.accused for one in right)
    return 1 if accused or any(one.verdict != "killed" for one in wrong) else 0


def _shown(
    mutants: Callable[..., Sequence[Result]],
    correct: Callable[..., Sequence[VariantResult]] | None,
    say: Reader,
) -> tuple[Sequence[Result], Sequence[VariantResult]]:
    """Grade, and show each outcome at once and the tables at the end, also after a Ctrl-C."""
    from vmmlab.author import mutants as matrix
    from vmmlab.author.mutants.progress import progress

    known: list[Result | VariantResult] = []

    def tell(one: Result | VariantResult) -> None:
        known.append(one)
        if not sys.stderr.isatty():
            typer.echo(matrix.line(one, say), err=True)

    wrong: Sequence[Result] | None = None
    right: Sequence[VariantResult] | None = None
    try:
        with progress(msg("mutants"), say) as watch:
            wrong = mutants(tell=tell, watch=watch)
        with progress(msg("correct solutions"), say) as watch:
            right = () if correct is None else correct(tell=tell, watch=watch)
        return wrong, right
    finally:
        if wrong is None:
            wrong = [one for one in known if isinstance(one, matrix.Result)]
        if right is None:
            right = [one for one in known if not isinstance(one, matrix.Result)]
        lines = matrix.table(wrong, say) if wrong else []
        lines += ["", *matrix.variants_table(right, say)] if right else []
        for line in lines:
            typer.echo(line)


def new_lab(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For example lab11.")],
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """For lab authors, in a clone: create a new lab that can be graded at once."""
    from vmmlab.author import new_lab as newlab
    from vmmlab.course.load import load_course

    say: Reader = context.obj
    made = newlab.new_lab(load_course(authors_course(course)), name)
    for file in made.files:
        typer.echo(say(msg("created  {file}", file=file)))
    typer.echo(say(msg("added to {changed}", changed=made.changed)))
    typer.echo(
        say(
            msg(
                "Next: vmmlab grade {name} --submission reference, then vmmlab check-course",
                name=name,
            )
        )
    )


def release(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    cohort: _CohortsOption = None,
    until: _UntilOption = "",
    self_study: Annotated[
        bool,
        typer.Option(
            "--self-study",
            help="For people who study alone: with solutions, hidden checks and answers.",
        ),
    ] = False,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Write a release for students: prebuilt objects, no solutions, no hidden checks."""
    from vmmlab.author import release as releases
    from vmmlab.course.load import load_course
    from vmmlab.host.tools import require

    say: Reader = context.obj
    loaded = load_course(authors_course(course))
    require(("gcc", "ld", "objcopy"))
    made = releases.release(loaded, directory, cohort or (), until, self_study=self_study)
    for note in made.notes:
        typer.echo(say(msg("note: {note}", note=note)))
    folder, files = made.folder, made.files
    text = msg(
        "{folder}: {files} files, none of which contains a line of a solution",
        folder=folder,
        files=files,
    )
    if self_study:
        text = msg(
            "{folder}: {files} files, with the solutions: for self-study only",
            folder=folder,
            files=files,
        )
    typer.echo(say(text))
    typer.echo(say(msg("Next: try it as a student would: its README.md says how")))


def wheel(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the wheel.")],
    cohort: _CohortsOption = None,
    until: _UntilOption = "",
    man: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Manual page to install with it.")
    ] = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Build a wheel for students: vmmlab with a release, for pip, pipx or uv."""
    from vmmlab.author import wheel as wheels
    from vmmlab.course.load import load_course
    from vmmlab.host.tools import require

    say: Reader = context.obj
    loaded = load_course(authors_course(course))
    require(("gcc", "ld", "objcopy"))
    typer.echo(wheels.wheel(loaded, directory, cohort or (), until, man))
    typer.echo(say(msg("Next: pipx install that file, then vmmlab new ~/vmm")))


def check_course(
    context: typer.Context,
    labs: Annotated[
        list[str] | None, typer.Argument(metavar="LAB...", help="Only these labs.")
    ] = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """For lab authors: list what is missing in the course, one line for each problem."""
    from vmmlab.author import check_course as coursecheck

    say: Reader = context.obj
    found = coursecheck.forgotten(authors_course(course), labs or ())
    for one in found:
        typer.echo(one.shown(say))
    typer.echo(
        say(msg("{count} problems", count=len(found)) if found else msg("nothing is missing"))
    )
    return 1 if found else 0
