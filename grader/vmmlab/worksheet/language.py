"""Shows what a worksheet says in the language that the student's notebook is written in."""

from __future__ import annotations

from functools import cache

from vmmlab.i18n.translate import Reader, known
from vmmlab.worksheet.numbers import Student


def reader_for(who: Student | None) -> Reader:
    """What shows texts to `who`; in English if nobody is named."""
    return _reader(known(who.lang) if who is not None else "en")


@cache
def _reader(language: str) -> Reader:
    return Reader(language)  # reads its catalog once, when the first text is shown
