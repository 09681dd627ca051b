"""Makes a workspace with everything in it, the prebuilt labs included."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vmmlab.course.model import Course
from vmmlab.images import prebuilt
from vmmlab.workspace import given, update
from vmmlab.workspace.model import Workspace
from vmmlab.workspace.new import Answers, fill, new, remember


def new_workspace(dest: Path, course: Course, answers: Answers) -> Path:
    """Make a workspace in `dest`, whole or not at all, and return its path.

    Args:
        dest: a folder that does not exist or is empty; `~` is understood.
        course: where everything comes from; a release will do.
        answers: the student and the cohort.

    Raises:
        UsageError: `dest` is in use, or the course is a release for other cohorts.
        CourseError: the course's template or reference is at fault.
        InfraError: the workspace cannot be written, or the prebuilt labs cannot be built.
    """
    return new(dest, course, answers, lambda workspace: _add_prebuilt(workspace, course))


def populate(directory: Path, course: Course) -> None:
    """Add what a rendered template lacks; the hook of plain cookiecutter calls this.

    Args:
        directory: the folder that cookiecutter has just made.
        course: where everything comes from.

    Raises:
        UsageError: the course is a release for other cohorts.
        CourseError: the reference or its markup is at fault.
        InfraError: the prebuilt labs cannot be built.
    """
    _add_prebuilt(fill(directory, course), course)
    given.write_listing(directory)
    with suppress(OSError, RuntimeError):
        remember(directory, course)


def update_workspace(here: Workspace, course: Course, *, try_only: bool = False) -> update.Plan:
    """Bring the given files of a course into a workspace; return what was done.

    Args:
        here: the workspace.
        course: a newer release, or the whole kit.
        try_only: change nothing, and return what would be done.

    Raises: as for `vmmlab.workspace.update.update`.
    """

    def complete(made: Workspace) -> None:
        _add_prebuilt(made, course)

    if try_only:
        return update.plan(here, course, complete)
    return update.update(here, course, complete)


def _add_prebuilt(workspace: Workspace, course: Course) -> None:
    prebuilt.place(course, workspace.cohort, workspace.prebuilt)
