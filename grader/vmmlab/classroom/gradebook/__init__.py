"""Writes lab scores to nbgrader's gradebook, next to the scores of the worksheets.

Data flow in one direction: report.json -> marks -> grades, comments and a notebook for the review.
What a person enters in nbgrader is never overwritten. Nothing here builds or runs students' work.
"""

import vmmlab.classroom.gradebook.quick_import  # noqa: F401  before nbgrader
from vmmlab.classroom.gradebook.outcome import Options, Result
from vmmlab.classroom.gradebook.sync import run

__all__ = ["Options", "Result", "run"]
