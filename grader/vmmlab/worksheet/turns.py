"""Lets several processes take turns with one gradebook, which is free while a notebook runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_held: list[int] = []


@contextmanager
def taken(folder: Path) -> Iterator[None]:
    """Wait for this process's turn at the gradebook in a folder, and have it.

    Args:
        folder: nbgrader's course folder; nothing is written there.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _held.append(lock)
        try:
            yield
        finally:
            _held.remove(lock)
    finally:
        os.close(lock)


@contextmanager
def given_up() -> Iterator[None]:
    """Let others have their turn meanwhile; nothing happens if this process has none."""
    for lock in _held:
        fcntl.flock(lock, fcntl.LOCK_UN)
    try:
        yield
    finally:
        for lock in _held:
            fcntl.flock(lock, fcntl.LOCK_EX)
