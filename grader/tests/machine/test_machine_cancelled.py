"""A boot that is cancelled while its machine is being ended: the clean-up still runs to its end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from machine_helpers import Kernel, alive, asynced, open_files

from vmmlab.base.errors import InfraError
from vmmlab.machine import Machine


class Cancelled(Machine):
    """A machine that cancels the task around it just after it has killed QEMU."""

    def _kill(self) -> None:
        super()._kill()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()


async def complaints(boot: Callable[[], Any]) -> list[str]:
    """Run one boot in a task of its own; return what asyncio reports afterwards."""
    said: list[str] = []
    before = asyncio.all_tasks()
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: said.append(context["message"])
    )
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(boot())
    while left := asyncio.all_tasks() - before:
        await asyncio.wait(left)
    gc.collect()  # a future complains when it is collected
    return said


@asynced
async def test_nothing_is_left_and_no_exception_is_lost(kernel: Callable[..., Kernel]) -> None:
    gc.collect()  # files that other tests have left are closed now, not in between
    before = open_files()
    pids: list[int] = []

    async def boot() -> None:
        async with Cancelled(kernel().spec()) as machine:
            pids.append(machine.pid)

    assert await complaints(boot) == []
    assert not alive(pids[0])
    assert open_files() == before


@asynced
async def test_nor_if_it_could_not_be_started(kernel: Callable[..., Kernel]) -> None:
    class Wrong(Cancelled):
        async def _connect_qmp(self, sock: Any) -> None:
            await super()._connect_qmp(sock)
            raise InfraError("it does not start")

    gc.collect()
    before = open_files()

    async def boot() -> None:
        async with Wrong(kernel().spec()):
            pytest.fail("it has started")

    assert await complaints(boot) == []
    assert open_files() == before
