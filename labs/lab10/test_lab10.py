"""Lab 10: under UEFI the APs are started when the guest wants them, and become the guest's."""

from functools import partial

from vmmlab import checks
from vmmlab.checks import fail, fail_if, listed, missing, msg
from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.observe.icr import icr_text
from vmmlab.observe.milestones import AP_ENTRY
from vmmlab.probes.scenario import scenario_of

from .mending import RESET
from .probes import DELAYED, DONE, FAILED, FRAME, HANDLE, STATE
from .stopped import EFER_SVME, guest_of, refused, seen, started_again, stopped

GUEST = "guest/efi_os.c"
BIOS_GUEST = "guest/smp.S"


def delayed(**setup):
    """Return a scenario of this lab's own probe, on a machine with UEFI that can run guests."""
    return scenario_of("delayed", {"firmware": "ovmf", "svm": True, "guest_image": GUEST, **setup})


FOUR = delayed(name="four", cpus=4)
# With other numbers in cohort.h, without optimisation, and with a BSP whose APIC id is not 0.
THERE = delayed(name="there", cpus=4, cohort="other", opt="-O0", other_id=True)
ONE = delayed(name="cpus-1", cpus=1, own=False)
EIGHT = delayed(name="cpus-8", cpus=8, own=False)
BIOS = scenario_of(
    "delayed",
    {"name": "bios", "cpus": 3, "firmware": "qboot", "svm": True, "guest_image": BIOS_GUEST,
     "marks": ((DONE, 0x8060), (FAILED, 0x8080))},
)  # fmt: skip

check = partial(checks.check, todo_of_any_cpu=True)

STAGE_STARTED, STAGE_EXIT, STAGE_MP, STAGE_ENDED, STAGE_ONE, STAGE_ALL = range(1, 7)
ROUNDS = 4
INIT, SIPI = "INIT", "SIPI"
KEPT = tuple(name for name in FRAME if name not in ("rflags", "rip"))
FOUR_GIB_LIMITS = (0xFFFFFFFF, 0xFFFFF)
"""The limit of a flat segment, also as a descriptor has it, in units of 4 KiB."""
TYPE_CODE, TYPE_DOWN, TYPE_WRITABLE = 1 << 3, 1 << 2, 1 << 1
S, DPL, PRESENT, LONG, BIG = 1 << 4, 3 << 5, 1 << 7, 1 << 9, 1 << 10
EVENT_VALID = 1 << 31


def shown(name, value):
    """The value of a register or field, for a reader."""
    return msg("{name} = {value}", name=name, value=f"{value:#x}")


# --- lab10.1: the APs stay with the firmware ------------------------------------------------------


def the_delay(boot):
    """The call of localapic_delayed_ap_start."""
    found = seen(boot).delay
    if found is None:
        fail_if(bsp_stopped(boot))
        missing(
            "delay-not-called",
            cpu=0,
            place=DELAYED,
            expected=msg("{function} is called", function=DELAYED),
            observed=msg("the BSP ended at {place}", place=boot.bsp.end_place.text),
        )
    return found


@check("lab10.delay.waits", FOUR, also=THERE)
def aps_are_left_alone(boot):
    """localapic_delayed_ap_start starts no AP, and no INIT or SIPI is sent before a guest runs."""
    delay = the_delay(boot)
    for start in seen(boot).starts[:1]:
        if start.inside == DELAYED or not start.runs:
            fail(
                "started-too-early",
                cpu=start.cpu,
                place=start.inside or DELAYED,
                expected=msg("start is called when the guest sends its first INIT or SIPI"),
                observed=msg("it was called before the guest ran"),
                goes_on=delay.returned,
            )
    early = [
        one
        for one in (guest_of(boot, boot.bsp).before_first if boot.guests else boot.icr)
        if one.kind in (INIT, SIPI)
    ]
    if early:
        fail(
            "ipi-too-early",
            cpu=0,
            place=DELAYED,
            expected=msg("no INIT and no SIPI before the BSP runs its guest"),
            observed=icr_text(early[:2]),
            goes_on=delay.returned,
        )
    if not delay.returned:
        fail_if(bsp_stopped(boot, DELAYED))


@check("lab10.delay.returns", FOUR, also=THERE, after="lab10.delay.waits")
def delay_returns(boot):
    """localapic_delayed_ap_start returns, and the BSP goes on alone."""
    if not the_delay(boot).returned:
        fail_if(bsp_stopped(boot))
        missing(
            "delay-did-not-return",
            cpu=0,
            place=DELAYED,
            expected=msg("{function} returns", function=DELAYED),
            observed=msg("the BSP ended at {place}", place=boot.bsp.end_place.text),
        )


