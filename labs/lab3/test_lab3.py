"""Lab 3: the BSP wakes the APs, and each climbs from real mode to long mode."""

from dataclasses import replace
from functools import partial

from vmmlab import checks
from vmmlab.checks import expect, fail, fail_if, missing, msg, needed
from vmmlab.diagnosis import addresses, counting, ipis, moved, owncalls, passage, starting
from vmmlab.diagnosis.aps import ends_otherwise, not_reached, place_of, why_not, why_not_all_parked
from vmmlab.diagnosis.death import far_jumps
from vmmlab.diagnosis.resets import reset_by_ap
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.diagnosis.trampoline import last_step
from vmmlab.observe.icr import icr_text
from vmmlab.observe.milestones import AP_ENTRY, LONG_MODE, PROTECTED_MODE, REAL_MODE
from vmmlab.probes import bringup, late_ap, other_arguments, parking, plain
from vmmlab.x86.decode import decode, far_jump
from vmmlab.x86.encode import far_jump_code
from vmmlab.x86.registers import (
    CR0_CD,
    CR0_NW,
    CR0_PG,
    CR4_PAE,
    DESC_BIG,
    EFER_LME,
)

BOOT = bringup(cpus=4)
# APIC ids 0, 1, 2, 4, 5, 6.
SEABIOS = parking(name="seabios", cpus=6, sockets=2, firmware="seabios", moved=True)
LATE = late_ap(name="late", cpus=4, cpu=2)
ONE = other_arguments(name="cpus-1", acpi=False)
# With other numbers in cohort.h: another address and offset of the trampoline.
TWO = bringup(name="cpus-2", cpus=2, cohort="other")
NINE = plain(name="cpus-9", cpus=9)  # nothing shows the VMM that it is graded

# What stops the BSP before its work is done happens in ap_start.
check = partial(checks.check, bsp_in="ap_start")

FEW = 4  # so many bytes of the copy may happen to be what was there before
MANY_SIPIS = 16  # so many that no other limit was meant
FLAT = (0, 0xFFFFFFFF)  # base and limit of a segment that is all of memory
REAL_LIMIT = 0xFFFF  # of a segment in real mode
DATA_SEGMENT = 0x9200  # second half of a descriptor (SDM vol. 3, 3.4.5): present, data, writable
DATA_MASK = 0x9E00  # bit 10 would be expand-down
JUMP_PARTS = {  # of the five bytes, by their numbers
    1: msg("the low byte of the offset"),
    2: msg("the high byte of the offset"),
    3: msg("the low byte of the segment"),
    4: msg("the high byte of the segment"),
}
PHYSICAL_0 = msg("ap_start, physical address 0")
INIT_ICR = ipis.sender_of("INIT")
SIPI_ICR = ipis.sender_of("SIPI")


def judged(boot):
    """The APs that had their chance: when one has reset the machine, the others had none."""
    tried = [ap for ap in boot.aps if ap.steps and not ap.stopped]
    return tried if boot.how_ended == "shutdown" and tried else boot.aps


def right_jump(boot):
    """The address of the trampoline, and the far jump to it as the handout writes it."""
    address, offset = boot.apinit_addr, boot.apinit_offset
    return address, far_jump_code((address - offset) >> 4, offset).hex(" ")


def wrong_bytes(boot):
    """Which of the five bytes at physical 0 are not those of the far jump to the trampoline."""
    code, right = boot.physical_0.during or b"", bytes.fromhex(right_jump(boot)[1])
    return [at for at in range(5) if code[at : at + 1] != right[at : at + 1]]


# --- lab3.1: the far jump at physical 0 -----------------------------------------------------------


@check("lab3.ljmpw.present", BOOT, also=TWO)
def far_jump_at_physical_0(boot):
    """When the APs are started, physical address 0 holds a far jump."""
    code = boot.physical_0.during or b""
    if far_jump(code) is None:
        _, right = right_jump(boot)
        untouched = code[:5] == boot.physical_0.before[:5]
        found = decode(code, 0, 16)
        there = found.text if found else msg("no instruction")
        if wrong_bytes(boot) == [0]:
            fail(
                "far-jump-wrong-opcode",
                cpu=0,
                place=PHYSICAL_0,
                expected=msg("opcode ea, a far jump: {bytes}", bytes=right),
                observed=msg(
                    "{bytes}: 4 of the 5 bytes are right, but {opcode:#04x} begins {instruction}",
                    bytes=code[:5].hex(" "),
                    opcode=code[0],
                    instruction=there,
                ),
            )
        missing(
            "far-jump-missing",
            cpu=0,
            place=PHYSICAL_0,
            expected=msg("ljmpw, opcode EA: five bytes such as {bytes}", bytes=right),
            observed=msg("the bytes that were there before")
            if untouched
            else msg("{bytes}, which is {instruction}", bytes=code[:5].hex(" "), instruction=there),
            next=starting.jump_too_late(boot),
        )


