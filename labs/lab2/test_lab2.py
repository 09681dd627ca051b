"""Lab 2: the BSP leaves the boot stack for one of its own."""

from functools import partial
from typing import NamedTuple

from vmmlab import checks
from vmmlab.checks import fail, fail_if, missing, msg, needed
from vmmlab.diagnosis.aps import why_not_all_parked
from vmmlab.diagnosis.bsp import bsp_stopped, code_text
from vmmlab.diagnosis.halves import half_stored
from vmmlab.observe.milestones import OWN_STACK
from vmmlab.probes import boot_in_words, placed_call, stack_switch
from vmmlab.x86.registers import EFLAGS_DF, EFLAGS_IF

SWITCH = stack_switch(cpus=4)
# Also with other numbers in cohort.h: another size of a stack, another place of stackaddr.
NOT_OPTIMISED = stack_switch(name="switch-o0", cpus=4, opt="-O0", cohort="other", holds="stackaddr")
THERE = stack_switch(name="there", cpus=2, cohort="other")  # for i386, where -O0 is not tried
ALONE = stack_switch(name="alone", cpus=1, swap=True, firmware="seabios", holds="initproc")
CALLS = placed_call(cpus=1)

TIMER, SEL_CODE = 8, 0x08
PROCS = ("bsp", "ap")  # whose function each argument of start_all_processors is
FIRST_INSTRUCTION = "bsp_continue → asm_wrrsp_and_jmp → bspinitproc1"


def at_work(boot):
    """The function of this lab that the BSP was in when it went no further."""
    if boot.first("bspinitproc1", 0):
        return ""
    switching = boot.scenario == CALLS.name or block(boot)[0] is not None
    return "asm_wrrsp_and_jmp" if switching else "bsp_continue"


check = partial(checks.check, bsp_in=at_work)


class Names(NamedTuple):
    """What an architecture calls the stack and the frame pointer, and the bytes of a stack word."""

    sp: str
    bp: str
    word: int


def names(boot):
    """What the registers are called where the VMM was built for."""
    return Names("ESP", "EBP", 4) if boot.arch == "i386" else Names("RSP", "RBP", 8)


def report(cause, *, seen, **what):
    """Fail for a cause; if the mistake itself was not `seen`, what stopped the BSP comes first."""
    (fail if seen else missing)(cause, **what)


# --- lab2.1: what start_all_processors is given ---------------------------------------------------


def keeps(boot, who, expected):
    """Fail unless the function that start_all_processors got for a CPU is in initproc_bsp or _ap.

    Args:
        boot: the boot.
        who: "bsp" or "ap".
        expected: what is expected of that variable.
    """
    name, found = f"initproc_{who}", stored(boot, who)
    if not boot.first("start_all_processors") or found != given(boot, who):
        # At bspinitproc1 it should be there: what stops the BSP later may come of it.
        seen = found is not None and boot.first("bspinitproc1", 0) is not None
        before = boot.switch.held if boot.switch else None
        held = found is not None and found == before
        half = half_stored(found or 0, before, given(boot, who))
        report(
            "initproc-not-stored",
            seen=seen,
            cpu=0,
            place="start_all_processors",
            expected=expected,
            observed=msg("{name} was not set", name=name)
            if not found
            else msg("{name} holds what it held before: it was not set", name=name)
            if held
            else f"{name} = {found:#x}",
            next=msg("Store it in every case, whatever {name} held before.", name=name)
            if held
            else msg("The argument is NULL in this boot. It is stored all the same.")
            if not given(boot, who) and not half
            else half,
            goes_on=held or not given(boot, who) or bool(half),
        )


def stored(boot, who):
    """The value of initproc_bsp or initproc_ap after bsp_continue; None if that was not seen."""
    return getattr(boot.switch, f"initproc_{who}", None)


def given(boot, who):
    """The argument of start_all_processors that belongs there."""
    return getattr(boot.switch, f"given_{who}", None) or 0


def keeps_argument(boot, who, number):
    """Fail unless an argument, counted from 1, is kept."""
    expected = msg(
        "{name} = argument {number} = {value:#x}",
        name=f"initproc_{who}",
        number=number,
        value=given(boot, who),
    )
    keeps(boot, who, expected)


def arguments_of_each(boots):
    """Both arguments of start_all_processors in each boot."""
    for boot in boots:
        for number, who in enumerate(PROCS, 1):
            where = boot_in_words(SWITCH if boot.scenario == SWITCH.name else ALONE)
            if boot.scenario == CALLS.name:
                where = msg("functions above 4 GiB")
            yield msg("initproc_{who}, {boot}", who=who, boot=where), boot, who, number


