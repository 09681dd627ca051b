"""Cohorts: the numbers in cohort.h, which make a solution copied from another class fail.

A cohort is a name and four numbers derived from it. Grading takes them from the roster or the
course's secret, never from a submission.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from vmmlab.base.choice import Choice
from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")

TRAMPOLINE_MAX: Final = 0x1000
"""Bytes kept free for the copied trampoline."""

# The trampoline must stay clear of the boot sector (0x7C00), of QEMU's multiboot information (the
# memory map at 0x9000 and the structure at 0x9500: hw/i386/multiboot.c) and of the EBDA (0x9FC00).
_LOWEST: Final = 0xA000
_HIGHEST: Final = 0x9E000 - TRAMPOLINE_MAX
_MAX_OFFSET: Final = 0x1F0
_STACK_SIZES: Final = (0x4000, 0x6000, 0x8000, 0xC000)
_MAX_PAD: Final = 128


@dataclass(frozen=True, slots=True)
class Cohort:
    """The numbers that vary from class to class.

    Attributes:
        name: letters, digits, `.`, `_`, `-`; `dev` is the kit's own.
        apinit_addr: physical address of the copied trampoline, a multiple of 8, often not of 4 KiB.
        apinit_offset: offset part of the far jump; `apinit_addr - apinit_offset` is segment * 16.
        stack_size: bytes of each CPU's own stack.
        pcpu_pad: bytes of padding in the per-CPU structure.
    """

    name: str
    apinit_addr: int
    apinit_offset: int
    stack_size: int
    pcpu_pad: int

    @property
    def segment(self) -> int:
        """The segment part of the far jump at physical 0."""
        return (self.apinit_addr - self.apinit_offset) >> 4

    @classmethod
    def derive(cls, name: str, secret: str = "") -> Cohort:
        """Return the cohort called `name`; the same name and secret give the same numbers.

        Args:
            name: the cohort's name; `dev` has fixed numbers, with any secret.
            secret: the course's secret; "" makes the numbers public.

        Raises:
            UsageError: `name` has characters that a cohort's name may not have.
        """
        if not NAME.fullmatch(name):
            raise UsageError(
                msg("{name!r} cannot be a cohort's name.", name=name),
                expected=msg("letters, digits, '.', '_' and '-', at most 32"),
            )
        if name == "dev":
            return cls("dev", apinit_addr=0xF000, apinit_offset=0, stack_size=0x8000, pcpu_pad=0)
        draw = Choice("vmmlab cohort 1", name, secret=secret)
        offset = 8 * (draw.below(_MAX_OFFSET // 8 + 1))
        first = (_LOWEST + 15) >> 4
        last = (_HIGHEST - offset) >> 4
        segment = first + draw.below(last - first + 1)
        return cls(
            name,
            apinit_addr=16 * segment + offset,
            apinit_offset=offset,
            stack_size=draw.pick(_STACK_SIZES),
            pcpu_pad=8 * (draw.below(_MAX_PAD // 8 + 1)),
        )

    def literals(self) -> dict[str, str]:
        """Return the four numbers as text that C and TOML both read."""
        return {
            "apinit_addr": f"0x{self.apinit_addr:X}",
            "apinit_offset": f"0x{self.apinit_offset:X}",
            "stack_size": f"0x{self.stack_size:X}",
            "pcpu_pad": str(self.pcpu_pad),
        }

    def header(self) -> str:
        """Return the text of cohort.h, the same as the workspace's own."""
        numbers = self.literals()
        return f"""\
/* Values that differ between runs of the course.  Written by vmmlab; grading
 * uses its own copy.  Use the names, never the numbers. */
#ifndef COHORT_H
#define COHORT_H

#define VMM_COHORT    "{self.name}"
#define APINIT_ADDR   {numbers["apinit_addr"]}
#define APINIT_OFFSET {numbers["apinit_offset"]}
#define VMM_STACKSIZE {numbers["stack_size"]}
#define PCPU_PAD      {numbers["pcpu_pad"]}

#endif
"""
