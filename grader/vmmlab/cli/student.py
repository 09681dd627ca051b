"""The commands of a student: make a workspace, build, boot and explore their own work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.cli.options import (
    ArchOption,
    CohortOption,
    CourseOption,
    LabArgument,
    LangOption,
    WorkspaceOption,
    open_course,
    source_named,
    workspace_at,
    workspace_or_reference,
)
from vmmlab.i18n import translate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmmlab.explore import Exploration
    from vmmlab.i18n.translate import Reader
    from vmmlab.workspace.model import Workspace

_BootedOption = Annotated[
    str | None,
    typer.Option(
        "--submission",
        metavar="DIR|reference",
        help="Folder to boot. Default: your workspace.",
    ),
]


def new(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask no questions.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="Your name.")] = None,
    cohort: Annotated[str | None, typer.Option("--cohort", help="Your cohort.")] = None,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Create a workspace: the given VMM, and starters for you to complete."""
    import shlex

    from vmmlab.base.owned import VARIABLE
    from vmmlab.course.cohort import Cohort
    from vmmlab.host.tools import require
    from vmmlab.student.new import new_workspace
    from vmmlab.workspace.model import locate
    from vmmlab.workspace.new import Answers

    say: Reader = context.obj
    loaded = open_course(course, context.obj)
    asking = not no_input and sys.stdin.isatty()
    if name is None:
        name = typer.prompt(say(msg("Your name")), default=_user()) if asking else _user()
    if cohort is None:
        prompt = say(msg("Your cohort"))
        cohort = typer.prompt(prompt, default=loaded.cohort) if asking else loaded.cohort
    # If English was not asked for, the language is left to the environment.
    remembered = say.language if lang or say.language != translate.ENGLISH else ""
    answers = Answers(student=name, cohort=Cohort.derive(cohort), lang=remembered)
    require(("gcc", "ld", "objcopy"))
    made = new_workspace(directory, loaded, answers)
    if locate(made) is None:
        typer.echo(
            say(
                msg(
                    "note: vmmlab cannot store its records in {folder}: set {variable}={made}",
                    folder=_state_dir(),
                    variable=VARIABLE,
                    made=made,
                )
            ),
            err=True,
        )
    typer.echo(say(msg("{made} is ready. Next:", made=made)))
    typer.echo(f"  cd {shlex.quote(str(made))}")
    if (made / ".venv").exists():
        typer.echo("  source .venv/bin/activate")
    first = next((lab.name for lab in loaded.labs.values() if lab.files), "")
    if first:
        typer.echo(f"  make {first} && pytest {first}")


def adopt(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="Workspace. Default: the one that contains the current folder."
        ),
    ] = None,
    lang: LangOption = None,
) -> None:
    """Declare a workspace or a course to be your own: moved, copied, or from elsewhere."""
    from vmmlab.student.adopt import adopt as adopt_folder

    folder = adopt_folder(directory or Path.cwd())
    typer.echo(context.obj(msg("{folder} is your own from now on.", folder=folder)))


def explore(
    context: typer.Context,
    lab: Annotated[
        str,
        typer.Argument(metavar="LAB", help="A lab in which CPUs wait for each other."),
    ],
    submission: Annotated[
        str | None,
        typer.Option(metavar="DIR|reference", help="Folder to explore. Default: your workspace."),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the result to this file.")
    ] = None,
    cohort: CohortOption = None,
    compiler: Annotated[str, typer.Option(help="gcc or clang.")] = "gcc",
    opt: Annotated[str, typer.Option("-O", metavar="0..3", help="Optimisation level.")] = "2",
    course: CourseOption = None,
    no_sandbox: Annotated[
        bool,
        typer.Option(
            "--no-sandbox", help="Build other people's code even if no sandbox is available."
        ),
    ] = False,
    lang: LangOption = None,
) -> int:
    """Try all orders in which several CPUs can execute the code of a lab."""
    from vmmlab.explore import isolated, labs_with_exploration, text, write_json
    from vmmlab.grading.boots import make_builder
    from vmmlab.host.sandbox import Sandbox
    from vmmlab.images.model import BuildOptions
    from vmmlab.workspace.source import REFERENCE, Source

    here = workspace_or_reference(submission)
    loaded = open_course(course, context.obj, here)
    loaded.lab(lab)
    folders = {name: loaded.labs_dir / name for name in loaded.labs}
    explored = labs_with_exploration(folders)
    if lab not in explored:
        raise UsageError(
            msg("there are no schedules to explore in {lab}.", lab=lab),
            expected=msg("one of {labs}", labs=", ".join(explored)) if explored else "",
        )
    source = (
        Source(str(here.root), here) if here else source_named(submission or REFERENCE, context.obj)
    )
    own, numbers = source.own, source.cohort(loaded, cohort)
    taken = source.take([lab], loaded)
    sandbox = Sandbox.choose(require=not (source.trusted or no_sandbox))
    builder = make_builder(loaded, sandbox, own.prebuilt if own else None, numbers)
    options = BuildOptions(compiler=compiler, opt=f"-O{opt}")
    image = builder.build(lab, taken.files, numbers, options)
    found = isolated.explore(image, numbers, sandbox, lab, folders[lab], sources=taken.files)
    say = context.obj.of(folders[lab])
    for line in (*text.lines(found, say), "", *text.legend(say)):
        typer.echo(line)
    if json is not None:
        write_json(found, json)
    _explored(own, lab, taken.files, found, say)
    return {"wrong": 1, "unfinished": 1, "unsupported": 2}.get(found.verdict, 0)


