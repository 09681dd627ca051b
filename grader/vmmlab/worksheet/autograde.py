"""What nbgrader must be told so that worksheets are graded with each student's own numbers.

In nbgrader_config.py:

    from vmmlab.worksheet.autograde import configure

    c = get_config ()
    configure (c)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from traitlets import Unicode

STUB: Final = "# YOUR CODE HERE"


class NameCohort(NbGraderPreprocessor):  # type: ignore[misc]
    """Writes the class's name into a worksheet that is about to be released."""

    cohort = Unicode("dev", help="the name of the class").tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Change the one call that says whose numbers these are."""
        for cell in nb.cells:
            if cell.cell_type == "code":
                named = f"worksheet.student(os.environ, cohort={self.cohort!r}"
                cell.source = cell.source.replace("worksheet.student(os.environ", named)
        return nb, resources


class ExecuteForStudent(Execute):  # type: ignore[misc]
    """Runs a submitted notebook with VMMLAB_STUDENT naming whoever handed it in.

    The name is nbgrader's, from the folder in submitted/; nothing in the submission changes it.
    """

    @contextmanager
    def setup_kernel(self, **more: Any) -> Iterator[None]:
        """Start the kernel with the student's environment."""
        env = {**os.environ, "VMMLAB_STUDENT": self.resources["nbgrader"]["student"]}
        with super().setup_kernel(**more, env=env):
            yield


def configure(config: Any, cohort: str = "dev") -> None:
    """Fill in a course's nbgrader configuration.

    Args:
        config: what `get_config ()` returned.
        cohort: the name of the class. Another name gives everyone other numbers; do not change it
            between releasing a worksheet and grading it.
    """
    config.NameCohort.cohort = cohort
    config.GenerateAssignment.preprocessors = [
        NameCohort,
        *GenerateAssignment.preprocessors.default(),
    ]
    config.Autograde.autograde_preprocessors = [
        ExecuteForStudent if one is Execute else one
        for one in Autograde.autograde_preprocessors.default()
    ]
    # nbgrader's own stub raises, and then nobody can run a worksheet from top to bottom.
    config.ClearSolutions.code_stub = {"python": STUB}
