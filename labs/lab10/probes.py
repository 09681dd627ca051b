"""Lab 10's own probe: how the APs are started for the guest, and what it begins with.

It gives localapic_delayed_ap_start a function of the grader's, which goes on to the one that the
VMM has given, and calls svm_state_uefi once with a state of the grader's: other tables, selectors,
registers and MSRs. Afterwards the VMM goes on with the firmware's own, but the MSRs stay as they
are. Nothing here says what is right: the checks do.
"""

import struct
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.base.message import label
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import Hex
from vmmlab.observe.evidence import LabEvidence
from vmmlab.observe.msr import read_msr, write_msr
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.guest import STARTS, GuestProbe
from vmmlab.probes.registry import probe
from vmmlab.x86.vmcb import VMCB_BYTES, Vmcb, VmcbSegment, vmcb_of

from .highframe import HighFrame, frame_beyond, high_frame
from .mending import (
    EVENTINJ,
    FRAME,
    PASSED,
    REGS_AT,
    SELECTORS,
    SHADOW,
    STATE_FIELDS,
    UEFI_STATE,
    VALID,
    firmware,
    first_change,
    image_now,
    mend,
    state_of_firmware,
)
from .system import load_system_segments, number, other_segments, system_segments

DONE: Final = "guest_done"
FAILED: Final = "guest_failed"
PAGE: Final = 0x2000000  # GUEST_EFI_PAGE in include/guest.h
MARKS: Final = ((DONE, PAGE + 0x800), (FAILED, PAGE + 0x880))
DELAYED: Final = "localapic_delayed_ap_start"
STATE: Final = "svm_state_uefi"
HANDLE: Final = "handle_ap_start"
GROUP: Final = "dbsp"
"""The group of init functions that handle_ap_start calls."""
_START: Final = label("the function to be remembered")
_STARTED: Final = label("it has returned")
_RETURNED: Final = label("the call returned")

_STUB, _FRAME, _GDT = 0x100, 0x140, 0x200  # in the boot stack, whose low end nothing uses
_GDT_ENTRIES: Final = 32
_RESULT: Final = struct.Struct("<4I2Q6I")
_MAGIC: Final = 0x67696665  # GUEST_EFI_MAGIC
_FLOOD: Final = 1 << 20  # VMRUNs of a CPU: how often it exits depends on the host's speed
_HANDLED_MOST: Final = 12  # calls of handle_ap_start at which the machine stops
_PHYSICAL_0: Final = 16
_IDS: Final = range(0x20, 0xF0)
"""APIC ids that no CPU of these boots has."""
_APIC_READ: Final = "apic_read"
_TELL_AN_ID: Final = ("apic_id", _APIC_READ)
"""Given functions that may tell a CPU its own APIC id."""
_APIC_ID, _ID_SHIFT = 0x20, 24  # include/apic.h: a register, and where the id is in it
_APIC_ID_AT: Final = 12  # in struct pcpu, behind the padding
_VCPU_APIC_ID_AT: Final = 128  # in struct vcpu
_EFER_LMA_LME: Final = 0x500
PAGE_BYTES: Final = 4096
_FLAGS, _MORE_FLAGS = 0xED5, 0x240002  # those that POPFQ can set in ring 0, TF excepted

