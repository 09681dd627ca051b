"""AMD SVM: the virtual machine control block, its intercepts and the exit codes.

Source: AMD APM volume 2, appendix B (layout of the VMCB), appendix C (exit codes), 15.9 to 15.11
(intercepts and permission maps).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

VMCB_BYTES: Final = 4096
EFER_SVME: Final = 1 << 12
"""SVM enable: VMRUN and its companions raise #UD without it."""
MSR_VM_CR: Final = 0xC0010114
MSR_VM_HSAVE_PA: Final = 0xC0010117
"""The physical address of the host save area."""
NP_ENABLE: Final = 1 << 0
IOPM_BYTES: Final = 0x3000
MSRPM_BYTES: Final = 0x2000

VMEXIT_INTR: Final = 0x60
VMEXIT_NMI: Final = 0x61
VMEXIT_CPUID: Final = 0x72
VMEXIT_HLT: Final = 0x78
VMEXIT_IOIO: Final = 0x7B
VMEXIT_MSR: Final = 0x7C
VMEXIT_SHUTDOWN: Final = 0x7F
VMEXIT_VMRUN: Final = 0x80
VMEXIT_VMMCALL: Final = 0x81
VMEXIT_NPF: Final = 0x400
VMEXIT_INVALID: Final = 0xFFFFFFFF
"""-1: VMRUN refuses the VMCB. QEMU shows its low 32 bits."""

_NAMES: Final = {
    0x60: "INTR", 0x61: "NMI", 0x62: "SMI", 0x63: "INIT", 0x64: "VINTR", 0x65: "CR0_SEL_WRITE",
    0x66: "IDTR_READ", 0x67: "GDTR_READ", 0x68: "LDTR_READ", 0x69: "TR_READ", 0x6A: "IDTR_WRITE",
    0x6B: "GDTR_WRITE", 0x6C: "LDTR_WRITE", 0x6D: "TR_WRITE", 0x6E: "RDTSC", 0x6F: "RDPMC",
    0x70: "PUSHF", 0x71: "POPF", 0x72: "CPUID", 0x73: "RSM", 0x74: "IRET", 0x75: "SWINT",
    0x76: "INVD", 0x77: "PAUSE", 0x78: "HLT", 0x79: "INVLPG", 0x7A: "INVLPGA", 0x7B: "IOIO",
    0x7C: "MSR", 0x7D: "TASK_SWITCH", 0x7E: "FERR_FREEZE", 0x7F: "SHUTDOWN", 0x80: "VMRUN",
    0x81: "VMMCALL", 0x82: "VMLOAD", 0x83: "VMSAVE", 0x84: "STGI", 0x85: "CLGI", 0x86: "SKINIT",
    0x87: "RDTSCP", 0x88: "ICEBP", 0x89: "WBINVD", 0x8A: "MONITOR", 0x8B: "MWAIT",
    0x8C: "MWAIT_CONDITIONAL", 0x8D: "XSETBV", 0x400: "NPF", 0xFFFFFFFF: "INVALID",
}  # fmt: skip
_RANGES: Final = (
    (0x00, "CR{}_READ"), (0x10, "CR{}_WRITE"), (0x20, "DR{}_READ"), (0x30, "DR{}_WRITE"),
    (0x40, "EXCP{}"),
)  # fmt: skip
_LAST_INTERCEPT: Final = 0x9F

_SEGMENT: Final = struct.Struct("<HHIQ")
_SEGMENTS_AT: Final = 0x400
_SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr")
_FIELDS: Final = {
    "iopm_base_pa": (0x40, 8), "msrpm_base_pa": (0x48, 8), "tsc_offset": (0x50, 8),
    "guest_asid": (0x58, 4), "tlb_control": (0x5C, 1), "vintr": (0x60, 8),
    "interrupt_shadow": (0x68, 8), "exitcode": (0x70, 8), "exitinfo1": (0x78, 8),
    "exitinfo2": (0x80, 8), "exitintinfo": (0x88, 8), "np_enable": (0x90, 8),
    "eventinj": (0xA8, 8), "n_cr3": (0xB0, 8), "cpl": (0x4CB, 1), "efer": (0x4D0, 8),
    "cr4": (0x548, 8), "cr3": (0x550, 8), "cr0": (0x558, 8), "dr7": (0x560, 8), "dr6": (0x568, 8),
    "rflags": (0x570, 8), "rip": (0x578, 8), "rsp": (0x5D8, 8), "rax": (0x5F8, 8),
    "star": (0x600, 8), "lstar": (0x608, 8), "cstar": (0x610, 8), "sfmask": (0x618, 8),
    "kernel_gs_base": (0x620, 8), "sysenter_cs": (0x628, 8), "sysenter_esp": (0x630, 8),
    "sysenter_eip": (0x638, 8), "cr2": (0x640, 8), "g_pat": (0x668, 8),
}  # fmt: skip
"""Offset and size in bytes of each field, by its name in the manual."""