# --- lab10.2: tables, segments, MSRs --------------------------------------------------------------


def the_state(boot):
    """What svm_state_uefi made of the virtual CPU; fail if it did not come so far."""
    found = seen(boot).state
    if found is None or not found.returned or found.vmcb is None:
        fail_if(bsp_stopped(boot, STATE))
    if found is None or found.vmcb is None:
        missing(
            "state-not-made",
            cpu=0,
            place=STATE,
            expected=msg("{function} is called", function=STATE),
            observed=msg("the BSP ended at {place}", place=boot.bsp.end_place.text),
        )
    return found


def compared(made, cause, pairs):
    """Fail for the first value that differs, and name the others.

    Args:
        made: what svm_state_uefi made.
        cause: of all of them.
        pairs: name, what was found and what was wanted of each.
    """
    wrong = [(name, found, wanted) for name, found, wanted in pairs if found != wanted]
    if not wrong:
        return
    name, found, wanted = wrong[0]
    others = [f"v->{one}" for one, _, _ in wrong[1:]]
    fail(
        cause,
        cpu=0,
        place=STATE,
        expected=shown(f"v->{name}", wanted),
        observed=msg(
            "{value}; also wrong: {others}", value=shown(f"v->{name}", found), others=listed(others)
        )
        if others
        else shown(f"v->{name}", found),
        goes_on=made.mended,
    )


@check("lab10.state.control", FOUR, also=THERE, after="lab10.delay.returns")
def control_registers_are_the_firmwares(boot):
    """CR0, CR3, CR4 and EFER are the firmware's, with SVME; the debug registers as after reset."""
    made = the_state(boot)
    vmcb, wanted = made.vmcb, made.state
    the_rest_stays(made)
    if not vmcb.efer & EFER_SVME:
        fail(
            "svme-missing",
            cpu=0,
            place=STATE,
            expected=msg("EFER.SVME is 1, or VMRUN refuses the VMCB"),
            observed=shown("v->vmcb->efer", vmcb.efer),
            goes_on=made.mended,
        )
    compared(
        made,
        "control-register-wrong",
        [
            *((f"vmcb->{one}", getattr(vmcb, one), wanted[one]) for one in ("cr0", "cr3", "cr4")),
            ("vmcb->efer", vmcb.efer, wanted["efer"] | EFER_SVME),
        ],
    )
    compared(
        made,
        "reset-value-wrong",
        [(f"vmcb->{one}", getattr(vmcb, one), value) for one, value in RESET.items()],
    )


@check("lab10.state.tables", FOUR, also=THERE, after="lab10.delay.returns")
def tables_are_the_firmwares(boot):
    """GDTR and IDTR are those of uefi_state."""
    made = the_state(boot)
    compared(
        made,
        "table-wrong",
        [
            (f"vmcb->{one}.{part}", getattr(getattr(made.vmcb, one), part), value)
            for one, values in made.tables.items()
            for part, value in zip(("base", "limit"), values, strict=True)
        ],
    )


@check("lab10.state.segments", FOUR, also=THERE, after="lab10.state.control")
def segments_are_the_firmwares(boot):
    """The segments have the firmware's selectors, and hidden parts of 64-bit mode and ring 0."""
    made = the_state(boot)
    vmcb, wanted = made.vmcb, made.state
    names = ("cs", "ss", "ds", "es", "fs", "gs")
    compared(
        made,
        "selector-wrong",
        [(f"vmcb->{one}.sel", getattr(vmcb, one).selector, wanted[one]) for one in names],
    )
    bases = {"fs": wanted["fs_base"], "gs": wanted["gs_base"]}
    compared(
        made,
        "base-wrong",
        [(f"vmcb->{one}.base", getattr(vmcb, one).base, bases.get(one, 0)) for one in names],
    )
    for one in names:
        segment = getattr(vmcb, one)
        rules = CODE_RULES if one == "cs" else DATA_RULES
        why = next((text for mask, value, text in rules if segment.attrib & mask != value), None)
        if why is None and segment.limit not in FOUR_GIB_LIMITS:
            fail(
                "limit-wrong",
                cpu=0,
                place=STATE,
                expected=shown(f"v->vmcb->{one}.limit", 0xFFFFFFFF),
                observed=shown(f"v->vmcb->{one}.limit", segment.limit),
                goes_on=made.mended,
            )
        if why is not None:
            fail(
                "attribute-wrong",
                cpu=0,
                place=STATE,
                expected=why,
                observed=shown(f"v->vmcb->{one}.attr", segment.attrib),
                goes_on=made.mended,
            )


