"""Puts right what svm_state_uefi has made of the virtual CPU that the firmware goes on in.

What the student's function makes of a state of the grader's is recorded before, and judged. So the
checks of the steps after it judge these steps. The boots with `own=False` are never mended.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vmmlab.observe.session import Session
from vmmlab.x86.vmcb import EFER_SVME, VMCB_BYTES, VmcbSegment

PASSED: Final = (
    "rbx", "rcx", "rdx", "rsi", "rdi", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""struct svm_vmrun_regs (include/svm.h), in its order."""
REGS_AT: Final = 16
"""Where they are in struct vcpu, after two pointers."""
FRAME: Final = ("rflags", "r15", "r14", "r13", "r12", "rsi", "rdi", "rbp", "rbx", "rip")
"""struct uefi_frame (include/uefi.h), in its order."""
UEFI_STATE: Final = struct.Struct("<7QHQHQ6H")
WORDS: Final = ("rsp", "cr0", "cr3", "cr4", "efer", "fs_base", "gs_base")
SELECTORS: Final = ("cs", "ss", "ds", "es", "fs", "gs")
"""struct uefi_state, in its order; GDTR and IDTR are in between."""

_SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr")
_CODE64, _DATA, _FLAT = 0xA9B, 0xC93, 0xFFFFFFFF
_MSRS: Final = {
    "star": 0x600, "lstar": 0x608, "cstar": 0x610, "sfmask": 0x618, "kernel_gs_base": 0x620,
    "sysenter_cs": 0x628, "sysenter_esp": 0x630, "sysenter_eip": 0x638, "g_pat": 0x668,
}  # fmt: skip


@dataclass(frozen=True)
class Firmware:
    """The state in which the firmware goes on.

    Args:
        words: the registers of uefi_state.
        tables: GDTR and IDTR: base and limit.
        selectors: those of uefi_state.
        frame: the struct uefi_frame.
        system: TR and LDTR of the CPU.
        msrs: the MSRs of the CPU.
    """

    words: Mapping[str, int]
    tables: Mapping[str, tuple[int, int]]
    selectors: Mapping[str, int]
    frame: Mapping[str, int]
    system: Mapping[str, VmcbSegment]
    msrs: Mapping[str, int]

    def segment(self, name: str) -> tuple[int, int, int, int] | None:
        """Return selector, attributes, limit and base; None if they are not known."""
        if name in self.tables:
            base, limit = self.tables[name]
            return 0, 0, limit, base
        if name in self.selectors:
            base = self.words.get(f"{name}_base", 0)
            return self.selectors[name], _CODE64 if name == "cs" else _DATA, _FLAT, base
        known = self.system.get(name)
        return known and (known.selector, known.attrib, known.limit, known.base)


async def firmware(
    session: Session, system: Mapping[str, VmcbSegment], msrs: Mapping[str, int]
) -> Firmware | None:
    """Return the state that uefi_state and the frame have now; None if there is no frame."""
    view = session.view
    raw = await session.gdb.read_phys(view.phys("uefi_state"), UEFI_STATE.size)
    now = UEFI_STATE.unpack(raw)
    words = dict(zip(WORDS, now, strict=False))
    frame = await view.read_if_there(words["rsp"], 8 * len(FRAME))
    if len(frame) < 8 * len(FRAME):
        return None
    return Firmware(
        words,
        {"gdtr": (now[8], now[7]), "idtr": (now[10], now[9])},
        dict(zip(SELECTORS, now[11:], strict=True)),
        dict(zip(FRAME, struct.unpack("<10Q", frame), strict=True)),
        system,
        msrs,
    )


async def mend(session: Session, vcpu: int, vmcb: int, right: Firmware) -> None:
    """Let a virtual CPU hold the firmware's state, in all fields that svm_state_uefi has to set.

    Args:
        session: the boot.
        vcpu: the physical address of the struct vcpu.
        vmcb: that of its VMCB.
        right: the state.
    """
    gdb, words = session.gdb, right.words
    made = bytearray(await gdb.read_phys(vmcb, VMCB_BYTES))
    for number, name in enumerate(_SEGMENTS):
        if (segment := right.segment(name)) is not None:
            struct.pack_into("<HHIQ", made, 0x400 + 16 * number, *segment)
    made[0x4CB] = 0  # CPL
    fields = {
        0x68: 0, 0xA8: 0, 0x4D0: words["efer"] | EFER_SVME, 0x548: words["cr4"],
        0x550: words["cr3"], 0x558: words["cr0"], 0x560: 0x400, 0x568: 0xFFFF0FF0,
        0x570: right.frame["rflags"], 0x578: right.frame["rip"],
        0x5D8: words["rsp"] + 8 * len(FRAME), 0x5F8: 0, 0x640: 0,
        **{_MSRS[name]: value for name, value in right.msrs.items()},
    }  # fmt: skip
    for offset, value in fields.items():
        struct.pack_into("<Q", made, offset, value)
    await gdb.write_phys(vmcb, bytes(made))
    for number, name in enumerate(PASSED):
        if name in right.frame:
            at = vcpu + REGS_AT + 8 * number
            await gdb.write_phys(at, right.frame[name].to_bytes(8, "little"))
