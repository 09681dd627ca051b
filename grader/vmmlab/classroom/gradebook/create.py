"""Makes nbgrader's folder for a course: configuration, gradebook, students, worksheets.

What is there stays, so an interrupted run can be repeated, and a later one adds what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nbgrader.api import MissingEntry
from nbgrader.apps import GenerateAssignmentApp
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import NbGraderException

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.files import staged
from vmmlab.base.message import Text, msg
from vmmlab.classroom.gradebook.folder import CONFIG_FILE, initialize, is_course_folder
from vmmlab.classroom.gradebook.opening import open_book, url_of
from vmmlab.classroom.gradebook.quiet import quiet, reason
from vmmlab.classroom.gradebook.write import add_students
from vmmlab.classroom.roster import Entry
from vmmlab.course import materials
from vmmlab.course.model import Course

_CONFIG: Final = """\
# Made by `vmmlab gradebook init`.
from vmmlab.worksheet.autograde import configure

c = get_config()
c.CourseDirectory.course_id = {course_id!r}
{database}c.ExportApp.plugin_class = "vmmlab.classroom.gradebook.export.QuotedCsv"
configure(c, cohort={cohort!r})
"""
_QUIET: Final = 50  # CRITICAL: the result has the errors


@dataclass(frozen=True, slots=True)
class Setup:
    """What the folder is made for.

    Attributes:
        cohort: the class, whose numbers the worksheets have.
        course_id: nbgrader's name of the course.
        database: the URL of the gradebook; "": the file gradebook.db.
        language: the language of the worksheets.
        labs: those whose worksheets are wanted; empty: all.
        roster: the students of the class, by id.
    """

    cohort: str
    course_id: str = "vmm"
    database: str = ""
    language: str = "en"
    labs: Sequence[str] = ()
    roster: Mapping[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """What is new in the folder, and what was left as it is.

    Attributes:
        files: new files, relative to the folder.
        students: the ids of new students.
        notes: what a person should know.
    """

    files: tuple[str, ...]
    students: tuple[str, ...]
    notes: tuple[Text, ...]


def create(
    course: Course, folder: Path, setup: Setup, tell: Callable[[str], None] = lambda _: None
) -> Made:
    """Make what the folder lacks.

    Args:
        course: the whole kit, with the instructor's worksheets.
        folder: nbgrader's course folder; made if it is not there.
        setup: what it is made for.
        tell: called with the name of each lab before its worksheet is made.

    Raises:
        UsageError: the folder is used for something else, or the setup is wrong.
        InfraError: the gradebook cannot be used, or nbgrader fails.
    """
    for lab in setup.labs:
        course.lab(lab)
    url = url_of(setup.database) if setup.database else None
    _must_be_usable(folder)
    files: list[str] = []
    notes: list[Text] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mode = 0o600 if url is not None and url.password else None
        if _put(folder / CONFIG_FILE, _config(setup).encode(), notes, mode):
            files.append(CONFIG_FILE)
        with open_book(folder, make=True) as book, book.connection() as inside:
            students = add_students(inside, setup.roster.values())
        for lab in setup.labs or course.labs:
            files += _worksheets(course, folder, lab, setup, notes, tell)
    except OSError as error:
        raise UsageError(
            msg("{folder}: cannot be written: {reason}.", folder=folder, reason=os_reason(error))
        ) from error
    return Made(tuple(files), students, tuple(notes))


def _config(setup: Setup) -> str:
    place = setup.database and f"c.CourseDirectory.db_url = {setup.database!r}\n"
    return _CONFIG.format(course_id=setup.course_id, cohort=setup.cohort, database=place)


def _put(path: Path, data: bytes, notes: list[Text], mode: int | None = None) -> bool:
    """Write a file unless it is there; note if it is there with another text."""
    if path.is_file():
        if path.read_bytes() != data:
            notes.append(msg("{file} is there already, and stays as it is", file=path))
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged(path, data, mode=mode, durable=True) as put_in_place:
        put_in_place()
    return True


def _worksheets(
    course: Course,
    folder: Path,
    lab: str,
    setup: Setup,
    notes: list[Text],
    tell: Callable[[str], None],
) -> list[str]:
    """Put a lab's worksheet into source/, and make the students' version in release/."""
    given = materials.worksheet(course, lab, setup.language)
    if given is None:
        return []
    if materials.ready_worksheet(course, lab, setup.language) is not None:
        raise UsageError(
            msg("the worksheet of {lab} has no answers: this course is a release.", lab=lab),
            next_step=msg("run this with the whole kit: --course DIR"),
        )
    source = folder / "source" / lab / given.name
    others = [one.name for one in source.parent.glob("*.ipynb") if one.name != given.name]
    if others:
        notes.append(
            msg(
                "{folder} keeps {other}: a lab has one worksheet, in one language",
                folder=source.parent,
                other=others[0],
            )
        )
        return []
    made = [source] if _put(source, given.read_bytes(), notes) else []
    release = folder / "release" / lab / given.name
    if made or not (release.is_file() and _in_gradebook(folder, lab)):
        tell(lab)
        _generate(folder, lab)
        made.append(release)
    return [str(path.relative_to(folder)) for path in made]


def _in_gradebook(folder: Path, lab: str) -> bool:
    with open_book(folder) as book, book.transaction() as inside:
        try:
            return bool(inside.find_assignment(lab).notebooks)
        except MissingEntry:
            return False


def _generate(folder: Path, lab: str) -> None:
    """Make the students' version of a worksheet, as `nbgrader generate_assignment` does."""
    app: Any = GenerateAssignmentApp()
    app.load_cwd_config = False
    app.log_level = _QUIET
    initialize(app, [lab, "--force", f"--Application.log_level={_QUIET}"], folder)
    app.coursedir.root = str(folder.resolve())
    app.coursedir.assignment_id = lab
    with quiet(app) as said:
        try:
            GenerateAssignment(coursedir=app.coursedir, parent=app).start()
        except NbGraderException as error:
            raise InfraError(
                msg("nbgrader cannot make the students' worksheet of {lab}.", lab=lab),
                found=reason(error, said),
                next_step=msg(
                    "nbgrader generate_assignment {lab} --course-dir={folder} says why",
                    lab=lab,
                    folder=folder,
                ),
            ) from error


def _must_be_usable(folder: Path) -> None:
    """Raise UsageError unless a folder is new, empty or a course folder of nbgrader."""
    if folder.is_dir() and (is_course_folder(folder) or not any(folder.iterdir())):
        return
    if folder.exists():
        raise UsageError(
            msg("{folder} is used for something else.", folder=folder),
            expected=msg("a new folder, an empty one, or a course folder of nbgrader"),
        )
