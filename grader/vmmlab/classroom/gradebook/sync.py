"""Puts reports into the gradebook: reads them, refuses those that are no grade, enters the rest."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.files import is_regular, read_regular, staged
from vmmlab.base.message import label, msg
from vmmlab.classroom import students
from vmmlab.classroom.gradebook import notebook
from vmmlab.classroom.gradebook.book import Book
from vmmlab.classroom.gradebook.handed import HandedIn, handed_in
from vmmlab.classroom.gradebook.lesson import Lesson
from vmmlab.classroom.gradebook.marks import compiler_lines, from_report
from vmmlab.classroom.gradebook.opening import open_book
from vmmlab.classroom.gradebook.outcome import Options, Refused, Result, Synced
from vmmlab.classroom.gradebook.write import Entered, add_students, write_marks
from vmmlab.classroom.roster import Entry, valid_id
from vmmlab.classroom.students import ReportFile
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader
from vmmlab.report.model import FILE_MAX, Report, read_json

_README: Final = """\
Made by `vmmlab gradebook sync`: without this folder nbgrader's formgrader does not list the scores
of the lab's checks. There is nothing to generate, release or collect here.
"""


_TOGETHER: Final = 100
"""So many reports are entered in one transaction."""


def run(
    course: Course,
    paths: Sequence[Path],
    options: Options,
    progress: Callable[[int, int], None] | None = None,
    say: Reader | None = None,
) -> Result:
    """Put reports into the gradebook, each whole or not at all: some at a time, on one lab.

    Args:
        course: the labs and their points.
        paths: reports, or folders of STUDENT/labN.json.
        options: what to do.
        progress: called with the number of reports that are done and of all reports.
        say: the language of the comments and notebooks; else English.

    Raises:
        UsageError: a path or the course folder is wrong.
        InfraError: the gradebook cannot be used; earlier reports have been entered.
    """
    with _uncollected():
        return _run(course, paths, options, progress, say or Reader())


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the collector of cycles away from the records of a class: there are none to find."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _run(
    course: Course,
    paths: Sequence[Path],
    options: Options,
    progress: Callable[[int, int], None] | None,
    say: Reader,
) -> Result:
    found = students.sources(paths, options.student)
    handed = handed_in(found)
    refused: list[Refused] = []
    read: dict[ReportFile, Report] = {}
    for source in found:
        with _refusing(source, refused):
            read[source] = _read(source)
    rivals = _rivals(read)
    with open_book(options.folder, copy=options.dry_run, make=True) as book:
        known = book.students()
        job = _Job(course, book, options, say, rivals, known, handed)
        absent: list[tuple[Lesson, Entry]] = []
        synced = list(_entered(job, read, refused, absent, progress))
        enrolled: tuple[str, ...] = ()
        everybody = {**{entry.id: entry for _, entry in absent}, **options.roster}
        if everybody:
            with book.connection() as inside:
                enrolled = add_students(inside, everybody.values())
        awkward = book.awkward_names()
    stale: dict[str, set[str]] = {}
    for one in synced:
        stale.setdefault(one.lab, set()).update(one.changes.rescaled)
    for one in synced:
        stale[one.lab].discard(one.student)
    order = {source.path: number for number, source in enumerate(found)}
    return Result(
        synced=tuple(sorted(synced, key=lambda one: order[one.source.path])),
        refused=tuple(sorted(refused, key=lambda one: order[one.path])),
        stale={lab: tuple(sorted(who)) for lab, who in stale.items() if who},
        awkward=tuple(awkward),
        dry_run=options.dry_run,
        enrolled=enrolled,
        absent=_by_lab((lesson.notebook, entry.id) for lesson, entry in absent),
    )


def _by_lab(pairs: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for lab, student in pairs:
        found.setdefault(lab, set()).add(student)
    return {lab: tuple(sorted(who)) for lab, who in found.items()}


def _entered(
    job: _Job,
    read: Mapping[ReportFile, Report],
    refused: list[Refused],
    absent: list[tuple[Lesson, Entry]],
    progress: Callable[[int, int], None] | None,
) -> Iterator[Synced]:
    """Enter the reports part by part; yield those that were entered, and add the others."""
    done = 0
    for part in _parts(read):
        ready = []
        for source, report in part:
            with _refusing(source, refused):
                entry = job.student(source, report)
                if report.handed_in:
                    ready.append(job.prepared(source, report, entry))
                else:
                    absent.append((Lesson(report.lab, report.arch), entry))
        try:
            yield from job.entered(ready)
        except UsageError as error:  # about the assignment
            refused += [Refused(one.source.path, error) for one in ready]
        done += len(part)
        if progress is not None:
            progress(done, len(read))


def _parts(read: Mapping[ReportFile, Report]) -> Iterator[Sequence[tuple[ReportFile, Report]]]:
    """Yield the reports in parts, each on one lab: a part is one transaction."""
    by_lab: dict[tuple[str, str], list[tuple[ReportFile, Report]]] = {}
    for source, report in read.items():
        by_lab.setdefault((report.lab, report.arch), []).append((source, report))
    for group in by_lab.values():
        for at in range(0, len(group), _TOGETHER):
            yield group[at : at + _TOGETHER]


@contextlib.contextmanager
def _refusing(source: ReportFile, refused: list[Refused]) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        refused.append(Refused(source.path, error))


def _read(source: ReportFile) -> Report:
    report = read_json(source.path)
    if source.lab and source.lab != report.lab:
        raise UsageError(
            msg(
                "{path}: the file is named {name} but contains another lab's report.",
                path=source.path,
                name=source.path.name,
            ),
            expected=source.lab,
            found=report.lab,
        )
    return report


def _rivals(read: Mapping[ReportFile, Report]) -> Mapping[ReportFile, Path]:
    """Return, for each of several reports on one lab of one student, another one: none counts."""
    by_key: dict[tuple[str, str, str], list[ReportFile]] = {}
    for source, report in read.items():
        if source.student:
            by_key.setdefault((source.student, report.lab, report.arch), []).append(source)
    return {
        one: next(other.path for other in group if other is not one)
        for group in by_key.values()
        if len(group) > 1
        for one in group
    }


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A report that counts: what to enter, and the files that are not there with this content."""

    source: ReportFile
    lesson: Lesson
    entered: Entered
    files: Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class _Job:
    """What all reports of a run have in common."""

    course: Course
    book: Book
    options: Options
    say: Reader
    rivals: Mapping[ReportFile, Path]
    known: frozenset[str]
    handed: HandedIn

    def student(self, source: ReportFile, report: Report) -> Entry:
        """Return whose report this is.

        Raises:
            UsageError: that is not known, or it is another student's or cohort's.
        """
        entry = _who(source, self.known, self.options)
        _must_count(entry, source, report, self.rivals, self.options)
        return entry

    def prepared(self, source: ReportFile, report: Report, entry: Entry) -> _Prepared:
        """Return what to enter for a student's report.

        Raises:
            UsageError: it is refused.
        """
        lab = self.course.graded_for(report.lab, report.arch)
        say = self.say.of(self.course.labs_dir / report.lab)
        marks = from_report(report, lab, say)
        received = students.read_timestamp(source.timestamp_file)
        lesson = Lesson(report.lab, report.arch)
        text = notebook.text(
            f"{lesson.notebook}: {say(lab.title)}",
            _facts(report, received, say),
            marks,
            compiler_lines(report, say),
            say,
            self.handed.sources(source.student, lab, report),
        ).encode()
        kept = self.book.report_path(entry.id, lesson)
        files = {
            self.book.notebook_path(entry.id, lesson): text,
            kept: read_regular(source.path, FILE_MAX),
            self.book.source_readme(lesson): _README.encode(),
        }
        stale = {path: text for path, text in files.items() if not _holds(path, text)}
        if kept in stale and not self.options.older:
            _must_be_newer(report, kept)
        late = self.handed.late.get((source.student, report.lab))
        return _Prepared(source, lesson, Entered(entry, marks, received, late), stale)

    def entered(self, ready: Sequence[_Prepared]) -> list[Synced]:
        """Enter reports on one lab, all or none.

        Raises:
            UsageError: the assignment in the gradebook is not one of checks, or has others.
            InfraError: a file cannot be written.
        """
        if not ready:
            return []
        lesson = ready[0].lesson
        files = (
            {} if self.options.dry_run else {k: v for one in ready for k, v in one.files.items()}
        )
        with contextlib.ExitStack() as stack:
            staged = [
                stack.enter_context(_staged(path, text, self.book.file_mode))
                for path, text in files.items()
            ]
            with self.book.connection() as inside:
                entered = [one.entered for one in ready]
                changes = write_marks(self.book, inside, lesson, entered, self.options.drop_removed)
            for put_in_place in staged:
                put_in_place()
        return [
            Synced(
                one.source,
                one.entered.student.id,
                lesson.notebook,
                change,
                tuple(one.entered.marks),
                bool(one.files),
            )
            for one, change in zip(ready, changes, strict=True)
        ]


