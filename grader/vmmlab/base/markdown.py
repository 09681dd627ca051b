"""Markdown pages: their headings, and their text outside code blocks.

Supports only what the handouts and the book use: fences with backquotes or tildes, headings with #.
"""

from __future__ import annotations

import re
from typing import Final

FENCE: Final = re.compile(r"( *)(```+|~~~+)(.*)")
"""A line that begins or ends a code block: indentation, marks, and the text behind them."""


def outside_fences(text: str) -> list[str]:
    """Return the lines of a page that are not in a code block."""
    lines: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = FENCE.fullmatch(line)
        if mark and not fence:
            fence = mark.group(2)
        elif mark and mark.group(2).startswith(fence) and not mark.group(3).strip():
            fence = ""
        elif not fence:
            lines.append(line)
    return lines


def headings(text: str) -> list[tuple[int, str]]:
    """Return level and text of each heading, in order."""
    found = (re.fullmatch(r"(#+) +(.+?) *", line) for line in outside_fences(text))
    return [(len(one.group(1)), one.group(2)) for one in found if one]
