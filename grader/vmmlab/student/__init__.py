"""The commands of a student: build, run, debug, and the pytest plugin."""
