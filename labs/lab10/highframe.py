"""Calls svm_state_uefi with a frame of which the VMM has no alias: in the firmware's ROM.

The firmware's stack may be anywhere in physical memory, and these machines have so little that the
alias reaches all of it. Only a debugger can write to ROM, by an address that some page tables map.
Beyond 4 GiB there is nothing at all: there only the address is the grader's.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from vmmlab.base.message import label
from vmmlab.images.layout import MAPMEM_BASE, MAPMEM_SIZE
from vmmlab.machine.gdb import GdbError
from vmmlab.observe.session import Session
from vmmlab.x86.registers import PAGE_BYTES
from vmmlab.x86.vmcb import VMCB_BYTES, vmcb_of

from .mending import FRAME, PASSED, REGS_AT, state_of_firmware

_PAGES: Final = range(0xFFE10000, 0xFFF00000, 4096)
"""In the ROM of each OVMF, which ends at 4 GiB; nothing there is read again."""
_INSIDE: Final = 0xFC0
"""Two words of the frame are in the next page: nothing keeps a stack from that."""
_BEYOND: Final = range(1, 4)  # times 4 GiB
_FAULT: Final = "exception_panic"
_FAULTED: Final = label("an exception came")
_RETURNED: Final = label("the call returned")
_RFLAGS: Final = 0x202


@dataclass(frozen=True, slots=True)
class HighFrame:
    """What svm_state_uefi made of a frame that is far up in physical memory.

    Args:
        address: of the frame.
        frame: its words; beyond 4 GiB those at the address without its upper half.
        returned: whether the function returned.
        cr2: CR2 then.
        registers: v->regs then, by name.
        rsp: that in the VMCB then, if it counts.
    """

    address: int
    frame: dict[str, int]
    returned: bool
    cr2: int
    registers: dict[str, int] = field(default_factory=dict)
    rsp: int = 0

    @property
    def ends_with_its_page(self) -> bool:
        """Whether an exception came in the window of mapmem, where the first page ends."""
        inside = MAPMEM_BASE <= self.cr2 < MAPMEM_BASE + MAPMEM_SIZE
        return not self.returned and inside and self.cr2 % PAGE_BYTES < len(FRAME) * 8


async def high_frame(session: Session, vcpu: int, back: int) -> HighFrame | None:
    """Let the BSP execute svm_state_uefi, at whose first instruction it stands.

    An exception does not end the boot: the caller puts everything back.

    Args:
        session: the boot.
        vcpu: the physical address of the struct vcpu.
        back: where the function returns to.

    Returns:
        What came of it; None if this machine has no such ROM.
    """
    view, choice = session.view, session.choice
    cr3 = (await state_of_firmware(session)).words["cr3"]
    frame = {name: choice.between(1 << 32, (1 << 46) - 1) for name in FRAME} | {"rflags": _RFLAGS}
    content = struct.pack("<10Q", *frame.values())
    at = choice.pick(_PAGES) + _INSIDE
    before = await view.read_if_there(at, len(content))
    await _write_rom(session, at, content, cr3)
    if not before or await view.read_if_there(at, len(content)) != content:
        return None
    made = HighFrame(at, frame, *await _call(session, vcpu, back, at))
    await _write_rom(session, at, before, cr3)
    return made


async def frame_beyond(session: Session, vcpu: int, vmcb: int, back: int, low: int) -> HighFrame:
    """Let the BSP execute svm_state_uefi for a frame beyond 4 GiB, where no memory is.

    Args:
        session: the boot.
        vcpu: the physical address of the struct vcpu.
        vmcb: that of its VMCB.
        back: where the function returns to.
        low: where a frame is, below 4 GiB.
    """
    content = struct.unpack("<10Q", await session.gdb.read_phys(low, 8 * len(FRAME)))
    at = session.choice.pick(_BEYOND) << 32 | low
    found = await _call(session, vcpu, back, at)
    rsp = vmcb_of(await session.gdb.read_phys(vmcb, VMCB_BYTES)).rsp
    return HighFrame(at, dict(zip(FRAME, content, strict=True)), *found, rsp)


async def _call(
    session: Session, vcpu: int, back: int, at: int
) -> tuple[bool, int, dict[str, int]]:
    """Let the BSP execute svm_state_uefi; return whether it returned, CR2, and v->regs then."""
    view, places = session.view, session.places
    await session.gdb.write_phys(view.phys("uefi_state"), at.to_bytes(8, "little"))  # its rsp
    await places.unwatch(_FAULT)
    await places.watch(_FAULTED, view.addr(_FAULT))
    await places.watch(_RETURNED, back)
    verdict, state = await session.run_to(0, _RETURNED, _FAULTED, attempts=1)
    returned = verdict == "reached" and state.pc == back
    for one in (_FAULTED, _RETURNED):
        await places.unwatch(one)
    await places.watch(_FAULT)
    values = struct.unpack("<14Q", await view.read_if_there(vcpu + REGS_AT, 8 * len(PASSED)))
    registers = dict(zip(PASSED, values, strict=True))
    return returned, (await session.gdb.registers(0)).cr2, registers


async def _write_rom(session: Session, at: int, content: bytes, cr3: int) -> None:
    """Write to ROM, which page tables map to itself."""
    own = (await session.gdb.registers(0)).cr3
    await session.gdb.write_registers(0, {"cr3": cr3})
    with suppress(GdbError):  # the caller looks
        await session.gdb.write_virt(0, at, content)
    await session.gdb.write_registers(0, {"cr3": own})
