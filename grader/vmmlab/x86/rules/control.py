"""Rules about control registers and EFER."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vmmlab.x86.operands import Operation
from vmmlab.x86.registers import (
    CR0_CD,
    CR0_NW,
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    DESC_LONG,
    EFER_LMA,
    EFER_LME,
    MSR_EFER,
)
from vmmlab.x86.rules.model import Refusal, refusal

_CR4_PCIDE: Final = 1 << 17
_CR4_LA57: Final = 1 << 12
CR4_DEFINED: Final = 0x1_1BFF_7FFF
"""VME to SMXE (bits 0 to 14), FSGSBASE, PCIDE, OSXSAVE, KL, SMEP, SMAP, PKE, CET, PKS, UINTR, LASS,
LAM_SUP, FRED: the bits that some processor has."""
EFER_DEFINED: Final = 0x36_FD01
"""SCE, LME, LMA, NXE, and of AMD's SVME, LMSLE, FFXSR, TCE, MCOMMIT, INTWB, UAIE, AIBRSE."""
CR3_ADDRESS_BITS: Final = 52  # the most physical address bits that any processor has
_MSRS: Final = (range(0x800), range(0x900, 0x2000), range(0xC0000080, 0xC0002000),
                range(0xC0010000, 0xC0012000), range(0x40000000, 0x40000200))  # fmt: skip
"""Where MSRs are. Those of the x2APIC, 0x800 to 0x8ff, are there in its mode only."""
_HALF: Final = 0xFFFFFFFF


def control_rules(
    doing: Operation, registers: Mapping[str, int], hidden: Mapping[str, int]
) -> Iterator[Refusal]:
    """Yield what the processor forbids in a write of a control register or an MSR.

    Args:
        doing: the instruction.
        registers: by name, before it.
        hidden: the hidden parts of the segment registers, such as "cs_flags".
    """
    if doing.control == "cr0":
        value = doing.value
        if doing.name == "lmsw":  # cannot clear PE, and has the four lowest bits only
            value = (registers["cr0"] & ~0xE) | (value & 0xF)
        yield from _cr0(value, registers, hidden)
    elif doing.control == "cr3":
        bad = doing.value >> CR3_ADDRESS_BITS << CR3_ADDRESS_BITS
        bad &= ~(1 << 63) if registers["cr4"] & _CR4_PCIDE else -1
        if bad:
            yield refusal("cr3-reserved", register="CR3", value=doing.value, bits=bad)
    elif doing.control == "cr4":
        yield from _cr4(doing.value, registers)
    elif doing.name in ("rdmsr", "wrmsr"):
        yield from _msr(doing.name == "wrmsr", registers)


def _cr0(value: int, registers: Mapping[str, int], hidden: Mapping[str, int]) -> Iterator[Refusal]:
    told: dict[str, Any] = {"register": "CR0", "value": value}
    if value > _HALF:
        yield refusal("cr0-upper-half", **told, bits=value & ~_HALF)
    if value & CR0_PG and not value & CR0_PE:
        yield refusal("paging-needs-protection", **told, bits=CR0_PE)
    if value & CR0_NW and not value & CR0_CD:
        yield refusal("write-through-needs-cache-disable", **told, bits=CR0_NW)
    begins = value & CR0_PG and not registers["cr0"] & CR0_PG
    if begins and registers["efer"] & EFER_LME:
        if not registers["cr4"] & CR4_PAE:
            yield refusal("paging-needs-pae", **told, bits=CR4_PAE)
        if registers["cr0"] & CR0_PE and hidden.get("cs_flags", 0) & DESC_LONG:
            yield refusal("long-mode-from-long-segment", **told)


def _cr4(value: int, registers: Mapping[str, int]) -> Iterator[Refusal]:
    told: dict[str, Any] = {"register": "CR4", "value": value}
    if bad := value & ~CR4_DEFINED:
        yield refusal("cr4-reserved", **told, bits=bad)
    long = registers["efer"] & EFER_LMA
    if long and not value & CR4_PAE:
        yield refusal("cr4-pae-in-long-mode", **told, bits=CR4_PAE)
    changed = value ^ registers["cr4"]
    if changed & value & _CR4_PCIDE and (not long or registers["cr3"] & 0xFFF):
        yield refusal("cr4-pcide", **told, bits=_CR4_PCIDE)
    if long and changed & _CR4_LA57:
        yield refusal("cr4-la57-in-long-mode", **told, bits=_CR4_LA57)


def _msr(writes: bool, registers: Mapping[str, int]) -> Iterator[Refusal]:
    number = registers["rcx"] & _HALF
    if not any(number in known for known in _MSRS):
        yield refusal("msr-unknown", register="MSR", value=number)
    if not writes or number != MSR_EFER:
        return
    value = (registers["rdx"] & _HALF) << 32 | registers["rax"] & _HALF
    told: dict[str, Any] = {"register": "EFER", "value": value}
    if bad := value & ~EFER_DEFINED:
        yield refusal("efer-reserved", **told, bits=bad)
    if (value ^ registers["efer"]) & EFER_LME and registers["cr0"] & CR0_PG:
        yield refusal("efer-lme-while-paging", **told, bits=EFER_LME)
    if (value ^ registers["efer"]) & EFER_LMA:
        yield refusal("efer-lma", **told, bits=EFER_LMA)
