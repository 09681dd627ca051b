"""One boot from the entry of vmm_main to its end: prepare, watch, detect the end, record."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from vmmlab.base.choice import Choice
from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg
from vmmlab.base.text import clean_line
from vmmlab.images.layout import VMM_BASE
from vmmlab.machine import MachineDied
from vmmlab.machine.gdb import MemoryUnreadable, Stop
from vmmlab.observe import deadlock
from vmmlab.observe.deadline import Deadline
from vmmlab.observe.evidence import Lost
from vmmlab.observe.lost import BootLost, lost_boot
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit, HowEnded, Observation
from vmmlab.observe.record import record
from vmmlab.observe.session import RESTARTED, Session
from vmmlab.observe.settle import settle
from vmmlab.observe.view import FILLED
from vmmlab.x86.encode import STOPPING

_PHYSICAL_0_BYTES: Final = 16
_PAGE_MASK: Final = 0xFFF
_FREE_PAGES: Final = (0xA, 0x9E)
"""Pages that neither the firmware nor QEMU uses once the VMM runs: as `course.cohort` says."""
_PAGES_FILLED: Final = 3
_ROUNDS_MOST: Final = 256
"""Times that a CPU comes to the same place; one that comes more often goes round for ever."""
_SENDER: Final = "apic_write_icr"
_SENDS_MOST: Final = 1100
"""The same for IPIs: an INIT and three SIPIs for each id that an xAPIC can have, one by one."""
_MOVED_AT: Final = "ap_start"  # between the moment when apinit_addr is set and its first use


class Watching(Protocol):
    """What a boot asks of its probe."""

    @property
    def places(self) -> tuple[str, ...]:
        """Symbols to stop at, besides those at which a CPU comes to rest."""

    @property
    def leaves_traces(self) -> bool:
        """Whether memory that the VMM has not written yet may be filled."""

    async def start(self, session: Session) -> None:
        """Called once, with all CPUs stopped and the BSP at the entry of `vmm_main`."""

    async def hit(self, session: Session, hit: Hit) -> None:
        """Called for every stop at a named place, with all CPUs stopped."""

    async def touched(self, session: Session, stop: Stop) -> None:
        """Called when a CPU has used memory that the probe watches, with all CPUs stopped."""

    async def quiet(self, session: Session) -> bool:
        """Called when nothing has happened for a while; return True to continue the boot."""

    async def over(self, session: Session) -> None:
        """Called once, at the end of the boot, however it came, with all CPUs stopped."""


async def observe(
    session: Session, probe: Watching, over: Callable[[], bool] = lambda: False
) -> Observation:
    """Boot, observe and return the record, within the time limit of a boot.

    Args:
        session: a started machine; no CPU has run yet.
        probe: decides what is recorded.
        over: whether there is no time left for another reason, such as the grade's limit.

    Raises:
        BootLost: QEMU ended although the guest did not ask for it, or no longer answered.
    """
    limits, machine = session.limits, session.view.machine
    deadline = Deadline(limits.total_s, limits.work_s, machine.worked_s, over)
    how: HowEnded = "lost"
    try:
        try:
            async with deadline.enforced():
                how = await _boot(session, probe)
                if how == "quiet":
                    await settle(session)
        except TimeoutError:
            how = "timeout"
        except MemoryUnreadable as error:
            session.log.note_unreadable(error)
            how = "quiet"
        async with asyncio.timeout(limits.last_s):
            await _halt(session)
            await probe.over(session)
            seen = await record(session, how, time.monotonic() - deadline.began)
            return replace(seen, lost=Lost("no-time")) if deadline.had_none else seen
    except (InfraError, TimeoutError) as error:
        wall_s = time.monotonic() - deadline.began
        died = isinstance(error, MachineDied)
        lost = Lost("ended" if died else "no-answer", _words(error))
        if how == "timeout" and not died:
            return lost_boot(session, lost, "timeout", wall_s)
        cause = error if isinstance(error, InfraError) else InfraError(msg("QEMU does not answer."))
        raise BootLost(cause, lost_boot(session, lost, "lost", wall_s)) from error


async def _halt(session: Session) -> None:
    """Stop the machine if it runs: a probe may have been interrupted while it waited."""
    if session.gdb.running:
        stop = await session.gdb.interrupt()
        session.ended = session.ended or stop.kind in ("shutdown", "exit")


def _words(error: Exception) -> str:
    """Return what QEMU said at its end."""
    return clean_line(str(error.found)) if isinstance(error, MachineDied) else ""


async def _boot(session: Session, probe: Watching) -> HowEnded:
    await session.places.watch("vmm_main")
    stop = await session.go(timeout_s=session.limits.start_s)
    session.view.since_s = time.time()
    if stop.kind == "break":
        await session.arrive(stop)
        await _prepare(session, probe)
        return await _watch(session, probe)
    return "shutdown" if stop.kind == "shutdown" else "quiet"


async def _prepare(session: Session, probe: Watching) -> None:
    """Fill the memory that the trampoline will use, and keep what there is of it in the image."""
    view, log, inputs = session.view, session.log, session.inputs
    if probe.leaves_traces and not inputs.uefi:
        fill = bytes(session.choice.between(1, 255) for _ in range(_PHYSICAL_0_BYTES))
        await session.gdb.write_phys(0, fill)
        log.physical_0 = replace(log.physical_0, before=fill)
        await _fill(session)
    start, size = view.symbols.maybe("cpuinit_start"), view.trampoline_size
    image = b"" if start is None else await view.read_if_there(start - VMM_BASE, size)
    log.trampoline = replace(
        log.trampoline,
        image=image,
        before=await view.read_if_there(inputs.apinit_addr, size),
        procs_at=view.in_copy("apinit_procs"),
        lock_at=view.in_copy("apinit_lock"),
    )
    await session.places.unwatch("vmm_main")  # it may be a loop to itself
    moved = (_MOVED_AT,) if inputs.apinit_addr_linked is not None else ()
    await session.places.watch_all((*rest_places(), RESTARTED, *moved, *probe.places))
    await probe.start(session)


async def _fill(session: Session) -> None:
    """Fill the memory around the place of the copy, and some other pages, with random bytes.

    Half of the bytes are instructions that stop a stray CPU at once.
    """
    copy = session.inputs.apinit_addr & ~_PAGE_MASK
    choice = Choice("vmmlab fill 1", session.inputs.seed, session.inputs.scenario)
    others = choice.some(_PAGES_FILLED, range(*_FREE_PAGES))
    for page, size in ((copy, FILLED), *((page << 12, _PAGE_MASK + 1) for page in others)):
        if page == copy or not copy - size < page < copy + FILLED:
            await session.gdb.write_phys(page, choice.randbytes(size).translate(STOPPING))


async def _watch(session: Session, probe: Watching) -> HowEnded:
    rounds: Counter[tuple[int, str, int | None]] = Counter()
    while True:
        stop = await _next_event(session)
        if stop.kind == "shutdown":
            return "shutdown"
        if stop.kind == "watch":
            await probe.touched(session, stop)
            continue
        if stop.kind != "break":
            if await probe.quiet(session):
                continue
            return "quiet"
        hit = await session.arrive(stop)
        if hit is not None and await _goes_round(session, hit, rounds):
            return "quiet"
        if hit is not None and not session.ended:
            if hit.place == _MOVED_AT:
                await _move(session)
            await probe.hit(session, hit)
        if session.ended:
            return "shutdown"
        if session.finished:
            return "shown"
        if all(log.rest for log in session.log.cpus):
            return "complete"


async def _goes_round(
    session: Session, hit: Hit, rounds: Counter[tuple[int, str, int | None]]
) -> bool:
    """Count a stop; return whether the CPU has come there too often, with one destination too."""
    sends = hit.place == _SENDER and not session.ended
    dest = await session.view.argument(hit.cpu, hit.place) if sends else 0
    one, every = (hit.cpu, hit.place, dest), (hit.cpu, hit.place, None)
    rounds.update((one, every))
    return rounds[one] > _ROUNDS_MOST or rounds[every] > _SENDS_MOST


async def _move(session: Session) -> None:
    """Give apinit_addr the value that this boot asks for; core/bsp.c has just set it."""
    if session.inputs.apinit_addr_linked is not None:
        await session.view.write_u32("apinit_addr", session.inputs.apinit_addr)


async def _next_event(session: Session) -> Stop:
    """Let the machine run until something happens, or it is proved that nothing more can.

    After an error little more can happen, so the wait is then shorter. A guest that makes its CPU
    leave it again and again, and does nothing else, is not waited for.
    """
    limits = session.limits
    left_s = limits.trouble_s if session.trouble else limits.quiet_s
    look_s = limits.look_s
    while True:
        began_s = time.time()
        stop = await session.go(timeout_s=min(look_s, left_s))
        left_s -= look_s
        if stop.kind != "interrupt" or left_s <= 0 or session.flooded():
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
