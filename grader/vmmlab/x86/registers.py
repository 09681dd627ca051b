"""Control bits of an x86 processor, named as the manuals name them.

Sources: Intel SDM volume 3, sections 2.3 (EFLAGS), 2.5 (control registers), 2.2.1 (IA32_EFER),
3.4.5 (segment descriptors), 4.7 (error code of a page fault) and 10.6.1 (interrupt command
register).
"""

from __future__ import annotations

from typing import Final, Literal

CR0_PE: Final = 1 << 0
"""Protection enable."""
CR0_NW: Final = 1 << 29
"""Not write-through."""
CR0_CD: Final = 1 << 30
"""Cache disable."""
CR0_PG: Final = 1 << 31
"""Paging."""
RESET_AT: Final = (0xF000, 0xFFF0)
"""CS and IP after a reset or INIT (Intel SDM vol. 3, table 9-1)."""
EFLAGS_IF: Final = 1 << 9
"""Maskable interrupts are taken."""
EFLAGS_DF: Final = 1 << 10
"""String instructions go to lower addresses."""
CR4_PAE: Final = 1 << 5
"""Physical address extension."""
EFER_LME: Final = 1 << 8
"""IA-32e mode enable."""
EFER_LMA: Final = 1 << 10
"""IA-32e mode active."""
MSR_EFER: Final = 0xC0000080
"""The number of EFER."""

PAGE_BYTES: Final = 4096
"""The smallest page (Intel SDM vol. 3, 4.2)."""
PAGE_PRESENT: Final = 1 << 0
"""In the error code of a page fault: the page is mapped."""
PAGE_WRITE: Final = 1 << 1
"""In the error code of a page fault: the access was a write."""

ICR_ASSERT: Final = 1 << 14
"""Level: assert."""
ICR_LOGICAL: Final = 1 << 11
"""Destination mode: logical."""
ICR_LEVEL: Final = 1 << 15
"""Trigger mode: level."""
ICR_MODE: Final = 0x700
"""Delivery mode."""
ICR_NMI: Final = 0x400
ICR_INIT: Final = 0x500
ICR_STARTUP: Final = 0x600

# The second half of a segment descriptor.
DESC_PRESENT: Final = 1 << 15
DESC_S: Final = 1 << 12
"""Code or data, no system segment."""
DESC_CODE: Final = 1 << 11
DESC_EXPAND_DOWN: Final = 1 << 10
"""Of a data segment."""
DESC_CONFORMING: Final = 1 << 10
"""Of a code segment."""
DESC_READABLE: Final = 1 << 9
"""A code segment may be read; a data segment may be written."""
DESC_LONG: Final = 1 << 21
"""L: a 64-bit code segment."""
DESC_BIG: Final = 1 << 22
"""D/B: a 32-bit segment."""
DESC_GRANULAR: Final = 1 << 23
"""G: the limit counts pages of 4 KiB."""

Mode = Literal["real", "protected", "long"]
"""The processor modes that CR0.PE and EFER.LMA select; compatibility mode counts as long."""

EXCEPTIONS: Final = {
    0: "#DE", 2: "NMI", 3: "#BP", 6: "#UD", 8: "#DF", 10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP",
    14: "#PF",
}  # fmt: skip
"""Mnemonics of the exceptions that a bring-up can meet (SDM volume 3, table 6-1)."""


def exception_name(vector: int) -> str:
    """Return an exception as the manuals call it, with its vector: "#GP (13)"."""
    return f"{EXCEPTIONS.get(vector, 'exception')} ({vector})"


def mode_of(cr0: int, efer: int) -> Mode:
    """Return the processor mode that CR0.PE and EFER.LMA select."""
    if not cr0 & CR0_PE:
        return "real"
    return "long" if efer & EFER_LMA else "protected"
