"""Finding the prebuilt objects of a course, and putting them where a workspace needs them.

A release carries them in its template, below vmm-skeleton/::

    standins/COHORT/lab3.o               takes the place of a lab that is not being graded
    standins/COHORT/i386/lab3.o          the same for another architecture
    standins/COHORT/dev2/lab3.o          the same for the other cohort of open checks
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import msg
from vmmlab.course import materials
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import ARCHES, Course
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildOptions
from vmmlab.images.sources import FromReference, Prebuilt, PrebuiltSource


def folder_of(course: Course) -> Path:
    """Return where a release has a folder of prebuilt objects for each of its cohorts."""
    return course.template / "standins"


def source_of(course: Course, cohort: Cohort) -> PrebuiltSource:
    """Return where the prebuilt objects of a course come from.

    Raises:
        UsageError: it is a release without any for this cohort.
    """
    if course.reference_dir.is_dir():
        return FromReference(course.reference_dir)
    top = folder_of(course)
    if not top.is_dir():
        raise UsageError(
            msg("there are no prebuilt objects for the labs that are not being graded."),
            expected=msg(
                "{reference}/ or {prebuilt}/ in {course}",
                reference=course.reference_dir.name,
                prebuilt=top.relative_to(course.root),
                course=course.root,
            ),
            next_step=msg("use the whole kit, or a release made by vmmlab release"),
        )
    if not (top / cohort.name).is_dir():
        there = sorted(folder.name for folder in top.iterdir() if folder.is_dir())
        raise UsageError(
            msg("this release is not for the cohort {cohort!r}.", cohort=cohort.name),
            expected=msg("one of {there}", there=", ".join(there)),
            next_step=msg("choose that one, or ask for a release for yours"),
        )
    return Prebuilt(top / cohort.name)


def place(course: Course, cohort: Cohort, target: Path, until: str = "") -> None:
    """Put the prebuilt objects that open checks need into `target`, for every architecture graded.

    They are those of a cohort, and in a folder below those of the other one.

    Args:
        course: the course.
        cohort: whose numbers are in them.
        target: a folder; made if missing.
        until: hold back the labs after this one: their starters, which stop at the first TODO, are
            in their places. Needs the reference. "": hold back none.

    Raises:
        UsageError: there are none for this cohort.
        InfraError: they could not be built or written.
    """
    source = source_of(course, cohort)
    other = cohort.in_role("other")
    if isinstance(source, FromReference):
        source = replace(source, instead=_starters(course, until))
        _build(course, cohort, source, target)
        _build(course, other, source, target / other.name)
        return
    for lab in course.labs.values():
        for one in (cohort, other) if lab.files else ():
            source.object(lab.name, ARCHES[0], one)  # raises if it is not for this cohort
    try:
        shutil.copytree(source.directory, target, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise InfraError(
            msg("the prebuilt objects could not be written to {target}.", target=target),
            found=str(error),
        ) from error


def _starters(course: Course, until: str) -> dict[str, bytes]:
    """Return the starters of the labs after `until` by path."""
    return {
        path: materials.starter(course, path).encode()
        for name in course.after(until)
        for path in course.labs[name].files
    }


def _build(course: Course, cohort: Cohort, source: FromReference, target: Path) -> None:
    builder = Builder(course.tree, course, Sandbox.choose(require=False), None, source)
    builder.make_prebuilt(target, cohort)
    for arch in ARCHES[1:]:
        if any(arch in lab.arches for lab in course.labs.values()):
            builder.make_prebuilt(target / arch, cohort, BuildOptions(arch=arch))
