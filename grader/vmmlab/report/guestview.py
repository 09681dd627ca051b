"""What each CPU did with guests, as rows for the HTML report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vmmlab.base.message import Text, listed, msg
from vmmlab.observe.guest import CpuGuest
from vmmlab.observe.observation import Observation
from vmmlab.report.timeline import ranges
from vmmlab.x86.vmcb import exit_name

_EACH_MOST: Final = 64
"""With more CPUs, those share a row that differ only in the place of their VMCB."""


@dataclass(frozen=True, slots=True)
class GuestRow:
    """One CPU, or several that did the same.

    Args:
        cpus: their indices, "1-3".
        runs: number of VMRUNs.
        exits: why the guest left, with the number of times.
        now: whether the CPU was in its guest at the end.
        vmcb: physical address of the VMCB of the first VMRUN; None if there was none.
    """

    cpus: str
    runs: int
    exits: Text
    now: bool
    vmcb: int | None


def guest_rows(seen: Observation) -> list[GuestRow]:
    """Return the rows of a boot; none if no guest was recorded."""
    alike: dict[tuple[object, ...], list[int]] = {}
    first: dict[tuple[object, ...], CpuGuest] = {}
    for cpu, guest in enumerate(seen.guests):
        own = guest.runs[0].vmcb if guest.runs and len(seen.guests) <= _EACH_MOST else None
        key = (guest.count, tuple(sorted(guest.exits.items())), guest.inside, own)
        alike.setdefault(key, []).append(cpu)
        first.setdefault(key, guest)
    return [_row(ranges(cpus), first[key]) for key, cpus in alike.items()]


def _row(cpus: str, guest: CpuGuest) -> GuestRow:
    vmcb = guest.runs[0].vmcb if guest.runs else None
    return GuestRow(cpus, guest.count, listed(_exits(guest)), guest.inside, vmcb)


def _exits(guest: CpuGuest) -> Iterator[Text]:
    for code, count in sorted(guest.exits.items(), key=lambda one: -one[1])[:12]:
        yield msg("{name}: {count}", name=exit_name(code), count=count)
