"""Gives the BSP another TR and LDTR, with hidden parts that no descriptor of the firmware has.

Only VMLOAD can load them (APM 15.5.2), so the BSP executes it, outside of all functions.
"""

from __future__ import annotations

import re
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.session import Session
from vmmlab.x86.vmcb import VMCB_BYTES, VmcbSegment, vmcb_of, with_fields

_CODE_AT: Final = 0x120  # in the boot stack, whose low end nothing uses
_VMLOAD, _VMSAVE = b"\x0f\x01\xda", b"\x0f\x01\xdb"
_SYSTEM: Final = re.compile(
    r"^(LDT|TR)\s*=([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE
)
_BUSY_TSS, _LDT = 0x8B, 0x82
_MORE_BITS: Final = (0x000, 0x100, 0x800, 0x900)
"""AVL and G of a descriptor, as the VMCB has them."""


async def system_segments(session: Session) -> dict[str, VmcbSegment]:
    """Return TR and LDTR of the BSP with their hidden parts."""
    told = await session.gdb.monitor("info registers 0")
    found = {}
    for name, selector, base, limit, flags in _SYSTEM.findall(told):
        word = int(flags, 16)
        attrib = word >> 8 & 0xFF | word >> 12 & 0xF00
        parts = (int(selector, 16), attrib, int(limit, 16), int(base, 16))
        found["tr" if name == "TR" else "ldtr"] = VmcbSegment(*parts)
    return found


def number(session: Session) -> int:
    """Return a canonical address in the lower half, none of whose halves is 0."""
    return session.choice.between(1, 0x3FFF) << 32 | session.choice.between(1, 0xFFFFFFFF)


def other_segments(session: Session) -> dict[str, VmcbSegment]:
    """Return a TR and an LDTR, all of whose parts are the grader's."""
    choice, found = session.choice, {}
    for name, kind in (("tr", _BUSY_TSS), ("ldtr", _LDT)):
        selector = 8 * choice.between(1, 0x1FFF)
        base = number(session)
        attrib = kind | choice.pick(_MORE_BITS)
        found[name] = VmcbSegment(selector, attrib, choice.between(0x67, 0xFFFFF), base)
    return found


async def load_system_segments(
    session: Session, page: int, segments: dict[str, VmcbSegment]
) -> dict[str, VmcbSegment]:
    """Let the BSP have other system segments; what else VMLOAD loads stays as it is.

    Args:
        session: the boot; EFER.SVME of the BSP is 1.
        page: the physical address of a page, whose content is lost.
        segments: TR and LDTR, by their names in the VMCB.

    Returns:
        Those that it had.
    """
    gdb = session.gdb
    await _execute(session, _VMSAVE, page)
    body = await gdb.read_phys(page, VMCB_BYTES)
    await gdb.write_phys(page, with_fields(body, dict(segments)))
    await _execute(session, _VMLOAD, page)
    before = vmcb_of(body)
    return {"tr": before.tr, "ldtr": before.ldtr}


async def _execute(session: Session, code: bytes, rax: int) -> None:
    """Let the BSP execute one instruction, and be where it was."""
    gdb, at = session.gdb, session.view.addr("boot_stack") + _CODE_AT
    registers = await gdb.registers(0)
    await gdb.write_phys(at - VMM_BASE, code)
    await gdb.write_registers(0, {"rax": rax, "rip": at})
    session.stands_at(0, at)
    await session.step(0)
    await gdb.write_registers(0, {"rax": registers.rax, "rip": registers.rip})
    session.stands_at(0, registers.rip)
