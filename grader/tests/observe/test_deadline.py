"""The time limit of a boot: what makes it pass, and that it ends every kind of waiting."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from vmmlab.observe.deadline import Deadline


def deadline(**values: object) -> Deadline:
    return Deadline(**{"total_s": 60.0, "work_s": 60.0, "worked_s": lambda: 0.0, **values})


def test_it_passes_by_the_clock_by_work_or_for_another_reason() -> None:
    assert not deadline().passed()
    assert deadline(total_s=0.0).passed()
    assert deadline(work_s=3.0, worked_s=lambda: 3.1).passed()
    assert not deadline(work_s=3.0, worked_s=lambda: 2.9).passed()
    assert not deadline(work_s=0.0, worked_s=lambda: None).passed(), "no /proc: by the clock alone"
    assert deadline(over=lambda: True).passed()


def test_it_knows_that_a_boot_did_not_get_its_time() -> None:
    own, none = deadline(total_s=0.0, over=lambda: True), deadline(over=lambda: True)
    assert own.passed()
    assert none.passed()
    assert (own.had_none, none.had_none) == (False, True)


async def waits_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def renews_its_patience() -> None:
    while True:
        await asyncio.wait_for(asyncio.sleep(0.01), 1)


async def swallows_time_outs() -> None:
    while True:
        try:
            async with asyncio.timeout(0.01):
                await waits_for_ever()
        except TimeoutError:
            pass


async def swallows_a_cancellation() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await waits_for_ever()
    await waits_for_ever()


@pytest.mark.parametrize(
    "work",
    [waits_for_ever, renews_its_patience, swallows_time_outs, swallows_a_cancellation],
)
def test_it_ends_whatever_the_block_waits_for(work) -> None:
    async def run() -> None:
        async with deadline(total_s=0.3).enforced():
            await work()

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(run(), 20))
    assert time.monotonic() - began < 15


def test_without_it_the_same_waiting_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadline, "passed", lambda self: False)

    async def run() -> bool:
        async def guarded() -> None:
            async with deadline(total_s=0.0).enforced():
                await renews_its_patience()

        task = asyncio.ensure_future(guarded())
        done, _ = await asyncio.wait({task}, timeout=1)
        task.cancel()
        return bool(done)

    assert asyncio.run(run()) is False


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    async def run() -> str:
        async with deadline().enforced():
            await asyncio.sleep(0)
        await asyncio.sleep(0.3)  # no timer is left that would cancel this
        return "done"

    assert asyncio.run(run()) == "done"


def test_a_cancellation_from_outside_stays_one() -> None:
    async def run() -> None:
        async def guarded() -> None:
            async with deadline().enforced():
                await waits_for_ever()

        task = asyncio.ensure_future(guarded())
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
