"""The grade of each student as it goes to a learning platform: points, penalty, comment, page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError, VmmlabError
from vmmlab.base.message import EMPTY, Text, msg, nmsg
from vmmlab.base.text import clean_line
from vmmlab.classroom.intake.matching import Index
from vmmlab.classroom.intake.model import INTAKE, Intake, Submission, read_intake
from vmmlab.classroom.intake.owners import Owner
from vmmlab.classroom.lateness import Lateness
from vmmlab.classroom.returns.rawcsv import RawTable
from vmmlab.classroom.roster import Entry
from vmmlab.course.model import Course
from vmmlab.grading.score import Points, rounded
from vmmlab.i18n.translate import Reader, error_text
from vmmlab.report.export import must_be_a_grade
from vmmlab.report.export.sheet import sheet_of
from vmmlab.report.model import Report, read_json
from vmmlab.report.opened import opened

_REPORTS: Final = "reports"
_FOR_STUDENTS: Final = "for-students"


@dataclass(frozen=True, slots=True)
class Grade:
    """What one student gets.

    Attributes:
        student: the id under which the student was graded.
        points: after the penalty; None: there is no grade, and `why` says the reason.
        earned: before it.
        maximum: the most points.
        late: how late it is; None: the lab has no deadline.
        why: the reason why there is no grade.
        absent: it is that nothing was handed in.
        report: what the student may see of the report; None: there is none.
    """

    student: str
    points: Points | None
    earned: Points | None
    maximum: Points
    late: Lateness | None = None
    why: Text = EMPTY
    absent: bool = False
    report: Report | None = None

    @property
    def comment(self) -> Text:
        """One line for the student, beside the points."""
        if self.points is None:
            return EMPTY
        if self.late is None or not self.late.text:
            return msg("vmmlab: {points}/{max} points", points=self.points, max=self.maximum)
        return msg(
            "vmmlab: {points}/{max} points ({earned}; {late})",
            points=self.points,
            max=self.maximum,
            earned=self.earned or 0,
            late=self.late.text,
        )


@dataclass(slots=True)
class Filled:
    """A table with its grades.

    Attributes:
        table: what to upload.
        feedback: a zip with a page for each student who has a grade; empty if no page is wanted.
        graded: how many students have a grade in it from the reports.
        ungraded: how many have none.
        remarks: who has none, and why; whose penalty is not known; one line each.
        unjudged: a grade is missing because the grader failed.
    """

    table: bytes = b""
    feedback: bytes = b""
    graded: int = 0
    ungraded: int = 0
    remarks: list[Text] = field(default_factory=list)
    unjudged: bool = False

    def without(self, name: str, why: Text) -> None:
        """Note a student who has no grade."""
        self.ungraded += 1
        self.remarks.append(msg("{name}: {why}", name=name, why=why))

    def with_grade(self, name: str, grade: Grade) -> None:
        """Note a student who has one."""
        self.graded += 1
        if grade.late is not None and grade.late.status == "unknown":
            why = msg("no penalty: {late}", late=grade.late.text)
            self.remarks.append(msg("{name}: {why}", name=name, why=why))


class Grades:
    """The reports of a class on one lab.

    Args:
        folder: that of `vmmlab batch`, or one of STUDENT/lab3.json.
        course: the course.
        lab: the lab.
        hidden: count the points of the hidden checks.

    Raises:
        UsageError: there are no reports in it, or it is no such folder.
    """

    def __init__(self, folder: Path, course: Course, lab: str, *, hidden: bool = False) -> None:
        self._course = course
        self._lab = course.lab(lab)
        self._hidden = hidden
        self._folder = folder / _REPORTS if (folder / _REPORTS).is_dir() else folder
        self._students = folder / _FOR_STUDENTS
        taken = read_intake(folder / INTAKE) if (folder / INTAKE).is_file() else None
        self.intake: Intake | None = taken
        entries = _entries(taken, self._folder)
        self._entries = {one.student: one for one in taken.submissions} if taken else {}
        if not entries:
            raise UsageError(
                msg("{path}: no reports in this folder.", path=folder),
                expected=msg("the folder that `vmmlab batch` has written, or STUDENT/lab3.json"),
            )
        self._index = Index(entries)
        self._by_number = {
            one.number: one.student
            for one in self._entries.values()
            if one.number and not one.group  # else it is the group's
        }
        self._known = entries.keys()

    @property
    def maximum(self) -> Points:
        """The most points of the lab, with those of hidden checks if they count."""
        return self._lab.points + (self._lab.hidden_points if self._hidden else 0)

    def student_of(self, entry: Entry) -> str:
        """Return the id of the student who was graded; "" for none, or if several could be."""
        if entry.number and entry.number in self._by_number:
            return self._by_number[entry.number]
        if entry.id in self._known:
            return entry.id
        hints = tuple(filter(None, (entry.id, entry.email)))
        found = self._index.student(Owner(entry.id, entry.shown, hints)).entry
        return found.id if found else ""

    def submission(self, student: str) -> Submission | None:
        """Return what was taken in for a student; None: that is not known."""
        return self._entries.get(student)

    def grade(self, student: str, late: Lateness | None, say: Reader) -> Grade:
        """Return a student's grade.

        Args:
            student: the id under which the student was graded.
            late: how late it is, if the batch did not say it.
            say: the language of reasons.
        """
        taken = self.submission(student)
        known = taken.late.get(self._lab.name) if taken else None
        if known is None or known.status == "unknown":
            known = late or known
        path = self._folder / student / f"{self._lab.name}.json"
        if not path.is_file():
            return self._none(student, msg("there is no report on {lab}", lab=self._lab.name))
        try:
            report = read_json(path)
            must_be_a_grade(report)
            sheet = sheet_of(report, hidden=self._hidden)
        except VmmlabError as error:
            return self._none(student, error_text(error, say))
        if not report.handed_in:
            return self._none(student, msg("nothing was handed in"), absent=True)
        if sheet.points is None:
            return self._none(student, msg("the grader could not judge all checks"))
        points = known.left(sheet.points, sheet.max) if known else sheet.points
        shown = self._shown(student, report)
        return Grade(student, points, sheet.points, sheet.max, known, report=shown)

    def _none(self, student: str, why: Text, *, absent: bool = False) -> Grade:
        return Grade(student, None, None, self.maximum, why=why, absent=absent)

    def _shown(self, student: str, report: Report) -> Report:
        """Return what a student may see: the report that was made for the student, if there is."""
        path = self._students / student / f"{self._lab.name}.json"
        return opened(read_json(path) if path.is_file() else report)


def _entries(taken: Intake | None, folder: Path) -> Mapping[str, Entry]:
    """Return everybody who was graded, as far as the names are known."""
    if taken is not None:
        return {one.student: Entry(one.student, name=one.name) for one in taken.submissions}
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError:
        return {}
    return {name: Entry(name, name=name.replace("_", " ")) for name in names}


def page(grade: Grade, course: Course, say: Reader) -> str:
    """Return the page for a student: the report without anything of hidden checks, no pictures."""
    from vmmlab.report.html import page as html_page  # late: jinja2
    from vmmlab.report.runrecord import RunRecord

    assert grade.report is not None
    report = grade.report.model_copy(update={"notes": (*grade.report.notes, grade.comment)})
    return html_page(
        RunRecord.model_validate({"report": report}), say.of(course.labs_dir / report.lab)
    )


def number(points: Points, like: str) -> str:
    """Return points with as many decimals as another number of the table, and its decimal mark.

    Args:
        points: the points.
        like: the other number, such as "40.00" or "40,00".
    """
    mark = "," if "," in like and "." not in like else "."
    whole, _, decimals = like.rpartition(mark)
    wanted = len(decimals) if whole else 0
    text = f"{points:.2f}".rstrip("0").rstrip(".")
    whole, _, decimals = text.partition(".")
    decimals = decimals.ljust(wanted, "0")
    return f"{whole}{mark}{decimals}" if decimals else whole


def maximum_in(text: str) -> Fraction | None:
    """Return the most points as a cell says them, with either decimal mark; None: it is empty.

    Raises:
        UsageError: it says something else.
    """
    plain = text.strip()
    if not plain:
        return None
    if "," in plain and "." in plain:  # the first one is between the thousands
        plain = plain.replace(min(",.", key=plain.index), "")
    try:
        return Fraction(plain.replace(",", "."))
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            msg("the maximum grade of the assignment is not a number."),
            expected=msg("a number, such as 40.00"),
            found=clean_line(text, 40),
            next_step=msg("download it again"),
        ) from None


def one_row_each(table: RawTable, rows: Sequence[tuple[int, str]]) -> None:
    """Refuse a table in which a student has two rows, or the end of a row is missing.

    Args:
        table: the table.
        rows: the rows of students, each with the platform's number for the student.

    Raises:
        UsageError: it is such a table, so a grade could go to the wrong student.
    """
    seen: dict[str, int] = {}
    for row, student in rows:
        if seen.setdefault(student, row) != row:
            raise UsageError(
                msg("two rows have the number {number}.", number=clean_line(student, 40)),
                expected=msg("one row for each student"),
                found=msg("rows {first} and {second}", first=seen[student] + 2, second=row + 2),
                next_step=msg("download it again"),
            )
        if table.cells(row) < len(table.header):
            raise UsageError(
                msg("row {row} is not complete: the file may have been cut off.", row=row + 2),
                expected=msg("{count} cells, as in the first row", count=len(table.header)),
                found=nmsg("{count} cell", "{count} cells", count=table.cells(row)),
                next_step=msg("download it again"),
            )


def scaled(points: Points, maximum: Points, to: Fraction) -> Points:
    """Return points on a scale with another maximum, rounded down to two decimals."""
    return rounded(Fraction(str(points)) * to / Fraction(str(maximum))) if maximum else points


def column_of(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the first column with one of these headers."""
    from vmmlab.classroom.roster import plain_header

    plain = [plain_header(name) for name in header]
    return next((plain.index(name) for name in names if name in plain), None)
