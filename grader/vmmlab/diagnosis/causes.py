"""From an Observation to the cause: why a CPU did not get as far as it should.

Pure functions. They look for the first thing that went wrong, because everything after it is a
consequence. Which check a finding belongs to, and what it is worth, is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vmmlab.observe import segments
from vmmlab.observe.observation import (
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    EFER_LME,
    CpuRecord,
    CpuState,
    Observation,
    Rung,
    TrampolineStep,
)
from vmmlab.x86.decode import far_jump
from vmmlab.x86.encode import far_jump_code

VMM_BASE = 0x40000000  # include/layout.h
_LINE_OF_A_LAB = re.compile(r"\((lab[0-9]+/[^()]+:[0-9]+)\)")
"""The end of a place in a student's file: `ap_start+0x5 (lab3/ap_start.c:12)`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause, with its proof and what to do about it.

    Args:
        cause: identifier of the cause, stable for ever.
        cpu: index of the CPU concerned, or None.
        place: where, in words that a student can find in their files.
        expected: what should have been seen.
        observed: what was seen.
        next: the next thing to look at.
    """

    cause: str
    cpu: int | None
    place: str
    expected: str
    observed: str
    next: str


def stopped_at_todo(boot: Observation, cpus: Sequence[CpuRecord] | None = None) -> Finding | None:
    """The first TODO that a CPU ran into, if one did, and not one of a later step."""
    for cpu in cpus if cpus is not None else boot.cpus:
        hit = boot.first("vmm_todo", cpu.index)
        step = hit.text if hit else _todo_in_trampoline(cpu)
        if step and step not in boot.later:
            at = _line_of_todo(cpu)
            return Finding(
                "not-written-yet",
                cpu.index,
                f"TODO({step})",
                "code in place of the TODO",
                f"{cpu.name} stopped at TODO({step})" + (f", in {at}" if at else ""),
                f"Write what the comment before {at} says. If that is done, delete that line: it "
                "stops the CPU."
                if at
                else f"Search your files for {step}: the comment there says what to write. If that "
                "is done, delete the vmm_todo or VMM_TODO below it: it stops the CPU.",
            )
    return None


def _line_of_todo(cpu: CpuRecord) -> str:
    """File and line of the TODO at which a CPU has stopped, "" if they are not known."""
    lines = _LINE_OF_A_LAB.findall(cpu.end_place) if "todo" in cpu.end_place else []
    return lines[-1] if lines else ""


def _todo_in_trampoline(cpu: CpuRecord) -> str:
    _, mark, rest = cpu.end_place.partition("todo_lab")
    if not mark:
        return ""
    number = rest.split("+")[0].split(" ")[0].split(")")[0]
    return "lab" + number.replace("_", ".")


def bsp_stopped(boot: Observation, by: str = "") -> Finding | None:
    """What ended the BSP before its work was done, if anything did.

    Args:
        boot: the boot.
        by: the student's function that the BSP is in at that time, if the check knows: the one to
            look at where given code has died, or where there is no code at all.
    """
    bsp = boot.bsp
    if todo := stopped_at_todo(boot, [bsp]):
        return todo
    if bsp.end_kind in ("exception", "panic"):
        return _bsp_fault(boot, bsp, by)
    if boot.how_ended == "shutdown" and not any(ap.rungs for ap in boot.aps):
        return Finding(
            "bsp-triple-fault",
            0,
            bsp.end_place,
            "the BSP goes on",
            f"the machine reset while the BSP was at {bsp.end_place}: {bsp.end_code}; "
            f"CR2 = {bsp.end.cr2:#x}",
            "A fault while faults cannot be handled resets a PC. Look at the last address the "
            "BSP used, and at its stack pointer.",
        )
    return None


def _bsp_fault(boot: Observation, bsp: CpuRecord, by: str) -> Finding:
    vector = boot.facts.get("exception.0.vector")
    if vector is None:
        return Finding(
            "bsp-panic", 0, bsp.end_place, "the BSP goes on",
            f"the VMM panicked: {_panic_of_the_bsp(boot)}",
            "Read the panic's text: it names what was wrong.",
        )  # fmt: skip
    rip, cr2 = boot.facts.get("exception.0.rip", 0), boot.facts.get("exception.0.cr2", 0)
    mine = [note for note in boot.notes if note.startswith("exception on CPU 0 at ")]
    at = mine[0].removeprefix("exception on CPU 0 at ") if mine else ""
    where = at or f"{rip:#x}"
    page_fault = f", reading or writing address {cr2:#x}" if vector == 14 else ""
    low = (
        " Addresses below 1 GiB are no longer mapped on the BSP once the memory manager's init "
        "function has run; only mapmem reaches physical memory then."
        if vector == 14 and cr2 < 1 << 30
        else ""
    )
    return Finding(
        "bsp-exception",
        0,
        where,
        "the BSP goes on",
        f"exception {vector} at {where}{page_fault}",
        _not_in(by, boot, where)
        if by and not _OF_A_LAB.search(where)
        else f"Look at what the code at {where} reads or writes.{low}",
    )


_PANIC_OF_THE_BSP = re.compile(r"panic: (?:CPU 0 \(APIC id [0-9]+\)|APIC id 0): .*")
"""The line that `panic` prints (core/panic.c) on the BSP."""


def _panic_of_the_bsp(boot: Observation) -> str:
    """What the BSP's panic says: its line, or its format if none was printed yet."""
    if printed := _PANIC_OF_THE_BSP.findall(boot.serial):
        return str(printed[-1])
    hit = boot.first("panic", 0)
    return hit.text if hit and hit.text else last_line(boot.serial)


