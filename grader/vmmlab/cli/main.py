"""The command `vmmlab`: options in, exit codes out, nothing else.

Exit codes: 0 all points; 1 points lost; 2 wrong usage or an unusable submission; 3 the grader or
its tools failed; 130 stopped by Ctrl-C. With several labs the worst of 3 > 2 > 1 > 0.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

# Nothing here has pydantic plugins, and to look for some it reads what every installed package says
# of itself: 20 to 100 ms. It must be known before the first model is made, typer's among them.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from vmmlab import __version__
from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.cli import help
from vmmlab.i18n import translate
from vmmlab.i18n.translate import Reader

if TYPE_CHECKING:
    from vmmlab.course.cohort import Cohort
    from vmmlab.course.model import Course
    from vmmlab.workspace.model import Workspace
    from vmmlab.workspace.source import Source

# Newer versions of typer carry a click of their own: take the class from what typer offers.
_ClickError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

STOPPED: Final = 130
_BUG: Final = 3
_READER_GONE: Final = 128 + signal.SIGPIPE

app = typer.Typer(
    name="vmmlab",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Write the SMP bring-up of a real x86 VMM, and have it graded from outside the machine.",
)

CourseOption = Annotated[
    Path | None,
    typer.Option("--course", metavar="DIR", help="The course; else it is looked for upwards."),
]
ArchOption = Annotated[str, typer.Option("--arch", help="x86_64 or i386.")]
LangOption = Annotated[
    str | None,
    typer.Option("--lang", metavar="en|ja", help="The language of what is shown; else LANG says."),
]
LabArgument = Annotated[str, typer.Argument(metavar="LAB", help="lab0 … lab4, or vmm.")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error becomes text on stderr."""
    with _terminable() as signals:
        code = _run(sys.argv[1:] if argv is None else list(argv))
    return 128 + signals[0] if signals else code


def _run(words: list[str]) -> int:
    say = Reader(_language(words))
    try:
        if words == ["--version"]:
            _top(version=True)  # without setting up the other commands: 0.1 s less
        result = _command(say)(args=words, prog_name="vmmlab", standalone_mode=False, obj=say)
        sys.stdout.flush()
        code = result if isinstance(result, int) else 0
        if code == STOPPED:  # typer has swallowed a Ctrl-C
            _complain(say("stopped"))
        return code
    except typer.Exit as end:
        return end.exit_code
    except _ClickError as error:
        _show_usage(error, say)
        return 2
    except VmmlabError as error:
        _explain(error, say)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _complain(say("stopped"))
        return STOPPED
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer has swallowed it
            return _READER_GONE
        raise
    except BrokenPipeError:
        # Python would complain once more when it flushes at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = error.filename2 or error.filename
            where = f" ({place})" if place else ""
            full = UsageError(
                f"the disk is full{where}", next_step="make room, then run this again"
            )
            _explain(full, say)
            return _BUG
        return _bug(error, say)
    except Exception as error:
        return _bug(error, say)


def _language(words: Sequence[str]) -> str:
    """The language for one call: it must be known before the words are understood."""
    said = [word.partition("=")[2] for word in words if word.startswith("--lang=")]
    said += [value for word, value in pairwise(words) if word == "--lang"]
    wanted = said[-1] if said else None
    remembered = "" if wanted else translate.remembered(Path.cwd())
    return translate.choose(wanted, os.environ, remembered)


def _command(say: Reader) -> Any:
    """All commands, with their help in the reader's language."""
    command: Any = typer.main.get_command(app)
    if say.language != translate.ENGLISH:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show all of it
            sys.stdout.reconfigure(errors="backslashreplace")
        help.translate(command, say)
    return command


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Say the version and stop.")] = False,
    lang: LangOption = None,
) -> None:
    if version:
        typer.echo(f"vmmlab {__version__}")
        raise typer.Exit