COMMON_RULES = (
    (PRESENT, PRESENT, msg("the segment is present (bit 7)")),
    (S, S, msg("it is a segment of code or data (bit 4)")),
    (DPL, 0, msg("ring 0 (bits 5 and 6 are 0)")),
)
CODE_RULES = (
    *COMMON_RULES,
    (TYPE_CODE, TYPE_CODE, msg("CS is code (bit 3)")),
    (LONG | BIG, LONG, msg("CS is code of 64 bits (bit 9 is 1, bit 10 is 0)")),
)
DATA_RULES = (
    *COMMON_RULES,
    (TYPE_CODE | TYPE_DOWN | TYPE_WRITABLE, TYPE_WRITABLE, msg("writable data (bit 1)")),
)


@check("lab10.state.msrs", FOUR, also=THERE, after="lab10.delay.returns")
def msrs_are_the_firmwares(boot):
    """TR, LDTR, the MSRs that VMLOAD loads, and the PAT are those of this CPU."""
    made = the_state(boot)
    parts = ("selector", "base", "limit", "attrib")
    compared(
        made,
        "system-segment-wrong",
        [
            (f"vmcb->{one}.{part}", getattr(getattr(made.vmcb, one), part), getattr(segment, part))
            for one, segment in made.system.items()
            for part in parts
        ],
    )
    compared(
        made,
        "msr-wrong",
        [(f"vmcb->{one}", getattr(made.vmcb, one), value) for one, value in made.msrs.items()],
    )


def the_rest_stays(made):
    """Fail if v->vmcb leads to another VMCB, or if a field has changed that is not the state's."""
    if made.moved_to:
        fail(
            "vmcb-replaced",
            cpu=0,
            place=STATE,
            expected=msg("v->vmcb leads to the VMCB that svm_vminit has made"),
            observed=shown("v->vmcb", made.moved_to),
            goes_on=made.mended,
        )
    if made.changed_at is not None:
        fail(
            "rest-of-the-vmcb-changed",
            cpu=0,
            place=STATE,
            expected=msg("all other fields of the VMCB stay as they are"),
            observed=msg("byte {offset:#x} of the VMCB has changed", offset=made.changed_at),
            goes_on=made.mended,
        )


# --- lab10.3: as if uefi_entry had returned -------------------------------------------------------


def the_whole_state(boot):
    """The same, when svm_state_uefi has returned."""
    made = the_state(boot)
    if not made.returned:
        missing(
            "state-did-not-return",
            cpu=0,
            place=STATE,
            expected=msg("{function} returns", function=STATE),
            observed=msg("the BSP ended at {place}", place=boot.bsp.end_place.text),
        )
    return made


@check("lab10.return.registers", FOUR, also=THERE, after="lab10.delay.returns")
def registers_are_the_callers(boot):
    """RBX, RBP, RDI, RSI and R12 to R15 are those that uefi_entry has saved."""
    made = the_whole_state(boot)
    wrong = [one for one in KEPT if made.registers[one] != made.frame[one]]
    if not wrong:
        found_anywhere(made)
        return
    first = wrong[0]
    other = {value: name for name, value in made.frame.items()}.get(made.registers[first])
    fail(
        "registers-swapped" if other else "register-wrong",
        cpu=0,
        place=STATE,
        expected=shown(f"v->regs.{first}", made.frame[first]),
        observed=msg(
            "{value}, which is {other} of the frame",
            value=shown(f"v->regs.{first}", made.registers[first]),
            other=other,
        )
        if other
        else shown(f"v->regs.{first}", made.registers[first]),
        goes_on=made.mended,
    )


