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
from vmmlab.x86.vmcb import EFER_SVME, VMCB_BYTES, VmcbSegment, with_fields

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

_CODE64, _DATA, _FLAT = 0xA9B, 0xC93, 0xFFFFFFFF
RESET: Final = {"cpl": 0, "cr2": 0, "dr6": 0xFFFF0FF0, "dr7": 0x400}
"""Fields of the VMCB that are as after a reset."""

STATE_FIELDS: Final = ((0x400, 0x4A0), (0x4CB, 0x4CC), (0x4D0, 0x4D8), (0x548, 0x580),
                        (0x5D8, 0x5E0), (0x5F8, 0x648), (0x668, 0x670))  # fmt: skip
"""The fields of a VMCB that svm_state_uefi has to set, but for two."""
SHADOW, EVENTINJ, VALID = 0x68, 0xA8, 1 << 31


@dataclass(frozen=True)
class UefiState:
    """The variable uefi_state.

    Args:
        words: its registers.
        tables: GDTR and IDTR: base and limit.
        selectors: of the segment registers.
    """

    words: Mapping[str, int]
    tables: Mapping[str, tuple[int, int]]
    selectors: Mapping[str, int]


@dataclass(frozen=True)
class Firmware(UefiState):
    """The state in which the firmware goes on: uefi_state, and what is not in it.

    Args:
        frame: the struct uefi_frame.
        system: TR and LDTR of the CPU.
        msrs: the MSRs of the CPU.
    """

    frame: Mapping[str, int]
    system: Mapping[str, VmcbSegment]
    msrs: Mapping[str, int]

    @property
    def segments(self) -> dict[str, VmcbSegment]:
        """The segment registers with their hidden parts, and the tables, as far as known."""
        found = {one: VmcbSegment(0, 0, limit, base) for one, (base, limit) in self.tables.items()}
        for name, selector in self.selectors.items():
            base, attrib = self.words.get(f"{name}_base", 0), _CODE64 if name == "cs" else _DATA
            found[name] = VmcbSegment(selector, attrib, _FLAT, base)
        return {**found, **self.system}


async def state_of_firmware(session: Session) -> UefiState:
    """Return what uefi_state holds now."""
    raw = await session.gdb.read_phys(session.view.phys("uefi_state"), UEFI_STATE.size)
    now = UEFI_STATE.unpack(raw)
    return UefiState(
        dict(zip(WORDS, now, strict=False)),
        {"gdtr": (now[8], now[7]), "idtr": (now[10], now[9])},
        dict(zip(SELECTORS, now[11:], strict=True)),
    )


async def firmware(
    session: Session, system: Mapping[str, VmcbSegment], msrs: Mapping[str, int]
) -> Firmware | None:
    """Return the state that uefi_state and the frame have now; None if there is no frame."""
    now = await state_of_firmware(session)
    frame = await session.view.read_if_there(now.words["rsp"], 8 * len(FRAME))
    if len(frame) < 8 * len(FRAME):
        return None
    return Firmware(
        now.words,
        now.tables,
        now.selectors,
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
    gdb, words, frame = session.gdb, right.words, right.frame
    fields = {
        **RESET,
        **{name: words[name] for name in ("cr0", "cr3", "cr4")},
        **{name: frame[name] for name in ("rflags", "rip")},
        **right.msrs,
        **right.segments,
        "efer": words["efer"] | EFER_SVME,
        "rsp": words["rsp"] + 8 * len(FRAME),
        **dict.fromkeys(("rax", "interrupt_shadow", "eventinj"), 0),
    }
    made = with_fields(await gdb.read_phys(vmcb, VMCB_BYTES), fields)
    await gdb.write_phys(vmcb, made)
    for number, name in enumerate(PASSED):
        if name in frame:
            at = vcpu + REGS_AT + 8 * number
            await gdb.write_phys(at, frame[name].to_bytes(8, "little"))


def first_change(before: bytes, after: bytes) -> int | None:
    """Return the offset of the first difference outside of what svm_state_uefi has to set."""
    fields = (*STATE_FIELDS, (SHADOW, SHADOW + 8), (EVENTINJ, EVENTINJ + 8))
    to_set = {one for first, end in fields for one in range(first, end)}
    pairs = enumerate(zip(before, after, strict=True))
    return next((at for at, (old, new) in pairs if old != new and at not in to_set), None)


async def image_now(session: Session) -> bytes:
    """Return the image as it is in memory."""
    view = session.view
    start = view.phys("__image_start")
    return await view.read_if_there(start, view.phys("__image_end") - start)
