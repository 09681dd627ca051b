"""At the end of a boot, stops each CPU that loops at a fixed place in its loop.

A CPU that waits for ever can be stopped anywhere in its loop. Reports name where it is: without
this they would differ from run to run.
"""

from __future__ import annotations

from typing import Final

from vmmlab.observe.session import Session

_LONGEST: Final = 300
"""Instructions in which a CPU comes by the same place again, or else is left where it is."""


async def settle(session: Session) -> None:
    """Step each CPU that runs to the first instruction of its loop, of the student's code if any.

    Args:
        session: a boot in which nothing can happen any more.
    """
    for cpu in sorted(session.free()):
        if session.log.cpus[cpu].rest or session.in_guest(cpu) or session.ended:
            continue
        lap = await _lap(session, cpu)
        if lap:
            await _go_to(session, cpu, _first(session, lap), len(lap))


async def _lap(session: Session, cpu: int) -> list[int]:
    """Return the addresses that a CPU comes by until it is where it has been; none if it stops."""
    seen: dict[int, int] = {}
    way: list[int] = []
    while len(way) < _LONGEST:
        state = await session.view.state(cpu)
        if session.places.at(state.pc) or not session.view.is_code(state):
            return []
        if state.pc in seen:
            return way[seen[state.pc] :]
        seen[state.pc] = len(way)
        way.append(state.pc)
        if not await session.step(cpu):
            return []
    return []


def _first(session: Session, lap: list[int]) -> int:
    owner = session.view.symbols.owner
    return min([at for at in lap if owner(at) == "student"] or lap)


async def _go_to(session: Session, cpu: int, address: int, budget: int) -> None:
    for _ in range(budget):
        if (await session.view.state(cpu)).pc == address or not await session.step(cpu):
            return
