"""Lab 9: the guest's INIT and SIPI, which start the processors of the guest and no others."""

from functools import partial
from itertools import pairwise

from vmmlab import checks
from vmmlab.checks import fail, fail_if, listed, missing, msg, needed
from vmmlab.diagnosis.halting import crash
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.observe.guest import CpuGuest
from vmmlab.probes import guest
from vmmlab.probes.scenario import scenario_of
from vmmlab.x86.vmcb import VMEXIT_NPF

from .director import ENTER, RUN, TAKES, WAIT, dest_of
from .evidence import Processors
from .probes import TIMES
from .script import FIXED, INIT, LOGICAL, OTHERS, SELF, SIPI, X2APIC_ALL
from .sharing import SIGNAL_SIPI

GUEST = "guest/smp.S"
APIC, ICR, ICR_HIGH = 0xFEE00000, 0x300, 0x310
NMI, FREE = 0x4400, OTHERS | 0xFF
"""An NMI has no vector, and may have a shorthand: further NMIs do no harm."""
DONE = "guest_done"
MARKS = ((DONE, 0x8060), ("guest_failed", 0x8080))
"""Where the processors of guest/smp.S come to rest if no debugger directs them."""


def directed(**setup):
    """Return a scenario of this lab's own probe, which directs the guest's processors."""
    return scenario_of("processors", {"svm": True, "guest_image": GUEST, **setup})


def through(**setup):
    """Return a scenario in which the guest starts its processors by itself, all at once."""
    return guest(guest_image=GUEST, marks=MARKS, until=DONE, by="all", **setup)


FOUR = directed(name="four", cpus=4)
# With other numbers in cohort.h, and without optimisation.
THERE = directed(name="there", cpus=4, cohort="other", opt="-O0")
ALONE = directed(name="alone", cpus=3, what="alone")
RACE = directed(name="race", cpus=2, what="race")
MSR = directed(name="msr", cpus=3, what="x2apic")
DIRECT = directed(name="direct", cpus=4, what="direct", cohort="other", opt="-O0")
ONE = through(name="cpus-1", cpus=1, firmware="seabios")
EIGHT = through(name="cpus-8", cpus=8)

check = partial(checks.check, todo_of_any_cpu=True)


def seen(boot):
    """What the lab's probe recorded."""
    return boot.lab or Processors()


def stopped(boot, cpu, expected, cause="guest-did-not-get-there"):
    """Fail because a CPU did not come as far as expected: say what stopped it."""
    fail_if(stopped_at_todo(boot), expected=expected)
    for one in (boot.cpus[cpu], *boot.cpus):
        fail_if(crash(one), expected=expected)
    missing(
        cause,
        cpu=cpu,
        place=boot.cpus[cpu].end_place.text,
        expected=expected,
        observed=msg("CPU {cpu} ended there", cpu=cpu),
    )


# --- what a CPU did, in words ---------------------------------------------------------------------


def whom(sending):
    """To whom something was sent, in words."""
    shorthand = sending.low & OTHERS
    if shorthand:
        return {
            SELF: msg("to itself"),
            OTHERS: msg("to all but itself"),
        }.get(shorthand, msg("to all"))
    if sending.low & LOGICAL:
        return msg("to logical id {id:#x}", id=sending.dest)
    if sending.dest == (X2APIC_ALL if sending.by_msr else 0xFF):
        return msg("to all, by destination {id:#x}", id=sending.dest)
    return msg("to APIC id {id}", id=sending.dest)


def what(sending):
    """What was sent, in words."""
    names = {INIT: "INIT", SIPI: "SIPI", FIXED: msg("a fixed interrupt")}
    name = msg("INIT level de-assert") if sending.deassert else names.get(sending.mode, "IPI")
    return msg(
        "{name} (ICR = {low:#x}) of CPU {sender} {whom}",
        name=name,
        low=sending.low,
        sender=sending.sender,
        whom=whom(sending),
    )


def should(expected):
    """What a CPU had to do, in words."""
    if expected.kind == "starts":
        return msg("CPU {cpu} begins at {vector:#x}000", cpu=expected.cpu, vector=expected.vector)
    if expected.kind == "waits":
        return msg("CPU {cpu} waits for a SIPI", cpu=expected.cpu)
    return msg("the guest of CPU {cpu} goes on", cpu=expected.cpu)


