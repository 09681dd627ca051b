"""One boot from the entry of vmm_main to its end: prepare, watch, detect the end, record."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final, Protocol

from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb import Stop
from vmmlab.observe import deadlock
from vmmlab.observe.faults import note_exception
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit, HowEnded, Observation
from vmmlab.observe.record import record
from vmmlab.observe.session import RESTARTED, Session
from vmmlab.observe.view import FILLED
from vmmlab.x86.encode import INT3

_PHYSICAL_0_BYTES: Final = 16


class Watching(Protocol):
    """What a boot asks of its probe."""

    @property
    def places(self) -> tuple[str, ...]:
        """Symbols to stop at, besides those at which a CPU comes to rest."""

    async def start(self, session: Session) -> None:
        """Called once, with all CPUs stopped and the BSP at the entry of `vmm_main`."""

    async def hit(self, session: Session, hit: Hit) -> None:
        """Called for every stop at a named place, with all CPUs stopped."""

    async def quiet(self, session: Session) -> bool:
        """Called when nothing has happened for a while; True if the boot should go on."""


async def observe(session: Session, probe: Watching) -> Observation:
    """Boot, watch and return what was seen.

    Args:
        session: a started machine; no CPU has run yet.
        probe: what the boot is watched for.

    Raises:
        MachineDied: QEMU ended although the guest did not ask for it.
    """
    began = time.monotonic()
    await session.places.watch("vmm_main")
    stop = await session.go(timeout_s=session.limits.start_s)
    session.view.since_s = time.time()
    if stop.kind == "break":
        await session.arrive(stop)
        await _prepare(session, probe)
        how = await _watch(session, probe)
    else:
        how = "shutdown" if stop.kind == "shutdown" else "quiet"
    return await record(session, how, time.monotonic() - began)


async def _prepare(session: Session, probe: Watching) -> None:
    """Fill the memory that the trampoline will use, and keep what there is of it in the image."""
    view, log, inputs = session.view, session.log, session.inputs
    fill = bytes(session.choice.between(1, 255) for _ in range(_PHYSICAL_0_BYTES))
    await session.gdb.write_phys(0, fill)
    log.physical_0 = replace(log.physical_0, before=fill)
    page = inputs.apinit_addr & ~0xFFF
    await session.gdb.write_phys(page, INT3 * FILLED)
    start, size = view.symbols.maybe("cpuinit_start"), view.trampoline_size
    image = b"" if start is None else await view.read_if_there(start - VMM_BASE, size)
    log.trampoline = replace(
        log.trampoline,
        image=image,
        procs_at=view.in_copy("apinit_procs"),
        lock_at=view.in_copy("apinit_lock"),
    )
    await session.places.unwatch("vmm_main")  # it may be a loop to itself
    await session.places.watch_all((*rest_places(), RESTARTED, *probe.places))
    await probe.start(session)


async def _watch(session: Session, probe: Watching) -> HowEnded:
    end = time.monotonic() + session.limits.total_s
    while time.monotonic() < end:
        stop = await _next_event(session)
        if stop.kind == "shutdown":
            return "shutdown"
        if stop.kind != "break":
            if await probe.quiet(session):
                continue
            return "quiet"
        hit = await session.arrive(stop)
        if hit is not None and not session.ended:
            await note_exception(session, hit)
            await probe.hit(session, hit)
        if session.ended:
            return "shutdown"
        if session.finished:
            return "shown"
        if all(log.rest for log in session.log.cpus):
            return "complete"
    return "quiet"


async def _next_event(session: Session) -> Stop:
    """Let the machine run until something happens, or it is proved that nothing will.

    Where something has already gone wrong, little can come any more: then the wait is shorter.
    """
    limits = session.limits
    left_s = limits.trouble_s if session.trouble else limits.quiet_s
    look_s = limits.look_s
    while True:
        began_s = time.time()
        stop = await session.go(timeout_s=min(look_s, left_s))
        left_s -= look_s
        if stop.kind != "interrupt" or left_s <= 0:
            return stop
        if not session.view.called_since(began_s):
            found = await deadlock.look(session)
            if isinstance(found, Stop):
                return found
            if found:
                return stop
            if session.ended:
                return Stop("shutdown")
        look_s *= 2
