"""What lab 8 needs to know besides what the probe `guest` records.

It walks the nested page tables from outside when a function of the lab has returned, calls
np_map with arguments that the VMM never uses, and lets the guest look for the VMM. What alloc
returns is filled with random bytes. The memory of the VMM ends where the scenario wants it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb.registers import GENERAL
from vmmlab.observe.evidence import LabEvidence
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import note_allocation
from vmmlab.probes.calling import stand_at
from vmmlab.probes.guest import STARTS, GuestProbe
from vmmlab.probes.registry import probe
from vmmlab.x86.vmcb import VMCB_BYTES

from .maps import (
    FOUR_GIB,
    FOUR_KIB,
    ONE_GIB,
    TWO_MIB,
    Change,
    Piece,
    differences,
    without,
)
from .mending import Mender
from .walking import Tables, walked

DONE: Final = "guest_done"
MARKS: Final = ((DONE, 0x8080), ("guest_failed", 0x80A0), ("guest_real_failed", 0x8060))
"""Where the processors of guest/bios.S come to rest."""
STAGES: Final = ("np_init", "np_hide_vmm", "np_protect_apic")
"""The functions after which the tables are walked."""
ONE_MIB: Final = 1 << 20
APIC: Final = 0xFEE00000

_RETURNED: Final = " returned"
_CALLED: Final = "own call returned"
_MEM_UPPER: Final = 8  # in the multiboot information; in KiB
_BACK: Final = 0x180  # in the boot stack, whose low end nothing uses
_CALLS_OF_ALLOC: Final = 64  # of one call of np_map
_APART: Final = 16  # calls of alloc by np_init whose memory is not side by side
_INSTEAD_MOST: Final = 16  # calls of np_map that the grader makes
_GUEST, _GUEST_BYTES, _END_BYTE = 0x7C00, 0x8000, 0x7C0B
_END_BEYOND: Final = 2  # guest/bios.S: it reads memory of the VMM
_READS: Final = b"\x8b\x04\x25"  # mov disp32, %eax, in 64-bit mode
_BEYOND: Final = 0x100000
_TLB_CONTROL: Final = 0x5C
_FLUSH_ALL: Final = 1
_FLUSHES_BY_ASID: Final = (3, 7)  # APM 15.16.1
_VCPU_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Called:
    """A call of np_map by the grader.

    Args:
        change: its arguments.
        after: the tables after it; None if it has not returned.
    """

    change: Change
    after: Tables | None = None


@dataclass(frozen=True, slots=True)
class Flushed:
    """What np_flush changed on one CPU.

    Args:
        control: tlb_control when it had returned; None if it has not.
        vmcb: offsets of the other bytes of the VMCB that it changed; the first ones.
        vcpu: offsets of the bytes of struct vcpu that it changed; the first ones.
        again: tlb_control after a second call, by the grader; None if that has not returned.
        held: what tlb_control held before a third call.
        over: what it held afterwards; None if there was none, or if that has not returned.
    """

    control: int | None = None
    vmcb: tuple[int, ...] = ()
    vcpu: tuple[int, ...] = ()
    again: int | None = None
    held: int = 0
    over: int | None = None


@dataclass(frozen=True)
class Nested(LabEvidence):
    """What the probe of lab 8 recorded.

    Args:
        returned: what np_init returned.
        start: where the memory of the VMM begins.
        end: where it ends.
        after: the tables after each function, by its name.
        first: the tables before the calls by the grader.
        calls: the calls by the grader, in order.
        flushed: np_flush on each CPU, by index.
        looked: where the guest of the BSP looked for the VMM; None if it did not get there.
        mended: the tables after a function that has left them wrong, put right, by its name.
        own_map: whether calls of the student's np_map by other functions have made changes, too.
    """

    returned: int | None = None
    start: int = 0
    end: int = 0
    after: dict[str, Tables] = field(default_factory=dict)
    first: Tables | None = None
    calls: tuple[Called, ...] = ()
    flushed: dict[int, Flushed] = field(default_factory=dict)
    looked: int | None = None
    mended: dict[str, Tables] = field(default_factory=dict)
    own_map: bool = False


@probe("nested", cost=4)
@dataclass
class NestedProbe(GuestProbe):
    """Walks the nested page tables while they are made.

    Args:
        tail: how many bytes of the last 2 MiB belong to the VMM, a multiple of 1024.
        calls: whether np_map is called by the grader; then the boot ends after that.
        look: where the guest looks for the VMM: at its first byte, its last one, or the PML4.
        mends: whether what a function has left wrong is put right before the next one, and np_map
            is the grader's where the VMM calls it.
    """

    places: tuple[str, ...] = (*GuestProbe.places, *STAGES, "np_flush")
    tail: int = 0x5000
    calls: bool = False
    mends: bool = True
    look: Literal["start", "last", "root"] = "start"
    marks: tuple[tuple[str, int], ...] = MARKS
    until: str = DONE
    _seen: Nested = field(default_factory=Nested, init=False)
    _before: dict[int, tuple[int, int, bytes, bytes]] = field(default_factory=dict, init=False)
    _mender: Mender | None = field(default=None, init=False)
    _calls_made: int = field(default=0, init=False)
    _allocations: int = field(default=0, init=False)

    async def start(self, session: Session) -> None:
        """Let the memory of the VMM end elsewhere, by what the multiboot information says."""
        await GuestProbe.start(self, session)
        view, gdb = session.view, session.gdb
        info = (await view.argument(0, "vmm_main")) % VMM_BASE
        kib = int.from_bytes(await gdb.read_phys(info + _MEM_UPPER, 4), "little")
        end = (ONE_MIB + kib * 1024 & ~(TWO_MIB - 1)) - TWO_MIB + self.tail
        kib = (end - ONE_MIB) // 1024
        await gdb.write_phys(info + _MEM_UPPER, kib.to_bytes(4, "little"))
        start = view.addr("__image_start") - VMM_BASE
        self._seen = replace(self._seen, own_map=not self.mends, start=start, end=end)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Look at the tables when a function has returned."""
        if hit.place == "alloc":
            if hit.cpu == 0:
                # Whoever takes tables for neighbours must not find them there by chance.
                early = "np_init" not in self._seen.after and self._allocations < _APART
                self._allocations += 1
                await note_allocation(session, hit, gap=FOUR_KIB if early else 0)
            return
        await GuestProbe.hit(self, session, hit)
        if hit.cpu == 0 and hit.place in STAGES:
            await self._begins(session, hit.place)
        elif hit.cpu == 0 and hit.place.removesuffix(_RETURNED) in STAGES:
            await self._returned(session, hit)
        elif hit.place == "np_map" and hit.cpu == 0:
            await self._instead(session, hit)
        elif hit.place == "np_flush":
            await self._flush(session, hit)
        elif hit.place == "np_flush" + _RETURNED:
            await self._flushed(session, hit)
        elif hit.place == STARTS and hit.cpu == 0:
            await self._look(session)
        session.log.lab = self._seen

    async def _begins(self, session: Session, name: str) -> None:
        if name == STAGES[0]:
            await session.places.watch("alloc")
        back = await session.return_address(0)
        if back is not None:
            await session.places.watch(name + _RETURNED, back)

    async def _returned(self, session: Session, hit: Hit) -> None:
        name = hit.place.removesuffix(_RETURNED)
        await session.places.unwatch(hit.place)
        if name == STAGES[0]:
            self._seen = replace(self._seen, returned=hit.state.rax)
        root = self._seen.returned
        if root is None:
            return
        tables = await walked(session, root)
        self._seen = replace(self._seen, after={**self._seen.after, name: tables})
        if self.mends:
            tables = await self._mend(session, name, tables)
        if name == STAGES[0] and self.calls:
            self._seen = replace(self._seen, first=tables)
            await self._calls(session, root)
            session.finished = True
        elif name == STAGES[0] and self._mender is not None:
            await session.places.watch("np_map")
        if name == STAGES[-1]:
            await session.places.unwatch("alloc")

    # ---- what is put right ---------------------------------------------------------------------

    async def _mend(self, session: Session, name: str, tables: Tables) -> Tables:
        """Put right what a function has left wrong; return the tables as they are then."""
        seen = self._seen
        if name == STAGES[0]:
            mender = Mender(session, tables.root, seen.start, seen.end)
            self._mender = mender if mender.can else None
        if self._mender is None:
            return tables
        hidden = seen.start & -FOUR_KIB, seen.end + FOUR_KIB - 1 & -FOUR_KIB
        everything = Piece(0, 0, FOUR_GIB, 0, writable=True, user=True, executable=True)
        wanted = [everything]
        if name != STAGES[0]:
            wanted = without(wanted, *hidden)
        if name == STAGES[-1]:
            apic = replace(everything, guest=APIC, host=APIC, size=FOUR_KIB, writable=False)
            wanted = sorted([*without(wanted, APIC, apic.end), apic], key=lambda one: one.guest)
        free = [hidden, (APIC, APIC + FOUR_KIB)][name == STAGES[1] :] if name != STAGES[-1] else []
        if not _wrong(tables, wanted, free, seen):
            return tables
        await self._mender.sound()
        await self._mender.restore(wanted, (await walked(session, tables.root)).pieces)
        tables = await walked(session, tables.root)
        self._seen = replace(self._seen, mended={**self._seen.mended, name: tables})
        return tables

    async def _instead(self, session: Session, hit: Hit) -> None:
        """Change what np_map is to change, and return from it: its own boots judge it.

        Where the VMM maps page by page, all further calls are the student's: each stop takes time.
        """
        self._calls_made += 1
        if self._calls_made >= _INSTEAD_MOST:
            await session.places.unwatch("np_map")
            self._seen = replace(self._seen, own_map=True)
        registers = await session.gdb.registers(0)
        back = await session.return_address(0)
        if self._mender is None or back is None:
            return
        values = registers.rdi, registers.rsi, registers.rdx
        present, writable = bool(registers.rcx & 0xFF), bool(registers.r8 & 0xFF)
        if not any(value % FOUR_KIB for value in values) and values[0] + values[2] <= FOUR_GIB:
            await self._mender.change(Change(*values, present, writable))
            rsp = hit.state.rsp + session.view.abi.word
            await session.gdb.write_registers(0, {"rip": back, "rsp": rsp})

    # ---- calls by the grader -------------------------------------------------------------------

    async def _calls(self, session: Session, root: int) -> None:
        session.log.lab = self._seen
        for change in _changes(session):
            came_back = await self._call(session, change)
            if not came_back and change.len == FOUR_GIB:
                return  # a million pages, one by one, may take longer than a boot has time
            after = await walked(session, root) if came_back else None
            self._seen = replace(self._seen, calls=(*self._seen.calls, Called(change, after)))
            session.log.lab = self._seen
            if not came_back:
                return

    async def _call(self, session: Session, change: Change) -> bool:
        """Call np_map on the BSP; return whether it comes back."""
        view, gdb = session.view, session.gdb
        back = view.addr("boot_stack") + _BACK
        values = (change.gpa, change.hpa, change.len, int(change.present), int(change.writable))
        rsp = await stand_at(session, "np_map", back, *values)
        if rsp is None:
            return False
        await session.places.watch(_CALLED, back)
        if change.len == FOUR_GIB:  # it may well make a table for each 2 MiB
            await session.places.unwatch("alloc")
        for _ in range(_CALLS_OF_ALLOC):
            verdict, state = await session.run_to(0, _CALLED, "alloc", attempts=2)
            if verdict != "reached":
                return False
            if state.pc == back:
                await gdb.write_register(0, "rsp", rsp + 0x200)
                return True
            await note_allocation(session, session.log.hits[-1])
        return False

    # ---- np_flush ------------------------------------------------------------------------------

    async def _flush(self, session: Session, hit: Hit) -> None:
        """Clear tlb_control, so that np_flush has to set it."""
        vcpu = hit.state.rdi - VMM_BASE
        raw = await session.view.read_if_there(vcpu, _VCPU_BYTES)
        back = await session.return_address(hit.cpu)
        if not raw or back is None:
            return
        vmcb = int.from_bytes(raw[:8], "little") - VMM_BASE
        body = await session.view.read_if_there(vmcb, VMCB_BYTES)
        if len(body) == VMCB_BYTES:
            await session.gdb.write_phys(vmcb + _TLB_CONTROL, bytes(1))
            self._before[hit.cpu] = (vcpu, vmcb, raw, body)
            await session.places.watch("np_flush" + _RETURNED, back)

    async def _flushed(self, session: Session, hit: Hit) -> None:
        cpu = hit.cpu
        if cpu not in self._before:
            return
        vcpu, vmcb, old_vcpu, old = self._before.pop(cpu)
        new_vcpu = await session.view.read_if_there(vcpu, _VCPU_BYTES)
        new = await session.view.read_if_there(vmcb, VMCB_BYTES)
        changed = tuple(at for at in _changed(old, new) if at != _TLB_CONTROL)
        again = await self._flush_again(session, hit, vcpu, vmcb)
        held = session.choice.pick(_FLUSHES_BY_ASID)
        over = None
        if again == _FLUSH_ALL:
            over = await self._flush_again(session, hit, vcpu, vmcb, held)
        found = Flushed(new[_TLB_CONTROL], changed, _changed(old_vcpu, new_vcpu), again, held, over)
        self._seen = replace(self._seen, flushed={**self._seen.flushed, cpu: found})

    async def _flush_again(
        self, session: Session, hit: Hit, vcpu: int, vmcb: int, holds: int = 0
    ) -> int | None:
        """Call np_flush as after another change; return tlb_control, None if it does not return.

        Before that tlb_control holds 0, or what svm_vminit may have left there.

        Then the CPU is where it was, and the next VMRUN flushes the TLB.
        """
        gdb, cpu, back = session.gdb, hit.cpu, hit.state.pc
        before = (await gdb.registers(cpu)).as_dict()
        await gdb.write_phys(vmcb + _TLB_CONTROL, bytes([holds]))
        if await stand_at(session, "np_flush", back, vcpu + VMM_BASE, cpu=cpu) is None:
            return None
        verdict, _ = await session.run_to(cpu, "np_flush" + _RETURNED, attempts=1)
        if verdict != "reached":
            return None
        control = (await session.view.read_if_there(vmcb + _TLB_CONTROL, 1))[0]
        await gdb.write_phys(vmcb + _TLB_CONTROL, bytes([_FLUSH_ALL]))
        await gdb.write_registers(cpu, {name: before[name] for name in (*GENERAL, "rip")})
        session.stands_at(cpu, back)
        return control

    # ---- the guest -----------------------------------------------------------------------------

    async def _look(self, session: Session) -> None:
        """Let the guest of the BSP read a byte of the VMM when it is through."""
        seen = self._seen
        last = seen.end - 1 & ~3
        at = {"start": seen.start, "last": last, "root": seen.returned or 0}[self.look]
        guest = await session.view.read_if_there(_GUEST, _GUEST_BYTES)
        place = guest.find(_READS + _BEYOND.to_bytes(4, "little"))
        if place < 0:
            return
        await session.gdb.write_phys(_GUEST + place + len(_READS), at.to_bytes(4, "little"))
        await session.gdb.write_phys(_END_BYTE, bytes([_END_BEYOND]))
        self._seen = replace(seen, looked=at)


