"""Lab 3: the BSP wakes the APs, and each climbs from real mode to long mode."""

from vmmlab.checks import NoCases, check, fail, fail_if, scenario
from vmmlab.diagnosis.aps import not_reached, why_not, why_not_all_parked
from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.diagnosis.trampoline import last_step
from vmmlab.observe.milestones import AP_ENTRY, LONG_MODE, PROTECTED_MODE, REAL_MODE
from vmmlab.x86.decode import decode, far_jump
from vmmlab.x86.encode import far_jump_code
from vmmlab.x86.registers import (
    CR0_CD,
    CR0_NW,
    CR0_PG,
    CR4_PAE,
    DESC_BIG,
    EFER_LME,
    ICR_ASSERT,
)

LADDER = scenario("ladder", probe="ladder", cpus=4)
SEABIOS = scenario("seabios", probe="end", cpus=3, firmware="seabios")
DELAY = scenario("delay", probe="delay", cpus=2)
LATE = scenario("late", probe="late-ap", cpus=4, cpu=2)
ONE, TWO, EIGHT, SIXTEEN = (scenario(f"cpus-{n}", probe="end", cpus=n) for n in (1, 2, 8, 16))

FLAT = (0, 0xFFFFFFFF)  # base and limit of a segment that is all of memory
DATA_SEGMENT = 0x9200  # second half of a descriptor (SDM vol. 3, 3.4.5): present, data, writable
DATA_MASK = 0x9A00


def blame(boot, cause, sure=False, **what):
    """Report what stopped the BSP, if anything did; else the cause that the check found.

    With `sure` the check has seen the cause itself: what stopped the BSP later comes of it.
    """
    if not sure:
        fail_if(bsp_stopped(boot, by="ap_start"), expected=what["expected"])
    fail(cause, **what)


def judged(boot):
    """The APs that had their chance: when one has reset the machine, the others had none."""
    tried = [ap for ap in boot.aps if ap.milestones]
    return tried if boot.how_ended == "shutdown" and tried else boot.aps


def right_jump(boot):
    """The address of the trampoline, and the far jump to it as the handout writes it."""
    address, offset = boot.apinit_addr, boot.apinit_offset
    return address, far_jump_code((address - offset) >> 4, offset).hex(" ")


@check("lab3.ljmpw.present", LADDER)
def test_ljmpw_is_at_physical_0(boot):
    """When the APs are called, physical address 0 holds a far jump."""
    code = boot.physical_0.during or b""
    if far_jump(code) is None:
        _, right = right_jump(boot)
        untouched = code[:5] == boot.physical_0.before[:5]
        found = decode(code, 0, 16)
        blame(
            boot,
            "far-jump-missing",
            cpu=0,
            place="ap_start, physical address 0",
            expected=f"ljmpw, opcode EA: five bytes such as {right}",
            observed="the bytes that were there before"
            if untouched
            else f"{code[:5].hex(' ')}, which is {found.text if found else 'no instruction'}",
            next="Is the memory that you write to really physical address 0? mapmem_hphys gives "
            "you a pointer to it.",
        )


@check("lab3.ljmpw.target", LADDER, needs=["lab3.ljmpw.present"])
def test_ljmpw_leads_to_the_trampoline(boot):
    """The far jump at physical 0 leads to the first byte of the trampoline's copy."""
    segment, offset = far_jump(boot.physical_0.during)
    address, right = right_jump(boot)
    target = segment * 16 + offset
    if target != address:
        cause = "far-jump-wrong-target"
        look = "The segment is an address divided by 16: (apinit_addr - APINIT_OFFSET) >> 4."
        not_shifted = (address - boot.apinit_offset) & 0xFFFF
        if offset * 16 + segment == address and segment != not_shifted:
            cause = "far-jump-segment-and-offset-swapped"
            look = "In the instruction the offset comes first, then the segment."
        fail(
            cause,
            cpu=0,
            place="ap_start, physical address 0",
            expected=f"a far jump to {address:#x}, for example {right}",
            observed=f"a far jump to {segment:#06x}:{offset:#06x}, which is {target:#x}",
            next=look,
        )


