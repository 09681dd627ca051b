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

from nbgrader.converters import Autograde
from nbgrader.preprocessors import Execute
from traitlets import Unicode

STUB: Final = "# YOUR CODE HERE"


class ExecuteForStudent(Execute):  # type: ignore[misc]
    """Runs a submitted notebook with VMMLAB_STUDENT naming whoever handed it in.

    The name is nbgrader's, from the folder in submitted/; nothing in the submission changes it.
    """

    cohort = Unicode("dev", help="the name of the class").tag(config=True)

    @contextmanager
    def setup_kernel(self, **more: Any) -> Iterator[None]:
        """Start the kernel with the student's environment."""
        student = self.resources["nbgrader"]["student"]
        env = {**os.environ, "VMMLAB_STUDENT": student, "VMMLAB_COHORT": self.cohort}
        with super().setup_kernel(**more, env=env):
            yield


def configure(config: Any, cohort: str = "dev") -> None:
    """Fill in a course's nbgrader configuration.

    Args:
        config: what `get_config ()` returned.
        cohort: the name of the class; students set VMMLAB_COHORT to the same.
    """
    config.Autograde.autograde_preprocessors = [
        ExecuteForStudent if one is Execute else one
        for one in Autograde.autograde_preprocessors.default()
    ]
    config.ExecuteForStudent.cohort = cohort
    # nbgrader's own stub raises, and then nobody can run a worksheet from top to bottom.
    config.ClearSolutions.code_stub = {"python": STUB}