def _explored(
    own: Workspace | None, lab: str, files: Mapping[str, bytes], found: Exploration, say: Reader
) -> None:
    """Keep what the explorer found with the last grading of the same files, and say so."""
    from vmmlab.student import show

    if own is not None and show.keep_explored(found, own.root, lab, files) and found.counterexample:
        typer.echo("")
        typer.echo(say(msg("As a page, step by step: {command}", command=f"vmmlab show {lab}")))


def build(
    context: typer.Context,
    lab: LabArgument,
    directory: WorkspaceOption = None,
    arch: ArchOption = "x86_64",
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Build one lab of a workspace, or `vmm`: all labs from your own files."""
    from vmmlab.student.build import build as build_own

    here = workspace_at(directory)
    loaded = open_course(course, context.obj, here)
    say: Reader = context.obj.of(*(loaded.labs_dir / name for name in loaded.labs))
    for line in build_own(here, loaded, lab, arch=arch):
        typer.echo(say(line))


def run(
    context: typer.Context,
    lab: LabArgument,
    cpus: Annotated[int | None, typer.Option(min=1, max=288, help="Number of processors.")] = None,
    firmware: Annotated[str | None, typer.Option(help="qboot, seabios or uefi.")] = None,
    accel: Annotated[str, typer.Option(help="tcg or kvm.")] = "tcg",
    gdb: Annotated[
        bool, typer.Option("--gdb", help="Start gdb, which shows each processor as a thread.")
    ] = False,
    submission: _BootedOption = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Time limit in seconds; only without a terminal.")
    ] = 20.0,
    arch: ArchOption = "x86_64",
    other_cohort: Annotated[
        bool,
        typer.Option(
            "--other-cohort", help="Use the numbers of the cohort that some checks are booted with."
        ),
    ] = False,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Boot a lab in QEMU with its serial line on this terminal; Ctrl-A X quits."""
    from vmmlab.student import run as runner
    from vmmlab.student.boot import Boot

    here = workspace_or_reference(submission)
    loaded = open_course(course, context.obj, here)
    what = Boot(lab, cpus, firmware, accel, timeout_s=timeout, arch=arch, other_cohort=other_cohort)
    source = here or submission or "reference"
    return runner.run(what, loaded, source, gdb=gdb, say=context.obj)


def linux(
    context: typer.Context,
    lab: LabArgument = "vmm",
    cpus: Annotated[int, typer.Option(min=1, max=64, help="Number of processors.")] = 4,
    guest: Annotated[str, typer.Option(help="linux or memtest86+.")] = "linux",
    bare: Annotated[bool, typer.Option("--bare", help="Boot without the VMM, to compare.")] = False,
    shell: Annotated[
        bool, typer.Option("--shell", help="Stay in a shell instead of powering off.")
    ] = False,
    submission: _BootedOption = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Time limit in seconds; only without a terminal.")
    ] = 600.0,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Boot Debian's Linux, or memtest86+, on the VMM under UEFI; both come from Debian packages."""
    from vmmlab.student import linux as finale
    from vmmlab.student import systems

    here = workspace_or_reference(submission)
    loaded = open_course(course, context.obj, here)
    system = systems.find(guest)
    what = finale.Try(lab, system, cpus, bare=bare, shell=shell, timeout_s=timeout)
    return finale.boot(what, loaded, here or submission or "reference", context.obj)


def iso(
    context: typer.Context,
    lab: LabArgument = "vmm",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write. Default: build/LAB/vmm.iso."
        ),
    ] = None,
    submission: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|reference", help="Folder with the labs. Default: your workspace."
        ),
    ] = None,
    arch: ArchOption = "x86_64",
    linux: Annotated[
        bool,
        typer.Option("--linux", help="Also put Debian's Linux into it, for PCs with UEFI."),
    ] = False,
    course: CourseOption = None,
    lang: LangOption = None,
) -> None:
    """Make an image that a PC boots from a CD or a USB stick: GRUB and one lab, or all your own
    labs.
    """
    from vmmlab.host.sandbox import Sandbox
    from vmmlab.student import iso as media
    from vmmlab.student import linux as finale
    from vmmlab.student.build import folder_of
    from vmmlab.student.run import UEFI_ENTRY, image_for, loader_of

    here = workspace_or_reference(submission)
    loaded = open_course(course, context.obj, here)
    source = here or submission or "reference"
    image = image_for(lab, loaded, source, arch=arch, delays="faithful")
    root = here.root if here else Path.cwd()
    target = output or folder_of(root, lab, arch) / "vmm.iso"
    efi = None
    if image.symbols.maybe(UEFI_ENTRY) is not None:
        efi = loader_of(image, loaded, Sandbox.choose(require=False))
    system = None
    if linux:
        finale.check_guest(image)
        system = finale.for_iso(loaded, Sandbox.choose(require=False))
    media.make_iso(image.kernel, f"vmmlab {lab} {arch}", target, efi, system)
    size = target.stat().st_size // 1024
    typer.echo(
        context.obj(
            msg(
                "{target}: {size} KiB, for a CD or, copied as it is, a USB stick",
                target=target,
                size=size,
            )
        )
    )


def doctor(context: typer.Context, lang: LangOption = None) -> int:
    """Check that this machine has what the kit needs, and say how to install what is missing."""
    from vmmlab.student.doctor import examine, healthy, lines

    items = examine()
    for line in lines(items, context.obj):
        typer.echo(line)
    return 0 if healthy(items) else 3


def _state_dir() -> str:
    from vmmlab.base.files import state_dir

    try:
        return str(state_dir())
    except RuntimeError:  # the user has no home directory
        return "~/.local/state"


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "student"