def found_anywhere(made):
    """Fail if the frame is not found where the VMM has no alias of physical memory."""
    high, beyond = made.high, made.beyond
    wrong = [one for one in KEPT if high and high.registers[one] != high.frame[one]]
    if not wrong:
        if beyond and all(beyond.registers[one] == beyond.frame[one] for one in KEPT):
            fail(
                "frame-address-cut",
                cpu=0,
                place=STATE,
                expected=msg("the frame is found at {address:#x}", address=beyond.address),
                observed=msg(
                    "the registers are those at {address:#x}", address=beyond.address & 0xFFFFFFFF
                ),
                goes_on=made.mended,
            )
        return
    fail(
        "frame-cut-at-a-page" if high.ends_with_its_page else "frame-by-its-alias",
        cpu=0,
        place=STATE,
        expected=msg(
            "the frame is found at any physical address: at {address:#x}, too",
            address=high.address,
        ),
        observed=shown(f"v->regs.{wrong[0]}", high.registers[wrong[0]])
        if high.returned
        else msg("exception, CR2 = {address:#x}", address=high.cr2),
        goes_on=made.mended,
    )


@check("lab10.return.place", FOUR, also=THERE, after="lab10.delay.returns")
def guest_is_where_the_caller_is(boot):
    """RIP, RSP and RFLAGS are as after the RET of uefi_entry, and RAX is EFI_SUCCESS."""
    made = the_whole_state(boot)
    vmcb = made.vmcb
    for cause, name, wanted in (
        ("rip-wrong", "rip", made.frame["rip"]),
        ("rsp-wrong", "rsp", made.state["rsp"] + 8 * len(FRAME)),
        ("rflags-wrong", "rflags", made.frame["rflags"]),
        ("status-not-success", "rax", 0),
    ):
        compared(made, cause, [(f"vmcb->{name}", getattr(vmcb, name), wanted)])
    beyond = made.beyond
    if beyond and beyond.returned:
        wanted = beyond.address + 8 * len(FRAME)
        compared(made, "rsp-cut", [("vmcb->rsp", beyond.rsp, wanted)])
    if vmcb.interrupt_shadow & 1 or vmcb.eventinj & EVENT_VALID:
        what = "interrupt_shadow" if vmcb.interrupt_shadow & 1 else "eventinj"
        fail(
            "event-left",
            cpu=0,
            place=STATE,
            expected=msg("no interrupt shadow, and no event to inject"),
            observed=shown(f"v->vmcb->{what}", getattr(vmcb, what)),
            goes_on=made.mended,
        )


def comes_to(boot, stage, expected):
    """Fail unless the guest came to a stage."""
    result = seen(boot).result
    if result is None or result.stage < stage:
        stopped(boot, expected)


@check(
    "lab10.guest.begins",
    FOUR,
    also=THERE,
    after=("lab10.state.segments", "lab10.return.registers", "lab10.return.place"),
)
def firmware_goes_on_as_a_guest(boot):
    """The EFI loader goes on as a guest, starts the operating system, and that keeps its state."""
    refused(boot, boot.bsp)
    if not guest_of(boot, boot.bsp).count:
        stopped(boot, msg("the BSP runs its guest"))
    comes_to(boot, STAGE_EXIT, msg("the guest starts, and its state survives an exit"))


# --- lab10.4: the start ---------------------------------------------------------------------------


def the_start(boot):
    """The first call of the function that was remembered."""
    found = seen(boot)
    if found.starts:
        return found.starts[0]
    expected = msg("the guest sends INIT or SIPI, and start is called")
    if not found.handled:
        stopped(boot, expected)
    fail_if(bsp_stopped(boot, HANDLE), expected=expected)
    if found.delay and found.delay.remembers is False:
        fail(
            "not-remembered",
            cpu=0,
            place=DELAYED,
            expected=msg("{function} remembers start in a variable", function=DELAYED),
            observed=msg("it returned, and no variable of the VMM has changed"),
            step="lab10.1",
        )
    count = len(found.handled)
    if found.bsp_id:
        fail(
            "not-started-with-this-id",
            cpu=0,
            place=HANDLE,
            expected=expected,
            observed=msg(
                "{function} was called {count} times, and start never; "
                "the BSP's APIC id is {id:#x}",
                function=HANDLE,
                count=count,
                id=found.bsp_id,
            ),
        )
    fail(
        "not-started",
        cpu=0,
        place=HANDLE,
        expected=expected,
        observed=msg(
            "{function} was called {count} times, and start never", function=HANDLE, count=count
        ),
    )


