"""Lab 5: when one CPU panics, all others stop, whatever they were doing."""

from functools import partial
from typing import get_args

from vmmlab import checks
from vmmlab.checks import expect, fail, fail_if, listed, missing, msg, needed
from vmmlab.diagnosis.aps import why_not_all_parked
from vmmlab.observe.icr import apic_id, icr_text
from vmmlab.observe.panicking import NOWHERE, Prints, TakesLocks
from vmmlab.probes import early_panic, panics, plain
from vmmlab.x86.registers import ICR_ASSERT

# Six CPUs in two packages have the APIC ids 0, 1, 2, 4, 5 and 6.
PANIC = panics(cpus=6, sockets=2)
# An AP panics. Its number (2), its index in the ACPI tables (4) and its APIC id (5) all differ.
AP_PANICS = panics(name="ap", cpus=6, sockets=2, cpu=4, backwards=True)
# An AP panics, in the middle of another panic, with locks held everywhere, and the ACPI tables
# list no CPU. Each CPU takes its NMI while the sender is still in apic_write_icr.
LOCKS = panics(
    name="locks", cpus=6, sockets=2, cpu=4, locks=True, at_once=True, acpi=False, cohort="other"
)
EARLY = early_panic(cpus=3)
QUIET = plain(name="no-panic", cpus=4)

WAKEUP = "panic_wakeup_all"
HANDLER = "nmi_handler"
MOMENTS = ("vmm_main", "bspinitproc1", "ap_wait", "ap")
WORD = 0x00000400 | ICR_ASSERT  # ICR_NMI | ICR_ASSERT
IGNORED = 0x000C00FF  # the shorthand is judged by whom it reaches, and an NMI has no vector

# A CPU at a TODO is what the others wait for.
check = partial(checks.check, todo_of_any_cpu=True)


def wakeup(boot):
    """The call of panic_wakeup_all in a boot in which a CPU panics."""
    panic = needed(boot.panic)
    if not panic.calls:
        missing(
            "panic-not-reached",
            cpu=panic.cpu,
            place="panic",
            expected=msg("panic calls panic_wakeup_all"),
            observed=msg("it did not get there"),
        )
    return panic.calls[0]


def sent_in(boot, call):
    """What the sender wrote to the interrupt command register in this call."""
    return boot.icr[call.first : call.last]


def others(boot):
    """All CPUs but the one that panics."""
    sender = needed(boot.panic).cpu
    return [cpu for cpu in boot.cpus if cpu.index != sender]


def faulted(boot, call):
    """Fail if panic_wakeup_all has caused an exception."""
    taken = boot.cpus[call.cpu].exception
    if taken is not None and call.verdict == "halted":
        if taken.cr2 in NOWHERE:
            fail(
                "wakeup-uses-its-data",
                cpu=call.cpu,
                place=taken.place.text,
                expected=msg("panic_wakeup_all works on a CPU without per-CPU data, too"),
                observed=msg("it looks for its per-CPU data by GS, which points to none yet"),
            )
        fail(
            "wakeup-faults",
            cpu=call.cpu,
            place=taken.place.text,
            expected=msg("panic_wakeup_all returns"),
            observed=msg(
                "exception {vector} at {place}, CR2 = {cr2:#x}",
                vector=taken.vector,
                place=taken.place.text,
                cr2=taken.cr2,
            ),
        )


# --- lab5.1: the NMI to all others ----------------------------------------------------------------


@check("lab5.nmi.sent", PANIC, also=(AP_PANICS, LOCKS), per=others)
def every_other_cpu_is_sent_an_nmi(boot, cpu):
    """The CPU that panics sends an NMI to every other CPU."""
    call = wakeup(boot)
    sent = sent_in(boot, call)
    writes = [one for one in sent if boot.reaches(one, cpu.index)]
    if any(one.kind == "NMI" for one in writes):
        return
    if not any(one.kind == "NMI" for one in sent):
        writes = sent  # whomever they reach
    faulted(boot, call)
    expected = msg(
        "an NMI to {cpu}, whose APIC id is {id}",
        cpu=cpu.name,
        id=apic_id(boot.apic_ids, cpu.index),
    )
    judged = every_handler_was_seen(boot)
    exchanged(boot, call, goes_on=judged)
    if writes:
        fail(
            "not-an-nmi",
            cpu=call.cpu,
            place=WAKEUP,
            expected=expected,
            observed=icr_text(writes),
            goes_on=judged,
        )
    not_to_itself(boot, call)  # then it may not have come to this CPU any more
    if call.verdict != "reached" and not sent_in(boot, call):
        does_not_return(boot, call, goes_on=judged)
    not_sent(boot, call, expected, goes_on=judged)


