"""The command `vmmlab export`: reports in the formats of learning platforms and CI hosts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.base.message import msg
from vmmlab.cli.complaints import complain, explain
from vmmlab.cli.options import CourseOption, LangOption, open_course

if TYPE_CHECKING:
    from vmmlab.classroom.roster import Entry
    from vmmlab.classroom.students import ReportFile
    from vmmlab.i18n.translate import Reader
    from vmmlab.report import Report
    from vmmlab.report.export import Format


class Form(StrEnum):
    """What can be written."""

    GRADESCOPE = "gradescope"
    CLASSROOM50 = "classroom50"
    PRAIRIELEARN = "prairielearn"
    ARTEMIS = "artemis"
    AUTOLAB = "autolab"
    SUBMITTY = "submitty"
    VPL = "vpl"
    JUNIT = "junit"
    GITHUB_SUMMARY = "github-summary"
    GITHUB_ANNOTATIONS = "github-annotations"
    GITLAB_CODEQUALITY = "gitlab-codequality"
    EDITOR = "editor"
    SARIF = "sarif"
    CANVAS = "canvas"
    MOODLE = "moodle"
    GRADESCOPE_BUNDLE = "gradescope-bundle"
    PRAIRIELEARN_BUNDLE = "prairielearn-bundle"
    AUTOLAB_BUNDLE = "autolab-bundle"
    ARTEMIS_BUNDLE = "artemis-bundle"


_FormArgument = Annotated[Form, typer.Argument(metavar="FORMAT", help="The format.")]
_ReportsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="REPORT...",
        help="Reports such as STUDENT/lab3.json, or their folder; for a bundle, a release.",
    ),
]
_OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write here; for several students, a folder. Default: standard output.",
    ),
]
_HiddenOption = Annotated[
    bool,
    typer.Option("--hidden", help="Count the hidden checks too, as one line without names."),
]
_LabOption = Annotated[
    str | None,
    typer.Option(metavar="LAB", help="Only this lab; for a bundle, the lab to grade."),
]
_StudentOption = Annotated[
    str | None,
    typer.Option(metavar="ID", help="The student. Default: the folder's name."),
]
_RosterOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="CSV: id, first_name, last_name, email, cohort."),
]
_ImageOption = Annotated[
    str, typer.Option(metavar="NAME", help="For a bundle: the container image with vmmlab.")
]
_NoSandboxOption = Annotated[
    bool,
    typer.Option("--no-sandbox", help="For a bundle: grade there even if no sandbox is available."),
]


def export(
    context: typer.Context,
    form: _FormArgument,
    reports: _ReportsArgument,
    output: _OutputOption = None,
    hidden: _HiddenOption = False,
    lab: _LabOption = None,
    student: _StudentOption = None,
    roster: _RosterOption = None,
    image: _ImageOption = "vmmlab-grader",
    no_sandbox: _NoSandboxOption = False,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Write reports for learning platforms and CI hosts: Gradescope, Canvas, JUnit, SARIF..."""
    from vmmlab.classroom import students
    from vmmlab.classroom.bundles import BUNDLES
    from vmmlab.classroom.roster import read_roster
    from vmmlab.classroom.tables import TABLES
    from vmmlab.report.export import FORMATS

    if form in BUNDLES:
        return _bundle(form, reports, lab, image, no_sandbox, output)
    found = [one for one in students.sources(reports, student) if lab in (None, one.lab or lab)]
    read, code = _read(found, lab, context.obj)
    say = _readers(context.obj, course)
    if form in TABLES:
        entries = read_roster(roster) if roster else {}
        return max(code, _table(form, read, say, hidden, entries, output))
    return max(code, _files(FORMATS[form], read, say, hidden, output))


def _bundle(
    form: str,
    releases: Sequence[Path],
    lab: str | None,
    image: str,
    no_sandbox: bool,
    output: Path | None,
) -> int:
    """Write an autograder to upload; return the exit code."""
    from vmmlab.classroom.bundles import BUNDLES, Order
    from vmmlab.course.load import load_course

    if lab is None or len(releases) != 1:
        raise UsageError(msg("a bundle is of one release and one lab: name it with --lab."))
    course = load_course(releases[0].absolute())
    _write(BUNDLES[form](Order(course, course.lab(lab), image, no_sandbox)), output)
    return 0


