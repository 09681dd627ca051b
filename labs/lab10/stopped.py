"""Why the guest of lab 10 did not come as far as a check expects."""

from vmmlab.checks import fail, fail_if, listed, missing, msg
from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.observe.guest import CpuGuest
from vmmlab.x86.vmcb import (
    VMEXIT_CPUID,
    VMEXIT_INVALID,
    VMEXIT_IOIO,
    VMEXIT_MSR,
    VMEXIT_NMI,
    VMEXIT_NPF,
    VMEXIT_SHUTDOWN,
    VMEXIT_VMMCALL,
    exit_name,
)

from .probes import HANDLE, Delayed

HANDLED = (VMEXIT_CPUID, VMEXIT_IOIO, VMEXIT_MSR, VMEXIT_NMI, VMEXIT_VMMCALL)
APIC, PAGE_MASK = 0xFEE00000, 0xFFF
EFER_SVME, EFER_LME = 1 << 12, 1 << 8
CR0_PE, CR0_PG, CR4_PAE = 1 << 0, 1 << 31, 1 << 5
CHECKS = {
    0x100: msg("a register has changed across VMMCALL"),
    0x200: msg("an MSR has changed across an exit"),
    0x300: msg("a segment or a table has changed across an exit"),
    0x400: msg("the status of AllocatePages"),
    0x410: msg("the status of LocateProtocol for the MP services"),
    0x420: msg("the status of StartupAllAPs"),
    0x430: msg("the number of APs that ran in StartupAllAPs"),
    0x440: msg("the status of ExitBootServices"),
    0x450: msg("the APs that have started, a bit for each APIC id,"),
}
"""CHECK_ of guest/efi_os.c."""


def seen(boot):
    """What the lab's probe recorded."""
    return boot.lab if isinstance(boot.lab, Delayed) else Delayed()


def guest_of(boot, cpu):
    """The VMRUNs and exits of a CPU."""
    return boot.guests[cpu.index] if cpu.index < len(boot.guests) else CpuGuest()


def handled(last):
    """Whether the VMM handles an exit, so that its panic has another reason."""
    return last.code in HANDLED or (last.code == VMEXIT_NPF and last.info2 & ~PAGE_MASK == APIC)


def refused(boot, cpu):
    """Fail if the processor refused the VMCB of a CPU (APM 15.5.1)."""
    guest = guest_of(boot, cpu)
    if not any(run.exit and run.exit.code == VMEXIT_INVALID for run in guest.runs):
        return
    vmcb = guest.start.vmcb if guest.start else None
    wrong = []
    if vmcb is not None:
        if not vmcb.efer & EFER_SVME:
            wrong.append(msg("EFER.SVME must be 1"))
        if vmcb.efer & EFER_LME and vmcb.cr0 & CR0_PG and not vmcb.cr4 & CR4_PAE:
            wrong.append(msg("long mode needs CR4.PAE"))
        if vmcb.cr0 & CR0_PG and not vmcb.cr0 & CR0_PE:
            wrong.append(msg("paging needs CR0.PE"))
        if vmcb.dr6 >> 32 or vmcb.dr7 >> 32:
            wrong.append(msg("the upper halves of DR6 and DR7 must be 0"))
    fail(
        "vmcb-refused",
        cpu=cpu.index,
        place="VMRUN",
        expected=msg("the processor accepts the VMCB"),
        observed=msg("VMEXIT_INVALID: {reasons}", reasons=listed(wrong, "; "))
        if wrong
        else msg("VMEXIT_INVALID"),
        step="lab10.2",
    )


def stopped(boot, expected, cpu=None):
    """Fail because a CPU or the guest did not come as far as expected: say what stopped it.

    Args:
        boot: the boot.
        expected: what the check expects.
        cpu: the CPU; None for the BSP.
    """
    cpu = cpu or boot.bsp
    fail_if(stopped_at_todo(boot), expected=expected)
    refused(boot, boot.bsp)
    started_again(boot)
    found_wrong(boot, expected)
    for one in (cpu, *boot.cpus):
        last = next((run.exit for run in reversed(guest_of(boot, one).runs) if run.exit), None)
        if one.end_kind == "panic" and last is not None and not handled(last):
            fail(
                "guest-shut-down" if last.code == VMEXIT_SHUTDOWN else "exit-not-handled",
                cpu=one.index,
                place=msg("guest, RIP {rip:#x}", rip=last.rip),
                expected=expected,
                observed=msg(
                    "the VMM panicked after {name}, EXITINFO1 {info1:#x}, EXITINFO2 {info2:#x}",
                    name=exit_name(last.code),
                    info1=last.info1,
                    info2=last.info2,
                ),
            )
    fail_if(bsp_stopped(boot), expected=expected)
    guest = guest_of(boot, cpu)
    result = seen(boot).result
    missing(
        "guest-did-not-get-there",
        cpu=cpu.index,
        place=cpu.end_place.text,
        expected=expected,
        observed=msg(
            "{count} VMRUNs on {cpu}, and its guest came to stage {stage}",
            count=guest.count,
            cpu=cpu.name,
            stage=result.stage,
        )
        if result
        else msg(
            "{count} VMRUNs on {cpu}, and the firmware did not start the guest's operating system",
            count=guest.count,
            cpu=cpu.name,
        ),
    )


def started_again(boot):
    """Fail if the APs were started more than once."""
    starts = seen(boot).starts
    if len(starts) > 1:
        fail(
            "started-again",
            cpu=starts[1].cpu,
            place=HANDLE,
            expected=msg("start is called once in all"),
            observed=msg("it was called again"),
            step="lab10.4",
        )


def found_wrong(boot, expected):
    """Fail if the guest itself has found something wrong."""
    result = seen(boot).result
    if result is None or not result.check:
        return
    kind = result.check & 0xF00 if result.check < 0x400 else result.check & 0xFF0
    fail(
        "guest-found-a-mistake",
        cpu=0,
        place="guest/efi_os.c",
        expected=msg("{what}: {value:#x}", what=CHECKS.get(kind, expected), value=result.wanted),
        observed=msg(
            "{value:#x} (check {check:#x})",
            value=result.found,
            check=result.check,
        ),
    )
