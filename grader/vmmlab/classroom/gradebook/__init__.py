"""Puts lab scores into nbgrader's gradebook, beside the scores of the worksheets.

One direction: report.json -> marks -> grades, comments and a notebook to review them in. What a
person enters in nbgrader is never overwritten. Nothing here builds, boots or runs a student's work.
"""

from vmmlab.classroom.gradebook.sync import Options, Result, run

__all__ = ["Options", "Result", "run"]
