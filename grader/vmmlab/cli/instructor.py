"""The command `vmmlab grade`: grade submissions of one student."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.errors import CourseError, UngradableError, UsageError, VmmlabError
from vmmlab.base.message import msg
from vmmlab.cli.complaints import explain
from vmmlab.cli.official import RoundOption, SecretOption, StudentJsonOption, official_of
from vmmlab.cli.options import (
    ArchOption,
    CohortOption,
    CompilerOption,
    CourseOption,
    LangOption,
    NoSandboxOption,
    open_course,
    source_named,
)
from vmmlab.cli.pictures import HtmlOption, Pictures, places_of

if TYPE_CHECKING:
    from vmmlab.cli.official import Official
    from vmmlab.course.model import Course
    from vmmlab.grading.request import RunRequest
    from vmmlab.i18n.translate import Reader
    from vmmlab.report import Report


class Accelerator(StrEnum):
    """What can confirm a grading."""

    KVM = "kvm"


_SubmissionOption = Annotated[
    str,
    typer.Option(
        metavar="DIR|FILE.zip|reference",
        help="The folder or archive to grade: it contains lab3/ap_start.c and so on.",
    ),
]
_JsonOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Also write the report to this file; with several labs, to FILE.labN."
    ),
]
_OptOption = Annotated[
    str | None,
    typer.Option(
        metavar="O0|O1|O2|O3|Os", help="Optimisation level for the submission. Default: O2."
    ),
]
_SelectOption = Annotated[
    str | None, typer.Option("-k", metavar="EXPR", help="Only the checks that match.")
]
_HiddenOption = Annotated[
    bool | None,
    typer.Option(
        "--hidden/--open-only",
        show_default=False,
        help="Include hidden checks, or leave them out. Default: only for other people's "
        "submissions.",
    ),
]
_ConfirmOption = Annotated[
    Accelerator | None,
    typer.Option(
        help="Also boot the image on this host's processors and say whether they agree; no points."
    ),
]


def grade(
    context: typer.Context,
    labs: Annotated[list[str], typer.Argument(metavar="LAB...", help="Labs of the course.")],
    submission: _SubmissionOption,
    json: _JsonOption = None,
    html: HtmlOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the boots.")] = None,
    arch: ArchOption = "x86_64",
    compiler: CompilerOption = "gcc",
    opt: _OptOption = None,
    cohort: CohortOption = None,
    course: CourseOption = None,
    select: _SelectOption = None,
    hidden: _HiddenOption = None,
    no_sandbox: NoSandboxOption = False,
    secret_file: SecretOption = None,
    round: RoundOption = "1",
    confirm: _ConfirmOption = None,
    student_json: StudentJsonOption = None,
    lang: LangOption = None,
) -> int:
    """Grade labs: build, boot, observe from outside, and give points."""
    gc.disable()  # a short process: garbage collection would only make it start later
    from vmmlab.grading.request import RunRequest
    from vmmlab.images.model import BuildOptions
    from vmmlab.report.make import judge_lab

    loaded = open_course(course, context.obj)
    wanted = list(dict.fromkeys(labs))
    _must_be_gradable(loaded, wanted, arch, hidden, compiler)
    build = BuildOptions(arch=arch, compiler=compiler, opt=f"-{(opt or 'O2').lstrip('-')}")
    source = source_named(submission, context.obj)
    numbers = source.cohort(loaded, cohort)
    judged = (loaded.self_study or not source.trusted) if hidden is None else hidden
    official = official_of(loaded, source, seed, secret_file, round, student_json)
    pictures = Pictures(loaded, source, context.obj, html, alone=len(wanted) == 1)

    def report_on(lab: str) -> Report:
        taken = source.take([lab], loaded)
        request = RunRequest(
            course=loaded,
            lab=lab,
            files=taken.files,
            cohort=numbers,
            sandbox_required=not (source.trusted or no_sandbox),
            mode="reference" if source.is_reference else "standalone",
            arch=arch,
            compiler=build.compiler,
            opt=build.opt if opt else None,
            **official.fields(lab, numbers),
        )
        found = judge_lab(
            request, submission=submission, select=select, hidden=judged, notes=taken.notes
        )
        report = pictures.kept(found, _confirmed(found.report, request, confirm))
        return official.finish(report, request, alone=len(wanted) == 1)

    refused = partial(_ungraded, loaded, arch, numbers.name, judged, official, len(wanted) == 1)
    places = places_of(source, loaded)
    return _report_all(loaded, wanted, report_on, refused, context.obj, json, places)


def _ungraded(
    course: Course,
    arch: str,
    cohort: str,
    hidden: bool,
    official: Official,
    alone: bool,
    lab: str,
    error: UngradableError,
) -> Report:
    """Return the report on a lab of which files are missing or cannot be graded."""
    from vmmlab.report import ungraded

    why = error.found or error.message
    report = ungraded.report(
        course, lab, arch, cohort, why, attention=False, hidden=hidden, handed_in=error.handed_in
    )
    return official.refused(report, course, alone=alone)


def _confirmed(report: Report, request: RunRequest, by: Accelerator | None) -> Report:
    """Return a report, if asked for with a note that says whether this host's processors agree."""
    if by is None:
        return report
    from vmmlab.grading.confirm import confirmation

    note = confirmation(request, report.points == report.max)
    return report.model_copy(update={"notes": (*report.notes, note)})