_OF_A_LAB = re.compile(r"\(lab[0-9]+/")
"""How a place in a student's file reads: `ap_start+0x5 (lab3/ap_start.c:12)`."""
_PRESENT, _WRITE = 1 << 0, 1 << 1  # error code of a page fault: Intel SDM vol. 3, 4.7


def _not_in(by: str, boot: Observation, where: str) -> str:
    """Where to look after a fault outside of the student's code."""
    if where.startswith("0x"):
        return (
            f"No code is at {where}: the BSP jumped there, or returned. Look at {by}: from where "
            "does it take the address that it jumps to, and is that place still the same then?"
        )
    cr2, error = boot.facts.get("exception.0.cr2", 0), boot.facts.get("exception.0.error", 0)
    if boot.facts.get("exception.0.vector") != 14:
        mapped = ""
    elif error & _PRESENT:
        mapped = f" Address {cr2:#x} is mapped, but not for writing." if error & _WRITE else ""
    elif cr2 < 1 << 30:
        mapped = " Below 1 GiB nothing is mapped any more: only mapmem reaches physical memory."
    else:
        mapped = f" Nothing is mapped at {cr2:#x} at that moment."
    return f"That is given code: look at what {by} gives it.{mapped}"


_EXCEPTIONS = {
    0: "#DE", 3: "#BP", 6: "#UD", 8: "#DF", 10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF"
}  # fmt: skip


def exception_name(vector: int) -> str:
    """An exception as the manuals call it (Intel SDM vol. 3, table 6-1), with its vector."""
    return f"{_EXCEPTIONS.get(vector, 'exception')} ({vector})"


def last_line(serial: str) -> str:
    """The last line that the guest printed."""
    lines = [line for line in serial.splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing was printed)"


def why_not(boot: Observation, cpu: CpuRecord, rung: Rung) -> Finding:
    """Why an AP did not come to `rung`.

    Args:
        boot: the boot.
        cpu: an AP that did not reach `rung`.
        rung: where it should have come.
    """
    if todo := stopped_at_todo(boot, [cpu]):
        return todo
    if rung is Rung.AP_ENTRY and (low := _low_ap_entry(boot, cpu)):
        return low
    high = cpu.highest
    expected = _comes_to(cpu.name, rung)
    if high is Rung.WAITING:
        if cpu.end_kind != "waiting-for-sipi" or not waits_for_sipi(cpu):
            return bsp_stopped(boot) or _somewhere(cpu, expected)
        return bsp_stopped(boot) or never_started(boot, cpu)
    if high > rung:
        return _passed_by(boot, cpu, rung, expected)
    if high is Rung.PHYSICAL_0:
        return _missed_trampoline(boot, cpu)
    if rung is Rung.AP_ENTRY and _went_on_in_the_image(boot, cpu):
        return _passed_by(boot, cpu, rung, expected)
    if high < Rung.AP_ENTRY:
        return _died_in_trampoline(boot, cpu, expected)
    if todo := stopped_at_todo(boot, boot.aps):
        return todo  # another AP ran into it, and this one waits for that one
    return _stuck_later(boot, cpu, high, expected)


