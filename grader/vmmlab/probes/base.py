"""The probe that others build on: which numbers the APs get, who parks, what ap_start prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vmmlab.machine.gdb import GdbError
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import REST_PLACES, VMM_BASE, Director, Probe

DELAY_FIELDS = {"init_us": 0, "sipi_us": 4, "poll_us": 8, "wait_us": 12}
"""Offsets in `struct ap_delays` (include/ap.h), in bytes."""
POISON_MOST = 1 << 20  # bytes of one piece of memory to fill


@dataclass
class EndProbe(Probe):
    """The cheapest probe: the numbers of the APs and who parks."""

    places: tuple[str, ...] = ("segment_init_ap", "ap_wait", "bsp_proc")
    delays: Mapping[str, int] = field(default_factory=dict)
    looked: bool = field(default=False, init=False)

    async def start(self, director: Director) -> None:
        """Set the delays that the scenario asks for."""
        for name, value in self.delays.items():
            await director.write_u32("ap_delays", value, DELAY_FIELDS[name])

    async def hit(self, director: Director, hit: Hit) -> None:
        """Look at what ap_start has prepared, while it is needed and after."""
        if hit.cpu == 0 and hit.place in ("ap_wait", *REST_PLACES):
            await self.look_while_needed(director)
        if hit.cpu == 0 and hit.place in ("ap_wait", "bsp_proc"):
            raw = await director.gdb.read_phys(director.phys("ap_started"), 1)
            director.facts.setdefault(f"ap_started.{hit.place}", raw[0])

    async def quiet(self, director: Director) -> bool:
        """The BSP came to none of these places: look now."""
        await self.look_while_needed(director)
        return False

    async def look_while_needed(self, director: Director, *, final: bool = True) -> None:
        """What ap_start has prepared, as it is now.

        Args:
            director: the boot.
            final: an AP is there, or the BSP waits or can go no further: later looks do not count.
        """
        if self.looked:
            return
        self.looked = final
        await director.snapshot("physical-0.during", 0, 16)
        address = director.inputs.apinit_addr
        await director.snapshot("trampoline.copy", address, director.trampoline_size)
        for pointer in ("apinitprocs", "apinitlock"):
            virtual = await director.read_pointer(director.phys(pointer))
            physical = await director.translate(0, virtual) if virtual else None
            director.facts[f"{pointer}.virtual"] = virtual
            director.facts[f"{pointer}.physical"] = physical or 0


async def keep_what_alloc_returns(director: Director, hit: Hit) -> None:
    """Let the CPU that called alloc come back from it, and write down what it was given.

    The memory is filled with chance bytes: its contents are undefined (include/mm.h), and at boot
    they would be zeros, with which much works that should not.
    """
    size = await director.argument(hit.cpu, hit.place) & 0xFFFFFFFF
    try:
        back = await director.stack_word(hit.cpu)
    except GdbError:
        return  # no stack is mapped there (any more): nothing to come back by
    name = f"alloc({size:#x}) returned"
    await director.watch(name, back)
    verdict, state = await director.run_to(hit.cpu, name)
    await director.unwatch(name)
    if verdict == "reached":
        director.give_value(name, hit.cpu, state.rax)
        if VMM_BASE <= state.rax < 2 * VMM_BASE and 0 < size <= POISON_MOST:
            poison = director.random.randbytes(size)
            await director.gdb.write_phys(state.rax - VMM_BASE, poison)
