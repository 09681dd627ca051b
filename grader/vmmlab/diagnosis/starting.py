"""What is wrong with what ap_start prepares and puts back: the copy, mappings, and the order.

Functions from an Observation to a Failure, or None. Most of these mistakes leave a machine that
goes on: such a failure has `goes_on`, and later checks mean something all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.diagnosis.ipis import init_again
from vmmlab.diagnosis.resets import reset_by_bsp
from vmmlab.failure import Failure
from vmmlab.observe.milestones import AP_ENTRY
from vmmlab.observe.observation import Observation
from vmmlab.observe.starting import Changed, Mapping, Starting
from vmmlab.x86.decode import far_jump
from vmmlab.x86.registers import PAGE_BYTES

_JUMP_BYTES: Final = 5
_WIDE_STORE: Final = 8  # bytes from 0 that one store can reach


# --- the copy, the counter and the lock -----------------------------------------------------------


def apinit_addr_ignored(boot: Observation) -> Failure | None:
    """Return that APINIT_ADDR is used in a boot that gives apinit_addr another value.

    Whatever else is wrong shows in the other boots as well.
    """
    linked, address = boot.apinit_addr_linked, boot.apinit_addr
    jump = far_jump(boot.physical_0.during or b"")
    if linked is None or jump is None or not boot.icr:
        return None
    observed: Text = ""
    target = jump[0] * 16 + jump[1]
    if target == linked != address:
        observed = msg("the far jump leads to {linked:#x}, which is APINIT_ADDR", linked=linked)
    elif target == address and boot.trampoline.copy == boot.trampoline.before:
        observed = msg("nothing was copied to {address:#x}", address=address)
    if not observed:
        return None
    return Failure(
        "apinit-addr-ignored",
        cpu=0,
        place="ap_start",
        expected=msg(
            "the far jump leads to the copy at {address:#x}, the value of the variable apinit_addr "
            "in this boot",
            address=address,
        ),
        observed=observed,
        goes_on=True,
    )


def copied_wrongly(boot: Observation) -> Failure | None:
    """Return where the trampoline is, if not at apinit_addr when the APs are started."""
    start, image = boot.starting, boot.trampoline.image
    if start is None or not image:
        return None
    where, found = "ap_start", None
    if start.image:
        return Failure(
            "memcpy-swapped",
            cpu=0,
            place=where,
            expected=msg("the trampoline at cpuinit_start stays as it is, and is copied"),
            observed=msg(
                "cpuinit_start holds {bytes} now, as apinit_addr did: source and destination are "
                "swapped",
                bytes=start.image[:8].hex(" "),
            ),
        )
    for piece in (*start.before, *start.after):
        if image.startswith(piece.now):
            found = piece.address
    if found is not None:
        return Failure(
            "trampoline-copied-elsewhere",
            cpu=0,
            place=where,
            expected=msg("a copy at apinit_addr, {address:#x}", address=boot.apinit_addr),
            observed=msg("the copy is at physical {address:#x}", address=found),
        )
    end = start.at_ap_wait
    begins = image[: len(end.copy)] if end is not None else b""
    if end is not None and end.copy == begins != (boot.trampoline.copy or b"")[: len(begins)]:
        return Failure(
            "trampoline-copied-late",
            cpu=0,
            place=where,
            expected=msg("the copy is in place before the first IPI"),
            observed=msg("it is not there when the first SIPI is sent, and is there at ap_wait"),
        )
    return None


def written_elsewhere(boot: Observation) -> Failure | None:
    """Return low memory that the BSP has changed outside of the far jump and the copy."""
    changed = boot.starting.before if boot.starting else ()
    found = next((piece for piece in changed if not _by_a_pointer(boot, piece)), None)
    return _changed(boot, found, msg("ap_start, before the first IPI")) if found else None


def _by_a_pointer(boot: Observation, piece: Changed) -> bool:
    """Whether apinitprocs or apinitlock points to what has changed: a failure of its own."""
    for pointer, size in ((boot.bringup.apinitprocs, 4), (boot.bringup.apinitlock, 8)):
        first = pointer.physical if pointer else None
        if (
            first is not None
            and first <= piece.address <= piece.address + piece.size <= first + size
        ):
            return True
    return False


def changed_later(boot: Observation) -> Failure | None:
    """Return low memory that has changed after the first IPI, outside of the jump and the copy."""
    if boot.starting is None or any(ap.overrun for ap in boot.aps):
        return None
    # What an AP has written is told of that AP, and what was changed before, of that change.
    told = boot.starting.before
    mine = next(
        (
            one
            for one in boot.starting.after
            if not _written_by_ap(boot, one) and not any(_within(one, piece) for piece in told)
        ),
        None,
    )
    return None if mine is None else _changed(boot, mine, msg("ap_start, after the first IPI"))


def _within(piece: Changed, other: Changed) -> bool:
    """Whether a piece of memory is in another one."""
    start, end = other.address, other.address + other.size
    return start <= piece.address and piece.address + piece.size <= end


def _written_by_ap(boot: Observation, piece: Changed) -> bool:
    touches = (touch for ap in boot.aps for step in ap.steps for touch in step.touches)
    return any(touch.writes and touch.covers(piece.address, piece.size) for touch in touches)


def _changed(boot: Observation, piece: Changed, place: Text) -> Failure:
    copy = boot.copy_range
    observed = msg(
        "{size} bytes from physical {address:#x} on have changed; they begin {bytes} now",
        size=piece.size,
        address=piece.address,
        bytes=piece.now.hex(" "),
    )
    if piece.address == copy.stop:
        observed = msg(
            "{size} more bytes have changed, right behind the copy, from physical {address:#x} on",
            size=piece.size,
            address=piece.address,
        )
    elif boot.trampoline.image and piece.now == boot.trampoline.image[: len(piece.now)]:
        observed = msg(
            "a copy of the trampoline is at physical {address:#x}", address=piece.address
        )
    behind_jump = _JUMP_BYTES <= piece.address < _WIDE_STORE
    return Failure(
        "low-memory-changed",
        cpu=0,
        place=place,
        expected=msg(
            "below 1 MiB only the {jump} bytes at 0 and the {size} bytes at {first:#x} change",
            jump=_JUMP_BYTES,
            size=len(copy),
            first=copy.start,
        ),
        observed=observed,
        next=msg(
            "They lie right behind the five bytes of the far jump. How many bytes does your store "
            "at 0 write? Five is no size of an integer: save, write and put back exactly five."
        )
        if behind_jump
        else "",
        step="lab3.1" if behind_jump else "",
        goes_on=True,
    )


def not_zero(boot: Observation, label: str) -> Failure | None:
    """Return why the counter or the lock in the copy was not 0, or did not stay as APs left it.

    Args:
        boot: the boot.
        label: "apinit_procs" or "apinit_lock".
    """
    start = boot.starting
    first = next((call for call in start.calls if call.is_sipi), None) if start else None
    if start is None or first is None:
        return None
    lock = label == "apinit_lock"
    pointer = label.replace("_", "")
    found: Text = ""
    if lock and any(first.lock):
        found = msg("its 8 bytes are {bytes}", bytes=first.lock.hex(" "))
    elif not lock and first.procs:
        found = msg("it is {value:#x}", value=first.procs)
    if found:
        return Failure(
            "lock-not-zero" if lock else "counter-not-zero",
            cpu=0,
            place="ap_start",
            expected=msg("{label} in the copy is 0 before the first SIPI", label=label),
            observed=msg("{found} when the first SIPI is sent", found=found),
            goes_on=True,
        )
    end = start.at_ap_wait
    if end is None or (not end.lock_written if lock else (end.counter or 0) >= end.entered):
        return None
    return Failure(
        "lock-written-late" if lock else "counter-written-late",
        cpu=0,
        place="ap_start",
        expected=msg("the BSP does not write to *{pointer} after the first SIPI", pointer=pointer),
        observed=msg("it has written there: an AP that holds the lock loses it")
        if lock
        else msg(
            "{entered} APs had counted themselves in, and *apinitprocs is {count} at ap_wait",
            entered=end.entered,
            count=end.counter or 0,
        ),
        goes_on=True,
    )


# --- order and mappings ---------------------------------------------------------------------------


def no_ap_wait(boot: Observation) -> Failure | None:
    """Return that ap_start came back without calling ap_wait."""
    if boot.starting is None or boot.at("ap_wait", 0) or not boot.at("bsp_proc", 0):
        return None
    return Failure(
        "ap-wait-not-called",
        cpu=0,
        place="ap_start",
        expected=msg("ap_start calls ap_wait after ap_start_addr"),
        observed=msg("it came back without calling ap_wait"),
    )


def ap_wait_before_ipis(boot: Observation) -> Failure | None:
    """Return that ap_start has called ap_wait before an IPI was sent."""
    if boot.starting is None or boot.icr or not boot.at("ap_wait", 0):
        return None
    return Failure(
        "ap-wait-before-ipis",
        cpu=0,
        place="ap_start",
        expected=msg("ap_start calls ap_start_addr, which sends the IPIs, and then ap_wait"),
        observed=msg("ap_wait was called, and no IPI had been sent"),
    )


def jump_too_late(boot: Observation) -> Text:
    """Return that the far jump, which the APs did not find, was there at ap_wait; "" if not."""
    end = boot.starting.at_ap_wait if boot.starting else None
    if end is None or far_jump(end.physical_0) is None:
        return ""
    return msg("It is there when ap_wait is called: write it before ap_start_addr is called.")


def gone_at_ap_wait(boot: Observation) -> Failure | None:
    """Return that the far jump was not at physical 0 any more when ap_wait was called."""
    end = boot.starting.at_ap_wait if boot.starting else None
    if end is None or far_jump(end.physical_0) == far_jump(boot.physical_0.during or b""):
        return None
    return Failure(
        "physical-0-restored-too-early",
        cpu=0,
        place="ap_start",
        expected=msg("the far jump stays at physical 0 until ap_wait comes back"),
        observed=msg(
            "{bytes} is there when ap_wait is called", bytes=end.physical_0[:_JUMP_BYTES].hex(" ")
        ),
    )


def lock_taken_away(boot: Observation) -> Failure | None:
    """Return that the BSP has written to the lock when an AP may have held it: all else is luck."""
    found = not_zero(boot, "apinit_lock")
    return replace(found, goes_on=False) if found is not None else None


def wrong_mapping(boot: Observation) -> Failure | None:
    """Return physical memory that ap_start used without mapmem, or unmapped before ap_wait."""
    start = boot.starting
    if start is None:
        return None
    copy = boot.copy_range
    for first, length in ((0, _JUMP_BYTES), (copy.start, len(copy))):
        pages = _pages(first, length)
        lacking = [page for page in pages if not _written(start.mappings, page)]
        if lacking:
            return _unmapped(start.mappings, first, length)
        if early := _unmapped_early(start, pages):
            return early
    made = boot.bringup.apinitprocs
    if made and not any(one.shows(made.virtual) for one in start.mappings):
        return _not_through(
            msg("apinitprocs = {virtual:#x}, which mapmem did not return", virtual=made.virtual)
        )
    return None


def copy_unmapped_early(boot: Observation) -> Failure | None:
    """Return that the copy was unmapped before ap_wait: both it and the APs use it later."""
    if boot.starting is None:
        return None
    copy = boot.copy_range
    return _unmapped_early(boot.starting, _pages(copy.start, len(copy)))


def _unmapped_early(start: Starting, pages: Sequence[int]) -> Failure | None:
    at_wait = start.at_ap_wait
    early = [one for one in pages if at_wait is not None and one not in at_wait.mapped]
    if not early:
        return None
    return Failure(
        "unmapped-too-early",
        cpu=0,
        place="ap_start",
        expected=msg("the far jump and the copy stay mapped until ap_wait comes back"),
        observed=msg(
            "nothing of ap_start's maps physical {page:#x} when ap_wait is called", page=early[0]
        ),
        goes_on=True,
    )


def _pages(first: int, size: int) -> list[int]:
    return [*range(first & -PAGE_BYTES, first + size, PAGE_BYTES)]


def _written(mappings: Sequence[Mapping], page: int) -> bool:
    return any(one.writable and one.written and one.holds(page) for one in mappings)


def _unmapped(mappings: Sequence[Mapping], first: int, size: int) -> Failure:
    if any(one.writable and one.holds(first) for one in mappings):
        return _not_through(
            msg(
                "physical {first:#x} was mapped, and its {size} bytes were written another way",
                first=first,
                size=size,
            )
        )
    return _not_through(
        msg("physical {first:#x} was written, and never mapped for writing", first=first)
    )


def _not_through(observed: Text) -> Failure:
    return Failure(
        "not-through-mapmem",
        cpu=0,
        place="ap_start",
        expected=msg("ap_start reaches physical memory through what mapmem returns"),
        observed=observed,
        goes_on=True,
    )


def started_early(boot: Observation) -> Failure | None:
    """Return that ap_started was set before everything was put back and unmapped."""
    if boot.starting is None or not boot.starting.started_early:
        return None
    return not_at_the_end(msg("it was true already when unmapmem was called"))


def not_at_the_end(observed: Text) -> Failure:
    """Return that ap_started was not set as the last thing that ap_start does."""
    return Failure(
        "ap-started-wrong",
        cpu=0,
        place="ap_start",
        expected=msg("ap_started = true as the last thing that ap_start does"),
        observed=observed,
        goes_on=True,
    )


# --- a BSP that waits -----------------------------------------------------------------------------


def where_it_waits(boot: Observation) -> Text:
    """Return where the BSP stands in ap_start, if it came neither to ap_wait nor to rest."""
    bsp = boot.bsp
    if boot.at("ap_wait", 0) or boot.at("bsp_proc", 0) or bsp.end_kind not in ("running", "held"):
        return ""
    return msg("the BSP is still at {place}", place=bsp.end_place.text)


def counter_lost(boot: Observation) -> Failure | None:
    """Return that apinit_procs is not the number of APs, though each of them has entered.

    That an AP counts itself once is judged by its steps, in another boot. When ap_wait has come
    back, the number has been right, and the copy is the BSP's again. After another INIT an AP
    counts itself once more.
    """
    entered, count = sum(ap.reached(AP_ENTRY) for ap in boot.aps), boot.counters.apinit_procs
    if boot.at("bsp_proc", 0) or any(init_again(boot, ap.index) for ap in boot.aps):
        return None
    if boot.how_ended == "complete" or entered < len(boot.aps) or count in (None, entered):
        return None
    return Failure(
        "counter-written-late",
        cpu=0,
        place="ap_start",
        expected=msg(
            "the BSP does not write to *{pointer} after the first SIPI", pointer="apinitprocs"
        ),
        observed=msg(
            "all {entered} APs have entered the trampoline, some of them late, and apinit_procs "
            "is {count} then",
            entered=entered,
            count=count,
        ),
    )


def waits_for_late(boot: Observation, cpu: int) -> Failure | None:
    """Return that the BSP did not come to ap_wait while an AP was held at physical 0.

    Args:
        boot: the boot.
        cpu: index of that AP.
    """
    held = boot.first("not-entered.held", cpu)
    called = boot.first("ap_wait", 0)
    if held is None or (called is not None and called.order < held.order):
        return None
    return Failure(
        "ap-start-waits-itself",
        cpu=0,
        place=boot.bsp.end_place.text if where_it_waits(boot) else "ap_start",
        expected=msg("ap_start comes to ap_wait, whether CPU {cpu} has arrived or not", cpu=cpu),
        observed=where_it_waits(boot) or msg("it waited until CPU {cpu} had arrived", cpu=cpu),
        goes_on=True,
    )


def why_it_waits(boot: Observation) -> Failure | None:
    """Return a mistake in ap_start after which the BSP, or an AP, cannot go on."""
    found = (init_again(boot, ap.index) for ap in boot.aps)
    again = next((one for one in found if one is not None), None)
    again = reset_by_bsp(boot) or again
    return again or not_zero(boot, "apinit_procs") or not_zero(boot, "apinit_lock")
