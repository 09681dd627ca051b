"""Whose work a command is about: the reference solution, one's own workspace, another folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.course.submission import Submission, take
from vmmlab.workspace.handin import unpack
from vmmlab.workspace.model import Workspace

REFERENCE: Final = "reference"
"""The name of the reference solution, in place of a folder."""


@dataclass(frozen=True, slots=True)
class Source:
    """Whose work it is: the reference solution, the reader's own workspace, or another person's.

    Attributes:
        name: a folder, an archive, or `REFERENCE`.
        here: the workspace that the reader is in.
    """

    name: str
    here: Workspace | None = None

    @property
    def is_reference(self) -> bool:
        """Whether it is the reference solution."""
        return self.name == REFERENCE

    @property
    def own(self) -> Workspace | None:
        """The workspace that the reader is in, if `name` means that one and it is no copy."""
        if self.is_reference or self.here is None or self.here.copied:
            return None
        return self.here if Path(self.name).resolve() == self.here.root else None

    @property
    def trusted(self) -> bool:
        """Whether it may run without a sandbox: the reference and one's own work may."""
        return self.is_reference or self.own is not None

    def cohort(self, course: Course, name: str | None = None) -> Cohort:
        """Return its cohort: `name` if given, else its workspace's, else the course's.

        Raises:
            UsageError: `name` cannot be a cohort's.
        """
        if name is None and (own := self.own) is not None:
            return own.cohort
        return Cohort.derive(course.cohort if name is None else name)

    def take(self, labs: Sequence[str], course: Course) -> Submission:
        """Return its files for `labs`.

        Raises: as for `vmmlab.course.submission.take`, `vmmlab.workspace.handin.unpack` and
            `vmmlab.course.reference.reference`.
        """
        if self.is_reference:
            return reference(course, labs)
        path = Path(self.name)
        if path.is_file():
            return unpack(path, labs, course)
        return take(path, labs, course, own=self.own is not None)