@check("lab2.procs.stored", SWITCH, ALONE, CALLS, per=arguments_of_each)
def arguments_are_kept(boots, boot, who, number):
    """start_all_processors stores its arguments in initproc_bsp and initproc_ap."""
    if boot.scenario == CALLS.name:
        keeps_all_bits(boot, who, number)
    else:
        keeps_argument(boot, who, number)


def keeps_all_bits(boot, who, number):
    """Fail unless a function above 4 GiB is stored, with all its bits."""
    call, name = boot.call, f"initproc_{who}"
    right = call.given[number - 1] if call and call.given else 0
    found = call.kept[number - 1] if call and call.kept else None
    if found is None or found != right:
        truncated = found is not None and found in lower_parts(right)
        report(
            "initproc-not-stored",
            seen=found is not None,
            cpu=0,
            place="start_all_processors",
            expected=msg(
                "{name} = argument {number} = {value:#x}", name=name, number=number, value=right
            ),
            observed=f"{name} = {found:#x}" if found else msg("{name} was not set", name=name),
            next=msg("A function's address has 64 bits: pass it on as it is.") if truncated else "",
            goes_on=truncated,
        )


# --- lab2.2: a stack from alloc -------------------------------------------------------------------


def block(boot):
    """The stack that alloc gave the BSP: its address, or None; and what was asked of alloc.

    Of several blocks of that size, the stack is the one that stackaddr names.
    """
    asked = boot.bsp.allocations
    right = [one.address for one in asked if one.size == boot.stack_size]
    recorded = getattr(boot.switch, "stackaddr", None)
    return recorded if recorded in right else next(iter(right), None), asked


@check("lab2.stack.alloc", SWITCH, also=NOT_OPTIMISED, after="lab2.procs.stored")
def stack_is_allocated(boot):
    """bsp_continue takes VMM_STACKSIZE bytes from alloc."""
    base, asked = block(boot)
    hit = boot.first("bspinitproc1", 0)
    stays = hit and boot.addr("boot_stack") <= hit.state.rsp <= boot.addr("boot_stack_top")
    if stays and not asked and not boot.first("bsp_continue"):
        fail(
            "bspinitproc1-without-a-stack",
            cpu=0,
            place="start_all_processors → bspinitproc1",
            expected=msg("start_all_processors → bsp_continue (bspinitproc1), which calls alloc"),
            observed=msg(
                "bspinitproc1 was reached, and alloc was not called; RSP = {rsp:#x}",
                rsp=hit.state.rsp,
            ),
        )
    if base is None:
        missing(
            "stack-not-allocated",
            cpu=0,
            place="bsp_continue",
            expected=msg("alloc (VMM_STACKSIZE), which is alloc({size:#x})", size=boot.stack_size),
            observed=", ".join(f"alloc({one.size:#x})" for one in asked) or msg("no call of alloc"),
        )


@check("lab2.stack.stackaddr", SWITCH, also=NOT_OPTIMISED, after="lab2.stack.alloc")
def stackaddr_is_the_base(boot):
    """currentcpu->stackaddr is the lowest address of the BSP's stack."""
    base = needed(block(boot)[0])
    found = getattr(boot.switch, "stackaddr", None) or 0
    if found and found == boot.switch.held:
        report(
            "stackaddr-not-recorded",
            seen=boot.first("bspinitproc1", 0) is not None,
            cpu=0,
            place="bsp_continue",
            expected=msg("currentcpu->stackaddr = {address:#x}, what alloc returned", address=base),
            observed=msg(
                "currentcpu->stackaddr = {address:#x}, which it held before", address=found
            ),
            next=msg(
                "Set it before asm_wrrsp_and_jmp, which does not return, and whatever it held "
                "before."
            ),
            goes_on=True,
        )
    if found != base:
        is_top = found == base + boot.stack_size
        half = half_stored(found, boot.switch.held if boot.switch else None, base)
        seen = boot.first("bspinitproc1", 0) is not None
        report(
            "stackaddr-is-the-top" if is_top else "stackaddr-not-recorded",
            seen=seen,
            cpu=0,
            place="bsp_continue",
            expected=msg("currentcpu->stackaddr = {address:#x}, what alloc returned", address=base),
            observed=msg(
                "currentcpu->stackaddr = {address:#x}, the top of the stack", address=found
            )
            if is_top
            else f"currentcpu->stackaddr = {found:#x}",
            goes_on=bool(half),
            next=half
            if found
            else msg(
                "It is not set when bspinitproc1 begins. Set it before asm_wrrsp_and_jmp, which "
                "does not return."
            ),
        )


# --- lab2.3: the switch ---------------------------------------------------------------------------


