"""Lab 6: the VMM calls the firmware that booted it, and gets memory below 1 MiB."""

from functools import partial

from vmmlab import checks
from vmmlab.checks import fail, fail_if, listed, missing, msg, needed
from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.images.layout import VMM_BASE
from vmmlab.probes import plain, scenario_of
from vmmlab.x86.registers import EFLAGS_DF, EFLAGS_IF

from .probes import BDA_MEMORY_SIZE, FIRMWARE_STACK, NOT_FOUND

UEFI = scenario_of("firmware-calls", {"name": "uefi", "cpus": 4, "firmware": "ovmf"})
# With other numbers in cohort.h: another APINIT_OFFSET, and a stack of another size.
THERE = scenario_of(
    "firmware-calls",
    {
        "name": "there",
        "cpus": 4,
        "firmware": "ovmf",
        "opt": "-O0",
        "cohort": "other",
        "refusal": NOT_FOUND,
    },
)
BIOS = scenario_of("low-memory", {"name": "bios", "cpus": 1})
SEABIOS = scenario_of(
    "low-memory",
    {"name": "seabios", "cpus": 2, "firmware": "seabios", "leave_word": True, "opt": "-O0",
     "cohort": "other"},
)  # fmt: skip
ALL_THE_WAY = plain(name="all-the-way", cpus=4, firmware="ovmf")

ONE_MIB = 0x100000
PAGE = 4096
MASK_32 = 0xFFFFFFFF
ALLOCATE_ANY_PAGES, ALLOCATE_MAX_ADDRESS, ALLOCATE_ADDRESS = range(3)
KEPT_BY_AN_OS = (0, 5, 6, 8, 10)
"""Memory types that an operating system never takes for itself: EfiReservedMemoryType,
EfiRuntimeServicesCode and -Data, EfiUnusableMemory, EfiACPIMemoryNVS (UEFI 2.10, table 7-6)."""
ARGUMENTS = (("a", "rcx"), ("b", "rdx"), ("c", "r8"), ("d", "r9"))
SELECTORS = ("cs", "ss", "ds", "es")
PRESERVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
AFTER_THE_CALL = ("lab6.call.tables", "lab6.call.segments", "lab6.call.stack")
CALL_WORKS = (
    *AFTER_THE_CALL,
    "lab6.call.arguments",
    "lab6.return.interrupts",
    "lab6.return.tables",
)
CALL, ALLOCATE, ALIGN = "uefi_call", "alloc_realmodemem", "align_apinit_addr"


def at_work(boot):
    """The function of this lab that the BSP was in when it went no further."""
    lab = boot.lab
    if lab is None or lab.firmware is None:
        return ALLOCATE
    if lab.call is None or lab.call.after is None:
        return CALL
    return ALIGN if lab.allocations and lab.allocations[0].returned is not None else ALLOCATE


check = partial(checks.check, bsp_in=at_work)


def report(cause, *, seen, **what):
    """Fail for a cause; if the mistake itself was not `seen`, what stopped the BSP comes first."""
    (fail if seen else missing)(cause, **what)


def the_lab(boot):
    """What this lab's probe recorded; fail if the BSP did not come to the lab's functions."""
    return needed(boot.lab)


# --- lab6.1: memory from the top of low memory, with a BIOS ---------------------------------------


def allocations(boot):
    """Each call of alloc_realmodemem that the grader made with a BIOS, and what came before."""
    lab = the_lab(boot)
    taken = []
    for number, one in enumerate(lab.allocations, 1):
        name = msg("call {number}, {size} bytes", number=number, size=one.size)
        yield name, one, tuple(taken)
        taken.append(one)


def came_back(one):
    """Fail unless a call of alloc_realmodemem returned."""
    if one.panicked:
        fail(
            "panics-without-a-reason",
            cpu=0,
            place=ALLOCATE,
            expected=msg("{size} of {kib} KiB are there", size=one.size, kib=one.word[0]),
            observed=msg("alloc_realmodemem panicked"),
            goes_on=True,
        )
    if one.returned is None:
        missing(
            "alloc-no-return",
            cpu=0,
            place=ALLOCATE,
            expected=msg("alloc_realmodemem ({size}) returns", size=one.size),
            observed=msg("it did not return"),
        )