@check("lab3.trampoline.copied", LADDER, needs=["lab3.ljmpw.target"])
def test_the_trampoline_is_copied(boot):
    """The bytes from cpuinit_start to cpuinit_end are at apinit_addr."""
    image, copy = boot.trampoline.image, boot.trampoline.copy or b""
    address, _ = right_jump(boot)
    same = sum(a == b for a, b in zip(image, copy))
    tail = 0
    while tail < len(image) and copy[-1 - tail :][:1] == b"\xcc" != image[-1 - tail :][:1]:
        tail += 1
    if same * 10 < len(image) * 6 or tail > 16:
        blame(
            boot,
            "trampoline-not-copied" if same * 10 < len(image) * 3 else "trampoline-copied-in-part",
            cpu=0,
            place=f"ap_start, physical {address:#x}",
            expected=f"{len(image)} bytes, beginning {image[:8].hex(' ')}",
            observed=f"{same} of them; it begins {copy[:8].hex(' ')}",
            next="How many bytes lie between cpuinit_start and cpuinit_end? Both are labels: take "
            "their addresses.",
        )


@check("lab3.trampoline.pointers", LADDER, needs=["lab3.trampoline.copied"])
def test_pointers_lead_into_the_copy(boot, score):
    """apinitprocs and apinitlock point to the two labels in the copy of the trampoline."""
    pointers = (
        ("apinitprocs", "apinit_procs", boot.bringup.apinitprocs, boot.trampoline.procs_at),
        ("apinitlock", "apinit_lock", boot.bringup.apinitlock, boot.trampoline.lock_at),
    )
    for pointer, label, value, right in pointers:
        with score.case(pointer):
            found = value.physical if value else None
            if found != right:
                virtual = value.virtual if value else 0
                observed = f"it points to physical {found:#x}" if found else "it was never set"
                if virtual and not found:
                    observed = f"it holds {virtual:#x}, where nothing is mapped"
                blame(
                    boot,
                    "pointer-not-into-the-copy",
                    sure=virtual != 0,
                    cpu=0,
                    place="ap_start",
                    expected=f"{pointer} points to {label} in the copy, physical {right:#x}",
                    observed=observed,
                    next="The label's distance from cpuinit_start is the same in the copy.",
                )


@check("lab3.ipi.init", LADDER, needs=["lab3.trampoline.pointers"])
def test_init_reaches_every_ap(boot, score):
    """An INIT is sent to every AP and not to the BSP."""
    if any(w.reaches(0, w.cpu or 0) for w in boot.sent("INIT")):
        fail(
            "init-to-self",
            cpu=0,
            place="apic_send_init, interrupt command register",
            expected="INIT to all APs, not to the BSP",
            observed="; ".join(str(w) for w in boot.sent("INIT")),
            next="The shorthand in bits 19..18 decides whether the sender is included.",
        )
    for write in boot.sent("INIT"):
        if not write.low & ICR_ASSERT:
            fail(
                "init-without-assert",
                cpu=write.cpu,
                place="apic_send_init, interrupt command register",
                expected="an INIT with level assert: bit 14 is set",
                observed=str(write),
                next="ICR_ASSERT. Only the INIT that takes another one back may have 0 there (SDM "
                "vol. 3, 10.6.1); QEMU does not look at it.",
            )
    for ap in boot.aps:
        with score.case(ap.name):
            if not any(w.reaches(ap.index, w.cpu or 0) for w in boot.sent("INIT")):
                seen = "; ".join(str(w) for w in boot.icr) or "no write to the ICR"
                blame(
                    boot,
                    "ap-got-no-init",
                    cpu=ap.index,
                    place="apic_send_init, interrupt command register",
                    expected=f"an INIT that reaches {ap.name}",
                    observed=seen,
                    next="ap_start_addr calls apic_send_init. Delivery mode INIT is 101 in bits "
                    "10..8 (SDM vol. 3, 10.6.1).",
                )


