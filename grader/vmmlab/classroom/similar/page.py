"""The page that shows pairs side by side; self-contained, and without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup, escape

from vmmlab.base.message import msg
from vmmlab.base.text import clean
from vmmlab.classroom.similar.model import Alike, Side
from vmmlab.i18n.translate import Reader
from vmmlab.report.pages import templates

_FOLDER: Final = Path(__file__).with_name("templates")
_LONGEST: Final = 200_000
"""Characters of a text that are shown."""


def page(pairs: Sequence[Alike], sources: int, say: Reader) -> str:
    """Return the page.

    Args:
        pairs: those that are alike, the most alike first.
        sources: how many texts were compared.
        say: the reader's language.
    """
    template = templates(_FOLDER).get_template("similar.html.j2")
    return template.render(lang=say.language, words=_words(len(pairs), sources, say), pairs=pairs,
                           shown=_shown)  # fmt: skip


def _words(count: int, sources: int, say: Reader) -> dict[str, Any]:
    return {
        "title": say(msg("Submissions that are alike")),
        "what": say(
            msg(
                "{sources} texts were compared, {count} pairs are alike. Names and comments do not "
                "count, and neither does what the starter has.",
                sources=sources,
                count=count,
            )
        ),
        "warning": say(
            msg(
                "This is a place to look, not a verdict: a contract leaves few ways to write a "
                "short function. Read both before you say anything."
            )
        ),
        "file": say(msg("file")),
        "share": say(msg("of its own code")),
        "none": say(msg("No two are alike.")),
    }


def _shown(side: Side) -> Markup:
    """Return a text with the passages marked that the other one has too."""
    return Markup("").join(_pieces(side))


def _pieces(side: Side) -> Iterator[Markup]:
    at, end_of_all = 0, min(len(side.code), _LONGEST)
    for start, end in sorted(side.marked):
        start, end = max(start, at), min(end, end_of_all)
        if start >= end:
            continue
        yield escape(clean(side.code[at:start], tabs=True))
        yield Markup("<mark>{}</mark>").format(clean(side.code[start:end], tabs=True))
        at = end
    yield escape(clean(side.code[at:end_of_all], tabs=True))
