"""What lab 7 needs to know besides what the probe `guest` records.

It looks at each CPU between the functions that the student writes, and follows the first VMRUN of
each CPU instruction by instruction: what `asm_vmrun_regs_64` does on the way into the guest and on
the way back. What alloc returns is filled with random bytes, and so are all fields that a function
has to set. What a function has left wrong is put right before the next one begins (`mending`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import LabEvidence, Verdict
from vmmlab.observe.faults import note_exception
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.msr import read_msr
from vmmlab.observe.nested import intercepted_ports
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import note_allocation
from vmmlab.probes.guest import GUEST_ENTRY, STARTS, VMRUN, GuestProbe
from vmmlab.probes.registry import probe
from vmmlab.x86.vmcb import MSR_VM_HSAVE_PA, VMCB_BYTES, Vmcb, vmcb_of

from .mending import REGS_AT, Mender, stray

DONE: Final = "guest_done"
FAILED: Final = "guest_failed"
REAL_FAILED: Final = "guest_real_failed"
MARKS: Final = ((DONE, 0x8080), (FAILED, 0x80A0), (REAL_FAILED, 0x8060))
"""Where the processors of guest/bios.S come to rest."""
RUN: Final = "asm_vmrun_regs_64"
LEFT: Final = "after vmrun"
_RESULTS: Final = 0x9000  # GUEST_DATA in include/guest.h: guest_results
_RESULT: Final = struct.Struct("<IIQQQ")
_CHECK_AT: Final = 4  # in a record
_THIS_CPU, _GO_ON = 256, 272  # in the page of a CPU of guest/bios.S
MAX_CPUS: Final = 16
_STAGES: Final = {1: 3, 2: 4, 3: 5, 4: 5, 5: 6, 6: 7, 8: 3}
"""The stage to which a CHECK_ of guest/bios.S belongs, by its upper bits."""
_END_BYTE: Final = 0x7C0B  # the field `end` of struct guest_header

SAVED_BY_CALLEE: Final = ("rbx", "rbp", "r12", "r13", "r14", "r15")
PASSED: Final = (
    "rbx", "rcx", "rdx", "rsi", "rdi", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""struct svm_vmrun_regs (include/svm.h), in its order."""
_STATE: Final = (0x400, 0x5F8 + 8)
"""The part of a VMCB that svm_reset sets, but for CR2 and what the control area has of it."""
_KEPT: Final = ((0x4A0, 0x4CB), (0x4CC, 0x4D0), (0x4D8, 0x548), (0x580, 0x5D8), (0x5E0, 0x5F8))
"""Reserved fields in it."""
_SHADOW, _EVENTINJ, _CR2, _KERNEL_GS, _STAR = 0x68, 0xA8, 0x640, 0x620, 0x600
_FS_BASE: Final = 0x448
_MSR_STAR: Final = 0xC0000081
_CODE: Final = {b"\x0f\x01\xd8": "vmrun", b"\x0f\x01\xda": "vmload", b"\x0f\x01\xdb": "vmsave",
                b"\x0f\x01\xdc": "stgi", b"\x0f\x01\xdd": "clgi"}  # fmt: skip