def every_handler_was_seen(boot):
    """Whether every other CPU has taken an NMI, if need be one that the grader has sent."""
    return {one.cpu for one in needed(boot.panic).taken} == {one.index for one in others(boot)}


def not_sent(boot, call, expected, *, goes_on):
    """Fail because panic_wakeup_all has not sent an NMI."""
    sent = icr_text(sent_in(boot, call))
    texts = {
        "cpu": call.cpu,
        "place": WAKEUP,
        "expected": expected,
        "observed": msg("{sent}; the ACPI tables of this machine list no CPU", sent=sent)
        if boot.scenario == LOCKS.name
        else sent,
        "goes_on": goes_on,
    }
    if call.verdict == "reached":  # nothing has stopped it
        fail("nmi-not-sent", **texts)
    missing("nmi-not-sent", **texts)


def something_is_sent(boot, call):
    """Fail if panic_wakeup_all has sent no NMI in the first boot, so there is nothing to judge."""
    exchanged(boot, call, goes_on=True)
    if boot.scenario == PANIC.name and not any(one.kind == "NMI" for one in sent_in(boot, call)):
        not_sent(boot, call, msg("NMIs to all other CPUs"), goes_on=True)


def exchanged(boot, call, *, goes_on):
    """Fail if apic_write_icr has got the destination as the low half, and the low half as that.

    Of the word for an NMI, the lowest eight bits are the destination then, and these are 0.
    """
    sent = sent_in(boot, call)
    if sent and all(one.low <= 0xFF and one.dest == 0 for one in sent):
        fail(
            "icr-arguments-exchanged",
            cpu=call.cpu,
            place=WAKEUP,
            expected=msg("apic_write_icr (destination, low half of ICR)"),
            observed=icr_text(sent),
            goes_on=goes_on,
        )


def not_to_itself(boot, call):
    """Fail if the CPU that panics has sent an NMI to itself."""
    for one in sent_in(boot, call):
        if one.kind == "NMI" and boot.reaches(one, call.cpu):
            fail(
                "nmi-to-itself",
                cpu=call.cpu,
                place=WAKEUP,
                expected=msg("no NMI to {cpu}, which panics", cpu=boot.cpus[call.cpu].name),
                observed=one.text,
            )


def by_apic_write_icr(call):
    """Fail if an IPI is sent past apic_write_icr, which knows the mode of the APIC."""
    if call.past:
        fail(
            "icr-written-itself",
            cpu=call.cpu,
            place=WAKEUP,
            expected=msg("every IPI is sent by apic_write_icr"),
            observed=msg("writes to the ICR past apic_write_icr: {count}", count=call.past),
        )


@check("lab5.nmi.once", PANIC, also=(AP_PANICS, LOCKS), after="lab5.nmi.sent")
def each_cpu_is_sent_one_nmi(boot):
    """No CPU is sent two NMIs, the CPU that panics sends itself none, and nothing else is sent."""
    only_right_ones(boot)


def only_right_ones(boot):
    """Fail if an IPI is sent that must not be, or in another form."""
    call = wakeup(boot)
    writes = sent_in(boot, call)
    something_is_sent(boot, call)
    not_to_itself(boot, call)
    by_apic_write_icr(call)
    for one in writes:
        if one.kind != "NMI":
            fail(
                "other-ipi-sent",
                cpu=call.cpu,
                place=WAKEUP,
                expected=msg("NMIs only"),
                observed=one.text,
            )
        expect(
            "nmi-word-wrong",
            one.low & ~IGNORED,
            WORD,
            what=msg("the low half of ICR, without the shorthand and the vector"),
            cpu=call.cpu,
            place=WAKEUP,
        )
    for cpu in others(boot):
        twice = [one for one in writes if boot.reaches(one, cpu.index)]
        if len(twice) > 1:
            fail(
                "nmi-twice",
                cpu=call.cpu,
                place=WAKEUP,
                expected=msg("one NMI to {cpu}", cpu=cpu.name),
                observed=icr_text(twice),
            )


@check("lab5.nmi.returns", PANIC, also=(AP_PANICS, LOCKS), after="lab5.nmi.sent")
def the_sender_does_not_wait(boot):
    """panic_wakeup_all prints nothing and returns, even if no other CPU does anything."""
    call = wakeup(boot)
    something_is_sent(boot, call)
    faulted(boot, call)
    came_back(boot, call)
    if boot.scenario == PANIC.name:
        whole(boot)