def kib_for(size):
    """How many KiB hold that many bytes."""
    return -(-size // 1024)


@check("lab6.bios.word", BIOS, also=SEABIOS, per=allocations)
def word_is_lowered(boot, one, earlier):
    """The word at 0x413 falls by as many KiB as the memory needs, and nothing else changes."""
    came_back(one)
    before, after = one.word
    expected = msg(
        "the word at {address:#x} falls from {before} by at most {kib}",
        address=BDA_MEMORY_SIZE,
        before=before,
        kib=kib_for(one.size),
    )
    fell = (before - after) % 0x10000  # a word: below 0 it wraps around
    units = (one.size, one.size // 16, -(-one.size // 16))
    wrong_unit = fell > kib_for(one.size) and fell in units
    if wrong_unit or before - after > kib_for(one.size):
        fail(
            "word-in-the-wrong-unit" if wrong_unit else "word-too-low",
            cpu=0,
            place=ALLOCATE,
            expected=expected,
            observed=msg("it fell by {kib} to {after}", kib=fell, after=after),
        )
    if reads_no_more(one, earlier):
        fail(
            "word-not-read-again",
            cpu=0,
            place=ALLOCATE,
            expected=expected,
            observed=msg(
                "it is {after}, as if it had been {left} still: an earlier call has left that",
                after=after,
                left=earlier[-1].word[1],
            ),
        )
    # A later call may use what an earlier one has left of its last KiB.
    if after > before or (after == before and one.returned < after * 1024):
        fail(
            "word-not-lowered",
            cpu=0,
            place=ALLOCATE,
            expected=expected,
            observed=msg("it is {after}", after=after),
        )
    if one.changed:
        fail(
            "low-memory-overwritten",
            cpu=0,
            place=ALLOCATE,
            expected=msg("only the 2 bytes at {address:#x} change", address=BDA_MEMORY_SIZE),
            observed=msg(
                "{addresses} changed", addresses=listed([f"{at:#x}" for at in one.changed])
            ),
        )


def reads_no_more(one, earlier):
    """Whether a call has gone on from the word of an earlier one, which is not there any more."""
    before, after = one.word
    left = earlier[-1].word[1] if earlier else before
    return before < after <= left and left - after <= kib_for(one.size)


@check("lab6.bios.memory", BIOS, also=SEABIOS, per=allocations)
def memory_is_above_the_limit(boot, one, earlier):
    """alloc_realmodemem returns memory that was below the limit and is above it now."""
    came_back(one)
    low, high = one.word[1] * 1024, (earlier or (one,))[0].word[0] * 1024
    start, end = one.returned, one.returned + one.size
    expected = msg("{size} bytes between {low:#x} and {high:#x}", size=one.size, low=low, high=high)
    seen = msg("alloc_realmodemem returned {address:#x}", address=start)
    if start < low:
        fail("memory-below-the-limit", cpu=0, place=ALLOCATE, expected=expected, observed=seen)
    for other in (one for one in earlier if one.returned is not None):
        if start < other.returned + other.size and other.returned < end:
            fail(
                "memory-returned-twice",
                cpu=0,
                place=ALLOCATE,
                expected=expected,
                observed=msg(
                    "alloc_realmodemem returned {address:#x}, and {other:#x} before, for {size} "
                    "bytes",
                    address=start,
                    other=other.returned,
                    size=other.size,
                ),
            )
    if end > high:
        fail("memory-above-low-memory", cpu=0, place=ALLOCATE, expected=expected, observed=seen)


@check("lab6.bios.refused", BIOS, also=SEABIOS, after="lab6.bios.memory")
def too_much_is_refused(boot):
    """If there is less low memory than asked for, alloc_realmodemem panics."""
    refused, more = needed(the_lab(boot).refused), the_lab(boot).refused_more
    expected = msg("{size} bytes of {kib} KiB: panic", size=refused.size, kib=refused.word[0])
    if more is not None and more.returned is not None:
        fail(
            "kib-cut",
            cpu=0,
            place=ALLOCATE,
            expected=msg("{size} bytes of {kib} KiB: panic", size=more.size, kib=more.word[0]),
            observed=msg("alloc_realmodemem returned {address:#x}", address=more.returned),
        )
    if not refused.panicked:
        again = any(reads_no_more(one, earlier) for _, one, earlier in allocations(boot))
        rounded = refused.size > MASK_32 - 1024
        report(
            "word-not-read-again"
            if again
            else "size-overflows"
            if rounded
            else "too-much-not-refused",
            seen=refused.returned is not None,
            cpu=0,
            place=ALLOCATE,
            expected=expected,
            observed=msg("it did not return")
            if refused.returned is None
            else msg("alloc_realmodemem returned {address:#x}", address=refused.returned),
        )
    if refused.word[1] != refused.word[0]:
        fail(
            "word-changed-before-panic",
            cpu=0,
            place=ALLOCATE,
            expected=msg("the word at {address:#x} stays", address=BDA_MEMORY_SIZE),
            observed=msg("it is {after}", after=refused.word[1]),
        )


# --- lab6.2: the way to the firmware --------------------------------------------------------------


def the_call(boot):
    """The grader's call of uefi_call."""
    return needed(the_lab(boot).call)


def lost_at_cr3(boot):
    """Fail if the BSP has loaded page tables that do not map the code that it was executing."""
    end, tables = boot.bsp.end, needed(the_lab(boot).firmware).cr3
    if boot.how_ended != "shutdown" or (end.cr3 == tables) != (end.pc >= VMM_BASE):
        return
    if end.cr3 in (tables, the_call(boot).before["cr3"]):
        fail(
            "code-not-mapped",
            cpu=0,
            place=boot.bsp.end_place.text,
            expected=msg("the same instruction is mapped before and after CR3 is loaded"),
            observed=msg(
                "CR3 = {cr3:#x}, and nothing is mapped at {address:#x}, the next instruction",
                cr3=end.cr3,
                address=end.pc,
            ),
        )


def lost_with_other_tables(boot):
    """Fail if the BSP has loaded a GDTR or IDTR on the way back that it has never had."""
    firmware, call = the_lab(boot).firmware, the_call(boot)
    for name, part in (("GDTR", "gdt"), ("IDTR", "idt")) if call.loaded else ():
        before, now = getattr(call.before, part), getattr(call.loaded, part)
        if now not in (before, getattr(firmware, part)):
            fail(
                "tables-not-restored",
                cpu=0,
                place=CALL,
                expected=shown(name, table(before)),
                observed=msg("{register}; then the BSP was lost", register=shown(name, table(now))),
                next=msg(
                    "sgdt and sidt store ten bytes each. Do these bytes overlap, and do lgdt and "
                    "lidt read them where they are?"
                ),
            )


def went_astray(call):
    """Fail if the BSP has gone on at addresses of the VMM that are not mapped to it."""
    if call.astray is not None:
        fail(
            "code-not-mapped",
            cpu=0,
            place=CALL,
            expected=msg(
                "code is at its physical address while the firmware's page tables are used"
            ),
            observed=msg(
                "it went on at addresses of the VMM, up to {address:#x}: no memory is there",
                address=call.astray,
            ),
        )


def at_function(boot):
    """The BSP at the first instruction of the function that uefi_call is to call.

    Fail if it did not come there.
    """
    call = the_call(boot)
    if call.at_function is None:
        taken = boot.bsp.exception
        if taken is not None and taken.cr2 == taken.place.address == call.function:
            fail(
                "own-page-tables",
                cpu=0,
                place=CALL,
                expected=msg("the firmware's page tables map {address:#x}", address=call.function),
                observed=msg("they do not: uefi_call is still on the VMM's"),
            )
        lost_at_cr3(boot)
        went_astray(call)
        report(
            "function-not-reached",
            seen=call.after is not None,
            cpu=0,
            place=CALL,
            expected=msg("uefi_call calls the function at {address:#x}", address=call.function),
            observed=msg("it came back without having called it")
            if call.after
            else msg("the function was not reached"),
        )
    return call.at_function


def tables(boot):
    """CR3, GDTR and IDTR."""
    firmware = the_lab(boot).firmware
    now = at_function(boot)
    yield "CR3", "CR3", hex(now["cr3"]), hex(firmware.cr3)
    yield "GDTR", "GDTR", table(now.gdt), table(firmware.gdt)
    yield "IDTR", "IDTR", table(now.idt), table(firmware.idt)


def table(register):
    """GDTR or IDTR as text."""
    return f"{register.base:#x}, limit {register.limit:#x}"


def shown(name, value):
    """The value of a register, for a reader."""
    return msg("{name} = {value}", name=name, value=value)


@check("lab6.call.tables", UEFI, also=THERE, per=tables)
def on_the_firmwares_tables(boot, name, found, wanted):
    """The function is called on the firmware's page tables, GDT and IDT."""
    if found != wanted:
        cause = "own-page-tables" if name == "CR3" else "own-gdt" if name == "GDTR" else "own-idt"
        fail(
            cause,
            cpu=0,
            place=CALL,
            expected=msg("{register}, the firmware's", register=shown(name, wanted)),
            observed=shown(name, found),
            goes_on=the_call(boot).came_back,
        )


@check("lab6.call.segments", UEFI, also=THERE, after="lab6.call.tables")
def in_the_firmwares_segments(boot):
    """CS, SS, DS and ES are the firmware's, and interrupts are still off."""
    firmware, now = the_lab(boot).firmware, at_function(boot)
    for name in SELECTORS:
        if now[name] != firmware.selectors[name]:
            its = [one for one in SELECTORS if firmware.selectors[one] == now[name]]
            fail(
                "own-segments",
                cpu=0,
                place=CALL,
                expected=shown(name.upper(), f"{firmware.selectors[name]:#x}"),
                observed=shown(name.upper(), f"{now[name]:#x}"),
                next=msg(
                    "This is the firmware's selector for {other}. Each of the four has a field of "
                    "its own in uefi_state, and they may differ.",
                    other=its[0].upper(),
                )
                if its
                else "",
                goes_on=the_call(boot).came_back,
            )
    if now["eflags"] & EFLAGS_IF:
        fail(
            "interrupts-on-before-the-call",
            cpu=0,
            place=CALL,
            expected=msg("interrupts are off until the function turns them on"),
            observed=shown("RFLAGS.IF", 1),
            goes_on=the_call(boot).came_back,
        )
    direction_flag_is_clear(now, goes_on=the_call(boot).came_back)


def direction_flag_is_clear(now, *, goes_on):
    """Fail if string instructions would go to lower addresses."""
    if now["eflags"] & EFLAGS_DF:
        fail(
            "direction-flag-set",
            cpu=0,
            place=CALL,
            expected=shown("RFLAGS.DF", 0),
            observed=shown("RFLAGS.DF", 1),
            goes_on=goes_on,
        )


@check("lab6.call.stack", UEFI, also=THERE)
def on_the_firmwares_stack(boot):
    """The function is called on the firmware's stack: aligned, with 32 bytes of room."""
    firmware, call, now = the_lab(boot).firmware, the_call(boot), at_function(boot)
    rsp, top = now["rsp"], firmware.rsp
    observed = msg("RSP = {rsp:#x} in the function", rsp=rsp)
    if not top - FIRMWARE_STACK < rsp < top:
        fail(
            "not-the-firmwares-stack",
            cpu=0,
            place=CALL,
            expected=msg(
                "RSP is below {top:#x}, in the firmware's stack: at most 64 KiB below", top=top
            ),
            observed=observed,
            goes_on=call.came_back,
        )
    if rsp % 16 != 8:
        fail(
            "stack-not-aligned",
            cpu=0,
            place=CALL,
            expected=msg("RSP is a multiple of 16 where call is, so 8 more in the function"),
            observed=observed,
            goes_on=call.came_back,
        )
    if rsp + 8 + 32 > top or (call.room_in_use and not whole(call)):
        fail(
            "no-room-for-arguments",
            cpu=0,
            place=CALL,
            expected=msg(
                "the 32 bytes from {start:#x} on, above the return address, are free",
                start=rsp + 8,
            ),
            observed=msg("the firmware's own data begin at {top:#x}", top=top)
            if rsp + 8 + 32 > top
            else msg("what uefi_call has saved is there"),
        )


def whole(call):
    """Whether uefi_call came back with the registers that it has to preserve."""
    return call.after is not None and all(
        call.after[name] == call.before[name] for name in PRESERVED
    )


def arguments(boot):
    """Each argument of the function."""
    call, now = the_call(boot), at_function(boot)
    for (name, register), value in zip(ARGUMENTS, call.arguments, strict=True):
        yield (
            msg("{name} in {register}", name=name, register=register.upper()),
            register,
            value,
            now,
        )


@check("lab6.call.arguments", UEFI, also=THERE, per=arguments)
def arguments_are_passed(boot, register, value, now):
    """The four arguments are in RCX, RDX, R8 and R9, all 64 bits of each."""
    found = now[register]
    if found == value:
        return
    other = {
        given: name for (name, _), given in zip(ARGUMENTS, the_call(boot).arguments, strict=True)
    }
    if found in other:
        cause, what = "arguments-swapped", msg("argument {name}", name=other[found])
    elif found and found == value & 0xFFFFFFFF:
        cause, what = "arguments-cut", msg("{value:#x}, its lower 32 bits", value=found)
    else:
        cause, what = "arguments-wrong", f"{found:#x}"
    fail(
        cause,
        cpu=0,
        place=CALL,
        expected=shown(register.upper(), f"{value:#x}"),
        observed=shown(register.upper(), what),
    )


# --- lab6.3: the way back -------------------------------------------------------------------------


def after_the_call(boot):
    """The BSP where uefi_call has returned to; fail if it has not."""
    call = the_call(boot)
    at_function(boot)
    if call.after is None:
        lost_at_cr3(boot)
        lost_with_other_tables(boot)
        missing(
            "uefi-call-no-return",
            cpu=0,
            place=CALL,
            expected=msg("uefi_call returns"),
            observed=msg("it did not: it was lost after the function had returned to it")
            if call.came_back
            else msg("the function did not come back to it"),
        )
    return call.after


@check("lab6.return.interrupts", UEFI, also=THERE, after=AFTER_THE_CALL)
def interrupts_are_off(boot):
    """The function has turned interrupts on: they are off before the VMM goes on."""
    call = the_call(boot)
    if call.open_at:
        at_function(boot)
        fail(
            "interrupts-on-too-long",
            cpu=0,
            place=call.open_place.text if call.open_place else CALL,
            expected=msg("cli before anything of the VMM's is in use"),
            observed=msg(
                "interrupts are on, and {register} is no longer the firmware's",
                register=call.open_at,
            ),
        )
    if after_the_call(boot)["eflags"] & EFLAGS_IF:
        fail(
            "interrupts-left-on",
            cpu=0,
            place=CALL,
            expected=shown("RFLAGS.IF", 0),
            observed=shown("RFLAGS.IF", 1),
        )


def own_tables(boot):
    """What of the VMM's must be in use again."""
    before, now = the_call(boot).before, after_the_call(boot)
    yield "CR3", shown("CR3", f"{before['cr3']:#x}"), shown("CR3", f"{now['cr3']:#x}")
    yield "GDTR", shown("GDTR", table(before.gdt)), shown("GDTR", table(now.gdt))
    yield "IDTR", shown("IDTR", table(before.idt)), shown("IDTR", table(now.idt))
    yield (
        msg("segments"),
        *(
            listed([shown(name.upper(), f"{when[name]:#x}") for name in SELECTORS])
            for when in (before, now)
        ),
    )


@check("lab6.return.tables", UEFI, also=THERE, per=own_tables, after=AFTER_THE_CALL)
def back_on_own_tables(boot, wanted, found):
    """CR3, GDTR, IDTR and the segments are again those of the VMM."""
    if str(found) != str(wanted):
        fail("tables-not-restored", cpu=0, place=CALL, expected=wanted, observed=found)


@check("lab6.return.registers", UEFI, also=THERE, after=AFTER_THE_CALL)
def registers_are_preserved(boot):
    """uefi_call preserves the registers of the psABI and returns what the function returned."""
    call, now = the_call(boot), after_the_call(boot)
    wanted = {name: call.before[name] for name in (*PRESERVED, "gs_base")}
    wanted["rsp"] = call.before["rsp"] + 8
    for name, value in wanted.items():
        if now[name] != value:
            shown_name = msg("the base of GS") if name == "gs_base" else name.upper()
            fail(
                "register-not-preserved",
                cpu=0,
                place=CALL,
                expected=shown(shown_name, f"{value:#x}"),
                observed=shown(shown_name, f"{now[name]:#x}"),
            )
    if not call.at_function["eflags"] & EFLAGS_DF:
        direction_flag_is_clear(now, goes_on=True)
    if now["rax"] != call.value:
        fail(
            "status-lost",
            cpu=0,
            place=CALL,
            expected=shown("RAX", f"{call.value:#x}"),
            observed=shown("RAX", f"{now['rax']:#x}"),
        )
    if call.above_before != call.above_after:
        fail(
            "firmwares-stack-overwritten",
            cpu=0,
            place=CALL,
            expected=msg(
                "memory from {top:#x} on is as it was", top=needed(the_lab(boot).firmware).rsp
            ),
            observed=msg("it has changed"),
        )
    if call.state_changed is not None:
        fail(
            "firmwares-state-changed",
            cpu=0,
            place=CALL,
            expected=msg("uefi_state is as it was"),
            observed=msg("its byte {offset} has changed", offset=call.state_changed),
            goes_on=True,
        )


# --- lab6.4: memory from the firmware -------------------------------------------------------------


def the_allocation(boot):
    """The call of alloc_realmodemem that the VMM itself made."""
    return next(iter(needed(the_lab(boot).allocations or None)))


def why_never_asked(boot, made):
    """Fail because alloc_realmodemem did not call AllocatePages."""
    fail_if(bsp_stopped(boot, ALLOCATE))
    fail(
        "firmware-not-asked",
        cpu=0,
        place=ALLOCATE,
        expected=msg("uefi_call (uefi_boot.allocate_pages, …)"),
        observed=msg("AllocatePages was not called")
        if made.returned is None
        else msg(
            "alloc_realmodemem returned {address:#x} without calling AllocatePages",
            address=made.returned,
        ),
    )


@check("lab6.uefi.asked", UEFI, also=THERE, after=CALL_WORKS, strictly=True)
def firmware_is_asked(boot):
    """AllocatePages is asked for enough pages below 1 MiB that an operating system leaves alone."""
    made = the_allocation(boot)
    if not made.asked:
        why_never_asked(boot, made)
    for call in filter(None, (made, the_lab(boot).refused)):  # that one is for whole pages
        for one in call.asked:
            asked_right(one, call.size)


def asked_right(one, size):
    """Fail unless a call of AllocatePages asks for the right memory."""
    pages = -(-size // PAGE)
    wrong = partial(fail, cpu=0, place=f"{ALLOCATE} → AllocatePages")
    if one.kind not in (ALLOCATE_MAX_ADDRESS, ALLOCATE_ADDRESS):
        swapped = one.kind in (pages, 8) or one.memory_type == pages
        wrong(
            cause="allocate-arguments-swapped" if swapped and one.kind else "any-address-asked",
            expected=msg("the kind of allocation is 1 (AllocateMaxAddress)"),
            observed=msg("it is {kind:#x}", kind=one.kind),
        )
    if one.memory_type not in KEPT_BY_AN_OS:
        wrong(
            cause="allocate-arguments-swapped" if one.memory_type == pages else "wrong-memory-type",
            expected=msg("memory type 8 (EfiUnusableMemory), which an OS leaves alone"),
            observed=msg("memory type {type:#x}", type=one.memory_type),
        )
    if one.pages != pages:
        wrong(
            cause="too-few-pages" if one.pages < pages else "too-many-pages",
            expected=msg("{pages} pages for {size} bytes", pages=pages, size=size),
            observed=msg("{pages} pages", pages=one.pages),
        )
    if one.address is None or VMM_BASE <= one.pointer < 2 * VMM_BASE:
        wrong(
            cause="pointer-is-virtual",
            expected=msg("R9 is the physical address of a 64-bit variable"),
            observed=shown("R9", f"{one.pointer:#x}"),
        )
    if one.kind == ALLOCATE_MAX_ADDRESS and one.address >> 32 and one.address & MASK_32 < ONE_MIB:
        wrong(
            cause="address-not-64-bits",
            expected=msg("all 64 bits of the variable at R9 hold an address below 1 MiB"),
            observed=msg("they are {address:#x}: only the lower 32 were set", address=one.address),
        )
    last = (
        one.address | PAGE - 1
        if one.kind == ALLOCATE_MAX_ADDRESS
        else one.address + pages * PAGE - 1
    )
    # Of the last page, the firmware uses none that does not end at or below the address.
    if last >= ONE_MIB and not (one.kind == ALLOCATE_MAX_ADDRESS and one.address == ONE_MIB):
        wrong(
            cause="limit-above-1-mib",
            expected=msg("all pages are below {limit:#x}", limit=ONE_MIB),
            observed=msg("the variable at R9 holds {address:#x}", address=one.address),
        )


@check("lab6.uefi.memory", UEFI, also=THERE, after=("lab6.uefi.asked", "lab6.return.registers"))
def memory_is_returned(boot):
    """alloc_realmodemem returns the memory that the firmware has allocated."""
    made = the_allocation(boot)
    if made.panicked:
        fail(
            "panics-without-a-reason",
            cpu=0,
            place=ALLOCATE,
            expected=msg("alloc_realmodemem returns"),
            observed=msg("it panicked, and AllocatePages had returned 0"),
        )
    if made.returned is None:
        missing(
            "alloc-no-return",
            cpu=0,
            place=ALLOCATE,
            expected=msg("alloc_realmodemem returns"),
            observed=msg("it did not return"),
        )
    given = [one for one in made.asked if one.status == 0]
    start, end = made.returned, made.returned + made.size
    if not any(one.given <= start and end <= one.given + one.pages * PAGE for one in given):
        fail(
            "other-memory-returned",
            cpu=0,
            place=ALLOCATE,
            expected=msg(
                "what the firmware stored: {addresses}",
                addresses=listed([f"{one.given:#x}" for one in given]) or "-",
            ),
            observed=msg("alloc_realmodemem returned {address:#x}", address=start),
        )


@check("lab6.uefi.refused", UEFI, also=THERE, after="lab6.uefi.memory")
def refusal_is_noticed(boot):
    """If AllocatePages returns an error, alloc_realmodemem panics."""
    refused = needed(the_lab(boot).refused)
    if not refused.panicked:
        report(
            "refusal-ignored",
            seen=refused.returned is not None,
            cpu=0,
            place=ALLOCATE,
            expected=msg(
                "AllocatePages returns {status:#x}: panic",
                status=next((one.status for one in refused.asked), 0),
            ),
            observed=msg("it did not return")
            if refused.returned is None
            else msg("alloc_realmodemem returned {address:#x}", address=refused.returned),
        )


# --- lab6.5: an address for the trampoline --------------------------------------------------------


def addresses(boot):
    """What align_apinit_addr was called with, and what it returned."""
    for number, (address, found) in enumerate(needed(the_lab(boot).aligned or None), 1):
        yield msg("call {number}, {address:#x}", number=number, address=address), address, found


@check("lab6.align.address", UEFI, also=THERE, per=addresses, after="lab6.uefi.memory")
def address_fits(boot, address, found):
    """align_apinit_addr returns the lowest address that the far jump can name."""
    wanted = address + (boot.apinit_offset - address) % 16
    if found != wanted:
        fits = (found - boot.apinit_offset) % 16 == 0
        fail(
            "address-not-the-lowest" if fits else "address-does-not-fit",
            cpu=0,
            place=ALIGN,
            expected=msg(
                "{address:#x}: minus APINIT_OFFSET ({offset:#x}) it is a multiple of 16",
                address=wanted,
                offset=boot.apinit_offset,
            ),
            observed=msg("it returned {address:#x}", address=found),
        )


@check("lab6.boot.parked", ALL_THE_WAY, after="lab6.align.address")
def parks_with_uefi(boot):
    """On a machine with UEFI the BSP goes through all rounds and parks."""
    if boot.bsp.end_kind != "parked":
        fail_if(bsp_stopped(boot))
        fail(
            "bsp-not-parked",
            cpu=0,
            place=boot.bsp.end_place.text,
            expected=msg("the BSP parks"),
            observed=boot.bsp.ended,
        )