_Read = Sequence[tuple["ReportFile", "Report"]]


def _read(found: Sequence[ReportFile], lab: str | None, say: Reader) -> tuple[_Read, int]:
    """Read all reports; complain about what is none. Returns the exit code for these, too."""
    from vmmlab.report import read_json

    read: list[tuple[ReportFile, Report]] = []
    code = 0
    for one in found:
        try:
            report = read_json(one.path)
        except VmmlabError as error:
            explain(error, say)
            code = max(code, error.exit_code)
            continue
        if lab in (None, report.lab):
            read.append((one, report))
    if not read and not code:
        raise UsageError(msg("there is no report on {lab}.", lab=lab or "?"))
    return read, code


def _readers(say: Reader, course: Path | None) -> Callable[[Report], Reader]:
    """Return what gives the reader for a report: with the texts of its lab, if it has a course."""
    from vmmlab.i18n.translate import ENGLISH

    if say.language == ENGLISH:
        return lambda report: say
    try:
        labs = open_course(course, say).labs_dir
    except UsageError:
        return lambda report: say
    return lambda report: say.of(labs / report.lab)


def _files(
    form: Format,
    read: _Read,
    say: Callable[[Report], Reader],
    hidden: bool,
    output: Path | None,
) -> int:
    """Write a file for each report, or for each student; return the worst exit code."""
    from vmmlab.report.export import export as exported

    groups: dict[tuple[str, ...], list[tuple[ReportFile, Report]]] = {}
    for one, report in read:
        owner = one.student or one.path.stem
        key: tuple[str, ...] = (owner,) if form.together else (owner, report.lab)
        groups.setdefault(key, []).append((one, report))
    if len(groups) > 1 and (output is None or output.is_file()):
        raise UsageError(
            msg("these reports become {count} files.", count=len(groups)),
            next_step=msg("name a folder with -o"),
        )
    codes = [0]
    for key, group in groups.items():
        one, report = group[0]
        try:
            if not form.together and len(group) > 1:
                raise UsageError(msg("two of these reports are on the same lab."))
            text = exported(
                form, [each for _, each in group], say, hidden=hidden, environment=os.environ
            )
            _write(text, _target(output, form.file, key if len(groups) > 1 else ()))
        except VmmlabError as error:
            explain(error, say(report), str(one.path))
            codes.append(error.exit_code)
    return max(codes)


def _table(
    form: str,
    read: _Read,
    say: Callable[[Report], Reader],
    hidden: bool,
    roster: Mapping[str, Entry],
    output: Path | None,
) -> int:
    """Write the points of a class as one CSV file; return the exit code."""
    from vmmlab.classroom import tables
    from vmmlab.report.export import must_be_a_grade
    from vmmlab.report.export.sheet import sheet_of

    scores: list[tables.Score] = []
    codes = [0]
    for one, report in read:
        try:
            must_be_a_grade(report)
            sheet = sheet_of(report, hidden=hidden)
            scores.append(tables.Score(one.student, sheet, absent=not report.handed_in))
        except VmmlabError as error:
            explain(error, say(report), str(one.path))
            codes.append(error.exit_code)
    if not scores:
        return max(codes)
    made = tables.table(form, scores, roster)
    _write(made.text, _target(output, f"{form}.csv", ()))
    for remark in made.remarks:
        complain(say(read[0][1])(remark))
    return max(*codes, 0 if made.complete else 3)


def _target(output: Path | None, name: str, folders: Sequence[str]) -> Path | None:
    if output is None or not (folders or output.is_dir()):
        return output
    return output.joinpath(*folders, name)


def _write(content: str | bytes, path: Path | None) -> None:
    """Write a file in one go, or to standard output; line ends stay as they are.

    Raises:
        UsageError: it cannot be written there.
    """
    from vmmlab.base.files import write_for_user

    data = content.encode() if isinstance(content, str) else content
    if path is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_for_user(path, data)
