"""Writes known-wrong solutions as folders that can be graded, read and changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vmmlab.author.mutants.apply import apply
from vmmlab.author.mutants.model import load, of_names
from vmmlab.base.files import write_for_user
from vmmlab.course.model import Course


def write_folders(
    course: Course, labs: Iterable[str] | None, names: Sequence[str], folder: Path
) -> list[Path]:
    """Write mutants as FOLDER/ID/labN/FILE, submissions for `vmmlab grade`.

    Args:
        course: the whole kit.
        labs: only those of these labs.
        names: only these, as for `of_names`.
        folder: where; a folder of a mutant that is there must have no other files.

    Returns:
        The folders, one for each mutant.

    Raises:
        CourseError: a mutant no longer applies to the reference.
        UsageError: there is no such lab or mutant, or a file cannot be written.
    """
    made: list[Path] = []
    for mutant in of_names(load(course, labs), names):
        place = folder / mutant.id
        for name, data in apply(course, mutant).items():
            write_for_user(place / name, data)
        made.append(place)
    return made
