"""Lab 7: SVM on each CPU, and a guest that runs on all of them."""

import re
from functools import partial

from vmmlab import checks
from vmmlab.checks import fail, fail_if, listed, msg, needed
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.probes import guest
from vmmlab.probes.scenario import scenario_of
from vmmlab.x86.vmcb import (
    IOPM_BYTES,
    VMEXIT_CPUID,
    VMEXIT_HLT,
    VMEXIT_IOIO,
    VMEXIT_NMI,
    VMEXIT_SHUTDOWN,
    VMEXIT_VMMCALL,
    VMEXIT_VMRUN,
    exit_name,
)

from .mending import REGS_AT
from .ports import COUNT, IS_IN, PORT, SIZE, VALUE
from .probes import DONE, MARKS
from .stopped import (
    EFER_SVME,
    guest_of,
    recorded,
    repeated_exit,
    said_in_panic,
    stopped,
    wrong_rip,
)

GUEST = "guest/bios.S"
END_SHUTDOWN, END_STRING = 1, 3  # guest/bios.S


def svm(**setup):
    """Return a scenario of this lab's own probe, with a machine that can run guests."""
    return scenario_of("svm", {"svm": True, "guest_image": GUEST, "by": "all", **setup})


def through(**setup):
    """Return a scenario that only sees how far the guests come, from outside."""
    return guest(guest_image=GUEST, marks=MARKS, until=DONE, by="all", **setup)


FOUR = svm(name="four", cpus=4)
# In both, what a step has left wrong is put right before the next one (mending.py). With other
# numbers in cohort.h, and without optimisation:
THERE = svm(name="there", cpus=2, cohort="other", opt="-O0", asks=True)
SHUTDOWN = svm(name="shutdown", cpus=3, end=END_SHUTDOWN, follow=False)
STRING = svm(name="string", cpus=2, end=END_STRING, follow=False, replaces=True)
ONE = through(name="cpus-1", cpus=1)
EIGHT = through(name="cpus-8", cpus=8)
SEABIOS = through(name="seabios", cpus=2, firmware="seabios")

check = partial(checks.check, todo_of_any_cpu=True)

PAGE = 0xFFF
VMM_BASE = 0x40000000
COM1 = range(0x3F8, 0x400)
COM1_MODEM = 0x3FC  # the first port that check_io of guest/bios.S uses
PAT = 0x0007040600070406
BIOS_DRIVE = 0x80
DATA_SEGMENTS = ("es", "ss", "ds", "fs", "gs")
EXITS_OF_THE_VMM = (0x60, VMEXIT_NMI, 0x62, 0x63)
"""INTR, NMI, SMI, INIT: what comes from outside."""

IOIO_STR = 1 << 2
"""EXITINFO1 of VMEXIT_IOIO: INS or OUTS."""
HEXADECIMAL = re.compile(r"(?<![0-9a-z])(?:0x)?([0-9a-f]+)(?![0-9a-z])")
VMMCALL_UNKNOWN = (1 << 64) - 1
BEFORE_THE_CROSSING = (
    "lab7.init.svme", "lab7.init.hsave", "lab7.vmcb.own", "lab7.vmcb.intercepts",
    "lab7.vmcb.memory", "lab7.reset.segments", "lab7.reset.registers",
)  # fmt: skip
EXITS = ("lab7.exit.cpuid", "lab7.exit.vmmcall", "lab7.exit.io", "lab7.exit.string")
CROSSING = ("lab7.loop.called", "lab7.run.saved", "lab7.run.host")
STAGE_LONG, STAGE_CPUID, STAGE_VMMCALL, STAGE_IO, STAGE_STATE, STAGE_HLT = range(2, 8)
REGISTERS = (
    "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "R8", "R9", "R10", "R11", "R12", "R13",
    "R14", "R15", "RFLAGS",
)  # fmt: skip


# --- lab7.1: SVM on each CPU ----------------------------------------------------------------------


@check("lab7.init.svme", FOUR, also=THERE, per="cpu")
def svm_is_enabled(boot, cpu):
    """svm_init sets EFER.SVME on every CPU, and no other bit of EFER."""
    enabled = recorded(boot, cpu).enabled
    if enabled is None:
        stopped(boot, cpu, msg("svm_init returns on every CPU"))
    if enabled.efer != enabled.before | EFER_SVME:
        fail(
            "svme-not-set" if not enabled.efer & EFER_SVME else "efer-changed",
            cpu=cpu.index,
            place="svm_init",
            expected=msg("EFER = {value:#x}", value=enabled.before | EFER_SVME),
            observed=msg("EFER = {value:#x}", value=enabled.efer),
            goes_on=True,
        )


@check("lab7.init.hsave", FOUR, also=THERE, per="cpu", after="lab7.init.svme")
def host_save_area_is_its_own(boot, cpu):
    """VM_HSAVE_PA of every CPU is the physical address of a page that nothing else uses."""
    enabled = recorded(boot, cpu).enabled
    if enabled is None:
        stopped(boot, cpu, msg("svm_init returns on every CPU"))
    area = needed(enabled.hsave)
    what = msg("VM_HSAVE_PA = {value:#x}", value=area)
    if area == 0:
        fail(
            "hsave-missing",
            cpu=cpu.index,
            place="svm_init",
            expected=msg("the physical address of a page from alloc"),
            observed=what,
            goes_on=True,
        )
    virtual = area >= VMM_BASE
    if virtual or area & PAGE:
        fail(
            "hsave-virtual" if virtual else "hsave-not-aligned",
            cpu=cpu.index,
            place="svm_init",
            expected=msg("the physical address of a page"),
            observed=what,
            goes_on=True,
        )
    for other in boot.cpus[: cpu.index]:
        theirs = recorded(boot, other).enabled
        if theirs and theirs.hsave is not None and abs(theirs.hsave - area) <= PAGE:
            fail(
                "hsave-shared",
                cpu=cpu.index,
                place="svm_init",
                expected=msg("a page of its own"),
                observed=msg(
                    "{what}; that of {other} is {theirs:#x}",
                    what=what,
                    other=other.name,
                    theirs=theirs.hsave,
                ),
                goes_on=True,
            )
    if not belongs_to_the_vmm(boot, area):
        fail(
            "hsave-not-allocated",
            cpu=cpu.index,
            place="svm_init",
            expected=msg("a page that alloc returned"),
            observed=what,
            goes_on=True,
        )