@check("lab3.ljmpw.target", BOOT, also=TWO, after="lab3.ljmpw.present")
def far_jump_to_the_trampoline(boot):
    """The far jump at physical 0 leads to the first byte of the trampoline's copy."""
    segment, offset = needed(far_jump(boot.physical_0.during or b""))
    address, right = right_jump(boot)
    target = segment * 16 + offset
    if target != address:
        cause = "far-jump-wrong-target"
        not_shifted = (address - boot.apinit_offset) & 0xFFFF
        if offset * 16 + segment == address and segment != not_shifted:
            cause = "far-jump-segment-and-offset-swapped"
        fail(
            cause,
            cpu=0,
            place=PHYSICAL_0,
            expected=msg(
                "a far jump to {address:#x}, for example {bytes}", address=address, bytes=right
            ),
            observed=msg(
                "{bytes}, a far jump to {segment:#06x}:{offset:#06x}, which is {target:#x}",
                bytes=(boot.physical_0.during or b"")[:5].hex(" "),
                segment=segment,
                offset=offset,
                target=target,
            ),
            next=why_beside(boot, address - target),
        )
    if offset != boot.apinit_offset:
        fail(
            "far-jump-wrong-target",
            cpu=0,
            place=PHYSICAL_0,
            expected=msg(
                "offset {offset:#x}, APINIT_OFFSET: {bytes}", offset=boot.apinit_offset, bytes=right
            ),
            observed=msg(
                "a far jump to {segment:#06x}:{offset:#06x}. That is {target:#x}, the right "
                "address, but the trampoline starts with another CS and IP",
                segment=segment,
                offset=offset,
                target=target,
            ),
            next=msg("The offset is APINIT_OFFSET, and the segment follows from it."),
            goes_on=True,
        )


def why_beside(boot, distance):
    """What is wrong in a far jump that leads `distance` bytes beside the copy, if that shows."""
    code, before = boot.physical_0.during, boot.physical_0.before
    wrong = wrong_bytes(boot)
    if wrong and all(code[at] == before[at] for at in wrong):
        return msg(
            "Byte {number} of the instruction still holds what was there before: write all five.",
            number=wrong[0] + 1,
        )
    if wrong and code[2:5] == bytes.fromhex(right_jump(boot)[1])[1:4]:
        return msg(
            "Offset and segment begin one byte too late. A compiler puts a byte between the "
            "members of a structure, so that the second one is aligned."
        )
    if 0 < abs(distance) < 16:
        return msg(
            "It is {count} too {direction}: the offset is APINIT_OFFSET, neither more nor less.",
            count=abs(distance),
            direction=msg("low") if distance > 0 else msg("high"),
        )
    if len(wrong) == 1 and wrong[0] in JUMP_PARTS:
        return msg(
            "Byte {number} of the instruction, {part}, is {found:02x} and should be {right:02x}; "
            "the others are right.",
            number=wrong[0] + 1,
            part=JUMP_PARTS[wrong[0]],
            found=code[wrong[0]],
            right=bytes.fromhex(right_jump(boot)[1])[wrong[0]],
        )
    return ""


@check("lab3.i386.jump", BOOT, also=TWO, arch="i386")
def far_jump_i386(boot):
    """When the APs are started, a far jump at physical 0 leads to the copy of the trampoline."""
    far_jump_at_physical_0(boot)
    far_jump_to_the_trampoline(boot)


# --- lab3.2: the copy of the trampoline -----------------------------------------------------------


@check("lab3.trampoline.copied", BOOT, also=TWO, after="lab3.ljmpw.target")
def trampoline_is_copied(boot):
    """The bytes from cpuinit_start to cpuinit_end are at apinit_addr."""
    image, copy = boot.trampoline.image, boot.trampoline.copy or b""
    # A solution may fill in addresses in its copy, so not every byte is that of the image.
    bytes_of = list(zip(copy, boot.trampoline.before, image))
    left = [at for at, (now, before, right) in enumerate(bytes_of) if now == before != right]
    tail = bool(bytes_of) and len(bytes_of) - 1 in left
    same = sum(a == b for a, b in zip(image, copy))
    if same * 10 >= len(image) * 6 and not tail and len(left) < FEW:
        fail_if(starting.written_elsewhere(boot))
        return
    fail_if(starting.copied_wrongly(boot))
    lacking = left and same * 10 >= len(image) * 3
    missing(
        "trampoline-copied-in-part" if lacking else "trampoline-not-copied",
        cpu=0,
        place=msg("ap_start, physical {address:#x}", address=boot.apinit_addr),
        expected=msg("{size} bytes, beginning {bytes}", size=len(image), bytes=image[:8].hex(" ")),
        observed=msg(
            "{count} of them were not written, from byte {first} on",
            count=len(left),
            first=left[0],
        )
        if lacking
        else msg(
            "only {size} of them are right; the copy begins {bytes}",
            size=same,
            bytes=copy[:8].hex(" "),
        ),
    )