def _must_be_a_compiler(name: str) -> None:
    """Raise UsageError if this is none; see to it that the tools of a grading are there."""
    from vmmlab.host.tools import require
    from vmmlab.images.toolchain import COMPILERS

    if name not in COMPILERS:
        raise UsageError(
            msg("there is no compiler {compiler!r}.", compiler=name),
            expected=", ".join(COMPILERS),
        )
    require(("qemu-system-x86_64", name, "ld", "objcopy"))


def _must_be_gradable(
    course: Course, labs: Sequence[str], arch: str, hidden: bool | None, compiler: str
) -> None:
    """Raise UsageError if a lab has no checks of the kind asked for, or a tool is missing."""
    for lab in labs:
        course.graded_for(lab, arch)
    if hidden and not any(course.lab(lab).hidden for lab in labs):
        raise _no_hidden_checks(course, labs)
    _must_be_a_compiler(compiler)


def _no_hidden_checks(course: Course, labs: Sequence[str]) -> VmmlabError:
    """Return why no hidden checks can be run: there are none, or course.yml has none of them."""
    written = [path for lab in labs for path in (course.labs_dir / lab).glob("hidden/test_*.py")]
    if written:
        return CourseError(
            msg("course.yml lists no hidden checks of {labs}.", labs=", ".join(labs)),
            found=", ".join(str(path.relative_to(course.root)) for path in sorted(written)),
            next_step=msg(
                "give each check its points there, below `hidden`: vmmlab check-course names them"
            ),
        )
    return UsageError(
        msg("this course has no hidden checks for {labs}.", labs=", ".join(labs)),
        expected=msg("checks below `hidden` in course.yml, as in the instructor's copy"),
        next_step=msg("leave --hidden out: they are judged elsewhere, or there are none"),
    )


def _report_all(
    course: Course,
    labs: Sequence[str],
    report_on: Callable[[str], Report],
    refused: Callable[[str, UngradableError], Report],
    say: Reader,
    json: Path | None,
    places: Mapping[str, str],
) -> int:
    """Grade each lab, show its report and write it to `json`; return the worst exit code.

    In the file, places of this host have other names. A lab that cannot be graded has a report
    as well.
    """
    from vmmlab.report import exit_code, write_json

    def write(lab: str, report: Report) -> None:
        if json is not None:
            write_json(report, json if len(labs) == 1 else Path(f"{json}.{lab}"), places)

    codes: list[int] = []
    for lab in labs:
        try:
            try:
                report = report_on(lab)
            except UngradableError as error:
                explain(error, say, lab if len(labs) > 1 else "")
                codes.append(error.exit_code)
                write(lab, refused(lab, error))
                continue
            from vmmlab.report.terminal import print_report  # loaded while the machines boot

            print_report(report, say=say.of(course.labs_dir / lab))
            codes.append(exit_code(report))
            write(lab, report)
        except VmmlabError as error:
            sys.stdout.flush()
            explain(error, say, lab if len(labs) > 1 else "")
            codes.append(error.exit_code)
    return max(codes)
