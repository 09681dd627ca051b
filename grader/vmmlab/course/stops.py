"""Where a student's files stop at a step that is still to be written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vmmlab.course.model import Lab, Step

_DEFINITION: Final = re.compile(
    rb"(?!(?:if|else|for|while|do|switch|return|asm)\b)(?:\w+[ *]+)*([A-Za-z_]\w*) ?\([^;]*$"
)
"""The first line of a function, at the left margin as in the given files; statements that are not
indented begin with a keyword."""


def open_steps(lab: Lab, files: Mapping[str, bytes]) -> Iterator[tuple[Step, int]]:
    """Yield the steps at which the student's files still stop, each with the line of the stop."""
    for step in lab.steps:
        line = stop_of(step, files)
        if line is not None:
            yield step, line


def stop_of(step: Step, files: Mapping[str, bytes]) -> int | None:
    """Return the line, from 1, of the vmm_todo or VMM_TODO of a step; None if there is none."""
    c, assembly = re.escape(step.id), re.escape(step.id.replace(".", "_"))
    # Not in a comment: the markup of the reference contains such lines.
    stop = re.compile(
        rf"""^(?!\s*\*).*(vmm_todo\s*\(\s*"{c}"|VMM_TODO\w*\s*\(\s*{assembly}\s*\))""".encode()
    )
    for number, line in enumerate(files.get(step.file, b"").split(b"\n"), 1):
        if stop.search(line):
            return number
    return None


def function_of(step: Step, files: Mapping[str, bytes]) -> str:
    """Return the function that the stop of a step is in; the step's own if it has no stop.

    A step may have several functions to write. Labels of assembly are parts of the step's own.
    """
    stop = stop_of(step, files)
    if stop is None or not step.file.endswith(".c"):
        return step.function
    before = files[step.file].split(b"\n")[: stop - 1]
    names = (found for line in reversed(before) if (found := _DEFINITION.match(line)))
    first = next(names, None)
    return first[1].decode() if first else step.function


def is_written_in(function: str, text: bytes) -> bool:
    """Whether a function of C stands in the text of a file."""
    found = (_DEFINITION.match(line) for line in text.split(b"\n"))
    return any(one is not None and one[1].decode() == function for one in found)


def place_of(step: Step, files: Mapping[str, bytes]) -> int | None:
    """Return the line to go to for a step: of its stop, or else of its last TODO comment.

    A step may have an earlier TODO comment, for helper functions.
    """
    stop = stop_of(step, files)
    if stop is not None:
        return stop
    mark = f"TODO({step.id})".encode()
    lines = files.get(step.file, b"").split(b"\n")
    return max((number for number, line in enumerate(lines, 1) if mark in line), default=None)