def did(reaction):
    """What a CPU did, in words."""
    cpu, place = reaction.expected.cpu, reaction.place.text
    if reaction.cs is not None and reaction.kind == "starts":
        return msg(
            "svm_reset with cs = {cs:#x}, ip = {ip:#x} on CPU {cpu}",
            cs=reaction.cs,
            ip=reaction.ip,
            cpu=cpu,
        )
    if reaction.kind == "starts":
        return msg("CPU {cpu} begins, at {place}", cpu=cpu, place=place)
    if reaction.kind == "waits":
        return msg("CPU {cpu} waits, in {place}", cpu=cpu, place=place)
    if reaction.kind == "goes-on":
        return msg("the guest of CPU {cpu} goes on", cpu=cpu)
    if reaction.verdict == "waits" and reaction.in_guest:
        return msg("CPU {cpu} stays in its guest", cpu=cpu)
    if reaction.verdict == "waits":
        return msg("CPU {cpu} waits for ever, in {place}", cpu=cpu, place=place)
    if reaction.verdict == "halted":
        return msg("CPU {cpu} halts, at {place}", cpu=cpu, place=place)
    return msg("CPU {cpu} ended at {place}", cpu=cpu, place=place)


WHERE = {
    "init-not-obeyed": "localapic_signal_init",
    "sender-stops": "localapic_signal_init",
    "destination-changed": "localapic_signal_init",
    "begins-elsewhere": "localapic_wait_for_sipi",
    "early-sipi-forgotten": "localapic_wait_for_sipi",
    "does-not-begin": "localapic_signal_sipi",
    "sipi-to-a-running-cpu": "localapic_signal_sipi",
    "x2apic-differs": "localapic_x2apic_icr",
}
"""The function that each mistake is mostly in; localapic_icr for all others."""


STUCK_IN = {
    ENTER: "lab9.1",
    "localapic_write": "lab9.3",
    TAKES: "lab9.4",
    "localapic_is_destination": "lab9.5",
    "localapic_signal_init": "lab9.6",
    SIGNAL_SIPI: "lab9.7",
    "localapic_x2apic_icr": "lab9.8",
}
"""The functions in which no CPU waits or stops, with their steps."""
STEPS = {**STUCK_IN, WAIT: "lab9.2"}


def stuck_in(reaction):
    """The function of the lab that a CPU did not come out of, or None."""
    if reaction.kind or reaction.in_guest or reaction.verdict not in ("waits", "shutdown"):
        return None
    where = reaction.called_from
    return next((one for one in STUCK_IN if reaction.place.is_in(one) or one == where), None)


def wrong(boot, sent, reaction, cause, step="", *, place="", goes_on=False):
    """Fail because a CPU did not do what had to come of something that was sent."""
    if reaction.right:
        return
    told = should(reaction.expected)
    expected = msg("after {what}: {should}", what=what(sent.sending), should=told)
    if reaction.verdict in ("halted", "shutdown"):
        fail_if(stopped_at_todo(boot), expected=expected)
        for one in boot.cpus:
            fail_if(crash(one), expected=expected)
    if reaction.not_looked_for:
        cause, step, place = "init-not-looked-for", "lab9.1", ENTER
    elif cause == "init-not-obeyed" and not step and not sent.ap_starts:
        cause, step, place = "init-not-taken", "lab9.4", TAKES
    elif (stuck := stuck_in(reaction)) is not None:
        step, place = STUCK_IN[stuck], stuck
        cause = "enter-did-not-return" if stuck == ENTER else cause
    fail(
        cause,
        cpu=reaction.expected.cpu,
        place=place or WHERE.get(cause, "localapic_icr"),
        expected=expected,
        observed=did(reaction),
        step=step,
        goes_on=goes_on or reaction.mended,
    )


def cause_of(sent, reaction):
    """Name what is wrong with what a CPU did."""
    kind = reaction.expected.kind
    if kind == "starts" and reaction.kind == "starts":
        return "begins-elsewhere"
    if kind == "starts" and sent.sending.same_dest and not destination_kept(sent):
        return "destination-changed"
    if kind == "starts":
        return "early-sipi-forgotten" if reaction.early else "does-not-begin"
    if kind == "waits":
        return "begins-unasked" if reaction in sent.idle else "init-not-obeyed"
    if reaction is sent.sender:
        return "sender-stops"
    if sent.sending.mode == SIPI:
        return "sipi-to-a-running-cpu" if reaction.expected.meant else "begins-unasked"
    return "init-to-the-wrong-one"


def sent_so_far(boot, wanted):
    """What was sent and is wanted, in order; fail if the boot did not come as far."""
    found = [one for one in seen(boot).sent if wanted(one.sending)]
    if not found:
        stopped(boot, 0, msg("the guest sends INIT and SIPI, and goes on"))
    return found


def all_came(boot):
    """Fail if the boot ended before everything was sent, and nothing else was wrong."""
    if not seen(boot).complete:
        last = seen(boot).sent[-1] if seen(boot).sent else None
        for one in (last.sender, *last.reactions, *last.idle) if last else ():
            wrong(boot, last, one, cause_of(last, one))
        stopped(boot, 0, msg("the guest sends INIT and SIPI, and goes on"))


