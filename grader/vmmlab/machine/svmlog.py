"""Reads VMRUN and #VMEXIT of guests from QEMU's log (`-d in_asm`).

Lines of both versions; the exit shows EXITCODE, EXITINFO1, EXITINFO2 and the guest's RIP (AMD APM
vol. 2, 15.6 and appendix C)::

    vmrun! 0000000000207000
    vmexit(00000081, 0000000000000000, 0000000000000000, 0000000000007c10)!

`-d in_asm` also prints the code that is translated, unless `-dfilter` names an address at which
there is none.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

MAX_RUNS: Final = 1024
"""How many VMRUNs of one processor are kept with their exits; the others are counted."""
NO_CODE: Final = "0xdead0000+1"
"""Addresses for `-dfilter` at which no guest has code."""

_RUN = re.compile(rb"vmrun! ([0-9a-f]+)$")
_EXIT = re.compile(rb"vmexit\(([0-9a-f]+), ([0-9a-f]+), ([0-9a-f]+), ([0-9a-f]+)\)!")


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A VMRUN.

    Attributes:
        cpu: the processor.
        vmcb: physical address of the VMCB, from RAX.
        time_s: host wall clock of the line before, seconds since the epoch.
    """

    cpu: int | None
    vmcb: int
    time_s: float


@dataclass(frozen=True, slots=True)
class ExitEvent:
    """A #VMEXIT.

    Attributes:
        cpu: the processor.
        code: EXITCODE, 32 bits: 0xFFFFFFFF is VMEXIT_INVALID.
        info1: EXITINFO1.
        info2: EXITINFO2.
        rip: the guest's RIP.
        time_s: host wall clock of the line before, seconds since the epoch.
    """

    cpu: int | None
    code: int
    info1: int
    info2: int
    rip: int
    time_s: float


GuestEvent = RunEvent | ExitEvent


@dataclass
class GuestCounts:
    """How often each thing has happened on one processor, also what was not kept.

    Attributes:
        runs: VMRUNs.
        exits: #VMEXITs by their code.
    """

    runs: int = 0
    exits: Counter[int] = field(default_factory=Counter)


def guest_line(
    line: bytes, counts: GuestCounts, cpu: int | None, time_s: float
) -> GuestEvent | bool:
    """Return what a line of the log says of a guest.

    Args:
        line: without its end.
        counts: counts it.
        cpu: the processor whose log it is, None if not known.
        time_s: host wall clock of the line before, seconds since the epoch.

    Returns:
        The event; True if it is one that need not be kept, because there are too many; False if
        the line says nothing of a guest.
    """
    if not line.startswith(b"vm"):
        return False
    if left := _EXIT.match(line):
        code = int(left[1], 16)
        counts.exits[code] += 1
        if counts.runs > MAX_RUNS:
            return True
        return ExitEvent(cpu, code, int(left[2], 16), int(left[3], 16), int(left[4], 16), time_s)
    if run := _RUN.match(line):
        counts.runs += 1
        return counts.runs > MAX_RUNS or RunEvent(cpu, int(run[1], 16), time_s)
    return False