@app.command()
def new(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or an empty folder.")],
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="Your name.")] = None,
    cohort: Annotated[str | None, typer.Option("--cohort", help="Your cohort.")] = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Make a workspace: the given VMM, and starters for you to fill in."""
    from vmmlab.images import prebuilt
    from vmmlab.student import doctor
    from vmmlab.workspace import model as workspace

    say: Reader = context.obj
    loaded = _course(course)
    asking = not no_input and sys.stdin.isatty()
    if name is None:
        name = typer.prompt(say("Your name"), default=_user()) if asking else _user()
    if cohort is None:
        prompt = say("Your cohort")
        cohort = typer.prompt(prompt, default=loaded.cohort) if asking else loaded.cohort
    # English without having been asked for leaves the language to the environment.
    remembered = say.language if lang or say.language != translate.ENGLISH else ""
    answers = workspace.Answers(student=name, cohort=_cohort(cohort), lang=remembered)
    doctor.require(("gcc", "ld", "objcopy"))
    made = workspace.new(directory, loaded, answers, prebuilt.place)
    typer.echo(say(f"{made} is ready. Next:"))
    typer.echo(f"  cd {_quoted(made)}")
    if (made / ".venv").exists():
        typer.echo("  source .venv/bin/activate")
    typer.echo("  make lab1 && pytest lab1")


@app.command()
def grade(
    context: typer.Context,
    labs: Annotated[list[str], typer.Argument(metavar="LAB...", help="lab0 … lab4.")],
    submission: Annotated[
        str,
        typer.Option(metavar="DIR|reference", help="What to grade: DIR/lab3/ap_start.c and so on."),
    ],
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the report there; several labs: FILE.labN."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Which inputs the boots get.")] = None,
    arch: ArchOption = "x86_64",
    compiler: Annotated[str, typer.Option("--cc", help="gcc or clang.")] = "gcc",
    opt: Annotated[
        str | None,
        typer.Option(metavar="O0|O1|O2|O3|Os", help="How to optimise the submission; else O2."),
    ] = None,
    cohort: Annotated[str | None, typer.Option(help="Whose numbers; else the course's.")] = None,
    course: CourseOption = None,
    select: Annotated[
        str | None, typer.Option("-k", metavar="EXPR", help="Only the checks that match.")
    ] = None,
    hidden: Annotated[
        bool | None,
        typer.Option(
            "--hidden/--open-only",
            show_default=False,
            help="Hidden checks too, or not; else only for other people's work.",
        ),
    ] = None,
    no_sandbox: Annotated[
        bool,
        typer.Option("--no-sandbox", help="Grade other people's code even without a sandbox."),
    ] = False,
    lang: LangOption = None,
) -> int:
    """Grade labs: build, boot, look from outside, say what it earns."""
    gc.disable()  # a short process: looking for cycles would only make it start later
    from vmmlab.grading.grade import default_seed, grade_lab
    from vmmlab.images.model import BuildOptions
    from vmmlab.images.toolchain import COMPILERS
    from vmmlab.report import exit_code, write_json
    from vmmlab.student import doctor

    say: Reader = context.obj
    loaded = _course(course)
    wanted = list(dict.fromkeys(labs))
    for lab in wanted:
        loaded.graded_for(lab, arch)
    if hidden and not any(loaded.lab(lab).hidden for lab in wanted):
        raise UsageError(
            f"this course has no hidden checks for {', '.join(wanted)}.",
            expected="checks below `hidden` in course.yml, as the instructor's copy has them",
            next_step="leave --hidden out: they are judged elsewhere, or there are none",
        )
    build = BuildOptions(arch=arch, compiler=compiler, opt=f"-{(opt or 'O2').lstrip('-')}")
    if compiler not in COMPILERS:
        raise UsageError(f"there is no compiler {compiler!r} here.", expected=", ".join(COMPILERS))
    doctor.require(("qemu-system-x86_64", compiler, "ld", "objcopy"))

    source = _source(submission)
    numbers = source.cohort(loaded, cohort)

    codes: list[int] = []
    for lab in wanted:
        try:
            taken = source.take([lab], loaded)
            report = grade_lab(
                loaded,
                lab,
                taken.files,
                cohort=numbers,
                seed=default_seed(lab, numbers.name) if seed is None else seed,
                sandbox_required=not (source.trusted or no_sandbox),
                mode="reference" if source.is_reference else "standalone",
                arch=arch,
                compiler=build.compiler,
                opt=build.opt if opt else None,
                select=select,
                hidden=not source.trusted if hidden is None else hidden,
                submission_name=submission,
                notes=taken.notes,
            )
            from vmmlab.report.terminal import print_report  # loaded while the machines boot

            print_report(report, say=say.of(loaded.labs_dir / lab))
            codes.append(exit_code(report))
            if json is not None:
                write_json(report, json if len(wanted) == 1 else Path(f"{json}.{lab}"))
        except VmmlabError as error:
            sys.stdout.flush()
            _explain(error, say, lab if len(wanted) > 1 else "")
            codes.append(error.exit_code)
    return max(codes)


@app.command()
def mutants(
    context: typer.Context,
    lab: Annotated[
        list[str] | None, typer.Option(help="Only this lab; may be given again.")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Only so many, by chance.")] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Put the tables into this page and its Japanese twin."),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Change N instructions of the compiled reference instead; list what survives.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses the sample or the instructions.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Gradings at the same time.")] = 1,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Grade known-wrong solutions, and right ones written differently: the kill matrix."""
    from vmmlab.author import mutants as matrix
    from vmmlab.author.mutants.progress import progress

    loaded = _course(course)
    say: Reader = context.obj.of(*(loaded.labs_dir / name for name in loaded.labs))
    for name in lab or ():
        loaded.lab(name)
    if write is not None and (lab or sample or random):
        raise UsageError(
            "a page holds the whole matrix.",
            expected="--write without --lab, --sample or --random",
        )
    if random is not None:
        from vmmlab.author.mutants import random_mutants

        with progress("changes", say) as watch:
            found = random_mutants.run_random(
                loaded, random, lab, seed=seed, jobs=jobs, watch=watch
            )
        typer.echo("\n".join(random_mutants.survivors(found, say)))
        return 0
    with progress("mutants", say) as watch:
        wrong = matrix.run_mutants(loaded, lab, sample=sample, seed=seed, jobs=jobs, watch=watch)
    with progress("right solutions", say) as watch:
        right = () if sample else matrix.run_variants(loaded, lab, jobs=jobs, watch=watch)
    typer.echo("\n".join(matrix.table(wrong, say)))
    if right:
        typer.echo("\n".join(["", *matrix.variants_table(right, say)]))
    if write is not None:
        matrix.write_page(write, wrong, right)
    accused = any(one.accused for one in right)
    return 1 if accused or any(one.verdict != "killed" for one in wrong) else 0


