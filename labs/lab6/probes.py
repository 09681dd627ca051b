"""Lab 6's own probes: how uefi_call calls a function, and what alloc_realmodemem asks for.

Nothing here says what is right: the checks do.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vmmlab.base.message import label
from vmmlab.images.layout import VMM_BASE
from vmmlab.machine.gdb.registers import GENERAL
from vmmlab.observe.cpu import CpuState, DescriptorTable
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe
from vmmlab.probes.registry import probe
from vmmlab.x86.registers import EFLAGS_IF

from .evidence import Allocation, Asked, Call, FirmwareState, Moment, Realmode

ALLOCATE = "alloc_realmodemem"
ALIGN = "align_apinit_addr"
DELAYED = "localapic_delayed_ap_start"
FUNCTION = label("the firmware's function")
AFTER_IT = label("after the firmware's function")
RETURNED = label("the call returned")
ASKED = "AllocatePages"
ANSWERED = "AllocatePages returned"
BDA_MEMORY_SIZE = 0x413
OUT_OF_RESOURCES, NOT_FOUND = 0x8000000000000009, 0x800000000000000E
_LEFT_KIB = 7  # of low memory, for the calls that ask for all of it and for more

_PAGE = 4096
_UP_TO = 1 << 30  # bytes of physical memory that have an alias
_STATE_BYTES = 88
_STATE = {
    "rsp": (0, 8), "cr3": (16, 8), "gdt_limit": (56, 2), "gdt_base": (58, 8), "idt_limit": (66, 2),
    "idt_base": (68, 8), "cs": (76, 2), "ss": (78, 2), "ds": (80, 2), "es": (82, 2),
}  # fmt: skip
"""Offset and size of the fields of struct uefi_state (include/uefi.h)."""
_DATA = 0x92  # a segment for data of ring 0, present, writable; bit 0: accessed (APM 4.8)
_GDT_MOST = 0x100  # bytes of a GDT that are looked at
_KEPT = ("rbx", "rbp", "r12", "r13", "r14", "r15")
_ARGUMENTS = ("rsi", "rdx", "rcx", "r8")
_CODE, _BACK = 0x100, 0x180  # offsets in the boot stack, whose low end nothing uses
_ABOVE = 0x100  # bytes from the firmware's stack pointer on that must stay
_BELOW = 0x200  # bytes below the VMM's stack pointer that are random when a function is called
FIRMWARE_STACK = 0x10000  # bytes below it that count as its stack
_STEPS = 1000  # instructions from the function's return to that of uefi_call
_LOADS_TABLE = re.compile(rb"[\x40-\x4f\x67]*\x0f\x01[\x10-\x1f\x50-\x5f\x90-\x9f]")  # LGDT, LIDT
_TIMES = 300  # calls of AllocatePages that alloc_realmodemem may make


@dataclass
class RealmodeProbe(BaseProbe):
    """What both probes of this lab do: call a function on the BSP, and put the BSP back."""

    places: tuple[str, ...] = (ALLOCATE,)
    delays: Mapping[str, int] = field(default_factory=dict, init=False)
    busy: bool = field(default=False, init=False)

    def note(self, session: Session, **found: object) -> None:
        """Add to the record."""
        known = session.log.lab
        session.log.lab = replace(known if isinstance(known, Realmode) else Realmode(), **found)

    async def call(self, session: Session, function: str, *values: int) -> None:
        """Let the BSP stand at the first instruction of a function, called with `values`."""
        view = session.view
        back = view.addr("boot_stack") + _BACK
        await session.places.watch(RETURNED, back)
        rsp = ((await view.state(0)).rsp - 0x200 & ~0xF) - 8
        await session.gdb.write_phys(rsp - VMM_BASE, back.to_bytes(8, "little"))
        names = ("rdi", *_ARGUMENTS)
        registers = dict(zip(names, values, strict=False))
        await session.gdb.write_registers(0, {**registers, "rsp": rsp, "rip": view.addr(function)})

    async def returns(self, session: Session, *places: str) -> CpuState | None:
        """Let the BSP run until a call has returned; None if it does not."""
        verdict, state = await session.run_to(0, RETURNED, *places, attempts=1)
        return state if verdict == "reached" else None


async def moment(session: Session) -> Moment:
    """Return the BSP's registers and descriptor tables."""
    registers = await session.gdb.registers(0)
    names = (*GENERAL, "rip", "eflags", "cs", "ss", "ds", "es", "cr3", "gs_base")
    described = await session.gdb.describe(0)
    gdt, idt = (
        DescriptorTable(described.get(f"{name}_base", 0), described.get(f"{name}_limit", 0))
        for name in ("gdt", "idt")
    )
    return Moment({name: registers[name] for name in names}, gdt, idt)


