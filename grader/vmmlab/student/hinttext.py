"""Shows hints on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from rich.padding import Padding
from rich.text import Text as RichText

from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean_line
from vmmlab.i18n.translate import Reader
from vmmlab.report.console import console
from vmmlab.report.wrapping import text_of
from vmmlab.student.hint import Hints, Shown

_WIDTHS: Final = (40, 100)


def render(shown: Shown, say: Reader, *, width: int, color: bool) -> str:
    """Return hints as text with line ends.

    Args:
        shown: what is shown.
        say: the reader's language, with the texts of the lab.
        width: columns, limited to a readable range.
        color: whether to use ANSI colours.
    """
    out = io.StringIO()
    to = console(out, min(max(width, _WIDTHS[0]), _WIDTHS[1]), color)
    hints = shown.hints
    title = clean_line(say(hints.check.title))
    to.print(RichText(hints.check.id, "bold"))
    to.print(Padding(text_of(title), (0, 0, 0, 2)))
    for note in _notes(hints):
        to.print(text_of(clean_line(say(note)), "dim"))
    for number in shown.numbers:
        of = msg("Hint {number} of {count}", number=number, count=len(hints.levels))
        to.print()
        to.print(text_of(say(of), "bold"))
        to.print(Padding(text_of(clean_line(say(hints.levels[number - 1]))), (0, 0, 0, 2)))
    to.print()
    to.print(text_of(say(_next(shown)), "dim"), soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))


def _notes(hints: Hints) -> Iterator[Text]:
    if hints.waiting:
        yield msg("{check} waits for this one.", check=hints.waiting)
    if hints.changed:
        yield msg("note: changed since this grading: {files}", files=", ".join(hints.changed))


def _next(shown: Shown) -> Text:
    """Return what to do if this was not enough."""
    check, levels = shown.hints.check, shown.hints.levels
    show = f"vmmlab show {check.id.partition('.')[0]}"
    if not levels:
        return msg("There is no hint on this one. {show} shows what each CPU did.", show=show)
    if shown.asked < len(levels):
        return msg("The next hint: {command}", command=f"vmmlab hint {check.id}")
    return msg("These were all. {show} shows what each CPU did, step by step.", show=show)