# --- lab9.1: localapic_enter ----------------------------------------------------------------------


def entered(boot, cpu):
    """The first call of localapic_enter on a CPU; fail if there was none."""
    found = seen(boot).entered.get(cpu)
    if found is None:
        stopped(boot, cpu, msg("localapic_enter is called on CPU {cpu}", cpu=cpu))
    return found


@check("lab9.enter.runs", FOUR, also=THERE)
def bsp_enters_its_guest(boot):
    """localapic_enter returns on the BSP, whose guest begins at once, with GIF = 0."""
    found = entered(boot, 0)
    expected = msg("localapic_enter returns with GIF = 0")
    if found.reached != RUN:
        fail_if(stopped_at_todo(boot), expected=expected)
        fail(
            "bsp-waits" if found.reached == WAIT else "enter-did-not-return",
            cpu=0,
            place=found.place.text,
            expected=expected,
            observed=msg("it calls localapic_wait_for_sipi")
            if found.reached == WAIT
            else msg("CPU {cpu} ended at {place}", cpu=0, place=found.place.text),
        )
    if found.gif:
        fail(
            "gif-set",
            cpu=0,
            place="localapic_enter",
            expected=expected,
            observed=msg("GIF = 1"),
        )


@check("lab9.enter.waits", FOUR, also=THERE, per="ap")
def aps_wait_first(boot, ap):
    """localapic_enter calls localapic_wait_for_sipi on every AP, with GIF = 1."""
    found = entered(boot, ap.index)
    expected = msg("localapic_enter calls localapic_wait_for_sipi with GIF = 1")
    if found.reached != WAIT:
        fail_if(stopped_at_todo(boot, [boot.cpus[ap.index]]), expected=expected)
        fail(
            "ap-does-not-wait",
            cpu=ap.index,
            place=found.place.text,
            expected=expected,
            observed=msg("localapic_enter returns")
            if found.reached == RUN
            else msg("CPU {cpu} ended at {place}", cpu=ap.index, place=found.place.text),
        )
    if not found.gif:
        fail(
            "waits-with-gif-clear",
            cpu=ap.index,
            place="localapic_enter",
            expected=expected,
            observed=msg("GIF = 0"),
        )


# --- lab9.2: localapic_wait_for_sipi --------------------------------------------------------------


@check("lab9.wait.waits", FOUR, also=THERE, per="ap", after="lab9.enter.waits")
def no_guest_before_a_sipi(boot, ap):
    """Without a SIPI localapic_wait_for_sipi does not return and does not halt the CPU."""
    found = entered(boot, ap.index)
    expected = msg("CPU {cpu} waits in a loop", cpu=ap.index)
    if found.then == "waits":
        return
    fail_if(stopped_at_todo(boot, [boot.cpus[ap.index]]), expected=expected)
    fail_if(crash(boot.cpus[ap.index]), expected=expected)
    place = needed(found.then_place).text
    fail(
        "halts-instead" if found.then == "halted" else "does-not-wait",
        cpu=ap.index,
        place=place,
        expected=expected,
        observed=msg("it halts, at {place}", place=place)
        if found.then == "halted"
        else msg("it comes to {place}", place=place),
    )


# --- lab9.3: localapic_write ----------------------------------------------------------------------


@check("lab9.write.repeated", FOUR, also=THERE)
def writes_are_repeated(boot):
    """Each write of the guest to a register but the ICR reaches its APIC once, unchanged."""
    reaches_the_apic(boot, lambda offset: offset != ICR, "localapic_write")
    icr_is_asked(boot)


def icr_is_asked(boot):
    """Fail if localapic_write asks localapic_icr about something else than the guest has sent."""
    for sent in seen(boot).sent:
        sending = sent.sending
        for low, dest in sent.asked if not sending.same_dest else ():
            right = dest_of(sending, dest)
            if (low, dest) != (sending.low, right):
                fail(
                    "icr-asked-wrong",
                    cpu=sending.sender,
                    place="localapic_write",
                    expected=msg(
                        "{what}: localapic_icr is asked about low = {low:#x}, dest = {dest:#x}",
                        what=what(sending),
                        low=sending.low,
                        dest=right,
                    ),
                    observed=msg("low = {low:#x}, dest = {dest:#x}", low=low, dest=dest),
                    goes_on=low == sending.low,
                )


