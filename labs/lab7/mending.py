"""Puts right what a function of the student's has left wrong, once that is recorded.

So the steps after a mistake are judged for themselves. What is right stays as it is: the values are
those of the contract, and what the contract leaves free is not touched unless it cannot work. The
boots that the probe `guest` watches are never mended.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.msr import execute, write_msr
from vmmlab.observe.session import Session
from vmmlab.x86.vmcb import (
    EFER_SVME,
    IOPM_BYTES,
    MSR_VM_HSAVE_PA,
    VMCB_BYTES,
)

PAGE: Final = 4096
COM1: Final = range(0x3F8, 0x400)
PAT: Final = 0x0007040600070406
TLB_FLUSHES: Final = (1, 3, 7)
"""Values of tlb_control that flush the entries of the guest (APM 15.16.1)."""
DR6, DR7, CR0_ET, RFLAGS_1 = 0xFFFF0FF0, 0x400, 0x10, 2
DATA_SEGMENTS: Final = ("es", "ss", "ds", "fs", "gs")
FIELDS: Final = (
    (0x000, 0x014), (0x040, 0x05D), (0x060, 0x098), (0x0A8, 0x0B8), (0x400, 0x4A0), (0x4CB, 0x4CC),
    (0x4D0, 0x4D8), (0x548, 0x580), (0x5D8, 0x5E0), (0x5F8, 0x648), (0x668, 0x670),
)  # fmt: skip
"""The parts of a VMCB that have fields which a VMM may set (APM appendix B)."""
REGS_AT: Final = 16
"""Where the guest's registers are in struct vcpu, after two pointers."""

_INTERCEPT1: Final = 1 << 1 | 1 << 18 | 1 << 27 | 1 << 31  # NMI, CPUID, IOIO, shutdown
_INTERCEPT1_INTR: Final = 1 << 0
_INTERCEPT2: Final = 1 << 0 | 1 << 1  # VMRUN, VMMCALL
_RESERVE: Final = 1 << 21  # bytes at the end of the VMM's memory, where alloc does not come
_SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr")
_RDX: Final = 2 * 8  # in struct svm_vmrun_regs
_STGI: Final = b"\x0f\x01\xdd"
_VMRUN: Final = b"\x0f\x01\xd8"
_JUMP: Final = b"\xe9"  # with 32 bits of distance
_VMRUN_CODE: Final = bytes.fromhex(
    "535541544155415641575256570f01dd4889d00f01db4889f00f01da488b1f488b4f08488b5710488b7718488b"
    "6f284c8b47304c8b4f384c8b57404c8b5f484c8b67504c8b6f584c8b77604c8b7f68488b7f200f01d80f01db48"
    "873c2448891f48894f08488957104889771848896f284c8947304c894f384c8957404c895f484c8967504c896f"
    "584c8977604c897f688f47205e580f01da0f01dc415f415e415d415c5d5bc3"
)
"""A function that does what asm_vmrun_regs_64 has to do, wherever it lies."""
_ARGUMENTS_CODE: Final = bytes.fromhex(
    "b9010100c00f32488d0d32000000390174064883c120ebf6488b7908488b7110488b5118e917020000"
).ljust(0x40, b"\xcc")
"""Code before it, for arguments that are wrong: it takes them from a table that comes between the
two, from the row that begins with the lower half of the CPU's GS base."""
_ROW: Final = struct.Struct("<4Q")
_ROWS: Final = 16


def stray(body: bytes) -> int | None:
    """Return the offset of the first byte that is not 0 outside of all fields of a VMCB."""
    at = 0
    for first, end in (*FIELDS, (len(body), len(body))):
        for offset in range(at, first):
            if body[offset]:
                return offset
        at = end
    return None


def segments_after_init(cs: int) -> Mapping[str, tuple[int, int, int, int]]:
    """Return selector, attributes, limit and base of each segment register after svm_reset."""
    data = (0, 0x93, 0xFFFF, 0)
    return {
        **dict.fromkeys(DATA_SEGMENTS, data),
        "cs": (cs, 0x9B, 0xFFFF, cs << 4),
        "ldtr": (0, 0x82, 0xFFFF, 0),
        "tr": (0, 0x8B, 0xFFFF, 0),
        "gdtr": (0, 0, 0xFFFF, 0),
        "idtr": (0, 0, 0x3FF, 0),
    }