def pointers(boot):
    """The pointers into the copy: label, value, and the physical address of the label there."""
    made, copy = boot.bringup, boot.trampoline
    yield "apinitprocs", "apinit_procs", made.apinitprocs, copy.procs_at
    yield "apinitlock", "apinit_lock", made.apinitlock, copy.lock_at


@check("lab3.trampoline.pointers", BOOT, also=TWO, per=pointers, after="lab3.trampoline.copied")
def pointer_into_the_copy(boot, label, value, right):
    """apinitprocs and apinitlock point into the copy, to zeros before the first SIPI."""
    found, virtual = (value.physical, value.virtual) if value else (None, 0)
    if found == right:
        fail_if(starting.not_zero(boot, label))
        return
    observed = msg("it was never set")
    if found:
        observed = msg("it points to physical {address:#x}", address=found)
    elif virtual:
        observed = msg("it holds {address:#x}, which is not mapped", address=virtual)
    # A pointer that was set is the mistake itself; what stopped the BSP later comes of it.
    report = fail if virtual else missing
    report(
        "pointer-not-into-the-copy",
        cpu=0,
        place="ap_start",
        expected=msg(
            "{pointer} points to {label} in the copy, physical {address:#x}",
            pointer=label.replace("_", ""),
            label=label,
            address=right,
        ),
        observed=observed,
    )


def copied_pointers(boot):
    """The pointers, once the trampoline is copied."""
    trampoline_is_copied(boot)
    yield from pointers(boot)


@check("lab3.i386.copy", BOOT, also=TWO, arch="i386", per=copied_pointers, after="lab3.i386.jump")
def copy_on_i386(boot, label, value, right):
    """The trampoline is at apinit_addr, and apinitprocs and apinitlock point into that copy."""
    pointer_into_the_copy(boot, label, value, right)


# --- lab3.3 and lab3.4: INIT and SIPI -------------------------------------------------------------


def called_by_init(boot):
    """Every AP, if the INITs are as they must be for all."""
    sent = boot.sent("INIT")
    if any(boot.reaches(w, 0) for w in sent):
        fail(
            "init-to-self",
            cpu=0,
            place=INIT_ICR,
            expected=msg("INIT to all APs, not to the BSP"),
            observed=icr_text(sent),
            next=ipis.destination(boot, "INIT"),
        )
    for ap in boot.aps:
        init_reaches(boot, ap)
    fail_if(ipis.wrong_word(boot, "INIT"))
    fail_if(ipis.written_directly(boot, "INIT"))
    return boot.aps


@check("lab3.ipi.init", BOOT, per=called_by_init, after="lab3.trampoline.pointers")
@check("lab3.i386.init", BOOT, arch="i386", per=called_by_init, after="lab3.i386.copy")
def init_reaches(boot, ap):
    """An INIT is sent to every AP and not to the BSP, as the manual describes it."""
    fail_if(starting.ap_wait_before_ipis(boot))
    if not any(boot.reaches(w, ap.index) for w in boot.sent("INIT")):
        missing(
            "ap-got-no-init",
            cpu=ap.index,
            place=INIT_ICR,
            expected=an_ipi_for(boot, ap, "INIT"),
            observed=icr_text(boot.icr),
            next=ipis.destination(boot, "INIT"),
        )


def an_ipi_for(boot, ap, kind):
    """What is expected of the IPIs of a kind: one of them reaches this AP."""
    apic_id = boot.apic_ids[ap.index] if boot.apic_ids else ap.index
    return msg("one {kind} that reaches {cpu}, APIC id {id}", kind=kind, cpu=ap.name, id=apic_id)


