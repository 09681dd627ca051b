"""What lab 7 needs to know besides what the probe `guest` records.

It looks at each CPU between the functions that the student writes, and follows the first VMRUN of
each CPU instruction by instruction: what `asm_vmrun_regs_64` does on the way into the guest and on
the way back. What alloc returns is filled with random bytes, and so are all fields that a function
has to set. What a function has left wrong is put right before the next one begins (`mending`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.msr import read_msr
from vmmlab.observe.nested import intercepted_ports
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import note_allocation
from vmmlab.probes.guest import GUEST_ENTRY, STARTS, VMRUN, GuestProbe
from vmmlab.probes.registry import probe
from vmmlab.x86.vmcb import (
    EFER_SVME,
    MSR_VM_HSAVE_PA,
    VMCB_BYTES,
    VMEXIT_MSR,
    Vmcb,
    vmcb_of,
)

from .asking import CPUID, IOIO, VMMCALL
from .crossing import LEFT, PASSED, RUN, named
from .evidence import Difference, Enabled, Made, Reset, Result, SvmCpu
from .mending import REGS_AT, stray
from .recording import RESULT, RESULTS
from .standing import EFER
from .turns import RESET, TurnsProbe

DONE: Final = "guest_done"
FAILED: Final = "guest_failed"
REAL_FAILED: Final = "guest_real_failed"
MARKS: Final = ((DONE, 0x8080), (FAILED, 0x80A0), (REAL_FAILED, 0x8060))
"""Where the processors of guest/bios.S come to rest."""
_CHECK_AT: Final = 4  # in a record
_THIS_CPU, _GO_ON = 256, 272  # in the page of a CPU of guest/bios.S
MAX_CPUS: Final = 16
_STAGES: Final = {1: 3, 2: 4, 3: 5, 4: 5, 5: 6, 6: 7, 8: 3}
"""The stage to which a CHECK_ of guest/bios.S belongs, by its upper bits."""
_END_BYTE: Final = 0x7C0B  # the field `end` of struct guest_header

_STATE: Final = (0x400, 0x5F8 + 8)
"""The part of a VMCB that svm_reset sets, but for CR2 and what the control area has of it."""
_KEPT: Final = ((0x4A0, 0x4CB), (0x4CC, 0x4D0), (0x4D8, 0x548), (0x580, 0x5D8), (0x5E0, 0x5F8))
"""Reserved fields in it."""
_SHADOW, _EVENTINJ, _CR2 = 0x68, 0xA8, 0x640
_EFER_MORE: Final = (1 << 11, 1 << 0)
"""NXE on the CPUs with an even number, SCE on the others: this VMM uses neither."""
_KEPT_BY_NMI: Final = (
    "rip", "rsp", "rax", "rflags", "cr0", "cr2", "cr3", "cr4", "cpl",
    "eventinj", "interrupt_shadow", "tsc_offset",
)  # fmt: skip
"""Fields of the VMCB that nothing changes after VMEXIT_NMI."""
HANDLER: Final = "nmi_handler"
_BIOS_DRIVE: Final = 0x80


@probe("svm", cost=5)
@dataclass
class SvmProbe(TurnsProbe):
    """Records what the functions of lab 7 do on each CPU.

    Args:
        end: how the guest of the BSP is to end: END_ in guest/bios.S.
        follow: whether the first VMRUN of each CPU is followed. If not, nmi_handler returns.
        replaces: whether the guests are run by a function that is right, in place of the student's
            asm_vmrun_regs_64.
    """

    places: tuple[str, ...] = (
        *GuestProbe.places, "svm_init", "svm_vminit", RESET, "svm_start_vm", HANDLER,
        "sync_all_processors",
    )  # fmt: skip
    end: int = 0
    follow: bool = True
    replaces: bool = False
    marks: tuple[tuple[str, int], ...] = MARKS
    until: str = DONE
    _before: dict[int, int] = field(default_factory=dict, init=False)
    _asked: dict[int, tuple[int, int]] = field(default_factory=dict, init=False)
    _roots: dict[int, int] = field(default_factory=dict, init=False)
    _chosen: dict[int, tuple[int, int]] = field(default_factory=dict, init=False)
    """The arguments that svm_reset has got in place of those that were asked for."""
    _replaced: bool = field(default=False, init=False)
    _preparing: set[int] = field(default_factory=set, init=False)
    _ready: dict[int, Vmcb] = field(default_factory=dict, init=False)
    """The VMCB of each CPU when svm_reset was called."""
    _bodies: dict[int, bytes] = field(default_factory=dict, init=False)
    """The VMCB of each CPU when svm_reset had returned, as it is in use."""

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
        await self._take_turns(session, hit)
        if hit.place == STARTS and not session.ended:
            await self._restore(session, hit.cpu)
        if hit.place == STARTS and hit.cpu == 0 and self.end:
            await session.gdb.write_phys(_END_BYTE, bytes([self.end]))
        if hit.place == STARTS and self.follow and not session.ended:
            await self._call(session, hit.cpu)
        if hit.place == STARTS and self.replaces and not session.ended:
            await self._replace(session)
        if hit.place == LEFT and hit.cpu in self._entering:
            await self._leave(session, hit.cpu)
        if hit.place in (CPUID, VMMCALL, IOIO) and not session.ended:
            await self._ask(session, hit)
        if hit.place == HANDLER and not self.follow and not session.ended:
            await self._handled(session, hit.cpu)
        if hit.place in (FAILED, REAL_FAILED) and not session.ended:
            await self._failed(session, hit)
        self._keep(session)

    async def quiet(self, session: Session) -> bool:
        """Let the CPUs that wait go on."""
        if (self._at_gate or self._queue) and not session.ended:
            self._let_all_go(session)
            return True
        if self._met and not session.ended:
            await self._ask_both(session)
            return True
        if (self._waiting or self._left) and not session.ended:
            await self._enter_all(session)
            await self._come_back_all(session)
            return True
        return await GuestProbe.quiet(self, session)

    async def over(self, session: Session) -> None:
        """Read what the guest has noted."""
        await self._results(session)
        self._keep(session)

    async def _replace(self, session: Session) -> None:
        """Let the guests run by a function that is right: other boots judge the student's."""
        if not self._replaced:
            self._replaced = True
            rows = {}
            for cpu, (vmcb, host) in self._pages.items():
                gs_base = (await session.view.state(cpu)).gs_base
                rows[gs_base] = self._vcpus[cpu] + REGS_AT, vmcb - VMM_BASE, host - VMM_BASE
            address = await self._mender(session).replaced(RUN, rows)
            self._runs_at = (*(self._runs_at or ()), address)
            await session.places.watch(VMRUN, address)

    # ---- between the functions -----------------------------------------------------------------

    def _others(self, cpu: int) -> list[SvmCpu]:
        return [seen for one, seen in self._seen.items() if one != cpu]

    async def _handled(self, session: Session, cpu: int) -> None:
        """Let nmi_handler return on a CPU, and see whether it runs its guest again."""
        back = await session.return_address(cpu)
        if back is None:
            return
        rsp = (await session.view.state(cpu)).rsp + session.view.abi.word
        if pages := self._pages.get(cpu):  # this guest does not run again
            at = pages[0] - VMM_BASE + _CR2
            await session.gdb.write_phys(at, session.choice.randbytes(8))
        cleared = await self._clear_svme(session, cpu)
        before = await self._fields(session, cpu)
        await session.gdb.write_registers(cpu, {"rip": back, "rsp": rsp})
        for address in self._runs_at or ():
            await session.places.watch(VMRUN, address)
        verdict, _ = await session.run_to(cpu, VMRUN)
        await session.places.unwatch(VMRUN)
        after = await self._fields(session, cpu)
        lost = [Difference(name, before[name], after[name]) for name in before if name in after]
        changed = tuple(one for one in lost if one.wanted != one.found)
        if cleared is not None and verdict == "reached":
            efer = await session.view.read_u32(cleared)
            self._note(cpu, svme_after_nmi=bool(efer & EFER_SVME))
        self._note(cpu, after_nmi=verdict, changed_by_nmi=changed)
        session.held.add(cpu)
        session.finished = session.held.issuperset(session.view.ap_indices)

    async def _clear_svme(self, session: Session, cpu: int) -> int | None:
        """Let the guest of a CPU have cleared EFER.SVME; return where its EFER is in the VMCB.

        A VMM that intercepts MSRs need not let a guest do that.
        """
        pages = self._pages.get(cpu)
        at = pages[0] - VMM_BASE if pages else 0
        vmcb = vmcb_of(await session.gdb.read_phys(at, VMCB_BYTES)) if at else None
        if vmcb is None or vmcb.intercepted(VMEXIT_MSR):
            return None
        await session.gdb.write_phys(at + EFER, (vmcb.efer & ~EFER_SVME).to_bytes(8, "little"))
        return at + EFER

    async def _fields(self, session: Session, cpu: int) -> dict[str, int]:
        """Return fields of the guest's state that the VMCB of a CPU holds."""
        pages = self._pages.get(cpu)
        if pages is None:
            return {}
        body = await session.view.read_if_there(pages[0] - VMM_BASE, VMCB_BYTES)
        if not body:
            return {}
        vmcb = vmcb_of(body)
        return {name.upper(): getattr(vmcb, name) for name in _KEPT_BY_NMI}

    async def _between(self, session: Session, hit: Hit) -> None:
        cpu = hit.cpu
        if hit.place == "svm_init":
            # One bit more than this VMM uses: svm_init must keep it.
            self._before[cpu] = hit.state.efer | _EFER_MORE[cpu % 2]
            await session.gdb.write_registers(cpu, {"efer": self._before[cpu]})
            await self._prepare(session, cpu)
        elif hit.place == "svm_vminit":
            hsave, efer = await read_msr(session, cpu, MSR_VM_HSAVE_PA), hit.state.efer
            before = self._before.get(cpu, efer)
            self._note(cpu, enabled=Enabled(before, efer, hsave))
            areas = [one.enabled.hsave or 0 for one in self._others(cpu) if one.enabled]
            await self._mender(session).enabled(cpu, before, efer, hsave, areas)
            self._vcpus[cpu] = hit.state.rdi
            # Tables may be anywhere. Before the guest runs, it gets those that there are.
            high = hit.state.rsi | session.choice.between(1, 0xFFFF) << 32
            self._roots[cpu], self._asked[cpu] = hit.state.rsi, (high, 0)
            await session.gdb.write_registers(cpu, {"rsi": high})
            await self._prepare(session, cpu)
        elif hit.place == RESET:
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
        chosen = session.choice.between(0x1000, 0xFFFF), session.choice.between(0x1000, 0xFFFF)
        self._chosen[cpu] = chosen
        await session.gdb.write_registers(cpu, {"rsi": chosen[0], "rdx": chosen[1]})
        used = [page for one in self._pages for page in self._pages[one] if one != cpu]
        used += [(one.enabled.hsave or 0) + VMM_BASE for one in self._seen.values() if one.enabled]
        self._pages[cpu] = await self._mender(session).made(
            vcpu - VMM_BASE, vmcb_at, host_at, self._roots.get(cpu, 0), used, body
        )
        ready = await view.read_if_there(self._pages[cpu][0] - VMM_BASE, VMCB_BYTES)
        self._ready[cpu] = vmcb_of(ready)
        await self._fill(session, vcpu - VMM_BASE, self._pages[cpu][0] - VMM_BASE)
        await self._prepared(session, cpu)

    async def _restore(self, session: Session, cpu: int) -> None:
        """Put back the VMCB of a CPU: another one may have written to it since."""
        if body := self._bodies.get(cpu):
            await session.gdb.write_phys(self._pages[cpu][0] - VMM_BASE, body)

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
            before = self._ready.get(cpu)
            self._note(cpu, reset=Reset(*self._chosen[cpu], vmcb_of(body), named(raw), before))
            cs, ip = self._asked[cpu]
            rdx = 0 if cpu else _BIOS_DRIVE
            await self._mender(session).reset(vcpu - VMM_BASE, at, cs, ip, rdx=rdx)
            self._bodies[cpu] = await session.view.read_if_there(at, VMCB_BYTES)

    # ---- the end-------------------------------------------------------------------------------

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
        at = RESULTS + RESULT.size * (number % MAX_CPUS)
        _, check, found, wanted, _ = RESULT.unpack(await gdb.read_phys(at, RESULT.size))
        failed = Result(_STAGES.get(check >> 8, 0), check, found, wanted)
        self._note(cpu, failed=(*self._seen.get(cpu, SvmCpu()).failed, failed))
        await gdb.write_phys(at + _CHECK_AT, bytes(4))
        await gdb.write_registers(cpu, {"rip": rip, "rsp": rsp})


def _watched(session: Session) -> tuple[str, ...]:
    at = session.view.symbols.maybe("alloc")
    return ("alloc",) if at is not None and at in session.places else ()