@check("lab3.ipi.delay", LADDER, DELAY, needs=["lab3.ipi.init"])
def test_the_delay_between_init_and_sipi(boots):
    """Between INIT and the first SIPI at least ap_delays.init_us microseconds pass."""
    ladder, boot = boots
    init, sipi = ladder.sent("INIT"), ladder.sent("SIPI")
    listed = "; ".join(str(w) for w in ladder.icr) or "no write to the ICR"
    if not sipi:
        blame(
            ladder,
            "ap-got-no-sipi",
            cpu=0,
            place="apic_send_startup_ipi, interrupt command register",
            expected="INIT, a delay, then SIPI",
            observed=listed,
            next="ap_start_addr sends both, and asks ap_start_loopcond before each SIPI.",
        )
    if sipi[0].time_s < init[0].time_s:
        fail(
            "sipi-before-init",
            cpu=0,
            place="ap_start_addr",
            expected="INIT, a delay, then SIPI",
            observed=listed,
            next="An AP takes a SIPI only after an INIT.",
        )
    asked, slept = 4_000_000_000, boot.delay.slept_us if boot.delay else 0
    called = boot.delay.sipi if boot.delay else boot.sent("SIPI")
    if called and slept < asked:
        fail(
            "no-delay-after-init",
            cpu=0,
            place="ap_start_addr",
            expected=f"{asked} microseconds (ap_delays.init_us in this boot) between INIT and SIPI",
            observed=f"{slept} microseconds of usleep between them" if slept else "no delay at all",
            next="Real processors need time to come out of INIT; the delay is usleep "
            "(ap_delays.init_us).",
        )


@check("lab3.ipi.sipi", LADDER, LATE, needs=["lab3.ipi.init"])
def test_sipi_reaches_every_ap(boots, score):
    """One to three SIPIs with vector 0 reach every AP, after INIT, and not the BSP."""
    boot, late = boots
    judge_sipis(boot, boot.aps, score)
    # Nobody hears of this one before ap_start_loopcond has counted to the end.
    judge_sipis(late, [late.cpus[2]], score, name="{}, late")


def judge_sipis(boot, aps, score, name="{}"):
    """Each of the APs is a case."""
    sipis = boot.sent("SIPI")
    listed = "; ".join(str(w) for w in boot.icr) or "no write to the ICR"
    if any(w.reaches(0, w.cpu or 0) for w in sipis):
        fail(
            "sipi-to-self",
            cpu=0,
            place="apic_send_startup_ipi, interrupt command register",
            expected="SIPIs to the APs only",
            observed=listed,
            next="The shorthand in bits 19..18 decides whether the sender is included.",
        )
    for ap in aps:
        with score.case(name.format(ap.name)):
            mine = [w for w in sipis if w.reaches(ap.index, w.cpu or 0)]
            wrong = [w for w in mine if w.vector]
            inits = [w for w in boot.sent("INIT") if w.reaches(ap.index, w.cpu or 0)]
            if wrong:
                fail(
                    "sipi-wrong-vector",
                    cpu=ap.index,
                    place="apic_send_startup_ipi, interrupt command register",
                    expected="SIPI with vector 0: start at physical 0 * 4096",
                    observed=listed,
                    next="The vector is the number of the page where the AP starts.",
                )
            if not mine:
                blame(
                    boot,
                    "ap-got-no-sipi",
                    cpu=ap.index,
                    place="apic_send_startup_ipi, interrupt command register",
                    expected=f"a SIPI that reaches {ap.name}",
                    observed=listed,
                    next="ap_start_addr asks ap_start_loopcond, then calls apic_send_startup_ipi. "
                    "Delivery mode start-up is 110 in bits 10..8.",
                )
            if not inits or mine[0].time_s < inits[0].time_s:
                fail(
                    "sipi-before-init",
                    cpu=ap.index,
                    place="ap_start_addr",
                    expected="INIT first",
                    observed=listed,
                    next="An AP takes a SIPI only after an INIT.",
                )
            if len(mine) > 3:
                fail(
                    "too-many-sipis",
                    cpu=ap.index,
                    place="ap_start_loopcond",
                    expected="at most three SIPIs",
                    observed=f"{len(mine)} of them",
                    next="ap_start_loopcond says when to stop. It counts in the int that ap_start "
                    "owns: ap_start_addr hands on the pointer to it, each time the same.",
                )


