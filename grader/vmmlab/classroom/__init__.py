"""A whole class: nbgrader's gradebook."""
