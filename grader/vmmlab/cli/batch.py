"""`vmmlab batch`: grade a whole class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg, nmsg
from vmmlab.base.text import clean_line
from vmmlab.cli.official import RoundOption, SecretOption
from vmmlab.cli.options import (
    ArchOption,
    CompilerOption,
    CourseOption,
    LangOption,
    NbgraderOption,
    NoSandboxOption,
    nbgrader_folder,
    open_course,
)

if TYPE_CHECKING:
    from vmmlab.classroom.batch.classrun import Options, Outcome
    from vmmlab.classroom.batch.compare import Change
    from vmmlab.classroom.batch.job import Settings
    from vmmlab.classroom.batch.sheets import Sheet
    from vmmlab.classroom.intake import Intake, Submission
    from vmmlab.course.model import Course
    from vmmlab.i18n.translate import Reader

_ATTENTION = 3
_LISTED = 20


_SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER|ZIP",
        help="The submissions: a folder for each student, or the download of a platform.",
    ),
]
_OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for reports and the summary.")
]
_RosterOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="CSV: id, first_name, last_name, email, cohort."),
]
_LabsOption = Annotated[
    str | None, typer.Option(metavar="LAB,...", help="Default: all that were handed in.")
]
_ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Grade only what is missing or has changed.")
]
_OnlyOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Grade this student again; keep the old report.")
]
_SeedOption = Annotated[int | None, typer.Option(min=0, help="Seed of the boots.")]
_HtmlOption = Annotated[
    bool, typer.Option("--html/--no-html", help="Draw a page with pictures for each report.")
]
_RepeatOption = Annotated[
    int, typer.Option(min=0, metavar="K", help="Grade K times more with other seeds, and compare.")
]
_SampleOption = Annotated[
    int, typer.Option(min=0, metavar="N", help="With --repeat: only N students. 0: all.")
]
_CompareOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="List what changed since that batch.")
]
_JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", min=0, help="Workers on this host. 0: one for each CPU.")
]
_SchedulerOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS|FILE",
        help="Grade on a running Dask cluster: tls://HOST:PORT, or its scheduler file.",
    ),
]
_TlsOption = Annotated[
    str | None, typer.Option(metavar="CA,CERT,KEY", help="Certificates for that cluster (PEM).")
]
_DashboardOption = Annotated[
    bool, typer.Option("--dashboard", help="Serve Dask's pages, on this host only.")
]
_DiskOption = Annotated[int, typer.Option(min=1, metavar="MIB", help="Room for pages in DIR.")]
_ProcessesOption = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Processes of all gradings together. 0: any number."),
]
_ScratchOption = Annotated[
    int,
    typer.Option(
        min=0, metavar="MIB", help="Temporary files of all gradings together. 0: any number."
    ),
]
_WorksheetsOption = Annotated[
    bool,
    typer.Option("--worksheets", help="Grade worksheets as well, into nbgrader's gradebook."),
]
_HiddenOption = Annotated[
    bool, typer.Option("--hidden/--open-only", help="Include hidden checks, or leave them out.")
]


def batch(
    context: typer.Context,
    source: _SourceArgument,
    out: _OutOption,
    labs: _LabsOption = None,
    roster: _RosterOption = None,
    resume: _ResumeOption = False,
    only: _OnlyOption = None,
    seed: _SeedOption = None,
    html: _HtmlOption = True,
    repeat: _RepeatOption = 0,
    sample: _SampleOption = 0,
    compare: _CompareOption = None,
    jobs: _JobsOption = 0,
    scheduler: _SchedulerOption = None,
    tls: _TlsOption = None,
    dashboard: _DashboardOption = False,
    worksheets: _WorksheetsOption = False,
    nbgrader: NbgraderOption = None,
    disk: _DiskOption = 4096,
    processes: _ProcessesOption = 0,
    scratch: _ScratchOption = 0,
    arch: ArchOption = "x86_64",
    compiler: CompilerOption = "gcc",
    secret_file: SecretOption = None,
    round: RoundOption = "1",
    hidden: _HiddenOption = True,
    no_sandbox: NoSandboxOption = False,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Grade a whole class in parallel, and summarise it; --resume continues a batch."""
    loaded = open_course(course, context.obj)
    _must_have_dask()
    from vmmlab.classroom.batch import classrun, identity, job

    options = classrun.Options(
        labs=_labs(loaded, labs, arch, worksheets),
        out=out,
        jobs=jobs,
        scheduler=scheduler or "",
        tls=tuple(map(Path, tls.split(","))) if tls else (),
        dashboard=dashboard,
        resume=resume,
        only=only or "",
        repeat=repeat,
        sample=sample,
        compare=compare,
        disk_mib=disk,
        processes=processes,
        scratch_mib=scratch,
    )
    settings = job.Settings(
        course=str(loaded.root.resolve()), identity=identity.of(loaded),
        sandbox_required=not no_sandbox, hidden=hidden, html=html, lang=context.obj.language,
        arch=arch, compiler=compiler, seed=seed,
        secret=_secret(loaded, source, out, secret_file), round=round if secret_file else "",
    )  # fmt: skip
    book = nbgrader_folder(nbgrader) if worksheets else None
    return _run(loaded, source, roster, settings, options, book, context.obj)


def _must_have_dask() -> None:
    """Raise UsageError unless Dask is installed."""
    try:
        import cryptography
        import distributed
    except ImportError as error:
        raise UsageError(
            msg("batch grading needs Dask: {error}.", error=str(error)),
            next_step="pip install 'vmmlab[instructor]'",
        ) from None
    del cryptography, distributed