@probe("firmware-calls", cost=2)
@dataclass
class FirmwareCallsProbe(RealmodeProbe):
    """Calls uefi_call with a function of the grader's; then alloc_realmodemem asks the firmware.

    The function is at a physical address; it overwrites everything that it may, and turns
    interrupts on. Last of all the firmware refuses.

    Args:
        refusal: the status with which it does.
    """

    places: tuple[str, ...] = (ALLOCATE, ALIGN, DELAYED)
    refusal: int = OUT_OF_RESOURCES

    async def hit(self, session: Session, hit: Hit) -> None:
        """Act at the places that the BSP comes to by itself."""
        if hit.cpu or self.busy or not await session.view.read_u64(session.view.phys("uefi_boot")):
            return
        self.busy = True
        if hit.place == ALLOCATE:
            await self._allocates(session)
        elif hit.place == ALIGN:
            await self._aligns(session)
        elif hit.place == DELAYED:
            await self._ends(session)
        self.busy = False

    async def _allocates(self, session: Session) -> None:
        view = session.view
        at = view.phys("uefi_state")
        await self._tell_selectors_apart(session, at)
        values = {
            name: int.from_bytes(await session.gdb.read_phys(at + offset, size), "little")
            for name, (offset, size) in _STATE.items()
        }
        firmware = FirmwareState(
            values["rsp"],
            values["cr3"],
            DescriptorTable(values["gdt_base"], values["gdt_limit"]),
            DescriptorTable(values["idt_base"], values["idt_limit"]),
            {name: values[name] for name in ("cs", "ss", "ds", "es")},
        )
        self.note(session, firmware=firmware)
        before = await session.gdb.registers(0)
        if not await self._calls(session, firmware):
            session.finished = True
            return
        back = {name: before[name] for name in (*GENERAL, "rip", "eflags")}
        # More pages than there are memory types: no argument can be taken for another one.
        size = _PAGE * session.choice.between(16, 24) + session.choice.between(1, _PAGE - 1)
        await session.gdb.write_registers(0, {**back, "rdi": size})
        returns_to = await view.stack_word(0)
        await session.places.watch(RETURNED, returns_to)
        made = await self._allocation(session, size)
        self.note(session, allocations=(made,))
        await session.places.unwatch(RETURNED)
        if made.returned is not None:  # the caller expects its own values
            await session.gdb.write_registers(0, {name: before[name] for name in _KEPT})

    async def _tell_selectors_apart(self, session: Session, at: int) -> None:
        """Let DS, ES and SS of the firmware differ, where its GDT has so many data segments."""
        read = session.gdb.read_phys
        offset, size = _STATE["gdt_limit"]
        limit = int.from_bytes(await read(at + offset, size), "little")
        base = await session.view.read_u64(at + _STATE["gdt_base"][0])
        ss = await read(at + _STATE["ss"][0], 2)
        found = []
        for selector in range(8, min(limit, _GDT_MOST), 8):
            entry = await session.view.read_if_there(base + selector, 8)
            if entry and entry[5] & ~1 == _DATA and selector != int.from_bytes(ss, "little"):
                found.append(selector)
        for name, selector in zip(("ds", "es"), session.choice.some(2, found), strict=False):
            await session.gdb.write_phys(at + _STATE[name][0], selector.to_bytes(2, "little"))

    async def _calls(self, session: Session, firmware: FirmwareState) -> bool:
        """Make the grader's own call; return whether the BSP is the VMM's again afterwards."""
        view, choice = session.view, session.choice
        low = view.addr("boot_stack") - VMM_BASE
        arguments = tuple(int.from_bytes(choice.randbytes(8), "little") for _ in _ARGUMENTS)
        value = int.from_bytes(choice.randbytes(8), "little") | 1 << 63
        poison = int.from_bytes(choice.randbytes(8), "little")
        await session.gdb.write_phys(low + _CODE, _function(value, poison))
        await session.places.watch(FUNCTION, low + _CODE)
        await self.call(session, "uefi_call", low + _CODE, *arguments)
        kept = {name: int.from_bytes(choice.randbytes(8), "little") for name in _KEPT}
        await session.gdb.write_registers(0, kept)
        state_at = view.phys("uefi_state")
        state = await session.gdb.read_phys(state_at, _STATE_BYTES)
        made = Call(
            low + _CODE,
            arguments,
            await moment(session),
            value,
            above_before=await view.read_if_there(firmware.rsp, _ABOVE),
        )
        self.note(session, call=made)
        if await self.returns(session, FUNCTION) is None:
            self.note(session, call=replace(made, astray=await self._astray(session)))
            return False
        if session.places.at((await view.state(0)).pc) == FUNCTION:
            here = await moment(session)
            room = await view.read_if_there(here["rsp"] + 8, 32)
            words = {room[at : at + 8] for at in range(0, len(room), 8)}
            in_use = any(value.to_bytes(8, "little") in words for value in kept.values())
            made = replace(made, at_function=here, room_in_use=in_use)
            self.note(session, call=made)
            made = await self._comes_back(session, made, firmware)
            self.note(session, call=made)
            if session.log.cpus[0].rest is not None:
                return False
            at_end = session.places.at((await view.state(0)).pc) == RETURNED
            if not made.came_back or (not at_end and await self.returns(session) is None):
                return False
        elif (astray := await self._astray(session)) is not None:
            self.note(session, call=replace(made, astray=astray))
            return False
        state_after = await session.gdb.read_phys(state_at, _STATE_BYTES)
        differs = (at for at in range(_STATE_BYTES) if state[at] != state_after[at])
        made = replace(
            made,
            after=await moment(session),
            above_after=await view.read_if_there(firmware.rsp, _ABOVE),
            state_changed=next(differs, None),
        )
        self.note(session, call=made)
        await session.places.unwatch(RETURNED)
        await session.places.unwatch(FUNCTION)
        return made.after is not None and all(
            (made.after[name], made.after.gdt, made.after.idt)
            == (made.before[name], made.before.gdt, made.before.idt)
            for name in ("cr3", "cs", "rsp")
            if name != "rsp"
        )

    async def _astray(self, session: Session) -> int | None:
        """Where the BSP is, if the VMM is linked there, and the page tables have it elsewhere."""
        view = session.view
        pc = (await view.state(0)).pc
        if not view.addr("__image_start") <= pc < VMM_BASE + _UP_TO:
            return None
        return pc if await view.translate(0, pc) != pc - VMM_BASE else None

    async def _comes_back(self, session: Session, made: Call, firmware: FirmwareState) -> Call:
        """Follow uefi_call from the function's return to its own, instruction by instruction."""
        view = session.view
        back = await session.return_address(0)
        if back is None:
            return made
        await session.places.watch(AFTER_IT, back)
        state = await self.returns(session, AFTER_IT)
        await session.places.unwatch(AFTER_IT)
        if state is None or state.pc != back:
            return made
        made = replace(made, came_back=True)
        # No interrupt comes to a CPU that is stepped, so what is found is the same each time.
        for _ in range(_STEPS):
            if not state.eflags & EFLAGS_IF:
                made = replace(made, turned_off=True)
            elif not made.turned_off and not made.open_at:
                in_use = _the_vmms(await moment(session), firmware, made.at_function)
                made = replace(made, open_at=in_use, open_place=view.place(state))
            place = session.places.at(state.pc)
            if place in rest_places():
                await session.note_stepped(0, place, state)
            loads = _LOADS_TABLE.match(await view.code_at(0, state))
            if place == RETURNED or place in rest_places() or not await session.step(0):
                break
            state = await view.state(0)
            if loads:
                made = replace(made, loaded=await moment(session))
        return made

    async def _allocation(self, session: Session, size: int, refuse: bool = False) -> Allocation:
        """Follow a call of alloc_realmodemem until it returns or panics.

        The firmware writes 64 bits. What the caller has not written in them is random, also if it
        is on its stack and not zero by chance.
        """
        view, choice = session.view, session.choice
        made = Allocation(size)
        rsp = (await session.gdb.registers(0))["rsp"]
        await session.gdb.write_phys(rsp - VMM_BASE - _BELOW, choice.randbytes(_BELOW))
        kept = {name: int.from_bytes(choice.randbytes(8), "little") for name in _KEPT}
        await session.gdb.write_registers(0, kept)
        target = await view.read_u64(view.phys("uefi_boot") + 16)
        await session.places.watch(ASKED, target)
        for _ in range(_TIMES):
            state = await self.returns(session, ASKED)
            if state is None or session.places.at(state.pc) == RETURNED:
                break
            asked = await self._asked(session, refuse)
            made = replace(made, asked=(*made.asked, asked))
            if asked.status is None:
                state = None
                break
        else:
            state = None
        await session.places.unwatch(ASKED)
        panicked = bool(session.log.at("panic", 0))
        returned = None if state is None else state.rax & 0xFFFFFFFF
        return replace(made, returned=returned, panicked=panicked)

    async def _asked(self, session: Session, refuse: bool) -> Asked:
        """Record one call of AllocatePages, and let it return; or let it fail."""
        view = session.view
        registers = await session.gdb.registers(0)
        pointer = registers["r9"]
        made = Asked(
            registers["rcx"] & 0xFFFFFFFF,
            registers["rdx"] & 0xFFFFFFFF,
            registers["r8"],
            pointer,
            _word(await view.read_if_there(pointer, 8)),
            registers["rsp"],
        )
        back = await session.return_address(0)
        if back is None:
            return made
        await session.places.watch(ANSWERED, back)
        if refuse:
            after = {"rax": self.refusal, "rip": back, "rsp": registers["rsp"] + 8}
            await session.gdb.write_registers(0, after)
            await session.places.unwatch(ANSWERED)
            return replace(made, status=self.refusal, given=made.address)
        state = await self.returns(session, ANSWERED)
        await session.places.unwatch(ANSWERED)
        if state is None or state.pc != back:
            return made
        given = _word(await view.read_if_there(pointer, 8))
        return replace(made, status=state.rax, given=given)

    async def _aligns(self, session: Session) -> None:
        before = await session.gdb.registers(0)
        asked = before["rdi"] & 0xFFFFFFFF
        base = session.choice.between(0x10000, 0x9E000) & ~0xF
        done = []
        for address in (asked, *session.choice.some(5, range(base, base + 16))):
            await self.call(session, ALIGN, address)
            state = await self.returns(session)
            if state is None:
                session.finished = True
                break
            done.append((address, state.rax & 0xFFFFFFFF))
        self.note(session, aligned=tuple(done))
        if session.finished:
            await self._refuses(session)
        else:
            await session.places.unwatch(RETURNED)
            await session.gdb.write_registers(
                0, {name: before[name] for name in (*GENERAL, "rip", "eflags")}
            )
            session.stands_at(0, before["rip"])

    async def _ends(self, session: Session) -> None:
        """Record where the trampoline will be, and end the boot."""
        view = session.view
        self.note(session, apinit_addr=await view.read_u32(view.phys("apinit_addr")))
        await self._refuses(session)
        session.finished = True

    async def _refuses(self, session: Session) -> None:
        """Call alloc_realmodemem once more, and let the firmware refuse."""
        if session.ended:
            return
        size = _PAGE * session.choice.between(16, 24)
        await self.call(session, ALLOCATE, size)
        self.note(session, refused=await self._allocation(session, size, refuse=True))


