"""Makes the notebook for the review of a lab's marks, from which nbgrader also makes the feedback.

nbgrader's formgrader shows nothing without a notebook in autograded/STUDENT/ASSIGNMENT/. This one
has a code cell of comments for each mark: nbgrader counts such a cell below its maximum as a failed
test, and escapes its source and output. Each cell is a grade cell and a solution cell, because only
such cells have a field for comments.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from nbgrader.nbgraderformat import MetadataValidator
from rich.console import Console
from rich.text import Text

from vmmlab.base.message import msg
from vmmlab.base.text import cells, clean
from vmmlab.classroom.gradebook.marks import Mark
from vmmlab.i18n.translate import Reader

_MINOR: Final = 5
_SOURCE_LINES: Final = 2000
_WIDTH: Final = 88
_CODE: Final = re.compile(r"(`[^`]+`)")
_DOLLAR: Final = re.compile(r"[^\s`]*\$[^\s`]*")
_SPECIAL: Final = re.compile(r"[\\`<\[]|&(?=[#\w])|(?<!\w)[*_~]+(?=\S)|(?<=\S)[*_~]+(?!\w)")
_KERNEL: Final = {"name": "python3", "display_name": "Python 3", "language": "python"}


def text(
    title: str,
    facts: Mapping[str, str],
    marks: Sequence[Mark],
    compiler: Sequence[str] = (),
    say: Reader | None = None,
    sources: Mapping[str, str] | None = None,
) -> str:
    """Return the notebook as text with a final newline; it depends on the arguments alone.

    Args:
        title: the heading.
        facts: lines below the heading: names and values.
        marks: the cells, in this order.
        compiler: the compiler's messages, if the code does not build.
        say: the language of the headings, in which the rest is already; else English.
        sources: the files that were handed in, by name.
    """
    say = say or Reader()
    head = [f"# {markdown(title)}", ""]
    colon = say.label(": ")
    head += [f"- {markdown(name)}{colon}{markdown(value)}" for name, value in facts.items()]
    parts = [_text_cell("head", "\n".join(head))]
    if compiler:
        parts.append(
            _code("compiler", f"# {say(msg('Messages of the compiler'))}", compiler, _fixed())
        )
    for number, mark in enumerate(marks, start=1):
        source = _wrapped(mark.title) or ("",)
        parts.append(
            _code(
                f"mark-{number}",
                "\n".join(f"# {line}" for line in (mark.check or mark.cell, *source)),
                mark.lines,
                {**_fixed(), "nbgrader": _nbgrader(mark)},
            )
        )
    for number, (name, code) in enumerate((sources or {}).items(), start=1):
        parts.append(_text_cell(f"source-{number}", f"## {markdown(name)}\n\n{_numbered(code)}"))
    rest = {
        "metadata": {"kernelspec": dict(_KERNEL), "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": _MINOR,
    }
    # nbformat's own functions validate each cell, which would take most of the time of a sync.
    written = ",\n".join(_json(part) for part in parts)
    return f'{{"cells": [\n{written}\n],\n{_json(rest)[1:]}\n'


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def markdown(plain: str) -> str:
    """Escape a text so that Markdown shows it as it is: no HTML, links, formulas or emphasis.

    Code in backticks stays code. As little as possible is changed, because nbgrader's formgrader
    shows comments unrendered.
    """
    # A word with a dollar sign, as $0x8, becomes code: MathJax would look for the next sign.
    parts = _CODE.split(plain)
    parts[::2] = [_DOLLAR.sub(r"`\g<0>`", part) for part in parts[::2]]
    parts = _CODE.split("".join(parts))
    parts[::2] = [_SPECIAL.sub(_escaped, part) for part in parts[::2]]
    return "".join(parts)


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"\\{char}" for char in match[0])


def _code(
    cell_id: str, source: str, lines: Sequence[str], metadata: dict[str, Any]
) -> dict[str, Any]:
    wrapped: list[str] = []
    for line in lines:
        wrapped += _wrapped(line, " " * 10) or ("",)
    shown = {"name": "stdout", "output_type": "stream", "text": _lines("\n".join(wrapped) + "\n")}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": cell_id,
        "metadata": metadata,
        "outputs": [shown] if lines else [],
        "source": _lines(source),
    }


def _text_cell(cell_id: str, source: str) -> dict[str, Any]:
    return {
        "cell_type": "markdown",
        "id": cell_id,
        "metadata": _fixed(),
        "source": _lines(source),
    }


def _lines(text: str) -> list[str]:
    """Return a text as the list of lines that the format wants."""
    return text.splitlines(keepends=True)


def _numbered(code: str) -> str:
    """Return a file with numbers of lines, as a block that Markdown shows as it is."""
    lines = clean(code).splitlines() or [""]
    if len(lines) > _SOURCE_LINES:
        lines = [*lines[:_SOURCE_LINES], "..."]
    width = len(str(len(lines)))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    shown = "\n".join(f"{number:{width}}  {line}" for number, line in enumerate(lines, start=1))
    return f"{fence}text\n{shown}\n{fence}"


@lru_cache(maxsize=4096)  # the students of a class have many lines in common
def _wrapped(line: str, indent: str = "") -> tuple[str, ...]:
    """Break a line into pieces of at most `_WIDTH` columns; a Japanese letter takes two.

    It is broken between words, unless it has Japanese letters: such sentences have no spaces.
    """
    if cells(line) == len(line):
        return tuple(
            textwrap.wrap(
                line,
                _WIDTH,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    rest = Text(line).wrap(Console(), _WIDTH - len(indent))
    first, *others = (piece.plain.rstrip() for piece in rest)
    return (first, *(indent + other for other in others))


def _fixed() -> dict[str, Any]:
    """Return new metadata for a cell that is not to be edited."""
    return {"editable": False, "deletable": False}


def _nbgrader(mark: Mark) -> dict[str, Any]:
    return {
        "schema_version": MetadataValidator.schema_version,
        "grade_id": mark.cell,
        "grade": True,
        "solution": True,
        "task": False,
        "locked": False,
        "points": mark.max,
        "cell_type": "code",
    }