@app.command()
def explore(
    context: typer.Context,
    lab: Annotated[str, typer.Argument(metavar="LAB", help="lab4: the lock and the barrier.")],
    submission: Annotated[
        str,
        typer.Option(metavar="DIR|reference", help="Whose: DIR/lab4/handshake.c and so on."),
    ],
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what was found there.")
    ] = None,
    cohort: Annotated[str | None, typer.Option(help="Whose numbers; else the course's.")] = None,
    compiler: Annotated[str, typer.Option(help="gcc or clang.")] = "gcc",
    opt: Annotated[str, typer.Option("-O", metavar="0..3", help="Optimisation.")] = "2",
    course: CourseOption = None,
    no_sandbox: Annotated[
        bool,
        typer.Option("--no-sandbox", help="Build other people's code even without a sandbox."),
    ] = False,
    lang: LangOption = None,
) -> int:
    """Try all orders in which three CPUs can go through the lock, the count and the barrier."""
    from vmmlab.explore import isolated, text, write_json
    from vmmlab.grading.boots import make_builder
    from vmmlab.host.sandbox import Sandbox
    from vmmlab.images.model import BuildOptions

    loaded = _course(course)
    loaded.lab(lab)
    if lab != "lab4":
        raise UsageError(f"there are no orders to try in {lab}.", expected="lab4")
    source = _source(submission)
    own, numbers = source.own, source.cohort(loaded, cohort)
    taken = source.take([lab], loaded)
    sandbox = Sandbox.choose(require=not (source.trusted or no_sandbox))
    builder = make_builder(loaded, sandbox, own.root / "standin" if own else None, numbers)
    options = BuildOptions(compiler=compiler, opt=f"-O{opt}")
    image = builder.build(lab, taken.files, numbers, options)
    found = isolated.explore(image, numbers, sandbox, sources=taken.files)
    for line in text.lines(found, context.obj):
        typer.echo(line)
    if json is not None:
        write_json(found, json)
    return {"wrong": 1, "unfinished": 1, "unsupported": 2}.get(found.verdict, 0)