@check("lab10.start.first", FOUR, also=THERE, after="lab10.guest.begins")
def started_at_the_first(boot):
    """At the guest's first INIT or SIPI the BSP calls the function that it has remembered."""
    start = the_start(boot)
    first = seen(boot).handled[:1]
    late = [order for order in seen(boot).handled if order < start.order]
    if not start.runs or not first or start.order < first[0]:
        fail(
            "started-too-early",
            cpu=start.cpu,
            place=start.inside or HANDLE,
            expected=msg("start is called when the guest sends its first INIT or SIPI"),
            observed=msg("it was called before"),
        )
    if len(late) > 1:
        fail(
            "started-too-late",
            cpu=start.cpu,
            place=HANDLE,
            expected=msg("start is called in the first call of {function}", function=HANDLE),
            observed=msg("in call {number}", number=len(late)),
        )


def where_it_is(ap):
    """Where an AP is that did not come to ap_entry, in words."""
    place = ap.end_place
    if not ap.milestones and not place.owner and place.region != "trampoline":
        return msg("it is still in the firmware, at {place}", place=place.text)
    return msg("it is at {place}", place=place.text)


@check("lab10.start.aps", FOUR, also=THERE, after="lab10.start.first")
def aps_come_through_the_trampoline(boot):
    """Then every AP comes through the trampoline and counts itself, and physical 0 is put back."""
    start, delay = the_start(boot), the_delay(boot)
    if start.apinit_addr != delay.apinit_addr:
        fail(
            "trampoline-elsewhere",
            cpu=start.cpu,
            place=HANDLE,
            expected=msg(
                "{name}, which is memory from the firmware",
                name=shown("apinit_addr", delay.apinit_addr),
            ),
            observed=shown("apinit_addr", start.apinit_addr),
        )
    for ap in boot.aps:
        if not ap.reached(AP_ENTRY):
            fail_if(bsp_stopped(boot))
            missing(
                "ap-did-not-arrive",
                cpu=ap.index,
                place=ap.end_place.text,
                expected=msg("{cpu} comes to ap_entry", cpu=ap.name),
                observed=where_it_is(ap),
            )
    if start.returned is None:
        fail_if(bsp_stopped(boot))
        missing(
            "start-did-not-return",
            cpu=start.cpu,
            place=HANDLE,
            expected=msg("start returns"),
            observed=msg("it did not return"),
        )
    if start.processors != len(boot.aps):
        fail(
            "wrong-number-of-aps",
            cpu=start.cpu,
            place=HANDLE,
            expected=shown("num_of_processors", len(boot.aps)),
            observed=shown("num_of_processors", start.processors),
        )
    if start.after != start.before:
        fail(
            "physical-0-changed",
            cpu=start.cpu,
            place=HANDLE,
            expected=msg("the bytes at physical 0 are as before"),
            observed=start.after[:8].hex(" "),
        )


@check("lab10.bios.nothing", BIOS)
def nothing_with_a_bios(boot):
    """With a BIOS the APs are started already: handle_ap_start does nothing, and returns."""
    handled = seen(boot).handled
    expected = msg("{function} returns, and the guest goes on", function=HANDLE)
    fail_if(bsp_stopped(boot, HANDLE), expected=expected)
    if seen(boot).groups:
        fail(
            "group-without-a-start",
            cpu=seen(boot).groups[0][0],
            place=HANDLE,
            expected=msg("nothing was remembered, so nothing is called"),
            observed=msg('call_initfunc ("dbsp")'),
        )
    if not handled or not boot.at(DONE, 0):
        stopped(boot, expected)


# --- lab10.5: the guest's APs ---------------------------------------------------------------------


@check("lab10.group.called", FOUR, also=THERE, after="lab10.start.aps")
def group_is_called(boot):
    """When all APs are started, the BSP calls the init functions of group "dbsp", once."""
    start, groups = the_start(boot), seen(boot).groups
    expected = msg('call_initfunc ("dbsp"), once, by CPU {cpu}', cpu=start.cpu)
    if not groups:
        started_again(boot)
        taken = boot.bsp.exception
        if taken is None or taken.place.lab_function == HANDLE:
            fail_if(bsp_stopped(boot, HANDLE), expected=expected)
        if seen(boot).bsp_id and start.returned is not None:
            fail(
                "group-not-called-with-this-id",
                cpu=start.cpu,
                place=HANDLE,
                expected=expected,
                observed=msg(
                    "it was not called; the BSP's APIC id is {id:#x}", id=seen(boot).bsp_id
                ),
            )
        fail(  # what comes after that is lost without it
            "group-not-called",
            cpu=start.cpu,
            place=HANDLE,
            expected=expected,
            observed=msg("it was not called"),
        )
    cpu, order = groups[0]
    if start.returned is None or order < start.returned:
        fail(
            "group-too-early",
            cpu=cpu,
            place=HANDLE,
            expected=msg("start has returned, so that all APs are counted"),
            observed=msg("the group was called before"),
        )
    if len(groups) > 1 and len(seen(boot).starts) == 1:
        fail(
            "group-again",
            cpu=groups[1][0],
            place=HANDLE,
            expected=expected,
            observed=msg("{count} times", count=len(groups)),
        )