@check("lab3.ipi.delay", BOOT, ONE, after="lab3.ipi.init")
def delays_after_init_and_sipi(boots):
    """ap_start_addr waits for init_us after INIT, and for sipi_us after each SIPI."""
    boot, alone = boots
    init, sipi = boot.sent("INIT"), boot.sent("SIPI")
    in_order = msg("INIT, a delay, then SIPI")
    if not sipi:
        missing(
            "ap-got-no-sipi",
            cpu=0,
            place=SIPI_ICR,
            expected=in_order,
            observed=starting.where_it_waits(boot) or icr_text(boot.icr),
            next=msg("ap_start_addr sends both, and calls ap_start_loopcond before each SIPI."),
        )
    if sipi[0].time_s < needed(next(iter(init), None)).time_s:
        fail(
            "sipi-before-init",
            cpu=0,
            place="ap_start_addr",
            expected=in_order,
            observed=icr_text(boot.icr),
        )
    for ap in boot.aps:  # then the delay is not the mistake
        with_sipi = ipis.init_with_sipi(boot, ap.index, alone)
        fail_if(with_sipi and replace(with_sipi, step="lab3.4"))
    delay = ipis.wrong_delay(boot) or ipis.wrong_short_delay(alone)
    fail_if(delay and owncalls.slept_by_sender(alone, delay))


def called_by_sipi(boots):
    """Every AP of the whole boot, the one that is late in another, and boots without tables."""
    whole, late, alone = boots
    for boot in (whole, late):
        spared_by_sipi(boot)
    for ap in whole.aps:
        judge_sipis(whole, ap, alone)
    for kind_of_wrong in (ipis.wrong_word, ipis.written_directly):
        fail_if(kind_of_wrong(whole, "SIPI"))
    fail_if(ipis.another_kind(whole, alone))
    for ap in whole.aps:
        yield ap.name, whole, ap
    # The late AP is not counted before ap_start_loopcond has sent all of its SIPIs.
    yield msg("{cpu}, delayed", cpu=late.cpus[2].name), late, late.cpus[2]
    yield msg("no ACPI tables"), alone, None
    yield msg("other arguments"), alone, alone.bsp


def spared_by_sipi(boot):
    """Fail if a SIPI reaches the BSP."""
    if any(boot.reaches(w, 0) for w in boot.sent("SIPI")):
        fail(
            "sipi-to-self",
            cpu=0,
            place=SIPI_ICR,
            expected=msg("SIPIs to the APs only"),
            observed=icr_text(boot.icr),
            next=ipis.destination(boot, "SIPI"),
        )


@check("lab3.ipi.sipi", BOOT, LATE, ONE, per=called_by_sipi, after="lab3.ipi.init")
def sipi_reaches(boots, boot, ap):
    """One to three SIPIs with vector 0 reach every AP, after INIT, and not the BSP.

    Also without ACPI tables; and the functions use their arguments.
    """
    if ap is None:
        fail_if(ipis.none_without_tables(boot, boots[1], 2))
    elif ap.index == 0:
        fail_if(own_call_wrong(boot))
    else:
        alone = boots[2]
        judge_sipis(boot, ap, alone)
        fail_if(ipis.sipi_after_all(boot, ap.index, alone))


def own_call_wrong(boot):
    """What is wrong in the grader's own calls of the functions of ap_start.c, or None."""
    found = owncalls.ignored_argument(boot) or owncalls.waits_for_aps(boot)
    if found is not None and found.function == "apic_send_init":
        return replace(found, step="lab3.3")
    return found


def judge_sipis(boot, ap, alone=None):
    """Fail unless the SIPIs that reach an AP are as they must be.

    If ap_start_addr sends SIPIs without asking loopcond, as the boot `alone` shows, too many of
    them are not a mistake of ap_start_loopcond.
    """
    mine = [w for w in boot.sent("SIPI") if boot.reaches(w, ap.index)]
    inits = [w for w in boot.sent("INIT") if boot.reaches(w, ap.index)]
    if any(w.vector for w in mine):
        fail(
            "sipi-wrong-vector",
            cpu=ap.index,
            place=SIPI_ICR,
            expected=msg("SIPI with vector 0: start at physical 0 * 4096"),
            observed=icr_text(boot.icr),
        )
    if alone and (not mine or len(mine) > 3):
        fail_if(owncalls.wrong_number(alone))
    if not mine:
        missing(
            "ap-got-no-sipi",
            cpu=ap.index,
            place=SIPI_ICR,
            expected=an_ipi_for(boot, ap, "SIPI"),
            observed=starting.where_it_waits(boot) or icr_text(boot.icr),
            next=ipis.destination(boot, "SIPI"),
        )
    if not inits or mine[0].time_s < inits[0].time_s:
        fail(
            "sipi-before-init",
            cpu=ap.index,
            place="ap_start_addr",
            expected=msg("INIT first"),
            observed=icr_text(boot.icr),
        )
    fail_if(ipis.init_again(boot, ap.index, alone))
    if len(mine) > 3 and not (alone and owncalls.sends_another_number(alone)):
        fail(
            "too-many-sipis",
            cpu=ap.index,
            place="ap_start_loopcond",
            expected=msg("at most three SIPIs"),
            observed=msg("{count} SIPIs", count=len(mine)),
            next=msg(
                "Does ap_start_loopcond read and write exactly the 4 bytes of the int that data "
                "points to? If it takes in others, it may hardly ever find three there."
            )
            if len(mine) > MANY_SIPIS
            else "",
            goes_on=True,
        )


