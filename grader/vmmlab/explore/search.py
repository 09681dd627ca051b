"""Search of all interleavings of the CPUs of one harness, with or without store buffers.

A state is one local state and one store buffer for each CPU, the shared memory, and the ghost. A
move is one access to memory that several CPUs use, or one event. Which memory that is becomes known
only during the search, which is restarted when it learns that more bytes are shared than assumed.

With store buffers every interleaving without them is included: a CPU that waits for its buffer to
drain before each move makes its stores visible in order.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import Final

from vmmlab.explore.bfs import BreadthFirstSearch, SearchResult
from vmmlab.explore.cpumodel import CpuModel
from vmmlab.explore.emulator import OutOfTime
from vmmlab.explore.harness import Harness
from vmmlab.explore.sharing import SharingGrew
from vmmlab.explore.transitions import Transitions

# With store buffers, or with more CPUs than this, a search of some states without preemptions first
# learns what is shared.
_FEW_CPUS: Final = 3
_WARM_UP_STATES: Final = 2000
# One run of the emulator may end this much after the deadline; a series of runs may not.
_GRACE_S: Final = 0.5


class Search:
    """All interleavings of one harness.

    Args:
        model: the CPUs.
        harness: how the CPUs start, and what must hold.
        buffers: stores become visible to other CPUs late (total store order).

    Attributes:
        harness: as given.
        transitions: the moves of each CPU, with the numbers of all states.
    """

    def __init__(self, model: CpuModel, harness: Harness, *, buffers: bool) -> None:
        self._emulator = model.emulator
        self.harness = harness
        self._buffers = buffers
        self.transitions = Transitions(model, harness, buffers=buffers)

    def run(
        self,
        *,
        max_states: int,
        seconds: float,
        preemptions: int | None = None,
        explain: bool = True,
    ) -> SearchResult:
        """Search until something is wrong, all states are known, or a limit is reached.

        Args:
            max_states: stop when there are more.
            seconds: stop after this much CPU time.
            preemptions: how often a CPU that makes progress may be interrupted; None: no bound.
            explain: False: stop as soon as it is clear that a search that explains is needed.
        """
        deadline = time.thread_time() + seconds
        self._emulator.deadline = deadline + _GRACE_S
        try:
            if preemptions is None and (self._buffers or self.harness.cpus > _FEW_CPUS):
                self._warm_up(deadline)
            while True:
                search = self._begin(max_states, deadline, preemptions, explain=explain)
                try:
                    return search.run()
                except SharingGrew:
                    continue
                except OutOfTime:
                    return search.result()
        finally:
            self._emulator.deadline = math.inf

    def _warm_up(self, deadline: float) -> None:
        """Learn which memory is shared; restarting the long search later would take longer."""
        search = self._begin(_WARM_UP_STATES, deadline, preemptions=0, explain=False)
        with contextlib.suppress(SharingGrew, OutOfTime):
            search.run()

    def _begin(
        self, max_states: int, deadline: float, preemptions: int | None, *, explain: bool
    ) -> BreadthFirstSearch:
        self.transitions.forget()
        self.transitions.sharing.begin()
        return BreadthFirstSearch(
            self.transitions,
            max_states=max_states,
            deadline=deadline,
            preemptions=preemptions,
            explain=explain,
        )
