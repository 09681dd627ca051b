"""Follows the first VMRUN of each CPU instruction by instruction, into the guest and back."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.base.message import label
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.msr import read_msr
from vmmlab.observe.session import Session
from vmmlab.probes.guest import GuestProbe
from vmmlab.x86.vmcb import EFER_SVME

from .evidence import Crossing, Difference, SvmCpu
from .mending import REGS_AT, TLB_FLUSHES, Mender
from .recording import RecordingProbe

RUN: Final = "asm_vmrun_regs_64"
LEFT: Final = label("after vmrun")
SAVED_BY_CALLEE: Final = ("rbx", "rbp", "r12", "r13", "r14", "r15")
PASSED: Final = (
    "rbx", "rcx", "rdx", "rsi", "rdi", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""struct svm_vmrun_regs (include/svm.h), in its order."""
_KERNEL_GS, _STAR = 0x620, 0x600
_FS_BASE: Final = 0x448
_MSR_STAR: Final = 0xC0000081
_CODE: Final = {b"\x0f\x01\xd8": "vmrun", b"\x0f\x01\xda": "vmload", b"\x0f\x01\xdb": "vmsave",
                b"\x0f\x01\xdc": "stgi", b"\x0f\x01\xdd": "clgi"}  # fmt: skip
_BUDGET: Final = 3000
_HIDDEN_PART: Final = re.compile(r"^(LDT|TR)\s*=([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE)
_IF: Final = 0x200
_DF: Final = 0x400
_CLEARED: Final = _IF | _DF
_EFER, _TLB_CONTROL = 0x4D0, 0x5C
_GUEST_BITS: Final = 1 << 0 | 1 << 11  # EFER.SCE and NXE, which a guest may set


@dataclass
class _Entering:
    """What has to be compared when a CPU is in its guest, and when it is back.

    Args:
        back: where asm_vmrun_regs_64 returns to.
        callers: registers of its caller, which get other values for the time of the call.
        saved: registers of the VMM at its entry, by name.
        star: MSR STAR of the VMM.
        given: what the guest's registers should be at VMRUN.
        left: what they were when it exited.
        kernel_gs: what its kernel GS base was made to be then.
    """

    back: int
    callers: dict[str, int]
    saved: dict[str, int]
    star: int | None
    given: dict[str, int]
    left: dict[str, int] = field(default_factory=dict)
    kernel_gs: int = 0
    fs_base: int = 0


@dataclass
class CrossingProbe(RecordingProbe):
    """Records what asm_vmrun_regs_64 does on the way into the guest and on the way back."""

    _entering: dict[int, _Entering] = field(default_factory=dict, init=False)
    _gif: dict[int, bool] = field(default_factory=dict, init=False)
    _waiting: set[int] = field(default_factory=set, init=False)
    _left: set[int] = field(default_factory=set, init=False)
    _efer: dict[int, bytes] = field(default_factory=dict, init=False)
    """EFER of each guest before bits of it were set."""
    _back: dict[int, _Entering] = field(default_factory=dict, init=False)
    _mends: Mender | None = field(default=None, init=False)

    def _mender(self, session: Session) -> Mender:
        self._mends = self._mends or Mender(session)
        return self._mends

    # ---- into the guest ------------------------------------------------------------------------

    async def _call(self, session: Session, cpu: int) -> None:
        """Follow a CPU from vmm_guest_starts to its first call of asm_vmrun_regs_64.

        It waits there for all others, so that a crash of one does not hide what they do.
        """
        run = session.view.symbols.maybe(RUN)
        self._gif[cpu] = True
        await self._set_bits(session, cpu)
        if await self._follow(session, cpu, lambda now: now.pc == run):
            await self._called(session, cpu, await session.view.state(cpu))
        self._waiting.add(cpu)
        session.held.add(cpu)
        if len(self._waiting) == session.inputs.cpus:
            await self._enter_all(session)

    async def _set_bits(self, session: Session, cpu: int) -> None:
        """Set bits of the guest's EFER that the VMM has no business with."""
        if pages := self._pages.get(cpu):
            at = pages[0] - VMM_BASE + _EFER
            self._efer[cpu] = await session.gdb.read_phys(at, 8)
            value = int.from_bytes(self._efer[cpu], "little") | _GUEST_BITS
            await session.gdb.write_phys(at, value.to_bytes(8, "little"))

    async def _kept(self, session: Session, cpu: int, vmcb: int) -> dict[str, object]:
        """Return what svm_start_vm has changed in the VMCB before its first call; put it right."""
        gdb, lost = session.gdb, {}
        efer = int.from_bytes(await gdb.read_phys(vmcb + _EFER, 8), "little")
        wanted = int.from_bytes(self._efer[cpu], "little") | _GUEST_BITS | EFER_SVME
        if efer != wanted:
            lost["efer_lost"] = (Difference("efer", wanted, efer),)
        await gdb.write_phys(vmcb + _EFER, self._efer[cpu])
        flush = (await gdb.read_phys(vmcb + _TLB_CONTROL, 1))[0]
        if flush not in TLB_FLUSHES:
            lost["flush_lost"] = (Difference("tlb_control", TLB_FLUSHES[0], flush),)
            await gdb.write_phys(vmcb + _TLB_CONTROL, bytes(TLB_FLUSHES[:1]))
        return lost

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
        kept = await self._kept(session, cpu, crossing.vmcb_right)
        self._note(cpu, crossing=replace(crossing, **kept))
        # From here on this call has the right ones.
        p, vmcb, host = crossing.arguments_right
        if crossing.arguments != crossing.arguments_right:
            await gdb.write_registers(cpu, {"rdi": p, "rsi": vmcb, "rdx": host})
        given = {name: _number(session) for name in PASSED}
        await gdb.write_phys(p - VMM_BASE, struct.pack("<14Q", *given.values()))
        for offset in (_KERNEL_GS, _STAR):
            await gdb.write_phys(vmcb + offset, _canonical(session).to_bytes(8, "little"))
        raw = await gdb.read_phys(vmcb + _KERNEL_GS, 8)
        given["k_gs_base"] = int.from_bytes(raw, "little")
        star = await read_msr(session, cpu, _MSR_STAR)
        callers = {name: registers[name] for name in SAVED_BY_CALLEE}
        bases = {"fs_base": _canonical(session), "k_gs_base": _canonical(session)}
        # All of them differ, so that none can be right by chance.
        await gdb.write_registers(cpu, {**bases, **{one: _number(session) for one in callers}})
        saved = await self._host(session, cpu)
        saved["rsp"] += view.abi.word
        self._entering[cpu] = _Entering(back, callers, saved, star, given)

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
        if not session.ended:
            await self._mend(session)
        if not session.ended and all(self._seen[cpu].crossing.returned for cpu in left):
            await self._all_back(session, left)
        session.held -= set(left)

    async def _all_back(self, session: Session, cpus: Sequence[int]) -> None:
        """Called when asm_vmrun_regs_64 has returned on these CPUs, where they stand."""

    async def _mend(self, session: Session) -> None:
        """If all CPUs have returned, and a mistake was found, put it right from now on."""
        crossings = {cpu: seen.crossing for cpu, seen in self._seen.items() if seen.crossing}
        back = [cpu for cpu, crossing in crossings.items() if crossing.returned]
        wrong = any(crossing.wrong for crossing in crossings.values())
        if len(back) < session.inputs.cpus or not wrong:
            return
        rows = {self._back[cpu].saved["gs_base"]: crossings[cpu].arguments_right for cpu in back}
        passed = all(crossings[cpu].arguments == crossings[cpu].arguments_right for cpu in back)
        await self._mender(session).replaced(RUN, None if passed else rows)
        for cpu in back:
            crossing, entering = crossings[cpu], self._back[cpu]
            before = {**entering.saved, **entering.callers}
            host = {name: value for name, value in before.items() if name.islower()}
            flags = (await session.gdb.registers(cpu)).eflags
            await self._mender(session).came_back(
                cpu,
                p=crossing.p_right - VMM_BASE,
                guest=struct.pack("<14Q", *(entering.left[name] for name in PASSED)),
                host={**host, "rip": entering.back, "eflags": flags & ~_CLEARED},
                gif=crossing.gif_after,
            )

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
        self._back[cpu] = entering
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
        wanted, found = dict(entering.left), named(kept)
        if entering.kernel_gs:
            for name, offset, value in (
                ("k_gs_base", _KERNEL_GS, entering.kernel_gs),
                ("fs_base", _FS_BASE, entering.fs_base),
            ):
                wanted[name] = value
                raw = await gdb.read_phys(crossing.vmcb_right + offset, 8)
                found[name] = int.from_bytes(raw, "little")
        host = await self._host(session, cpu)
        await gdb.write_registers(cpu, entering.callers)
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
                mixed_with=await self._mixed_with(session, cpu, entering, host["gs_base"]),
                returned=True,
                gif_after=self._gif[cpu],
                interrupts=bool(state.eflags & _IF),
                direction=bool(state.eflags & _DF),
            ),
        )

    async def _mixed_with(
        self, session: Session, cpu: int, entering: _Entering, gs_base: int
    ) -> int | None:
        """Return another CPU of which this one has the state, or which has this one's."""
        kept = struct.pack("<14Q", *(entering.left[name] for name in PASSED))
        for other, seen in self._seen.items():
            theirs = self._entering.get(other) or self._back.get(other)
            if other == cpu or seen.crossing is None or theirs is None:
                continue
            if theirs.saved["gs_base"] == gs_base:
                return other
            at = seen.crossing.vmcb_right + _KERNEL_GS
            base = int.from_bytes(await session.gdb.read_phys(at, 8), "little")
            if entering.kernel_gs and base == entering.kernel_gs:
                return other
            if await session.gdb.read_phys(seen.crossing.p_right - VMM_BASE, len(kept)) == kept:
                return other
        return None


def named(raw: bytes) -> dict[str, int]:
    """Return the registers of a struct svm_vmrun_regs by name."""
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
