"""asyncio: clean-up that a cancellation must not interrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end even if the caller is cancelled meanwhile.

    For clean-up: if it stopped halfway, descriptors would stay open and tasks of libraries would
    end with exceptions that nothing retrieves.

    Args:
        work: what to run; it becomes a task of its own.

    Raises:
        asyncio.CancelledError: the caller was cancelled; raised after `work` has ended.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    failed = task.exception()
    if cancelled is not None:
        raise cancelled from failed
    if failed is not None:
        raise failed
