"""Deaths at the load of a segment register, explained by what lgdt has loaded."""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.diagnosis.death import Death, faulted
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuRecord, DescriptorTable, TrampolineStep
from vmmlab.observe.observation import Observation
from vmmlab.x86.registers import CR0_PE

_HALF: Final = 0xFFFF


def gdt(
    boot: Observation, cpu: CpuRecord, last: TrampolineStep, what: Text | None = None
) -> Death | None:
    """Explain a death at the load of a segment register by what lgdt has loaded.

    Args:
        boot: the boot.
        cpu: the AP.
        last: its last instruction.
        what: what the processor refuses in it, if that is known.
    """
    table = cpu.gdtr
    loads = last.register in ("cs", "ds", "es", "ss", "fs", "gs") and last.state.cr0 & CR0_PE
    if table is None or not loads or (what is None and not faulted(boot, cpu)):
        return None
    lgdt = next((s for s in reversed(cpu.steps) if s.text.startswith("lgdt")), None)
    told = what or msg(
        "`{instruction}` loads {segment} with selector {selector:#x}, and nothing is there",
        instruction=last.text,
        segment=last.register.upper(),
        selector=last.value or 0,
    )
    if lgdt is not None:
        return _operand(boot, lgdt, table, told) or _base(boot, lgdt, table, told)
    if table.base:
        return None
    return Death(
        "gdt-not-loaded",
        msg("{what}: no lgdt was executed on the way, GDTR is as INIT has left it", what=told),
        msg("lgdt comes before CR0.PE."),
    )


def _ours(boot: Observation, address: int) -> bool:
    """Whether a physical address is in the copy of the trampoline or in the VMM."""
    return address in boot.copy_range or boot.in_image(address + VMM_BASE)


def _operand(
    boot: Observation, lgdt: TrampolineStep, table: DescriptorTable, told: Text
) -> Death | None:
    """Explain an lgdt whose operand is neither in the copy nor in the VMM."""
    operand = lgdt.touches[0].address if lgdt.touches else None
    if operand is None or _ours(boot, operand):
        return None
    return Death(
        "lgdt-read-elsewhere",
        msg(
            "{what}: `{lgdt}` read its six bytes at physical {operand:#x}, which is not in the "
            "copy ({first:#x} to {end:#x}), and got base {base:#x}, limit {limit:#x}",
            what=told,
            lgdt=lgdt.text,
            operand=operand,
            first=boot.copy_range[0],
            end=boot.copy_range[-1],
            base=table.base,
            limit=table.limit,
        ),
        msg(
            "The operand of lgdt is found through DS, or CS with the prefix: is that segment "
            "the right one, and is APINIT_OFFSET in the offset?"
        ),
        step=lgdt,
    )


def _base(
    boot: Observation, lgdt: TrampolineStep, table: DescriptorTable, told: Text
) -> Death | None:
    """Explain a base of the GDT that is not the linear address of one of the VMM's tables."""
    if boot.in_image(table.base):
        return Death(
            "gdt-base-wrong",
            msg(
                "{what}: the base of the GDT, {base:#x}, is the address where the table is linked. "
                "Paging is off: there it lies at {physical:#x}",
                what=told,
                base=table.base,
                physical=table.base - VMM_BASE,
            ),
            msg("The base is a linear address; without paging that is label - VMM_BASE."),
            step=lgdt,
        )
    if _ours(boot, table.base):
        return None
    if half := _half(boot, lgdt, table, told):
        return half
    return Death(
        "gdt-base-wrong",
        msg(
            "{what}: the base of the GDT, {base:#x}, is neither in the copy ({first:#x} to "
            "{end:#x}) nor in the VMM",
            what=told,
            base=table.base,
            first=boot.copy_range[0],
            end=boot.copy_range[-1],
        ),
        msg(
            "The six bytes are the limit, 2 bytes, then the base, 4 bytes. The base is a linear "
            "address, no offset from CS: in the copy CS * 16 + offset. And lgdt needs the 32-bit "
            "operand size (lgdtl)."
        ),
        step=lgdt,
    )


def _half(
    boot: Observation, lgdt: TrampolineStep, table: DescriptorTable, told: Text
) -> Death | None:
    """Explain a base of which only 16 bits are those of an address in the copy."""
    right = boot.copy_range.start & ~_HALF | table.base & _HALF
    if right not in boot.copy_range:
        return None
    values: dict[str, Text | int] = {"what": told, "base": table.base, "right": right}
    if table.base <= _HALF:
        what = msg(
            "{what}: the base of the GDT, {base:#x}, is the low half of {right:#x}, which is in "
            "the copy",
            **values,
        )
        look = msg(
            "An address in the copy needs more than 16 bits: calculate it in a 32-bit register, "
            "and store all 32 bits."
        )
        return Death("gdt-base-wrong", what, look, step=lgdt)
    what = msg(
        "{what}: of the base of the GDT, {base:#x}, only the low 16 bits are those of an address "
        "in the copy, {right:#x}",
        **values,
    )
    look = msg(
        "Clear the upper half of the register before you load CS into its lower half. After INIT, "
        "EDX is not 0."
    )
    return Death("gdt-base-wrong", what, look, step=lgdt)