@app.command()
def build(
    context: typer.Context,
    lab: LabArgument,
    directory: Annotated[
        Path | None, typer.Option("--workspace", metavar="DIR", help="Else the one you are in.")
    ] = None,
    arch: ArchOption = "x86_64",
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Build one lab of a workspace, or `vmm`: all labs from your own files."""
    from vmmlab.student import build as local

    here = _workspace(directory)
    loaded = _course(course, here.root)
    say: Reader = context.obj.of(*(loaded.labs_dir / name for name in loaded.labs))
    for line in local.build(here, loaded, lab, arch=arch):
        typer.echo(say(line))


@app.command()
def run(
    context: typer.Context,
    lab: LabArgument,
    cpus: Annotated[int | None, typer.Option(min=1, max=288, help="How many processors.")] = None,
    firmware: Annotated[str | None, typer.Option(help="qboot or seabios.")] = None,
    accel: Annotated[str, typer.Option(help="tcg or kvm.")] = "tcg",
    gdb: Annotated[bool, typer.Option("--gdb", help="Under gdb, each processor a thread.")] = False,
    submission: Annotated[
        str | None,
        typer.Option(metavar="DIR|reference", help="What to boot; else your workspace."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds; only without a terminal.")
    ] = 20.0,
    arch: ArchOption = "x86_64",
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Boot a lab in QEMU with its serial line on this terminal; Ctrl-A X leaves."""
    from vmmlab.student import run as boot
    from vmmlab.workspace import model as workspace

    here = workspace.locate(Path.cwd()) if submission is None else None
    loaded = _course(course, here.root if here else None)
    what = boot.Boot(lab, cpus=cpus, firmware=firmware, accel=accel, timeout_s=timeout, arch=arch)
    source = here or submission or "reference"
    return boot.run(what, loaded, source, gdb=gdb, say=context.obj)


@app.command(name="new-lab")
def new_lab(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For example lab9.")],
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """For lab authors, in a clone: make a new lab that can be graded at once."""
    from vmmlab.author import new_lab as newlab

    say: Reader = context.obj
    made = newlab.new_lab(_course(course), name)
    for file in made.files:
        typer.echo(say(f"made     {file}"))
    typer.echo(say(f"added to {made.changed}"))
    typer.echo(say(f"Next: vmmlab grade {name} --submission reference, then vmmlab check-course"))


@app.command()
def release(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or an empty folder.")],
    cohort: Annotated[
        list[str] | None,
        typer.Option(help="For whom; may be given again. Else the course's own."),
    ] = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Write a course to give away: no solutions, no hidden checks, everything ready-made."""
    from vmmlab.author import release as releases
    from vmmlab.student import doctor

    say: Reader = context.obj
    loaded = _course(course)
    doctor.require(("gcc", "ld", "objcopy"))
    made = releases.release(loaded, directory, cohort or ())
    for note in made.notes:
        typer.echo(say(f"note: {note}"))
    typer.echo(say(f"{made.folder}: {made.files} files, none with a line of a solution"))
    typer.echo(say("Next: try it as a student does: its README.md says how"))


@app.command(name="check-course")
def check_course(
    context: typer.Context, course: CourseOption = None, lang: LangOption = None
) -> int:
    """For lab authors: name what is forgotten in the course, one line each."""
    from vmmlab.author import check_course as coursecheck
    from vmmlab.course import model as courses

    say: Reader = context.obj
    found = coursecheck.forgotten(courses.find(Path.cwd(), course))
    for one in found:
        typer.echo(one.shown(say))
    typer.echo(say(f"{len(found)} to mend" if found else "nothing is forgotten"))
    return 1 if found else 0


gradebook_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="nbgrader's gradebook: the scores of the labs beside those of the worksheets.",
)
app.add_typer(gradebook_app, name="gradebook")


@gradebook_app.command(name="sync")
def gradebook_sync(
    context: typer.Context,
    reports: Annotated[
        list[Path],
        typer.Argument(metavar="REPORT...", help="STUDENT/lab3.json and so on, or their folder."),
    ],
    nbgrader: Annotated[
        Path, typer.Option(metavar="DIR", help="nbgrader's course folder; else this one.")
    ] = Path(),
    student: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Whose they are; else the folder says."),
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV: id, first_name, last_name, email, cohort."),
    ] = None,
    cohort: Annotated[str | None, typer.Option(help="Whose numbers; else the course's.")] = None,
    create_students: Annotated[
        bool, typer.Option("--create-students", help="Take in ids that nobody knows.")
    ] = False,
    drop_removed: Annotated[
        bool,
        typer.Option("--drop-removed", help="Delete the marks of checks that are no more."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would change, and change nothing.")
    ] = False,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Put lab scores into nbgrader's gradebook; what a person entered there stays."""
    loaded = _course(course)
    try:
        from vmmlab.classroom import gradebook
        from vmmlab.classroom.gradebook import show, students
    except ImportError as error:
        raise UsageError(
            f"the gradebook needs nbgrader: {error}.",
            next_step="pip install 'vmmlab[instructor]'",
        ) from None
    options = gradebook.Options(
        folder=nbgrader,
        cohort=cohort or loaded.cohort,
        student=student,
        roster=students.read_roster(roster) if roster else {},
        create_students=create_students,
        drop_removed=drop_removed,
        dry_run=dry_run,
    )
    say: Reader = context.obj
    with show.progress(say) as tell:
        result = gradebook.run(loaded, reports, options, tell, say)
    show.print_result(result, say=say)
    return result.exit_code


@gradebook_app.command(name="autograde")
def gradebook_autograde(
    context: typer.Context,
    lab: Annotated[str, typer.Argument(metavar="LAB", help="Whose worksheets: lab0 … lab4.")],
    nbgrader: Annotated[
        Path, typer.Option(metavar="DIR", help="nbgrader's course folder; else this one.")
    ] = Path(),
    student: Annotated[str | None, typer.Option(metavar="ID", help="Only this student's.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also those that are graded already.")
    ] = False,
    no_sandbox: Annotated[
        bool,
        typer.Option("--no-sandbox", help="Run other people's notebooks even without a sandbox."),
    ] = False,
    lang: LangOption = None,
) -> int:
    """Grade the worksheets of a class: nbgrader's autograde, with students' code in a sandbox."""
    try:
        from vmmlab.classroom.gradebook import worksheets
    except ImportError as error:
        raise UsageError(
            f"worksheets need nbgrader: {error}.",
            next_step="pip install 'vmmlab[instructor,worksheets]'",
        ) from None
    graded = worksheets.grade(
        nbgrader, lab, student=student, again=force, sandbox_required=not no_sandbox
    )
    for line in worksheets.lines(lab, graded, context.obj):
        typer.echo(line)
    return max((one.exit_code for one in graded), default=0)


@app.command()
def iso(
    context: typer.Context,
    lab: LabArgument = "vmm",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Else build/LAB/vmm.iso.")
    ] = None,
    submission: Annotated[
        str | None,
        typer.Option(metavar="DIR|reference", help="Whose; else your workspace's."),
    ] = None,
    arch: ArchOption = "x86_64",
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Make an image that a PC boots from CD or stick: GRUB and one lab, or all of your own."""
    from vmmlab.student import build as local
    from vmmlab.student import iso as media
    from vmmlab.student import run as boot
    from vmmlab.workspace import model as workspace

    here = workspace.locate(Path.cwd()) if submission is None else None
    loaded = _course(course, here.root if here else None)
    source = here or submission or "reference"
    image = boot.image_for(lab, loaded, source, arch=arch, delays="faithful")
    root = here.root if here else Path.cwd()
    target = output or local.folder_of(root, lab, arch) / "vmm.iso"
    media.make_iso(image.kernel, f"vmmlab {lab} {arch}", target)
    size = target.stat().st_size // 1024
    typer.echo(context.obj(f"{target}: {size} KiB, for a CD or, copied as it is, a stick"))


@app.command(name="doctor")
def _doctor(context: typer.Context, lang: LangOption = None) -> int:
    """Look for what the kit needs on this machine, and say how to mend what is missing."""
    from vmmlab.student import doctor

    items = doctor.examine()
    for line in doctor.lines(items, context.obj):
        typer.echo(line)
    return 0 if doctor.healthy(items) else 3


# --- helpers ---------------------------------------------------------------------------------


def _course(explicit: Path | None, start: Path | None = None) -> Course:
    from vmmlab.course import model as course

    return course.load(course.find(start or Path.cwd(), explicit))


def _cohort(name: str) -> Cohort:
    from vmmlab.course.cohort import Cohort

    return Cohort.derive(name)


def _workspace(directory: Path | None) -> Workspace:
    from vmmlab.workspace import model as workspace

    found = workspace.locate(directory or Path.cwd())
    if found is None:
        raise UsageError(
            f"{directory or Path.cwd()} is not in a workspace.",
            expected=f"a folder with {workspace.WORKSPACE_FILE}",
            next_step="make one with vmmlab new DIR, or go into yours",
        )
    return found


def _source(name: str) -> Source:
    """Whose work is meant, for a reader who is in this folder."""
    from vmmlab.workspace import model as workspace
    from vmmlab.workspace.source import REFERENCE, Source

    return Source(name, None if name == REFERENCE else workspace.locate(Path.cwd()))


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "student"


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


@contextmanager
def _terminable() -> Iterator[list[int]]:
    """Let SIGTERM do what Ctrl-C does, so that everything that was started is ended.

    Yields the signals that came. Not SystemExit: pytest takes that for a failed test.
    """
    came: list[int] = []

    def unwind(signum: int, frame: FrameType | None) -> NoReturn:
        came.append(signum)
        raise KeyboardInterrupt

    try:
        before: Any = signal.signal(signal.SIGTERM, unwind)
    except ValueError:  # not the main thread
        yield came
        return
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_usage(error: Any, say: Reader) -> None:
    """What was wrong with the words of a command."""
    if say.language == translate.ENGLISH:
        error.show()
        return
    if getattr(error, "ctx", None) is not None:
        typer.echo(error.ctx.get_usage(), err=True)
    _complain(say(error.format_message()))


def _complain(text: str) -> None:
    typer.echo(f"vmmlab: {text}", err=True)


def _explain(error: VmmlabError, say: Reader, lab: str = "") -> None:
    """The error as text; of a failed build, what the compiler said first."""
    for one in getattr(error, "diagnostics", ())[:20]:
        place = ":".join(str(part) for part in (one.file, one.line, one.column) if part)
        typer.echo(f"{place}: {one.severity}: {say(one.message)}", err=True)
    text = translate.error_text(error, say)
    _complain(f"{lab}: {text}" if lab else text)


def _bug(error: Exception, say: Reader) -> int:
    """One line for the reader, the traceback into a file for whoever mends it."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="vmmlab-bug-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"vmmlab {__version__}\n{sys.argv}\n\n{text}")
        where = f"the traceback is in {file.name}"
    except OSError:
        where = f"the traceback follows\n{text}"
    kind = " ".join(traceback.format_exception_only(error)[-1].split())
    _complain(say(f"this is a bug of vmmlab, not of your work: {kind[:200]}; {where}"))
    return _BUG


if __name__ == "__main__":
    sys.exit(main())
