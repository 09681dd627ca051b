"""Makes a release: a course for a class, without solutions and hidden checks, or for self-study.

The files of a release are listed here, and no others go in. At the end the release is searched for
every line of every solution (`leaks`). Only a whole kit can make one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.author.release import schedule
from vmmlab.author.release.book import add_book
from vmmlab.author.release.coursefile import course_text
from vmmlab.author.release.leaks import leaks, misplaced
from vmmlab.author.release.pages import unlink
from vmmlab.author.release.selfstudy import add_solutions, named_kind
from vmmlab.author.release.worksheets import worksheets
from vmmlab.base.errors import CourseError, InfraError, UsageError, os_reason
from vmmlab.base.message import Text, msg
from vmmlab.course import materials
from vmmlab.course.cohort import Cohort
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.labpackage import check_files
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.pages import PAGES
from vmmlab.i18n.translate import LANGUAGES
from vmmlab.images import prebuilt
from vmmlab.report import reduced

_PACKAGE: Final = Path(__file__).parents[2]
_OWN_FILES: Final = Path(__file__).with_name("files")
_OF_A_LAB: Final = (
    "exploration*.py", "orders.py", "README*.md", "causes*.yml", "messages*.yml", "locale/*.po",
    "pictures/*.svg",
)  # fmt: skip
_OF_THE_KIT: Final = ("LICENSE", "pyproject.toml", "grader/setup.sh")
_NOT_COPIED: Final = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True, slots=True)
class Released:
    """A release that was made.

    Attributes:
        folder: the release.
        files: how many files it has.
        notes: what an instructor should know about it.
    """

    folder: Path
    files: int
    notes: tuple[Text, ...]


def release(
    course: Course,
    dest: Path,
    cohorts: Sequence[str] = (),
    until: str = "",
    *,
    self_study: bool = False,
    book: bool = True,
) -> Released:
    """Write a release of `course` to `dest`, whole or not at all.

    Args:
        course: the instructor's course, with its reference.
        dest: a folder that does not exist yet, or is empty.
        cohorts: the cohorts to make prebuilt labs for; the course's own if empty. The first one
            becomes the course's own in the release.
        until: hold back handouts, starters and prebuilt objects of the labs after this one; "":
            hold back none.
        self_study: make a release for people who study alone: with solutions, hidden checks and
            answers. It holds nothing back.
        book: build the book, which takes some seconds.

    Raises:
        UsageError: `dest` is in use, there is no lab `until`, or the course is a release itself.
        CourseError: the course is at fault, or the release would contain part of a solution.
        InfraError: the disk or a tool is at fault.
    """
    _must_be_possible(course, until, self_study=self_study)
    dest = dest.expanduser().absolute()
    _must_be_free(dest)
    names = tuple(dict.fromkeys(cohorts or [course.cohort]))
    for name in names:
        Cohort.derive(name)  # refuses what cannot be a name, before a file has it
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{dest.name[:40]}.", dir=dest.parent) as scratch:
            made = Path(scratch) / "release"
            notes = tuple(_fill(course, made, names, until, self_study, book))
            search = misplaced if self_study else leaks
            if found := next(search(course, made), None):
                raise CourseError(
                    f"{found.file}:{found.line}: {found.what}",
                    expected=msg("nothing of a solution in a release"),
                    found=found.text,
                    next_step=msg("change that text; nothing was written"),
                )
            count = sum(path.is_file() for path in made.rglob("*"))
            if dest.is_dir():
                dest.rmdir()
            made.rename(dest)
    except OSError as error:
        raise InfraError(
            msg("the release could not be written to {dest}.", dest=dest),
            found=os_reason(error),
            next_step=msg("nothing was left behind; fix this and try again"),
        ) from error
    return Released(dest, count, notes)


def _must_be_possible(course: Course, until: str, *, self_study: bool) -> None:
    if not course.reference_dir.is_dir():
        raise UsageError(
            msg(
                "{root} has no reference solutions to make starters and prebuilt objects from.",
                root=course.root,
            ),
            expected=msg("the whole kit; this may already be a release"),
        )
    if until and self_study:
        raise UsageError(
            msg("a release for self-study holds nothing back."),
            expected=msg("--self-study without --until"),
        )
    if until:
        course.lab(until)


def _must_be_free(dest: Path) -> None:
    if not dest.exists() and not dest.is_symlink():
        return
    if not dest.is_dir() or dest.is_symlink() or any(dest.iterdir()):
        raise UsageError(
            msg("{dest} is in use; nothing was changed.", dest=dest),
            expected=msg("a folder that does not exist yet, or an empty one"),
            next_step=msg("choose another folder, or remove this one"),
        )


def _fill(
    course: Course, made: Path, cohorts: Sequence[str], until: str, self_study: bool, book: bool
) -> Iterator[Text]:
    """Write the release into `made` and yield notes."""
    made.mkdir()
    text = course_text(course, cohorts[0], until, hidden=self_study)
    text = named_kind(text, "self-study" if self_study else "class")
    (made / COURSE_FILE).write_text(text, encoding="utf-8")
    released = load_course(made)
    labs = [lab for name, lab in course.labs.items() if name not in released.held_back]
    for lab in labs:
        copy_lab(course.labs_dir / lab.name, made / "labs" / lab.name)
    yield from worksheets(course, made, cohorts)
    _copy_tree(course.template, made / "vmm-skeleton")
    if self_study:
        add_solutions(course, made)  # starters and prebuilt labs are made of the reference
    else:
        _add_starters(course, released, cohorts, until)
    yield from _copy_kit(course, made, self_study=self_study)
    for page in [*made.glob("labs/*/*.md"), *made.glob("docs/*.md")]:
        unlink(page)
    for name, text in ({} if self_study else schedule.pages(released)).items():
        (made / name).write_text(text, encoding="utf-8")
    if book:
        yield from add_book(course, made)


def _add_starters(course: Course, released: Course, cohorts: Sequence[str], until: str) -> None:
    """Add the starters of the open labs, and prebuilt objects of all."""
    labs = released.open_labs
    for lang in LANGUAGES:
        for lab in labs:
            for path in lab.files:
                target = materials.starters_dir(released, lang) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(materials.starter(course, path, lang), encoding="utf-8")
    for name in cohorts:
        target = prebuilt.folder_of(released) / name
        prebuilt.place(course, Cohort.derive(name), target, until)


def copy_lab(source: Path, target: Path) -> None:
    """Copy what students get of a lab's folder: checks, probes, handouts, pictures, the right run.

    Args:
        source: labs/labN of the course.
        target: the new folder.

    Raises:
        CourseError: the record of the right run holds more than milestones, registers and IPIs.
    """
    target.mkdir(parents=True)
    for path in sorted(source.glob("right-runs*.json")):
        reduced.read(path)  # raises if it holds more of the reference than students may see
        shutil.copy(path, target / path.name)
    others = [path for pattern in _OF_A_LAB for path in sorted(source.glob(pattern))]
    for path in (*check_files(source), *others):
        place = target / path.relative_to(source)
        place.parent.mkdir(exist_ok=True)
        shutil.copy(path, place)


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_NOT_COPIED, symlinks=True)


def _copy_kit(course: Course, made: Path, *, self_study: bool) -> Iterator[Text]:
    """Copy the pages for students and, if this vmmlab is in a clone, the package; yield notes."""
    for page in PAGES:
        for path in sorted((course.root / "docs").glob(f"{page}*.md")):
            (made / "docs").mkdir(exist_ok=True)
            shutil.copy(path, made / "docs" / path.name)
    if (pictures := course.root / "docs" / "pictures").is_dir():
        _copy_tree(pictures, made / "docs" / "pictures")
    kit = _PACKAGE.parents[1]
    if not (kit / "grader" / "setup.sh").is_file():
        yield msg("the release does not include vmmlab itself: students install it separately")
        return
    _copy_tree(_PACKAGE, made / "grader" / "vmmlab")
    for name in _OF_THE_KIT:
        shutil.copy(kit / name, made / name)
    for path in sorted(_OWN_FILES.glob("*.txt")):
        shutil.copy(path, made / path.name.removesuffix(".txt"))
    for path in sorted((_OWN_FILES / "self-study").iterdir() if self_study else ()):
        shutil.copy(path, made / path.name.removesuffix(".txt"))
