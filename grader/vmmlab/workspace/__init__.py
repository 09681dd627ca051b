"""A student's workspace."""
