"""The probe of the delay between INIT and the first SIPI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vmmlab.observe.evidence import Delay
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import DELAY_FIELDS, BaseProbe
from vmmlab.probes.registry import probe
from vmmlab.x86.registers import ICR_ASSERT, ICR_INIT, ICR_LEVEL, ICR_MODE, ICR_STARTUP

VERY_LONG_US: Final = 4_000_000_000
PIECES: Final = 64  # calls of usleep after which the sum is not waited for any more


@probe("delay")
@dataclass
class DelayProbe(BaseProbe):
    """Records the delay between INIT and the first SIPI, with `ap_delays.init_us` above an hour.

    Elapsed time proves nothing on a busy host, so it is not measured. usleep returns at once, and
    its arguments are added up; a VMM that waits in another way does not reach the SIPI.
    """

    places: tuple[str, ...] = ("apic_write_icr", "usleep")
    delays: Mapping[str, int] = field(default_factory=dict, init=False)

    async def start(self, session: Session) -> None:
        """Ask for a very long delay."""
        await session.view.write_u32("ap_delays", VERY_LONG_US, DELAY_FIELDS["init_us"])

    async def hit(self, session: Session, hit: Hit) -> None:
        """After the first INIT, follow the BSP to the SIPI."""
        if hit.place == "usleep":
            await session.view.set_argument(hit.cpu, "usleep", 0, 0)
        if hit.cpu != 0 or hit.place != "apic_write_icr":
            return
        if _kind(await session.view.argument(0, hit.place, 1)) != ICR_INIT:
            return
        slept, sipi = 0, False
        for _ in range(PIECES):
            verdict, state = await session.run_to(0, "apic_write_icr", "usleep", attempts=2)
            if verdict != "reached":
                break
            if session.places.at(state.pc) == "usleep":
                slept += await session.view.argument(0, "usleep") & 0xFFFFFFFF
                await session.view.set_argument(0, "usleep", 0, 0)
            elif _kind(await session.view.argument(0, "apic_write_icr", 1)) == ICR_STARTUP:
                sipi = True
                break
        session.log.delay = Delay(slept, sipi)
        session.finished = True


def _kind(icr_low: int) -> int:
    """Return the delivery mode; 0 for an INIT level de-assert, which starts nothing."""
    level_deassert = icr_low & ICR_LEVEL and not icr_low & ICR_ASSERT
    return 0 if level_deassert else icr_low & ICR_MODE