@check("lab3.ladder.real", LADDER, needs=["lab3.ipi.sipi"])
def test_every_ap_is_in_the_trampoline(boot, score):
    """Every AP executes the far jump and then the trampoline, in real mode."""
    for ap in judged(boot):
        with score.case(ap.name):
            fail_if(not_reached(boot, ap, REAL_MODE))


def followed(ap):
    """Fail if an AP came to ap_entry by a way that could not be followed to its end."""
    if not ap.followed and ap.reached(AP_ENTRY):
        fail(
            "trampoline-not-followed",
            cpu=ap.index,
            place=f"trampoline, `{ap.steps[-1].text}`",
            expected="ap_entry after at most 2000 instructions, whatever other CPUs do",
            observed=f"{ap.name} alone was not there after {len(ap.steps)} instructions; with the "
            "others it came there unseen",
            next="Does the trampoline wait for somebody, or is there a long loop in it? A few "
            "dozen instructions do it all.",
        )


def way(ap):
    """The registers of an AP before each instruction from physical 0 to ap_entry, that included."""
    last = [ap.at(AP_ENTRY)] if ap.reached(AP_ENTRY) else []
    return [*(step.state for step in ap.steps), *last]


@check("lab3.ladder.protected", LADDER, needs=["lab3.ladder.real"])
def test_every_ap_gets_to_protected_mode(boot, score):
    """Every AP sets CR0.PE and goes on in 32-bit code."""
    for ap in judged(boot):
        with score.case(ap.name):
            fail_if(not_reached(boot, ap, PROTECTED_MODE))
            in_32_bit_code = any(state.bits == 32 for state in way(ap))
            lost = ap.left_code
            if lost is not None and not in_32_bit_code:
                last = last_step(ap)
                linked = boot.in_image(lost)
                fail(
                    "ap-jumped-astray",
                    cpu=ap.index,
                    place=f"{ap.end_place}, `{last.text}`",
                    expected="32-bit code in the copy of the trampoline, or in the VMM's image",
                    observed=f"{ap.name} came to {lost:#x} in protected mode, where no code is",
                    next="The label is linked at that address, but paging is off: the code is at "
                    "its physical address, label - VMM_BASE, or in the copy."
                    if linked
                    else "Segments begin at 0 now: the jump needs the linear address, that of the "
                    "copy plus the label's distance from cpuinit_start.",
                )
            if not in_32_bit_code:
                followed(ap)
            if ap.followed and not in_32_bit_code:
                fail_if(
                    why_not(boot, ap, LONG_MODE),
                    expected=f"{ap.name} makes a far jump to 32-bit code after CR0.PE is set",
                )


def counting_steps(ap):
    """The stepped instructions of an AP that changed apinit_procs, and by how much."""
    return [(step, step.counted) for step in ap.steps if step.counted]


