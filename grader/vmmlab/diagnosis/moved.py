"""What goes wrong in a boot whose copy of the trampoline is elsewhere, and lies in two pages.

Functions from an Observation to a Failure, or None.
"""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import msg
from vmmlab.diagnosis.aps import waits_for_sipi, was_left_alone
from vmmlab.failure import Failure
from vmmlab.images.layout import MAPMEM_BASE, MAPMEM_SIZE
from vmmlab.observe.cpu import CpuRecord
from vmmlab.observe.observation import Observation
from vmmlab.x86.registers import PAGE_BYTES, PAGE_PRESENT

_PAGE_FAULT: Final = 14


def mapped_in_part(boot: Observation) -> Failure | None:
    """Return that the BSP faulted at the second page of a copy that lies in two pages."""
    taken, first = boot.bsp.exception, -boot.apinit_addr % PAGE_BYTES
    behind = len(boot.trampoline.image) - first
    if taken is None or taken.vector != _PAGE_FAULT or taken.error & PAGE_PRESENT:
        return None
    inside = 0 <= taken.cr2 - MAPMEM_BASE < MAPMEM_SIZE
    if boot.apinit_addr_linked is None or not inside or taken.cr2 % PAGE_BYTES >= behind:
        return None
    return Failure(
        "copy-mapped-in-part",
        cpu=0,
        place="ap_start",
        expected=msg("all {size} bytes are mapped", size=len(boot.trampoline.image)),
        observed=msg(
            "exception 14 at {place}: {address:#x} is not mapped. In this boot the copy begins at "
            "{copy:#x}, {first} bytes before the end of a page, and ends in the next page",
            place=taken.place.text,
            address=taken.cr2,
            copy=boot.apinit_addr,
            first=first,
        ),
    )


def copied_up_to_a_page(boot: Observation) -> Failure | None:
    """Return that a copy which lies in two pages has not been written in the second one."""
    made, first = boot.trampoline, -boot.apinit_addr % PAGE_BYTES
    bytes_of = list(zip(made.copy or b"", made.before, made.image, strict=False))
    left = [at for at, (now, before, right) in enumerate(bytes_of) if now == before != right]
    # ap_start and the APs write to the counter and the lock, wherever these are.
    if not left or left[0] < first or 2 * len(left) < len(made.image) - first:
        return None
    return Failure(
        "trampoline-copied-in-part",
        cpu=0,
        place="ap_start",
        expected=msg("all {size} bytes are copied", size=len(made.image)),
        observed=msg(
            "{count} of them were not written, from byte {first} on. In this boot the copy begins "
            "at {copy:#x}, {first} bytes before the end of a page",
            count=len(left),
            first=first,
            copy=boot.apinit_addr,
        ),
        next=msg("Copy up to cpuinit_end, also where that is in the next page."),
    )


def _halts_in_copy(boot: Observation, ap: CpuRecord) -> bool:
    """Whether an AP has found its way to a HLT of the trampoline."""
    return boot.how_ended == "quiet" and ap.end_place.region == "trampoline"


def lost_at_another_place(boot: Observation) -> Failure | None:
    """Return an AP that gets lost in a boot that gives apinit_addr another value than usual."""
    linked = boot.apinit_addr_linked
    started = [ap for ap in boot.aps if not (waits_for_sipi(ap) or was_left_alone(boot, ap))]
    wrong_mode = (ap for ap in started if ap.end.mode != boot.bsp.end.mode)
    lost = next((ap for ap in wrong_mode if not _halts_in_copy(boot, ap)), None)
    if linked is None or lost is None or boot.how_ended == "complete":
        return None
    return Failure(
        "apinit-addr-in-the-trampoline",
        cpu=lost.index,
        place=msg("trampoline"),
        expected=msg("the trampoline runs at any address: CS tells where the copy is"),
        observed=msg(
            "{cpu} got lost and is at {place}; in this boot the copy is at {address:#x}, and "
            "APINIT_ADDR is {linked:#x}",
            cpu=lost.name,
            place=lost.end_place.text,
            address=boot.apinit_addr,
            linked=linked,
        ),
    )