_BUDGET: Final = 3000
_HIDDEN_PART: Final = re.compile(r"^(LDT|TR)\s*=([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE)
_IF: Final = 0x200
_EFER_SCE: Final = 1 << 0
HANDLER: Final = "nmi_handler"
_GATES: Final = ("svm_init", "svm_vminit")
_BIOS_DRIVE: Final = 0x80


@dataclass(frozen=True, slots=True)
class Enabled:
    """A CPU after svm_init.

    Args:
        before: EFER when it was called.
        efer: EFER when it had returned.
        hsave: VM_HSAVE_PA then; None if unknown.
    """

    before: int
    efer: int
    hsave: int | None


@dataclass(frozen=True, slots=True)
class Made:
    """What svm_vminit made.

    Args:
        vmcb_at: v->vmcb.
        host_at: v->vmcbhost.
        n_cr3: its second argument.
        vmcb: the VMCB; None if there is no memory.
        stray: offset of the first byte that is not 0 and belongs to no field.
        ports: first and last of each range of ports that its I/O permission map intercepts.
    """

    vmcb_at: int
    host_at: int
    n_cr3: int
    vmcb: Vmcb | None
    stray: int | None
    ports: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Reset:
    """What svm_reset made of a virtual CPU in which all of its fields were random.

    Args:
        cs: its second argument.
        ip: its third one.
        vmcb: the VMCB when it had returned.
        registers: v->regs then, by name.
    """

    cs: int
    ip: int
    vmcb: Vmcb
    registers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not what it should be.

    Args:
        name: of the register or field.
        wanted: what it should be.
        found: what it is.
    """

    name: str
    wanted: int
    found: int


@dataclass(frozen=True, slots=True)
class Crossing:
    """The first VMRUN of a CPU, from the call of asm_vmrun_regs_64 to its return.

    Args:
        p: its first argument.
        vmcb: its second argument.
        host: its third argument.
        vmcb_right: the physical address of v->vmcb.
        host_right: the physical address of v->vmcbhost.
        p_right: the address of v->regs.
        gif: GIF when VMRUN was executed; None if that was not reached.
        at: address of the VMRUN.
        entry_lost: registers that the guest did not get from *p, or from its VMCB.
        exit_lost: registers of the guest that are not in *p, or in its VMCB, on return.
        host_lost: state of the VMM that was not as before.
        returned: whether it returned.
        gif_after: GIF on return.
        loaded_with_gif: the guest's state was loaded while GIF was 1.
        restored_with_gif: the VMM's own state was loaded while GIF was 1.
        interrupts: whether interrupts were on then.
    """

    p: int
    vmcb: int
    host: int
    vmcb_right: int
    host_right: int
    p_right: int
    gif: bool | None = None
    at: int = 0
    entry_lost: tuple[Difference, ...] = ()
    exit_lost: tuple[Difference, ...] = ()
    host_lost: tuple[Difference, ...] = ()
    returned: bool = False
    gif_after: bool = False
    loaded_with_gif: bool = False
    restored_with_gif: bool = False
    interrupts: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a CPU of the guest has noted (guest/bios.S).

    Args:
        stage: how far it came: STAGE_.
        check: what it found wrong: CHECK_; 0 for nothing.
        found: what it found.
        wanted: what it expected.
    """

    stage: int
    check: int
    found: int
    wanted: int


@dataclass(frozen=True)
class SvmCpu:
    """One CPU; None for what it did not come to.

    Args:
        enabled: after svm_init.
        made: after svm_vminit.
        reset: after svm_reset.
        crossing: its first VMRUN.
        result: what its guest noted.
        failed: what it found wrong, with the stage to which that belongs; it went on afterwards.
        after_nmi: what it came to when nmi_handler had returned after an exit by NMI: its next
            VMRUN ("reached"), or something else; "" if that was not tried.
        last: its VMCB when the boot ended.
    """

    enabled: Enabled | None = None
    made: Made | None = None
    reset: Reset | None = None
    crossing: Crossing | None = None
    result: Result | None = None
    failed: tuple[Result, ...] = ()
    after_nmi: Verdict | Literal[""] = ""
    last: Vmcb | None = None


@dataclass(frozen=True)
class Svm(LabEvidence):
    """What the probe of lab 7 recorded.

    Args:
        cpus: one record for each CPU, by index.
    """

    cpus: tuple[SvmCpu, ...]


@dataclass
class _Entering:
    """What has to be compared when a CPU is in its guest, and when it is back.

    Args:
        back: where asm_vmrun_regs_64 returns to.
        saved: registers of the VMM at its entry, by name.
        star: MSR STAR of the VMM.
        given: what the guest's registers should be at VMRUN.
        left: what they were when it exited.
        kernel_gs: what its kernel GS base was made to be then.
    """

    back: int
    saved: dict[str, int]
    star: int | None
    given: dict[str, int]
    left: dict[str, int] = field(default_factory=dict)
    kernel_gs: int = 0
    fs_base: int = 0


@probe("svm", cost=5)
@dataclass
class SvmProbe(GuestProbe):
    """Records what the functions of lab 7 do on each CPU.

    Args:
        end: how the guest of the BSP is to end: END_ in guest/bios.S.
        follow: whether the first VMRUN of each CPU is followed. If not, nmi_handler returns.
    """

    places: tuple[str, ...] = (
        *GuestProbe.places, "svm_init", "svm_vminit", "svm_reset", "svm_start_vm", HANDLER,
        "sync_all_processors",
    )  # fmt: skip
    end: int = 0
    follow: bool = True
    marks: tuple[tuple[str, int], ...] = MARKS
    until: str = DONE
    _seen: dict[int, SvmCpu] = field(default_factory=dict, init=False)
    _vcpus: dict[int, int] = field(default_factory=dict, init=False)
    _before: dict[int, int] = field(default_factory=dict, init=False)
    _entering: dict[int, _Entering] = field(default_factory=dict, init=False)
    _asked: dict[int, tuple[int, int]] = field(default_factory=dict, init=False)
    _gif: dict[int, bool] = field(default_factory=dict, init=False)
    _preparing: set[int] = field(default_factory=set, init=False)
    _waiting: set[int] = field(default_factory=set, init=False)
    _left: set[int] = field(default_factory=set, init=False)
    _pages: dict[int, tuple[int, int]] = field(default_factory=dict, init=False)
    """v->vmcb and v->vmcbhost of each CPU, as they are in use."""
    _mends: Mender | None = field(default=None, init=False)
    _bodies: dict[int, bytes] = field(default_factory=dict, init=False)
    """The VMCB of each CPU when svm_reset had returned, as it is in use."""
    _at_gate: set[int] = field(default_factory=set, init=False)
    _queue: list[int] = field(default_factory=list, init=False)
    _turn: int | None = field(default=None, init=False)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Look at a CPU between two functions, or on its way into the guest and back."""
        if hit.place == "alloc":
            if hit.cpu in self._preparing:
                await note_allocation(session, hit)
            return
        if hit.place == GUEST_ENTRY:
            await self._in_guest(session, hit.cpu)
        await GuestProbe.hit(self, session, hit)
        await self._between(session, hit)
        self._take_turns(session, hit)
        if hit.place == STARTS and not session.ended:
            await self._restore(session, hit.cpu)
        if hit.place == STARTS and hit.cpu == 0 and self.end:
            await session.gdb.write_phys(_END_BYTE, bytes([self.end]))
        if hit.place == STARTS and self.follow and not session.ended:
            await self._call(session, hit.cpu)
        if hit.place == LEFT and hit.cpu in self._entering:
            await self._leave(session, hit.cpu)
        if hit.place == HANDLER and not self.follow and not session.ended:
            await self._handled(session, hit.cpu)
        if hit.place in (FAILED, REAL_FAILED) and not session.ended:
            await self._failed(session, hit)
        if hit.place in (DONE, FAILED, REAL_FAILED, *rest_places()):
            await self._results(session)
        self._keep(session)

    async def quiet(self, session: Session) -> bool:
        """Let the CPUs that wait go on; or read what the guest has noted: nothing more happens."""
        if (self._at_gate or self._queue) and not session.ended:
            self._let_all_go(session)
            return True
        if (self._waiting or self._left) and not session.ended:
            await self._enter_all(session)
            await self._come_back_all(session)
            return True
        await self._results(session)
        self._keep(session)
        return await GuestProbe.quiet(self, session)

    def _keep(self, session: Session) -> None:
        everyone = range(session.inputs.cpus)
        session.log.lab = Svm(tuple(self._seen.get(cpu, SvmCpu()) for cpu in everyone))

    # ---- one CPU at a time ---------------------------------------------------------------------

    def _take_turns(self, session: Session, hit: Hit) -> None:
        """Let the CPUs call svm_init, and later svm_vminit, one after the other, by their index.

        What functions that use the same variable do then depends on the functions alone. In other
        boots all CPUs call them at the same time.
        """
        cpu = hit.cpu
        if hit.place in _GATES and self._turn != cpu:
            self._at_gate.add(cpu)
            session.held.add(cpu)
            if len(self._at_gate) == session.inputs.cpus:
                self._queue, self._at_gate = sorted(self._at_gate), set()
                self._next(session)
        elif cpu == self._turn and hit.place in ("sync_all_processors", *rest_places()):
            self._next(session)

    def _next(self, session: Session) -> None:
        self._turn = self._queue.pop(0) if self._queue else None
        session.held.discard(-1 if self._turn is None else self._turn)

    def _let_all_go(self, session: Session) -> None:
        session.held -= {*self._at_gate, *self._queue}
        self._at_gate, self._queue, self._turn = set(), [], None

    def _others(self, cpu: int) -> list[SvmCpu]:
        return [seen for one, seen in self._seen.items() if one != cpu]

    def _mender(self, session: Session) -> Mender:
        self._mends = self._mends or Mender(session)
        return self._mends

    def _note(self, cpu: int, **found: object) -> None:
        self._seen[cpu] = replace(self._seen.get(cpu, SvmCpu()), **found)  # type: ignore[arg-type]

    async def _handled(self, session: Session, cpu: int) -> None:
        """Let nmi_handler return on a CPU, and see whether it runs its guest again."""
        back = await session.return_address(cpu)
        if back is None:
            return
        rsp = (await session.view.state(cpu)).rsp + session.view.abi.word
        await session.gdb.write_registers(cpu, {"rip": back, "rsp": rsp})
        for address in self._runs_at or ():
            await session.places.watch(VMRUN, address)
        verdict, _ = await session.run_to(cpu, VMRUN)
        await session.places.unwatch(VMRUN)
        self._note(cpu, after_nmi=verdict)
        session.held.add(cpu)
        session.finished = session.held.issuperset(session.view.ap_indices)

    # ---- between the functions -----------------------------------------------------------------

    async def _between(self, session: Session, hit: Hit) -> None:
        cpu = hit.cpu
        if hit.place == "svm_init":
            # One bit more than this VMM uses: svm_init must keep it.
            self._before[cpu] = hit.state.efer | _EFER_SCE
            await session.gdb.write_registers(cpu, {"efer": self._before[cpu]})
            await self._prepare(session, cpu)
        elif hit.place == "svm_vminit":
            hsave, efer = await read_msr(session, cpu, MSR_VM_HSAVE_PA), hit.state.efer
            before = self._before.get(cpu, efer)
            self._note(cpu, enabled=Enabled(before, efer, hsave))
            areas = [one.enabled.hsave or 0 for one in self._others(cpu) if one.enabled]
            await self._mender(session).enabled(cpu, before, efer, hsave, areas)
            self._vcpus[cpu] = hit.state.rdi
            self._asked[cpu] = (hit.state.rsi, 0)
            await self._prepare(session, cpu)
        elif hit.place == "svm_reset":
            await self._made(session, hit)
        elif hit.place in ("sync_all_processors", "svm_start_vm", STARTS) and cpu in self._vcpus:
            await self._reset(session, cpu)

    async def _prepare(self, session: Session, cpu: int) -> None:
        """From now on fill what alloc returns to this CPU."""
        if not self._preparing:
            await session.places.watch("alloc")
        self._preparing.add(cpu)

    async def _prepared(self, session: Session, cpu: int) -> None:
        self._preparing.discard(cpu)
        if not self._preparing and "alloc" in _watched(session):
            await session.places.unwatch("alloc")

    async def _made(self, session: Session, hit: Hit) -> None:
        view, cpu = session.view, hit.cpu
        vcpu = self._vcpus.setdefault(cpu, hit.state.rdi)
        raw = await view.read_if_there(vcpu - VMM_BASE, 16)
        if len(raw) < 16:
            return
        vmcb_at, host_at = struct.unpack("<QQ", raw)
        body = await view.read_if_there(vmcb_at & VMM_BASE - 1, VMCB_BYTES) if vmcb_at else b""
        made = vmcb_of(body) if len(body) == VMCB_BYTES else None
        n_cr3 = self._asked.get(cpu, (0, 0))[0]
        found = await intercepted_ports(view, made.iopm_base_pa) if made else None
        ports = tuple((one.first, one.last) for one in found or ())
        self._note(cpu, made=Made(vmcb_at, host_at, n_cr3, made, stray(body), ports))
        registers = await session.gdb.registers(cpu)
        self._asked[cpu] = (registers.rsi & 0xFFFF, registers.rdx & 0xFFFF)
        used = [page for one in self._pages for page in self._pages[one] if one != cpu]
        used += [(one.enabled.hsave or 0) + VMM_BASE for one in self._seen.values() if one.enabled]
        self._pages[cpu] = await self._mender(session).made(
            vcpu - VMM_BASE, vmcb_at, host_at, n_cr3, used, body
        )
        await self._fill(session, vcpu - VMM_BASE, self._pages[cpu][0] - VMM_BASE)
        await self._prepared(session, cpu)

    async def _restore(self, session: Session, cpu: int) -> None:
        """Put back the VMCB of a CPU if another one has made its own in the same page since."""
        at = self._pages.get(cpu, (0, 0))[0]
        shared = any(one.made and one.made.vmcb_at == at for one in self._others(cpu))
        if shared and (body := self._bodies.get(cpu)):
            await session.gdb.write_phys(at - VMM_BASE, body)

    async def _fill(self, session: Session, vcpu: int, vmcb: int) -> None:
        """Fill every field that svm_reset has to set with random bytes."""
        gdb, choice = session.gdb, session.choice
        at = _STATE[0]
        for first, end in (*_KEPT, (_STATE[1], _STATE[1])):
            await gdb.write_phys(vmcb + at, choice.randbytes(first - at))
            at = end
        for one in (_SHADOW, _EVENTINJ, _CR2):
            await gdb.write_phys(vmcb + one, choice.randbytes(8))
        await gdb.write_phys(vcpu + REGS_AT, choice.randbytes(8 * len(PASSED)))

    async def _reset(self, session: Session, cpu: int) -> None:
        seen, vcpu = self._seen.get(cpu, SvmCpu()), self._vcpus.get(cpu)
        await self._prepared(session, cpu)
        if seen.reset is not None or seen.made is None or vcpu is None:
            return
        at = self._pages[cpu][0] - VMM_BASE
        body = await session.view.read_if_there(at, VMCB_BYTES)
        raw = await session.view.read_if_there(vcpu + REGS_AT - VMM_BASE, 8 * len(PASSED))
        if len(body) == VMCB_BYTES and raw:
            cs, ip = self._asked[cpu]
            self._note(cpu, reset=Reset(cs, ip, vmcb_of(body), _named(raw)))
            rdx = 0 if cpu else _BIOS_DRIVE
            await self._mender(session).reset(vcpu - VMM_BASE, at, cs, ip, rdx=rdx)
            self._bodies[cpu] = await session.view.read_if_there(at, VMCB_BYTES)

    # ---- into the guest ------------------------------------------------------------------------

    async def _call(self, session: Session, cpu: int) -> None:
        """Follow a CPU from vmm_guest_starts to its first call of asm_vmrun_regs_64.

        It waits there for all others, so that a crash of one does not hide what they do.
        """
        run = session.view.symbols.maybe(RUN)
        self._gif[cpu] = True
        if await self._follow(session, cpu, lambda now: now.pc == run):
            await self._called(session, cpu, await session.view.state(cpu))
        self._waiting.add(cpu)
        session.held.add(cpu)
        if len(self._waiting) == session.inputs.cpus:
            await self._enter_all(session)

    async def _enter_all(self, session: Session) -> None:
        """Follow the CPUs that wait to their first VMRUN, one after the other; then let them go."""
        waiting, self._waiting = sorted(self._waiting), set()
        for cpu in waiting:
            if not session.ended and self._seen.get(cpu, SvmCpu()).crossing is not None:
                await self._enter(session, cpu)
        session.held -= set(waiting)

    async def _enter(self, session: Session, cpu: int) -> None:
        """Follow a CPU from asm_vmrun_regs_64 to its first VMRUN."""
        runs_at = self._runs_at or ()
        if not await self._follow(session, cpu, lambda now: now.pc in runs_at):
            return
        crossing = self._seen[cpu].crossing
        if crossing is not None:
            registers = await session.gdb.registers(cpu)  # VMRUN changes RAX and RSP alone
            given = self._entering[cpu].given if cpu in self._entering else {}
            lost = _differences(given, {one: registers[one] for one in given})
            crossing = replace(crossing, gif=self._gif[cpu], at=registers.rip, entry_lost=lost)
            self._note(cpu, crossing=crossing)
            await session.places.watch(LEFT, registers.rip + len(next(iter(_CODE))))
        await GuestProbe.hit(self, session, session.log.hits[-1])

    async def _follow(self, session: Session, cpu: int, wanted: Callable[[CpuState], bool]) -> bool:
        """Step a CPU until it is where it is wanted; False if it comes to rest before."""
        rest = {session.view.symbols.maybe(name) for name in rest_places()}

        async def watch(state: CpuState) -> None:
            if not wanted(state):
                await self._count_gif(session, cpu, state)

        await self._count_gif(session, cpu, await session.view.state(cpu))
        verdict, state = await session.step_until(
            cpu, lambda now: wanted(now) or now.pc in rest, budget=_BUDGET, watcher=watch
        )
        if verdict == "reached" and state.pc in rest:
            await note_exception(session, session.log.hits[-1])
            await self._results(session)
        return verdict == "reached" and wanted(state)

    async def _count_gif(self, session: Session, cpu: int, state: CpuState) -> None:
        """Take note of an instruction that changes GIF and is executed next."""
        name = _CODE.get((await session.view.code_at(cpu, state))[:3])
        if name in ("stgi", "clgi"):
            self._gif[cpu] = name == "stgi"
        crossing = self._seen.get(cpu, SvmCpu()).crossing
        if name == "vmload" and self._gif[cpu] and crossing is not None:
            if state.rax == crossing.vmcb_right:
                self._note(cpu, crossing=replace(crossing, loaded_with_gif=True))
            elif crossing.at:
                self._note(cpu, crossing=replace(crossing, restored_with_gif=True))

    async def _called(self, session: Session, cpu: int, state: CpuState) -> None:
        """Record a call of asm_vmrun_regs_64, and fill what it has to pass on."""
        gdb, view = session.gdb, session.view
        pages, vcpu = self._pages.get(cpu), self._vcpus.get(cpu)
        back = await session.return_address(cpu)
        if pages is None or vcpu is None or back is None:
            return
        registers = await gdb.registers(cpu)
        crossing = Crossing(
            p=state.rdi,
            vmcb=state.rsi,
            host=registers.rdx,
            vmcb_right=pages[0] - VMM_BASE,
            host_right=pages[1] - VMM_BASE,
            p_right=vcpu + REGS_AT,
        )
        self._note(cpu, crossing=crossing)
        # From here on this call has the right ones.
        p, vmcb, host = crossing.p_right, crossing.vmcb_right, crossing.host_right
        if (crossing.p, crossing.vmcb, crossing.host) != (p, vmcb, host):
            await gdb.write_registers(cpu, {"rdi": p, "rsi": vmcb, "rdx": host})
        given = {name: _number(session) for name in PASSED}
        await gdb.write_phys(p - VMM_BASE, struct.pack("<14Q", *given.values()))
        for offset in (_KERNEL_GS, _STAR):
            await gdb.write_phys(vmcb + offset, _canonical(session).to_bytes(8, "little"))
        raw = await gdb.read_phys(vmcb + _KERNEL_GS, 8)
        given["k_gs_base"] = int.from_bytes(raw, "little")
        star = await read_msr(session, cpu, _MSR_STAR)
        await gdb.write_registers(
            cpu, {"fs_base": _canonical(session), "k_gs_base": _canonical(session)}
        )
        saved = await self._host(session, cpu)
        saved["rsp"] += view.abi.word
        self._entering[cpu] = _Entering(back, saved, star, given)

    async def _host(self, session: Session, cpu: int) -> dict[str, int]:
        """Return what asm_vmrun_regs_64 must leave as it was."""
        registers = await session.gdb.registers(cpu)
        names = ("rsp", *SAVED_BY_CALLEE, "fs_base", "gs_base", "k_gs_base", "cr3", "efer")
        found = {name: registers[name] for name in names}
        told = await session.gdb.monitor(f"info registers {cpu}")
        for name, selector, base, limit in _HIDDEN_PART.findall(told):
            register = {"LDT": "LDTR"}.get(name, name)
            for part, value in (("selector", selector), ("base", base), ("limit", limit)):
                found[f"{register} {part}"] = int(value, 16)
        return found

    async def _in_guest(self, session: Session, cpu: int) -> None:
        """Change what VMSAVE must store after the exit."""
        entering = self._entering.get(cpu)
        if entering is None or entering.kernel_gs:
            return
        # Of a processor in real mode the stub writes the lower halves only.
        entering.kernel_gs, entering.fs_base = _positive(session), _positive(session)
        await session.gdb.write_registers(
            cpu, {"k_gs_base": entering.kernel_gs, "fs_base": entering.fs_base}
        )

    # ---- and back ------------------------------------------------------------------------------

    async def _leave(self, session: Session, cpu: int) -> None:
        """Let a CPU wait at its first #VMEXIT until all others are there, for the same reason."""
        self._left.add(cpu)
        session.held.add(cpu)
        if self._left.issuperset(self._entering) and not self._waiting:
            await self._come_back_all(session)

    async def _come_back_all(self, session: Session) -> None:
        left, self._left = sorted(self._left), set()
        for cpu in left:
            if not session.ended:
                await self._come_back(session, cpu)
        session.held -= set(left)

    async def _come_back(self, session: Session, cpu: int) -> None:
        """Follow a CPU from its first #VMEXIT to the end of asm_vmrun_regs_64."""
        entering = self._entering.pop(cpu)
        if not self._entering:
            await session.places.unwatch(LEFT)
        registers = await session.gdb.registers(cpu)
        entering.left = {name: registers[name] for name in PASSED}
        crossing = self._seen[cpu].crossing
        if crossing is not None:  # what is not stored there must not be right by chance
            rubbish = struct.pack("<14Q", *(_number(session) for _ in PASSED))
            await session.gdb.write_phys(crossing.p_right - VMM_BASE, rubbish)
        self._gif[cpu] = False
        if await self._follow(session, cpu, lambda now: now.pc == entering.back):
            crossing = self._seen[cpu].crossing
            if crossing is not None:
                state = await session.view.state(cpu)
                await self._returned(session, cpu, entering, crossing, state)

    async def _returned(
        self,
        session: Session,
        cpu: int,
        entering: _Entering,
        crossing: Crossing,
        state: CpuState,
    ) -> None:
        gdb = session.gdb
        kept = await gdb.read_phys(crossing.p_right - VMM_BASE, 112)
        wanted, found = dict(entering.left), _named(kept)
        if entering.kernel_gs:
            for name, offset, value in (
                ("k_gs_base", _KERNEL_GS, entering.kernel_gs),
                ("fs_base", _FS_BASE, entering.fs_base),
            ):
                wanted[name] = value
                raw = await gdb.read_phys(crossing.vmcb_right + offset, 8)
                found[name] = int.from_bytes(raw, "little")
        host = await self._host(session, cpu)
        lost = list(_differences(entering.saved, host))
        star = await read_msr(session, cpu, _MSR_STAR)
        if entering.star is not None and star is not None and star != entering.star:
            lost.append(Difference("STAR", entering.star, star))
        self._note(
            cpu,
            crossing=replace(
                crossing,
                exit_lost=_differences(wanted, found),
                host_lost=tuple(lost),
                returned=True,
                gif_after=self._gif[cpu],
                interrupts=bool(state.eflags & _IF),
            ),
        )

    # ---- the end -------------------------------------------------------------------------------

    async def _failed(self, session: Session, hit: Hit) -> None:
        """Record what a CPU of the guest has found wrong, and let it go on behind that."""
        gdb, cpu = session.gdb, hit.cpu
        registers = await gdb.registers(cpu)
        if hit.place == FAILED:
            page = registers.rbp & 0xFFFFFFFF
            number, at = struct.unpack("<QQ", await gdb.read_phys(page + _THIS_CPU, 16))
            rip, rsp = struct.unpack("<QQ", await gdb.read_phys(page + _GO_ON, 16))
        else:  # in real mode, in segment 0: as RET does
            number, rsp = registers.rdi & 0xFFFF, registers.rsp & 0xFFFF
            rip = int.from_bytes(await gdb.read_phys(rsp, 2), "little")
            rsp += 2
        at = _RESULTS + _RESULT.size * (number % MAX_CPUS)
        _, check, found, wanted, _ = _RESULT.unpack(await gdb.read_phys(at, _RESULT.size))
        failed = Result(_STAGES.get(check >> 8, 0), check, found, wanted)
        self._note(cpu, failed=(*self._seen.get(cpu, SvmCpu()).failed, failed))
        await gdb.write_phys(at + _CHECK_AT, bytes(4))
        await gdb.write_registers(cpu, {"rip": rip, "rsp": rsp})

    async def _results(self, session: Session) -> None:
        """Read what each CPU of the guest has noted."""
        size = _RESULT.size
        raw = await session.view.read_if_there(_RESULTS, size * session.inputs.cpus)
        if len(raw) < size * session.inputs.cpus:
            return
        for cpu in range(session.inputs.cpus):
            if cpu in session.log.guest_starts or cpu in self._seen:
                stage, check, found, wanted, _ = _RESULT.unpack_from(raw, size * cpu)
                self._note(cpu, result=Result(stage, check, found, wanted))
            await self._last(session, cpu)

    async def _last(self, session: Session, cpu: int) -> None:
        if pages := self._pages.get(cpu):
            body = await session.view.read_if_there(pages[0] - VMM_BASE, VMCB_BYTES)
            self._note(cpu, last=vmcb_of(body) if len(body) == VMCB_BYTES else None)


def _watched(session: Session) -> tuple[str, ...]:
    at = session.view.symbols.maybe("alloc")
    return ("alloc",) if at is not None and at in session.places else ()


def _named(raw: bytes) -> dict[str, int]:
    return dict(zip(PASSED, struct.unpack("<14Q", raw), strict=True))


def _differences(wanted: dict[str, int], found: dict[str, int]) -> tuple[Difference, ...]:
    return tuple(
        Difference(name, value, found[name])
        for name, value in wanted.items()
        if name in found and found[name] != value
    )


def _number(session: Session) -> int:
    return session.choice.between(1 << 62, (1 << 64) - 1)


def _positive(session: Session) -> int:
    return session.choice.between(1 << 20, (1 << 31) - 1)


def _canonical(session: Session) -> int:
    return session.choice.between(1 << 40, (1 << 46) - 1)