def on_the_new_stack(boot, expected, step=""):
    """Where bspinitproc1 starts on the BSP; fail unless the stack pointer is at the new top.

    Args:
        boot: the boot.
        expected: what is expected of it.
        step: the step that contains the mistake, if that is known.
    """
    base, _ = block(boot)
    hit = boot.first("bspinitproc1", 0)
    size, sp = boot.stack_size, names(boot).sp
    if hit is None or base is None:
        lost_in_the_switch(boot, expected, step)
    if hit.state.rsp != base + size:
        operands_are_kept(boot, hit.state.rsp)
        cause, look = wrong_top(boot, hit.state.rsp, base, base + size)
        fail(
            cause,
            cpu=0,
            step=step,
            place=FIRST_INSTRUCTION,
            expected=msg(
                "{register} = {top:#x} (stackaddr {base:#x} + VMM_STACKSIZE {size:#x})",
                register=sp,
                top=base + size,
                base=base,
                size=size,
            ),
            observed=f"{sp} = {hit.state.rsp:#x}",
            next=look,
        )
    nothing_is_pushed(boot, base + size, step)
    direction_flag_is_clear(hit, step)
    per_cpu_data_are_kept(boot, hit)
    return hit


def nothing_is_pushed(boot, top, step):
    """Fail if the new stack does not hold what it held when alloc returned it.

    A stack that was filled with one value from end to end has had nothing pushed on it.

    Args:
        boot: the boot.
        top: the top of the new stack.
        step: the step that contains the mistake, if that is known.
    """
    word = names(boot).word
    switch = needed(boot.switch, boot=boot)
    filled, found = switch.top_filled, switch.top_found
    first = next(one.address for one in boot.bsp.allocations if one.size == boot.stack_size)
    if first + boot.stack_size != top:
        return
    nothing_is_written_above(boot, top, step)
    nothing_is_written_below(boot, top - boot.stack_size)
    if not filled or not found or filled == found or found == found[:word] * (len(found) // word):
        return
    changed = [i for i in range(0, len(found), word) if found[i : i + word] != filled[i : i + word]]
    at = changed[-1]
    value = int.from_bytes(found[at : at + word], "little")
    name = next((f" ({name})" for name, address in boot.symbols.items() if address == value), "")
    fail(
        "pushed-on-the-new-stack",
        cpu=0,
        step=step,
        place=FIRST_INSTRUCTION,
        expected=msg("nothing has been written to the new stack yet"),
        observed=msg(
            "{value:#x}{name} is at {address:#x}, {count} bytes below the top",
            value=value,
            name=name,
            address=top - len(found) + at,
            count=len(found) - at,
        ),
        next=NOT_BY_THE_SWITCH if step == "lab2.2" else "",
    )


NOT_BY_THE_SWITCH = msg(
    "When the grader calls asm_wrrsp_and_jmp itself, it writes nothing there: which code of "
    "bsp_continue does?"
)


def nothing_is_written_above(boot, top, step):
    """Fail if memory above the new stack has changed, which belongs to no one."""
    switch = needed(boot.switch, boot=boot)
    filled, found = switch.above_filled, switch.above_found
    if not filled or not found or filled == found:
        return
    at = next(i for i, (one, two) in enumerate(zip(filled, found)) if one != two)
    fail(
        "written-above-the-stack",
        cpu=0,
        step=step,
        place=FIRST_INSTRUCTION,
        expected=msg("nothing is written at or above the top, {top:#x}", top=top),
        observed=msg("memory at {address:#x} has changed", address=top + at),
        next=NOT_BY_THE_SWITCH if step == "lab2.2" else "",
    )


def nothing_is_written_below(boot, base):
    """Fail if memory below the new stack has changed that bsp_continue has not allocated."""
    switch = needed(boot.switch, boot=boot)
    filled, found = switch.below_filled or b"", switch.below_found or b""
    for at, (one, two) in enumerate(zip(filled, found), base - len(filled)):
        own = any(
            block.address <= at < block.address + block.size for block in boot.bsp.allocations
        )
        if one != two and not own:
            fail(
                "written-below-the-stack",
                cpu=0,
                step="lab2.2",
                place="bsp_continue",
                expected=msg(
                    "nothing is written below the stack, which begins at {base:#x}", base=base
                ),
                observed=msg("memory at {address:#x} has changed", address=at),
            )


def wrong_top(boot, rsp, base, top):
    """The cause of a wrong stack pointer, and where to look if that depends on the boot."""
    sp, _, word = names(boot)
    switch = needed(boot.switch, boot=boot)
    pushed = switch.top_found != switch.top_filled
    if base + word < rsp < top and not pushed and switch.top_found:
        look = msg(
            "Nothing was pushed, so {register} was computed {count} bytes too low.",
            register=sp,
            count=top - rsp,
        )
        return "rsp-not-the-top", look
    if rsp == top - word:
        look = msg(
            "The stack pointer is {count} bytes too low: did you call instead of jump?", count=word
        )
        return "call-instead-of-jmp", look
    blocks = [one.address for one in boot.bsp.allocations if one.size == boot.stack_size]
    if rsp - boot.stack_size in blocks:
        look = msg("alloc was called {count} times for a stack.", count=len(blocks))
        return "top-of-another-block", look
    if rsp in (base, base - word):
        return "stack-base-instead-of-top", ""
    if boot.addr("boot_stack") <= rsp <= boot.addr("boot_stack_top"):
        look = msg("This is in the boot stack: {register} was not changed at all.", register=sp)
        return "bsp-stays-on-boot-stack", look
    if base < rsp < top:
        look = msg(
            "Nothing may be pushed: {register} is stackaddr + VMM_STACKSIZE exactly. If a function "
            "of yours runs on the new stack first and calls bspinitproc1: jump there directly.",
            register=sp,
        )
        return "rsp-not-the-top", look
    return "rsp-outside-the-new-stack", ""


def lost_in_the_switch(boot, expected, step):
    """Fail for a BSP that did not come to bspinitproc1 on its new stack."""
    base, _ = block(boot)
    hit = boot.first("bspinitproc1", 0)
    sp, bp, _ = names(boot)
    top = base and base + boot.stack_size
    arguments_are_not_exchanged(boot, expected, top, step)
    other = next((h for h in boot.hits if h.cpu == 0 and top and h.state.rsp == top), None)
    if hit is None and (died := read_by_frame_pointer(boot)):
        fail(
            "operand-read-by-rbp",
            cpu=0,
            place=died.place,
            expected=expected,
            observed=msg(
                "{what}: next to 0, the address that {register} = 0 gives",
                what=died.observed,
                register=bp,
            ),
            next=msg(
                "An operand was read through {register} after {register} had been set to "
                "0: without optimisation a parameter lives in memory, at an address "
                'relative to {register}. Request both operands in registers ("r").',
                register=bp,
            ),
        )
    if hit is None and other:
        missing(
            "bsp-lost-in-the-switch",
            cpu=0,
            place="start_all_processors → bsp_continue",
            expected=expected,
            observed=msg(
                "bspinitproc1 was never reached; on its new stack the BSP went to {place}",
                place=other.place,
            ),
            next=msg(
                "bsp_continue continues in the function that it is given: does "
                "start_all_processors give it bspinitproc1, and does bsp_continue pass "
                "that on?"
            ),
        )
    missing(
        "bsp-lost-in-the-switch",
        cpu=0,
        place=boot.bsp.end_place.text,
        expected=expected,
        observed=msg(
            "bspinitproc1 was never reached; the BSP ended at {place}: {code} ({register} = "
            "{value:#x})",
            place=boot.bsp.end_place.text,
            code=code_text(boot.bsp.end_code),
            register=sp,
            value=boot.bsp.end.rsp,
        ),
        next=msg(
            "Are both operands in registers before you change {bp} or {sp}? At -O0 a "
            "parameter lives in memory, at an address relative to {bp}.",
            bp=bp,
            sp=sp,
        ),
    )


def arguments_are_not_exchanged(boot, expected, top, step):
    """Fail if the BSP jumped to the top of the stack, with the function as the stack pointer."""
    taken, sp = boot.bsp.exception, names(boot).sp
    value = taken.sp if taken else boot.bsp.end.rsp
    jumped_to_top = taken is not None and taken.place.address == top
    if top and (jumped_to_top or value == boot.addr("bspinitproc1")):
        fail(
            "switch-arguments-exchanged",
            cpu=0,
            step=step,
            place="bsp_continue → asm_wrrsp_and_jmp",
            expected=expected,
            observed=msg(
                "the BSP jumped to the top of the stack, {top:#x}, with {register} = {value:#x}; "
                "bspinitproc1 is at {function:#x}",
                top=top,
                register=sp,
                value=value,
                function=boot.addr("bspinitproc1"),
            ),
        )


def operands_are_kept(boot, rsp):
    """Fail if the stack pointer is the function: both operands were in one register in the end."""
    if rsp == boot.addr("bspinitproc1"):
        fail(
            "operand-overwritten",
            cpu=0,
            step="lab2.3",
            place="asm_wrrsp_and_jmp",
            expected=msg("each register that the instructions change is an operand or a clobber"),
            observed=msg(
                "{register} = {rsp:#x}, which is bspinitproc1, and the BSP has jumped there, too",
                register=names(boot).sp,
                rsp=rsp,
            ),
        )


def read_by_frame_pointer(boot):
    """What ended the BSP, if that was asm_wrrsp_and_jmp at an address that RBP = 0 leads to.

    That is just below 0; on i386, where the arguments are on the stack, also just above.
    """
    found, taken = bsp_stopped(boot), boot.bsp.exception
    if not found or found.cause != "bsp-exception" or not taken.place.is_in("asm_wrrsp_and_jmp"):
        return None
    end, above = (2**32, 4096) if boot.arch == "i386" else (2**64, 0)
    return found if taken.cr2 < above or taken.cr2 >= end - 4096 else None


def without_a_frame(boot, hit):
    """Fail unless the frame pointer is 0 where bspinitproc1 starts."""
    sp, bp, _ = names(boot)
    if hit.state.rbp:
        fail(
            "rbp-not-zero",
            cpu=0,
            place=FIRST_INSTRUCTION,
            expected=f"{bp} = 0",
            observed=f"{bp} = {hit.state.rbp:#x}",
            next=msg("All of {bp} has to be 0, and not only its lower half.", bp=bp)
            if not hit.state.rbp & 0xFFFF
            else msg("Zero {bp} in the same asm statement that sets {sp}.", bp=bp, sp=sp),
        )


def by_optimisation(boots):
    """Each boot, by how its files were compiled."""
    for boot in boots:
        yield "-O0" if boot.scenario == NOT_OPTIMISED.name else "-O2", boot


def switches(boots):
    """Each way to call asm_wrrsp_and_jmp."""
    for boot in boots:
        if boot.scenario == CALLS.name:
            yield msg("a stack above 4 GiB"), boot
        else:
            yield "-O0" if boot.scenario == NOT_OPTIMISED.name else "-O2", boot


ON_TOP = msg("bspinitproc1 runs with RSP = stackaddr + VMM_STACKSIZE")


@check(
    "lab2.switch.top",
    SWITCH,
    NOT_OPTIMISED,
    CALLS,
    per=switches,
    after="lab2.stack.stackaddr",
)
def rsp_is_the_top(boots, boot):
    """bspinitproc1 starts with RSP at the top of the new stack, reached by a jump."""
    *_, calls = boots
    if boot is calls:
        jumps_on_any_stack(boot)
    else:
        continues_elsewhere(boot, boots)
        # If asm_wrrsp_and_jmp is right when the grader calls it, its caller is wrong.
        on_the_new_stack(boot, ON_TOP, "lab2.2" if is_on_asked_stack(calls) else "lab2.3")


def continues_elsewhere(boot, boots):
    """Fail if bspinitproc1 starts wrongly because bsp_continue was called for another function.

    Args:
        boot: the boot that is judged.
        boots: those in which the call may be seen; optimised code may have none.
    """
    base, _ = block(boot)
    hit = boot.first("bspinitproc1", 0)
    switch = boot.switch
    on_top = hit is not None and base is not None and hit.state.rsp == base + boot.stack_size
    if on_top and switch and switch.top_found == switch.top_filled:
        return
    calls = [(one, call) for one in boots for call in one.at("bsp_continue", 0)]
    seen, called = next(iter(calls), (boot, None))
    if called is None or called.state.rdi == seen.addr("bspinitproc1"):
        return
    fail(
        "another-function-continued",
        cpu=0,
        step="lab2.1",
        place="start_all_processors",
        expected="bsp_continue (bspinitproc1)",
        observed=msg(
            "bsp_continue was called with {address:#x}; bspinitproc1 is at {right:#x}",
            address=called.state.rdi,
            right=seen.addr("bspinitproc1"),
        ),
    )


def interrupts_stay_off(boot):
    """Fail if interrupts are on where bspinitproc1 starts, or if one has come before.

    The firmware's timer has vector 8. The processor pushes no error code for an interrupt, so the
    handler of exception 8 takes RIP for the error code, and CS for RIP.
    """
    hit, taken = boot.first("bspinitproc1", 0), boot.bsp.exception
    off = msg("interrupts are off, as they were before")
    if taken is not None and taken.vector == TIMER and taken.place.address == SEL_CODE:
        fail(
            "interrupts-on",
            cpu=0,
            place=FIRST_INSTRUCTION,
            expected=off,
            observed=msg("the timer's interrupt came, at {address:#x}", address=taken.error),
        )
    if hit is not None and hit.state.eflags & EFLAGS_IF:
        fail(
            "interrupts-on",
            cpu=0,
            place=FIRST_INSTRUCTION,
            expected=off,
            observed=f"RFLAGS = {hit.state.eflags:#x}, RFLAGS.IF = 1",
        )


def direction_flag_is_clear(hit, step=""):
    """Fail if the direction flag is set where a function begins (System V ABI, 3.2.1)."""
    if hit.state.eflags & EFLAGS_DF:
        fail(
            "direction-flag-set",
            cpu=0,
            step=step,
            place="asm_wrrsp_and_jmp",
            expected=msg("RFLAGS.DF = 0 at the first instruction of the function"),
            observed=f"RFLAGS = {hit.state.eflags:#x}, RFLAGS.DF = 1",
            goes_on=True,
        )


def per_cpu_data_are_kept(boot, hit):
    """Fail if GS does not lead to the per-CPU data any more where bspinitproc1 begins."""
    before = needed(boot.first("start_all_processors")).state.gs_base
    if boot.arch != "i386" and hit.state.gs_base != before:
        fail(
            "gs-base-lost",
            cpu=0,
            step="lab2.3",
            place="asm_wrrsp_and_jmp",
            expected=msg(
                "the base of GS is {base:#x}, where the data of this CPU are", base=before
            ),
            observed=msg(
                "at the first instruction of bspinitproc1 it is {base:#x}", base=hit.state.gs_base
            ),
        )


def bsp_continue_keeps_all_bits(boot):
    """Fail if bsp_continue, called by the grader, has cut the address of a function."""
    call = boot.call
    if call and call.continued not in (None, call.asked_target):
        fail(
            "target-truncated",
            cpu=0,
            step="lab2.2",
            place="bsp_continue",
            expected=msg("bsp_continue ({address:#x}) continues there", address=call.asked_target),
            observed=msg("it continued at {address:#x}", address=call.continued),
            next=msg("A function's address has 64 bits: pass it on as it is."),
            goes_on=True,
        )


def no_variable_is_shared(boot):
    """Fail if another call has changed an argument, because a variable held it."""
    if boot.call and boot.call.shared is not None:
        fail(
            "switch-shares-variables",
            cpu=0,
            step="lab2.3",
            place="asm_wrrsp_and_jmp",
            expected=msg("another CPU may call the same function at any time"),
            observed=msg(
                "an argument was kept in a variable, at {address:#x}; when another call had stored "
                "its own there, the first one went on with that",
                address=boot.call.shared,
            ),
        )


def is_on_asked_stack(boot):
    """Whether asm_wrrsp_and_jmp came where the grader asked it to, with the right stack pointer."""
    asked = boot.first("called.asked")
    return asked is not None and boot.call and asked.state.rsp == boot.call.asked_rsp


def lower_parts(value):
    """What is left of a value of 64 bits if only some of its lower bits are kept."""
    return [part for bits in range(16, 64) if (part := value & (1 << bits) - 1) != value]


def rounded_to(found, right):
    """The power of 2 that a stack pointer was rounded down to a multiple of; 0 if it was not.

    The top of a stack from alloc, a multiple of 4096, was right: nothing was subtracted.
    """
    return next((1 << bit for bit in range(13) if found == right & -(1 << bit)), 0)


def bits_lost(found):
    """What to look at if an address lost bits, but not just the upper 32 of them; or ""."""
    if found < 1 << 32:
        return ""
    return msg(
        "More than 32 bits have arrived, but not all 64. An address is passed on as it is: bits 63 "
        "to 48 are a part of it."
    )


def jumps_on_any_stack(boot):
    """Fail unless asm_wrrsp_and_jmp jumps with exactly the stack pointer that it is given."""
    if is_on_asked_stack(boot):
        direction_flag_is_clear(boot.first("called.asked"), "lab2.3")
        bsp_continue_keeps_all_bits(boot)
        return
    no_variable_is_shared(boot)
    asked, right = boot.first("called.asked"), boot.call.asked_rsp if boot.call else 0
    what = {"cpu": 0, "step": "lab2.3", "place": "asm_wrrsp_and_jmp"}
    what["expected"] = msg("asm_wrrsp_and_jmp ({rsp:#x}, jmpto) jumps with this RSP", rsp=right)
    if asked is not None:
        rounded = rounded_to(asked.state.rsp, right)
        if rounded:
            fail(
                "rsp-rounded",
                observed=msg(
                    "RSP = {rsp:#x}: it was rounded down to a multiple of {size}",
                    rsp=asked.state.rsp,
                    size=rounded,
                ),
                **what,
            )
        short = asked.state.rsp in lower_parts(right)
        fail(
            "rsp-truncated" if short else "rsp-outside-the-new-stack",
            observed=f"RSP = {asked.state.rsp:#x}",
            next=bits_lost(asked.state.rsp) if short else "",
            **what,
        )
    fault = boot.bsp.exception or boot.bsp.triple_fault
    target = boot.call.asked_target if boot.call else 0
    taken = boot.bsp.exception
    at = taken.place.address if taken else getattr(fault, "pc", None)
    led = {fault.cr2, getattr(fault, "pc", 0), at} if fault is not None else set()
    lower = next((one for one in lower_parts(target) if one in led), None)
    if lower is not None:
        fail(
            "target-truncated",
            **what
            | {"expected": msg("it jumps to its second argument, {address:#x}", address=target)},
            observed=msg("it jumped to {address:#x}", address=lower),
            next=bits_lost(lower),
        )
    if (
        fault is not None
        and fault.vector == 14
        and right - 4096 <= fault.cr2 < right + 4096
        and fault.cr2 != at
    ):
        above = fault.cr2 >= right
        fail(
            "written-above-the-stack" if above else "pushed-on-the-new-stack",
            observed=msg(
                "page fault: something was written to {address:#x}, above that RSP",
                address=fault.cr2,
            )
            if above
            else msg(
                "page fault: something was written to {address:#x}, below that RSP",
                address=fault.cr2,
            ),
            **what,
        )
    if fault is not None and fault.cr2 == right:
        fail(
            "switch-arguments-exchanged",
            observed=msg("it jumped to {address:#x}, the first argument", address=right),
            **what,
        )
    missing(
        "bsp-lost-in-the-switch",
        observed=msg("it returned to its caller")
        if boot.first("returned")
        else msg(
            "the BSP ended at {place}: {code} (RSP = {rsp:#x})",
            place=boot.bsp.end_place.text,
            code=code_text(boot.bsp.end_code),
            rsp=boot.bsp.end.rsp,
        ),
        **what,
    )


@check("lab2.switch.frame", SWITCH, NOT_OPTIMISED, per=by_optimisation, after="lab2.switch.top")
def rbp_is_zero(boots, boot):
    """RBP is 0 when bspinitproc1 starts, so that a backtrace ends there."""
    without_a_frame(boot, needed(boot.first("bspinitproc1", 0), boot=boot))


@check("lab2.switch.left", ALONE, after="lab2.switch.top")
def boot_stack_is_left_alone(boot):
    """After the switch the BSP no longer writes to the boot stack."""
    interrupts_stay_off(boot)
    switch = needed(boot.switch)
    left, end = switch.boot_stack_left or b"", switch.boot_stack_end
    if end is None:
        missing(
            "bsp-not-parked",
            cpu=0,
            place=boot.bsp.end_place.text,
            expected=msg("the BSP is parked"),
            observed=msg("it ended {ending}", ending=boot.bsp.ended),
        )
    changed = [i for i, (a, b) in enumerate(zip(left, end)) if a != b]
    if changed:
        fail(
            "boot-stack-still-used",
            cpu=0,
            place=msg("boot stack, {address:#x}", address=boot.addr("boot_stack") + changed[-1]),
            expected=msg("the boot stack stays as it was when bspinitproc1 began"),
            observed=msg("{count} bytes of it changed later", count=len(changed)),
        )


@check("lab2.switch.aps", SWITCH, per="ap", after="lab2.switch.top")
def ap_switches_with_the_same_function(boot, ap):
    """asm_wrrsp_and_jmp also moves every AP from the boot stack to the top of its own."""
    if not boot.first("apinitproc1", ap.index) or ap.stackaddr is None:
        no_ap_stays_on_the_boot_stack(boot)
        fail(
            "ap-not-on-own-stack",
            cpu=ap.index,
            place=ap.end_place.text,
            expected=msg("{cpu} reaches apinitproc1 on a stack of its own", cpu=ap.name),
            observed=msg(
                "{cpu} got as far as this milestone: {milestone}",
                cpu=ap.name,
                milestone=ap.highest.title,
            ),
        )
    ap_on_its_stack(boot, ap)


def no_ap_stays_on_the_boot_stack(boot):
    """Fail for the first AP that reached apinitproc1 on the boot stack, which others need."""
    for hit in boot.at("apinitproc1"):
        ap = boot.cpus[hit.cpu]
        bottom, top = boot.addr("boot_stack"), boot.addr("boot_stack_top")
        if ap.stackaddr is not None and bottom <= hit.state.rsp <= top:
            ap_on_its_stack(boot, ap)


def ap_on_its_stack(boot, ap):
    """Fail unless an AP that came to apinitproc1 starts it at the top of its own stack."""
    hit = boot.first("apinitproc1", ap.index)
    top, sp = ap.stackaddr + boot.stack_size, names(boot).sp
    if hit.state.rsp != top or not ap.reached(OWN_STACK):
        fail(
            "ap-stack-wrong",
            cpu=ap.index,
            place="asm_wrrsp_and_jmp → apinitproc1",
            expected=msg("{register} = {top:#x}, the top of this AP's stack", register=sp, top=top),
            observed=f"{sp} = {hit.state.rsp:#x}",
        )


# --- i386: the same stack, another calling convention ---------------------------------------------
#
# The VMM is compiled with -mregparm=3: arguments are in EAX, EDX and ECX. asmlinkage puts them on
# the stack, behind the return address. What is in the other place is left by others: here, decoys.


def arguments_in_registers(boot):
    """Both arguments of start_all_processors, and the registers that they are in."""
    for who, register in zip(PROCS, ("EAX", "EDX")):
        yield f"initproc_{who}", who, register


@check("lab2.i386.stored", SWITCH, arch="i386", per=arguments_in_registers)
def arguments_are_taken_from_registers(boot, who, register):
    """start_all_processors stores its arguments, which are in EAX and EDX."""
    name, found, right = f"initproc_{who}", stored(boot, who), given(boot, who)
    expected = msg(
        "{name} = {value:#x}, the argument in {register}", name=name, value=right, register=register
    )
    decoy = getattr(boot.switch, f"decoy_{who}", None)
    if boot.first("start_all_processors") and found == decoy and found != right:
        fail(
            "arguments-from-the-stack",
            cpu=0,
            place="start_all_processors",
            expected=expected,
            observed=msg(
                "{name} = {value:#x}, what was on the stack where an asmlinkage function "
                "has that argument",
                name=name,
                value=found,
            ),
        )
    keeps(boot, who, expected)


@check("lab2.i386.stackaddr", SWITCH, also=THERE, arch="i386", after="lab2.i386.stored")
def stack_is_allocated_and_remembered(boot):
    """bsp_continue takes VMM_STACKSIZE bytes from alloc and stores their address in stackaddr."""
    stack_is_allocated(boot)
    stackaddr_is_the_base(boot)


@check("lab2.i386.asmlinkage", CALLS, arch="i386")
def arguments_are_on_the_stack(boot):
    """asm_wrrsp_and_jmp takes its asmlinkage arguments from the stack, not from registers."""
    asked, decoy = boot.first("called.asked"), boot.first("called.decoy")
    came = asked or decoy
    right, wrong = (boot.call.asked_rsp, boot.call.decoy_rsp) if boot.call else (0, 0)
    esp_from_eax = came and abs(came.state.rsp - wrong) < 64  # a push or two is not asked for here
    if decoy or esp_from_eax:
        fail(
            "arguments-from-registers",
            cpu=0,
            place="asm_wrrsp_and_jmp",
            expected=msg(
                "ESP = {esp:#x} and a jump to the second argument: both are on the stack, "
                "above the return address",
                esp=right,
            ),
            observed=taken_from_registers(came.state.rsp, esp_from_eax, decoy),
        )
    if not came:
        did_not_jump(boot)


def taken_from_registers(esp, esp_from_eax, jump_to_edx):
    """What an asm_wrrsp_and_jmp did that takes an argument, or both, from a register."""
    if not jump_to_edx:
        return msg(
            "ESP = {esp:#x}, and a jump to the second argument, but ESP is what was in EAX", esp=esp
        )
    if esp_from_eax:
        return msg(
            "ESP = {esp:#x}, but the jump goes to what was in EDX, and ESP is what was in EAX",
            esp=esp,
        )
    return msg("ESP = {esp:#x}, but the jump goes to what was in EDX", esp=esp)


def did_not_jump(boot):
    """Fail for an asm_wrrsp_and_jmp that went to neither argument."""
    returned, end_place = boot.first("returned"), boot.bsp.end_place.text
    missing(
        "bsp-lost-in-the-switch",
        cpu=0,
        place="asm_wrrsp_and_jmp" if returned else end_place,
        expected=msg("asm_wrrsp_and_jmp (rsp, jmpto) jumps to jmpto"),
        observed=msg("it returned to its caller")
        if returned
        else msg(
            "the BSP ended at {place}: {code} (ESP = {esp:#x})",
            place=end_place,
            code=code_text(boot.bsp.end_code),
            esp=boot.bsp.end.rsp,
        ),
        next=msg(
            "When the function begins, the return address is at ESP, rsp at ESP + 4, jmpto at "
            "ESP + 8."
        ),
    )


@check(
    "lab2.i386.switch",
    SWITCH,
    NOT_OPTIMISED,
    arch="i386",
    per=by_optimisation,
    after=["lab2.i386.stackaddr", "lab2.i386.asmlinkage"],
)
def bsp_is_on_its_own_stack(boots, boot):
    """bspinitproc1 starts with ESP at the top of the new stack and EBP = 0, at -O0 and -O2."""
    expected = msg("bspinitproc1 runs with ESP = stackaddr + VMM_STACKSIZE and EBP = 0")
    without_a_frame(boot, on_the_new_stack(boot, expected))


@check("lab2.i386.parked", SWITCH, arch="i386", after="lab2.i386.switch")
def every_cpu_parks(boot):
    """Every AP switches stacks with the same function, and all CPUs park."""
    for ap in boot.aps:
        if boot.first("apinitproc1", ap.index) and ap.stackaddr is not None:
            ap_on_its_stack(boot, ap)
    fail_if(why_not_all_parked(boot), expected=msg("{count} CPUs park", count=len(boot.cpus)))
