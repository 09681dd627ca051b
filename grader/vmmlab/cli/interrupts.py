"""What Ctrl-C and SIGTERM do to a command: it unwinds, and ends every process that it started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_IMPORT: Final = "<frozen importlib._bootstrap>"
_AGAIN_S: Final = 0.001


@contextmanager
def terminable() -> Iterator[list[int]]:
    """Let SIGTERM do what Ctrl-C does.

    An exception that is raised between two steps of an import can leave Python's import lock taken,
    and other threads would wait for it for ever. There the signal waits a moment.

    Yields the signals other than Ctrl-C that arrived. SystemExit would not work: pytest takes it
    for a failed test.
    """
    came: list[int] = []
    waiting: list[int] = []

    def unwind(signum: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_filename == _IMPORT:
            waiting[:] = [signum]
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            return
        if signum != signal.SIGINT:
            came.append(signum)
        raise KeyboardInterrupt

    def again(signum: int, frame: FrameType | None) -> None:
        if waiting:
            unwind(waiting.pop(), frame)

    handlers: dict[int, Any] = {signal.SIGTERM: unwind, signal.SIGALRM: again}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else a shell ignores it
        handlers[signal.SIGINT] = unwind
    try:
        before = {one: signal.signal(one, handler) for one, handler in handlers.items()}
    except ValueError:  # not the main thread
        yield came
        return
    try:
        yield came
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