@check("lab3.ladder.real", BOOT, also=TWO, per=judged, after="lab3.ipi.sipi")
def real_mode(boot, ap):
    """Every AP executes the far jump and then the trampoline, in real mode."""
    ap.must_reach(REAL_MODE)


@check("lab3.i386.sipi", BOOT, ONE, arch="i386", after="lab3.i386.init")
def sipi_on_i386(boots):
    """SIPIs with vector 0 reach every AP, and each executes the far jump and the trampoline.

    The functions use their arguments.
    """
    boot, alone = boots
    spared_by_sipi(boot)
    for ap in boot.aps:
        judge_sipis(boot, ap, alone)
        fail_if(ipis.sipi_after_all(boot, ap.index, alone))
    fail_if(ipis.wrong_word(boot, "SIPI") or ipis.written_directly(boot, "SIPI"))
    fail_if(ipis.another_kind(boot, alone))
    fail_if(own_call_wrong(alone))
    for ap in judged(boot):
        fail_if(not_reached(boot, ap, REAL_MODE))


# --- lab3.5: protected mode, and the count --------------------------------------------------------


def way(ap):
    """The registers of an AP before each instruction from physical 0 to ap_entry, that included."""
    last = [ap.at(AP_ENTRY)] if ap.reached(AP_ENTRY) else []
    return [*(step.state for step in ap.steps), *last]


@check("lab3.ladder.protected", BOOT, also=TWO, per=judged, after="lab3.ladder.real")
def protected_mode(boot, ap):
    """Every AP sets CR0.PE and continues in 32-bit code."""
    fail_if(reset_by_ap(ap))
    fail_if(not_reached(boot, ap, PROTECTED_MODE))
    flat_code_segment(ap)
    if any(state.bits == 32 for state in way(ap)):
        return
    lost, last = ap.left_code, last_step(ap)
    fail_if(passage.disturbed(boot, ap))
    misread = any(step.made_for for step in ap.steps)
    if lost is not None and far_jumps(ap) and not misread:
        fail(
            "ap-jumped-astray",
            cpu=ap.index,
            place=msg("{place}, `{instruction}`", place=ap.end_place.text, instruction=last.text),
            expected=msg("32-bit code in the copy of the trampoline, or in the VMM's image"),
            observed=msg(
                "{cpu} went to {address:#x} in protected mode, where there is no code",
                cpu=ap.name,
                address=lost,
            ),
            next=msg(
                "The label is linked at that address, but paging is off: the code is at "
                "its physical address, label - VMM_BASE, or in the copy."
            )
            if boot.in_image(lost)
            else msg(
                "That is APINIT_OFFSET too much: it is part of offsets from CS, not of the "
                "distance from cpuinit_start."
            )
            if boot.apinit_offset and lost - boot.apinit_offset in boot.copy_range
            else msg(
                "Segments now begin at 0: the jump needs the linear address, that of the "
                "copy plus the label's distance from cpuinit_start."
            ),
        )
    fail_if(passage.not_followed(boot, ap))
    if ap.followed:
        fail_if(
            why_not(boot, ap, LONG_MODE),
            expected=msg("{cpu} makes a far jump to 32-bit code after CR0.PE is set", cpu=ap.name),
        )


def flat_code_segment(ap):
    """Fail unless the far jump to 32-bit code loaded CS with a segment that begins at 0."""
    done = ap.steps if ap.left_code is not None else ap.steps[:-1]
    for jump in [step for step in far_jumps(ap) if step in done][:1]:
        descriptor = jump.descriptor or 0
        base = descriptor >> 16 & 0xFFFFFF | descriptor >> 32 & 0xFF000000
        if base:
            fail(
                "gdt-entry-wrong",
                cpu=ap.index,
                place=passage.at(jump),
                expected=msg("the base of all segments is 0"),
                observed=msg(
                    "selector {selector:#x} chooses {descriptor:#018x}, whose base is {base:#x}",
                    selector=jump.value,
                    descriptor=descriptor,
                    base=base,
                ),
            )


@check("lab3.count.once", BOOT, also=TWO, per=judged, after="lab3.ladder.protected")
def counts_itself_in_once(boot, ap):
    """Every AP adds exactly one to apinit_procs before it leaves the trampoline."""
    wrong = counting.counted_wrongly(boot, ap)
    if wrong is None:
        return
    fail_if(passage.not_followed(boot, ap))
    stopped = stopped_at_todo(boot, [ap])
    if stopped:
        both = msg("{what}; it stopped at {todo}", what=wrong.observed, todo=stopped.place)
        wrong = replace(wrong, observed=both)
    fail_if(wrong)


