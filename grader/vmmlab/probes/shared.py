"""The student's variables, which exist once for all CPUs: what they hold, and who uses them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.images.linemap import Range
from vmmlab.observe.session import Session
from vmmlab.observe.touched import Touched
from vmmlab.x86.decode import Access

_WRITABLE: Final = (".data", ".bss", "COMMON")


@dataclass(frozen=True)
class Variables:
    """The variables that a submission shares between CPUs, static ones too.

    Args:
        session: the boot.
    """

    session: Session

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        """Where they are."""
        every = self.session.view.symbols.student_ranges
        return tuple(one for one in every if one.section.startswith(_WRITABLE))

    async def held(self) -> bytes:
        """Return what they hold."""
        parts = [
            await self.session.view.read_if_there(one.start - VMM_BASE, one.end - one.start)
            for one in self.ranges
        ]
        return b"".join(parts)

    async def put_back(self, held: bytes) -> None:
        """Let them hold again what they held."""
        for one in self.ranges:
            size = one.end - one.start
            await self.session.gdb.write_phys(one.start - VMM_BASE, held[:size])
            held = held[size:]

    async def touched(self, cpu: int) -> tuple[Access, ...]:
        """Return the accesses to them that the next instruction of a CPU makes."""
        every = await Touched(self.session.view, cpu).accesses() or ()
        return tuple(
            one
            for one in every
            if one.address is not None and any(one.address in part for part in self.ranges)
        )

    async def stored(self, cpu: int) -> bool:
        """Whether the next instruction of a CPU stores one of them, and nothing guards that."""
        return any(one.writes and not one.locked for one in await self.touched(cpu))
