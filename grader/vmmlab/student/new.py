"""Makes a workspace with everything in it, the prebuilt labs included."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vmmlab.course.model import Course
from vmmlab.images import prebuilt
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
    with suppress(OSError, RuntimeError):
        remember(directory, course)


def _add_prebuilt(workspace: Workspace, course: Course) -> None:
    prebuilt.place(course, workspace.cohort, workspace.prebuilt)
