"""Why a CPU of lab 7 did not come as far as a check expects."""

from dataclasses import replace
from itertools import pairwise

from vmmlab.checks import fail, fail_if, listed, missing, msg
from vmmlab.diagnosis.bsp import exception_text
from vmmlab.diagnosis.halting import crash
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.observe.guest import CpuGuest
from vmmlab.x86.vmcb import (
    VMEXIT_CPUID,
    VMEXIT_INVALID,
    VMEXIT_IOIO,
    VMEXIT_SHUTDOWN,
    VMEXIT_VMMCALL,
    exit_name,
)

from .evidence import SvmCpu

INVALID_OPCODE, GENERAL_PROTECTION, PAGE_FAULT = 6, 13, 14
CR0_PE, CR0_NW, CR0_CD, CR0_PG = 1 << 0, 1 << 29, 1 << 30, 1 << 31
CR4_PAE = 1 << 5
EFER_LME, EFER_SVME = 1 << 8, 1 << 12
EFER_KNOWN = 0xFD01
LENGTHS = {VMEXIT_CPUID: 2, VMEXIT_VMMCALL: 3}
BEHIND = 2
"""Bytes behind an instruction of guest/bios.S that cannot be executed, at least."""
HANDLERS = {VMEXIT_CPUID: "do_cpuid", VMEXIT_VMMCALL: "do_vmmcall", VMEXIT_IOIO: "do_ioio"}
STEPS = {VMEXIT_CPUID: "lab7.6", VMEXIT_VMMCALL: "lab7.7", VMEXIT_IOIO: "lab7.8"}
FUNCTIONS = {
    "svm_init": "lab7.1",
    "svm_vminit": "lab7.2",
    "svm_reset": "lab7.3",
    "svm_start_vm": "lab7.4",
    "asm_vmrun_regs_64": "lab7.5",
    "do_cpuid": "lab7.6",
    "do_vmmcall": "lab7.7",
    "do_ioio": "lab7.8",
}
"""The functions of the lab in which a CPU may end, with their steps."""
LAST_PHYSICAL = (1 << 52) - 1
SAME_EXITS = 24
"""So many exits one after the other, all alike at one address: the guest makes no progress."""


def recorded(boot, cpu):
    """What the lab's probe recorded of a CPU."""
    cpus = boot.lab.cpus if boot.lab else ()
    return cpus[cpu.index] if cpu.index < len(cpus) else SvmCpu()


def guest_of(boot, cpu):
    """The VMRUNs and exits of a CPU."""
    return boot.guests[cpu.index] if cpu.index < len(boot.guests) else CpuGuest()


def why_refused(vmcb):
    """Why VMRUN refuses a VMCB: field, value and rule of each mistake (APM 15.5.1)."""
    long_mode = vmcb.efer & EFER_LME and vmcb.cr0 & CR0_PG
    rules = (
        (
            "intercept2",
            vmcb.intercepts[4],
            vmcb.intercepts[4] & 1,
            msg("VMRUN must be intercepted"),
        ),
        ("guest_asid", vmcb.guest_asid, vmcb.guest_asid, msg("ASID 0 is the VMM's own")),
        ("efer", vmcb.efer, vmcb.efer & EFER_SVME, msg("EFER.SVME must be 1")),
        ("efer", vmcb.efer, not vmcb.efer & ~EFER_KNOWN, msg("reserved bits of EFER must be 0")),
        (
            "cr0",
            vmcb.cr0,
            vmcb.cr0 & CR0_CD or not vmcb.cr0 & CR0_NW,
            msg("CR0.NW must not be 1 while CR0.CD is 0"),
        ),
        ("cr0", vmcb.cr0, not vmcb.cr0 >> 32, msg("the upper half of CR0 must be 0")),
        ("cr3", vmcb.cr3, vmcb.cr3 <= LAST_PHYSICAL, msg("reserved bits of CR3 must be 0")),
        ("cr4", vmcb.cr4, not vmcb.cr4 >> 32, msg("reserved bits of CR4 must be 0")),
        ("dr6", vmcb.dr6, not vmcb.dr6 >> 32, msg("the upper half of DR6 must be 0")),
        ("dr7", vmcb.dr7, not vmcb.dr7 >> 32, msg("the upper half of DR7 must be 0")),
        (
            "cr4",
            vmcb.cr4,
            not long_mode or vmcb.cr4 & CR4_PAE,
            msg("long mode needs CR4.PAE"),
        ),
        ("cr0", vmcb.cr0, not long_mode or vmcb.cr0 & CR0_PE, msg("long mode needs CR0.PE")),
    )
    return [(name, value, why) for name, value, right, why in rules if not right]