MSRS: Final = {
    "star": 0xC0000081, "lstar": 0xC0000082, "cstar": 0xC0000083, "sfmask": 0xC0000084,
    "kernel_gs_base": 0xC0000102, "sysenter_cs": 0x174, "sysenter_esp": 0x175,
    "sysenter_eip": 0x176,
}  # fmt: skip
"""What VMSAVE stores besides segments, by the name of its field in the VMCB."""
_MSR_PAT: Final = 0x277
_OTHER_PAT: Final = 0x0106000500070406
"""The same types as after a reset in the lower half, others in the upper one (APM 7.8.1)."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The call of localapic_delayed_ap_start.

    Args:
        returned: whether it returned.
        order: its place among the stops of the boot.
        apinit_addr: where the trampoline is to be copied.
        remembers: whether a variable of the VMM has changed meanwhile; None if that is unknown.
    """

    returned: bool
    order: int
    apinit_addr: int
    remembers: bool | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What svm_state_uefi made of a virtual CPU in which all fields that it has to set were random.

    Args:
        state: uefi_state then, by field: numbers of the grader's.
        tables: GDTR and IDTR in it: base and limit.
        frame: the struct uefi_frame at its rsp.
        system: TR and LDTR of the CPU, by their names in the VMCB.
        msrs: the MSRs of the CPU, by their names in the VMCB, the PAT among them.
        returned: whether svm_state_uefi returned.
        vmcb: the VMCB when it had, or when it stopped.
        moved_to: where v->vmcb leads then, if that is elsewhere.
        changed_at: offset of a byte in the VMCB that has changed and that it has not to set.
        registers: v->regs then, by name.
        mended: in the call with the firmware's own state it returned too, and what it made there
            was put right.
        high: what came of another call, with a frame where the VMM has no alias.
        beyond: the same beyond 4 GiB.
    """

    state: dict[str, int]
    tables: dict[str, tuple[int, int]]
    frame: dict[str, int]
    system: dict[str, VmcbSegment]
    msrs: dict[str, int]
    returned: bool
    vmcb: Vmcb | None = None
    moved_to: int = 0
    changed_at: int | None = None
    registers: dict[str, int] = field(default_factory=dict)
    mended: bool = False
    high: HighFrame | None = None
    beyond: HighFrame | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """A call of the function that was given to localapic_delayed_ap_start.

    Args:
        order: its place among the stops of the boot.
        cpu: the CPU that called it.
        inside: the function of lab 10 that the CPU was in, as far as its stops tell.
        runs: VMRUNs of the BSP until then.
        before: the first bytes of physical memory then.
        apinit_addr: where the trampoline is to be copied, then.
        returned: order of its return; None if it did not return.
        after: the same bytes then.
        processors: num_of_processors then.
    """

    order: int
    cpu: int
    inside: str
    runs: int
    before: Hex
    apinit_addr: int
    returned: int | None = None
    after: Hex = b""
    processors: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What the guest has noted (guest/efi_os.c, struct guest_efi).

    Args:
        stage: how far it came: STAGE_.
        check: what it found wrong: CHECK_; 0 for nothing.
        found: what it found.
        wanted: what it expected.
        cpus: processors, as the firmware says.
        rounds: how often StartupAllAPs succeeded.
    """

    stage: int
    check: int
    found: int
    wanted: int
    cpus: int
    rounds: int


@dataclass(frozen=True)
class Delayed(LabEvidence):
    """What the probe of lab 10 recorded.

    Args:
        delay: the call of localapic_delayed_ap_start; None if there was none.
        state: the grader's call of svm_state_uefi; None if the VMM does not call it.
        handled: orders of the first calls of handle_ap_start.
        starts: the calls of the function that was remembered.
        groups: CPU and order of each call of call_initfunc for the group.
        result: what the guest noted; None if it was not started.
        bsp_id: the APIC id that the BSP had in its per-CPU data and in its virtual CPU until the
            group was called.
    """

    delay: Delay | None = None
    state: State | None = None
    handled: tuple[int, ...] = ()
    starts: tuple[Start, ...] = ()
    groups: tuple[tuple[int, int], ...] = ()
    result: Result | None = None
    bsp_id: int = 0


