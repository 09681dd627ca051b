"""Two CPUs that race for a lock, in every order of their accesses to memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vmmlab.base.message import msg
from vmmlab.worksheet.assembly import Bits
from vmmlab.worksheet.cpu import TrialCpu
from vmmlab.worksheet.execute import CODE
from vmmlab.worksheet.language import WorksheetError

_MOST_STATES: Final = 20_000


def race(
    code: bytes,
    bits: Bits,
    *,
    lock: int,
    registers: Mapping[str, int] | None = None,
    address: int = CODE,
) -> list[int] | None:
    """Find out whether two CPUs that run the same `code` can both take the lock.

    Every order of their accesses to memory is tried; what a CPU does in its registers between two
    accesses does not concern the other one. An instruction that reads and writes memory without
    being locked is two accesses.

    Args:
        code: machine code; a CPU that runs past its last byte has the lock.
        bits: 16, 32 or 64: the mode of both CPUs.
        lock: linear address of the lock, 8 bytes; all 0 at the start.
        registers: as for `run`, the same for both CPUs.
        address: linear address of the code.

    Returns:
        A schedule after which both CPUs have the lock, as a list of 0 and 1: the CPU that makes the
        next access to memory. None if there is no such schedule.

    Raises:
        WorksheetError: there are too many orders to try.
    """
    cpu = TrialCpu(code, bits, address, {})
    for name, value in (registers or {}).items():
        cpu.set(name, value)
    cpu.to_memory()
    start = (cpu.state(), None)
    first = (start, start, bytes(8))
    came_from: dict[Any, tuple[Any, int]] = {first: (None, -1)}
    waiting = [first]
    while waiting:
        now = waiting.pop(0)
        for who in (0, 1):
            mine, shared = now[who], now[2]
            mine, shared = _one_step(cpu, mine, shared, lock)
            after = (mine, now[1], shared) if who == 0 else (now[0], mine, shared)
            if after in came_from:
                continue
            came_from[after] = (now, who)
            if all(pending is None and cpu.is_out(state) for state, pending in after[:2]):
                return _way_to(after, came_from)
            if len(came_from) > _MOST_STATES:
                raise WorksheetError(
                    msg("there are too many schedules to explore."),
                    expected=msg("a short loop that takes a lock"),
                )
            waiting.append(after)
    return None


def _way_to(state: Any, came_from: Mapping[Any, tuple[Any, int]]) -> list[int]:
    way: list[int] = []
    while came_from[state][0] is not None:
        state, who = came_from[state]
        way.append(who)
    return way[::-1]


def _one_step(cpu: TrialCpu, mine: Any, shared: bytes, lock: int) -> tuple[Any, bytes]:
    """Execute one CPU's next instruction, or half of one that is not atomic."""
    state, pending = mine
    if pending is not None:
        return (state, None), pending
    if cpu.is_out(state):
        return mine, shared
    cpu.load(state)
    cpu.put(lock, shared)
    split = cpu.splits()
    cpu.step()
    written = cpu.get(lock, 8)
    cpu.to_memory()
    if split and written != shared:
        return (cpu.state(), written), shared
    return (cpu.state(), None), written
