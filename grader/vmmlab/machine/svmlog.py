"""What QEMU's log says of guests: VMRUN and #VMEXIT (`-d in_asm`).

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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


def guest_line(line: bytes, counts: GuestCounts) -> GuestEvent | bool:
    """Return what a line of the log says of a guest.

    Args:
        line: without its end.
        counts: counts it.

    Returns:
        The event, which has no processor and no time yet; True if it is one that need not be kept,
        because there are too many; False if the line says nothing of a guest.
    """
    if not line.startswith(b"vm"):
        return False
    if line.startswith(b"vmexit("):
        return _exit(line, counts)
    match = _RUN.match(line)
    if match is None:
        return False
    counts.runs += 1
    return counts.runs > MAX_RUNS or RunEvent(None, int(match[1], 16), 0.0)


def _exit(line: bytes, counts: GuestCounts) -> GuestEvent | bool:
    match = _EXIT.match(line)
    if match is None:
        return False
    code, info1, info2, rip = (int(number, 16) for number in match.groups())
    counts.exits[code] += 1
    return counts.runs > MAX_RUNS or ExitEvent(None, code, info1, info2, rip, 0.0)
