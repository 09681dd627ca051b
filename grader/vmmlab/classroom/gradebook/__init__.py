"""Writes lab scores to nbgrader's gradebook, next to the scores of the worksheets.

Data flow in one direction: report.json -> marks -> grades, comments and a notebook for the review.
What a person enters in nbgrader is never overwritten. Nothing here builds or runs students' work.
"""

from vmmlab.classroom.gradebook.sync import Options, Result, run

__all__ = ["Options", "Result", "run"]