def _comes_to(name: str, rung: Rung) -> str:
    """What is expected of a CPU that should come to `rung`."""
    said = {
        Rung.WAITING: f"{name} waits for a SIPI",
        Rung.PHYSICAL_0: f"{name} executes physical address 0",
        Rung.REAL_MODE: f"{name} reaches the trampoline, in real mode",
        Rung.PROTECTED_MODE: f"{name} reaches protected mode",
        Rung.LONG_MODE: f"{name} reaches long mode",
        Rung.AP_ENTRY: f"{name} reaches ap_entry",
        Rung.BOOT_STACK: f"{name} reaches apinitproc0, on the boot stack",
        Rung.OWN_STACK: f"{name} reaches apinitproc1, on its own stack",
        Rung.NUMBERED: f"{name} gets its number",
        Rung.PARKED: f"{name} parks after the last barrier",
    }
    return said[rung]


def not_reached(boot: Observation, cpu: CpuRecord, rung: Rung) -> Finding | None:
    """Why an AP is not on `rung`; None if it was seen there."""
    return None if cpu.reached(rung) else why_not(boot, cpu, rung)


def waits_for_sipi(cpu: CpuRecord) -> bool:
    """Whether a CPU still stands at the reset vector, where INIT has put it."""
    return (cpu.end.cs, cpu.end.rip & 0xFFFF) == (0xF000, 0xFFF0)


def _somewhere(cpu: CpuRecord, expected: str) -> Finding:
    """Where a CPU stands of which nothing but its end is known."""
    cause = "ap-stuck"
    if cpu.end_place.startswith("trampoline"):
        cause = f"ap-died-in-{cpu.end.mode}-mode"
    elif cpu.end.mode == "real":
        cause = "ap-missed-the-trampoline"
    elif "apinit_enter" in cpu.end_place:
        cause = "ap-waits-for-the-lock"
    return Finding(
        cause,
        cpu.index,
        cpu.end_place,
        expected,
        f"{cpu.name} ended {cpu.end_kind} at {cpu.end_place}: {cpu.end_code}",
        "Look at where it stands, and how it came there.",
    )


def _passed_by(boot: Observation, cpu: CpuRecord, rung: Rung, expected: str) -> Finding:
    """A CPU came further than `rung`, but not by the place that is the rung."""
    who, place = {
        Rung.AP_ENTRY: ("trampoline", "ap_entry"),
        Rung.BOOT_STACK: ("apinit_enter", "apinitproc0"),
        Rung.OWN_STACK: ("apinitproc0", "apinitproc1"),
        Rung.NUMBERED: ("apinitproc1", "segment_init_ap"),
    }.get(rung, ("", rung.title))
    return Finding(
        f"{place.replace('_', '-')}-passed-by" if who else "rung-passed-by",
        cpu.index,
        f"{who}, at its jump to {place}" if who else cpu.end_place,
        expected,
        f"{cpu.name} came as far as: {cpu.highest.title}, but never by {place}",
        f"Jump to {place}, not to what it leads to.",
    )


def _went_on_in_the_image(boot: Observation, cpu: CpuRecord) -> bool:
    """Whether an AP that was not at ap_entry is in code of another stage, where that is linked."""
    inside = boot.facts.get("__image_start", 0) <= cpu.end.pc < boot.facts.get("__image_end", 0)
    return inside and cpu.end_kind == "running" and "(lab3/" not in cpu.end_place


def _low_ap_entry(boot: Observation, cpu: CpuRecord) -> Finding | None:
    """An AP that executes ap_entry where it lies in memory, and not where it is linked."""
    physical = boot.facts.get("ap_entry", 0) - VMM_BASE
    if not any(step.state.pc == physical for step in cpu.steps):
        return None
    return Finding(
        "ap-entry-at-wrong-address",
        cpu.index,
        "trampoline, at its jump to ap_entry",
        f"ap_entry at the address where it is linked, {physical + VMM_BASE:#x}",
        f"{cpu.name} went to {physical:#x}, its physical address, and runs there",
        "The identity map is there for the trampoline only: VMM code runs where it is linked.",
    )


