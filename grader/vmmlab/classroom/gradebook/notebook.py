"""Makes the notebook for the review of a lab's marks, from which nbgrader also makes the feedback.

nbgrader's formgrader shows nothing without a notebook in autograded/STUDENT/ASSIGNMENT/. This one
has a code cell of comments for each mark: nbgrader counts such a cell below its maximum as a failed
test, and escapes its source and output. Each cell is a grade cell and a solution cell, because only
such cells have a field for comments.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

import nbformat
import nbformat.v4
from nbgrader.nbgraderformat import MetadataValidator
from rich.console import Console
from rich.text import Text

from vmmlab.base.message import msg
from vmmlab.base.text import cells
from vmmlab.classroom.gradebook.marks import Mark
from vmmlab.i18n.translate import Reader

_nb: Any = nbformat  # nbformat has no types
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
) -> str:
    """Return the notebook as text with a final newline; it depends on the arguments alone.

    Args:
        title: the heading.
        facts: lines below the heading: names and values.
        marks: the cells, in this order.
        compiler: the compiler's messages, if the code does not build.
        say: the language of the headings, in which the rest is already; else English.
    """
    say = say or Reader()
    head = [f"# {markdown(title)}", ""]
    colon = say.label(": ")
    head += [f"- {markdown(name)}{colon}{markdown(value)}" for name, value in facts.items()]
    parts = [_nb.v4.new_markdown_cell("\n".join(head), id="head", metadata=_fixed())]
    if compiler:
        parts.append(
            _code("compiler", f"# {say(msg('Messages of the compiler'))}", compiler, _fixed())
        )
    for number, mark in enumerate(marks, start=1):
        source = _wrapped(mark.title) or [""]
        parts.append(
            _code(
                f"mark-{number}",
                "\n".join(f"# {line}" for line in (mark.check or mark.cell, *source)),
                mark.lines,
                {**_fixed(), "nbgrader": _nbgrader(mark)},
            )
        )
    book = _nb.v4.new_notebook(
        cells=parts,
        metadata={"kernelspec": dict(_KERNEL), "language_info": {"name": "python"}},
    )
    written: str = _nb.writes(book)
    return written.rstrip("\n") + "\n"


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


def _code(cell_id: str, source: str, lines: Sequence[str], metadata: dict[str, Any]) -> Any:
    wrapped: list[str] = []
    for line in lines:
        wrapped += _wrapped(line, " " * 10) or [""]
    shown = _nb.v4.new_output("stream", name="stdout", text="\n".join(wrapped) + "\n")
    return _nb.v4.new_code_cell(
        source, id=cell_id, metadata=metadata, outputs=[shown] if lines else []
    )


def _wrapped(line: str, indent: str = "") -> list[str]:
    """Break a line into pieces of at most `_WIDTH` columns; a Japanese letter takes two.

    It is broken between words, unless it has Japanese letters: such sentences have no spaces.
    """
    if cells(line) == len(line):
        return textwrap.wrap(
            line,
            _WIDTH,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    rest = Text(line).wrap(Console(), _WIDTH - len(indent))
    first, *others = (piece.plain.rstrip() for piece in rest)
    return [first, *(indent + other for other in others)]


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