def exit_name(code: int) -> str:
    """Return an exit code as the manual calls it: "VMEXIT_NPF"; or the number in hexadecimal."""
    name = _NAMES.get(code)
    if name is None:
        for first, form in _RANGES:
            if first <= code < first + (0x20 if first == 0x40 else 0x10):
                name = form.format(code - first)
    return f"VMEXIT_{name}" if name else f"{code:#x}"


@dataclass(frozen=True, slots=True)
class VmcbSegment:
    """A segment register in a VMCB, or GDTR or IDTR, which have only base and limit.

    Args:
        selector: the visible part.
        attrib: bits 55..52 and 47..40 of the descriptor in 12 bits (APM vol. 2, 15.5.1).
        limit: offset of the last byte.
        base: linear address.
    """

    selector: int
    attrib: int
    limit: int
    base: int


@dataclass(frozen=True, slots=True)
class Vmcb:
    """A VMCB, as it was in memory; the names of the manual.

    Args:
        intercepts: the five words at its beginning: CR, DR, exceptions, and two of instructions.
    """

    intercepts: tuple[int, ...]
    iopm_base_pa: int
    msrpm_base_pa: int
    tsc_offset: int
    guest_asid: int
    tlb_control: int
    vintr: int
    interrupt_shadow: int
    exitcode: int
    exitinfo1: int
    exitinfo2: int
    exitintinfo: int
    np_enable: int
    eventinj: int
    n_cr3: int
    es: VmcbSegment
    cs: VmcbSegment
    ss: VmcbSegment
    ds: VmcbSegment
    fs: VmcbSegment
    gs: VmcbSegment
    gdtr: VmcbSegment
    ldtr: VmcbSegment
    idtr: VmcbSegment
    tr: VmcbSegment
    cpl: int
    efer: int
    cr4: int
    cr3: int
    cr0: int
    dr7: int
    dr6: int
    rflags: int
    rip: int
    rsp: int
    rax: int
    star: int
    lstar: int
    cstar: int
    sfmask: int
    kernel_gs_base: int
    sysenter_cs: int
    sysenter_esp: int
    sysenter_eip: int
    cr2: int
    g_pat: int

    def intercepted(self, code: int) -> bool:
        """Whether it asks for the exit with this code; all above 0x9F happen without being asked.

        For VMEXIT_IOIO and VMEXIT_MSR the permission maps must ask for the port or the MSR, too.
        """
        if code > _LAST_INTERCEPT:
            return True
        return bool(self.intercepts[code // 32] >> code % 32 & 1)

    @property
    def nested_paging(self) -> bool:
        """Whether nested paging is on."""
        return bool(self.np_enable & NP_ENABLE)

    @property
    def linear_rip(self) -> int:
        """The linear address of the guest's next instruction."""
        return self.cs.base + self.rip


def vmcb_of(raw: bytes) -> Vmcb:
    """Return the VMCB in these bytes.

    Args:
        raw: `VMCB_BYTES` bytes.
    """
    fields: dict[str, Any] = {
        name: int.from_bytes(raw[at : at + size], "little") for name, (at, size) in _FIELDS.items()
    }
    segments: dict[str, Any] = {
        name: VmcbSegment(*_SEGMENT.unpack_from(raw, _segment_at(name))) for name in _SEGMENTS
    }
    return Vmcb(intercepts=struct.unpack_from("<5I", raw), **segments, **fields)


def with_fields(raw: bytes, values: Mapping[str, int | VmcbSegment]) -> bytes:
    """Return a VMCB in which some fields have other values.

    Args:
        raw: `VMCB_BYTES` bytes.
        values: by the names of `Vmcb`.
    """
    made = bytearray(raw)
    for name, value in values.items():
        if isinstance(value, VmcbSegment):
            parts = (value.selector, value.attrib, value.limit, value.base)
            _SEGMENT.pack_into(made, _segment_at(name), *parts)
        else:
            at, size = _FIELDS[name]
            made[at : at + size] = value.to_bytes(size, "little")
    return bytes(made)


def _segment_at(name: str) -> int:
    return _SEGMENTS_AT + _SEGMENT.size * _SEGMENTS.index(name)


def ports_in(iopm: bytes) -> Iterator[int]:
    """Yield the ports that an I/O permission map intercepts: one bit each (15.10.1)."""
    for at, byte in enumerate(iopm[:0x2000]):
        if byte:
            yield from (8 * at + bit for bit in range(8) if byte >> bit & 1)


def msrs_in(msrpm: bytes) -> Iterator[tuple[int, bool, bool]]:
    """Yield MSR, "read" and "write" of what an MSR permission map intercepts (15.11)."""
    for at, byte in enumerate(msrpm[:0x1800]):
        if byte:
            first = (0, 0xC0000000, 0xC0010000)[at // 0x800] + at % 0x800 * 4
            for pair in range(4):
                bits = byte >> 2 * pair & 3
                if bits:
                    yield first + pair, bool(bits & 1), bool(bits & 2)