@check("lab3.count.locked", BOOT, after="lab3.count.once")
def count_is_atomic(boot):
    """One locked instruction adds to apinit_procs, since several APs run here at once."""
    for ap in judged(boot):
        fail_if(counting.counted_without_lock(boot, ap))


@check("lab3.i386.protected", BOOT, also=TWO, arch="i386", after="lab3.i386.sipi")
def protected_mode_on_i386(boot):
    """Every AP counts itself with a locked instruction, sets CR0.PE and reaches 32-bit code."""
    for judge in (protected_mode, counts_itself_in_once):
        for ap in judged(boot):
            judge(boot, ap)
    count_is_atomic(boot)


# --- lab3.6: long mode, or paging on i386, and ap_entry -------------------------------------------


@check("lab3.ladder.long", BOOT, also=TWO, per=judged, after="lab3.ladder.protected")
def long_mode(boot, ap):
    """Every AP turns paging on in long mode."""
    ap.must_reach(LONG_MODE)


@check("lab3.ladder.ap_entry", BOOT, also=TWO, per=judged, after="lab3.ladder.long")
def arrives_at_ap_entry(boot, ap):
    """Every AP jumps to ap_entry, on the page tables that the VMM made for the APs."""
    entry = ap.must_reach(AP_ENTRY)
    if ap.entry_segments and not ap.entry_segments.cs_is_64_bit:
        fail(
            "ap-not-in-64-bit-code",
            cpu=ap.index,
            place=entry.place,
            expected=msg("CS is a 64-bit code segment: its descriptor has the L bit"),
            observed=msg(
                "CS = {cs:#x} is not one: 64-bit instructions are decoded as 32-bit ones",
                cs=entry.cs,
            ),
        )
    own_page_tables(boot, ap, 0xFFF)
    caches_on(ap)
    data_segments(ap)
    fail_if(passage.backwards(ap))


def caches_on(ap):
    """Fail if CR0 of an AP at ap_entry turns the caches off."""
    entry = ap.at(AP_ENTRY)
    if entry.cr0 & (CR0_CD | CR0_NW):
        fail(
            "caches-off",
            cpu=ap.index,
            place=place_of(AP_ENTRY),
            expected=msg("CR0.CD and CR0.NW are clear"),
            observed=f"CR0 = {entry.cr0:#x}",
        )


def own_page_tables(boot, ap, flags):
    """Fail unless CR3 of an AP at ap_entry is ap_pagetable; `flags` are the low bits of CR3."""
    fail_if(addresses.page_tables_read(boot, ap))
    expect(
        "ap-wrong-page-tables",
        ap.at(AP_ENTRY).cr3 & ~flags,
        boot.phys("ap_pagetable"),
        what="CR3",
        cpu=ap.index,
        place=place_of(AP_ENTRY),
    )


def data_segments(ap):
    """Fail if SS, DS or ES of an AP holds no flat data segment at ap_entry, where that was seen."""
    for name in ("SS", "DS", "ES") if ap.entry_segments else ():
        found = ap.entry_segments.named(name)
        if (found.base, found.limit) != FLAT or found.flags & DATA_MASK != DATA_SEGMENT:
            fail(
                "segment-not-flat",
                cpu=ap.index,
                place=place_of(AP_ENTRY),
                expected=msg(
                    "{register} holds a writable data segment with base 0 and limit 0xffffffff",
                    register=name,
                ),
                observed=msg(
                    "{register}: base {base:#x}, limit {limit:#x}, flags {flags:#x}",
                    register=name,
                    base=found.base,
                    limit=found.limit,
                    flags=found.flags,
                ),
                next=msg(
                    "A segment register keeps its real-mode contents until it is loaded again."
                )
                if found.limit == REAL_LIMIT
                else msg("Compare the data segment in your GDT with DESC_DATA, bit by bit."),
            )


@check("lab3.trampoline.stackless", BOOT, also=TWO, per=judged, after="lab3.ladder.ap_entry")
def trampoline_uses_no_stack(boot, ap):
    """On its way no AP uses a stack, turns interrupts on, or writes outside the copy."""
    fail_if(passage.not_followed(boot, ap))
    fail_if(passage.interrupts_on(ap))
    fail_if(passage.stack_used(ap))
    fail_if(passage.stored_outside(boot, ap))
    fail_if(passage.misaligned(boot))