@check("lab3.count.once", LADDER, needs=["lab3.ladder.protected"])
def test_every_ap_counts_itself_in_once(boot, score):
    """Every AP raises apinit_procs by exactly one before it leaves the trampoline."""
    for ap in judged(boot):
        with score.case(ap.name):
            steps = counting_steps(ap)
            total = sum(by for _, by in steps)
            if total != 1:
                followed(ap)
                stopped = stopped_at_todo(boot, [ap])
                fail(
                    "ap-not-counted" if total == 0 else "ap-counted-wrongly",
                    cpu=ap.index,
                    place=steps[0][0].text if steps else "trampoline",
                    expected=f"{ap.name} adds 1 to apinit_procs in the copy",
                    observed=f"it added {total}"
                    + (f"; it stopped at {stopped.place}" if stopped else ""),
                    next="apinit_procs is CS-relative data in real mode: segment CS, offset "
                    "APINIT_OFFSET + (apinit_procs - cpuinit_start).",
                )


@check("lab3.count.locked", LADDER, needs=["lab3.count.once"])
def test_the_count_is_atomic(boot):
    """apinit_procs is raised by a locked instruction: several APs run here at once."""
    trials = list(boot.while_at("counting"))
    if trials and not any(trial.verdict == "reached" for trial in trials):
        return  # something else keeps the others out: a second AP could not come to the same store
    for ap in judged(boot):
        for step, _ in counting_steps(ap):
            decoded = decode(step.code, step.state.pc, step.state.bits)
            if decoded and not decoded.locked:
                fail(
                    "count-without-lock",
                    cpu=ap.index,
                    place=f"trampoline, `{step.text}`",
                    expected="an instruction with the lock prefix",
                    observed=f"`{step.text}`",
                    next="Two CPUs can read the same old value between load and store: prefix "
                    "the instruction with lock.",
                )


@check("lab3.ladder.long", LADDER, needs=["lab3.ladder.protected"])
def test_every_ap_gets_to_long_mode(boot, score):
    """Every AP turns paging on in long mode."""
    for ap in judged(boot):
        with score.case(ap.name):
            fail_if(not_reached(boot, ap, LONG_MODE))


@check("lab3.ladder.ap_entry", LADDER, needs=["lab3.ladder.long"])
def test_every_ap_arrives_at_ap_entry(boot, score):
    """Every AP jumps to ap_entry, on the page tables that the VMM made for it."""
    for ap in judged(boot):
        with score.case(ap.name):
            fail_if(not_reached(boot, ap, AP_ENTRY))
            if ap.entry_segments and not ap.entry_segments.cs_is_64_bit:
                fail(
                    "ap-not-in-64-bit-code",
                    cpu=ap.index,
                    place="trampoline, at its jump to ap_entry",
                    expected="CS is a 64-bit code segment: its descriptor has the L bit",
                    observed=f"CS = {ap.at(AP_ENTRY).cs:#x} is none: 64-bit instructions "
                    "are read as 32-bit ones",
                    next="Long mode is active after CR0.PG, but the code stays 32-bit code until a "
                    "far jump loads CS with a segment that has the L bit.",
                )
            cr3 = ap.at(AP_ENTRY).cr3 & ~0xFFF
            if cr3 != boot.phys("ap_pagetable"):
                fail(
                    "ap-wrong-page-tables",
                    cpu=ap.index,
                    place="trampoline, at its jump to ap_entry",
                    expected=f"CR3 = {boot.phys('ap_pagetable'):#x}, ap_pagetable",
                    observed=f"CR3 = {cr3:#x}",
                    next="CR3 holds a physical address.",
                )
            cr0 = ap.at(AP_ENTRY).cr0
            if cr0 & (CR0_CD | CR0_NW):
                fail(
                    "caches-off",
                    cpu=ap.index,
                    place="trampoline, at its jump to ap_entry",
                    expected="CR0.CD and CR0.NW are clear",
                    observed=f"CR0 = {cr0:#x}",
                    next="INIT sets both (SDM vol. 3, table 9-1). Write all of CR0, not only what "
                    "you add to it.",
                )
            data_segments(boot, ap)


