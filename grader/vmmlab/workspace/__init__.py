"""A student's workspace: makes, fills and recognises one. Knows nothing of grading."""