def allocated(cpu, physical, size):
    """The blocks from alloc of a CPU in which so many bytes lie."""
    return [
        one.address
        for one in cpu.allocations
        if one.address - VMM_BASE <= physical
        and physical + size <= one.address - VMM_BASE + one.size
    ]


def belongs_to_the_vmm(boot, physical, size=PAGE + 1):
    """Whether memory lies in a block that alloc returned, or in the image: no guest sees it."""
    in_image = boot.in_image(physical + VMM_BASE) and boot.in_image(physical + VMM_BASE + size - 1)
    return in_image or any(allocated(one, physical, size) for one in boot.cpus)


# --- lab7.2: the control area of the VMCB ---------------------------------------------------------


def made_of(boot, cpu):
    """What svm_vminit made on a CPU; fail if it made nothing."""
    made = recorded(boot, cpu).made
    if made is None:
        stopped(boot, cpu, msg("svm_vminit returns on every CPU"))
    return made


def vmcb_of(boot, cpu):
    """The VMCB that svm_vminit made; fail if v->vmcb leads to none."""
    made = made_of(boot, cpu)
    if made.vmcb is None:
        fail(
            "vmcb-not-there",
            cpu=cpu.index,
            place="svm_vminit",
            expected=msg("v->vmcb points to a page from alloc"),
            observed=msg("v->vmcb = {value:#x}", value=made.vmcb_at),
            goes_on=True,
        )
    return made.vmcb


@check("lab7.vmcb.own", FOUR, also=THERE, per="cpu", after="lab7.init.hsave")
def vmcb_is_its_own(boot, cpu):
    """v->vmcb and v->vmcbhost are pages of this CPU alone, and the VMCB is cleared."""
    vmcb_of(boot, cpu)
    made = made_of(boot, cpu)
    for name, value in (("v->vmcb", made.vmcb_at), ("v->vmcbhost", made.host_at)):
        is_an_own_page(boot, cpu, name, value)
    if made.stray is not None:
        fail(
            "vmcb-not-cleared",
            cpu=cpu.index,
            place="svm_vminit",
            expected=msg("all fields that are not set are 0"),
            observed=msg("byte {offset:#x} of the VMCB is not 0", offset=made.stray),
            goes_on=True,
        )


def is_an_own_page(boot, cpu, name, value):
    """Fail unless this is a page in a block from alloc, and used for nothing else."""
    expected = msg("{name} is the address of a page that alloc returned", name=name)
    observed = msg("{name} = {value:#x}", name=name, value=value)
    if value & PAGE:
        fail(
            "vmcb-not-aligned",
            cpu=cpu.index,
            place="svm_vminit",
            expected=expected,
            observed=observed,
            goes_on=True,
        )
    if not belongs_to_the_vmm(boot, value - VMM_BASE):
        fail(
            "vmcb-not-there",
            cpu=cpu.index,
            place="svm_vminit",
            expected=expected,
            observed=observed,
            goes_on=True,
        )
    for other, what, theirs in pages_in_use(boot):
        if theirs == value and (other.index, what) != (cpu.index, name):
            fail(
                "vmcb-shared",
                cpu=cpu.index,
                place="svm_vminit",
                expected=msg("{name} is a page of its own", name=name),
                observed=msg(
                    "{name} = {value:#x}, which is also {what} of {other}",
                    name=name,
                    value=value,
                    what=what,
                    other=other.name,
                ),
                goes_on=True,
            )


def pages_in_use(boot):
    """CPU, name and virtual address of each page that the functions of this lab use."""
    for cpu in boot.cpus:
        seen = recorded(boot, cpu)
        if seen.enabled and seen.enabled.hsave:
            yield cpu, msg("the host save area"), seen.enabled.hsave + VMM_BASE
        if seen.made:
            yield cpu, "v->vmcb", seen.made.vmcb_at
            yield cpu, "v->vmcbhost", seen.made.host_at


@check("lab7.vmcb.intercepts", FOUR, also=THERE, per="cpu", after="lab7.vmcb.own")
def what_must_exit_is_intercepted(boot, cpu):
    """VMRUN, VMMCALL, CPUID, shutdown, NMI and the ports of COM1 exit; interrupts do not."""
    vmcb = vmcb_of(boot, cpu)
    wanted = (VMEXIT_VMRUN, VMEXIT_VMMCALL, VMEXIT_CPUID, VMEXIT_SHUTDOWN, VMEXIT_NMI, VMEXIT_IOIO)
    absent = [exit_name(code) for code in wanted if not vmcb.intercepted(code)]
    if absent:
        fail(
            "intercept-missing",
            cpu=cpu.index,
            place="svm_vminit",
            expected=msg("intercepted: {names}", names=listed(map(exit_name, wanted))),
            observed=msg("not intercepted: {names}", names=listed(absent)),
            goes_on=True,
        )
    if vmcb.intercepted(0x60):
        fail(
            "interrupts-intercepted",
            cpu=cpu.index,
            place="svm_vminit",
            expected=msg("external interrupts go to the guest"),
            observed=msg("VMEXIT_INTR is intercepted"),
            goes_on=True,
        )
    at_the_ports(boot, cpu, vmcb)


def at_the_ports(boot, cpu, vmcb):
    """Fail unless the I/O permission map intercepts the ports of COM1."""
    if vmcb.iopm_base_pa & PAGE or not belongs_to_the_vmm(boot, vmcb.iopm_base_pa):
        fail(
            "iopm-wrong",
            cpu=cpu.index,
            place="svm_vminit",
            expected=msg("iopm_base_pa is the physical address of {size} bytes", size=0x3000),
            observed=msg("iopm_base_pa = {value:#x}", value=vmcb.iopm_base_pa),
            goes_on=True,
        )
    if not belongs_to_the_vmm(boot, vmcb.iopm_base_pa, IOPM_BYTES):
        fail(
            "iopm-too-small",
            cpu=cpu.index,
            place="svm_vminit",
            expected=msg("{size} bytes from iopm_base_pa on are the map's", size=IOPM_BYTES),
            observed=msg("the block from alloc at {at:#x} ends before", at=vmcb.iopm_base_pa),
            goes_on=True,
        )
    ports = recorded(boot, cpu).made.ports
    open_ports = [port for port in COM1 if not any(a <= port <= b for a, b in ports)]
    if open_ports:
        fail(
            "ports-not-intercepted",
            cpu=cpu.index,
            place="svm_vminit",
            expected=msg("the I/O permission map intercepts ports 0x3f8 to 0x3ff"),
            observed=msg(
                "it does not intercept {ports}", ports=listed(f"{one:#x}" for one in open_ports)
            ),
            goes_on=True,
        )


