"""Does a message lead to the place to change? It must name the function, or a line of it.

Only words are compared: what a student reads, against the names and lines that the mutant replaced.
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
"""What the handouts call a routine in words."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a mutant is wrong.

    Attributes:
        functions: the C functions and assembly routines that it changes.
        steps: the steps whose code it replaces.
        lines: file to the lines of its own code, from 1, as they are in the mutant.
    """

    functions: frozenset[str]
    steps: frozenset[str]
    lines: Mapping[str, frozenset[int]]


def target(course: Course, mutant: Mutant) -> Target:
    """Where a mutant is wrong.

    Raises:
        DoesNotApply: a part is not there.
    """
    texts: dict[str, str] = {}
    spans: dict[str, list[tuple[int, int]]] = {}
    functions: set[str] = set()
    for edit in mutant.edits:
        original = reference_text(course, edit.file)
        functions |= set(_functions(original, edit))
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
    """The functions of the reference that an edit changes: in assembly, what is `.globl`."""
    if edit.kind == "function":
        yield edit.name
        return
    begin, end = part(text, edit)
    head = re.compile(r"\s*\.globl\s+(\w+)" if edit.file.endswith(".S") else r"(\w+) \([^;]*$")
    now = ""
    for number, line in enumerate(text.split("\n")):
        found = head.match(line)
        now = found[1] if found else "" if line == "}" else now
        if begin <= number < end and now:
            yield now


def named(where: Target, message: str) -> Named:
    """What a message names of the place to change: a line of it, the function, or neither.

    Args:
        where: where the mistake is.
        message: what a student reads.
    """
    for file, line in re.findall(r"([\w./]+\.[cS]):(\d+)", message):
        if int(line) in where.lines.get(file, ()):
            return "line"
    if any(f"TODO({step})" in message for step in where.steps):
        return "line"
    words = set(re.findall(r"\w+", message))
    names = {*where.functions, *(_CALLED[name] for name in where.functions & _CALLED.keys())}
    return "function" if words & names else ""
