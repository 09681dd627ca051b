"""The language of a worksheet's texts: that of the student's notebook."""

from __future__ import annotations

from functools import cache

from vmmlab.base.errors import UsageError
from vmmlab.i18n.translate import ENGLISH, Reader, error_text, known

_notebook = ENGLISH


@cache
def reader(language: str) -> Reader:
    """Return the reader of a language; it reads its catalog once, when the first text is shown."""
    return Reader(known(language))


def begin(language: str) -> None:
    """Show this notebook's errors in `language` from now on: a kernel runs one notebook."""
    global _notebook
    _notebook = language


class WorksheetError(UsageError):
    """A tool was used wrongly; the notebook shows it in its own language."""

    def __str__(self) -> str:
        return error_text(self, reader(_notebook))
