"""The commands `vmmlab gradebook ...`: nbgrader's course folder, its worksheets and its scores."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg, nmsg
from vmmlab.base.text import clean_line
from vmmlab.cli.options import (
    GROUP,
    CohortOption,
    CourseOption,
    LangOption,
    NbgraderOption,
    nbgrader_folder,
    open_course,
)

if TYPE_CHECKING:
    from vmmlab.i18n.translate import Reader

_RosterOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="CSV: id, first_name, last_name, email, cohort."),
]


@contextlib.contextmanager
def _needing_nbgrader() -> Iterator[None]:
    """Say what to install if what is imported in the block is missing."""
    try:
        yield
    except ImportError as error:
        raise UsageError(
            msg("the gradebook needs nbgrader: {error}.", error=str(error)),
            next_step="pip install 'vmmlab[instructor]'",
        ) from None


gradebook = typer.Typer(
    **GROUP,
    help="nbgrader's gradebook: lab scores next to those of the worksheets.",
)


@gradebook.command(name="init")
def gradebook_init(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="nbgrader's course folder: a new one, or yours.")
    ],
    course_id: Annotated[
        str, typer.Option(metavar="NAME", help="nbgrader's name of the course.")
    ] = "vmm",
    cohort: CohortOption = None,
    database: Annotated[
        str,
        typer.Option(metavar="URL", help="The gradebook. Default: the file gradebook.db in DIR."),
    ] = "",
    roster: _RosterOption = None,
    labs: Annotated[
        str, typer.Option(metavar="LAB,LAB...", help="Only the worksheets of these labs.")
    ] = "",
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Make nbgrader's course folder: configuration, gradebook, students, worksheets."""
    loaded = open_course(course, context.obj)
    with _needing_nbgrader():
        from vmmlab.classroom.gradebook import create
        from vmmlab.classroom.roster import read_roster
    say: Reader = context.obj
    setup = create.Setup(
        cohort=cohort or loaded.cohort,
        course_id=course_id,
        database=database,
        language=say.language,
        labs=tuple(filter(None, labs.split(","))),
        roster=read_roster(roster) if roster else {},
    )
    made = create.create(loaded, directory, setup)
    nbgrader_folder(directory)
    for file in made.files:
        typer.echo(say(msg("created  {file}", file=file)))
    for note in made.notes:
        typer.echo(say(msg("note: {note}", note=note)))
    typer.echo(
        say(
            msg(
                "{directory}: {files} new files, {students} new students",
                directory=directory,
                files=len(made.files),
                students=len(made.students),
            )
        )
    )


@gradebook.command(name="export")
def gradebook_export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The CSV file to write.")],
    nbgrader: NbgraderOption = None,
    long: Annotated[
        bool,
        typer.Option("--long", help="A row for each assignment of each student, with its status."),
    ] = False,
    lang: LangOption = None,
) -> int:
    """Write the grades as CSV: one row for each student, a column for each assignment."""
    with _needing_nbgrader():
        from vmmlab.classroom.gradebook import export
    say: Reader = context.obj
    done = export.write(nbgrader_folder(nbgrader), file, long=long)
    typer.echo(
        say(
            msg(
                "{file}: {students} students, {open} grades still need a mark",
                file=file,
                students=done.students,
                open=done.open,
            )
        )
    )
    return 0


@gradebook.command(name="sync")
def gradebook_sync(
    context: typer.Context,
    reports: Annotated[
        list[Path],
        typer.Argument(
            metavar="REPORT...", help="Reports such as STUDENT/lab3.json, or their folder."
        ),
    ],
    nbgrader: NbgraderOption = None,
    student: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The student. Default: the folder's name."),
    ] = None,
    roster: _RosterOption = None,
    cohort: CohortOption = None,
    create_students: Annotated[
        bool, typer.Option("--create-students", help="Add students that the gradebook lacks.")
    ] = False,
    drop_removed: Annotated[
        bool,
        typer.Option("--drop-removed", help="Delete the points of checks that no longer exist."),
    ] = False,
    older: Annotated[
        bool, typer.Option("--older", help="Enter reports although the gradebook has newer ones.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would change, but change nothing.")
    ] = False,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Write lab scores to nbgrader's gradebook; scores that a person has entered stay."""
    gc.disable()  # thousands of reports, which are all needed until the end
    loaded = open_course(course, context.obj)
    with _needing_nbgrader():
        from vmmlab.classroom import gradebook as books
        from vmmlab.classroom.gradebook import show
        from vmmlab.classroom.roster import read_roster
    options = books.Options(
        folder=nbgrader_folder(nbgrader),
        cohort=cohort or loaded.cohort,
        student=student,
        roster=read_roster(roster) if roster else {},
        create_students=create_students,
        drop_removed=drop_removed,
        older=older,
        dry_run=dry_run,
    )
    say: Reader = context.obj
    with show.progress(say) as tell:
        result = books.run(loaded, reports, options, tell, say)
    show.print_result(result, say=say)
    return result.exit_code


