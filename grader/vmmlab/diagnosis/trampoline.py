"""Why an AP did not get through the trampoline."""

from __future__ import annotations

import re
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.diagnosis import passage
from vmmlab.diagnosis.bsp import code_text
from vmmlab.diagnosis.deaths import explained
from vmmlab.failure import Failure
from vmmlab.observe.cpu import CpuRecord, CpuState, TrampolineStep
from vmmlab.observe.observation import Observation
from vmmlab.observe.view import NO_INSTRUCTION
from vmmlab.x86.decode import far_jump
from vmmlab.x86.encode import far_jump_code
from vmmlab.x86.registers import CR0_PE, CR0_PG, CR4_PAE, EFER_LME, Mode, exception_name

_INDIRECT: Final = re.compile(r"(jmp|call)[lqw]? \*")
_TELL_GDT: Final = frozenset({"gdt-base-wrong", "gdt-not-loaded", "lgdt-read-elsewhere"})
"""Causes whose text already tells the GDT."""
_MODES: Final[dict[Mode, Text]] = {
    "real": msg("real mode"),
    "protected": msg("protected mode"),
    "long": msg("long mode"),
}


def last_step(cpu: CpuRecord) -> TrampolineStep | None:
    """Return the last instruction that was single-stepped on a CPU."""
    return cpu.steps[-1] if cpu.steps else None


def missed_trampoline(boot: Observation, cpu: CpuRecord) -> Failure:
    """Return why an AP that executed physical 0 did not reach the trampoline."""
    address, offset = boot.apinit_addr, boot.apinit_offset
    code = boot.physical_0.during or b""
    right = far_jump_code((address - offset) >> 4 & 0xFFFF, offset)
    found = far_jump(code)
    if found is None:
        bytes_there = code[:5].hex(" ")
        seen = msg(
            "the bytes at physical 0 are {bytes}, which is not a far jump", bytes=bytes_there
        )
    else:
        segment, ip = found
        seen = msg(
            "the far jump goes to {segment:#06x}:{ip:#06x}, which is physical {address:#x}",
            segment=segment,
            ip=ip,
            address=segment * 16 + ip,
        )
    last = last_step(cpu)
    values: dict[str, Text] = {"cpu": cpu.name, "seen": seen, "place": cpu.end_place.text}
    return Failure(
        "ap-missed-the-trampoline",
        cpu=cpu.index,
        place=msg("ap_start, physical address 0"),
        expected=msg(
            "a far jump to physical {address:#x}, for example {bytes}",
            address=address,
            bytes=right.hex(" "),
        ),
        observed=msg(
            "{cpu} executed physical 0 but never the trampoline: {seen}; it ended at {place} after "
            "{instruction}",
            **values,
            instruction=code_text(last.text),
        )
        if last
        else msg(
            "{cpu} executed physical 0 but never the trampoline: {seen}; it ended at {place}",
            **values,
        ),
        next=msg(
            "The bytes are EA, offset low, offset high, segment low, segment high; "
            "the address is segment * 16 + offset."
        ),
    )


def died_in_trampoline(boot: Observation, cpu: CpuRecord, expected: Text) -> Failure:
    """Return why an AP ended between physical 0 and ap_entry.

    Args:
        boot: the boot.
        cpu: the AP.
        expected: what the check expects of it.
    """
    disturbed = passage.disturbed(boot, cpu)
    if disturbed is not None:
        return disturbed
    last = last_step(cpu)
    state = last.state if last else cpu.end
    where, look = cpu.end_place.text, _mode_hint(state, boot.arch)
    found = explained(boot, cpu)
    if found is not None:
        return Failure(
            found.cause,
            cpu=cpu.index if found.cpu is None else found.cpu,
            place=passage.at(found.step) if found.step else found.place or where,
            expected=expected,
            observed=_ended(cpu, state, found.what, told=found.cause in _TELL_GDT),
            next=found.look,
        )
    what: Text
    if boot.how_ended == "shutdown":
        what = _triple_fault(cpu, last)
    elif cpu.faulted and last:
        what = msg("`{instruction}` raised an exception", instruction=last.text)
    elif cpu.left_code is not None and last:
        what = msg(
            "`{instruction}` went to {address:#x}, where there is no code",
            instruction=last.text,
            address=cpu.left_code,
        )
        where = msg("{place}, `{instruction}`", place=where, instruction=last.text)
        if _INDIRECT.match(last.text):
            look = msg("Where does the address come from that this jump takes, and is it right?")
    else:
        what = msg("it did not leave this code")
    return Failure(
        f"ap-died-in-{state.mode}-mode",
        cpu=cpu.index,
        place=where,
        expected=expected,
        observed=_ended(cpu, state, what),
        next=look,
    )


