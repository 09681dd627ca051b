"""Keeps nbgrader's log off the terminal, and finds in it the one line that a person can use."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tornado.log import app_log  # nbgrader's database writes there

from vmmlab.base.text import clean_line

_ERROR: Final = re.compile(r"[\w.]*(Error|Exception): ")
_SHOWN: Final = 300


class _Kept(logging.Logger):
    """Keeps what is logged."""

    def __init__(self, said: list[str]) -> None:
        super().__init__("vmmlab.nbgrader")
        self._said = said

    def handle(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self._said.append(record.getMessage())


@contextlib.contextmanager
def quiet(app: Any = None) -> Iterator[list[str]]:
    """Print nothing of what nbgrader logs; yield what an application has logged, as it comes.

    Args:
        app: one of nbgrader's applications; None: only its database is meant.
    """
    said: list[str] = []
    disabled, app_log.disabled = app_log.disabled, True
    log = app.log if app is not None else None
    if app is not None:
        app.log = _Kept(said)
    try:
        yield said
    finally:
        app_log.disabled = disabled
        if app is not None:
            app.log = log


def reason(error: Exception, said: Sequence[str]) -> str:
    """Return in one line why nbgrader failed; its own message may only point at its log."""
    found = [line for text in said for line in text.splitlines() if _ERROR.match(line)]
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return clean_line(found[-1] if found else first, _SHOWN)