@check("lab7.vmcb.memory", FOUR, also=THERE, per="cpu", after="lab7.vmcb.own")
def guest_has_its_own_memory(boot, cpu):
    """The ASID is not 0, the first VMRUN flushes it, and nested paging and g_pat are set."""
    vmcb, made = vmcb_of(boot, cpu), made_of(boot, cpu)
    rules = (
        ("asid-zero", "guest_asid", vmcb.guest_asid, vmcb.guest_asid != 0, msg("not 0")),
        ("tlb-not-flushed", "tlb_control", vmcb.tlb_control, vmcb.tlb_control in (1, 3, 7), "0x1"),
        ("nested-paging-off", "np_enable", vmcb.np_enable, vmcb.np_enable == 1, "0x1"),
        ("nested-root-wrong", "n_cr3", vmcb.n_cr3, vmcb.n_cr3 == made.n_cr3, f"{made.n_cr3:#x}"),
        ("pat-wrong", "g_pat", vmcb.g_pat, vmcb.g_pat == PAT, f"{PAT:#x}"),
        ("control-not-zero", "v_intr", vmcb.vintr, not vmcb.vintr, "0x0"),
        ("control-not-zero", "tsc_offset", vmcb.tsc_offset, not vmcb.tsc_offset, "0x0"),
    )
    if made.stray is not None:  # nothing was cleared, as lab7.vmcb.own says
        rules = rules[:-2]
    for cause, name, value, right, wanted in rules:
        if not right:
            fail(
                cause,
                cpu=cpu.index,
                place="svm_vminit",
                expected=msg("{name} = {value}", name=name, value=wanted),
                observed=msg("{name} = {value}", name=name, value=f"{value:#x}"),
                goes_on=True,
            )

    crossing = recorded(boot, cpu).crossing
    if crossing is not None:
        keeps(cpu, crossing.flush_lost, cause="flush-taken-back")


def keeps(cpu, lost, *, cause):
    """Fail if svm_start_vm has changed something in the VMCB before its first VMRUN."""
    for one in lost:
        fail(
            cause,
            cpu=cpu.index,
            place="svm_start_vm → asm_vmrun_regs_64",
            expected=msg("{name} = {value:#x}", name=one.name, value=one.wanted),
            observed=msg("{name} = {value:#x}", name=one.name, value=one.found),
            goes_on=True,
        )


# --- lab7.3: the state after INIT -----------------------------------------------------------------


def reset_of(boot, cpu):
    """What svm_reset made on a CPU; fail if it did not return."""
    reset = recorded(boot, cpu).reset
    if reset is None:
        stopped(boot, cpu, msg("svm_reset returns on every CPU"))
    return reset


def state_is(boot, cpu, cause, rules):
    """Fail for the first field that is not as it should be: name, wanted, found."""
    function, other = recorded(boot, cpu).parted or ("", 0)
    shares = function == "svm_reset"
    for name, wanted, found in rules:
        if wanted != found:
            fail(
                "reset-shares-variables" if shares else cause,
                cpu=cpu.index,
                place="svm_reset",
                expected=msg(
                    "{name} = {value:#x}, while CPU {other} executes svm_reset, too",
                    name=name,
                    value=wanted,
                    other=other,
                )
                if shares
                else msg("{name} = {value:#x}", name=name, value=wanted),
                observed=msg("{name} = {value:#x}", name=name, value=found),
                goes_on=True,
            )


@check("lab7.reset.segments", FOUR, also=THERE, per="cpu", after="lab7.vmcb.own")
def segments_are_those_of_real_mode(boot, cpu):
    """svm_reset sets all segment registers, GDTR and IDTR as in real mode, whatever was there."""
    reset = reset_of(boot, cpu)
    vmcb = reset.vmcb
    state_is(
        boot,
        cpu,
        "code-segment-wrong",
        (
            ("cs.sel", reset.cs, vmcb.cs.selector),
            ("cs.base", reset.cs << 4, vmcb.cs.base),
            ("cs.limit", 0xFFFF, vmcb.cs.limit),
            ("cs.attr", 0x9B, vmcb.cs.attrib),
        ),
    )
    for name, attributes in (*((one, 0x93) for one in DATA_SEGMENTS), ("ldtr", 0x82), ("tr", 0x8B)):
        segment = getattr(vmcb, name)
        state_is(
            boot,
            cpu,
            "segment-wrong",
            (
                (f"{name}.sel", 0, segment.selector),
                (f"{name}.base", 0, segment.base),
                (f"{name}.limit", 0xFFFF, segment.limit),
                (f"{name}.attr", attributes, segment.attrib),
            ),
        )
    for name, limit in (("gdtr", 0xFFFF), ("idtr", 0x3FF)):
        segment = getattr(vmcb, name)
        state_is(
            boot,
            cpu,
            "descriptor-table-wrong",
            ((f"{name}.base", 0, segment.base), (f"{name}.limit", limit, segment.limit)),
        )


def control_area_is_kept(cpu, reset):
    """Fail if svm_reset has cleared what svm_vminit has set."""
    before, after = reset.before, reset.vmcb
    if before is None:
        return
    fields = [(f"intercept{at - 2}", before.intercepts[at], after.intercepts[at]) for at in (3, 4)]
    fields += [
        (name, getattr(before, name), getattr(after, name))
        for name in ("guest_asid", "np_enable", "n_cr3", "iopm_base_pa", "g_pat")
    ]
    for name, was, now in fields:
        if was and not now:
            fail(
                "reset-clears-too-much",
                cpu=cpu.index,
                place="svm_reset",
                expected=msg("{name} = {value:#x}", name=name, value=was),
                observed=msg("{name} = {value:#x}", name=name, value=now),
                goes_on=True,
            )


