"""nbgrader's assignment that holds the scores of a lab's checks."""

from __future__ import annotations

from dataclasses import dataclass

from vmmlab.course.model import ARCHES
from vmmlab.worksheet.formgrader import CHECKS


@dataclass(frozen=True, slots=True)
class Lesson:
    """The place for the marks of a lab: an assignment with one notebook.

    It is not the assignment of the worksheet: `nbgrader autograde` deletes from autograded/ what it
    did not make, and gives 0 for each notebook that is not in submitted/.
    """

    lab: str
    arch: str = ARCHES[0]

    @property
    def assignment(self) -> str:
        """nbgrader's name of the assignment, as lab3-checks or lab3-i386-checks."""
        return f"{self.notebook}{CHECKS}"

    @property
    def notebook(self) -> str:
        """nbgrader's name of the notebook, as lab3 or lab3-i386."""
        return self.lab if self.arch == ARCHES[0] else f"{self.lab}-{self.arch}"