def came_back(boot, call):
    """Fail unless panic_wakeup_all returned, and printed nothing."""
    if call.printed in get_args(TakesLocks):
        fail(
            "wakeup-takes-a-lock",
            cpu=call.cpu,
            place=WAKEUP,
            expected=msg("panic_wakeup_all takes no lock that other code uses"),
            observed=msg("it called {function}, which takes one", function=call.printed),
        )
    if call.printed:
        fail(
            "wakeup-prints",
            cpu=call.cpu,
            place=WAKEUP,
            expected=msg("panic_wakeup_all prints nothing"),
            observed=msg("it called {function}", function=call.printed),
            goes_on=True,
        )
    if call.verdict != "reached":
        does_not_return(boot, call)
    if call.locks:
        fail(
            "wakeup-changes-a-lock",
            cpu=call.cpu,
            place=WAKEUP,
            expected=msg("panic_wakeup_all leaves the locks of other code as they are"),
            observed=msg("{locks} is not what it was", locks=listed(call.locks)),
        )


def does_not_return(boot, call, *, goes_on=False):
    """Fail because panic_wakeup_all has not come back."""
    if call.verdict == "shutdown":
        fail(
            "wakeup-resets",
            cpu=call.cpu,
            place=WAKEUP,
            expected=msg("panic_wakeup_all returns"),
            observed=msg("the machine was reset or switched off"),
        )
    if call.verdict == "halted":
        missing(
            "wakeup-halts",
            cpu=call.cpu,
            place=call.place.text,
            expected=msg("panic_wakeup_all returns"),
            observed=msg("{cpu} stopped in it", cpu=boot.cpus[call.cpu].name),
            goes_on=goes_on,
        )
    missing(
        "wakeup-waits",
        cpu=call.cpu,
        place=call.place.text,
        expected=msg("panic_wakeup_all returns while all other CPUs stand still"),
        observed=msg("it is still in a loop, at {place}", place=call.place.text),
        goes_on=goes_on,
    )


def whole(boot):
    """Fail unless the message of the panic is on the serial line, and the CPU then halts."""
    panic = needed(boot.panic)
    number = apic_id(boot.apic_ids, panic.cpu)
    line = f"panic: CPU {panic.cpu} (APIC id {number}): {panic.message}\n"
    if line not in boot.serial.replace("\r", ""):
        fail(
            "panic-message-lost",
            cpu=panic.cpu,
            place="panic",
            expected=msg("the line {line!r} on the serial line", line=line.strip()),
            observed=msg("it is not there as one piece"),
        )
    if not panic.halted:
        fail(
            "panic-does-not-halt",
            cpu=panic.cpu,
            place="panic",
            expected=msg("the CPU that panics halts when panic_wakeup_all has returned"),
            observed=msg("it does not halt"),
        )


@check("lab5.nmi.early", EARLY)
def nothing_is_sent_before_the_aps_are_started(boot):
    """As long as ap_started is false, panic_wakeup_all sends nothing and returns."""
    nothing_is_sent(boot)


WHEN = {
    "vmm_main": msg("at the beginning of vmm_main"),
    "bspinitproc1": msg("when the BSP has its own stack, and no AP is started yet"),
    "ap_wait": msg("when the APs are at the barrier, and the BSP is in ap_wait"),
    "ap": msg("called on an AP, when the BSP is in ap_wait"),
}


def nothing_is_sent(boot):
    """Fail if a call before the APs are started sends something, or does not return."""
    calls = needed(boot.panic).calls
    for call in calls:
        writes = sent_in(boot, call)
        if writes:
            fail(
                "nmi-before-start",
                cpu=call.cpu,
                place=WAKEUP,
                expected=msg("nothing is sent while ap_started is false"),
                observed=msg(
                    "{when}: {writes}",
                    when=WHEN.get(call.moment, call.moment),
                    writes=icr_text(writes),
                ),
            )
        if call.place.symbol.split("+")[0] == "panic":
            fail(
                "nmi-before-start",
                cpu=call.cpu,
                place=WAKEUP,
                expected=msg("nothing is sent while ap_started is false"),
                observed=msg(
                    "{when}: it called apic_write_icr, which panicked: the APIC is not mapped yet",
                    when=WHEN.get(call.moment, call.moment),
                ),
            )
        faulted(boot, call)
        came_back(boot, call)
    if len(calls) < len(MOMENTS):
        missing(
            "not-observed",
            place=WAKEUP,
            expected=msg("the boot goes on to ap_wait"),
            observed=msg("it ended before"),
        )


# --- lab5.2: what a CPU does when the NMI comes ---------------------------------------------------

