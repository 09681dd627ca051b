"""The cheapest probe: which CPUs park, with which number, and through which function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe, write_pointer
from vmmlab.probes.registry import probe

INITPROC: Final = "initproc_ap"
_JUMP: Final = 0xE9  # jmp rel32
_JUMP_BYTES: Final = 5


@probe("end")
@dataclass
class EndProbe(BaseProbe):
    """Records which CPUs park, and with which number.

    Args:
        decoy: initproc_ap leads to its function by a detour, so that it is known which APs call it.
    """

    decoy: bool = False

    async def start(self, session: Session) -> None:
        """Watch where the BSP is before any AP runs."""
        await BaseProbe.start(self, session)
        if self.decoy:
            await session.places.watch("bspinitproc1")

    async def hit(self, session: Session, hit: Hit) -> None:
        """Exchange the pointer once, before an AP can have read it."""
        await BaseProbe.hit(self, session, hit)
        if hit.place == "bspinitproc1":
            await session.places.unwatch("bspinitproc1")
            await self._exchange(session)

    async def _exchange(self, session: Session) -> None:
        """Let initproc_ap lead to vmm_main, of which no code runs any more, and that on."""
        view = session.view
        pointer, detour = view.phys(INITPROC), view.addr("vmm_main")
        target = await view.read_pointer(pointer)
        away = (target - detour - _JUMP_BYTES) & 0xFFFFFFFF
        jump = bytes([_JUMP]) + away.to_bytes(4, "little")
        await session.gdb.write_phys(detour - VMM_BASE, jump)
        await write_pointer(session, pointer, detour)
        await session.places.watch(INITPROC, detour)