def why_not_all_parked(boot: Observation) -> Finding | None:
    """The first thing that kept CPUs from parking: a TODO, a fault, a lost AP, a BSP that waits."""
    if boot.all_parked:
        return None
    if found := stopped_at_todo(boot) or bsp_stopped(boot):
        return found
    for ap in boot.aps:
        if not ap.reached(Rung.NUMBERED):
            return why_not(boot, ap, Rung.NUMBERED)
    bsp = boot.bsp
    if bsp.end_kind != "parked" and not boot.at("bsp_proc"):
        return Finding(
            "bsp-waits-for-ever",
            0,
            bsp.end_place,
            "all APs have their numbers, so the BSP goes on",
            f"the BSP is still at {bsp.end_place}",
            "For which condition does it wait? What if there are more or fewer CPUs than four?",
        )
    stuck = next(cpu for cpu in boot.cpus if cpu.end_kind != "parked")
    return Finding(
        "cpu-not-parked",
        stuck.index,
        stuck.end_place,
        f"{len(boot.cpus)} CPUs park",
        f"{stuck.name} ended {stuck.end_kind} at {stuck.end_place}",
        "It did not come through the barriers: whom does it wait for?",
    )


def never_started(boot: Observation, cpu: CpuRecord) -> Finding:
    """An AP executed nothing at all: which interrupts were sent, and what they lacked."""
    writes = [w for w in boot.icr if w.kind in ("INIT", "SIPI", "INIT level de-assert")]
    listed = "; ".join(str(w) for w in writes) or "no write of an INIT or a SIPI to the ICR"
    reaching = [w for w in writes if w.reaches(cpu.index, w.cpu or 0)]
    kinds = [w.kind for w in reaching]
    if "INIT" not in kinds:
        cause, look = "ap-got-no-init", "Look at apic_send_init and at who calls it."
    elif "SIPI" not in kinds:
        cause, look = "ap-got-no-sipi", "Look at apic_send_startup_ipi and at ap_start_addr."
    elif all(w.vector for w in reaching if w.kind == "SIPI"):
        cause = "sipi-wrong-vector"
        look = "The SIPI's vector is a page number: the AP starts at vector * 4096. You want 0."
    elif kinds.index("INIT") > kinds.index("SIPI"):
        cause, look = (
            "sipi-before-init",
            "An AP takes a SIPI only while it waits for one: after INIT.",
        )
    else:
        cause = "ap-never-started"
        look = "Compare what apic_send_init and apic_send_startup_ipi write: SDM, vol. 3, 8.4.4."
    return Finding(
        cause,
        cpu.index,
        "before its first instruction",
        "INIT, then SIPI with vector 0, sent so that they reach this CPU",
        f"{cpu.name} never executed an instruction; ICR writes seen: {listed}",
        look,
    )


def _missed_trampoline(boot: Observation, cpu: CpuRecord) -> Finding:
    address, offset = boot.facts["cohort.apinit_addr"], boot.facts["cohort.apinit_offset"]
    code = boot.memory.get("physical-0.during", b"")
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
    return Finding(
        "ap-missed-the-trampoline",
        cpu.index,
        "ap_start, physical address 0",
        f"a far jump to physical {address:#x}, for example {right.hex(' ')}",
        f"{cpu.name} executed physical 0 but never the trampoline: {observed}{ended}",
        "The bytes are EA, offset low, offset high, segment low, segment high; "
        "the address is segment * 16 + offset.",
    )


def last_step(cpu: CpuRecord) -> TrampolineStep | None:
    """The last instruction that was single-stepped on a CPU."""
    return cpu.steps[-1] if cpu.steps else None


