"""Shows a batch's progress on stderr: a bar with rate and time left, or a line a submission.

Knows counts and names, nothing of grading.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from vmmlab.base.message import Text, msg
from vmmlab.classroom.batch.record import Record
from vmmlab.classroom.batch.run import Listener, Task
from vmmlab.i18n.translate import Reader

_NAMES: Final = 4
_MINUTE_S: Final = 60
Clock = Callable[[], float]


@contextmanager
def progress(
    total: int, say: Reader, *, to: IO[str] | None = None, clock: Clock = time.monotonic
) -> Iterator[Listener]:
    """Show the progress of a batch.

    Args:
        total: how many labs of how many students there are to judge, in all.
        say: the reader's language.
        to: where to; None: stderr.
        clock: the time, in seconds.

    Yields:
        What has to be told of each task.
    """
    console = Console(file=sys.stderr if to is None else to, markup=False, highlight=False)
    if not console.is_terminal:
        yield Lines(total, say, console.file, clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    more = TextColumn("{task.fields[rest]}")
    with Progress(*columns, more, console=console, transient=True) as shown:
        yield Bar(total, say, shown, clock)


class Pace:
    """How fast a batch is. What was there already does not count.

    Args:
        total: how many tasks there are.
        clock: the time, in seconds.

    Attributes:
        done: how many have ended.
    """

    def __init__(self, total: int, clock: Clock) -> None:
        self.total = total
        self.done = 0
        self._fresh = 0
        self._clock = clock
        self._began: float | None = None

    def began(self) -> None:
        """Count the time from the first task on."""
        if self._began is None:
            self._began = self._clock()

    def ended(self, *, fresh: bool) -> None:
        """Count a task."""
        self.done += 1
        self._fresh += fresh

    @property
    def text(self) -> Text:
        """The rate and the time left, in words; "" before the first one."""
        if self._began is None or not self._fresh:
            return ""
        each = max(self._clock() - self._began, 0.001) / self._fresh
        left = each * (self.total - self.done)
        rate = f"{_MINUTE_S / each:.1f}"
        if left > _MINUTE_S:
            return msg(
                "{rate} a minute, about {left} min left", rate=rate, left=round(left / _MINUTE_S)
            )
        return msg("{rate} a minute, about {left} s left", rate=rate, left=round(left))


class Lines:
    """Tells of a batch in lines, for a file.

    Args:
        total: how many tasks there are.
        say: the reader's language.
        out: where to.
        clock: the time, in seconds.
    """

    def __init__(self, total: int, say: Reader, out: IO[str], clock: Clock) -> None:
        self._pace = Pace(total, clock)
        self._say = say
        self._out = out

    def began(self, task: Task) -> None:
        """Begin to count the time."""
        self._pace.began()

    def ended(self, task: Task, found: Record, *, fresh: bool) -> None:
        """Write a line for what was graded now."""
        self._pace.ended(fresh=found.wall_s > 0 and fresh)
        if not fresh:
            return
        say, pace = self._say, self._pace
        parts = [f"[{pace.done}/{pace.total}] {task.shown} {task.stem}", say(verdict(found))]
        if found.wall_s:
            parts.append(f"{found.wall_s:.1f} s")
        if pace.text:
            parts.append(say(pace.text))
        self._out.write("  ".join(parts) + "\n")
        self._out.flush()


class Bar:
    """Tells of a batch in one line of a terminal.

    Args:
        total: how many tasks there are.
        say: the reader's language.
        bar: where.
        clock: the time, in seconds.
    """

    def __init__(self, total: int, say: Reader, bar: Progress, clock: Clock) -> None:
        self._pace = Pace(total, clock)
        self._say = say
        self._bar = bar
        self._running: dict[tuple[str, str], str] = {}
        self._task = bar.add_task(say(msg("grading")), total=total, rest="")

    def began(self, task: Task) -> None:
        """Show the name."""
        self._pace.began()
        self._running[task.entry.student, task.stem] = task.shown
        self._show()

    def ended(self, task: Task, found: Record, *, fresh: bool) -> None:
        """Take the name away; what needs attention stays above the bar."""
        self._pace.ended(fresh=found.wall_s > 0 and fresh)
        self._running.pop((task.entry.student, task.stem), None)
        if found.verdict == "attention":
            line = f"{task.shown} {task.stem}  {self._say(verdict(found))}"
            self._bar.console.print(line, markup=False, soft_wrap=True)
        self._show()

    def _show(self) -> None:
        names = list(self._running.values())
        shown = ", ".join(names[:_NAMES]) + (" …" if len(names) > _NAMES else "")
        rest = "  ".join(filter(None, (self._say(self._pace.text), shown)))
        self._bar.update(self._task, completed=self._pace.done, rest=escape(rest))


def verdict(found: Record) -> Text:
    """Return the verdict in a few words."""
    if found.verdict == "attention":
        return msg("needs attention: {reason}", reason=found.reason)
    if found.verdict == "absent":
        return msg("no grade: {reason}", reason=found.reason)
    if found.verdict == "ungradable":
        return msg("0 points: {reason}", reason=found.reason)
    return msg("{points}/{max} points", points=str(found.points), max=str(found.max))
