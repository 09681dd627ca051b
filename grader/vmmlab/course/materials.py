"""Starters, worksheets and book: made from the instructor's sources, or taken from a release.

A release carries the starters in its template, below vmm-skeleton/::

    starters/LANGUAGE/lab3/ap_start.c    the reference without its solutions

This module does not know workspaces and grading.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vmmlab.base.message import Message
from vmmlab.course import comments
from vmmlab.course.markup import starter_text
from vmmlab.course.model import Course
from vmmlab.course.reference import reference_text
from vmmlab.i18n.translate import ENGLISH, Reader

WORKSHEET_MARKS: Final = ("BEGIN SOLUTION", "BEGIN HIDDEN TESTS", "BEGIN MARK SCHEME")
"""What only the instructor's worksheet has."""

BOOK: Final = "book"
"""The folder of a release with the built book, a folder in it for each language."""


def given_comments(course: Course, lang: str) -> Path:
    """Return the file with the translated comments of the given code; English has none."""
    return course.template / f"comments.{lang}.yml"


def starters_dir(course: Course, lang: str) -> Path:
    """Return where a release has its starters in one language; "" is English."""
    return course.template / "starters" / (lang or ENGLISH)


def starter(course: Course, path: str, lang: str = "") -> str:
    """Return the starter of one file.

    Args:
        course: the course.
        path: for example `lab3/ap_start.c`.
        lang: the language of its comments; "" is English.

    Raises:
        CourseError: there is neither a starter in the release nor a reference, or its markup is
            wrong.
    """
    made = starters_dir(course, lang) / path
    if made.is_file() and not course.reference_dir.is_dir():
        return made.read_text(encoding="utf-8")
    text = starter_text(reference_text(course, path), path=f"reference/{path}")
    lab = course.lab(path.partition("/")[0])
    if lang not in ("", ENGLISH):
        text = comments.translated(text, path, course.reference_dir / lab.name, lang)
    say = Reader(lang or ENGLISH).of(course.labs_dir / lab.name)
    titles = {step.id: say(Message(step.title)) for step in lab.steps}
    return comments.with_titles(text, titles, say.label(". ").strip())


def worksheet(course: Course, lab: str, lang: str = "") -> Path | None:
    """Return a lab's worksheet, in one language if there is one; None if the lab has none.

    In the whole kit it is the instructor's, with the solutions.
    """
    names = ["worksheet.ipynb"]
    if lang not in ("", ENGLISH):
        names.insert(0, f"worksheet.{lang}.ipynb")
    paths = (course.labs_dir / lab / name for name in names)
    return next((path for path in paths if path.is_file()), None)


def ready_worksheet(course: Course, lab: str, lang: str = "") -> Path | None:
    """Return a lab's worksheet if it is one for students; None if there is no such one."""
    path = worksheet(course, lab, lang)
    if path is None or any(mark in path.read_text(encoding="utf-8") for mark in WORKSHEET_MARKS):
        return None
    return path


def book_page(course: Course, name: str, lang: str = "") -> Path | None:
    """Return a page of the built book; None if there is no book, or an older one.

    Args:
        course: a release, or a kit in which `make book` was run.
        name: the path of the page's source in the course, without its suffix.
        lang: the reader's language; "" is English.
    """
    page = Path(lang or ENGLISH) / f"{name}.html"
    shipped = course.root / BOOK / page
    if shipped.is_file():
        return shipped
    made, source = course.root / "build" / "book" / page, course.root / f"{name}.md"
    both = made.is_file() and source.is_file()
    if both and made.stat().st_mtime >= source.stat().st_mtime:
        return made
    return None