def _must_count(
    entry: Entry,
    source: ReportFile,
    report: Report,
    rivals: Mapping[ReportFile, Path],
    options: Options,
) -> None:
    """Raise UsageError if a report is not the only one, or is for another cohort than its student.

    Args:
        entry: the student.
        source: the file of the report.
        report: what it holds.
        rivals: another report on the same lab of the same student, for each that has one.
        options: the options of the run.
    """
    if source in rivals:
        raise UsageError(
            msg(
                "there is a second report on {lab} in {entry}: which one counts?",
                entry=entry.id,
                lab=report.lab,
            ),
            found=str(rivals[source]),
            next_step=msg("name only one of them"),
        )
    cohort = entry.cohort or options.cohort
    if report.cohort != cohort:
        raise UsageError(
            msg(
                "the report was made with the numbers of another cohort than that of {entry}.",
                entry=entry.id,
            ),
            expected=cohort,
            found=report.cohort,
            next_step=msg("grade it again with --cohort {cohort}", cohort=cohort),
        )


def _must_be_newer(report: Report, kept: Path) -> None:
    """Raise UsageError if the report in the gradebook is of a later grading than this one.

    Args:
        report: to be entered.
        kept: where the copy of the other one lies, if there is one.
    """
    try:
        audit = json.loads(kept.read_bytes())["audit"]["graded_at"]
        there = datetime.fromisoformat(audit)
        new = datetime.fromisoformat(report.audit.graded_at if report.audit else "")
        if new >= there:
            return
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing is known of when it was graded
    raise UsageError(
        msg("the gradebook has the report of a later grading."),
        expected=msg("graded at {time} or later", time=there.isoformat()),
        found=new.isoformat(),
        next_step=msg("--older enters it all the same"),
    )