@check("lab3.i386.paging", BOOT, also=TWO, arch="i386", per=judged, after="lab3.i386.protected")
def paging_on_i386(boot, ap):
    """Every AP turns PAE paging on in protected mode; EFER.LME stays 0, since i386 has no long
    mode.
    """
    long = [state for state in way(ap) if state.efer & EFER_LME]
    paged = [state for state in way(ap) if state.cr0 & CR0_PG]
    if long:
        fail(
            "long-mode-on-i386",
            cpu=ap.index,
            place=msg("trampoline"),
            expected=msg("EFER.LME = 0: an i386 VMM runs in protected mode"),
            observed=msg("{cpu} has set EFER.LME, and paging began long mode", cpu=ap.name)
            if any(state.mode == "long" for state in long)
            else msg("{cpu} has set EFER.LME", cpu=ap.name),
        )
    if not paged and ap.reached(AP_ENTRY):
        fail(
            "paging-not-on",
            cpu=ap.index,
            place=place_of(AP_ENTRY),
            expected=msg("CR0.PG = 1 before the jump to ap_entry"),
            observed=msg(
                "{cpu} is at ap_entry with CR0 = {cr0:#x}", cpu=ap.name, cr0=way(ap)[-1].cr0
            ),
        )
    if not paged:
        ap.must_reach(AP_ENTRY)
    if not paged[0].cr4 & CR4_PAE:
        fail(
            "paging-without-pae",
            cpu=ap.index,
            place=msg("trampoline, the write of CR0.PG"),
            expected=msg("CR4.PAE = 1: the page tables have 64-bit entries, on i386 too"),
            observed=msg(
                "CR4 = {cr4:#x} when {cpu} turned paging on", cr4=paged[0].cr4, cpu=ap.name
            ),
        )


@check("lab3.i386.ap_entry", BOOT, also=TWO, arch="i386", after="lab3.i386.paging")
def arrives_at_ap_entry_on_i386(boot):
    """Every AP reaches ap_entry without a stack, on ap_pagetable, with flat 32-bit segments."""
    for ap in judged(boot):
        fail_if(not_reached(boot, ap, AP_ENTRY))
        own_page_tables(boot, ap, 0x1F)
        caches_on(ap)
        big_segments(ap)
        data_segments(ap)
        fail_if(passage.backwards(ap))
    for ap in judged(boot):
        trampoline_uses_no_stack(boot, ap)


def big_segments(ap):
    """Fail if a segment register of an AP holds no flat 32-bit segment at ap_entry."""
    for name in ("CS", "SS", "DS", "ES") if ap.entry_segments else ():
        found = ap.entry_segments.named(name)
        if (found.base, found.limit) != FLAT or not found.flags & DESC_BIG:
            fail(
                "segment-not-flat",
                cpu=ap.index,
                place=place_of(AP_ENTRY),
                expected=msg(
                    "{register} holds a 32-bit segment with base 0 and limit 0xffffffff",
                    register=name,
                ),
                observed=msg(
                    "{register}: base {base:#x}, limit {limit:#x}, {bits}-bit",
                    register=name,
                    base=found.base,
                    limit=found.limit,
                    bits=32 if found.flags & DESC_BIG else 16,
                ),
                next=msg(
                    "In protected mode a segment register keeps its real-mode contents "
                    "until it is loaded again. In long mode this mistake has no effect."
                ),
            )


# --- lab3.7: physical 0 is put back ---------------------------------------------------------------


@check("lab3.restore.bytes", BOOT, after=["lab3.ladder.ap_entry", "lab3.count.once"])
def physical_0_is_restored(boot):
    """When ap_start is done, physical address 0 holds its original bytes."""
    before, after = boot.physical_0.before, boot.physical_0.after
    if boot.first("bsp_proc") is None:
        # An AP may then end the machine before the BSP comes to its own exception.
        fail_if(starting.copy_unmapped_early(boot) or starting.why_it_waits(boot))
        missing(
            "bsp-waits-for-ever",
            cpu=0,
            place=boot.bsp.end_place.text,
            expected=msg("ap_start returns, and the BSP goes on to bsp_proc"),
            observed=msg("the BSP is still at {place}", place=boot.bsp.end_place.text),
            next=msg("What does it wait for there?"),
        )
    if before[:5] != after[:5]:  # what is behind them is another check's
        fail(
            "physical-0-not-restored",
            cpu=0,
            place=PHYSICAL_0,
            expected=before[:8].hex(" "),
            observed=after[:8].hex(" ")
            if after[:5] != (boot.physical_0.during or b"")[:5]
            else msg("{bytes}: the far jump is still there", bytes=after[:8].hex(" ")),
        )


