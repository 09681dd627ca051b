"""Checks that a message leads to the place to change: it names the function, or a line of it.

Only words are compared: the text that a student reads with the names and lines that the mutant
replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from vmmlab.author.mutants.apply import part, replaced
from vmmlab.author.mutants.model import Edit, Mutant
from vmmlab.course.model import Course
from vmmlab.course.reference import reference_text

Named = Literal["line", "function", ""]

_CALLED: Final[Mapping[str, str]] = {"cpuinit_start": "trampoline"}
"""Routines that the handouts call by another name."""


@dataclass(frozen=True, slots=True)
class Target:
    """The place of a mutant's mistake.

    Attributes:
        functions: the C functions and assembly routines that it changes.
        steps: the steps whose code it replaces.
        lines: file to the lines of its own code, from 1, as numbered in the mutant.
    """

    functions: frozenset[str]
    steps: frozenset[str]
    lines: Mapping[str, frozenset[int]]


def target(course: Course, mutant: Mutant) -> Target:
    """Return the place of a mutant's mistake.

    Raises:
        DoesNotApply: a part is not there.
    """
    texts: dict[str, str] = {}
    spans: dict[str, list[tuple[int, int]]] = {}
    functions: set[str] = set()
    for edit in mutant.edits:
        original = reference_text(course, edit.file)
        functions |= set(_functions(original, edit)) or set(_added(edit))
        text = texts.get(edit.file, original)
        texts[edit.file] = replaced(text, edit, who=mutant.id)
        begin, end = part(text, edit, who=mutant.id)
        longer = texts[edit.file].count("\n") - text.count("\n")
        before = spans.get(edit.file, [])
        moved = [(a, b) if b <= begin else (a + longer, b + longer) for a, b in before]
        spans[edit.file] = [*moved, (begin, end + longer)]
    return Target(
        frozenset(functions),
        frozenset(edit.name for edit in mutant.edits if edit.kind == "region"),
        {
            file: frozenset(line + 1 for begin, end in found for line in range(begin, end))
            for file, found in spans.items()
        },
    )


def _functions(text: str, edit: Edit) -> Iterator[str]:
    """Yield the functions of the reference that an edit changes; in assembly, `.globl` routines."""
    if edit.kind == "function":
        yield edit.name
        return
    begin, end = part(text, edit)
    head, now = _head(edit), ""
    for number, line in enumerate(text.split("\n")):
        found = head.match(line)
        now = found[1] if found else "" if line == "}" else now
        if begin <= number < end and now:
            yield now


def _added(edit: Edit) -> list[str]:
    """Return the functions of which an edit consists: a region outside of all functions."""
    found = map(_head(edit).match, edit.code.split("\n"))
    return [one[1] for one in found if one]


def _head(edit: Edit) -> re.Pattern[str]:
    """Return what the first line of a function looks like, with its name."""
    return re.compile(r"\s*\.globl\s+(\w+)" if edit.file.endswith(".S") else r"(\w+) \([^;]*$")


def named(where: Target, message: str) -> Named:
    """Return how exactly a message names the place to change: by line, by function, or not at all.

    Args:
        where: the place of the mistake.
        message: the text that a student reads.
    """
    for file, line in re.findall(r"([\w./]+\.[cS]):(\d+)", message):
        if int(line) in where.lines.get(file, ()):
            return "line"
    if any(f"TODO({step})" in message for step in where.steps):
        return "line"
    words = set(re.findall(r"\w+", message))
    names = {*where.functions, *(_CALLED[name] for name in where.functions & _CALLED.keys())}
    return "function" if words & names else ""