def _who(source: ReportFile, known: frozenset[str], options: Options) -> Entry:
    if not source.student:
        raise UsageError(
            msg("the report does not say which student it belongs to."),
            expected=msg("STUDENT/labN.json, or --student ID"),
        )
    if not valid_id(source.student):
        raise UsageError(
            msg("the folder's name {student!r} cannot be a student's id.", student=source.student),
            expected=msg("letters, digits and . _ @ -, beginning with a letter or a digit"),
            next_step=msg("name the student with --student ID"),
        )
    entry = options.roster.get(source.student)
    if entry is not None:
        return entry
    if options.roster and not options.create_students:
        raise UsageError(
            msg("{student} is not in the roster.", student=source.student),
            next_step=msg("correct the folder's name or the roster"),
        )
    if source.student not in known and not options.create_students:
        raise UsageError(
            msg("the gradebook has no student {student}.", student=source.student),
            next_step=msg("give --roster FILE, or --create-students if the folder's name is right"),
        )
    return Entry(source.student)


def _facts(report: Report, handed_in: datetime | None, say: Reader) -> Mapping[str, str]:
    # No student's name: the formgrader shows names only on request.
    facts: dict[str, str] = {}
    if handed_in is not None:
        facts[label("Handed in")] = f"{handed_in:%Y-%m-%d %H:%M:%S} UTC"
    facts[label("Cohort")] = f"`{report.cohort}`"
    facts[label("Graded with")] = ", ".join(
        f"{name} {version}"
        for name, version in report.versions.items()
        if name in ("vmmlab", "qemu", "gcc")
    )
    facts[label("Scores")] = say(msg("a score that a person has entered replaces the grader's"))
    return {say.label(key): value for key, value in facts.items() if value}


# --- files -----------------------------------------------------------------------------------


def _holds(path: Path, text: bytes) -> bool:
    """Return whether a file, not a symbolic link, is there with just this text."""
    return is_regular(path) and path.read_bytes() == text


@contextlib.contextmanager
def _staged(path: Path, text: bytes, mode: int) -> Iterator[Callable[[], None]]:
    """Write a file beside `path`; yield the function that puts it in its place.

    Raises:
        InfraError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not durable: if the machine fails now, the next run writes it again.
        with staged(path, text, mode=mode) as put_in_place:
            yield put_in_place
    except OSError as error:
        raise InfraError(
            msg("{path}: cannot be written: {reason}.", path=path, reason=os_reason(error)),
            next_step=msg("make it writable and run this again; nothing is lost"),
        ) from error
