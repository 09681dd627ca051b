"""Notices about slow or unusual work, passed to a listener as they occur.

The work says what it does; a command, or a test run, listens and writes it where its reader looks.
If nothing listens, a remark is lost: nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vmmlab.base.message import Text

_listeners: list[Callable[[Text], None]] = []


@contextmanager
def listening(listener: Callable[[Text], None]) -> Iterator[None]:
    """Give every remark to `listener`, in the thread that makes it, until the block is left."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def notify(text: Text) -> None:
    """Make a remark."""
    for listener in tuple(_listeners):
        listener(text)