@probe("low-memory")
@dataclass
class LowMemoryProbe(RealmodeProbe):
    """Calls alloc_realmodemem on a machine with a BIOS, several times and with several sizes.

    Args:
        leave_word: keep the word of the BIOS data area as the firmware has set it. The call for
            more than there is then asks for almost 4 GiB: little, when it has been rounded up.
        least: KiB of the call for the most memory, at least.
        most: at most.
    """

    leave_word: bool = False
    least: int = 2
    most: int = 9

    async def start(self, session: Session) -> None:
        """Say how much low memory there is."""
        await BaseProbe.start(self, session)
        if not self.leave_word:
            await _set_word(session, session.choice.between(500, 638))

    async def hit(self, session: Session, hit: Hit) -> None:
        """Make all calls when the VMM makes its first."""
        await BaseProbe.hit(self, session, hit)
        if hit.cpu or self.busy or hit.place != ALLOCATE:
            return
        self.busy = True
        choice = session.choice
        kib = choice.between(self.least, self.most)
        sizes = (
            choice.between(1, 900), kib * 1024, choice.between(1025, 5000) | 1, 1024,
            choice.between(0x10001, 0x14000),
        )  # fmt: skip
        done: list[Allocation] = []
        for size in sizes:
            done.append(await self._allocation(session, size))
            self.note(session, allocations=tuple(done))
            if not done[-1].ended:
                break
        else:
            await _set_word(session, _LEFT_KIB)
            done.append(await self._allocation(session, _LEFT_KIB * 1024))  # all that is left
            self.note(session, allocations=tuple(done))
        if done[-1].ended:
            await _set_word(session, _LEFT_KIB)
            if self.leave_word:
                size = (1 << 26) + choice.between(1, 1000)
                self.note(session, refused_more=await self._allocation(session, size))
                await _set_word(session, _LEFT_KIB)
            size = _LEFT_KIB * 1024 + choice.between(1, 1000)
            if self.leave_word:
                size = (1 << 32) - choice.between(1, 1000)
            self.note(session, refused=await self._allocation(session, size))
        session.finished = True

    async def _allocation(self, session: Session, size: int) -> Allocation:
        for at in (BDA_MEMORY_SIZE - 2, BDA_MEMORY_SIZE + 2):  # a store of 32 bits must show
            await session.gdb.write_phys(at, _NEIGHBOURS)
        low, panics = await session.gdb.read_phys(0, _PAGE), len(session.log.at("panic", 0))
        await self.call(session, ALLOCATE, size)
        state = await self.returns(session)
        after = await session.gdb.read_phys(0, _PAGE)
        word = range(BDA_MEMORY_SIZE, BDA_MEMORY_SIZE + 2)
        return Allocation(
            size,
            word=(_half(low), _half(after)),
            returned=None if state is None else state.rax & 0xFFFFFFFF,
            panicked=len(session.log.at("panic", 0)) > panics,
            changed=tuple(at for at in range(_PAGE) if low[at] != after[at] and at not in word)[:4],
        )