@check("lab3.restore.late", BOOT, LATE, ONE, after="lab3.restore.bytes")
def physical_0_stays_until_the_last_ap(boots):
    """The far jump stays in place until the last AP has arrived, however late that is."""
    whole, late, alone = boots
    fail_if(starting.no_ap_wait(whole) or starting.gone_at_ap_wait(whole))
    far_jump_stays(late, 2, PHYSICAL_0)
    fail_if(starting.lock_taken_away(whole))
    found = ipis.disturbing(whole, alone)
    fail_if(found and replace(found, step="lab3.7" if found.place == "ap_start" else "lab3.4"))
    fail_if(starting.waits_for_late(late, 2))
    fail_if(starting.counter_lost(late))


def far_jump_stays(boot, cpu, place):
    """Fail unless the far jump was at physical 0 while an AP had not come."""
    if boot.physical_0.not_entered is None:
        fail_if(why_not(boot, boot.cpus[cpu], REAL_MODE))
    code = boot.physical_0.not_entered or b""
    address, _ = right_jump(boot)
    jump = far_jump(code)
    if jump is None or jump[0] * 16 + jump[1] != address:
        missing(
            "physical-0-restored-too-early",
            cpu=cpu,
            place=place,
            expected=msg("the far jump, until CPU {cpu} has arrived", cpu=cpu),
            observed=code[:5].hex(" "),
        )


@check("lab3.restore.started", BOOT, after="lab3.restore.bytes")
def ap_started_is_set(boot):
    """ap_start unmaps what it has mapped, and sets ap_started as the last thing."""
    early = boot.bringup.started_at_ap_wait == 1
    if early:
        fail_if(starting.not_at_the_end(msg("it was true before ap_wait")))
    left_mapped(boot)
    fail_if(starting.wrong_mapping(boot) or starting.started_early(boot))
    fail_if(starting.changed_later(boot))
    if boot.bringup.started_at_bsp_proc != 1:
        fail_if(starting.not_at_the_end(msg("it is still false")))


def left_mapped(boot):
    """Fail if a page of the far jump or of the copy is mapped when ap_start is done."""
    left = boot.bringup.left_mapped
    if left is not None:
        fail(
            "memory-left-mapped",
            cpu=0,
            place="ap_start",
            expected=msg("what ap_start maps is unmapped when it is done"),
            observed=msg(
                "the page of physical {physical:#x} is still mapped, at {virtual:#x}",
                physical=left.physical,
                virtual=left.virtual,
            ),
        )


@check("lab3.i386.restore", BOOT, arch="i386", after="lab3.i386.ap_entry")
def restored_on_i386(boot):
    """After ap_start, physical 0 is restored, nothing is left mapped, ap_started is true."""
    fail_if(ipis.disturbing(boot))
    physical_0_is_restored(boot)
    ap_started_is_set(boot)


# --- the whole bring-up ---------------------------------------------------------------------------


def each_ending(boots):
    """Each boot, if the plain one ends as the others do."""
    fail_if(ends_otherwise(boots, NINE.name))
    for boot in boots:
        yield boot.scenario, boot


@check(
    "lab3.boot.cpus",
    ONE,
    TWO,
    NINE,
    SEABIOS,
    per=each_ending,
    # Whatever depends on luck must be right first: here the CPUs are left to it.
    after=["lab3.restore.late", "lab3.count.locked", "lab3.trampoline.stackless"],
)
def every_cpu_parks(boots, boot):
    """With 1, 2 and 9 CPUs, and with 6 under SeaBIOS, every CPU parks.

    Under SeaBIOS the APIC ids have a gap, and apinit_addr has another value: the copy lies in two
    pages.
    """
    parks(boot)


def parks(boot):
    """Fail unless every CPU has parked."""
    fail_if(starting.apinit_addr_ignored(boot))
    found = why_not_all_parked(boot)
    if found and any(ipis.init_again(boot, ap.index) for ap in boot.aps):
        return  # whether an INIT finds an AP on its way is luck; lab3.ipi judges that it is sent
    fail_if(found and (moved.mapped_in_part(boot) or moved.copied_up_to_a_page(boot)))
    fail_if(found and moved.lost_at_another_place(boot))
    fail_if(found, expected=msg("{count} CPUs park", count=len(boot.cpus)))
    for ap in boot.aps if boot.icr else ():
        init_reaches(boot, ap)  # after a reset, an AP of QEMU also starts without
    if boot.apinit_addr_linked is not None:
        left_mapped(boot)


@check(
    "lab3.i386.cpus", ONE, TWO, NINE, SEABIOS, arch="i386", per="boot", after="lab3.i386.restore"
)
def every_cpu_parks_on_i386(boot):
    """With 1, 2 and 9 CPUs, and with SeaBIOS, every CPU parks."""
    parks(boot)