def _must_be_apart(source: Path, out: Path) -> None:
    """Raise UsageError if results would be taken for submissions by the next run."""
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            msg("{out}: the results would lie among the submissions.", out=out),
            expected=msg("a folder outside {source}", source=source),
            next_step=msg("choose another one with --out"),
        )


def _run(
    course: Course,
    source: Path,
    roster: Path | None,
    settings: Settings,
    options: Options,
    book: Path | None,
    say: Reader,
) -> int:
    from vmmlab.classroom.batch import classrun
    from vmmlab.classroom.batch.progress import progress
    from vmmlab.classroom.intake import INTAKE, intake
    from vmmlab.classroom.roster import read_roster

    _must_be_apart(source, options.out)
    entries = read_roster(roster) if roster else {}

    def handed_in(folder: Path) -> Intake:
        into = folder / "submissions"
        found = intake(source, course, into, labs=options.labs, roster=entries)
        found.write(folder / INTAKE)
        return found

    def sheets(entries: Sequence[Submission]) -> Sequence[Sheet]:
        assert book is not None
        return _worksheets(book, entries, options, settings, say)

    outcome = classrun.run(
        course,
        handed_in,
        settings,
        options,
        lambda total: progress(total, say),
        say,
        None if book is None else sheets,
    )
    for line in _lines(outcome, say):
        typer.echo(line)
    attention = any(one.verdict == "attention" for one in outcome.records)
    attention = attention or any(one.attention for one in outcome.sheets)
    return _ATTENTION if attention else 0


def _worksheets(
    folder: Path,
    entries: Sequence[Submission],
    options: Options,
    settings: Settings,
    say: Reader,
) -> Sequence[Sheet]:
    """Grade the worksheets of some submissions; print a line for each as soon as it is graded."""
    from vmmlab.classroom.batch.sheets import Sheet
    from vmmlab.classroom.gradebook import parallel, worksheets

    names = {one.student: one.name for one in entries}
    width = max(map(len, names), default=0)
    found: list[Sheet] = []
    for lab in sorted({lab for one in entries for lab in one.worksheets}):
        worksheets.check(folder, lab, sandbox_required=settings.sandbox_required)
        there = [one.student for one in entries if lab in one.worksheets]
        new = parallel.hand_over(folder, lab, entries)

        def tell(one: worksheets.Graded, lab: str = lab) -> None:
            for line in worksheets.lines(lab, [one], say, width):
                typer.echo(line)
            found.append(
                Sheet(
                    *(one.student, names[one.student], lab),
                    *(one.points, one.most, one.by_hand),
                    fresh=not one.before,
                    problem=one.problem or "; ".join(say(text) for text in one.stopped),
                    attention=one.exit_code == _ATTENTION,
                )
            )

        old = [student for student in there if student not in new]
        for students, again in ((new, True), (old, bool(options.only))):
            parallel.grade(
                folder,
                lab,
                students,
                jobs=options.jobs,
                again=again,
                sandbox_required=settings.sandbox_required,
                tell=tell,
            )
    return sorted(found, key=lambda one: (one.lab, one.student))


def _labs(course: Course, named: str | None, arch: str, worksheets: bool) -> tuple[str, ...]:
    labs = tuple(dict.fromkeys(filter(None, (named or "").replace(",", " ").split())))
    for lab in labs:
        if not course.graded_for(lab, arch).files and not worksheets:
            raise UsageError(msg("{lab} has nothing to hand in.", lab=lab))
    return labs


def _secret(course: Course, source: Path, out: Path, file: Path | None) -> str:
    if file is None:
        return ""
    from vmmlab.course import secret

    return secret.read(file, [course.root, source, out]).key


def _lines(outcome: Outcome, say: Reader) -> Sequence[str]:
    """Return what is told at the end."""
    records = outcome.records
    attention = [one for one in records if one.verdict == "attention"]
    refused = sum(one.verdict == "ungradable" for one in records)
    graded = sum(one.verdict == "graded" for one in records)
    lines = [
        say(
            msg(
                "{graded} graded, {refused} could not be graded (0 points), {attention} need "
                "attention",
                graded=graded,
                refused=refused,
                attention=len(attention),
            )
        )
    ]
    if absent := sum(one.verdict == "absent" for one in records):
        lines.append(say(msg("no grade, because nothing was handed in: {count}", count=absent)))
    for one in attention[:_LISTED]:
        lines.append(f"  {one.name or one.student} {one.lab}{say.label(': ')}{say(one.reason)}")
    for text in outcome.remarks[:_LISTED]:
        lines.append(f"  {say(msg('note: {note}', note=clean_line(say(text))))}")
    if (found := outcome.repeated) is not None:
        told = msg("verdicts that differ with other seeds: {count}", count=len(found))
        lines += _changed(found, say(told), say)
    if (found := outcome.compared) is not None:
        told = msg("changed since that batch: {count}", count=len(found))
        lines += _changed(found, say(told), say)
    if outcome.pages_left_out:
        left = nmsg(
            "one page was left out: the folder has used its room (--disk)",
            "{count} pages were left out: the folder has used its room (--disk)",
            count=outcome.pages_left_out,
        )
        lines.append(say(left))
    lines.append(say(msg("{path}: open it in a browser", path=outcome.page)))
    return lines


def _changed(changes: Sequence[Change], title: str, say: Reader) -> Sequence[str]:
    lines = [title]
    for one in changes[:_LISTED]:
        what = "; ".join(say(text) for text in one.what)
        lines.append(f"  {one.student} {one.stem}{say.label(': ')}{what}")
    return lines