def _wrong(tables: Tables, wanted: list[Piece], free: list[tuple[int, int]], seen: Nested) -> bool:
    """Whether tables do not do what is wanted, but for pages that are free to lead nowhere."""
    found = list(tables.pieces)
    for area in free:
        wanted, found = without(wanted, *area), without(found, *area)
    own = [table for _, table in tables.tables]
    outside = any(not seen.start <= table < seen.end for table in own)
    twice = len({tables.root, *own}) < len(own) + 1
    above = any(guest >= FOUR_GIB for guest, _ in tables.tables)
    return bool(tables.strange) or outside or twice or above or any(differences(wanted, found))


def _changed(old: bytes, new: bytes) -> tuple[int, ...]:
    return tuple(at for at in range(len(new)) if old[at] != new[at])[:8]


def _changes(session: Session) -> list[Change]:
    """The calls of np_map: each kind of border, of what was there before, and of arguments."""
    choice = session.choice
    # From 1 GiB on, in steps, so that none touches another one.
    one, two, three, four, five, six, seven, eight, nine, ten, eleven = (
        frame * TWO_MIB for frame in choice.some(11, range(0x208, 0x7F0, 8))
    )
    high = choice.between(0x100001, 0x8000001, 2) * FOUR_KIB + FOUR_GIB
    large = choice.between(0x900, 0x40000) * TWO_MIB
    within = choice.between(2, 400)
    page = within * FOUR_KIB
    changes = [
        Change(one + page, high, FOUR_KIB, present=True, writable=False),
        Change(one + page + FOUR_KIB, 0x123, FOUR_KIB, present=False, writable=True),
        Change(two + TWO_MIB - FOUR_KIB, high, 2 * FOUR_KIB, present=True, writable=True),
        Change(three, three, 3 * TWO_MIB, present=True, writable=False),
        Change(three + TWO_MIB + page, three + page, FOUR_KIB, present=True, writable=True),
        Change(four, 0, 2 * TWO_MIB, present=False, writable=False),
        Change(four + page, four + page, 3 * FOUR_KIB, present=True, writable=True),
        Change(five, high, TWO_MIB + FOUR_KIB, present=True, writable=True),
        Change(six + page, large + page, 2 * TWO_MIB + page, present=True, writable=True),
        Change(seven, large, TWO_MIB, present=True, writable=True),
        Change(seven + page, seven + page, 0, present=False, writable=False),
        Change(seven + page, 0, FOUR_KIB, present=False, writable=False),
        Change(ONE_GIB - FOUR_KIB, 0, 2 * FOUR_KIB, present=False, writable=False),
        Change(3 * ONE_GIB - TWO_MIB, large, 2 * TWO_MIB, present=True, writable=False),
        Change(FOUR_GIB - FOUR_KIB, 0, FOUR_KIB, present=False, writable=False),
        Change(0, high, FOUR_KIB, present=True, writable=False),
        Change(one, one, TWO_MIB, present=True, writable=True),
        Change(four, four, 2 * TWO_MIB, present=True, writable=True),
        Change(one + page, 0, TWO_MIB - page, present=False, writable=False),
        Change(0, 0, FOUR_KIB, present=True, writable=True),
        # Only the rights of a page differ from those around it.
        Change(eight + page, eight + page, FOUR_KIB, present=True, writable=False),
        # A table that is replaced between two changes of its pages.
        Change(nine + page, high, FOUR_KIB, present=True, writable=True),
        Change(nine, large, TWO_MIB, present=True, writable=True),
        Change(nine + page, 0, FOUR_KIB, present=False, writable=False),
        # The first pages of the range are already as they are to be.
        Change(ten, 0, TWO_MIB, present=False, writable=False),
        Change(ten + page, 0, 2 * TWO_MIB, present=False, writable=False),
        Change(eleven + page, high, FOUR_KIB, present=True, writable=False),
        Change(eleven + page, high, 3 * FOUR_KIB, present=True, writable=False),
        Change(0, 0, FOUR_GIB, present=False, writable=False),
    ]
    return changes
