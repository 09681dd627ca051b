"""Helpers of the machine tests.

The tests run on the QEMU that would be used; VMMLAB_QEMU=/path runs them on another one.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmmlab.machine import Gdb, Machine, MachineSpec, Stop


def asynced(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test, for at most a minute."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(function(*args, **kwargs), 60))

    return run


@dataclass(frozen=True)
class Kernel:
    path: Path
    symbols: dict[str, int]

    def __getitem__(self, name: str) -> int:
        return self.symbols[name]

    def spec(self, **options: Any) -> MachineSpec:
        return MachineSpec(self.path, **options)

    def machine(self, **options: Any) -> Machine:
        return Machine(self.spec(**options))


async def run_to(gdb: Gdb, address: int, cpus: list[int] | None = None) -> Stop:
    """Resume until some processor reaches `address`."""
    await gdb.set_break(address)
    await gdb.resume(cpus)
    stop = await gdb.wait(10)
    assert stop is not None
    assert stop.kind == "break", stop
    assert stop.address == address
    return stop


async def all_at(gdb: Gdb, address: int, cpus: set[int]) -> None:
    """Run until each of `cpus` has reached `address` and is held there; clear the breakpoint."""
    left = set(cpus)
    everyone = set(range(gdb.cpus))
    while left:
        stop = await run_to(gdb, address, sorted(everyone - cpus | left))
        assert stop.cpu is not None
        left.discard(stop.cpu)
    await gdb.clear_break(address)


async def slots(machine: Machine, kernel: Kernel) -> list[int]:
    """Return how often each slot was counted up; slot 0 is the boot processor's."""
    data = await machine.gdb.read_phys(kernel["slots"], 8 * machine.spec.cpus)
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
