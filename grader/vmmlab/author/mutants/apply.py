"""Replaces named parts of the reference by a mutant's code. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from vmmlab.author.mutants.model import DoesNotApply, Edit, Mutant
from vmmlab.base.message import msg
from vmmlab.course.markup import regions, starter_text
from vmmlab.course.model import Course
from vmmlab.course.reference import reference_text

_BEGIN: Final = re.compile(r"BEGIN SOLUTION (\S+)")


def apply(course: Course, mutant: Mutant) -> dict[str, bytes]:
    """Return the files of the mutant's lab: the reference's, with the mutant's edits.

    Raises:
        DoesNotApply: a part is not there, or an edit changes nothing.
    """
    files = {path: reference_text(course, path) for path in course.lab(mutant.lab).files}
    for edit in mutant.edits:
        files[edit.file] = replaced(files[edit.file], edit, who=f"{mutant.source}: {mutant.id}")
    return {path: text.encode() for path, text in files.items()}


def steps_needed(course: Course, mutant: Mutant) -> frozenset[str]:
    """Return the steps that must be written for a mutant to show: up to its own and its check's.

    Raises:
        DoesNotApply: a part is not there.
    """
    lab = course.lab(mutant.lab)
    order = [step.id for step in lab.steps]
    used = {lab.every_check_of(mutant.arch)[mutant.check].step or order[0]}
    for edit in mutant.edits:
        text = reference_text(course, edit.file)
        begin, end = part(text, edit, who=mutant.id)
        used |= {edit.name} if edit.kind == "region" else set()
        used |= set(_BEGIN.findall("\n".join(text.split("\n")[begin:end])))
    return frozenset(order[: 1 + max(order.index(step) for step in used)])


def apply_early(course: Course, mutant: Mutant) -> dict[str, bytes]:
    """Return the files as `apply` does, with the later steps not written yet.

    Raises:
        DoesNotApply: a part is not there, or an edit changes nothing.
    """
    keep = steps_needed(course, mutant)
    files = apply(course, mutant)
    return {p: starter_text(t.decode(), path=p, keep=keep).encode() for p, t in files.items()}


def replaced(text: str, edit: Edit, *, who: str = "") -> str:
    """Return `text` with the named part replaced.

    Args:
        text: a file of the reference, with its markup.
        edit: what to replace.
        who: the mutant, for messages.

    Raises:
        DoesNotApply: the part is not there, or the edit changes nothing.
    """
    lines = text.split("\n")
    begin, end = part(text, edit, who=who)
    if _squeezed(lines[begin:end]) == _squeezed(edit.code.split("\n")):
        raise DoesNotApply(
            msg("{who}: this replacement changes nothing: {edit}.", who=who, edit=edit.title)
        )
    return "\n".join([*lines[:begin], *edit.code.rstrip("\n").split("\n"), *lines[end:]])


def part(text: str, edit: Edit, *, who: str = "") -> tuple[int, int]:
    """Return the first line of the named part, from 0, and the line after its last.

    Args:
        text: a file of the reference, with its markup.
        edit: what names the part.
        who: the mutant, for messages.

    Raises:
        DoesNotApply: the part is not there.
    """
    found = _PARTS[edit.kind](text.split("\n"), text, edit)
    if found is None:
        raise DoesNotApply(
            msg("{who}: the part to replace no longer exists: {edit}.", who=who, edit=edit.title)
        )
    return found


def _squeezed(lines: Iterable[str]) -> str:
    return "".join("".join(line.split()) for line in lines)


def _region(lines: Sequence[str], text: str, edit: Edit) -> tuple[int, int] | None:
    """Return the solution between the opening comment and END SOLUTION."""
    of_step = [one for one in regions(text, path=edit.file) if one.step == edit.name]
    if edit.nth > len(of_step):
        return None
    region = of_step[edit.nth - 1]
    return region.end - 1 - len(region.solution), region.end - 1


def _function(lines: Sequence[str], text: str, edit: Edit) -> tuple[int, int] | None:
    """Return a C function: from its return type to the closing brace in the first column."""
    head = re.search(rf"^{re.escape(edit.name)} \([^;{{}}]*\)\n\{{$", text, re.MULTILINE)
    if head is None:
        return None
    begin = text.count("\n", 0, head.start())
    end = lines.index("}", begin) + 1
    while begin and re.match(r"[A-Za-z_]", lines[begin - 1]):
        begin -= 1
    return begin, end


def _label(lines: Sequence[str], text: str, edit: Edit) -> tuple[int, int] | None:
    """Return assembly from a label to the next named label, marker or section."""
    ends = re.compile(r"[A-Za-z_][\w.$]*:|[ \t]*(/\* (BEGIN|END) SOLUTION|\.section|\.globl)")
    for at, line in enumerate(lines):
        if line.startswith(f"{edit.name}:"):
            rest = (n for n in range(at + 1, len(lines)) if ends.match(lines[n]))
            return at, next(rest, len(lines))
    return None


_PARTS: Final[Mapping[str, Callable[[Sequence[str], str, Edit], tuple[int, int] | None]]] = {
    "region": _region,
    "function": _function,
    "label": _label,
}
