"""What all scenarios of `exploration` begin with: the trampoline's variables and the delays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmmlab.explore.given import GivenCode
from vmmlab.explore.memory import Store

# Time is not modelled: the BSP polls two or three times, however late the others are. In
# nanoseconds, the interval has 32 bits and the whole time has more.
POLL_US: Final = 4_000_000
WAIT_US: Final = 2 * POLL_US
# So few polls that the search still follows each of them.
FAR_TOO_LONG_US: Final = 2 * WAIT_US + POLL_US
# Offsets in `ap_delays` (include/ap.h) of the interval between polls and of the whole time.
_POLL_OFFSET: Final = 8
_WAIT_OFFSET: Final = 12
LOCK_BYTES: Final = 8


class Handshake(GivenCode):
    """What both scenarios begin with."""

    def __init__(self, model):
        super().__init__(model)
        self.count = self.program.symbols.addr("num_of_processors")
        self.lock = self.program.variables["*apinitlock"][0]
        self.procs = self.program.variables["*apinitprocs"][0]

    def initial_writes(self) -> Sequence[Store]:
        """Return the pointers into the trampoline, the delays, and what APs are to run."""
        program, addr = self.program, self.program.symbols.addr
        delays = addr("ap_delays")
        mapped = program.window - program.trampoline
        return (
            (addr("apinitlock"), 8, self.lock + mapped),
            (addr("apinitprocs"), 8, self.procs + mapped),
            (addr("apinit_addr"), 4, program.apinit_addr),
            (addr("initproc_ap"), 8, addr("ap_proc")),
            (delays + _POLL_OFFSET, 4, POLL_US),
            (delays + _WAIT_OFFSET, 4, WAIT_US),
            (self.lock, 8, 0),
            (self.procs, 4, 0),
        )
