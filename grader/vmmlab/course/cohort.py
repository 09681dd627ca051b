"""Cohorts: the numbers in cohort.h, which make a solution copied from another class fail.

A cohort is a name and four numbers derived from it. Grading takes them from the roster or the
course's secret, never from a submission. Three of them have a role in a grading: the submission's
own; another one, which is public, for open checks; and a third one for hidden checks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

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

Role = Literal["own", "other", "third"]
"""Which cohort a boot is built for.

own: the submission's, as its cohort.h says.
other: a fixed one; its prebuilt labs travel with every workspace, release and wheel.
third: one whose prebuilt labs exist only where the reference solution is.
"""


@dataclass(frozen=True, slots=True)
class Cohort:
    """The numbers that vary from class to class.

    Attributes:
        name: letters, digits, `.`, `_`, `-`; `dev` is the kit's own.
        apinit_addr: physical address of the copied trampoline, a multiple of 8, often not of 4 KiB.
        apinit_offset: offset part of the far jump; `apinit_addr - apinit_offset` is segment * 16.
        stack_size: bytes of each CPU's own stack.
        pcpu_pad: bytes of padding in the per-CPU structure.
        shown: the name in cohort.h, if not `name`: a guest cannot tell its role from that.
    """

    name: str
    apinit_addr: int
    apinit_offset: int
    stack_size: int
    pcpu_pad: int
    shown: str = ""

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
        if name in _FIXED:
            return _FIXED[name]
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

    def in_role(self, role: Role, secret: str = "") -> Cohort:
        """Return the cohort that has a role in the grading of a submission of this one.

        Each of its four numbers is another one than here.

        Args:
            role: its role.
            secret: the course's secret, which decides the third cohort; "" makes it public.
        """
        if role == "own":
            return self
        if role == "other":
            return replace(DEV if self._shares_with(DEV2) else DEV2, shown=self.name)
        other = self.in_role("other")
        number = 0
        while True:
            found = Cohort.derive(f"{THIRD}-{number}", secret)
            if not (
                found._shares_with(self)
                or found._shares_with(other)
                or 0 in (found.apinit_offset, found.pcpu_pad)
            ):
                return replace(found, name=THIRD, shown=self.name)
            number += 1

    def _shares_with(self, other: Cohort) -> bool:
        """Whether one of the four numbers is the same."""
        mine, theirs = self.literals(), other.literals()
        return any(mine[name] == theirs[name] for name in mine)

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

#define VMM_COHORT    "{self.shown or self.name}"
#define APINIT_ADDR   {numbers["apinit_addr"]}
#define APINIT_OFFSET {numbers["apinit_offset"]}
#define VMM_STACKSIZE {numbers["stack_size"]}
#define PCPU_PAD      {numbers["pcpu_pad"]}

#endif
"""


DEV: Final = Cohort("dev", apinit_addr=0xF000, apinit_offset=0, stack_size=0x8000, pcpu_pad=0)
"""The kit's own cohort, with the numbers of BitVisor."""

DEV2: Final = Cohort(
    "dev2", apinit_addr=0x5C648, apinit_offset=0x2A8, stack_size=0xA000, pcpu_pad=136
)
"""The other cohort of open checks. No derived cohort has its offset, stack size or padding."""

THIRD: Final = "third"
"""The name of the cohort of hidden checks."""

_FIXED: Final = {"dev": DEV, "dev2": DEV2}