@gradebook.command(name="autograde")
def gradebook_autograde(
    context: typer.Context,
    lab: Annotated[str, typer.Argument(metavar="LAB", help="Lab of the worksheets.")],
    nbgrader: NbgraderOption = None,
    student: Annotated[str | None, typer.Option(metavar="ID", help="Only this student.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also worksheets that are already graded.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=0, help="Worksheets at a time. 0: one for each CPU."),
    ] = 0,
    no_sandbox: Annotated[
        bool,
        typer.Option(
            "--no-sandbox", help="Run other people's notebooks even if no sandbox is available."
        ),
    ] = False,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Grade the worksheets of a class: nbgrader's autograde, with students' code in a sandbox."""
    try:
        from vmmlab.classroom.gradebook import parallel, worksheets
        from vmmlab.worksheet.formgrader import CHECKS
    except ImportError as error:
        raise UsageError(
            msg("worksheets need nbgrader: {error}.", error=str(error)),
            next_step="pip install 'vmmlab[instructor,worksheets]'",
        ) from None
    if course is not None:
        open_course(course, context.obj).lab(lab.removesuffix(CHECKS).partition("-")[0])
    folder = nbgrader_folder(nbgrader)
    worksheets.check(folder, lab, sandbox_required=not no_sandbox)
    students = parallel.handed_in(folder, lab)
    width = max(map(len, students), default=0)

    def tell(one: worksheets.Graded) -> None:
        for line in worksheets.lines(lab, [one], context.obj, width):
            typer.echo(line)

    if student is not None or len(students) < 2:
        graded = worksheets.grade(
            folder, lab, student=student, again=force, sandbox_required=not no_sandbox
        )
        for one in graded:
            tell(one)
    else:
        graded = parallel.grade(
            folder,
            lab,
            students,
            jobs=jobs,
            again=force,
            sandbox_required=not no_sandbox,
            tell=tell,
        )
    return max((one.exit_code for one in graded), default=0)


@gradebook.command(name="feedback")
def gradebook_feedback(
    context: typer.Context,
    assignments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ASSIGNMENT]...", help="Such as lab3-checks, or lab3. Default: all."
        ),
    ] = None,
    nbgrader: NbgraderOption = None,
    student: Annotated[str | None, typer.Option(metavar="ID", help="Only this student.")] = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Make the pages that students get: marks, comments, and for labs the report."""
    with _needing_nbgrader():
        from vmmlab.classroom.gradebook import feedback
    say: Reader = context.obj
    labs = open_course(course, say).labs_dir
    made = waiting = failed = 0
    folder = nbgrader_folder(nbgrader)
    for one in feedback.make(folder, assignments or (), student, lambda lab: say.of(labs / lab)):
        if one.open:
            waiting += 1
            told = nmsg("one mark is missing", "{count} marks are missing", count=one.open)
            said = say(msg("not made: {why}", why=say(told)))
        elif one.problem:
            failed += 1
            said = say(msg("not made: {why}", why=one.problem))
        else:
            made += 1
            said = " ".join(one.files)
        typer.echo(f"{clean_line(one.student)}  {one.assignment}  {clean_line(said)}")
    counts = msg(
        "{folder}: {made} made, {waiting} still need a mark, {failed} failed",
        folder=folder / "feedback",
        made=made,
        waiting=waiting,
        failed=failed,
    )
    typer.echo(say(counts))
    return 3 if failed else 0


@gradebook.command(name="upgrade")
def gradebook_upgrade(
    context: typer.Context, nbgrader: NbgraderOption = None, lang: LangOption = None
) -> None:
    """Update the gradebook of an older nbgrader; the old one stays as a backup."""
    with _needing_nbgrader():
        from vmmlab.classroom.gradebook import update
    say: Reader = context.obj
    backup = update.update(nbgrader_folder(nbgrader))
    done = msg("the gradebook is of this version already")
    if backup is not None:
        done = msg("updated; the gradebook as it was: {backup}", backup=backup)
    typer.echo(say(done))


@gradebook.command(name="rescore")
def gradebook_rescore(
    context: typer.Context,
    reports: Annotated[
        Path, typer.Argument(metavar="DIR", help="Reports: STUDENT/lab3.json and so on.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for the new reports.")
    ],
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Compute points again after course.yml has changed them; nothing is built or booted."""
    from vmmlab.classroom import rescoring
    from vmmlab.i18n.translate import error_text

    say: Reader = context.obj
    done = rescoring.rescore(open_course(course, say), reports, out)
    for path, error in done.refused:
        reason = error_text(error, say)
        for colon in (say.label(": "), ": "):  # the file stands in front already
            reason = reason.removeprefix(f"{path}{colon}")
        typer.echo(say(msg("refused  {path}: {reason}", path=path, reason=reason)))
    typer.echo(
        say(
            msg(
                "{out}: {changed} changed, {same} the same, {refused} refused",
                out=out,
                changed=done.changed,
                same=done.same,
                refused=len(done.refused),
            )
        )
    )
    return 2 if done.refused else 0