@check("lab7.reset.registers", FOUR, also=THERE, per="cpu", after="lab7.vmcb.own")
def registers_are_those_after_init(boot, cpu):
    """svm_reset sets control, debug and general registers as after INIT, whatever was there."""
    reset = reset_of(boot, cpu)
    vmcb = reset.vmcb
    if not vmcb.efer & EFER_SVME:
        fail(
            "guest-efer-without-svme",
            cpu=cpu.index,
            place="svm_reset",
            expected=f"efer = {EFER_SVME:#x}",
            observed=f"efer = {vmcb.efer:#x}",
            goes_on=True,
        )
    state_is(
        boot,
        cpu,
        "control-register-wrong",
        (
            ("cr0", 0x10, vmcb.cr0),
            ("cr2", 0, vmcb.cr2),
            ("cr3", 0, vmcb.cr3),
            ("cr4", 0, vmcb.cr4),
            ("efer", EFER_SVME, vmcb.efer),
            ("dr6", 0xFFFF0FF0, vmcb.dr6),
            ("dr7", 0x400, vmcb.dr7),
            ("cpl", 0, vmcb.cpl),
        ),
    )
    control_area_is_kept(cpu, reset)
    drive = reset.registers["rdx"] if cpu.index == 0 else 0
    state_is(
        boot,
        cpu,
        "general-register-wrong",
        (
            ("rflags", 2, vmcb.rflags),
            ("rip", reset.ip, vmcb.rip),
            ("rsp", 0, vmcb.rsp),
            ("rax", 0, vmcb.rax),
            ("interrupt_shadow", 0, vmcb.interrupt_shadow),
            ("eventinj", 0, vmcb.eventinj),
            # The given code puts the number of the drive there, on the BSP.
            ("regs.rdx", drive if drive == BIOS_DRIVE else 0, reset.registers["rdx"]),
            *(
                (f"regs.{name}", 0, value)
                for name, value in reset.registers.items()
                if name != "rdx"
            ),
        ),
    )


# --- lab7.4 and lab7.5: into the guest and back ---------------------------------------------------


def crossing_of(boot, cpu):
    """The first VMRUN of a CPU; fail if asm_vmrun_regs_64 was not called."""
    crossing = recorded(boot, cpu).crossing
    if crossing is None:
        stopped(boot, cpu, msg("svm_start_vm calls asm_vmrun_regs_64 on every CPU"))
    return crossing


@check(
    "lab7.loop.called",
    FOUR,
    also=THERE,
    per="cpu",
    after=["lab7.reset.segments", "lab7.reset.registers"],
)
def vmrun_gets_its_arguments(boot, cpu):
    """svm_start_vm calls asm_vmrun_regs_64 with v->regs and both physical addresses."""
    crossing = crossing_of(boot, cpu)
    known = what_they_are(boot)
    places = zip(ARGUMENTS, crossing.arguments_right, crossing.arguments, strict=True)
    for number, (name, wanted, found) in enumerate(places, 1):
        if wanted == found:
            continue
        is_what = known.get(found)
        fail(
            "vmrun-argument-wrong",
            cpu=cpu.index,
            place="svm_start_vm → asm_vmrun_regs_64",
            expected=msg(
                "argument {number}, {name} = {value:#x}, {what}",
                number=number,
                name=name,
                value=wanted,
                what=known[wanted][0],
            ),
            observed=msg(
                "{name} = {value:#x}, {what} of {cpu}",
                name=name,
                value=found,
                what=is_what[0],
                cpu=boot.cpus[is_what[1]].name,
            )
            if is_what
            else msg("{name} = {value:#x}", name=name, value=found),
            # From here on it is right, unless this CPU handles the exits of another one's guest.
            goes_on=not (is_what and is_what[1] != cpu.index),
        )
    exits_are_this_cpus(boot, cpu, goes_on=True)


def exits_are_this_cpus(boot, cpu, *, goes_on):
    """Fail if svm_start_vm handles an exit otherwise while another CPU handles one, too."""
    if diverted := recorded(boot, cpu).diverted:
        fail(
            "exits-share-variables",
            cpu=cpu.index,
            place="svm_start_vm",
            expected=msg(
                "after VMEXIT_CPUID svm_start_vm calls {function}, whatever CPU {other} does",
                function=diverted.alone,
                other=diverted.other,
            ),
            observed=msg(
                "while CPU {other} handled VMEXIT_NMI, {cpu} came to {function}",
                other=diverted.other,
                cpu=cpu.name,
                function=diverted.found or msg("none of the functions it may call"),
            ),
            step="lab7.4",
            goes_on=goes_on and diverted.between,
        )


ARGUMENTS = ("p", "vmcb_phys", "vmcbhost_phys")


def what_they_are(boot):
    """What the addresses are that asm_vmrun_regs_64 may get, and the CPU to which each belongs."""
    known = {}
    for cpu in boot.cpus:
        crossing = recorded(boot, cpu).crossing
        if crossing is None:
            continue
        p, vmcb, host = crossing.arguments_right
        for at, what in (
            (p, msg("the address of v->regs")),
            (p - VMM_BASE, msg("the physical address of v->regs")),
            (p - REGS_AT, msg("the address of *v")),
            (vmcb, msg("the physical address of *v->vmcb")),
            (vmcb + VMM_BASE, msg("the virtual address of *v->vmcb")),
            (host, msg("the physical address of *v->vmcbhost")),
            (host + VMM_BASE, msg("the virtual address of *v->vmcbhost")),
        ):
            known[at] = what, cpu.index
    return known


@check("lab7.run.entered", FOUR, also=THERE, per="cpu", after="lab7.loop.called")
def guest_begins_with_its_registers(boot, cpu):
    """VMRUN runs on every CPU, with its VMCB, and the guest has the registers from *p."""
    crossing, runs = crossing_of(boot, cpu), guest_of(boot, cpu).runs
    if crossing.gif is None or not runs:
        stopped(boot, cpu, msg("VMRUN on every CPU"))
    if runs[0].vmcb != crossing.vmcb_right:
        fail(
            "vmrun-of-another-vmcb",
            cpu=cpu.index,
            place="asm_vmrun_regs_64",
            expected=msg("VMRUN with RAX = {value:#x}", value=crossing.vmcb_right),
            observed=msg("VMRUN with RAX = {value:#x}", value=runs[0].vmcb),
        )
    if not boot.at("guest_entry", cpu.index):
        stopped(boot, cpu, msg("the guest executes its first instruction"))
    differs(
        boot,
        cpu,
        crossing.entry_lost,
        "guest-state-not-loaded",
        "guest-register-not-loaded",
        msg("asm_vmrun_regs_64, at VMRUN"),
    )


def crossed(boot):
    """Whether all CPUs have come back: then a mistake was put right, and they go on."""
    crossings = [recorded(boot, cpu).crossing for cpu in boot.cpus]
    return all(crossing is not None and crossing.returned for crossing in crossings)


