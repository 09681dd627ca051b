"""Progress of a long run, on stderr: a bar on a terminal, else a line every half minute.

Knows numbers only, nothing of mutants.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vmmlab.i18n.translate import Reader

EVERY_S: Final = 30.0
"""Interval of lines where there is no terminal, in seconds."""

Watch = Callable[[int, int], None]
"""Called with the number of finished pieces of work and their total; first with 0."""

_MINUTE_S: Final = 60


@contextmanager
def progress(
    title: str,
    say: Reader | None = None,
    *,
    to: IO[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Watch]:
    """Show the progress of a run.

    Args:
        title: what is counted, in English.
        say: the reader's language; None: English.
        to: where to show it; None: stderr.
        clock: the time, in seconds.

    Yields:
        The function to call after each piece of work.
    """
    say = Reader() if say is None else say
    console = Console(file=sys.stderr if to is None else to)
    if not console.is_terminal:
        yield _lines(title, say, console.file, clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(say(title), total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _lines(title: str, say: Reader, out: IO[str], clock: Callable[[], float]) -> Watch:
    began = told = clock()

    def watch(done: int, of: int) -> None:
        nonlocal told
        now = clock()
        if done in (0, of) or now - told < EVERY_S:
            return
        told = now
        left = round((now - began) / done * (of - done))
        if left > _MINUTE_S:
            rest = f"about {round(left / _MINUTE_S)} min left"
        else:
            rest = f"about {left} s left"
        out.write(f"{say(title)}{say.label(': ')}{done}/{of}{say.label(', ')}{say(rest)}\n")
        out.flush()

    return watch
