"""Follows the BSP through ap_start: IPIs, delays, mappings, and what low memory holds when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import MAPMEM_BASE, VMM_BASE
from vmmlab.observe.evidence import MappedPage
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.observe.starting import AtApWait, Changed, IcrCall, Mapping, Starting
from vmmlab.probes.base import DELAY_FIELDS
from vmmlab.probes.sleeping import Sleeps
from vmmlab.x86.registers import PAGE_BYTES

INIT_US: Final = 7_000_111
SIPI_US: Final = 70_000_333
"""Delays that no solution has as a number, the second one ten times the first."""
_INSIDE: Final = ("apic_write_icr", "mapmem", "unmapmem")
_LOW_BYTES: Final = 0xA0000  # the rest below 1 MiB belongs to devices and firmware
_JUMP_BYTES: Final = 5
_LOCK_BYTES: Final = 8
_BEGINNING: Final = 16  # bytes of the copy
_CHANGES: Final = 8  # pieces of low memory that are reported at most
_PRESENT, _DIRTY = 1 << 0, 1 << 6  # of a page-table entry
_FRAME: Final = 0x000FFFFFFFFFF000
_MAPMEM_WRITE: Final = 2  # include/mm.h
_TAKEN: Final = bytes([1, 0x5A, 0xA5, 0x3C, 0xC3, 0x96, 0x69, 0x77])
"""Written to apinit_lock while all APs are held: it shows whether the BSP writes there."""
_ALONE_S: Final = 0.25
"""Processor time for the BSP alone: a wall clock would blame a busy host on the student."""
_ALONE_TIMES: Final = 4
"""How often nothing may happen before: a BSP that has halted uses no processor time."""


@dataclass
class StartWatch:
    """Records what the BSP does from the entry of ap_start to bsp_proc.

    Args:
        session: the boot.
    """

    session: Session
    sleeps: Sleeps = field(init=False)
    known: Starting = field(default=Starting(INIT_US, SIPI_US), init=False)
    _calls: list[IcrCall] = field(default_factory=list, init=False)
    _maps: list[Mapping] = field(default_factory=list, init=False)
    _low: bytes = field(default=b"", init=False)
    _marked: bool = field(default=False, init=False)
    _lock_written: bool = field(default=False, init=False)
    _held: set[int] = field(default_factory=set, init=False)
    _alone_since_s: float = field(default=0.0, init=False)
    _quiet_times: int = field(default=0, init=False)
    _on: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.sleeps = Sleeps(self.session)

    async def start(self) -> None:
        """Ask for the delays, and watch where ap_start begins."""
        view = self.session.view
        await view.write_u32("ap_delays", INIT_US, DELAY_FIELDS["init_us"])
        await view.write_u32("ap_delays", SIPI_US, DELAY_FIELDS["sipi_us"])
        await self.session.places.watch("ap_start")

    async def hit(self, hit: Hit) -> None:
        """Record what a stop of the BSP shows; called before the BSP goes on."""
        if hit.cpu != 0:
            return
        await self._unmark()
        if hit.place == "ap_start" and not self._on:
            await self._begin()
        elif hit.place == "mapmem" and self._on:
            await self._map(hit)
        elif hit.place == "unmapmem" and self._on:
            await self._unmap()
        elif hit.place in ("ap_wait", "bsp_proc", *rest_places()):
            await self._leave(hit.place)

    async def quiet(self) -> bool:
        """Let the APs go on if the BSP waits for them; return whether there were any."""
        if not self._held:
            return False
        self._quiet_times += 1
        enough = self._worked_s() - self._alone_since_s >= _ALONE_S
        if enough or self._quiet_times > _ALONE_TIMES:
            await self._unmark()
            self._let_go()
        return True

    def keep(self) -> None:
        """Put what is known into the log."""
        self.session.log.starting = replace(
            self.known, calls=tuple(self._calls), mappings=tuple(self._maps)
        )

    async def _begin(self) -> None:
        self._on = True
        self._low = await self._read_low()
        await self.sleeps.install()
        await self.session.places.watch_all(_INSIDE)
        self.keep()

    async def _prepared(self) -> None:
        """Record what the BSP has changed before it sends the first IPI, or stops without any."""
        view = self.session.view
        start, size = view.symbols.maybe("cpuinit_start"), view.trampoline_size
        image = b"" if start is None else await view.read_if_there(start - VMM_BASE, size)
        changed = image if image != self.session.log.trampoline.image else b""
        self.known = replace(self.known, before=await self._changes(), image=changed)

    # ---- IPIs ------------------------------------------------------------------------------

    async def call(self, hit: Hit) -> int:
        """Record a call of apic_write_icr that the BSP is about to make; return its low half."""
        view = self.session.view
        dest = await view.argument(0, hit.place, 0) & 0xFFFFFFFF
        low = await view.argument(0, hit.place, 1) & 0xFFFFFFFF
        slept, sleeps = await self.sleeps.take()
        if self._on and not self._calls:
            await self._prepared()
        procs, lock = view.in_copy("apinit_procs"), view.in_copy("apinit_lock")
        self._calls.append(
            IcrCall(
                dest, low, slept, sleeps,
                None if procs is None else await view.read_u32(procs),
                b"" if lock is None else await view.read_if_there(lock, _LOCK_BYTES),
            )
        )  # fmt: skip
        self.keep()
        return low

    async def called(self, *, sipi: bool) -> None:
        """Record what the last call has led to, with every AP that came in ap_entry."""
        view = self.session.view
        procs = view.in_copy("apinit_procs")
        if procs is not None and self._calls:
            self._calls[-1] = replace(self._calls[-1], counted=await view.read_u32(procs))
        if sipi and not self.session.ended:
            self._hold()
            await self._mark()
        self.keep()

    async def _mark(self) -> None:
        """Make apinit_lock look taken until the BSP stops again."""
        view, lock = self.session.view, self.session.view.in_copy("apinit_lock")
        pointer = await view.read_pointer(view.phys("apinitlock"))
        if lock is None or not pointer or await view.translate(0, pointer) != lock:
            return
        if await view.read_if_there(lock, _LOCK_BYTES) != bytes(_LOCK_BYTES):
            return
        await self.session.gdb.write_phys(lock, _TAKEN)
        self._marked = True

    def _hold(self) -> None:
        """Let the BSP run alone from here to ap_wait.

        What APs do meanwhile would be a matter of luck: one could take the lock as soon as the BSP
        has cleared it, and hide the store; or miss what the BSP has unmapped.
        """
        free = {*self.session.view.ap_indices} - self.session.held
        self._held |= free
        self.session.held |= free
        self._alone_since_s, self._quiet_times = self._worked_s(), 0

    def _let_go(self) -> None:
        self.session.held -= self._held
        self._held.clear()

    def _worked_s(self) -> float:
        return self.session.view.machine.worked_s() or 0.0

    async def _unmark(self) -> None:
        """Make apinit_lock free again; remember whether the BSP has written to it."""
        lock = self.session.view.in_copy("apinit_lock")
        if not self._marked or lock is None:
            return
        self._marked = False
        now = await self.session.gdb.read_phys(lock, _LOCK_BYTES)
        self._lock_written = self._lock_written or now != _TAKEN
        await self.session.gdb.write_phys(lock, bytes(_LOCK_BYTES))

    # ---- mappings --------------------------------------------------------------------------

    async def _map(self, hit: Hit) -> None:
        view = self.session.view
        flags = await view.argument(0, "mapmem", 0)
        physical = await view.argument(0, "mapmem", 1)
        if view.abi.word == 8:
            size = await view.argument(0, "mapmem", 2)
        else:  # the address takes two registers
            size = await view.stack_word(0, view.abi.word)
        state = await self.session.run_to_return(0, hit.state)
        virtual = state.rax & (1 << 8 * view.abi.word) - 1
        writable = bool(flags & _MAPMEM_WRITE)
        self._maps.append(Mapping(physical, size & 0xFFFFFFFF, writable, virtual))
        self.keep()

    async def _unmap(self) -> None:
        view = self.session.view
        virtual = await view.argument(0, "unmapmem", 0)
        mine = [one for one in self._maps if one.virtual == virtual]
        (started,) = await self.session.gdb.read_phys(view.phys("ap_started"), 1)
        if mine and started:
            self.known = replace(self.known, started_early=True)
        await self._mapped()
        self.keep()

    async def _mapped(self) -> list[MappedPage]:
        """Return the pages of ap_start's mappings that are still there; note which were written."""
        found = []
        table = self.session.view.phys("mapmem_pagetables")
        for number, one in enumerate(self._maps):
            first = one.virtual & -PAGE_BYTES
            for virtual in range(first, one.virtual + max(one.size, 1), PAGE_BYTES):
                page = (virtual - MAPMEM_BASE) // PAGE_BYTES
                entry = await self.session.view.read_u64(table + 8 * page)
                physical = (one.physical & -PAGE_BYTES) + virtual - first
                if entry & _PRESENT and entry & _FRAME == physical:
                    found.append(MappedPage(physical, virtual))
                    if entry & _DIRTY:
                        self._maps[number] = replace(self._maps[number], written=True)
        return found

    # ---- the end ---------------------------------------------------------------------------

    async def _leave(self, place: str) -> None:
        view = self.session.view
        self._let_go()
        slept, sleeps = await self.sleeps.take()
        if self._on and self.known.slept_us is None:
            self.known = replace(self.known, slept_us=slept, sleeps=sleeps)
        await self.sleeps.remove()
        mapped = await self._mapped()
        if place == "ap_wait" and self.known.at_ap_wait is None:
            steps = [step for log in self.session.log.cpus for step in log.steps]
            procs = view.in_copy("apinit_procs")
            seen = AtApWait(
                await view.read_if_there(0, 16),
                await view.read_if_there(self.session.inputs.apinit_addr, _BEGINNING),
                tuple(one.physical for one in mapped),
                None if procs is None else await view.read_u32(procs),
                sum(step.counted for step in steps),
                self._lock_written,
            )
            self.known = replace(self.known, at_ap_wait=seen)
        elif place == "bsp_proc" and self._on:
            self._on = False
            self.known = replace(self.known, after=await self._changes())
            if mapped:
                known = self.session.log.bringup
                self.session.log.bringup = replace(known, left_mapped=mapped[0])
            for name in _INSIDE[1:]:
                await self.session.places.unwatch(name)
        elif place == "vmm_todo" and self._on and not self._calls:
            await self._prepared()
        self.keep()

    # ---- low memory ------------------------------------------------------------------------

    async def _read_low(self) -> bytes:
        return await self.session.view.read_if_there(0, _LOW_BYTES)

    async def _changes(self) -> tuple[Changed, ...]:
        """Return what has changed outside of the far jump and the copy since the last time."""
        before, now = bytearray(self._low), bytearray(await self._read_low())
        self._low = bytes(now)
        if len(before) != len(now):
            return ()
        start = self.session.inputs.apinit_addr
        for first, size in ((0, _JUMP_BYTES), (start, self.session.view.trampoline_size)):
            before[first : first + size] = now[first : first + size]
        return tuple(_different(bytes(before), bytes(now)))[:_CHANGES]


def _different(before: bytes, now: bytes) -> list[Changed]:
    """Return the pieces that differ; pieces in neighbouring pages are one."""
    out: list[Changed] = []
    for page in range(0, len(now), PAGE_BYTES):
        old, new = before[page : page + PAGE_BYTES], now[page : page + PAGE_BYTES]
        if old == new:
            continue
        wrong = [at for at, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        first, last = page + wrong[0], page + wrong[-1]
        if out and page - (out[-1].address + out[-1].size) < PAGE_BYTES // 2:
            first = out[-1].address
            out.pop()
        out.append(Changed(first, last - first + 1, bytes(now[first : first + 8])))
    return out
