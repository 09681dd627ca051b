"""The commands `vmmlab moodle` and `vmmlab canvas`: grades back to the platform they came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, msg, nmsg
from vmmlab.cli.complaints import complain
from vmmlab.cli.options import CourseOption, LangOption, open_course

if TYPE_CHECKING:
    from vmmlab.classroom.returns.grades import Filled
    from vmmlab.i18n.translate import Reader

_LabOption = Annotated[str, typer.Option(metavar="LAB", help="The lab of the assignment.")]
_ReportsOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="What `vmmlab batch` has written, or a folder of STUDENT/lab3.json."
    ),
]
_OutOption = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for what is to be uploaded.")
]
_HiddenOption = Annotated[
    bool, typer.Option("--hidden", help="Count the points of the hidden checks, too.")
]
_ScaleOption = Annotated[
    bool,
    typer.Option("--scale", help="Scale the points if the assignment has another maximum."),
]
_PagesOption = Annotated[
    bool, typer.Option("--feedback/--no-feedback", help="Make the feedback files.")
]

_UNJUDGED = 3


def moodle(
    context: typer.Context,
    submissions: Annotated[
        Path,
        typer.Argument(metavar="SUBMISSIONS", help="Moodle's download of all submissions (zip)."),
    ],
    worksheet: Annotated[
        Path, typer.Argument(metavar="WORKSHEET", help="Moodle's grading worksheet (CSV).")
    ],
    lab: _LabOption,
    reports: _ReportsOption,
    out: _OutOption = Path("for-moodle"),
    hidden: _HiddenOption = False,
    scale: _ScaleOption = False,
    feedback: _PagesOption = True,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Fill Moodle's grading worksheet, and make a zip of feedback files to go with it."""
    from vmmlab.base.scratch import scratch_folder
    from vmmlab.classroom.intake import intake
    from vmmlab.classroom.returns import moodle as moodles
    from vmmlab.classroom.returns.grades import Grades
    from vmmlab.classroom.returns.rawcsv import read_table
    from vmmlab.classroom.roster import read_roster

    say: Reader = context.obj
    loaded = open_course(course, say)
    grades = Grades(reports, loaded, lab, hidden=hidden)
    table = read_table(worksheet)
    roster = read_roster(worksheet)
    with scratch_folder("moodle") as place:
        taken = intake(submissions, loaded, Path(place), labs=[lab], roster=roster)
    done = moodles.fill(
        table, roster, taken, grades, loaded, lab, say, rescale=scale, pages=feedback
    )
    return _finish(done, out, worksheet, say, taken.remarks)


def canvas(
    context: typer.Context,
    gradebook: Annotated[
        Path, typer.Argument(metavar="GRADEBOOK", help="Canvas' gradebook, as exported (CSV).")
    ],
    lab: _LabOption,
    reports: _ReportsOption,
    column: Annotated[
        str,
        typer.Option(
            metavar="TITLE", help="The assignment. Default: the one whose title begins with LAB."
        ),
    ] = "",
    out: _OutOption = Path("for-canvas"),
    hidden: _HiddenOption = False,
    scale: _ScaleOption = False,
    course: CourseOption = None,
    lang: LangOption = None,
) -> int:
    """Fill the column of an assignment in Canvas' gradebook."""
    from vmmlab.classroom.returns import canvas as canvases
    from vmmlab.classroom.returns.grades import Grades
    from vmmlab.classroom.returns.rawcsv import read_table
    from vmmlab.classroom.roster import read_roster

    say: Reader = context.obj
    loaded = open_course(course, say)
    grades = Grades(reports, loaded, lab, hidden=hidden)
    table = read_table(gradebook)
    roster = read_roster(gradebook)
    done = canvases.fill(table, roster, grades, lab, say, column=column, rescale=scale)
    return _finish(done, out, gradebook, say)


def _finish(
    done: Filled, out: Path, table: Path, say: Reader, remarks: tuple[Text, ...] = ()
) -> int:
    """Write the files, say who has no grade, and return the exit code.

    Raises:
        UsageError: a file cannot be written, or would replace the one that was read.
    """
    from vmmlab.base.files import write_for_user

    files = {table.name: done.table}
    if done.feedback:
        files["feedback.zip"] = done.feedback
    if out.resolve() == table.resolve().parent:
        raise UsageError(
            msg("{path}: this folder has the file that was read.", path=out),
            next_step=msg("choose another one with --out"),
        )
    for name, data in files.items():
        path = out / name
        write_for_user(path, data)
        typer.echo(str(path))
    for remark in (*remarks, *done.remarks):
        complain(say(remark))
    typer.echo(
        say(
            nmsg(
                "{count} student has a grade; without one: {none}",
                "{count} students have a grade; without one: {none}",
                count=done.graded,
                none=done.ungraded,
            )
        )
    )
    return _UNJUDGED if done.unjudged else 0