def reaches_the_apic(boot, wanted, place, step=""):
    """Fail for the first write of the guest that did not reach its APIC once, as it was."""
    expected = msg("the guest writes to its APIC, and goes on")
    runs = guest_of(boot, 0).runs
    exits = [n for n, run in enumerate(runs) if apic_offset(run) is not None]
    found = [(n, one) for n, one in enumerate(seen(boot).written) if wanted(one.offset)]
    if not found:
        stopped(boot, 0, expected)
    wrong_ones = []
    for number, one in found:
        at = exits[number] if number < len(exits) else None
        if not one.done or at is None or at + 1 >= len(runs):
            stopped(boot, 0, expected)
        reached = [(w.offset, w.value) for w in runs[at + 1].apic]
        if reached != [(one.offset, one.value)]:
            wrong_ones.append(((one.offset, one.value), reached))
    for right, reached in wrong_ones:
        twice = reached.count(right) > 1
        fail(
            "written-twice" if twice else "other-write" if reached else "write-lost",
            cpu=0,
            place=place,
            expected=msg("one write: {write}", write=written_text([right])),
            observed=written_text(reached),
            step=step,
            goes_on=all(offset != ICR_HIGH for (offset, _), _ in wrong_ones),
        )


def guest_of(boot, cpu):
    """The VMRUNs and exits of a CPU."""
    return boot.guests[cpu] if cpu < len(boot.guests) else CpuGuest()


def apic_offset(run):
    """The register that a guest wrote to when it exited, None if it did not."""
    left = run.exit
    inside = left is not None and left.code == VMEXIT_NPF and left.info2 & ~0xFFF == APIC
    return left.info2 & 0xFFF if inside else None


def written_text(writes):
    """Writes to the APIC, in words."""
    shown = [msg("{value:#x} to register {offset:#x}", value=v, offset=o) for o, v in writes]
    return listed(shown, "; ") if shown else msg("no write to the APIC")


# --- lab9.4: localapic_icr ------------------------------------------------------------------------


@check("lab9.icr.taken", FOUR, also=THERE, after="lab9.write.repeated")
def nothing_reaches_the_hardware(boot):
    """No INIT and no SIPI of the guest reaches the hardware."""
    for sent in sent_so_far(boot, lambda one: one.emulated):
        if not sent.ap_starts:
            wrong(boot, sent, sent.sender, "init-not-taken")
    nothing_is_sent(boot, "localapic_icr")


def nothing_is_sent(boot, place):
    """Fail if a CPU that has run its guest has sent INIT or SIPI, or its guest has."""
    for cpu in boot.cpus:
        guests = guest_of(boot, cpu.index)
        after_first = [icr for run in guests.runs[1:] for icr in run.before]
        within = [icr for run in guests.runs for icr in run.inside]
        for icr in (*after_first, *within, *(guests.after if guests.runs else ())):
            if icr.kind in ("INIT", "SIPI", "INIT level de-assert"):
                fail(
                    "init-reaches-hardware",
                    cpu=cpu.index,
                    place=place,
                    expected=msg("no INIT and no SIPI is sent"),
                    observed=icr.text,
                    goes_on=seen(boot).complete,
                )


def with_single_calls(boots):
    """Each boot that the grader directs, and what calls of single functions have shown."""
    single = next(seen(boot).single for boot in boots if boot.scenario == DIRECT.name)
    for boot in boots:
        if boot.scenario != DIRECT.name:
            yield boot.scenario, boot, single


@check("lab9.icr.others", FOUR, THERE, DIRECT, per=with_single_calls, after="lab9.write.repeated")
def other_ipis_are_sent(boots, boot, single):
    """An IPI of the guest that is neither INIT nor SIPI is sent once, as the guest wrote it."""
    del boots
    if single.passes_on:  # then its caller does something else
        reaches_the_apic(boot, lambda offset: offset == ICR, "localapic_write", "lab9.3")
    else:
        reaches_the_apic(boot, lambda offset: offset == ICR, "localapic_icr")


@check("lab9.icr.deassert", FOUR, also=THERE, after="lab9.write.repeated")
def deassert_does_nothing(boot):
    """INIT level de-assert does nothing: nobody waits, and no processor is started for it."""
    for sent in sent_so_far(boot, lambda one: one.deassert):
        if sent.ap_starts:
            fail(
                "deassert-taken-for-init",
                cpu=sent.sending.sender,
                place="localapic_icr",
                expected=msg("{what} does nothing", what=what(sent.sending)),
                observed=msg("handle_ap_start is called"),
            )
        for one in (sent.sender, *sent.reactions):
            wrong(boot, sent, one, "deassert-taken-for-init")


