"""Fills Moodle's grading worksheet, and packs the feedback files that go with it.

Sources, below mod/assign of moodle/moodle: gradingtable.php (the worksheet),
feedback/offline/importgradeslib.php and locallib.php (what is read of it),
feedback/file/importziplib.php (the feedback files). Headers: lang/en/assign.php there,
lang/en/moodle.php and the Japanese language pack. For people:
https://docs.moodle.org/en/Assignment_grading and https://docs.moodle.org/en/Assignment_settings.

Moodle reads the columns Identifier, Grade, Last modified (grade) and Feedback comments by their
headers in the uploader's language, and the participant's number from the end of the
identifier. It skips rows whose grade was changed since the download. Feedback files are matched by
the number in `Full name_123_assignsubmission_file_/`.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.base.text import clean_line
from vmmlab.classroom.intake.model import Intake, Submission
from vmmlab.classroom.returns.grades import (
    Filled,
    Grade,
    Grades,
    column_of,
    maximum_in,
    number,
    one_row_each,
    page,
    scaled,
)
from vmmlab.classroom.returns.rawcsv import RawTable
from vmmlab.classroom.roster import Entry
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader

_GRADE: Final = ("grade", "評点", "評定")
_MAXIMUM: Final = ("maximum grade", "最大評点", "最大評定")
_CHANGEABLE: Final = ("grade can be changed", "評点変更可", "評定変更可")
_COMMENTS: Final = ("feedback comments", "フィードバックコメント")
_NO: Final = ("no", "いいえ")
_OURS: Final = "vmmlab: "
_NUMBER: Final = re.compile(r"(\d+)\s*$")
_NOT_IN_NAMES: Final = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|_]+")
_SHOWN: Final = 5
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the same bytes, whenever it is made


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in the worksheet everything is."""

    grade: int
    maximum: int | None
    changeable: int | None
    comments: int | None


def fill(
    table: RawTable,
    roster: Mapping[str, Entry],
    submitted: Intake,
    grades: Grades,
    course: Course,
    lab: str,
    say: Reader,
    *,
    rescale: bool = False,
    pages: bool = True,
) -> Filled:
    """Fill a worksheet.

    Args:
        table: the worksheet; it is changed.
        roster: the same worksheet, read as a roster.
        submitted: the download of the submissions, taken in with this roster.
        grades: the reports.
        course: the course.
        lab: the lab.
        say: the language of comments and pages.
        rescale: the assignment has another maximum than the lab.
        pages: make the feedback files.

    Raises:
        UsageError: it is no worksheet, or has another maximum.
    """
    columns = _columns(table)
    by_number = {entry.number: entry for entry in roster.values()}
    fresh = {one.student: one for one in submitted.submissions}
    done = Filled()
    if columns.maximum is None:
        done.remarks.append(
            msg("the worksheet does not say the maximum grade of the assignment: compare it")
        )
    files: dict[str, str] = {}
    for row, entry in _participants(table, by_number, submitted):
        identifier = table.value(row, 0)
        blind = identifier.startswith(entry.name)  # the number is all that tells them apart
        name = clean_line(identifier if blind else entry.shown, 80)
        grade = _grade(entry, name, fresh[entry.id], grades, lab, say, done)
        if grade is None or not _put(table, row, columns, grade, name, say, done, rescale):
            continue
        if pages:
            place = f"{_folder(entry, identifier)}/{lab}.html"
            files[place] = page(grade, course, say)
    done.table = table.data()
    if pages:
        done.feedback = _zip(files)
    return done


