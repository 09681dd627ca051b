"""Lab 2: the BSP leaves the boot stack for one of its own."""

from typing import NamedTuple

from vmmlab.checks import check, fail, fail_if, scenario
from vmmlab.diagnosis.aps import why_not_all_parked
from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.observe.milestones import OWN_STACK

SWITCH = scenario("switch", probe="switch", cpus=4)
NOT_OPTIMISED = scenario("switch-o0", probe="switch", cpus=4, opt="-O0")
ALONE = scenario("alone", probe="switch", cpus=1, swap=1, firmware="seabios")


CALLS = scenario("calls", probe="calls", cpus=1)


def blame(boot, cause, **what):
    """Report what stopped the BSP, if anything did; else the cause that the check found."""
    fail_if(bsp_stopped(boot, by=at_work(boot)), expected=what["expected"])
    fail(cause, cpu=0, **what)


def at_work(boot):
    """The function of this lab that the BSP was in when it went no further."""
    if boot.first("bspinitproc1", 0):
        return ""
    switching = boot.scenario == CALLS.name or block(boot)[0] is not None
    return "asm_wrrsp_and_jmp" if switching else "bsp_continue"


def block(boot):
    """The stack that alloc gave the BSP: its address, or None; and what was asked of alloc."""
    given = boot.bsp.allocations
    right = (one.address for one in given if one.size == boot.stack_size)
    return next(right, None), given


def stored(boot, name):
    """The value of initproc_bsp or initproc_ap after bsp_continue; None if that was not seen."""
    return getattr(boot.switch, name, None)


def asked_for(boot, name):
    """The argument of start_all_processors that belongs into initproc_bsp or initproc_ap."""
    given = boot.switch and {
        "initproc_bsp": boot.switch.given_bsp,
        "initproc_ap": boot.switch.given_ap,
    }
    return (given or {}).get(name) or 0


def decoy(boot, name):
    """What lay on the stack where an asmlinkage function has that argument."""
    decoys = {"initproc_bsp": boot.switch.decoy_bsp, "initproc_ap": boot.switch.decoy_ap}
    return decoys[name]


@check("lab2.procs.stored", SWITCH, ALONE)
def test_start_all_processors_keeps_both_functions(boots, score):
    """start_all_processors keeps its arguments in initproc_bsp and initproc_ap."""
    for boot in boots:
        start = boot.first("start_all_processors")
        for name, position in (("initproc_bsp", 0), ("initproc_ap", 1)):
            with score.case(f"{name}, {boot.scenario}"):
                given = (start.state.rdi, start.state.rsi)[position] if start else 0
                found = stored(boot, name)
                if not start or found != given:
                    blame(
                        boot,
                        "initproc-not-stored",
                        place="start_all_processors",
                        expected=f"{name} = argument {position + 1} = {given:#x}",
                        observed=f"{name} = {found:#x}" if found else f"{name} was not set",
                        next="Whoever calls start_all_processors decides what runs later: keep "
                        "what you were given.",
                    )


@check("lab2.stack.alloc", SWITCH, needs=["lab2.procs.stored"])
def test_the_stack_comes_from_alloc(boot):
    """bsp_continue takes VMM_STACKSIZE bytes from alloc."""
    size = boot.stack_size
    base, given = block(boot)
    if base is None:
        asked = ", ".join(f"alloc({one.size:#x})" for one in given) or "no call of alloc"
        blame(
            boot,
            "stack-not-allocated",
            place="bsp_continue",
            expected=f"alloc (VMM_STACKSIZE), which is alloc({size:#x})",
            observed=asked,
            next="The size is a macro of cohort.h; it is not the same for everybody.",
        )


@check("lab2.stack.stackaddr", SWITCH, needs=["lab2.stack.alloc"])
def test_stackaddr_is_the_base(boot):
    """currentcpu->stackaddr is the lowest address of the BSP's stack."""
    base, _ = block(boot)
    found, size = (boot.switch and boot.switch.stackaddr) or 0, boot.stack_size
    if found != base:
        cause = "stackaddr-is-the-top" if found == base + size else "stackaddr-not-recorded"
        blame(
            boot,
            cause,
            place="bsp_continue",
            expected=f"currentcpu->stackaddr = {base:#x}, what alloc returned",
            observed=f"currentcpu->stackaddr = {found:#x}"
            + (", the top of the stack" if found == base + size else ""),
            next="Whoever looks for the stack later needs its base; the top is base + size.",
        )