@check("lab10.start.once", FOUR, also=THERE, after="lab10.group.called")
def started_only_once(boot):
    """The guest sends INIT and SIPI many times; the APs are started once, and by nobody else."""
    found = seen(boot)
    started_again(boot)
    sent = sending_runs(boot)
    if len(sent) > 1:
        cpu, writes = sent[1]
        fail(
            "ipi-passed-on",
            cpu=cpu,
            place=HANDLE,
            expected=msg("INIT and SIPI come from start alone"),
            observed=icr_text(writes[:2]),
        )
    if len(found.handled) < 2:
        stopped(boot, msg("the guest sends INIT and SIPI, several times"))


def sending_runs(boot):
    """The places between two VMRUNs at which a CPU sent INIT or SIPI: CPU and writes of each."""
    found = []
    for cpu in boot.cpus:
        guest = guest_of(boot, cpu)
        for writes in (*(run.before for run in guest.runs), guest.after):
            sent = [one for one in writes if one.kind in (INIT, SIPI)]
            if sent:
                found.append((cpu.index, sent))
    return found


@check("lab10.group.aps", FOUR, also=THERE, per="ap", after="lab10.group.called")
def aps_run_guests(boot, ap):
    """Every AP becomes a CPU of the guest: it runs one, on a VMCB of its own."""
    runs = guest_of(boot, ap).runs
    if not runs:
        stopped(boot, msg("VMRUN on {cpu}", cpu=ap.name), ap)
    for other in boot.cpus[: ap.index]:
        if {one.vmcb for one in runs} & {one.vmcb for one in guest_of(boot, other).runs}:
            fail(
                "vmcb-shared",
                cpu=ap.index,
                place="VMRUN",
                expected=msg("a VMCB of its own"),
                observed=msg("{cpu} and {other} run the same one", cpu=ap.name, other=other.name),
            )


@check("lab10.guest.firmware", FOUR, also=THERE, after="lab10.group.aps")
def firmware_uses_its_aps(boot):
    """The firmware uses the APs: StartupAllAPs succeeds four times, ExitBootServices once."""
    comes_to(boot, STAGE_ENDED, msg("StartupAllAPs and ExitBootServices succeed"))
    result = seen(boot).result
    if result.rounds != ROUNDS:
        stopped(boot, msg("StartupAllAPs succeeds {count} times", count=ROUNDS))


@check("lab10.guest.wakes", FOUR, also=THERE, after="lab10.guest.firmware")
def guest_starts_its_aps(boot):
    """The operating system starts one AP by its APIC id, then all."""
    comes_to(boot, STAGE_ALL, msg("first one AP starts, then all"))
    comes_to_its_end(boot)


def comes_to_its_end(boot):
    """Fail unless the guest came to its end."""
    if not boot.at(DONE, 0):
        stopped(boot, msg("the guest comes to its end"))


def each_number(boots):
    """Each boot, with its number of CPUs."""
    for boot in boots:
        yield msg("{count} CPUs", count=len(boot.cpus)), boot


@check(
    "lab10.guest.cpus",
    ONE,
    EIGHT,
    per=each_number,
    after=[
        "lab10.state.control",
        "lab10.state.tables",
        "lab10.state.segments",
        "lab10.state.msrs",
        "lab10.return.registers",
        "lab10.return.place",
        "lab10.guest.wakes",
    ],
    strictly=True,  # in these boots nothing is put right
)
def with_other_numbers(boots, boot):
    """With 1 and with 8 CPUs, too, the guest comes to its end, with all of them."""
    del boots
    started_again(boot)  # the first time it may not have changed what tells that it was called
    comes_to_its_end(boot)
    for ap in boot.aps:
        if not guest_of(boot, ap).runs:
            stopped(boot, msg("VMRUN on {cpu}", cpu=ap.name), ap)
    if seen(boot).handled:
        group_is_called(boot)  # also if there is no AP that could be started