@check("lab9.icr.ap_start", FOUR, also=THERE, after="lab9.write.repeated")
def processors_are_started_first(boot):
    """Each INIT and SIPI calls handle_ap_start once, before it looks for virtual CPUs."""
    for sent in sent_so_far(boot, lambda one: one.emulated):
        if sent.ap_starts != 1:
            if not sent.ap_starts:
                wrong(boot, sent, sent.sender, "init-not-taken")
            missed = "taken-for-deassert" if sent.level_misread else "ap-start-not-called"
            fail(
                missed if not sent.ap_starts else "ap-start-called-again",
                cpu=sent.sending.sender,
                place="localapic_icr",
                expected=msg("{what}: one call of handle_ap_start", what=what(sent.sending)),
                observed=msg("{count} calls", count=sent.ap_starts),
                goes_on=True,
            )
    counted_in_time(boot)


def counted_in_time(boot):
    """Fail if a CPU did not get a SIPI, and only because handle_ap_start has counted it."""
    for sent, again in pairwise(seen(boot).sent):
        if sent.overlooked and again.right:  # again: the same, when the CPU is counted before
            for one in sent.reactions:
                wrong(boot, sent, one, "counted-too-early", "lab9.4", goes_on=True)


# --- lab9.5: localapic_is_destination -------------------------------------------------------------


def answers_are_right(boot, wanted):
    """Fail for the first answer of localapic_is_destination that is not right."""
    found = [one for one in enumerate(seen(boot).asked, 1) if wanted(one[1].sending)]
    expected = msg("localapic_is_destination returns")
    if not found or seen(boot).asked[-1].answer is None:
        stopped(boot, 0, expected)
    for number, one in found:
        if one.answer != one.right:
            about = {"what": what(one.sending), "cpu": one.cpu, "id": one.apic_id}
            fail(
                "not-meant" if one.answer else "meant-but-left-out",
                cpu=0,
                place="localapic_is_destination",
                expected=msg("{what}: CPU {cpu}, whose APIC id is {id}, is meant", **about)
                if one.right
                else msg("{what}: CPU {cpu}, whose APIC id is {id}, is not meant", **about),
                observed=msg("it returns true") if one.answer else msg("it returns false"),
                call=number,
            )


@check("lab9.destination.id", ALONE)
def ids_are_compared(boot):
    """Without a shorthand the CPU with this APIC id is meant, or all, or nobody."""
    answers_are_right(boot, lambda one: not one.low & OTHERS)


@check("lab9.destination.shorthand", ALONE)
def shorthands_decide(boot):
    """A shorthand alone decides: the sender itself, all, or all but the sender."""
    answers_are_right(boot, lambda one: one.low & OTHERS)


@check("lab9.icr.absent", ALONE, after=["lab9.destination.id", "lab9.icr.taken"])
def nobody_is_meant(boot):
    """An INIT or SIPI to an APIC id that no CPU has does nothing, however often it is sent."""
    sent = sent_so_far(boot, lambda one: not one.low & OTHERS)
    for one in sent:
        for reaction in (one.sender, *one.reactions):
            wrong(boot, one, reaction, "absent-destination")
        for reaction in one.idle:
            if reaction.verdict == "halted":  # it had halted before anything was sent
                wrong(boot, one, reaction, "halts-instead", "lab9.2", place=WAIT)
    on = seen(boot).stopped_at_many
    if not on and not any(one.low & OTHERS for one in (s.sending for s in seen(boot).sent)):
        stopped(boot, 0, msg("the guest goes on after {count} INITs to nobody", count=TIMES))


# --- lab9.6: localapic_signal_init ----------------------------------------------------------------


@check("lab9.init.self", ALONE, after="lab9.icr.absent")
def init_to_itself(boot):
    """A CPU that sends INIT to itself waits; hundreds of INITs to one that waits change nothing."""
    if seen(boot).stopped_at_many:
        expected = msg("the guest goes on after {count} INITs to a CPU that waits", count=TIMES)
        fail_if(stopped_at_todo(boot), expected=expected)
        fail_if(crash(boot.cpus[0]), expected=expected)
        fail(
            "sender-stops",
            cpu=0,
            place="localapic_signal_init",
            expected=expected,
            observed=msg("CPU {cpu} ended at {place}", cpu=0, place=boot.bsp.end_place.text),
        )
    for one in sent_so_far(boot, lambda one: bool(one.low & OTHERS)):
        wrong(boot, one, one.sender, "init-not-obeyed")


@check("lab9.init.waiting", FOUR, also=THERE, after=["lab9.icr.ap_start", "lab9.icr.taken"])
def init_to_one_that_waits(boot):
    """An INIT to a virtual CPU that waits changes nothing, and the sender goes on."""
    sent = sent_so_far(boot, lambda one: one.emulated)[0]
    wrong(boot, sent, sent.sender, "sender-stops")


# --- lab9.7: localapic_signal_sipi, and all of it together ----------------------------------------