def data_segments(boot, ap):
    """Fail if SS, DS or ES of an AP holds no flat data segment at ap_entry, where that was seen."""
    for name in ("SS", "DS", "ES") if ap.entry_segments else ():
        found = ap.entry_segments.named(name)
        if (found.base, found.limit) != FLAT or found.flags & DATA_MASK != DATA_SEGMENT:
            fail(
                "segment-not-flat",
                cpu=ap.index,
                place="trampoline, at its jump to ap_entry",
                expected=f"{name} holds a writable data segment with base 0 and limit 0xffffffff",
                observed=f"{name}: base {found.base:#x}, limit {found.limit:#x}, "
                f"flags {found.flags:#x}",
                next="A segment register keeps what it held in real mode until it is loaded again.",
            )


@check("lab3.trampoline.stackless", LADDER, needs=["lab3.ladder.ap_entry"])
def test_the_trampoline_uses_no_stack(boot, score):
    """No AP pushes or pops before ap_entry, or writes outside of the trampoline's copy."""
    for ap in judged(boot):
        with score.case(ap.name):
            followed(ap)
            for step in ap.steps:
                decoded = decode(step.code, step.state.pc, step.state.bits)
                if decoded and decoded.uses_stack:
                    fail(
                        "trampoline-uses-stack",
                        cpu=ap.index,
                        place=f"trampoline, `{step.text}`",
                        expected="no push, pop, call or ret",
                        observed=f"`{step.text}` with SP = {step.state.rsp:#x}",
                        next="All APs run here at the same time with the same SP.",
                    )
            overrun = ap.overrun
            if overrun is not None:
                start = boot.apinit_addr
                fail(
                    "trampoline-overrun",
                    cpu=ap.index,
                    place=f"physical {overrun:#x}",
                    expected="nothing outside of the copy, "
                    f"{start:#x} to {start + len(boot.trampoline.image) - 1:#x}, "
                    "is written",
                    observed=f"{ap.name} wrote to {overrun:#x}",
                    next="What the trampoline needs to remember belongs between cpuinit_start and "
                    "cpuinit_end.",
                )


@check("lab3.restore.bytes", LADDER, needs=["lab3.ladder.ap_entry", "lab3.count.once"])
def test_physical_0_is_restored(boot):
    """When ap_start is over, physical address 0 holds what it held before."""
    before, after = boot.physical_0.before, boot.physical_0.after
    if boot.first("bsp_proc") is None:
        blame(
            boot,
            "bsp-waits-for-ever",
            cpu=0,
            place=str(boot.bsp.end_place),
            expected="ap_start comes back, and the BSP goes on to bsp_proc",
            observed=f"the BSP is still at {boot.bsp.end_place}",
            next="For what does it wait there?",
        )
    if before != after:
        fail(
            "physical-0-not-restored",
            cpu=0,
            place="ap_start, physical address 0",
            expected=before[:8].hex(" "),
            observed=after[:8].hex(" "),
            next="These five bytes are an interrupt vector that BIOS calls and the guest will "
            "need. Put them back through the same mapping.",
        )


@check("lab3.restore.late", LATE, needs=["lab3.restore.bytes"])
def test_physical_0_stays_until_the_last_ap(boot):
    """The far jump stays in place until the last AP has come, however late that is."""
    code = boot.physical_0.not_entered or b""
    address, _ = right_jump(boot)
    jump = far_jump(code)
    if jump is None or jump[0] * 16 + jump[1] != address:
        blame(
            boot,
            "physical-0-restored-too-early",
            cpu=2,
            place="ap_start, physical address 0",
            expected="the far jump, as long as CPU 2 has not come",
            observed=f"{code[:5].hex(' ')}",
            next="Restore after ap_wait, not before.",
        )