def differs(boot, cpu, lost, cause_of_base, cause, place):
    """Fail if registers differ; those that VMLOAD and VMSAVE take care of have their own cause."""
    if not lost:
        return
    one = lost[0]
    base = one.name.endswith("_base")
    fail(
        cause_of_base if base else cause,
        cpu=cpu.index,
        place=place,
        expected=msg("{name} = {value:#x}", name=name_of(one.name), value=one.wanted),
        observed=msg("{name} = {value:#x}", name=name_of(one.name), value=one.found)
        if len(lost) == 1
        else msg(
            "{name} = {value:#x}; also wrong: {others}",
            name=name_of(one.name),
            value=one.found,
            others=listed(name_of(other.name) for other in lost[1:]),
        ),
        goes_on=crossed(boot),
    )


def keeps_apart(boot, cpu, lost):
    """Fail if state is lost because asm_vmrun_regs_64 has taken another CPU's *p or page."""
    other = crossing_of(boot, cpu).mixed_with
    if lost and other is not None:
        fail(
            "crossing-shares-variables",
            cpu=cpu.index,
            place=msg("asm_vmrun_regs_64, on return"),
            expected=msg(
                "{name} = {value:#x}, whatever CPU {other} does meanwhile",
                name=name_of(lost[0].name),
                value=lost[0].wanted,
                other=other,
            ),
            observed=msg(
                "{name} = {value:#x}: after #VMEXIT {cpu} went on with what belongs to CPU {other}",
                name=name_of(lost[0].name),
                value=lost[0].found,
                cpu=cpu.name,
                other=other,
            ),
            goes_on=crossed(boot),
        )


def name_of(register):
    """What the manual calls a register."""
    names = {"fs_base": "FS base", "gs_base": "GS base", "k_gs_base": "KernelGSBase"}
    return names.get(register, register if register[0].isupper() else register.upper())


def returned(boot, cpu):
    """The first VMRUN of a CPU; fail if asm_vmrun_regs_64 did not return."""
    crossing = crossing_of(boot, cpu)
    if not crossing.returned:
        stopped(boot, cpu, msg("asm_vmrun_regs_64 returns after the first exit"))
    return crossing


@check("lab7.run.saved", FOUR, also=THERE, per="cpu", after="lab7.run.entered")
def guest_registers_are_saved(boot, cpu):
    """After an exit *p has the guest's registers, and its VMCB what VMSAVE stores."""
    keeps_apart(boot, cpu, returned(boot, cpu).exit_lost)
    differs(
        boot,
        cpu,
        returned(boot, cpu).exit_lost,
        "guest-state-not-saved",
        "guest-register-not-saved",
        msg("asm_vmrun_regs_64, on return"),
    )


@check("lab7.run.host", FOUR, also=THERE, per="cpu", after="lab7.run.entered")
def vmm_is_as_before(boot, cpu):
    """After an exit the VMM has its registers, stack, segments and MSRs again."""
    crossing = returned(boot, cpu)
    keeps_apart(boot, cpu, crossing.host_lost)
    first = crossing.host_lost[0].name if crossing.host_lost else ""
    hidden = not first.islower() or first.endswith("_base")
    differs(
        boot,
        cpu,
        crossing.host_lost,
        "host-state-not-loaded",
        "host-state-not-loaded" if hidden else "host-register-changed",
        msg("asm_vmrun_regs_64, on return"),
    )
    if crossing.interrupts:
        fail(
            "interrupts-on",
            cpu=cpu.index,
            place=msg("asm_vmrun_regs_64, on return"),
            expected=msg("interrupts are off"),
            observed=msg("RFLAGS.IF is 1"),
            goes_on=crossed(boot),
        )
    if crossing.direction:
        fail(
            "direction-flag-set",
            cpu=cpu.index,
            place=msg("asm_vmrun_regs_64, on return"),
            expected=msg("RFLAGS.DF is 0"),
            observed=msg("RFLAGS.DF is 1"),
            goes_on=crossed(boot),
        )


@check("lab7.run.gif", FOUR, also=THERE, per="cpu", after="lab7.run.entered")
def gif_protects_the_crossing(boot, cpu):
    """GIF is 0 when VMRUN is executed, and 1 again when asm_vmrun_regs_64 returns."""
    crossing = crossing_of(boot, cpu)
    if crossing.gif:
        fail(
            "no-clgi",
            cpu=cpu.index,
            place=msg("asm_vmrun_regs_64, at VMRUN"),
            expected=msg("GIF = 0"),
            observed=msg("GIF = 1"),
            goes_on=crossed(boot),
        )
    if crossing.loaded_with_gif:
        fail(
            "clgi-too-late",
            cpu=cpu.index,
            place=msg("asm_vmrun_regs_64, at VMLOAD"),
            expected=msg("GIF = 0 before the guest's state is loaded"),
            observed=msg("GIF = 1"),
            goes_on=crossed(boot),
        )
    if not returned(boot, cpu).gif_after:
        fail(
            "no-stgi",
            cpu=cpu.index,
            place=msg("asm_vmrun_regs_64, on return"),
            expected=msg("GIF = 1"),
            observed=msg("GIF = 0"),
            goes_on=crossed(boot),
        )
    if crossing.restored_with_gif:
        fail(
            "stgi-too-early",
            cpu=cpu.index,
            place=msg("asm_vmrun_regs_64, at STGI"),
            expected=msg("GIF is set after the VMM's own state has been loaded"),
            observed=msg("VMLOAD came after it"),
            goes_on=crossed(boot),
        )


def goes_on_after_nmi(boot, cpu):
    """Fail unless a CPU has run its guest again when nmi_handler had returned."""
    came_to = recorded(boot, cpu).after_nmi
    if came_to in ("", "reached"):
        for one in recorded(boot, cpu).changed_by_nmi[:1]:
            fail(
                "nmi-exit-changes-the-guest",
                cpu=cpu.index,
                place=msg("svm_start_vm, after VMEXIT_NMI"),
                expected=msg("the guest's {name} = {value:#x}", name=one.name, value=one.wanted),
                observed=msg(
                    "the guest's {name} = {value:#x} at the next VMRUN",
                    name=one.name,
                    value=one.found,
                ),
            )
        if recorded(boot, cpu).svme_after_nmi is False:
            fail(
                "svme-lost",
                cpu=cpu.index,
                place=msg("svm_start_vm, after VMEXIT_NMI"),
                expected=msg("EFER.SVME is 1 at VMRUN, although the guest has cleared it"),
                observed=msg("EFER.SVME is 0 after an exit by NMI"),
            )
        return
    fail(
        "nmi-exit-stops",
        cpu=cpu.index,
        place=msg("svm_start_vm, after VMEXIT_NMI"),
        expected=msg(
            "nmi_handler has returned in this boot, and {cpu} runs its guest", cpu=cpu.name
        ),
        observed=msg("it panicked")
        if boot.at("panic", cpu.index)
        else msg("it did not come to VMRUN"),
    )


