"""Finds what is missing in a course: one line for each problem, with the file and what to do.

Only reads files: no test is imported and no image is built. `vmmlab mutants` and `vmmlab grade`
show the rest: that a mutant is really caught, that the reference earns all points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vmmlab.author.check_course.causes import in_mutants_and_hints
from vmmlab.author.check_course.checks import in_checks
from vmmlab.author.check_course.contract import in_contract
from vmmlab.author.check_course.finding import Forgotten, of_error
from vmmlab.author.check_course.handouts import LEFT_OVER, in_handouts, in_the_book
from vmmlab.author.check_course.japanese import in_japanese
from vmmlab.author.check_course.reference import in_reference
from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError, VmmlabError
from vmmlab.base.message import msg
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.load import load_course
from vmmlab.course.model import Course, Lab
from vmmlab.probes.scenario import known_firmware

__all__ = ["LEFT_OVER", "Forgotten", "forgotten"]


def _in_firmware(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield the firmware of a lab that no machine can boot with."""
    for name in lab.firmware:
        try:
            known_firmware(name, COURSE_FILE, lab.name)
        except CourseError as error:
            line = yamlfile.read(course.root / COURSE_FILE).line(("labs", lab.name, "firmware"))
            yield replace(of_error(error, COURSE_FILE), line=line)


_OF_A_LAB = (
    in_handouts,
    in_checks,
    in_reference,
    in_mutants_and_hints,
    in_japanese,
    in_contract,
    in_the_book,
    _in_firmware,
)


def forgotten(root: Path, labs: Sequence[str] = ()) -> tuple[Forgotten, ...]:
    """Return all problems of a course, in the order of the labs.

    If course.yml cannot be read, that is the only finding.

    Args:
        root: the folder of course.yml.
        labs: look only at these; empty: at all, and for folders of labs that the course lacks.

    Raises:
        UsageError: the course has no such lab.
    """
    try:
        course = load_course(root)
    except VmmlabError as error:
        return (of_error(error, COURSE_FILE),)
    found: list[Forgotten] = []
    for lab in map(course.lab, labs or course.labs):
        for look in _OF_A_LAB:
            found += look(course, lab)
    if not labs:
        found += _unknown_labs(course)
    return tuple(dict.fromkeys(found))


def _unknown_labs(course: Course) -> Iterator[Forgotten]:
    """Yield the folders and files of labs that course.yml does not know."""
    for folder in ("labs", "reference"):
        for path in sorted((course.root / folder).glob("lab*")):
            if path.is_dir() and path.name not in course.labs:
                yield Forgotten(
                    f"{folder}/{path.name}",
                    0,
                    msg("course.yml has no such lab"),
                    msg("add it, or move this"),
                )
    for path in sorted((course.root / "grader" / "mutants").glob("lab*.yml")):
        if path.stem not in course.labs:
            yield Forgotten(
                f"grader/mutants/{path.name}",
                0,
                msg("course.yml has no such lab"),
                msg("add it, or move it"),
            )