@probe("delayed", cost=5)
@dataclass
class DelayedProbe(GuestProbe):
    """Records how the APs are started for the guest.

    Args:
        own: call svm_state_uefi once with a state of the grader's.
        other_id: until the group is called, the per-CPU data of the BSP have an APIC id that is
            not 0, so has its virtual CPU, and the given functions tell it no other one.
    """

    places: tuple[str, ...] = (
        *GuestProbe.places, DELAYED, STATE, HANDLE, "call_initfunc", "ap_entry",
    )  # fmt: skip
    own: bool = True
    other_id: bool = False
    marks: tuple[tuple[str, int], ...] = MARKS
    until: str = DONE
    _seen: Delayed = field(default=Delayed(), init=False)
    _delaying: bool = field(default=False, init=False)
    _pat: int = field(default=0, init=False)
    _system: dict[str, VmcbSegment] = field(default_factory=dict, init=False)
    """TR and LDTR of the BSP, as the firmware has left them."""
    _id_at: int = field(default=0, init=False)
    """Where the per-CPU data of the BSP have its APIC id, as long as that is another one."""
    _variables: bytes = field(default=b"", init=False)
    """The image when localapic_delayed_ap_start was called."""

    async def start(self, session: Session) -> None:
        """Let the guest exit as often as firmware does, for each tick of its timer."""
        session.log.flood = _FLOOD
        await GuestProbe.start(self, session)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Follow the BSP through the functions of this lab."""
        if hit.place == DELAYED and hit.cpu == 0 and self._seen.delay is None:
            await session.places.unwatch(DELAYED)  # QEMU runs a page with a breakpoint slowly
            await self._delay(session, hit)
        elif hit.place == _RETURNED and hit.cpu == 0 and self._delaying:
            self._delaying = False
            await session.places.unwatch(_RETURNED)
            if self._seen.delay is not None:
                changed = await image_now(session) != self._variables
                delay = replace(self._seen.delay, returned=True, remembers=changed)
                self._note(session, delay=delay)
        elif hit.place == _START:
            await self._start(session, hit)
        elif hit.place == _STARTED:
            await self._started(session, hit)
        elif hit.place == STATE:
            await session.places.unwatch(STATE)
            if self.own:
                await self._state(session, hit)
        elif hit.place == HANDLE:
            self._note(session, handled=(*self._seen.handled, hit.order))
            if len(self._seen.handled) >= _HANDLED_MOST:
                await session.places.unwatch(HANDLE)
        elif hit.place in _TELL_AN_ID and hit.cpu == 0:
            await self._tell_another_id(session, hit)
        elif hit.place == "call_initfunc" and hit.text == GROUP:
            await self._own_id_again(session)
            self._note(session, groups=(*self._seen.groups, (hit.cpu, hit.order)))
        if hit.place != STARTS or hit.cpu == 0:  # an AP may wait for long before its first VMRUN
            await GuestProbe.hit(self, session, hit)
        session.finished = session.finished or hit.place == FAILED

    async def over(self, session: Session) -> None:
        """Read what the guest has noted."""
        raw = await session.view.read_if_there(PAGE, _RESULT.size)
        if len(raw) < _RESULT.size:
            return
        magic, stage, check, cpus, found, wanted, rounds, *_ = _RESULT.unpack(raw)
        if magic == _MAGIC:
            self._note(session, result=Result(stage, check, found, wanted, cpus, rounds))

    def _note(self, session: Session, **found: object) -> None:
        self._seen = replace(self._seen, **found)  # type: ignore[arg-type]
        session.log.lab = self._seen

    # ---- the start of the APs ------------------------------------------------------------------

    async def _delay(self, session: Session, hit: Hit) -> None:
        """Let localapic_delayed_ap_start have a function that jumps to the one it was to have."""
        view, gdb = session.view, session.gdb
        stub = view.addr("boot_stack") + _STUB
        jump = b"\xe9" + (hit.state.rdi - stub - 5 & 0xFFFFFFFF).to_bytes(4, "little")
        await gdb.write_phys(stub - VMM_BASE, jump)
        await gdb.write_registers(0, {"rdi": stub})
        await session.places.watch(_START, stub)
        at = await view.read_u32(view.phys("apinit_addr"))
        self._note(session, delay=Delay(False, hit.order, at))
        if self.other_id:
            await self._another_id(session, hit)
        self._variables = await image_now(session)
        if (back := await session.return_address(0)) is not None:
            self._delaying = True
            await session.places.watch(_RETURNED, back)

    async def _another_id(self, session: Session, hit: Hit) -> None:
        """Let the BSP have another APIC id in its per-CPU data; its virtual CPU gets that, too."""
        made = session.choice.pick(_IDS)
        self._id_at = hit.state.gs_base - VMM_BASE + session.inputs.pcpu_pad + _APIC_ID_AT
        await session.gdb.write_phys(self._id_at, made.to_bytes(4, "little"))
        self._note(session, bsp_id=made)
        await session.places.watch_all(_TELL_AN_ID)

    async def _tell_another_id(self, session: Session, hit: Hit) -> None:
        """Let a function that the BSP has called for its APIC id return the other one."""
        offset = hit.state.rdi & 0xFFFFFFFF
        back = await session.return_address(0)
        if back is None or (hit.place == _APIC_READ and offset != _APIC_ID):
            return
        told = self._seen.bsp_id << (_ID_SHIFT if hit.place == _APIC_READ else 0)
        rsp = hit.state.rsp + session.view.abi.word
        await session.gdb.write_registers(0, {"rax": told, "rsp": rsp, "rip": back})

    async def _own_id_again(self, session: Session) -> None:
        """Let the BSP and its virtual CPU have the APIC id of the BSP."""
        if not self._id_at:
            return
        vcpu = await session.view.read_u64(session.view.phys("vcpus"))
        for at in (self._id_at, vcpu - VMM_BASE + _VCPU_APIC_ID_AT):
            await session.gdb.write_phys(at, bytes(4))
        for name in _TELL_AN_ID:
            await session.places.unwatch(name)
        self._id_at = 0

    async def _start(self, session: Session, hit: Hit) -> None:
        view = session.view
        if (back := await session.return_address(hit.cpu)) is not None:
            await session.places.watch(_STARTED, back)
        inside = DELAYED if self._delaying else HANDLE if self._seen.handled else ""
        runs = view.machine.guest_counts().get(0)
        made = Start(
            hit.order,
            hit.cpu,
            inside,
            runs.runs if runs else 0,
            await view.read_if_there(0, _PHYSICAL_0),
            await view.read_u32(view.phys("apinit_addr")),
        )
        self._note(session, starts=(*self._seen.starts, made))

    async def _started(self, session: Session, hit: Hit) -> None:
        view = session.view
        await session.places.unwatch(_STARTED)
        *earlier, last = self._seen.starts
        last = replace(
            last,
            returned=hit.order,
            after=await view.read_if_there(0, _PHYSICAL_0),
            processors=await view.read_u32(view.phys("num_of_processors")),
        )
        self._note(session, starts=(*earlier, last))

    # ---- the state of the guest ----------------------------------------------------------------

    async def _state(self, session: Session, hit: Hit) -> None:
        """Call svm_state_uefi with a state of the grader's; then put everything back."""
        gdb, view = session.gdb, session.view
        back = await session.return_address(0)
        raw = await view.read_if_there(hit.state.rdi - VMM_BASE, 8)
        if back is None or len(raw) < 8:
            return
        vcpu = hit.state.rdi - VMM_BASE
        vmcb = int.from_bytes(raw, "little") - VMM_BASE
        uefi_state, low = view.phys("uefi_state"), view.addr("boot_stack") - VMM_BASE
        pieces = ((vcpu, REGS_AT + 8 * len(PASSED)), (vmcb, VMCB_BYTES),
                  (uefi_state, UEFI_STATE.size))  # fmt: skip
        kept = [(at, await gdb.read_phys(at, size)) for at, size in pieces]
        registers = await gdb.registers(0)
        self._system = await load_system_segments(session, vmcb, other_segments(session))
        made = await self._prepare(session, uefi_state, low)
        await gdb.write_phys(vmcb, kept[1][1])
        await self._fill(session, vcpu, vmcb)
        filled = await gdb.read_phys(vmcb, VMCB_BYTES)
        self._note(session, state=made)
        await session.places.watch(_RETURNED, back)
        session.stands_at(0, hit.state.pc)
        verdict, _ = await session.run_to(0, _RETURNED, attempts=1)
        at = int.from_bytes(await gdb.read_phys(vcpu, 8), "little")
        old = await gdb.read_phys(vmcb, VMCB_BYTES)
        body = await view.read_if_there(at - VMM_BASE, VMCB_BYTES)
        values = await view.read_if_there(vcpu + REGS_AT, 8 * len(PASSED))
        self._note(
            session,
            state=replace(
                made,
                returned=verdict == "reached",
                vmcb=vmcb_of(body) if len(body) == VMCB_BYTES else None,
                moved_to=at if at != vmcb + VMM_BASE else 0,
                changed_at=first_change(filled, old),
                registers=dict(zip(PASSED, struct.unpack("<14Q", values), strict=True)),
            ),
        )
        if verdict != "reached":
            session.finished = not session.log.cpus[0].rest
            return
        await session.places.unwatch(_RETURNED)
        await load_system_segments(session, vmcb, self._system)
        await write_msr(session, 0, _MSR_PAT, self._pat)
        again = registers.context
        await self._put_back(session, kept, again)
        high = await high_frame(session, vcpu, back)
        await self._put_back(session, kept, again)
        beyond = await frame_beyond(session, vcpu, vmcb, back, low + _FRAME)
        self._note(session, state=replace(self._seen.state or made, high=high, beyond=beyond))
        await self._put_back(session, kept, again)
        await self._mend(session, vcpu, vmcb, back)

    async def _put_back(
        self, session: Session, kept: list[tuple[int, bytes]], registers: dict[str, int]
    ) -> None:
        """Let the BSP stand at svm_state_uefi again, with memory as it was."""
        for at, content in kept:
            await session.gdb.write_phys(at, content)
        await session.gdb.write_registers(0, registers)
        session.stands_at(0, registers["rip"])

    async def _mend(self, session: Session, vcpu: int, vmcb: int, back: int) -> None:
        """Let svm_state_uefi return for the firmware's own state, and put right what it made."""
        state = self._seen.state
        right = state and await firmware(session, self._system, {**state.msrs, "g_pat": self._pat})
        if state is None or right is None:
            return
        await session.places.watch(_RETURNED, back)
        verdict, _ = await session.run_to(0, _RETURNED, attempts=1)
        await session.places.unwatch(_RETURNED)
        if verdict == "reached":
            await session.gdb.write_phys(vcpu, (vmcb + VMM_BASE).to_bytes(8, "little"))
            await mend(session, vcpu, vmcb, right)
            self._note(session, state=replace(state, mended=True))
            session.stands_at(0, back)

    async def _prepare(self, session: Session, uefi_state: int, low: int) -> State:
        """Put other numbers where svm_state_uefi finds the firmware's."""
        gdb, choice = session.gdb, session.choice
        now = await state_of_firmware(session)
        words, selectors = dict(now.words), dict(now.selectors)
        gdt, gdt_limit = now.tables["gdtr"]
        own_gdt = await session.view.read_if_there(gdt, gdt_limit + 1)
        table = bytearray(8 * _GDT_ENTRIES)
        places = iter(choice.some(len(SELECTORS), range(1, _GDT_ENTRIES)))
        for name, selector in selectors.items():
            index = next(places)
            table[8 * index : 8 * index + 8] = own_gdt[selector & ~7 : (selector & ~7) + 8]
            selectors[name] = 8 * index
        await gdb.write_phys(low + _GDT, bytes(table))
        frame = {name: number(session) for name in FRAME}
        frame["rflags"] = choice.below(1 << 12) & _FLAGS | _MORE_FLAGS
        await gdb.write_phys(low + _FRAME, struct.pack("<10Q", *frame.values()))
        words |= {
            "rsp": low + _FRAME,
            "cr3": number(session) & -PAGE_BYTES,
            "cr4": words["cr4"] ^ 0x4C8 | 0x200,  # OSXMMEXCPT, PGE, MCE, DE
            "cr0": words["cr0"] ^ 0x10022,  # WP, NE, MP
            "efer": words["efer"] ^ 0x801 | _EFER_LMA_LME,  # NXE, SCE
            "fs_base": number(session),
            "gs_base": number(session),
        }
        tables = {
            "gdtr": (low + _GDT, len(table) - 1),
            "idtr": (number(session), choice.between(0x100, 0xFFF)),
        }
        flat = [tables[one][part] for one in ("gdtr", "idtr") for part in (1, 0)]
        raw = UEFI_STATE.pack(*words.values(), *flat, *selectors.values())
        await gdb.write_phys(uefi_state, raw)
        msrs = {name: number(session) & 0x7FFF_FFFF_FFFF for name in MSRS}
        msrs["sfmask"] &= 0xFFFFFFFF
        msrs["sysenter_cs"] &= 0xFFFF
        for name, register in MSRS.items():
            if not await write_msr(session, 0, register, msrs[name]):
                msrs.pop(name)
        self._pat = msrs["g_pat"] = await read_msr(session, 0, _MSR_PAT) or 0
        if await write_msr(session, 0, _MSR_PAT, _OTHER_PAT):
            msrs["g_pat"] = _OTHER_PAT
        system = await system_segments(session)
        return State({**words, **selectors}, tables, frame, system, msrs, False)

    async def _fill(self, session: Session, vcpu: int, vmcb: int) -> None:
        """Fill every field that svm_state_uefi has to set with random bytes."""
        gdb, choice = session.gdb, session.choice
        for first, end in STATE_FIELDS:
            await gdb.write_phys(vmcb + first, choice.randbytes(end - first))
        await gdb.write_phys(vmcb + SHADOW, (choice.word() | 1).to_bytes(8, "little"))
        await gdb.write_phys(vmcb + EVENTINJ, (choice.word() | VALID).to_bytes(8, "little"))
        await gdb.write_phys(vcpu + REGS_AT, choice.randbytes(8 * len(PASSED)))