def _died_in_trampoline(boot: Observation, cpu: CpuRecord, expected: str) -> Finding:
    last = last_step(cpu)
    state = last.state if last else cpu.end
    mode = {"real": "real mode", "protected": "protected mode", "long": "long mode"}[state.mode]
    cause = f"ap-died-in-{state.mode}-mode"
    where, look = cpu.end_place, ""
    vector = boot.facts.get(f"triple-fault.{cpu.index}.vector")
    if boot.how_ended == "shutdown":
        what = f"a triple fault at `{last.text}`" if last else "a triple fault"
        if vector is not None:
            what += f", begun by {exception_name(vector)}"
    elif f"paging-refused.{cpu.index}" in boot.facts and last:
        what = f"`{last.text}` asks for paging, and {exception_name(13)} is the answer"
    elif f"segment-refused.{cpu.index}" in boot.facts and last:
        what, look = _refused_by_a_segment(boot, cpu, last)
    elif last and last.text == "hlt":
        what = "it halted"
    elif (astray := boot.facts.get(f"astray.{cpu.index}")) is not None and last:
        what = f"`{last.text}` took it to {astray:#x}, where no code is"
        where = f"{cpu.end_place}, `{last.text}`"
    else:
        what = "it never got out"
    registers = (
        f"CS:IP = {state.cs:#06x}:{state.rip:#06x}, CR0 = {state.cr0:#x}, CR3 = {state.cr3:#x}, "
        f"CR4 = {state.cr4:#x}, EFER = {state.efer:#x}"
    )
    base, limit = (boot.facts.get(f"gdtr.{cpu.index}.{part}", 0) for part in ("base", "limit"))
    gdt = (
        f"; lgdt has loaded a GDT with base {base:#x}, limit {limit:#x}"
        if state.mode == "protected" and state.bits == 16
        else ""
    )
    return Finding(
        cause,
        cpu.index,
        where,
        expected,
        f"{cpu.name} in {mode}: {what} ({registers}){gdt}",
        look or _mode_hint(state, boot.arch),
    )


def _refused_by_a_segment(
    boot: Observation, cpu: CpuRecord, last: TrampolineStep
) -> tuple[str, str]:
    """What was refused, and what to look at."""
    name = f"segment-refused.{cpu.index}"
    segment = segments.NAMES[boot.facts[name]].upper()
    reason = segments.REASONS[boot.facts[f"{name}.reason"]]
    offset, limit = boot.facts[f"{name}.offset"], boot.facts[f"{name}.limit"]
    answer = exception_name(boot.facts[f"{name}.vector"])
    said = {
        "limit": f"`{last.text}` reaches {offset:#x} through {segment}, which ends at {limit:#x}, "
        f"and {answer} is the answer",
        "null": f"`{last.text}` goes through {segment}, which holds no segment, and {answer} is "
        "the answer",
        "read": f"`{last.text}` reads through {segment}, a segment that may only be executed, and "
        f"{answer} is the answer",
        "write": f"`{last.text}` writes through {segment}, a segment that may not be written, and "
        f"{answer} is the answer",
    }
    what = said[reason]
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


def _stuck_later(boot: Observation, cpu: CpuRecord, high: Rung, expected: str) -> Finding:
    causes = {
        Rung.AP_ENTRY: ("ap-waits-for-the-lock", "Who holds *apinitlock, and who releases it?"),
        Rung.BOOT_STACK: (
            "ap-lost-on-boot-stack",
            "Follow apinitproc0 from alloc to asm_wrrsp_and_jmp.",
        ),
        Rung.OWN_STACK: ("ap-not-numbered", "Follow apinitproc1 up to segment_init_ap."),
        Rung.NUMBERED: (
            "ap-not-parked",
            "It has its number, but did not come through the barriers.",
        ),
    }
    cause, look = causes.get(high, ("ap-stuck", "Look at where it stands."))
    died = f"triple-fault.{cpu.index}.vector" in boot.facts
    if died and high is Rung.AP_ENTRY:
        cause = "ap-died-at-the-lock"
        look = "apinit_enter has no stack; apinitlock is a pointer, which is read before the lock."
    before = [ap for ap in boot.aps if ap.reached(Rung.NUMBERED)]
    if high is Rung.AP_ENTRY and not died and len(before) == 1:
        cause, look = (
            "lock-never-released",
            f"{before[0].name} has taken *apinitlock and left the boot stack: then it is time to "
            "release it.",
        )
    if cpu.end_kind == "exception":
        cause = "ap-exception"
    how = "the machine reset" if boot.how_ended == "shutdown" else f"it ended {cpu.end_kind}"
    return Finding(
        cause,
        cpu.index,
        cpu.end_place,
        expected,
        f"{cpu.name} came as far as: {high.title}; then {how} at {cpu.end_place}: {cpu.end_code}",
        look,
    )