class Names(NamedTuple):
    """What an architecture calls the stack and the frame pointer, and the bytes of a stack word."""

    sp: str
    bp: str
    word: int


def names(boot):
    """What the registers are called where the VMM was built for."""
    return Names("ESP", "EBP", 4) if boot.arch == "i386" else Names("RSP", "RBP", 8)


def optimisation(boot):
    """How the files of this boot were compiled."""
    return "-O0" if boot.scenario == NOT_OPTIMISED.name else "-O2"


def read_by_frame_pointer(boot):
    """Whether the BSP died in asm_wrrsp_and_jmp on an address that RBP = 0 leads to.

    That is just below 0; on i386, where the arguments are on the stack, also just above.
    """
    found, taken = bsp_stopped(boot), boot.bsp.exception
    address = taken.cr2 if taken else 4096
    end, above = (2**32, 4096) if boot.arch == "i386" else (2**64, 0)
    near = address < above or address >= end - 4096
    return found and near and found.place.startswith("asm_wrrsp_and_jmp")


def on_the_new_stack(boot, expected):
    """Where bspinitproc1 starts on the BSP; fail unless the stack pointer is at the new top."""
    base, _ = block(boot)
    hit = boot.first("bspinitproc1", 0)
    size, (sp, bp, _) = boot.stack_size, names(boot)
    if hit is None and read_by_frame_pointer(boot):
        fail(
            "operand-read-by-rbp",
            cpu=0,
            place=bsp_stopped(boot).place,
            expected=expected,
            observed=f"{bsp_stopped(boot).observed}: next to 0, where {bp} = 0 leads",
            next=f"An operand was read through {bp} when {bp} was 0 already: without optimisation "
            f"a parameter lives in memory, at an address counted from {bp}. Ask for both operands "
            'in registers ("r").',
        )
    other = next((h for h in boot.hits if h.cpu == 0 and base and h.state.rsp == base + size), None)
    if hit is None and other:
        blame(
            boot,
            "bsp-lost-in-the-switch",
            place="start_all_processors → bsp_continue",
            expected=expected,
            observed=f"bspinitproc1 was never reached; on its new stack the BSP came to "
            f"{other.place}",
            next="bsp_continue goes on in what it is given: does start_all_processors give it "
            "bspinitproc1, and does bsp_continue hand that on?",
        )
    if hit is None or base is None:
        blame(
            boot,
            "bsp-lost-in-the-switch",
            place=str(boot.bsp.end_place),
            expected=expected,
            observed="bspinitproc1 was never reached; the BSP ended at "
            f"{boot.bsp.end_place}: {boot.bsp.end_code} ({sp} = {boot.bsp.end.rsp:#x})",
            next=f"Are both operands in registers before you touch {bp} or {sp}? At -O0 a "
            f"parameter lives in memory, at an address counted from {bp}.",
        )
    if hit.state.rsp != base + size:
        cause, look = _wrong_top(boot, hit.state.rsp, base, base + size)
        fail(
            cause,
            cpu=0,
            place="bsp_continue → asm_wrrsp_and_jmp → bspinitproc1",
            expected=f"{sp} = {base + size:#x} (stackaddr {base:#x} + VMM_STACKSIZE {size:#x})",
            observed=f"{sp} = {hit.state.rsp:#x}",
            next=look,
        )
    return hit


def _wrong_top(boot, rsp, base, top):
    sp, _, word = names(boot)
    if rsp == top - word:
        return "call-instead-of-jmp", f"{word} bytes are missing: did you call instead of jump?"
    if rsp in (base, base - word):
        return "stack-base-instead-of-top", "A stack grows down: it starts at its highest address."
    if boot.addr("boot_stack") <= rsp <= boot.addr("boot_stack_top"):
        return "bsp-stays-on-boot-stack", f"This is the boot stack: {sp} was not changed at all."
    if base < rsp < top:
        look = f"Nothing may be pushed: {sp} is stackaddr + VMM_STACKSIZE exactly."
        return "rsp-not-the-top", look
    return "rsp-outside-the-new-stack", "Where does this value come from?"


