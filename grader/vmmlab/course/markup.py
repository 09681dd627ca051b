"""The markup of a reference solution: which parts a student writes, and the starter made of it.

A file in reference/labN/ has one or more regions, which do not nest::

    /* BEGIN SOLUTION lab3.1
     * TODO(lab3.1):
     * More about it, one or more lines (optional).
     * STARTER: a line of code that the starter has instead (optional in .c)
     *     further lines of it
     */
    ... the solution ...
    /* END SOLUTION */

In the starter a region becomes the TODO text as a comment, then the STARTER lines with the region's
indentation or, in a .c file without them, `vmm_todo ("lab3.1");`. An empty `STARTER:` means no code
at all. A step may have several regions. Nothing behind `TODO(lab3.1):` stands for the step's title,
which `comments.with_titles` takes from course.yml. A region for a part of a step says which part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from vmmlab.base.errors import CourseError
from vmmlab.base.message import Text, msg
from vmmlab.course.ids import STEP_ID

_BEGIN: Final = re.compile(rf"([ \t]*)/\* BEGIN SOLUTION ({STEP_ID.pattern})[ \t]*")
_END: Final = re.compile(r"[ \t]*/\* END SOLUTION \*/[ \t]*")
_LOOKS_LIKE: Final = re.compile(r"\b(BEGIN|END)[ \t_]*SOLUTION\b", re.IGNORECASE)
_COMMENT_LINE: Final = re.compile(r"[ \t]*\*(?:[ \t](.*)|)")
_COMMENT_END: Final = re.compile(r"[ \t]*\*/[ \t]*")
_TODO: Final = re.compile(r"TODO\((.*?)\):.*")
_STARTER: Final = re.compile(r"STARTER:(?: (.*)|[ \t]*)")


@dataclass(frozen=True, slots=True)
class Region:
    """One marked region of a reference file.

    Attributes:
        step: the step it belongs to, such as `lab3.1`.
        indent: white space before its first line.
        todo: lines of the TODO text; the first one begins with `TODO(lab3.1):`, and is no longer
            than that if it stands for the step's title.
        starter: lines of code for the starter; None if the markup has none.
        solution: the lines of the solution.
        begin: number of the line with BEGIN SOLUTION, from 1.
        end: number of the line with END SOLUTION.
    """

    step: str
    indent: str
    todo: tuple[str, ...]
    starter: tuple[str, ...] | None
    solution: tuple[str, ...]
    begin: int
    end: int

    @property
    def titled(self) -> bool:
        """Whether its TODO stands for the title of the step."""
        return self.todo[0] == f"TODO({self.step}):"


def regions(text: str, *, path: str) -> tuple[Region, ...]:
    """Return the marked regions of `text` in order.

    Args:
        text: a reference file.
        path: its name for messages; the suffix tells C from assembly.

    Raises:
        CourseError: the markup is malformed; the message names the file and the line.
    """
    return tuple(part for part in _parts(text, path) if isinstance(part, Region))


def starter_text(text: str, *, path: str, keep: frozenset[str] = frozenset()) -> str:
    """Return the starter made of a reference file.

    Args:
        text: the reference file.
        path: its name for messages; the suffix tells C from assembly.
        keep: steps whose regions stay as the solution has them, without the markers.

    Raises:
        CourseError: the markup is malformed; the message names the file and the line.
    """
    lines: list[str] = []
    for part in _parts(text, path):
        if isinstance(part, str):
            lines.append(part)
        elif part.step in keep:
            lines.extend(part.solution)
        else:
            lines.extend(_starter_lines(part))
    return "\n".join(lines)


def _starter_lines(region: Region) -> Iterator[str]:
    indent = region.indent
    if len(region.todo) == 1:
        yield f"{indent}/* {region.todo[0]} */"
    else:
        yield f"{indent}/* {region.todo[0]}"
        for line in region.todo[1:]:
            yield f"{indent} * {line}".rstrip()
        yield f"{indent} */"
    code = region.starter if region.starter is not None else (f'vmm_todo ("{region.step}");',)
    for line in code:
        yield f"{indent}{line}" if line else ""


def _parts(text: str, path: str) -> Iterator[str | Region]:
    """Yield the lines outside of regions, and the regions, in order."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        if _BEGIN.fullmatch(line):
            region = _region(lines, at, path)
            yield region
            at = region.end
            continue
        if _END.fullmatch(line):
            _wrong(path, at, msg("END SOLUTION without a BEGIN SOLUTION before it."))
        if _LOOKS_LIKE.search(line):
            _wrong(
                path,
                at,
                msg("this looks like a marker, but is not a valid one."),
                expected=msg(
                    "/* BEGIN SOLUTION lab3.1   or   /* END SOLUTION */   alone on the line"
                ),
                found=line.strip(),
            )
        yield line
        at += 1


