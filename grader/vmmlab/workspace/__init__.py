"""A student's workspace: makes, fills and recognises one. Does not know grading."""
