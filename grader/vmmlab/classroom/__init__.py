"""A whole class: scores and worksheets in nbgrader's gradebook."""