def refused(boot, cpu):
    """Fail if the processor refused the VMCB of a CPU."""
    guest, seen = guest_of(boot, cpu), recorded(boot, cpu)
    number = next(
        (n for n, run in enumerate(guest.runs) if run.exit and run.exit.code == VMEXIT_INVALID),
        None,
    )
    if number is None:
        return
    vmcb = seen.last if number and seen.last else guest.start.vmcb if guest.start else seen.last
    reasons = why_refused(vmcb) if vmcb else []
    lost = number and reasons and reasons[0][0] == "efer"
    fields = [
        msg("{field} = {value:#x}: {why}", field=f"v->vmcb->{name}", value=value, why=why)
        for name, value, why in reasons
    ]
    fail(
        "svme-lost" if lost else "vmcb-refused",
        cpu=cpu.index,
        place=msg("VMRUN number {number}", number=number + 1),
        expected=msg("the processor accepts the VMCB"),
        observed=msg("VMEXIT_INVALID: {fields}", fields=listed(fields, "; "))
        if fields
        else msg(
            "VMEXIT_INVALID; the VMCB at {address:#x} shows no reason",
            address=guest.runs[number].vmcb,
        ),
        step="" if lost else refused_step(reasons),
    )


def refused_step(reasons):
    """The step that sets the first field that is wrong."""
    control = not reasons or reasons[0][0] in ("intercept2", "guest_asid")
    return "lab7.2" if control else "lab7.3"


def next_rip(one):
    """Where a guest goes on after an exit for an instruction; None for other exits."""
    if one.code == VMEXIT_IOIO:
        return one.info2
    length = LENGTHS.get(one.code)
    return one.rip + length if length else None


def wrong_rip(boot, cpu):
    """Fail if the guest of a CPU went on within an instruction, or just behind the next one.

    Its next exit shows it. Behind the instructions of guest/bios.S that exit is a byte which the
    guest passes over if all is well; what follows it cannot be executed.
    """
    exits = [run.exit for run in guest_of(boot, cpu).runs if run.exit]
    for one, following in pairwise(exits):
        right = next_rip(one)
        if right is None:
            continue
        within = one.rip < following.rip < right
        behind = following.code == VMEXIT_SHUTDOWN and right < following.rip <= right + BEHIND
        if within or behind:
            fail(
                "rip-not-at-the-next",
                cpu=cpu.index,
                place=HANDLERS.get(one.code, "svm_start_vm"),
                expected=msg("RIP = {rip:#x}, the next instruction", rip=right),
                observed=msg(
                    "after {name} at RIP {at:#x} the guest went on within that instruction: "
                    "{next} came at RIP {rip:#x}",
                    name=exit_name(one.code),
                    at=one.rip,
                    next=exit_name(following.code),
                    rip=following.rip,
                )
                if within
                else msg(
                    "after {name} at RIP {at:#x} the guest went on behind that: it shut down at "
                    "RIP {rip:#x}",
                    name=exit_name(one.code),
                    at=one.rip,
                    rip=following.rip,
                ),
                step=step_of(one.code),
            )


def repeated_exit(boot, cpu):
    """The exit that the guest of a CPU makes again and again for one instruction, or None."""
    runs = guest_of(boot, cpu).runs
    last = [run.exit for run in runs[-SAME_EXITS:] if run.exit]
    return last[0] if len(last) == SAME_EXITS and len(set(last)) == 1 else None


def in_a_loop(boot, cpu):
    """Fail if a guest exits again and again for the same instruction."""
    one = repeated_exit(boot, cpu)
    if one is not None:
        fail(
            "guest-exits-again-and-again",
            cpu=cpu.index,
            place=msg("guest, RIP {rip:#x}", rip=one.rip),
            expected=msg("the guest goes on after each exit"),
            observed=msg(
                "{name} at the same RIP, {count} times in all",
                name=exit_name(one.code),
                count=guest_of(boot, cpu).exits.get(one.code, 0),
            ),
            step=step_of(one.code),
        )


def step_of(code):
    """The step that handles an exit."""
    return STEPS.get(code, "lab7.4")


def faulted(boot, cpu):
    """Fail if a CPU took an exception in the VMM."""
    taken = cpu.exception
    if taken is None:
        return
    if taken.vector == GENERAL_PROTECTION and taken.place.symbol.startswith("svm_init"):
        fail(
            "hsave-not-aligned",
            cpu=cpu.index,
            place=taken.place.text,
            expected=msg("the physical address of a page"),
            observed=msg("exception 13: the processor refuses this value of the MSR"),
        )
    vmrun = taken.place.symbol.startswith("asm_vmrun_regs_64")
    if vmrun and taken.vector == INVALID_OPCODE:
        fail(
            "svm-instruction-refused",
            cpu=cpu.index,
            place=taken.place.text,
            expected=msg("SVM is enabled, and VMRUN runs the guest"),
            observed=msg("exception 6, invalid opcode: EFER = {efer:#x}", efer=cpu.end.efer),
            step="lab7.1" if not cpu.end.efer & EFER_SVME else "",
        )
    observed = exception_text(taken)
    if taken.vector == PAGE_FAULT:  # currentcpu is read through GS
        observed = msg("{what}; GS base {gs:#x}", what=observed, gs=cpu.end.gs_base)
    fail_if(replace(crash(cpu), observed=observed, next=""))  # causes.yml says more