def panicked(boot, cpu, code, expected, *, string=False):
    """The last exit of a CPU, after which it must have panicked.

    Args:
        boot: the boot.
        cpu: the CPU.
        code: of that exit.
        expected: what the check expects.
        string: it is one for INS or OUTS.
    """
    exits = [one for one in guest_of(boot, cpu).exits_with(code) if not string or is_string(one)]
    if not exits:
        stopped(boot, cpu, expected)
    ran_again = guest_of(boot, cpu).runs[-1].exit is not exits[-1]  # it may panic later
    if ran_again or not boot.at("panic", cpu.index):
        fail_if(stopped_at_todo(boot), expected=expected)
        fail(
            "string-io-not-refused" if string else "unknown-exit-ignored",
            cpu=cpu.index,
            place="do_ioio" if string else "svm_start_vm",
            expected=expected,
            observed=msg(
                "{name} came {count} times, and the VMM went on",
                name=exit_name(code),
                count=len(exits) if string else guest_of(boot, cpu).exits.get(code, 0),
            ),
        )
    return exits[-1]


def is_string(one):
    """Whether an exit was for INS or OUTS (APM 15.10.2)."""
    return one.code == VMEXIT_IOIO and bool(one.info1 & IOIO_STR)


def is_named(boot, cpu, cause, **numbers):
    """Fail unless the text of a CPU's panic has these numbers, in hexadecimal."""
    text = said_in_panic(boot, cpu)
    shown = {int(word, 16) for word in HEXADECIMAL.findall(text.lower())}
    absent = [f"{name} {value:#x}" for name, value in numbers.items() if value not in shown]
    if absent:
        who = "do_ioio" if cause == "panic-without-the-port" else "svm_start_vm"
        fail(
            cause,
            cpu=cpu.index,
            place=f"{who} → panic",
            expected=msg("the text has {numbers}, in hexadecimal", numbers=listed(absent)),
            observed=next(iter(text.splitlines()), "") or msg("no panic was printed"),
            goes_on=True,
        )


@check(
    "lab7.exit.unknown",
    SHUTDOWN,
    after=CROSSING,
    strictly=["lab7.loop.called", "lab7.run.host"],  # this guest keeps nothing in its registers
)
def unknown_exit_is_named(boot):
    """After an exit that it does not handle, the VMM panics and says which one it was."""
    last = panicked(
        boot, boot.bsp, VMEXIT_SHUTDOWN, msg("the VMM panics when its guest has shut down")
    )
    numbers = {"EXITINFO1": last.info1, "EXITINFO2": last.info2, "RIP": last.rip}
    is_named(boot, boot.bsp, "panic-without-the-numbers", EXITCODE=last.code, **numbers)


@check("lab7.exit.nmi", SHUTDOWN, per="ap", after=["lab7.exit.unknown", "lab7.run.gif"])
def nmi_stops_a_cpu_in_its_guest(boot, ap):
    """An NMI takes a CPU out of its guest, the VMM's own handler runs, and the guest goes on."""
    if boot.at("nmi_handler", ap.index):
        goes_on_after_nmi(boot, ap)
        return
    fail_if(stopped_at_todo(boot))
    guest = guest_of(boot, ap)
    exits = guest.exits.get(VMEXIT_NMI, 0)
    fail(
        "nmi-not-delivered",
        cpu=ap.index,
        place=msg("svm_start_vm, after VMEXIT_NMI") if exits else msg("guest"),
        expected=msg("the panic of CPU 0 sends an NMI, and nmi_handler runs on {cpu}", cpu=ap.name),
        observed=msg("{count} exits VMEXIT_NMI, and nmi_handler did not run", count=exits),
    )


# --- lab7.6 to lab7.8: what the guest asks for ----------------------------------------------------


def noted(boot, cpu, stage, expected):
    """Fail unless the guest of a CPU came through a stage; say what it found wrong.

    Args:
        boot: the boot.
        cpu: the CPU.
        stage: STAGE_ of guest/bios.S.
        expected: what the check expects.
    """
    result = recorded(boot, cpu).result
    failed = next((one for one in recorded(boot, cpu).failed if one.stage == stage), None)
    if failed is None:
        if stopped_by_another(boot, cpu, stage) or began_the_next(boot, cpu, stage):
            return
        if result is None or (result.stage < stage and not result.check):
            stopped(boot, cpu, expected)
        if result.stage >= stage:
            return
    wrong_rip(boot, cpu)
    result = failed or result
    cause, text = found_wrong(result)
    if cause == "cpunum-wrong" and any(
        one.check == CHECK_CPUNUM_TWICE
        for other in boot.cpus
        for one in recorded(boot, other).failed
    ):  # which CPU finds what depends on which one asks first
        cause = "cpunum-twice"
    wanted = msg("{what} = {value:#x}", what=text, value=result.wanted)
    if result.check == CHECK_CPUNUM and cpu.index:
        wanted = msg("{what} is below {count}", what=text, count=len(boot.cpus))
    fail(
        cause,
        cpu=cpu.index,
        place=msg("guest of {cpu}", cpu=cpu.name),
        expected=wanted if result.wanted or result.found else expected,
        observed=msg("{what} = {value:#x}", what=text, value=result.found)
        if result.wanted or result.found
        else text,
        goes_on=failed is not None,
    )


CHANGED_BY = {
    "do_cpuid": "register-changed-by-cpuid",
    "do_vmmcall": "register-changed-by-vmmcall",
    "do_ioio": "register-changed-by-in",
}
OF_AN_ACCESS = {
    PORT: msg("port"),
    SIZE: msg("size in bytes"),
    VALUE: msg("value written"),
    COUNT: msg("number of accesses"),
    IS_IN: msg("direction (IN is 1, OUT is 0)"),
}
ANSWERS = {"do_cpuid": ("rax", "rbx", "rcx", "rdx")}
"""The registers that a function answers in, if it is not RAX alone."""


