"""Finds the mistake that killed an AP in the trampoline, from the recorded steps.

Each explainer knows one kind of mistake and returns None if the evidence does not show it. The
order matters: what one AP has destroyed comes before what it led to, and what the processor refuses
before what the registers suggest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.diagnosis import addresses
from vmmlab.diagnosis.death import Death, faulted, in_protected_mode
from vmmlab.diagnosis.gdt import gdt
from vmmlab.diagnosis.passage import runs_zeros, stored_outside
from vmmlab.diagnosis.refusals import refused
from vmmlab.diagnosis.resets import reset_by_request
from vmmlab.diagnosis.widths import no_far_jump, other_width
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuRecord, TrampolineStep
from vmmlab.observe.observation import Observation
from vmmlab.x86.registers import (
    CR0_PE,
    CR0_PG,
    EFER_LME,
    MSR_EFER,
)
from vmmlab.x86.rules import Refusal

_SMALL_SELECTOR: Final = 0x80
"""Selectors of a trampoline's GDT are below it, and segments of real mode for the copy are not."""
_STACK_USERS: Final = re.compile(r"(push|pop|l?call|l?ret|iret|leave|enter)[abdflqw]*")
_DIRECT: Final = re.compile(r"(jmp|call)[lqw]? \$?[0-9]")
_RAISES: Final = ("ud2", "int3", "int ", "int1", "into", "bound", "icebp")


Explainer = Callable[[Observation, CpuRecord, TrampolineStep], "Death | None"]


def explained(boot: Observation, cpu: CpuRecord) -> Death | None:
    """Return what killed an AP between physical 0 and ap_entry, if the evidence shows it.

    Args:
        boot: the boot.
        cpu: the AP.
    """
    if not cpu.steps:
        return None
    found = (explain(boot, cpu, cpu.steps[-1]) for explain in _EXPLAINERS)
    return next((one for one in found if one is not None), None)


# --- what another instruction has destroyed -------------------------------------------------------