@dataclass
class Mender:
    """Puts right what the functions of lab 7 have made, one CPU at a time.

    Args:
        session: the boot; the CPU stands still.
    """

    session: Session
    _given: int = field(default=0, init=False)

    async def pages(self, size: int) -> int:
        """Return the physical address of memory of the VMM's that nothing else uses, all 0."""
        view = self.session.view
        end = (1 << 20) + 1024 * await view.read_u32(view.phys("mi") + 8)  # mi.mem_upper, in KiB
        self._given += -(-size // PAGE) * PAGE
        at = (end - _RESERVE & -PAGE) - self._given
        await self.session.gdb.write_phys(at, bytes(size))
        return at

    async def _within(self, physical: int, size: int) -> bool:
        view = self.session.view
        end = (1 << 20) + 1024 * await view.read_u32(view.phys("mi") + 8)
        return view.phys("__image_start") <= physical and physical + size <= end

    async def enabled(
        self, cpu: int, before: int, efer: int, hsave: int | None, used: Collection[int]
    ) -> None:
        """Enable SVM on a CPU, and give it a host save area, if it has none.

        Args:
            cpu: the CPU, which has come back from svm_init.
            before: its EFER before.
            efer: its EFER.
            hsave: its VM_HSAVE_PA.
            used: the host save areas of other CPUs.
        """
        if efer != before | EFER_SVME:
            await self.session.gdb.write_registers(cpu, {"efer": before | EFER_SVME})
        lost = not hsave or hsave % PAGE or any(abs(hsave - one) < PAGE for one in used)
        if lost or not await self._within(hsave or 0, PAGE):
            await write_msr(self.session, cpu, MSR_VM_HSAVE_PA, await self.pages(PAGE))

    async def made(
        self,
        vcpu: int,
        vmcb_at: int,
        host_at: int,
        n_cr3: int,
        used: Collection[int],
        body: bytes,
    ) -> tuple[int, int]:
        """Let a virtual CPU have two pages of its own, and a control area that works.

        Args:
            vcpu: the physical address of the struct vcpu.
            vmcb_at: v->vmcb.
            host_at: v->vmcbhost.
            n_cr3: the nested page tables.
            used: the virtual addresses of the pages that others use.
            body: the VMCB that svm_vminit has made; empty if there is none.

        Returns:
            v->vmcb and v->vmcbhost as they are now.
        """
        gdb = self.session.gdb
        if vmcb_at in used or not await self._page_at(vmcb_at):
            vmcb_at = await self.pages(PAGE) + VMM_BASE
            await gdb.write_phys(vcpu, vmcb_at.to_bytes(8, "little"))
        if host_at in (*used, vmcb_at) or not await self._page_at(host_at):
            host_at = await self.pages(PAGE) + VMM_BASE
            await gdb.write_phys(vcpu + 8, host_at.to_bytes(8, "little"))
        await self._control(vmcb_at - VMM_BASE, body or bytes(VMCB_BYTES), n_cr3)
        return vmcb_at, host_at

    async def _page_at(self, virtual: int) -> bytes:
        """Return a page of the VMM's memory; nothing if it is none."""
        physical = virtual - VMM_BASE
        if virtual % PAGE or not await self._within(physical, PAGE):
            return b""
        return await self.session.view.read_if_there(physical, PAGE)

    async def _control(self, at: int, body: bytes, n_cr3: int) -> None:
        """Put right the control area of a VMCB; what is not cleared gets nothing but what it needs.

        Args:
            at: its physical address.
            body: what it is to hold.
            n_cr3: the nested page tables.
        """
        made, clear = bytearray(body), stray(body) is None
        words = list(struct.unpack_from("<5I", body)) if clear else [0] * 5
        words[3] = (words[3] | _INTERCEPT1) & ~_INTERCEPT1_INTR
        words[4] |= _INTERCEPT2
        last = 0
        for first, end in (*FIELDS, (VMCB_BYTES, VMCB_BYTES)):
            made[last:first] = bytes(first - last)
            last = end
        if not clear:
            made[:0x400] = bytes(0x400)
        struct.pack_into("<5I", made, 0, *words)
        iopm = await self._iopm(int.from_bytes(body[0x40:0x48], "little"))
        asid = int.from_bytes(made[0x58:0x5C], "little") or 1
        flush = made[0x5C] if made[0x5C] in TLB_FLUSHES else TLB_FLUSHES[0]
        struct.pack_into("<Q", made, 0x40, iopm)
        struct.pack_into("<QIB", made, 0x50, 0, asid, flush)  # TSC offset, ASID, TLB
        struct.pack_into("<Q", made, 0x60, 0)  # virtual interrupts
        struct.pack_into("<Q", made, 0x90, 1)  # nested paging
        struct.pack_into("<Q", made, 0xB0, n_cr3)
        struct.pack_into("<Q", made, 0x668, PAT)
        if bytes(made) != await self.session.view.read_if_there(at, VMCB_BYTES):
            await self.session.gdb.write_phys(at, bytes(made))

    async def _iopm(self, at: int) -> int:
        """Return the address of an I/O permission map that works: this one, or a new one."""
        bits = slice(COM1.start // 8, COM1.stop // 8)
        body = b""
        if at % PAGE == 0 and await self._within(at, IOPM_BYTES):
            body = await self.session.view.read_if_there(at, IOPM_BYTES)
        if body and body[bits] == b"\xff":
            return at
        new = await self.pages(IOPM_BYTES)
        await self.session.gdb.write_phys(new + bits.start, b"\xff")
        return new

    async def replaced(
        self, function: str, arguments: Mapping[int, tuple[int, int, int]] | None = None
    ) -> int:
        """Let each call of asm_vmrun_regs_64 go to one that is right.

        Args:
            function: its name.
            arguments: by the GS base of each CPU, those that it has to have; as passed, if None.

        Returns:
            The virtual address of VMRUN in that one.
        """
        gdb, view = self.session.gdb, self.session.view
        code = _VMRUN_CODE
        if arguments is not None:
            rows = b"".join(_ROW.pack(gs % (1 << 32), *row) for gs, row in arguments.items())
            code = _ARGUMENTS_CODE + rows.ljust(_ROW.size * _ROWS, b"\0") + code
        made = await self.pages(len(code))
        await gdb.write_phys(made, code)
        at = view.phys(function)
        distance = made - (at + len(_JUMP) + 4)
        await gdb.write_phys(at, _JUMP + distance.to_bytes(4, "little", signed=True))
        return made + code.index(_VMRUN_CODE) + _VMRUN_CODE.index(_VMRUN) + VMM_BASE

    async def came_back(
        self, cpu: int, *, p: int, guest: bytes, host: Mapping[str, int], gif: bool
    ) -> None:
        """Let a CPU that has returned from asm_vmrun_regs_64 be as if that had been right.

        Args:
            cpu: the CPU.
            p: the physical address of its guest's registers.
            guest: what they are to be.
            host: registers of the VMM, by name.
            gif: whether GIF is 1, as it has to be.
        """
        await self.session.gdb.write_phys(p, guest)
        await self.session.gdb.write_registers(cpu, dict(host))
        if not gif:
            await execute(self.session, cpu, _STGI, {})

    async def reset(self, vcpu: int, at: int, cs: int, ip: int, *, rdx: int) -> None:
        """Let a virtual CPU be in the state after INIT.

        Args:
            vcpu: the physical address of the struct vcpu.
            at: that of its VMCB.
            cs: where it starts.
            ip: where it starts.
            rdx: what the given code has put into RDX.
        """
        gdb = self.session.gdb
        made = bytearray(await self.session.view.read_if_there(at, VMCB_BYTES))
        if len(made) < VMCB_BYTES:
            return
        before = bytes(made)
        segments = segments_after_init(cs)
        for number, name in enumerate(_SEGMENTS):
            struct.pack_into("<HHIQ", made, 0x400 + 16 * number, *segments[name])
        made[0x4CB] = 0  # CPL
        fields = {
            0x68: 0, 0xA8: 0, 0x4D0: EFER_SVME, 0x548: 0, 0x550: 0, 0x558: CR0_ET, 0x560: DR7,
            0x568: DR6, 0x570: RFLAGS_1, 0x578: ip, 0x5D8: 0, 0x5F8: 0, 0x640: 0,
        }  # fmt: skip
        for offset, value in fields.items():
            struct.pack_into("<Q", made, offset, value)
        if bytes(made) != before:
            await gdb.write_phys(at, bytes(made))
        registers = bytearray(14 * 8)
        struct.pack_into("<Q", registers, _RDX, rdx)
        await gdb.write_phys(vcpu + REGS_AT, bytes(registers))