def answered(boot, cpu, function):
    """Fail if a function has answered the grader wrongly, for a guest in 64-bit mode."""
    for answer in recorded(boot, cpu).answers:
        if answer.function == function and answer.lost:
            one = answer.lost[0]
            told = {
                "about": answer.about,
                "name": OF_AN_ACCESS.get(one.name) or name_of(one.name),
                "value": one.wanted,
            }
            fail(
                "exits-share-variables" if answer.meanwhile else cause_of(answer, one),
                cpu=cpu.index,
                place=function,
                expected=msg(
                    "a guest in 64-bit mode, {about}, while CPU {other} answers {meanwhile}: "
                    "{name} = {value:#x}",
                    other=answer.other,
                    meanwhile=answer.meanwhile,
                    **told,
                )
                if answer.meanwhile
                else msg("a guest in 64-bit mode, {about}: {name} = {value:#x}", **told),
                observed=msg(
                    "{name} = {value:#x}",
                    name=OF_AN_ACCESS.get(one.name) or name_of(one.name),
                    value=one.found,
                ),
                goes_on=True,
            )


def cause_of(answer, one):
    """The cause of a wrong answer: by the register that is wrong, and by the question."""
    if one.name == "rip":
        return "rip-not-at-the-next"
    if one.name not in (*ANSWERS.get(answer.function, ("rax",)), *OF_AN_ACCESS):
        return CHANGED_BY[answer.function]
    if answer.function == "do_cpuid":
        cause = "cpuid-answer-changed"
        if answer.about == f"CPUID leaf {CPUID_SVM:#x}":
            cause = "cpuid-shows-svm-leaf"
        elif "subleaf" in answer.about:
            cause = "cpuid-without-subleaf"
        return "cpuid-upper-half" if one.found >> 32 else cause
    if answer.function == "do_ioio":
        return {PORT: "another-port-accessed", COUNT: "port-not-passed"}.get(
            one.name, size_wrong(answer.about)
        )
    return "cpunum-wrong" if answer.about == "VMMCALL, EAX = 0x0" else "vmmcall-unknown-wrong"


def size_wrong(about):
    """The cause for IN or OUT of a size, by the instruction."""
    kind, *operands = about.replace(",", "").split()
    register = operands[0] if kind == "IN" else operands[1]
    return f"{kind.lower()}-{ {'AL': 8, 'AX': 16, 'EAX': 32}[register] }-wrong"


CPUID_SVM = 0x8000000A


def began_the_next(boot, cpu, stage):
    """Whether the guest of a CPU has begun with what comes after a stage: its exits show it.

    If the machine was lost soon after, nobody has read how far the guest says it came.
    """
    exits = [run.exit for run in guest_of(boot, cpu).runs if run.exit]
    codes = [one.code for one in exits]
    later = codes[codes.index(VMEXIT_VMMCALL) :] if VMEXIT_VMMCALL in codes else []
    if stage < STAGE_HLT and VMEXIT_HLT in later:  # the last stage
        return True
    if stage == STAGE_CPUID:
        return any(one.code == VMEXIT_VMMCALL for one in exits)
    if stage == STAGE_VMMCALL:  # what it prints goes to other ports
        return any(one.code == VMEXIT_IOIO and one.info1 >> 16 == COM1_MODEM for one in exits)
    return False


def stopped_by_another(boot, cpu, stage):
    """Whether a CPU whose guest had come through this stage has stopped this one: by its panic, or
    because it made no more progress, so that the boot was over.
    """

    def stops(one):
        return boot.at("panic", one.index) or repeated_exit(boot, one) is not None

    came = (recorded(boot, one).result for one in boot.cpus if stops(one))
    through = any(result is not None and result.stage >= stage for result in came)
    return through and not stops(cpu)


def found_wrong(result):
    """The cause and the name of what the guest found wrong: CHECK_ of guest/bios.S."""
    kind, number = result.check >> 8, result.check & 0xFF
    by = {1: "CPUID", 2: "VMMCALL", 3: "OUT", 4: "IN"}.get(kind, "")
    if by and number < len(REGISTERS):
        text = msg("{register} after {instruction}", register=REGISTERS[number], instruction=by)
        return f"register-changed-by-{by.lower()}", text
    if kind == 8:
        return real_mode_wrong(number)
    if kind == 5 and number < len(MSRS):
        return "guest-msr-lost", msg("{name} after two exits", name=MSRS[number])
    if result.check == CHECK_CPUNUM and result.found == VMMCALL_UNKNOWN:
        return "vmmcall-not-recognised", msg("the answer to VMMCALL_CPUNUM")
    if result.check == CHECK_IN8 and not (result.found ^ result.wanted) >> 8:
        high = result.wanted >> 8 & 0xFF  # AH, as it was at OUT
        cause = "out-8-of-ah" if result.found & 0xFF == high else "another-port-accessed"
        return cause, msg("RAX after OUT of 8 bits and IN of the same port")
    if result.check in CHECKS_AL and not (result.found ^ result.wanted) & 0xFF:
        return "in-8-wrong", msg("RAX after IN of 8 bits")  # AL itself is right
    return OTHER.get(result.check, ("guest-found-a-mistake", f"{result.check:#x}"))


def real_mode_wrong(number):
    """What the guest found wrong in real mode."""
    if number < 3:
        name = ("ESI", "EBP", "EDI")[number]
        return "register-changed-by-cpuid", msg("{name} after CPUID in real mode", name=name)
    return "cpuid-shows-svm", msg("CPUID shows SVM in real mode")


