"""What ended the BSP before its work was done."""

from __future__ import annotations

import re
from typing import Final

from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.failure import Failure
from vmmlab.observe.cpu import TakenException
from vmmlab.observe.observation import VMM_BASE, Observation
from vmmlab.x86.registers import PAGE_PRESENT, PAGE_WRITE

_PAGE_FAULT: Final = 14
_PANIC: Final = re.compile(r"panic: (?:CPU 0 \(APIC id [0-9]+\)|APIC id 0): .*")
"""The line that `panic` prints (core/panic.c) on the BSP."""


def bsp_stopped(boot: Observation, by: str = "") -> Failure | None:
    """Return what ended the BSP before its work was done, if anything did.

    Args:
        boot: the boot.
        by: the student's function that the BSP is in at that time, if the check knows: the one to
            look at where provided code has died, or where there is no code at all.
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
            place=str(bsp.end_place),
            expected="the BSP goes on",
            observed=f"the machine reset while the BSP was at {bsp.end_place}: {bsp.end_code}; "
            f"CR2 = {bsp.end.cr2:#x}",
            next="A fault while faults cannot be handled resets a PC. Look at the last address the "
            "BSP used, and at its stack pointer.",
        )
    return None


def _bsp_fault(boot: Observation, by: str) -> Failure:
    taken = boot.bsp.exception
    if taken is None:
        return Failure(
            "bsp-panic",
            cpu=0,
            place=str(boot.bsp.end_place),
            expected="the BSP goes on",
            observed=f"the VMM panicked: {_panic_text(boot)}",
            next="Read the panic's text: it names what was wrong.",
        )
    page_fault = taken.vector == _PAGE_FAULT
    accessed = f", reading or writing address {taken.cr2:#x}" if page_fault else ""
    low = (
        " Addresses below 1 GiB are no longer mapped on the BSP once the memory manager's init "
        "function has run; only mapmem reaches physical memory then."
        if page_fault and taken.cr2 < VMM_BASE
        else ""
    )
    return Failure(
        "bsp-exception",
        cpu=0,
        place=str(taken.place),
        expected="the BSP goes on",
        observed=f"exception {taken.vector} at {taken.place}{accessed}",
        next=_outside_labs(by, taken)
        if by and not taken.place.in_lab
        else f"Look at what the code at {taken.place} reads or writes.{low}",
    )


def _panic_text(boot: Observation) -> str:
    """Return what the BSP's panic says: its line, or its format if none was printed yet."""
    if printed := _PANIC.findall(boot.serial):
        return str(printed[-1])
    hit = boot.first("panic", 0)
    return hit.text if hit and hit.text else last_line(boot.serial)


def _outside_labs(by: str, taken: TakenException) -> str:
    """Return where to look after a fault outside of the student's code."""
    if not taken.place.symbol:
        return (
            f"No code is at {taken.place}: the BSP jumped there, or returned. Look at {by}: from "
            "where does it take the address that it jumps to, and is that place still the same "
            "then?"
        )
    if taken.vector != _PAGE_FAULT:
        mapped = ""
    elif taken.error & PAGE_PRESENT:
        denied = taken.error & PAGE_WRITE
        mapped = f" Address {taken.cr2:#x} is mapped, but not for writing." if denied else ""
    elif taken.cr2 < VMM_BASE:
        mapped = " Below 1 GiB nothing is mapped any more: only mapmem reaches physical memory."
    else:
        mapped = f" Nothing is mapped at {taken.cr2:#x} at that moment."
    return f"That is given code: look at what {by} gives it.{mapped}"


def last_line(serial: str) -> str:
    """Return the last line that the guest printed."""
    lines = [line for line in serial.splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing was printed)"