def reactions(boot, mode, kind, meant=None):
    """What CPUs did that had to do this after INIT or SIPI; fail if none came as far."""
    found = []
    for sent in sent_so_far(boot, lambda one: one.mode == mode):
        if sent.level_misread:  # the same comes again
            continue
        for one in (sent.sender, *sent.reactions):
            if one.expected.kind == kind and meant in (None, one.expected.meant):
                found.append((sent, one))
    if not found:
        all_came(boot)
    return found


def judge(boot, found):
    """Fail for the first CPU that did not do what it had to do."""
    for sent, one in found:
        wrong(boot, sent, one, cause_of(sent, one))


def destination_kept(sent):
    """Whether the high half of the guest's ICR is what it has written; None if that is unknown."""
    sending = sent.sending
    return (sending.low, sending.dest) in sent.asked if sent.asked else None


def origin(direct, cause):
    """The step and the function in which a mistake is, as calls of single functions show."""
    if any(one.ran for one in direct):
        return {"step": "lab9.1", "place": ENTER}
    signal = next((one for one in direct if one.function == SIGNAL_SIPI), None)
    icr = next((one for one in direct if one.function == TAKES), None)
    if signal is not None and signal.right and icr is not None and not icr.right:
        return {"step": "lab9.4", "place": "localapic_icr"}
    if signal is not None and not signal.right and signal.startup == signal.vector:
        return {"step": "lab9.2", "place": "localapic_wait_for_sipi"}
    if signal is not None and not signal.right and cause == "begins-elsewhere":
        return {"step": "lab9.7", "place": "localapic_signal_sipi"}
    return {}


def each_with_the_calls(boots):
    """Each boot, and what the calls of single functions have shown."""
    direct = next(seen(boot).direct for boot in boots if boot.scenario == DIRECT.name)
    for boot in boots:
        yield boot.scenario, boot, direct


@check("lab9.sipi.begins", FOUR, DIRECT, THERE, per=each_with_the_calls, after="lab9.init.waiting")
def begins_at_its_vector(boots, boot, direct):
    """A SIPI lets each CPU that is meant and waits begin at vector * 0x1000, in real mode."""
    if boot.scenario == DIRECT.name:
        first = [one for other in boots for cpu, one in seen(other).entered.items() if cpu]
        if all(one.gif for one in first):  # else lab9.enter.waits says so
            waits_with_gif(direct)
        begins_by_a_call(boot, direct)
        return
    for sent, one in reactions(boot, SIPI, "starts"):
        if not sent.sending.same_dest and not sent.overlooked:
            cause = cause_of(sent, one)
            wrong(boot, sent, one, cause, **origin(direct, cause))


def waits_with_gif(direct):
    """Fail if an AP whose SIPI has come already waits with GIF = 0."""
    for one in direct:
        if one.gif is False:
            fail(
                "waits-with-gif-clear",
                cpu=one.cpu,
                place=ENTER,
                expected=msg("localapic_enter calls localapic_wait_for_sipi with GIF = 1"),
                observed=msg("GIF = 0"),
                step="lab9.1",
                goes_on=True,
            )


def of_vector_0(direct):
    """The step and the function that has not taken 0 for a vector, as far as the state tells."""
    if direct.ran:
        return {"step": "lab9.1", "place": ENTER}
    if direct.startup == direct.vector:
        return {"step": "lab9.2", "place": WAIT}
    return {"step": "lab9.7", "place": SIGNAL_SIPI}


def begins_by_a_call(boot, direct):
    """Fail if an AP did not begin at the vector of a SIPI that a call of the grader let come."""
    for one in direct:
        if not one.right:
            forgotten = one.cs is None and one.startup == one.vector
            cause = "early-sipi-forgotten" if forgotten else "does-not-begin"
            cause = cause if one.cs is None else "begins-elsewhere"
            cause = "enter-runs-too-early" if one.ran else cause
            found = origin(direct, cause)
            if one.cs is None and not one.vector and all(other.right for other in direct[:-1]):
                cause, found = "vector-0-forgotten", of_vector_0(one)
            expected = msg(
                "{function} is called for CPU {cpu}, before it waits: CPU {cpu} begins at "
                "{vector:#x}000",
                function=one.function,
                cpu=one.cpu,
                vector=one.vector,
            )
            fail_if(stopped_at_todo(boot), expected=expected)
            fail(
                cause,
                cpu=one.cpu,
                place=found.get("place", one.function),
                expected=expected,
                observed=msg(
                    "CPU {cpu} is at {place}; v->startup was {startup:#x} after the call",
                    cpu=one.cpu,
                    place=one.place.text,
                    startup=one.startup,
                )
                if one.cs is None
                else msg(
                    "svm_reset with cs = {cs:#x}, ip = {ip:#x} on CPU {cpu}",
                    cs=one.cs,
                    ip=one.ip,
                    cpu=one.cpu,
                ),
                step=found.get("step", ""),
                goes_on=True,
            )
    if not seen(boot).complete:
        stopped(boot, 0, msg("localapic_signal_sipi and localapic_icr return"))