SITUATIONS = {
    "spins": msg("it was in a loop, with interrupts on"),
    "halted": msg("it had halted, with interrupts on"),
    "barrier": msg("it waited in sync_all_processors"),
    "assembly": msg("it was in assembly code, with DF set and RSP not aligned"),
    "parked": msg("it had parked"),
    "ap-lock": msg("it held ap_lock"),
    "sync-lock": msg("it held sync_lock"),
    "waits-for-a-lock": msg("it waited for ap_lock"),
    "prints": msg("it waited for the lock of printf"),
    "panics": msg("it was in a panic of its own"),
}


@check("lab5.handler.halts", PANIC, per=others, after="lab5.nmi.sent")
def stops_in_the_handler(boot, cpu):
    """Every CPU that gets the NMI halts in nmi_handler with interrupts off, for good."""
    halts(boot, cpu)


@check("lab5.handler.locks", LOCKS, per=others, after="lab5.handler.halts")
def stops_with_any_lock(boot, cpu):
    """A CPU also halts if it holds a lock, waits for one, prints, or panics itself."""
    halts(boot, cpu)
    locks_stay(boot, cpu)


def halts(boot, cpu):
    """Fail unless a CPU halts in nmi_handler."""
    taken = next((one for one in needed(boot.panic).taken if one.cpu == cpu.index), None)
    if taken is None or not taken.entered:
        missing(
            "nmi-not-taken",
            cpu=cpu.index,
            place=HANDLER,
            expected=msg("{cpu} enters nmi_handler", cpu=cpu.name),
            observed=msg("it does not"),
        )
    taken = needed(taken)
    before = SITUATIONS.get(taken.situation, taken.situation)
    expected = msg("{cpu} halts in nmi_handler; {before}", cpu=cpu.name, before=before)
    if taken.left == "returned":
        fail(
            "handler-returns",
            cpu=cpu.index,
            place=HANDLER,
            expected=expected,
            observed=msg("nmi_handler returned, and {cpu} goes on with what it did", cpu=cpu.name),
        )
    if taken.left in get_args(Prints):
        fail(
            "handler-prints",
            cpu=cpu.index,
            place=HANDLER,
            expected=expected,
            observed=msg("it called {function}", function=taken.left),
        )
    if taken.left in get_args(TakesLocks):
        fail(
            "handler-takes-a-lock",
            cpu=cpu.index,
            place=HANDLER,
            expected=expected,
            observed=msg("it called {function}, which takes a lock", function=taken.left),
        )
    if taken.left in ("panic", "exception_panic"):
        fail(
            "handler-panics",
            cpu=cpu.index,
            place=taken.place.text,
            expected=expected,
            observed=msg("it came to {place}", place=taken.left),
        )
    if taken.verdict == "shutdown":
        fail(
            "handler-resets",
            cpu=cpu.index,
            place=HANDLER,
            expected=expected,
            observed=msg("the machine was reset or switched off"),
        )
    if taken.verdict != "halted":
        missing(
            "handler-does-not-halt",
            cpu=cpu.index,
            place=taken.place.text if taken.place.lab_source else HANDLER,
            expected=expected,
            observed=msg(
                "it still executes code, at {place}: `{code}`",
                place=taken.place.text,
                code=taken.code,
            ),
        )
    if taken.interrupts:
        fail(
            "handler-lets-interrupts-in",
            cpu=cpu.index,
            place=taken.place.text,
            expected=expected,
            observed=msg("it halted with interrupts on: the next one lets it go on"),
        )
    if taken.let_in is not None:
        fail(
            "handler-lets-interrupts-in",
            cpu=cpu.index,
            place=taken.let_in.text,
            expected=msg("interrupts stay off in nmi_handler; {before}", before=before),
            observed=msg(
                "they were on at {place}: an interrupt that waits would have come there",
                place=taken.let_in.text,
            ),
        )


def locks_stay(boot, cpu):
    """Fail if nmi_handler has taken or released a lock of other code."""
    taken = next(one for one in needed(boot.panic).taken if one.cpu == cpu.index)
    if taken.locks:
        fail(
            "handler-changes-a-lock",
            cpu=cpu.index,
            place=HANDLER,
            expected=msg(
                "nmi_handler leaves the locks of other code as they are; {before}",
                before=SITUATIONS.get(taken.situation, taken.situation),
            ),
            observed=msg("{locks} is not what it was", locks=listed(taken.locks)),
        )


# --- nothing has gone wrong -----------------------------------------------------------------------


@check("lab5.boot.parks", QUIET, after="lab5.handler.halts")
def without_a_panic_all_park(boot):
    """If no CPU panics, no NMI is sent, and every CPU parks."""
    sent = boot.sent("NMI")
    if sent:
        fail(
            "nmi-without-panic",
            cpu=sent[0].cpu,
            place=WAKEUP,
            expected=msg("no NMI in a boot without a panic"),
            observed=icr_text(sent),
        )
    fail_if(why_not_all_parked(boot))
