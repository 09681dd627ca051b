"""Starters and stand-ins: made from the reference, or, in a release, ready-made.

A release carries them in its template, below vmm-skeleton/::

    starters/LANGUAGE/lab3/ap_start.c    the reference without its solutions
    standins/COHORT/lab3.o               what takes the place of a lab that is not being graded
    standins/COHORT/i386/lab3.o          the same for another architecture

Knows neither workspaces nor grading.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.course import comments
from vmmlab.course.markup import starter_text
from vmmlab.course.model import ARCHES, Course
from vmmlab.course.reference import reference_text
from vmmlab.i18n.translate import ENGLISH

if TYPE_CHECKING:
    from vmmlab.course.cohort import Cohort
    from vmmlab.images import StandInSource


def given_comments(course: Course, lang: str) -> Path:
    """The translations of the given code's comments; there is no such file for English."""
    return course.template / f"comments.{lang}.yml"


def starters_dir(course: Course, lang: str) -> Path:
    """Where a release has its starters in one language; "" is English."""
    return course.template / "starters" / (lang or ENGLISH)


def standins_dir(course: Course) -> Path:
    """Where a release has a folder of stand-ins for each of its cohorts."""
    return course.template / "standins"


def starter(course: Course, path: str, lang: str = "") -> str:
    """The starter of one file.

    Args:
        course: the course.
        path: for example `lab3/ap_start.c`.
        lang: the language of its comments; "" is English.

    Raises:
        CourseError: there is neither a ready-made one nor a reference, or its markup is wrong.
    """
    made = starters_dir(course, lang) / path
    if made.is_file() and not course.reference_dir.is_dir():
        return made.read_text(encoding="utf-8")
    text = starter_text(reference_text(course, path), path=f"reference/{path}")
    if lang in ("", ENGLISH):
        return text
    folder = course.reference_dir / path.partition("/")[0]
    return comments.translated(text, path, folder, lang)


def standins(course: Course, cohort: Cohort) -> StandInSource:
    """Where the stand-ins of a course come from.

    Raises:
        UsageError: it is a release without any for this cohort.
    """
    from vmmlab.images import FromReference, Prebuilt

    if course.reference_dir.is_dir():
        return FromReference(course.reference_dir)
    top = standins_dir(course)
    if not top.is_dir():
        raise UsageError(
            "there is nothing to stand in for the labs that are not being graded.",
            expected=f"{course.reference_dir.name}/ or {top.relative_to(course.root)}/ in "
            f"{course.root}",
            next_step="use the whole kit, or a release as vmmlab release makes it",
        )
    if not (top / cohort.name).is_dir():
        there = sorted(folder.name for folder in top.iterdir() if folder.is_dir())
        raise UsageError(
            f"this release is not for the cohort {cohort.name!r}.",
            expected=f"one of {', '.join(there)}",
            next_step="choose that one, or ask for a release for yours",
        )
    return Prebuilt(top / cohort.name)


def place_standins(course: Course, cohort: Cohort, target: Path) -> None:
    """Put the stand-ins for one cohort into `target`, for every architecture that is graded.

    Raises:
        UsageError: there are none for this cohort.
        InfraError: they could not be built or written.
    """
    from vmmlab.host.sandbox import Sandbox
    from vmmlab.images import Builder, BuildOptions, FromReference

    source = standins(course, cohort)
    if not isinstance(source, FromReference):
        for lab in course.labs.values():
            if lab.files:
                source.object(lab.name, ARCHES[0], cohort)  # raises if it is not for this cohort
        try:
            shutil.copytree(source.directory, target, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            raise InfraError(
                f"the stand-ins could not be written to {target}.", found=str(error)
            ) from error
        return
    sandbox = Sandbox.choose(require=False)
    builder = Builder(course.tree, course, sandbox, None, source)
    builder.make_standins(target, cohort)
    for arch in ARCHES[1:]:
        if any(arch in lab.arches for lab in course.labs.values()):
            builder.make_standins(target / arch, cohort, BuildOptions(arch=arch))
