"""Numbers for the components of a state, and states packed into single integers.

A *process* is the local state of one CPU with its store buffer; a *world* is the shared memory with
the ghost. A state is one process for each CPU, and one world.
"""

from __future__ import annotations

from typing import Final

from vmmlab.explore.harness import Ghost
from vmmlab.explore.localstate import LocalState
from vmmlab.explore.memory import Store

Buffer = tuple[Store, ...]
"""The stores of a CPU that are not visible to the other CPUs yet, oldest first."""

State = tuple[int, ...]
"""The process of each CPU, then the world."""

FIELD: Final = 24
"""Bits of each component in a packed state."""
LOW: Final = (1 << FIELD) - 1


class StateNumbers:
    """Assigns consecutive numbers to processes and worlds.

    Args:
        locals_: the local states by number; the list may grow.

    Attributes:
        finished: for each process, whether the CPU has finished and all its stores are visible.
    """

    def __init__(self, locals_: list[LocalState]) -> None:
        self._locals = locals_
        self._processes: list[tuple[int, Buffer]] = []
        self._process_ids: dict[tuple[int, Buffer], int] = {}
        self._worlds: list[tuple[int, Ghost]] = []
        self._world_ids: dict[tuple[int, Ghost], int] = {}
        self.finished: list[bool] = []

    def of_process(self, lid: int, buffer: Buffer) -> int:
        """Return the number of a process: a local state with a store buffer."""
        key = (lid, buffer)
        found = self._process_ids.get(key)
        if found is None:
            found = self._process_ids[key] = len(self._processes)
            assert found <= LOW
            self._processes.append(key)
            self.finished.append(self._locals[lid].phase == "done" and not buffer)
        return found

    def of_world(self, memory: int, ghost: Ghost) -> int:
        """Return the number of a world: a memory state with a ghost."""
        key = (memory, ghost)
        found = self._world_ids.get(key)
        if found is None:
            found = self._world_ids[key] = len(self._worlds)
            assert found <= LOW
            self._worlds.append(key)
        return found

    def process(self, number: int) -> tuple[int, Buffer]:
        """Return the local state's number and the store buffer of a process."""
        return self._processes[number]

    def world(self, number: int) -> tuple[int, Ghost]:
        """Return the memory state's number and the ghost of a world."""
        return self._worlds[number]


class Packing:
    """Packs a state into one integer, with the components in fields side by side.

    A move is then an addition, and the components on which a CPU's moves depend are a mask.

    Args:
        cpus: number of CPUs.

    Attributes:
        shifts: the lowest bit of each CPU's process, of the world, and of two spare fields.
        masks: for each CPU, the bits on which its moves depend: its process and the world.
        whole: the bits of all processes and the world.
    """

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        self.shifts = tuple(FIELD * at for at in range(cpus + 3))
        world = LOW << self.shifts[cpus]
        self.masks = tuple(LOW << self.shifts[cpu] | world for cpu in range(cpus))
        self.whole = (1 << self.shifts[cpus + 1]) - 1

    def pack(self, state: State) -> int:
        """Return the state as one integer."""
        return sum(one << at for one, at in zip(state, self.shifts, strict=False))

    def unpack(self, packed: int) -> State:
        """Return the components of a packed state, without the spare fields."""
        return tuple(packed >> at & LOW for at in self.shifts[: self._cpus + 1])