CHECK_CPUNUM, CHECK_CPUNUM_TWICE, CHECK_IN8 = 0x220, 0x221, 0x420
CHECKS_AL = (0x423, 0x425)
"""What the guest reads by IN of 8 bits when it has executed an OUT."""
MSRS = (
    "FS base", "GS base", "KernelGSBase", "STAR", "LSTAR", "CSTAR", "SFMASK", "SYSENTER_CS",
    "SYSENTER_ESP", "SYSENTER_EIP",
)  # fmt: skip
OTHER = {
    0x110: ("cpuid-upper-half", msg("RAX after CPUID")),
    0x111: ("cpuid-upper-half", msg("RBX after CPUID")),
    0x112: ("cpuid-upper-half", msg("RCX after CPUID")),
    0x113: ("cpuid-upper-half", msg("RDX after CPUID")),
    0x120: ("cpuid-shows-svm", msg("ECX of CPUID leaf 0x80000001")),
    0x121: ("cpuid-shows-svm-leaf", msg("all registers of CPUID leaf 0x8000000a, ored together")),
    0x122: ("cpuid-of-another-cpu", msg("the APIC id in CPUID leaf 1")),
    0x123: ("cpuid-without-subleaf", msg("CL after CPUID leaf 0xb, subleaf 1")),
    0x220: ("cpunum-wrong", msg("the answer to VMMCALL_CPUNUM")),
    0x221: ("cpunum-twice", msg("the answer to VMMCALL_CPUNUM, which another CPU got too,")),
    0x222: ("vmmcall-unknown-wrong", msg("the answer to an unknown VMMCALL")),
    0x420: ("in-8-wrong", msg("RAX after IN of 8 bits")),
    0x421: ("in-16-wrong", msg("RAX after IN of 16 bits")),
    0x422: ("in-32-wrong", msg("RAX after IN of 32 bits")),
    0x423: ("out-16-wrong", msg("AL after OUT of 16 bits and IN of 8 bits")),
    0x425: ("out-8-wrong", msg("AL, read behind the port of an OUT of 8 bits")),
    0x424: ("port-not-passed", msg("EAX after OUT and IN of port 0xcf8")),
    0x510: ("guest-segment-lost", msg("LDTR after two exits")),
    0x511: ("guest-segment-lost", msg("TR after two exits")),
    0x512: ("guest-cr2-lost", msg("CR2 after two exits")),
    0x600: ("hlt-did-not-wait", msg("interrupts taken before the instruction after HLT")),
}


@check(
    "lab7.exit.cpuid",
    FOUR,
    also=THERE,
    per="cpu",
    after=CROSSING,
)
def cpuid_is_answered(boot, cpu):
    """CPUID gives the guest what this CPU says, without SVM, and changes nothing else."""
    exits_are_this_cpus(boot, cpu, goes_on=False)  # else the next checks judge a mixture
    noted(boot, cpu, STAGE_CPUID, msg("the guest goes on after CPUID, on every CPU"))
    answered(boot, cpu, "do_cpuid")


@check("lab7.exit.vmmcall", FOUR, also=THERE, per="cpu", after="lab7.exit.cpuid")
def vmmcall_is_answered(boot, cpu):
    """VMMCALL answers in RAX, each CPU with its own number, and changes nothing else."""
    noted(boot, cpu, STAGE_VMMCALL, msg("the guest goes on after VMMCALL, on every CPU"))
    answered(boot, cpu, "do_vmmcall")


@check("lab7.exit.io", FOUR, also=THERE, per="cpu", after="lab7.exit.vmmcall")
def io_is_carried_out(boot, cpu):
    """IN and OUT of 8, 16 and 32 bits reach the port, and change nothing but what IN reads."""
    noted(boot, cpu, STAGE_IO, msg("the guest goes on after IN and OUT, on every CPU"))
    answered(boot, cpu, "do_ioio")


@check("lab7.guest.state", FOUR, also=THERE, per="cpu", after="lab7.exit.io")
def guest_keeps_its_state(boot, cpu):
    """The guest's MSRs, LDTR, TR, EFER and CR2 are as it left them, after any exit."""
    noted(boot, cpu, STAGE_STATE, msg("the guest finds its own state after each exit"))
    keeps(cpu, crossing_of(boot, cpu).efer_lost, cause="guest-efer-lost")


@check("lab7.guest.hlt", FOUR, also=THERE, after="lab7.guest.state")
def hlt_waits_for_an_interrupt(boot):
    """HLT waits until an interrupt has come, and the guest goes on after it."""
    noted(boot, boot.bsp, STAGE_HLT, msg("an interrupt from another CPU ends the guest's HLT"))


@check(
    "lab7.exit.string",
    STRING,
    after=["lab7.exit.io", "lab7.guest.hlt", *CROSSING, "lab7.run.entered", "lab7.run.gif"],
    strictly=["lab7.exit.io", "lab7.guest.hlt"],
)
def string_io_is_refused(boot):
    """The VMM panics when its guest executes OUTS, and names the port."""
    string_io(boot, msg("the VMM panics when its guest has executed OUTS"))


def string_io(boot, expected):
    """Fail unless the BSP panics for INS or OUTS, with the port in the text."""
    last = panicked(boot, boot.bsp, VMEXIT_IOIO, expected, string=True)
    is_named(boot, boot.bsp, "panic-without-the-port", port=last.info1 >> 16 & 0xFFFF)


def cpus_of_each(boots):
    """Every CPU of each boot."""
    for boot in boots:
        for cpu in boot.cpus:
            yield (
                msg("{cpu} of {count}", cpu=cpu.name, count=len(boot.cpus)),
                boot,
                cpu,
            )


@check(
    "lab7.guest.cpus",
    ONE,
    EIGHT,
    SEABIOS,
    per=cpus_of_each,
    after=[
        *BEFORE_THE_CROSSING,
        "lab7.loop.called",
        "lab7.run.entered",
        "lab7.run.saved",
        "lab7.run.host",
        *EXITS,
        "lab7.guest.state",
        "lab7.guest.hlt",
    ],
    strictly=True,
)
def guest_runs_on_every_cpu(boots, boot, cpu):
    """With 1 and 8 CPUs, and with 2 under SeaBIOS, the guest of every CPU comes to its end."""
    del boots
    runs_to_its_end(boot, cpu)


def runs_to_its_end(boot, cpu):
    """Fail unless a CPU ran a guest, on its own VMCB, to its end."""
    guest = guest_of(boot, cpu)
    if not guest.count:
        stopped(boot, cpu, msg("VMRUN on every CPU"))
    for other in boot.cpus[: cpu.index]:
        theirs = {run.vmcb for run in guest_of(boot, other).runs}
        if theirs & {run.vmcb for run in guest.runs}:
            fail(
                "vmcb-shared",
                cpu=cpu.index,
                place="svm_start_vm",
                expected=msg("a VMCB of its own"),
                observed=msg("{cpu} and {other} run the same one", cpu=cpu.name, other=other.name),
            )
    if not boot.at(DONE, cpu.index):
        stopped(boot, cpu, msg("the guest comes to its end"))