def _damage(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain a death after a push or a call that wrote into the copy."""
    copy = boot.copy_range
    for one in (cpu, *boot.aps):
        for step in one.steps:
            for touch in step.touches:
                if touch.writes and touch.by_stack and touch.covers(copy.start, len(copy)):
                    return Death(
                        "trampoline-uses-stack",
                        msg(
                            "before, `{instruction}` of {cpu} wrote {size} bytes to physical "
                            "{address:#x}, which is in the copy of the trampoline",
                            instruction=step.text,
                            cpu=one.name,
                            size=touch.size,
                            address=touch.address or 0,
                        ),
                        step=step,
                        cpu=one.index,
                    )
    return None


def _stray_store(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain a death after a store that missed the copy: what it was to change is as before."""
    found = stored_outside(boot, cpu)
    if found is None or found.cause != "trampoline-overrun" or cpu.overrun is not None:
        return None
    if cpu.refusal is not None and cpu.refusal.rule.startswith("segment-"):
        return None  # the segment is the mistake
    return Death(
        found.cause,
        msg("{what}, outside the copy; it ended at `{last}`", what=found.observed, last=last.text),
        msg("What the trampoline stores lies in the copy: in real mode at CS, not at DS.")
        if not in_protected_mode(cpu)
        else msg(
            "Where does the register get its value that the address is made of, and which "
            "instruction has changed it since?"
        ),
        place=found.place,
    )


def _runs_data(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain an AP that has executed bytes of 0."""
    at = next((at for at, step in enumerate(cpu.steps) if runs_zeros(step)), 0)
    if not at or any(step.made_for for step in cpu.steps[: at + 1]):
        return None
    jump, zeros = cpu.steps[at - 1], cpu.steps[at]
    return Death(
        "trampoline-runs-data",
        msg(
            "after `{jump}` it was at {place}, where the bytes are 00 00: data, no code",
            jump=jump.text,
            place=zeros.place.text if zeros.place else f"{zeros.state.pc:#x}",
        ),
        step=jump,
    )


def _no_dollar(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain an address that was read at a label, where the label's own address is meant."""
    astray = {
        "ap_entry": cpu.left_code is not None or faulted(boot, cpu),
        "ap_pagetable": addresses.other_tables(boot, cpu),
    }
    for label in (label for label, wrong in astray.items() if wrong):
        step = addresses.read_in_place(boot, cpu, label)
        if step is not None:
            return Death("address-read-from-memory", addresses.told(boot, step, label), step=step)
    return None


# --- what a processor refuses ---------------------------------------------------------------------


def _refusal(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    refusal = cpu.refusal
    if refusal is None:
        return None
    what = refused(refusal, last)
    if refusal.rule == "paging-needs-pae":
        return Death("paging-without-pae", what, msg("Set CR4.PAE before CR0.PG."))
    if refusal.register:
        return Death("processor-refuses", what, _control_hint(refusal.rule))
    if refusal.rule.startswith("segment-"):
        return Death("segment-forbids", what, _segment_hint(last))
    if refusal.rule == "mov-to-cs":
        return Death("gdt-entry-wrong", what, msg("CS is loaded by a far jump alone."))
    if refusal.rule == "code-limit":
        return Death("gdt-entry-wrong", what, msg("Look at the limit of the code segment."))
    return gdt(boot, cpu, last, what) or Death("gdt-entry-wrong", what, _gdt_hint(refusal, last))


def _control_hint(rule: str) -> Text:
    if rule == "efer-reserved":
        return msg(
            "wrmsr writes EDX:EAX. INIT leaves the processor's signature in EDX: read EFER with "
            "rdmsr first, or clear EDX."
        )
    if rule == "msr-unknown":
        return msg("EFER is MSR 0xc0000080, MSR_EFER in x86.h.")
    return msg("QEMU lets it pass. Look up the bits in the section that is named.")


def _segment_hint(last: TrampolineStep) -> Text:
    if last.state.mode == "real":
        return msg(
            "A real-mode segment ends after 64 KiB, and the copy lies in the segment that CS "
            "selects."
        )
    return msg(
        "Load DS, ES and SS with the selector of a flat data segment when CR0.PE is set, before "
        "you use memory: with their real-mode contents the segments end after 64 KiB."
    )


def _gdt_hint(refusal: Refusal, last: TrampolineStep) -> Text:
    rule = refusal.rule
    if last.text.startswith("ljmpw"):
        return msg(
            "Without the l, this jump reads an offset of 2 bytes and the selector right behind "
            "them: ljmpl reads an offset of 4 bytes."
        )
    if rule == "selector-beyond-table":
        return msg("The limit is the offset of the last byte of the table: its size less 1.")
    if rule == "selector-null" and refusal.value:
        return msg(
            "A selector is the distance of its entry from the start of the GDT: 8 is the first "
            "entry after the empty one."
        )
    if rule == "selector-null" and last.register != "cs":
        return msg(
            "Load {segment} with the selector of the flat data segment: only in 64-bit code may "
            "SS hold the null selector.",
            segment=last.register.upper(),
        )
    if rule == "selector-null":
        return msg(
            "A far pointer in memory is the offset first, 4 bytes for ljmpl, and then the "
            "selector, 2 bytes."
        )
    return msg("Compare the entries of your GDT and their order with the selectors that you use.")


# --- CR0, CR3, EFER -------------------------------------------------------------------------------


def _no_pe(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain a far jump with a selector that was made in real mode."""
    jumps = [
        step
        for step in cpu.steps
        if step.register == "cs"
        and not step.state.cr0 & CR0_PE
        and step.value is not None
        and step.value < _SMALL_SELECTOR
        and step.value != (boot.apinit_addr - boot.apinit_offset) >> 4
    ]
    if not jumps or in_protected_mode(cpu):
        return None
    jump = jumps[-1]
    return Death(
        "protection-not-enabled",
        msg(
            "`{instruction}` loaded CS with {selector:#x} while CR0.PE was clear (CR0 = {cr0:#x}): "
            "in real mode that is a segment, which begins at {base:#x}, and no selector",
            instruction=jump.text,
            selector=jump.value or 0,
            cr0=jump.state.cr0,
            base=(jump.value or 0) << 4,
        ),
        msg("Set CR0.PE, bit 0, before the far jump."),
        step=jump,
    )


def _page_tables(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain a death by a CR3 that is not ap_pagetable."""
    setters = [step for step in cpu.steps if step.register == "cr3"]
    right = boot.symbols.get("ap_pagetable", 0)
    paged = last.state.cr0 & CR0_PG or (last.register == "cr0" and (last.value or 0) & CR0_PG)
    if not paged or not right or not faulted(boot, cpu):
        return None
    cr3 = last.state.cr3
    if cr3 & ~addresses.FLAGS_OF_CR3 == right - VMM_BASE:
        return None
    values = {"cr3": cr3, "right": right - VMM_BASE}
    what = msg("CR3 = {cr3:#x}, but ap_pagetable lies at physical {right:#x}", **values)
    if not setters:
        what = msg("CR3 was never written: {cr3:#x}; ap_pagetable lies at {right:#x}", **values)
    elif cr3 == right:
        what = msg(
            "CR3 = {cr3:#x} is the address where ap_pagetable is linked, a virtual one; it lies at "
            "physical {right:#x}",
            **values,
        )
    return Death(
        "ap-wrong-page-tables",
        msg(
            "{what}; with paging on, the next instruction was not found",
            what=what,
        ),
        step=setters[-1] if setters else None,
    )


def _no_lme(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain paging that was turned on without EFER.LME."""
    state = last.state
    if boot.arch == "i386" or not state.cr0 & CR0_PG or state.efer & EFER_LME:
        return None
    writes = [step for step in cpu.steps if step.register == "msr"]
    if not writes:
        what = msg("paging is on, and EFER.LME is clear: no wrmsr was executed on the way")
    elif writes[-1].msr != MSR_EFER:
        what = msg(
            "paging is on, and EFER.LME is clear: `wrmsr` wrote MSR {number:#x}, EFER is "
            "{efer_number:#x}",
            number=writes[-1].msr or 0,
            efer_number=MSR_EFER,
        )
    else:
        what = msg(
            "paging is on, and EFER.LME is clear: `wrmsr` wrote {value:#x}, and LME is bit 8",
            value=writes[-1].value or 0,
        )
    return Death(
        "long-mode-not-enabled",
        what,
        msg("Set EFER.LME before CR0.PG."),
        step=writes[-1] if writes else None,
    )


def _control_fault(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain a fault at the very write of a control register."""
    if not faulted(boot, cpu) or last.register not in ("cr0", "cr3", "cr4", "msr"):
        return None
    if last.state.cr0 & CR0_PG or (last.register == "cr0" and (last.value or 0) & CR0_PG):
        return None
    return Death(
        "processor-refuses",
        msg(
            "`{instruction}` wrote {value:#x}, and causes #GP (13): it sets a bit that this "
            "processor does not have",
            instruction=last.text,
            value=last.value or 0,
        ),
        msg("Read the register, set only the bits that you need, and write it."),
    )


# --- how it ended ---------------------------------------------------------------------------------


def _stops(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    if last.text == "hlt":
        return Death(
            "trampoline-halts",
            msg("it halted: with interrupts off nothing ends `hlt`"),
            msg("Take the hlt out: an AP goes on to ap_entry at once."),
        )
    raising = next((step for step in cpu.steps if step.text.startswith(_RAISES)), None)
    if raising is None:
        return None
    what = msg("`{instruction}` raises an exception, always", instruction=raising.text)
    if raising is not last:
        what = msg(
            "`{instruction}` calls a handler, which is not the trampoline's code and needs a stack",
            instruction=raising.text,
        )
    return Death(
        "trampoline-raises",
        what,
        msg("There is no handler for exceptions in the trampoline. Take it out."),
        step=raising,
    )


def _resets(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain a machine that a write to a port has reset."""
    if not last.text.startswith("out") or not reset_by_request(boot):
        return None
    return Death(
        "machine-reset-by-port",
        msg("`{instruction}` asked for a reset of the machine", instruction=last.text),
        msg("An AP needs no port on its way: take it out."),
        step=last,
    )


def _stack(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    if not _STACK_USERS.fullmatch(last.text.split(" ")[0]):
        return None
    return Death(
        "trampoline-uses-stack",
        msg(
            "`{instruction}` uses the stack, and there is none: SP = {sp:#x}",
            instruction=last.text,
            sp=last.state.rsp,
        ),
        msg("A far jump needs no stack: ljmpl *address reads selector and offset from memory."),
    )


def _relative(boot: Observation, cpu: CpuRecord, last: TrampolineStep) -> Death | None:
    """Explain a near jump out of the copy, which counts from where it is linked."""
    linked = boot.symbols.get("cpuinit_start")
    here = last.state.pc in boot.copy_range
    lost = cpu.left_code
    if linked is None or lost is None or not here or not _DIRECT.match(last.text):
        return None
    meant = lost - boot.apinit_addr + linked & 0xFFFFFFFF
    if not boot.in_image(meant):
        return None
    at_entry = meant == boot.symbols.get("ap_entry")
    return Death(
        "relative-jump-out-of-the-copy",
        msg(
            "`{instruction}` covers the distance from where it is linked to {target}; from the "
            "copy the same distance leads to {address:#x}, where there is no code",
            instruction=last.text,
            target="ap_entry" if at_entry else f"{meant:#x}",
            address=lost,
        ),
        msg("Load the address into a register and jump through that: mov $ap_entry, then jmp *."),
    )


_EXPLAINERS: Final[tuple[Explainer, ...]] = (
    _damage,
    _no_dollar,
    _no_pe,
    _no_lme,
    no_far_jump,
    other_width,
    _runs_data,
    _page_tables,
    _stack,
    _resets,
    _stops,
    _stray_store,
    _refusal,
    _relative,
    gdt,
    _control_fault,
)
