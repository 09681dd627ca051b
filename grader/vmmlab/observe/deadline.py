"""The time limit of a whole boot: whatever a guest or a probe does, the boot ends.

Knows nothing of what a boot is for. A deadline is checked from a timer of the event loop, so it
ends every kind of waiting: for a stop, for an answer of QEMU, in a loop of a probe.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

_LOOK_S: Final = 0.2  # interval at which a deadline is checked


@dataclass
class Deadline:
    """The end of a boot's time.

    Args:
        total_s: seconds of this host.
        work_s: seconds of processor time.
        worked_s: returns the processor time that QEMU has used, in seconds; None if unknown.
        over: whether there is no time left for another reason, such as the grade's limit.

    Attributes:
        had_none: whether it ended for that other reason, before the boot's own time was up.
    """

    total_s: float
    work_s: float
    worked_s: Callable[[], float | None]
    over: Callable[[], bool] = lambda: False
    began: float = field(default_factory=time.monotonic)
    had_none: bool = field(default=False, init=False)
    _not_before: float = -math.inf

    def passed(self) -> bool:
        """Whether the time is up."""
        now = time.monotonic()
        if self.had_none or now - self.began >= self.total_s:
            return True
        if self.over():
            self.had_none = True
            return True
        if now < self._not_before:
            return False
        worked_s = self.worked_s()
        if worked_s is None:
            return False
        # Not even on all processors can the rest be used up earlier.
        self._not_before = now + (self.work_s - worked_s) / (os.cpu_count() or 1)
        return worked_s >= self.work_s

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Cancel the block when the time is up, and again until it ends.

        One cancellation may be lost: `asyncio.wait_for` of Python 3.11 swallows one that comes
        while its own future is done.

        Raises:
            TimeoutError: the time was up.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        timer: asyncio.Handle | None = None
        sent, before = 0, task.cancelling()

        def look() -> None:
            nonlocal timer, sent
            if self.passed():
                task.cancel()
                sent += 1
            timer = loop.call_later(_LOOK_S, look)

        timer = loop.call_soon(look)
        try:
            yield
        except asyncio.CancelledError:
            if sent and task.cancelling() - before == sent:
                raise TimeoutError from None
            raise  # the task was cancelled for another reason
        finally:
            assert timer is not None
            timer.cancel()
            for _ in range(sent):
                task.uncancel()
