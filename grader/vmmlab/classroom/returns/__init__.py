"""Brings grades back to learning platforms: Moodle's grading worksheet, Canvas' gradebook."""
