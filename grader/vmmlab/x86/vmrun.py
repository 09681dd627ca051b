"""Why VMRUN refuses a VMCB: the consistency checks of the processor (AMD APM vol. 2, 15.5.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.x86.registers import CR0_CD, CR0_NW, CR0_PE, CR0_PG, CR4_PAE, EFER_LME
from vmmlab.x86.vmcb import EFER_SVME, IOPM_BYTES, MSRPM_BYTES, VMEXIT_VMRUN, Vmcb

_PHYSICAL_BITS: Final = 40
"""Of a physical address of the processor that QEMU emulates as qemu64."""
_EFER_KNOWN: Final = 0x5D01
"""SCE, LME, LMA, NXE, SVME, FFXSR: what that processor has in EFER."""
_CR4_RESERVED: Final = 0xFFFFFFFF_FF000000
"""Bits that no processor has."""
_L: Final = 1 << 9
_D: Final = 1 << 10
"""Bits of the attribute of CS in a VMCB."""


@dataclass(frozen=True, slots=True)
class RefusedField:
    """A field for which VMRUN ends with VMEXIT_INVALID at once.

    Args:
        field: its name in `Vmcb`.
        value: what it holds.
        why: what is wrong with it.
    """

    field: str
    value: int
    why: Text


def refused_fields(vmcb: Vmcb) -> tuple[RefusedField, ...]:
    """Return the fields for which VMRUN refuses a VMCB; none if it should accept it."""
    return (*_control(vmcb), *_state(vmcb), *_long_mode(vmcb))


def _control(vmcb: Vmcb) -> Iterator[RefusedField]:
    if not vmcb.intercepted(VMEXIT_VMRUN):
        word = vmcb.intercepts[VMEXIT_VMRUN // 32]
        yield RefusedField("intercepts", word, msg("VMRUN itself is not intercepted"))
    if not vmcb.guest_asid:
        yield RefusedField("guest_asid", 0, msg("address space 0 is the host's"))
    for name, size in (("iopm_base_pa", IOPM_BYTES), ("msrpm_base_pa", MSRPM_BYTES)):
        at = getattr(vmcb, name)
        if at + size > 1 << _PHYSICAL_BITS:
            yield RefusedField(name, at, msg("it is above all physical addresses"))


def _state(vmcb: Vmcb) -> Iterator[RefusedField]:
    if not vmcb.efer & EFER_SVME:
        yield RefusedField("efer", vmcb.efer, msg("SVME is clear"))
    if vmcb.efer & ~_EFER_KNOWN:
        yield RefusedField("efer", vmcb.efer, msg("a reserved bit is set"))
    if vmcb.cr0 & CR0_NW and not vmcb.cr0 & CR0_CD:
        yield RefusedField("cr0", vmcb.cr0, msg("NW is set and CD is clear"))
    for name in ("cr0", "dr6", "dr7"):
        if getattr(vmcb, name) >> 32:
            yield RefusedField(name, getattr(vmcb, name), msg("one of the bits 63 to 32 is set"))
    if vmcb.cr4 & _CR4_RESERVED:
        yield RefusedField("cr4", vmcb.cr4, msg("a reserved bit is set"))


def _long_mode(vmcb: Vmcb) -> Iterator[RefusedField]:
    if not (vmcb.efer & EFER_LME and vmcb.cr0 & CR0_PG):
        return
    if not vmcb.cr4 & CR4_PAE:
        yield RefusedField("cr4", vmcb.cr4, msg("long mode with paging needs PAE"))
    if not vmcb.cr0 & CR0_PE:
        yield RefusedField("cr0", vmcb.cr0, msg("long mode with paging needs PE"))
    if vmcb.cr4 & CR4_PAE and vmcb.cs.attrib & _L and vmcb.cs.attrib & _D:
        yield RefusedField("cs", vmcb.cs.attrib, msg("L and D are both set"))
