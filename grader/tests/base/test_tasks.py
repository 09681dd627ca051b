"""Clean-up that a cancellation must not interrupt."""

from __future__ import annotations

import asyncio

import pytest

from vmmlab.base.tasks import run_to_end


class Work:
    """Clean-up in two steps; the second one begins when `go` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.began, self.go, self.ended = asyncio.Event(), asyncio.Event(), False
        self.error = error

    async def run(self) -> None:
        self.began.set()
        await self.go.wait()
        self.ended = True
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("times", [1, 2])
def test_a_cancelled_caller_still_finishes_it(times: int) -> None:
    async def main() -> None:
        work = Work()
        caller = asyncio.create_task(run_to_end(work.run()))
        await work.began.wait()
        for _ in range(times):
            caller.cancel()
            await asyncio.sleep(0)
            assert not caller.done()
        work.go.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert work.ended

    asyncio.run(main())


def test_what_it_raises_reaches_the_caller() -> None:
    async def main() -> None:
        work = Work(OSError("full"))
        work.go.set()
        with pytest.raises(OSError, match="full"):
            await run_to_end(work.run())

    asyncio.run(main())


def test_a_cancellation_is_not_lost_when_it_fails_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        work = Work(OSError("full"))
        caller = asyncio.create_task(run_to_end(work.run()))
        await work.began.wait()
        caller.cancel()
        await asyncio.sleep(0)
        work.go.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await caller
        assert isinstance(caught.value.__cause__, OSError)

    asyncio.run(main())
    assert not caplog.records, "asyncio complains about exceptions that nothing retrieves"