@check("lab9.sipi.only", FOUR, also=THERE, after="lab9.sipi.begins")
def nobody_else_begins(boot):
    """No other CPU begins: those that are not meant go on waiting, or go on in their guests."""
    for sent in sent_so_far(boot, lambda one: one.mode == SIPI and not one.same_dest):
        judge(boot, [(sent, one) for one in sent.idle])
    judge(boot, reactions(boot, SIPI, "goes-on", meant=False))


@check("lab9.sipi.ignored", FOUR, also=THERE, after="lab9.sipi.begins")
def second_sipi_is_lost(boot):
    """A SIPI to a CPU that does not wait is lost: its guest goes on where it is."""
    judge(boot, reactions(boot, SIPI, "goes-on", meant=True))


@check("lab9.init.again", FOUR, THERE, DIRECT, per=with_single_calls, after="lab9.sipi.begins")
def running_cpus_come_out(boots, boot, single):
    """An INIT brings a running CPU out of its guest, also from HLT; then it waits for a SIPI."""
    del boots
    judge(boot, reactions(boot, INIT, "goes-on"))
    for sent, one in reactions(boot, INIT, "waits"):
        if one is sent.sender and not sent.sending.low & OTHERS and single.leaves_itself_out:
            wrong(boot, sent, one, "init-to-itself-left-out", "lab9.4", place="localapic_icr")
    judge(boot, reactions(boot, INIT, "waits"))
    for cpu in boot.cpus:
        sent = (icr for run in guest_of(boot, cpu.index).runs[1:] for icr in run.before)
        for icr in sent:
            if icr.kind == "NMI" and icr.low & ~FREE != NMI:
                fail(
                    "nmi-word-wrong",
                    cpu=cpu.index,
                    place="localapic_signal_init",
                    expected=msg("an NMI with ICR = {low:#x}", low=NMI),
                    observed=icr.text,
                    goes_on=True,
                )


@check(
    "lab9.init.destination",
    FOUR,
    also=THERE,
    after=["lab9.write.repeated", "lab9.init.again"],
    strictly=["lab9.write.repeated"],
)
def destination_stays(boot):
    """After an INIT the high half of the guest's ICR is still what the guest has written."""
    for sent in sent_so_far(boot, lambda one: one.same_dest):
        if destination_kept(sent) is False:
            fail(
                "destination-changed",
                cpu=sent.sending.sender,
                place="localapic_signal_init",
                expected=msg(
                    "{what}: the high half of the ICR holds destination {dest}",
                    what=what(sent.sending),
                    dest=sent.sending.dest,
                ),
                observed=msg(
                    "localapic_icr is asked about destination {dest}", dest=sent.asked[0][1]
                ),
                step="lab9.6",
                goes_on=True,
            )
        for one in (*sent.reactions, *sent.idle) if destination_kept(sent) is None else ():
            wrong(boot, sent, one, cause_of(sent, one))
    all_came(boot)


LOST = {
    "enter": ("init-lost-on-entry", "lab9.1"),
    "wait": ("init-lost-on-start", "lab9.2"),
    "pending": ("sipi-not-forgotten", "lab9.6"),
    "twice": ("second-sipi-obeyed", "lab9.7"),
    "signal": ("init-after-its-nmi", "lab9.6"),
}
"""The cause of a mistake, and its step, by when the INIT came."""


PLACES_OF_STEPS = {
    "lab9.1": "localapic_enter",
    "lab9.2": "localapic_wait_for_sipi",
    "lab9.6": "localapic_signal_init",
    "lab9.7": "localapic_signal_sipi",
}


def race_expected(race):
    """What had to come of an INIT at an instruction, in words."""
    told = should(race.reaction.expected)
    if race.where == "pending":
        return msg("after INIT, SIPI and INIT, none of which it has obeyed: {told}", told=told)
    if race.where == "twice":
        return msg("after INIT and two SIPIs, none of which it has obeyed: {told}", told=told)
    return msg(
        "after an INIT that comes while CPU {held} is at {at}: {told}",
        held=race.held,
        at=race.at.text,
        told=told,
    )


@check(
    "lab9.race.kept",
    RACE,
    after=["lab9.init.again", "lab9.sipi.begins"],
    strictly=["lab9.sipi.begins"],
)
def no_init_is_lost(boot):
    """An INIT is never lost, at whatever instruction it comes."""
    for race in seen(boot).races:
        if not race.reaction.right:
            cause, step = LOST[race.where]
            if race.where == "wait" and race.reaction.init_stayed:
                cause, step = "init-not-looked-for", "lab9.1"
            fail(
                cause,
                cpu=race.reaction.expected.cpu,
                place=PLACES_OF_STEPS[step],
                expected=race_expected(race),
                observed=did(race.reaction),
                step=step,
            )
    all_came(boot)


