"""The language of a worksheet's texts: that of the student's notebook."""

from __future__ import annotations

from functools import cache

from vmmlab.i18n.translate import Reader, known
from vmmlab.worksheet.numbers import Student


def reader_for(who: Student | None) -> Reader:
    """Return the reader of a student; an English one for None."""
    return _reader(known(who.lang) if who is not None else "en")


@cache
def _reader(language: str) -> Reader:
    return Reader(language)  # it reads its catalog once, when the first text is shown
