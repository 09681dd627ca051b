"""What ended the BSP before its work was done."""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.failure import Failure
from vmmlab.images.layout import MAPMEM_BASE, MAPMEM_SIZE, VMM_BASE
from vmmlab.observe.cpu import TakenException
from vmmlab.observe.observation import Observation
from vmmlab.observe.view import NO_INSTRUCTION
from vmmlab.x86.registers import PAGE_PRESENT, PAGE_WRITE

_PAGE_FAULT: Final = 14
_WORD: Final = 8  # bytes of apinit_lock, more than apinit_procs has
_GOES_ON: Final = msg("the BSP goes on")


def bsp_stopped(boot: Observation, by: str = "") -> Failure | None:
    """Return what ended the BSP before its work was done, if anything did.

    Args:
        boot: the boot.
        by: the student's function that the BSP is in at that time, if the check knows: the one to
            look at if provided code has failed, or if there is no code at all.
    """
    bsp = boot.bsp
    if todo := stopped_at_todo(boot, [bsp]):
        return todo
    if bsp.end_kind in ("exception", "panic"):
        return _bsp_fault(boot, by)
    if boot.how_ended == "shutdown" and not any(ap.milestones for ap in boot.aps):
        return Failure(
            "bsp-triple-fault",
            cpu=0,
            place=bsp.end_place.text,
            expected=_GOES_ON,
            observed=msg(
                "the machine reset while the BSP was at {place}: {code}; CR2 = {cr2:#x}",
                place=bsp.end_place.text,
                code=code_text(bsp.end_code),
                cr2=bsp.end.cr2,
            ),
            next=msg(
                "A fault resets a PC if faults cannot be handled. Look at the last address "
                "that the BSP used, and at its stack pointer."
            ),
        )
    return None


def _bsp_fault(boot: Observation, by: str) -> Failure:
    taken = boot.bsp.exception
    if taken is None:
        called = boot.bsp.panicked
        place = called.place if called else boot.bsp.end_place
        return Failure(
            "bsp-panic",
            cpu=0,
            place=place.text,
            expected=_GOES_ON,
            observed=msg(
                "the VMM panicked: {text}",
                text=called.text if called else last_line(boot.serial),
            ),
            next=msg("Read the message of the panic: it says what was wrong."),
            function=place.lab_function or by,
        )
    where = taken.place.text
    function = taken.place.lab_function or by
    return Failure(
        "bsp-exception",
        cpu=0,
        place=where,
        expected=_GOES_ON,
        observed=exception_text(taken),
        next=_unmapped_copy(boot)
        or (
            _outside_labs(function, taken)
            if function and not taken.place.in_lab
            else _in_lab(taken)
        ),
        function=function,
    )


def exception_text(taken: TakenException) -> Text:
    """Return an exception in words: its number, where, and the instruction or the address."""
    where = taken.place.text
    if taken.vector == _PAGE_FAULT:
        return msg(
            "exception {vector} at {place}, reading or writing address {address:#x}",
            vector=taken.vector,
            place=where,
            address=taken.cr2,
        )
    if not taken.code:
        return msg("exception {vector} at {place}", vector=taken.vector, place=where)
    return msg(
        "exception {vector} at {place}: {code}",
        vector=taken.vector,
        place=where,
        code=code_text(taken.code),
    )


def in_unmapped_copy(boot: Observation) -> str:
    """Return the pointer into the copy of the trampoline that the BSP used when it led nowhere.

    Returns:
        Its name; "" if the BSP stopped otherwise, or if the pointer had never led there.
    """
    taken = boot.bsp.exception
    if taken is None or taken.vector != _PAGE_FAULT or taken.error & PAGE_PRESENT:
        return ""
    made = boot.bringup
    for name, pointer in (("apinitprocs", made.apinitprocs), ("apinitlock", made.apinitlock)):
        known = pointer is not None and 0 <= pointer.virtual - MAPMEM_BASE < MAPMEM_SIZE
        if known and pointer and 0 <= taken.cr2 - pointer.virtual < _WORD:
            return name
    return ""


def _unmapped_copy(boot: Observation) -> Text:
    name = in_unmapped_copy(boot)
    if not name:
        return ""
    return msg(
        "This is what {pointer} points to, and nothing is mapped there any more: the copy of the "
        "trampoline stays mapped until ap_wait has returned.",
        pointer=name,
    )


def _in_lab(taken: TakenException) -> Text:
    """Return where to look after a fault in the student's code."""
    where = taken.place.text
    if taken.vector == _PAGE_FAULT and taken.cr2 < VMM_BASE:
        return msg(
            "Look at what the code at {place} reads or writes. After the memory manager's "
            "init function has run, addresses below 1 GiB are no longer mapped on the BSP; "
            "use mapmem to access physical memory.",
            place=where,
        )
    if taken.vector == _PAGE_FAULT and 0 <= taken.cr2 - MAPMEM_BASE < MAPMEM_SIZE:
        return _in_window(taken)
    return msg("Look at what the code at {place} reads or writes.", place=where)


def _in_window(taken: TakenException) -> Text:
    """Return why an access to the window of mapmem (include/layout.h) faults."""
    if taken.error & PAGE_PRESENT and taken.error & PAGE_WRITE:
        return msg(
            "Address {address:#x} comes from mapmem, and is mapped for reading only: to write "
            "there, map it with MAPMEM_WRITE.",
            address=taken.cr2,
        )
    return msg(
        "Address {address:#x} is in the window of mapmem, and nothing is mapped there at that "
        "moment: was it unmapped before, or is it beyond the mapped length?",
        address=taken.cr2,
    )


def _outside_labs(by: str, taken: TakenException) -> Text:
    """Return where to look after a fault outside of the student's code."""
    if not taken.place.symbol:
        return msg(
            "There is no code at {place}: the BSP jumped there, or returned there. Look at "
            "{function}: where does it take the address from, and is the value there still "
            "the same at that time?",
            place=taken.place.text,
            function=by,
        )
    if taken.vector == _PAGE_FAULT and taken.error & PAGE_PRESENT and taken.error & PAGE_WRITE:
        return msg(
            "This is given code: look at what {function} passes to it. Address "
            "{address:#x} is mapped, but not for writing.",
            function=by,
            address=taken.cr2,
        )
    if taken.vector != _PAGE_FAULT or taken.error & PAGE_PRESENT:
        return msg("This is given code: look at what {function} passes to it.", function=by)
    if taken.cr2 < VMM_BASE:
        return msg(
            "This is given code: look at what {function} passes to it. Nothing is mapped "
            "below 1 GiB any more; use mapmem to access physical memory.",
            function=by,
        )
    return msg(
        "This is given code: look at what {function} passes to it. Nothing is mapped at "
        "{address:#x} at that time.",
        function=by,
        address=taken.cr2,
    )


def last_line(serial: str) -> Text:
    """Return the last line that the guest printed."""
    lines = [line for line in serial.splitlines() if line.strip()]
    return lines[-1] if lines else msg("(nothing was printed)")


def code_text(code: str) -> Text:
    """Return an instruction as text for a reader."""
    return msg("no valid instruction is there") if code == NO_INSTRUCTION else code