def stopped(boot, cpu, expected):
    """Fail because a CPU did not come as far as expected: say what stopped it."""
    fail_if(stopped_at_todo(boot), expected=expected)
    for one in (cpu, *(other for other in boot.cpus if other.index != cpu.index)):
        refused(boot, one)
        faulted(boot, one)
        wrong_rip(boot, one)
        in_a_loop(boot, one)
    for one in (cpu, *boot.cpus):
        reset_or_panic(boot, one, expected)
    if guest_of(boot, cpu).inside:  # it may wait for the guest of one that runs none
        cpu = next((one for one in boot.cpus if not guest_of(boot, one).inside), cpu)
    guest = guest_of(boot, cpu)
    step = next((one for name, one in FUNCTIONS.items() if cpu.end_place.is_in(name)), "")
    last = guest.runs[-1].exit if guest.runs else None
    if last is not None and not guest.inside:
        missing(
            "guest-not-run-again",
            cpu=cpu.index,
            place=cpu.end_place.text,
            step=step,
            expected=expected,
            observed=msg(
                "after {name} at RIP {rip:#x} {cpu} did not run its guest again: it was at {place}",
                name=exit_name(last.code),
                rip=last.rip,
                cpu=cpu.name,
                place=cpu.end_place.text,
            ),
        )
    missing(
        "guest-did-not-get-there",
        cpu=cpu.index,
        place=cpu.end_place.text,
        step=step,
        expected=expected,
        observed=msg(
            "{count} VMRUNs; the CPU was in its guest at the end, after {name} at RIP {rip:#x}",
            count=guest.count,
            name=exit_name(guest.runs[-2].exit.code),
            rip=guest.runs[-2].exit.rip,
        )
        if guest.inside and len(guest.runs) > 1 and guest.runs[-2].exit
        else msg(
            "{count} VMRUNs; {cpu} ended at {place}",
            count=guest.count,
            cpu=cpu.name,
            place=cpu.end_place.text,
        ),
    )


def said_in_panic(boot, cpu):
    """What a CPU printed with its panic, and what it was about to print: a boot can end within."""
    printed = boot.serial.partition(f"panic: CPU {cpu.index} (")
    lines = "".join(printed[1:]).partition("\npanic: ")[0]
    return f"{lines}\n{cpu.panicked.text if cpu.panicked else ''}".strip()


def reset_or_panic(boot, cpu, expected):
    """Fail if a CPU panicked, or if the machine was reset while it ran."""
    if cpu.panicked and cpu.panicked.place.lab_function in FUNCTIONS.keys() - {"svm_start_vm"}:
        fail_if(crash(cpu), expected=expected)
    last = next((run.exit for run in reversed(guest_of(boot, cpu).runs) if run.exit), None)
    if cpu.end_kind == "panic" and last is not None:
        fail(
            "guest-shut-down" if last.code == VMEXIT_SHUTDOWN else "exit-not-handled",
            cpu=cpu.index,
            place=msg("guest, RIP {rip:#x}", rip=last.rip),
            expected=expected,
            observed=msg(
                "the VMM panicked after {name}, EXITINFO1 {info1:#x}, EXITINFO2 {info2:#x}",
                name=exit_name(last.code),
                info1=last.info1,
                info2=last.info2,
            ),
        )
    if boot.how_ended != "shutdown":
        return
    guest, fault = guest_of(boot, cpu), cpu.triple_fault
    vmcb = guest.start.vmcb if guest.start else None
    in_guest = guest.inside and not (vmcb and vmcb.intercepted(VMEXIT_SHUTDOWN))
    if fault or in_guest:
        fail(
            "machine-reset",
            cpu=cpu.index,
            place=msg("guest, RIP {rip:#x}", rip=fault.pc if fault else cpu.end.rip)
            if guest.inside
            else cpu.end_place.text,
            expected=expected,
            observed=msg("a triple fault reset the machine"),
        )
    if guest.count and not guest.inside and not any(one.triple_fault for one in boot.cpus):
        fail(
            "machine-switched-off",
            cpu=cpu.index,
            place=cpu.end_place.text,
            expected=expected,
            observed=msg(
                "the machine was reset or switched off, and not by a fault; {cpu} was at {place}",
                cpu=cpu.name,
                place=cpu.end_place.text,
            ),
        )