def _participants(
    table: RawTable, by_number: Mapping[str, Entry], submitted: Intake
) -> list[tuple[int, Entry]]:
    """Return the row of each participant; there are also blank lines, and outcomes below them.

    Raises:
        UsageError: two rows have one number, a row is cut off, or the submissions are of another
            assignment, in which Moodle gives each participant another number.
    """
    numbers = [(row, _NUMBER.search(table.value(row, 0))) for row in range(len(table))]
    rows = [(row, match[1]) for row, match in numbers if match and match[1] in by_number]
    one_row_each(table, rows)
    handed = {one.origin for one in submitted.submissions if not one.group and one.origin.isdigit()}
    if submitted.platform == "moodle" and handed and handed.isdisjoint(by_number):
        raise UsageError(
            msg("the worksheet and the submissions are of different assignments."),
            expected=msg("the numbers of the submissions: {numbers}", numbers=_some(handed)),
            found=_some(by_number),
            next_step=msg("download both again, from the same assignment"),
        )
    return [(row, by_number[student]) for row, student in rows]


def _some(numbers: Collection[str]) -> str:
    shown = sorted(numbers)[:_SHOWN]
    return ", ".join([*shown, "…"] if len(numbers) > _SHOWN else shown)


def _grade(
    entry: Entry,
    name: str,
    submitted: Submission,
    grades: Grades,
    lab: str,
    say: Reader,
    done: Filled,
) -> Grade | None:
    """Return the grade of a participant; None if there is none, and say why."""
    found = submitted.labs or submitted.refused or submitted.left_out
    if submitted.problem and not found:
        done.unjudged = done.unjudged or submitted.attention
        done.without(name, submitted.problem)
        return None
    student = grades.student_of(entry)
    if not student:
        done.without(name, msg("was not graded"))
        return None
    taken = grades.submission(student)
    if taken is not None and taken.digest(lab) != submitted.digest(lab):
        done.without(name, msg("this is not the submission that was graded: grade it again"))
        return None
    grade = grades.grade(student, submitted.late.get(lab), say)
    if grade.points is None:
        done.unjudged = done.unjudged or not grade.absent
        done.without(name, grade.why)
        return None
    return grade


def _columns(table: RawTable) -> _Columns:
    header = table.header
    grade = column_of(header, _GRADE)
    if grade is None:
        raise UsageError(
            msg("this table has no column for grades."),
            expected=msg("Moodle's grading worksheet, with its own headers"),
            found=clean_line(", ".join(header), 120),
            next_step=msg("download it again: Download grading worksheet, in English or Japanese"),
        )
    return _Columns(
        grade,
        column_of(header, _MAXIMUM),
        column_of(header, _CHANGEABLE),
        column_of(header, _COMMENTS),
    )


def _put(
    table: RawTable,
    row: int,
    columns: _Columns,
    grade: Grade,
    name: str,
    say: Reader,
    done: Filled,
    rescale: bool,
) -> bool:
    """Put a grade into a row, if that may be changed; return whether."""
    assert grade.points is not None
    if columns.changeable is not None and table.value(row, columns.changeable).lower() in _NO:
        done.without(name, msg("the grade is locked in Moodle"))
        return False
    like = table.value(row, columns.maximum) if columns.maximum is not None else ""
    most = maximum_in(like)
    points = grade.points
    if most is not None and most != Fraction(str(grade.maximum)):
        if not rescale:
            raise UsageError(
                msg(
                    "the assignment's maximum grade is {most}, not {max}.",
                    most=like,
                    max=grade.maximum,
                ),
                expected=msg("the points of the lab as the assignment's maximum grade"),
                next_step=msg("set it in Moodle and download the worksheet again, or use --scale"),
            )
        points = scaled(points, grade.maximum, most)
    table.put(row, columns.grade, number(points, like))
    if columns.comments is not None:
        before = table.value(row, columns.comments)
        if not before or before.startswith(_OURS):  # a person's comment stays
            table.put(row, columns.comments, say(grade.comment))
    done.with_grade(name, grade)
    return True


def _folder(entry: Entry, identifier: str) -> str:
    """Return the name of a participant's folder, as Moodle's own download has it."""
    name = entry.name or _NUMBER.sub("", identifier)
    plain = " ".join(_NOT_IN_NAMES.sub(" ", name).split()).strip(".~ ") or "Participant"
    return f"{plain}_{entry.number}_assignsubmission_file_"


def _zip(files: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name].encode())
    return out.getvalue()
