"""Errors, messages, files, text and other basics. Knows nothing of labs."""
