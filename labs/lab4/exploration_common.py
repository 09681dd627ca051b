"""What all scenarios of `exploration` begin with: the trampoline's variables and the delays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.explore.given import GivenCode
from vmmlab.explore.harness import Ghost, Violation
from vmmlab.explore.localstate import Action, LocalState
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
        addr = self.program.symbols.addr
        self.image = addr("__image_start"), addr("__image_end")

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

    def forbidden(self, local: LocalState, action: Action, ghost: Ghost) -> Violation | None:
        """See `Harness.forbidden`: a store that reaches beyond its variable."""
        if action.kind not in ("store", "commit", "rmw"):
            return None
        beside = self._beside(action.address, action.address + action.size)
        if not beside:
            return None
        what = msg(
            "CPU {cpu} writes {size} bytes at {name}: {beside}",
            cpu=local.cpu,
            size=action.size,
            name=self.program.name(action.address),
            beside=beside,
        )
        return Violation("store-beside", what)

    def _beside(self, start: int, end: int) -> Text:
        """Return what is wrong with a store to these bytes, or ""."""
        program = self.program
        for at, size in program.variables.values():
            if at <= start < at + size:
                return "" if end <= at + size else msg("it has {size}", size=size)
        stack = program.boot_low <= start < program.boot_top
        name, begins = program.data_symbol(start)
        if stack or name == "pcpus":
            return ""
        owner = program.symbols.owner(start)
        if not owner and self.image[0] <= start < self.image[1]:
            return msg("no variable is there")
        if owner in ("", "student") or begins == start:
            return ""  # a variable that the student has named: what comes of it names the mistake
        return msg("it belongs to given code")