@check("lab3.restore.started", LADDER, needs=["lab3.restore.bytes"])
def test_ap_started_is_set(boot):
    """ap_start leaves nothing mapped; ap_started is true once it is over, and not before."""
    left = boot.bringup.left_mapped
    if left is not None:
        fail(
            "memory-left-mapped",
            cpu=0,
            place="ap_start",
            expected="what ap_start maps is not mapped any more when it is over",
            observed=f"the page of physical {left.physical:#x} still is, at {left.virtual:#x}",
            next="Every mapmem_hphys needs its unmapmem, with the address that it gave and with "
            "the same length: the length says how many pages go.",
        )
    early = boot.bringup.started_at_ap_wait != 0
    if boot.bringup.started_at_bsp_proc != 1 or early:
        fail(
            "ap-started-wrong",
            cpu=0,
            place="ap_start",
            expected="ap_started = true after ap_wait, when all is put back",
            observed="it was true before ap_wait" if early else "it is still false",
            next="Others read it to know whether they may send interrupts to the APs.",
        )


@check(
    "lab3.boot.cpus",
    ONE,
    TWO,
    EIGHT,
    SIXTEEN,
    SEABIOS,
    # Whatever depends on luck must be right first: here the CPUs are left to it.
    needs=["lab3.restore.late", "lab3.count.locked", "lab3.trampoline.stackless"],
)
def test_it_works_with_any_number_of_cpus(boots, score):
    """With 1, 2, 8 and 16 CPUs, and with 3 under SeaBIOS, every CPU parks."""
    for boot in boots:
        with score.case(boot.scenario):
            fail_if(why_not_all_parked(boot), expected=f"{len(boot.cpus)} CPUs park")


# --- i386: the same way, without long mode --------------------------------------------------------
#
# The BSP's part is the same code, compiled for i386; the trampoline ends in protected mode with PAE
# paging. What is the same is asked by the same functions.


@check("lab3.i386.jump", LADDER, arch="i386")
def test_i386_the_far_jump(boot):
    """When the APs are called, a far jump at physical 0 leads to the copy of the trampoline."""
    test_ljmpw_is_at_physical_0(boot)
    test_ljmpw_leads_to_the_trampoline(boot)


@check("lab3.i386.copy", LADDER, needs=["lab3.i386.jump"], arch="i386")
def test_i386_the_copy(boot, score):
    """The trampoline is at apinit_addr, and apinitprocs and apinitlock point into that copy."""
    test_the_trampoline_is_copied(boot)
    test_pointers_lead_into_the_copy(boot, score)


@check("lab3.i386.init", LADDER, needs=["lab3.i386.copy"], arch="i386")
def test_i386_init_reaches_every_ap(boot, score):
    """An INIT is sent to every AP and not to the BSP."""
    test_init_reaches_every_ap(boot, score)


@check("lab3.i386.sipi", LADDER, needs=["lab3.i386.init"], arch="i386")
def test_i386_sipi_starts_every_ap(boot):
    """SIPIs with vector 0 reach every AP, and each executes the far jump and the trampoline."""
    judge_sipis(boot, boot.aps, NoCases())
    test_every_ap_is_in_the_trampoline(boot, NoCases())


@check("lab3.i386.protected", LADDER, needs=["lab3.i386.sipi"], arch="i386")
def test_i386_every_ap_gets_to_protected_mode(boot):
    """Every AP counts itself in by a locked instruction, sets CR0.PE and goes on in 32-bit code."""
    test_every_ap_gets_to_protected_mode(boot, NoCases())
    test_every_ap_counts_itself_in_once(boot, NoCases())
    test_the_count_is_atomic(boot)