def _ended(cpu: CpuRecord, state: CpuState, what: Text, *, told: bool = False) -> Text:
    """Return the end of an AP with its registers, and its GDT if the first far jump is next.

    Args:
        cpu: the AP.
        state: its registers.
        what: how it ended.
        told: `what` tells base and limit of the GDT.
    """
    values = {
        "cpu": cpu.name,
        "mode": _MODES[state.mode],
        "what": what,
        "registers": f"CS:IP = {state.cs:#06x}:{state.rip:#06x}, CR0 = {state.cr0:#x}, "
        f"CR3 = {state.cr3:#x}, CR4 = {state.cr4:#x}, EFER = {state.efer:#x}",
    }
    if told or state.mode != "protected" or state.bits != 16:
        return msg("{cpu} in {mode}: {what} ({registers})", **values)
    return msg(
        "{cpu} in {mode}: {what} ({registers}); lgdt has loaded a GDT with base {base:#x}, "
        "limit {limit:#x}",
        **values,
        base=cpu.gdtr.base if cpu.gdtr else 0,
        limit=cpu.gdtr.limit if cpu.gdtr else 0,
    )


def _triple_fault(cpu: CpuRecord, last: TrampolineStep | None) -> Text:
    if cpu.triple_fault is None:
        if last is None:
            return msg("a triple fault")
        if last.text == NO_INSTRUCTION:
            return msg("a triple fault at bytes that are no instruction")
        return msg("a triple fault at `{instruction}`", instruction=code_text(last.text))
    exception = exception_name(cpu.triple_fault.vector)
    if last is None:
        return msg("a triple fault, begun by {exception}", exception=exception)
    if last.text == NO_INSTRUCTION:
        return msg(
            "a triple fault at bytes that are no instruction, begun by {exception}",
            exception=exception,
        )
    return msg(
        "a triple fault at `{instruction}`, begun by {exception}",
        instruction=code_text(last.text),
        exception=exception,
    )


def _mode_hint(state: CpuState, arch: str) -> Text:
    cr0, cr4, efer = state.cr0, state.cr4, state.efer
    if state.mode == "real":
        return msg(
            "In real mode data is at DS * 16 + offset. Is DS the same as CS? Does lgdt "
            "have the 32-bit operand size, and does it read the right six bytes?"
        )
    if state.bits == 16:
        return msg(
            "CR0.PE is set, and this far jump is the first to use the GDT. Did lgdt read "
            "the right six bytes (DS * 16 + offset, 32-bit operand size), is the base in "
            "them a linear address, and is the selector's entry a 32-bit code segment?"
        )
    if arch == "i386":
        return _paging_hint(state)
    if cr0 & CR0_PG and not efer & EFER_LME:
        return msg("Paging is on without EFER.LME: set EFER.LME before CR0.PG.")
    if not cr4 & CR4_PAE:
        return msg("Long mode needs CR4.PAE before CR0.PG (SDM vol. 3, 9.8.5).")
    if not efer & EFER_LME:
        return msg("EFER.LME is not set (MSR 0xC0000080, bit 8).")
    if not cr0 & CR0_PE:
        return msg("CR0.PE is not set.")
    return msg(
        "Check CR3 (the physical address of ap_pagetable), that the code being executed is mapped "
        "where it runs, and the selectors of the far jumps."
    )


def _paging_hint(state: CpuState) -> Text:
    """Advise on a VMM that stays in protected mode: PAE paging (SDM vol. 3, 4.4)."""
    if state.efer & EFER_LME:
        return msg(
            "EFER.LME is set, so CR0.PG begins long mode, for which the i386 VMM has no code."
        )
    if not state.cr4 & CR4_PAE:
        return msg("The page tables have 64-bit entries: they need CR4.PAE before CR0.PG.")
    return msg(
        "Check CR3 (the physical address of ap_pagetable), that the code being executed is mapped "
        "where it runs, and that CS, DS, ES and SS hold flat 32-bit segments."
    )