def differences(alone, found):
    """What a function did alone, and what it did instead with another CPU; in words."""
    for number in range(max(len(alone.calls), len(found.calls))):
        yield [
            one.calls[number].text if number < len(one.calls) else msg("no further call")
            for one in (alone, found)
        ]
    returns = {None: "", True: msg("it returns true"), False: msg("it returns false")}
    yield [returns[one.returned] for one in (alone, found)]
    yield [msg("v->startup is {startup:#x}", startup=one.startup) for one in (alone, found)]
    for dest, low in alone.sent:
        told = msg("ICR = {low:#x} is sent to APIC id {dest}", low=low, dest=dest)
        yield [told, told if (dest, low) in found.sent else msg("that is not sent")]
    for dest, low in found.passed_on(alone):
        told = msg("ICR = {low:#x} is sent to APIC id {dest}", low=low, dest=dest)
        yield [msg("no INIT and no SIPI is sent"), told]
    yield [
        msg("APIC_ICR_HIGH holds destination {dest:#x}", dest=one.high) for one in (alone, found)
    ]


@check(
    "lab9.calls.together",
    DIRECT,
    after=["lab9.write.repeated", "lab9.sipi.begins", "lab9.init.again"],
    strictly=True,
)
def functions_share_nothing(boot):
    """Each function does the same while another CPU executes it, too, with other arguments."""
    nothing_is_shared(boot)


def nothing_is_shared(boot):
    """Fail if a function did something else because another CPU executed it, too."""
    for one in seen(boot).together:
        alone, found = next(
            both for both in differences(one.alone, one.found) if both[0] != both[1]
        )
        fail(
            "calls-share-variables",
            cpu=one.cpu,
            place=one.at.text,
            expected=msg(
                "while CPU {other} executes {function}, too: {what}",
                other=one.other,
                function=one.function,
                what=alone,
            ),
            observed=found,
            step=STEPS.get(one.at.lab_function, STEPS.get(one.function, "")),
            goes_on=True,
        )
    if not seen(boot).complete:
        stopped(boot, 0, msg("localapic_signal_sipi and localapic_icr return"))


@check(
    "lab9.guest.cpus",
    ONE,
    EIGHT,
    per="boot",
    after=[
        "lab9.sipi.begins",
        "lab9.init.again",
        "lab9.init.destination",
        "lab9.calls.together",
    ],
    strictly=True,
)
def guest_starts_all_processors(boot):
    """A guest with 8 CPUs, or 1 under SeaBIOS, starts them all at once, and then each again."""
    for cpu in boot.cpus:
        if not boot.at(DONE, cpu.index):
            stopped(boot, cpu.index, msg("CPU {cpu} comes to the end of its guest", cpu=cpu.index))


# --- lab9.8: x2APIC -------------------------------------------------------------------------------


@check("lab9.x2apic.taken", MSR, after=["lab9.sipi.begins", "lab9.init.again"], strictly=True)
def x2apic_init_and_sipi(boot):
    """INIT and SIPI by the MSR of x2APIC mode do the same; all is 0xFFFFFFFF there."""
    found = sent_so_far(boot, lambda one: one.emulated)
    nothing_is_sent(boot, "localapic_x2apic_icr")
    for sent in found:
        for one in (sent.sender, *sent.reactions, *sent.idle):
            wrong(boot, sent, one, "x2apic-differs")
    all_came(boot)


@check("lab9.x2apic.sent", MSR, after="lab9.write.repeated")
def x2apic_others_are_sent(boot):
    """What is neither INIT nor SIPI is sent once, to the same destination."""
    sent = sent_so_far(boot, lambda one: not one.emulated)[0]
    wrong(boot, sent, sent.sender, "x2apic-differs")
    runs = guest_of(boot, 0).runs
    written = [icr for run in runs[1:] for icr in run.before if icr.kind == "fixed"]
    right = [(one.low, one.dest) for one in written]
    low, dest = sent.sending.low, sent.sending.dest
    if right != [(low, dest)]:
        fail(
            "x2apic-not-sent" if not right else "x2apic-sent-otherwise",
            cpu=0,
            place="localapic_x2apic_icr",
            expected=msg("one IPI: ICR = {low:#x}, to APIC id {dest}", low=low, dest=dest),
            observed=listed([one.text for one in written], "; ")
            if written
            else msg("no write to the ICR"),
        )