@check("lab3.i386.paging", LADDER, needs=["lab3.i386.protected"], arch="i386")
def test_i386_paging_is_turned_on_in_protected_mode(boot, score):
    """Every AP turns PAE paging on in protected mode; EFER.LME stays 0: there is no long mode."""
    for ap in judged(boot):
        with score.case(ap.name):
            long = [s for s in way(ap) if s.efer & EFER_LME]
            begun = ", and paging began long mode" if any(s.mode == "long" for s in long) else ""
            paged = [s for s in way(ap) if s.cr0 & CR0_PG]
            if long:
                fail(
                    "long-mode-on-i386",
                    cpu=ap.index,
                    place="trampoline",
                    expected="EFER.LME = 0: an i386 VMM runs in protected mode",
                    observed=f"{ap.name} has set EFER.LME{begun}",
                    next="Code for the long mode stands between #ifdef __x86_64__ and #endif.",
                )
            if not paged and ap.reached(AP_ENTRY):
                fail(
                    "paging-not-on",
                    cpu=ap.index,
                    place="trampoline, at its jump to ap_entry",
                    expected="CR0.PG = 1 before the jump to ap_entry",
                    observed=f"{ap.name} is at ap_entry with CR0 = {way(ap)[-1].cr0:#x}",
                    next="ap_entry is an address above VMM_BASE: without paging nothing is there.",
                )
            if not paged:
                fail_if(not_reached(boot, ap, AP_ENTRY))
            if not paged[0].cr4 & CR4_PAE:
                fail(
                    "paging-without-pae",
                    cpu=ap.index,
                    place="trampoline, the write of CR0.PG",
                    expected="CR4.PAE = 1: the page tables have 64-bit entries, on i386 too",
                    observed=f"CR4 = {paged[0].cr4:#x} when {ap.name} turned paging on",
                    next="Set CR4.PAE before CR0.PG (SDM vol. 3, 4.4).",
                )


@check("lab3.i386.ap_entry", LADDER, needs=["lab3.i386.paging"], arch="i386")
def test_i386_every_ap_arrives_at_ap_entry(boot):
    """Every AP comes to ap_entry without a stack, on ap_pagetable, with flat 32-bit segments."""
    for ap in judged(boot):
        fail_if(not_reached(boot, ap, AP_ENTRY))
        cr3, right = ap.at(AP_ENTRY).cr3 & ~0x1F, boot.phys("ap_pagetable")
        if cr3 != right:
            fail(
                "ap-wrong-page-tables",
                cpu=ap.index,
                place="trampoline, at its jump to ap_entry",
                expected=f"CR3 = {right:#x}, ap_pagetable",
                observed=f"CR3 = {cr3:#x}",
                next="CR3 holds a physical address.",
            )
        for name in ("CS", "SS", "DS", "ES") if ap.entry_segments else ():
            found = ap.entry_segments.named(name)
            if (found.base, found.limit) != FLAT or not found.flags & DESC_BIG:
                fail(
                    "segment-not-flat",
                    cpu=ap.index,
                    place="trampoline, at its jump to ap_entry",
                    expected=f"{name} holds a 32-bit segment with base 0 and limit 0xffffffff",
                    observed=f"{name}: base {found.base:#x}, limit {found.limit:#x}, "
                    + ("32-bit" if found.flags & DESC_BIG else "16-bit"),
                    next="In protected mode a segment register keeps what it held in real mode "
                    "until it is loaded again; in long mode nobody would notice.",
                )
    test_the_trampoline_uses_no_stack(boot, NoCases())


@check("lab3.i386.restore", LADDER, needs=["lab3.i386.ap_entry"], arch="i386")
def test_i386_physical_0_is_restored(boot):
    """After ap_start, physical 0 is as before, nothing is left mapped, ap_started is true."""
    test_physical_0_is_restored(boot)
    test_ap_started_is_set(boot)


@check("lab3.i386.cpus", ONE, TWO, EIGHT, SEABIOS, needs=["lab3.i386.restore"], arch="i386")
def test_i386_it_works_with_any_number_of_cpus(boots, score):
    """With 1, 2 and 8 CPUs, and with SeaBIOS, every CPU parks."""
    test_it_works_with_any_number_of_cpus(boots, score)