def _region(lines: list[str], begin: int, path: str) -> Region:
    opening = _BEGIN.fullmatch(lines[begin])
    assert opening is not None
    indent, step = opening.groups()
    todo, starter, body = _head(lines, begin, step, path)
    for at in range(body, len(lines)):
        if _END.fullmatch(lines[at]):
            if at == body:
                _wrong(path, begin, msg("the region of {step} holds no solution.", step=step))
            return Region(
                step, indent, todo, starter, tuple(lines[body:at]), begin=begin + 1, end=at + 1
            )
        if _BEGIN.fullmatch(lines[at]):
            _wrong(
                path,
                at,
                msg(
                    "BEGIN SOLUTION inside the region of {step} (line {begin}).",
                    step=step,
                    begin=begin + 1,
                ),
            )
        if _LOOKS_LIKE.search(lines[at]):
            _wrong(
                path,
                at,
                msg("this looks like a marker, but is not a valid one."),
                found=lines[at].strip(),
            )
    _wrong(
        path,
        begin,
        msg("the region of {step} has no end.", step=step),
        expected="/* END SOLUTION */",
    )


def _head(
    lines: list[str], begin: int, step: str, path: str
) -> tuple[tuple[str, ...], tuple[str, ...] | None, int]:
    """Read the comment that opens a region.

    Returns:
        The TODO text, the starter code (None if there is none), and the index of the next line.
    """
    todo: list[str] = []
    starter: list[str] | None = None
    for at in range(begin + 1, len(lines)):
        line = lines[at]
        if _COMMENT_END.fullmatch(line):
            if not todo:
                _wrong(
                    path,
                    begin,
                    msg("the region of {step} has no TODO text.", step=step),
                    f"TODO({step}): …",
                )
            if starter is None and path.endswith(".S"):
                _wrong(
                    path,
                    begin,
                    msg("the region of {step} needs STARTER lines in assembly.", step=step),
                )
            return tuple(todo), None if starter is None else tuple(starter), at + 1
        found = _COMMENT_LINE.fullmatch(line)
        if found is None or "*/" in line:
            _wrong(
                path,
                at,
                msg("the comment that opens the region of {step} has the wrong form.", step=step),
                expected=msg("' * TEXT', or ' */' alone on its line"),
                found=line.strip() or msg("an empty line"),
            )
        content = (found.group(1) or "").rstrip()
        code = _STARTER.fullmatch(content)
        marked = _TODO.fullmatch(content)
        if code is not None:
            starter = [] if starter is None else starter
            if code.group(1):
                starter.append(code.group(1))
        elif starter is not None:
            starter.append(content)
        elif marked is not None:
            if marked.group(1) != step:
                _wrong(path, at, msg("the TODO is of another step."), f"TODO({step})", content)
            todo.append(content)
        elif todo:
            todo.append(content)
        else:
            _wrong(
                path, at, msg("text before the TODO."), expected=f"TODO({step}): …", found=content
            )
    _wrong(path, begin, msg("the comment that opens the region of {step} has no end.", step=step))


def _wrong(path: str, at: int, message: Text, expected: Text = "", found: Text = "") -> NoReturn:
    raise CourseError(
        msg("{path}:{line}: {message}", path=path, line=at + 1, message=message),
        expected=expected,
        found=found,
    )