_NEIGHBOURS = b"\x5a\xa5"  # not 0, as they often are


def _half(memory: bytes) -> int:
    return int.from_bytes(memory[BDA_MEMORY_SIZE : BDA_MEMORY_SIZE + 2], "little")


async def _set_word(session: Session, kib: int) -> None:
    await session.gdb.write_phys(BDA_MEMORY_SIZE, kib.to_bytes(2, "little"))


def _word(raw: bytes) -> int | None:
    return int.from_bytes(raw, "little") if len(raw) == 8 else None


def _the_vmms(now: Moment, firmware: FirmwareState, then: Moment | None) -> str:
    """Return what is no longer the firmware's: "CR3", "GDTR", "IDTR" or "RSP"; "" if all is.

    Args:
        now: after the function.
        firmware: its state.
        then: when the function was called; the stack that was in use then is not the VMM's again.
    """
    if now["cr3"] != firmware.cr3:
        return "CR3"
    if now.gdt != firmware.gdt:
        return "GDTR"
    if now.idt != firmware.idt:
        return "IDTR"
    # How far below it was when the function was called is another question.
    if then is not None and abs(then["rsp"] - now["rsp"]) < FIRMWARE_STACK:
        return ""
    return "" if 0 <= firmware.rsp - now["rsp"] < 2 * FIRMWARE_STACK else "RSP"


def _function(value: int, poison: int) -> bytes:
    """Return code that overwrites what a function may (Microsoft's x64 calling convention)."""
    word = poison.to_bytes(8, "little")
    registers = (b"\x48\xb9", b"\x48\xba", b"\x49\xb8", b"\x49\xb9", b"\x49\xba", b"\x49\xbb")
    return b"".join(
        (
            *(code + word for code in registers),  # mov $poison, RCX RDX R8 R9 R10 R11
            *(b"\x48\x89\x4c\x24" + bytes([at]) for at in (8, 16, 24, 32)),  # mov %rcx, at(%rsp)
            b"\x48\xb8" + value.to_bytes(8, "little"),  # mov $value, %rax
            b"\xfb",  # sti
            b"\xc3",  # ret
        )
    )
