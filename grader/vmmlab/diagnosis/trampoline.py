"""Why an AP did not come through the trampoline."""

from __future__ import annotations

from typing import Final

from vmmlab.failure import Failure
from vmmlab.observe.cpu import CpuRecord, CpuState, Refusal, TrampolineStep
from vmmlab.observe.observation import Observation
from vmmlab.x86.decode import far_jump
from vmmlab.x86.encode import far_jump_code
from vmmlab.x86.registers import CR0_PE, CR0_PG, CR4_PAE, EFER_LME, Mode, exception_name

_MODES: Final[dict[Mode, str]] = {
    "real": "real mode",
    "protected": "protected mode",
    "long": "long mode",
}


def last_step(cpu: CpuRecord) -> TrampolineStep | None:
    """Return the last instruction that was single-stepped on a CPU."""
    return cpu.steps[-1] if cpu.steps else None


def missed_trampoline(boot: Observation, cpu: CpuRecord) -> Failure:
    """Return why an AP that executed physical 0 did not come to the trampoline."""
    address, offset = boot.apinit_addr, boot.apinit_offset
    code = boot.physical_0.during or b""
    right = far_jump_code((address - offset) >> 4 & 0xFFFF, offset)
    found = far_jump(code)
    if found is None:
        observed = f"the bytes at physical 0 are {code[:5].hex(' ')}, which is no far jump"
    else:
        segment, ip = found
        observed = (
            f"the far jump goes to {segment:#06x}:{ip:#06x}, which is physical "
            f"{segment * 16 + ip:#x}"
        )
    last = last_step(cpu)
    ended = f"; it ended at {cpu.end_place}" + (f" after {last.text}" if last else "")
    return Failure(
        "ap-missed-the-trampoline",
        cpu=cpu.index,
        place="ap_start, physical address 0",
        expected=f"a far jump to physical {address:#x}, for example {right.hex(' ')}",
        observed=f"{cpu.name} executed physical 0 but never the trampoline: {observed}{ended}",
        next="The bytes are EA, offset low, offset high, segment low, segment high; "
        "the address is segment * 16 + offset.",
    )


def died_in_trampoline(boot: Observation, cpu: CpuRecord, expected: str) -> Failure:
    """Return why an AP ended between physical 0 and ap_entry.

    Args:
        boot: the boot.
        cpu: the AP.
        expected: what the check expects of it.
    """
    last = last_step(cpu)
    state = last.state if last else cpu.end
    where, look = str(cpu.end_place), ""
    if boot.how_ended == "shutdown":
        what = f"a triple fault at `{last.text}`" if last else "a triple fault"
        if cpu.triple_fault is not None:
            what += f", begun by {exception_name(cpu.triple_fault.vector)}"
    elif cpu.refusal is not None and last:
        what, look = _refused(cpu.refusal, last)
    elif last and last.text == "hlt":
        what = "it halted"
    elif cpu.left_code is not None and last:
        what = f"`{last.text}` took it to {cpu.left_code:#x}, where no code is"
        where = f"{cpu.end_place}, `{last.text}`"
    else:
        what = "it never got out"
    registers = (
        f"CS:IP = {state.cs:#06x}:{state.rip:#06x}, CR0 = {state.cr0:#x}, CR3 = {state.cr3:#x}, "
        f"CR4 = {state.cr4:#x}, EFER = {state.efer:#x}"
    )
    gdt = ""
    if state.mode == "protected" and state.bits == 16:
        base, limit = (cpu.gdtr.base, cpu.gdtr.limit) if cpu.gdtr else (0, 0)
        gdt = f"; lgdt has loaded a GDT with base {base:#x}, limit {limit:#x}"
    return Failure(
        f"ap-died-in-{state.mode}-mode",
        cpu=cpu.index,
        place=where,
        expected=expected,
        observed=f"{cpu.name} in {_MODES[state.mode]}: {what} ({registers}){gdt}",
        next=look or _mode_hint(state, boot.arch),
    )


def _refused(refusal: Refusal, last: TrampolineStep) -> tuple[str, str]:
    """Return what a processor refuses, and what to look at; "" for the usual advice."""
    segment, answer = refusal.segment.upper(), exception_name(refusal.vector)
    said = {
        "paging-needs-pae": f"`{last.text}` asks for paging, and {answer} is the answer",
        "segment-limit": f"`{last.text}` reaches {refusal.offset:#x} through {segment}, which ends "
        f"at {refusal.limit:#x}, and {answer} is the answer",
        "segment-null": f"`{last.text}` goes through {segment}, which holds no segment, and "
        f"{answer} is the answer",
        "segment-read": f"`{last.text}` reads through {segment}, a segment that may only be "
        f"executed, and {answer} is the answer",
        "segment-write": f"`{last.text}` writes through {segment}, a segment that may not be "
        f"written, and {answer} is the answer",
    }
    what = said[refusal.rule]
    if refusal.rule == "paging-needs-pae":
        return what, ""
    if last.state.mode == "real":
        return what, "A segment of real mode ends after 64 KiB. The copy is where CS begins."
    return what, (
        "Load DS, ES and SS with the selector of a flat data segment before you use memory: what "
        "real mode has left in them ends after 64 KiB."
    )


def _mode_hint(state: CpuState, arch: str) -> str:
    cr0, cr4, efer = state.cr0, state.cr4, state.efer
    if state.mode == "real":
        return (
            "In real mode data are found by DS * 16 + offset. Is DS the same as CS? Does lgdt have "
            "the 32-bit operand size and find its six bytes?"
        )
    if state.bits == 16:
        return (
            "CR0.PE is set, and this far jump is the first to use the GDT. Did lgdt find its six "
            "bytes (DS * 16 + offset, 32-bit operand size), is the base in them a linear address, "
            "and is the selector's entry a 32-bit code segment?"
        )
    if arch == "i386":
        return _paging_hint(state)
    if cr0 & CR0_PG and not efer & EFER_LME:
        return "Paging is on without EFER.LME: set EFER.LME before CR0.PG."
    if not cr4 & CR4_PAE:
        return "Long mode needs CR4.PAE before CR0.PG (SDM vol. 3, 9.8.5)."
    if not efer & EFER_LME:
        return "EFER.LME is not set (MSR 0xC0000080, bit 8)."
    if not cr0 & CR0_PE:
        return "CR0.PE is not set."
    return (
        "Check CR3 (the physical address of ap_pagetable), that the code being executed is mapped "
        "where it runs, and the selectors of the far jumps."
    )


def _paging_hint(state: CpuState) -> str:
    """For a VMM that stays in protected mode: PAE paging (SDM vol. 3, 4.4), no long mode."""
    if state.efer & EFER_LME:
        return "EFER.LME is set: then CR0.PG begins long mode, which the i386 VMM has no code for."
    if not state.cr4 & CR4_PAE:
        return "The page tables have 64-bit entries: they need CR4.PAE before CR0.PG."
    return (
        "Check CR3 (the physical address of ap_pagetable), that the code being executed is mapped "
        "where it runs, and that CS, DS, ES and SS hold flat 32-bit segments."
    )