def without_a_frame(boot, hit):
    """Fail unless the frame pointer is 0 where bspinitproc1 starts."""
    sp, bp, _ = names(boot)
    if hit.state.rbp:
        fail(
            "rbp-not-zero",
            cpu=0,
            place="bsp_continue → asm_wrrsp_and_jmp → bspinitproc1",
            expected=f"{bp} = 0",
            observed=f"{bp} = {hit.state.rbp:#x}",
            next=f"Zero {bp} in the same asm statement that sets {sp}.",
        )


@check("lab2.switch.top", SWITCH, NOT_OPTIMISED, needs=["lab2.stack.stackaddr"])
def test_rsp_is_the_top_of_the_new_stack(boots, score):
    """bspinitproc1 starts with RSP at the top of the new stack, reached by a jump."""
    for boot in boots:
        with score.case(optimisation(boot)):
            on_the_new_stack(boot, "bspinitproc1 runs with RSP = stackaddr + VMM_STACKSIZE")


@check("lab2.switch.frame", SWITCH, NOT_OPTIMISED, needs=["lab2.switch.top"])
def test_rbp_is_zero(boots, score):
    """RBP is 0 when bspinitproc1 starts, so that a backtrace ends there."""
    for boot in boots:
        with score.case(optimisation(boot)):
            without_a_frame(boot, boot.first("bspinitproc1", 0))


@check("lab2.switch.left", ALONE, needs=["lab2.switch.top"])
def test_the_boot_stack_is_left_alone(boot):
    """After the switch the BSP writes nothing to the boot stack any more."""
    left, end = boot.switch.boot_stack_left, boot.switch.boot_stack_end
    if end is None:
        blame(
            boot,
            "bsp-not-parked",
            place=str(boot.bsp.end_place),
            expected="the BSP parks",
            observed=f"it ended {boot.bsp.end_kind}",
            next="Look at where it stands.",
        )
    changed = [i for i, (a, b) in enumerate(zip(left, end)) if a != b]
    if changed:
        start = boot.addr("boot_stack")
        fail(
            "boot-stack-still-used",
            cpu=0,
            place=f"boot stack, {start + changed[-1]:#x}",
            expected="the boot stack stays as it was at bspinitproc1",
            observed=f"{len(changed)} bytes of it changed later",
            next="Every AP starts on this stack: after asm_wrrsp_and_jmp nobody else may use it.",
        )


def ap_on_its_stack(boot, ap, hit):
    """Fail unless an AP starts apinitproc1 at the top of its own stack."""
    top, sp = ap.stackaddr + boot.stack_size, names(boot).sp
    if hit.state.rsp != top or not ap.reached(OWN_STACK):
        fail(
            "ap-stack-wrong",
            cpu=ap.index,
            place="asm_wrrsp_and_jmp → apinitproc1",
            expected=f"{sp} = {top:#x}, the top of this AP's stack",
            observed=f"{sp} = {hit.state.rsp:#x}",
            next="The function must work for any stack and any target, not only for the BSP's.",
        )


@check("lab2.switch.aps", SWITCH, needs=["lab2.switch.top"])
def test_aps_switch_with_the_same_function(boot, score):
    """asm_wrrsp_and_jmp also takes every AP from the boot stack to the top of its own."""
    for ap in boot.aps:
        with score.case(ap.name):
            hit = boot.first("apinitproc1", ap.index)
            if hit is None or ap.stackaddr is None:
                fail(
                    "ap-not-on-own-stack",
                    cpu=ap.index,
                    place=str(ap.end_place),
                    expected=f"{ap.name} comes to apinitproc1 on a stack of its own",
                    observed=f"{ap.name} came as far as: {ap.highest.title}",
                    next="The given apinitproc0 calls asm_wrrsp_and_jmp just as bsp_continue does.",
                )
            ap_on_its_stack(boot, ap, hit)


# --- i386: the same stack, another calling convention ---------------------------------------------
#
# The VMM is compiled with -mregparm=3: arguments are in EAX, EDX and ECX. asmlinkage puts them on
# the stack, behind the return address. What is in the other place is left by others: here, decoys.


@check("lab2.i386.stored", SWITCH, arch="i386")
def test_i386_start_all_processors_takes_its_arguments_from_registers(boot, score):
    """start_all_processors keeps its arguments, which are in EAX and EDX."""
    start = boot.first("start_all_processors")
    for name, register in (("initproc_bsp", "EAX"), ("initproc_ap", "EDX")):
        with score.case(name):
            given, found = asked_for(boot, name), stored(boot, name)
            if start and found == given:
                continue
            if start and found == decoy(boot, name):
                fail(
                    "arguments-from-the-stack",
                    cpu=0,
                    place="start_all_processors",
                    expected=f"{name} = {given:#x}, the argument in {register}",
                    observed=f"{name} = {found:#x}, what lay on the stack where an asmlinkage "
                    "function has that argument",
                    next="C calls this function, compiled with -mregparm=3: the arguments are in "
                    "EAX, EDX and ECX. Only what is declared asmlinkage has them on the stack.",
                )
            blame(
                boot,
                "initproc-not-stored",
                place="start_all_processors",
                expected=f"{name} = {given:#x}, the argument in {register}",
                observed=f"{name} = {found:#x}" if found else f"{name} was not set",
                next="Whoever calls start_all_processors decides what runs later: keep what you "
                "were given.",
            )


@check("lab2.i386.stackaddr", SWITCH, needs=["lab2.i386.stored"], arch="i386")
def test_i386_the_stack_is_allocated_and_remembered(boot):
    """bsp_continue takes VMM_STACKSIZE bytes from alloc and keeps their address in stackaddr."""
    test_the_stack_comes_from_alloc(boot)
    test_stackaddr_is_the_base(boot)


@check("lab2.i386.asmlinkage", CALLS, arch="i386")
def test_i386_asm_wrrsp_and_jmp_is_asmlinkage(boot):
    """asm_wrrsp_and_jmp finds its arguments on the stack, as asmlinkage says, not in registers."""
    asked, decoy = boot.first("called.asked"), boot.first("called.decoy")
    came = asked or decoy
    right, wrong = (boot.call.asked_rsp, boot.call.decoy_rsp) if boot.call else (0, 0)
    esp_from_eax = came and abs(came.state.rsp - wrong) < 64  # a push or two is not asked for here
    if decoy or esp_from_eax:
        fail(
            "arguments-from-registers",
            cpu=0,
            place="asm_wrrsp_and_jmp",
            expected=f"ESP = {right:#x} and a jump to the second argument: both on the stack, "
            "behind the return address",
            observed=f"ESP = {came.state.rsp:#x}, "
            + ("a jump to what was in EDX" if decoy else "and a jump to the second argument")
            + (", ESP what was in EAX" if esp_from_eax else ""),
            next="The function is declared asmlinkage: regparm(0), its arguments are on the stack. "
            "The code that reads them was made without asmlinkage, or written for registers.",
        )
    if not came:
        returned = boot.first("returned")
        blame(
            boot,
            "bsp-lost-in-the-switch",
            place="asm_wrrsp_and_jmp" if returned else str(boot.bsp.end_place),
            expected="asm_wrrsp_and_jmp (rsp, jmpto) jumps to jmpto",
            observed="it came back to its caller"
            if returned
            else f"the BSP ended at {boot.bsp.end_place}: {boot.bsp.end_code} "
            f"(ESP = {boot.bsp.end.rsp:#x})",
            next="When the function begins, the return address is at ESP, rsp at ESP + 4, jmpto at "
            "ESP + 8.",
        )


@check(
    "lab2.i386.switch",
    SWITCH,
    NOT_OPTIMISED,
    needs=["lab2.i386.stackaddr", "lab2.i386.asmlinkage"],
    arch="i386",
)
def test_i386_the_bsp_is_on_its_own_stack(boots, score):
    """bspinitproc1 starts with ESP at the top of the new stack and EBP = 0, at -O0 and -O2."""
    for boot in boots:
        with score.case(optimisation(boot)):
            expected = "bspinitproc1 runs with ESP = stackaddr + VMM_STACKSIZE and EBP = 0"
            without_a_frame(boot, on_the_new_stack(boot, expected))


@check("lab2.i386.parked", SWITCH, needs=["lab2.i386.switch"], arch="i386")
def test_i386_every_cpu_parks(boot):
    """Every AP changes stacks by the same function, and all CPUs park."""
    for ap in boot.aps:
        hit = boot.first("apinitproc1", ap.index)
        if hit and ap.stackaddr is not None:
            ap_on_its_stack(boot, ap, hit)
    fail_if(why_not_all_parked(boot), expected=f"{len(boot.cpus)} CPUs park")
