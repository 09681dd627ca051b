"""Explains how functions of ap_start.c fail when the grader calls them with other arguments.

Functions from an Observation to a Failure, or to what another diagnosis asks.
"""

from __future__ import annotations

from dataclasses import replace

from vmmlab.base.message import Text, listed, msg
from vmmlab.diagnosis import othertables
from vmmlab.diagnosis.bsp import in_unmapped_copy
from vmmlab.diagnosis.othertables import called
from vmmlab.failure import Failure
from vmmlab.observe.icr import Icr, icr_text
from vmmlab.observe.observation import Observation
from vmmlab.observe.starting import OwnCalls
from vmmlab.x86.icr import ICR_RESERVED


def sent_by(boot: Observation) -> dict[str, tuple[Icr, ...]]:
    """Return what each function has sent when the grader called it; nothing without such calls."""
    made = boot.own_calls
    if made is None or not made.sipi_writes:
        return {}
    sipi, init = made.sipi_writes, made.init_writes
    return {
        "apic_send_startup_ipi": boot.icr[sipi:init],
        "apic_send_init": () if init is None else boot.icr[init:],
        "ap_start_addr": boot.icr[made.writes : sipi],
    }


def sent_with_sipi(boot: Observation) -> tuple[Icr, ...]:
    """Return all that apic_send_startup_ipi has sent, if an INIT is in it."""
    sent = sent_by(boot).get("apic_send_startup_ipi", ())
    return sent if any(write.kind == "INIT" for write in sent) else ()


def slept_by_sender(boot: Observation, found: Failure) -> Failure:
    """Return a delay that is too long, told of the function that sends the IPI if that sleeps.

    Args:
        boot: the boot with the grader's own calls.
        found: the delay that is wrong.
    """
    made = boot.own_calls
    if made is None or not found.cause.startswith("another-delay-"):
        return found
    of_init = found.cause.endswith("-init")
    function = "apic_send_init" if of_init else "apic_send_startup_ipi"
    slept = made.send_init_slept_us if of_init else made.send_sipi_slept_us
    if not slept:
        return found
    return replace(
        found,
        place=called(function),
        function=function,
        observed=msg(
            "{function} itself asked usleep for {slept} microseconds, where {field} was {asked}; "
            "together with what ap_start_addr asks for, that is too long",
            function=function,
            slept=slept,
            field="ap_delays.init_us" if of_init else "ap_delays.sipi_us",
            asked=made.init_us if of_init else made.sipi_us,
        ),
        next=msg("ap_start_addr waits. {function} only sends the IPI.", function=function),
    )


def waits_for_aps(boot: Observation) -> Failure | None:
    """Return that ap_start_addr calls ap_wait, which is for ap_start to do."""
    if boot.own_calls is None or not boot.own_calls.waits:
        return None
    return Failure(
        "ap-wait-in-ap-start-addr",
        cpu=0,
        place=called("ap_start_addr"),
        expected=msg("it sends the IPIs and waits by usleep; ap_start calls ap_wait"),
        observed=msg("ap_start_addr has called ap_wait"),
        function="ap_start_addr",
        goes_on=True,
    )


def ignored_argument(boot: Observation) -> Failure | None:
    """Return an argument that a function of ap_start.c does not use."""
    made = boot.own_calls
    if made is None or (made.first is None and in_unmapped_copy(boot)):
        return None
    if (odd := _wrong_answer(boot, made)) is not None:
        return odd
    if (found := wrong_number(boot)) is not None:
        return found
    if (other := _other_bits(boot, made)) is not None:
        return other
    sipis = _sent_by_own_call(boot, made, "SIPI")
    right = msg("it asks loopcond (data) before each SIPI: {times} times yes", times=made.times)
    sent = sent_by(boot)
    after = sent.get("apic_send_startup_ipi", ())
    if sum(_is_for_one(one, "SIPI") for one in after) > 1:
        return _ignored("apic_send_startup_ipi", msg("one SIPI for each CPU"), icr_text(after))
    if (waits := _waits_in_condition(made)) is not None:
        return waits
    last = sent.get("apic_send_init", ())
    if made.init_writes is not None and not any(_is_for_one(one, "INIT") for one in last):
        expected = msg("an INIT that reaches the CPU with APIC id 1")
        next_step = msg("Send the INIT in apic_send_init: ap_start_addr calls that function.")
        return replace(_ignored("apic_send_init", expected, icr_text(last)), next=next_step)
    if made.asked == 0:
        return _ignored(
            "ap_start_addr", right, msg("it never asked the loopcond that it was given")
        )
    if not made.data:
        return _ignored("ap_start_addr", right, msg("it gave loopcond another pointer than data"))
    if len(sipis) != made.times:
        return _ignored("ap_start_addr", right, msg("it sent {count} SIPIs", count=len(sipis)))
    own = [one.vector for one in after if one.kind == "SIPI"]
    if (own or made.returned) and set(own) != {made.sipi_vector}:
        return _ignored(
            "apic_send_startup_ipi",
            msg("a SIPI with vector {vector:#x}, its argument", vector=made.sipi_vector),
            msg("a SIPI with vector {vector:#x}", vector=own[0]) if own else icr_text(after),
        )
    if {one.vector for one in sipis} != {made.vector}:
        return _ignored(
            "ap_start_addr",
            msg("SIPIs with vector {vector:#x}, its argument addr", vector=made.vector),
            msg("a SIPI with vector {vector:#x}", vector=sipis[0].vector),
        )
    return othertables.wrong_with_many(made) or othertables.wrong_destination(made)


def _wrong_answer(boot: Observation, made: OwnCalls) -> Failure | None:
    """Return that ap_start_loopcond answers wrongly to 0 or to 3 SIPIs."""
    if made.first == 0 and any(one.kind == "SIPI" for one in boot.icr[: made.writes]):
        return replace(
            _ignored(
                "ap_start_loopcond",
                msg("true whenever data points to 0 and no AP has arrived"),
                msg("it returned true for 0 in ap_start, and false when it was called again"),
            ),
            next=msg(
                "It keeps something from one call to the next: a static or global variable? Only "
                "the number that data points to counts."
            ),
        )
    if (made.first, made.count) != (1, 1) or made.last:
        return _ignored(
            "ap_start_loopcond",
            msg("true and 1 there if data points to 0; false if it points to 3"),
            msg("it returned false though data pointed to 0")
            if made.first == 0
            else msg("it left {count} there", count=made.count)
            if made.first is not None and made.count is not None and made.count != 1
            else msg("it returned true though data pointed to 3")
            if made.last
            else msg("it did not come back"),
        )  # fmt: skip
    return None


def _other_bits(boot: Observation, made: OwnCalls) -> Failure | None:
    """Return that the vector of a SIPI has changed other bits of the ICR."""
    sent = sent_by(boot).get("ap_start_addr", ())
    kinds = ("INIT", "INIT level de-assert", "SIPI")
    odd = [one for one in sent if one.kind not in kinds or one.low & ICR_RESERVED]
    if not odd:
        return None
    return replace(
        _ignored(
            "apic_send_startup_ipi",
            msg("a SIPI with vector {vector:#x}, and its other bits as always", vector=made.vector),
            icr_text(odd[:1]),
        ),
        cause="vector-in-other-bits",
    )


def _waits_in_condition(made: OwnCalls) -> Failure | None:
    """Return that ap_start_loopcond waits, by usleep or in a loop."""
    if not made.cond_slept_us and not made.cond_turns:
        return None
    return replace(
        _ignored(
            "ap_start_loopcond",
            msg("it waits for nothing"),
            msg("it asked usleep for {slept} microseconds", slept=made.cond_slept_us)
            if made.cond_slept_us
            else msg(
                "no AP had come, and it executed an instruction {count} times before it answered",
                count=made.cond_turns,
            ),
        ),
        cause="loopcond-waits",
    )


def wrong_number(boot: Observation) -> Failure | None:
    """Return that ap_start_loopcond reads or writes the number of SIPIs wrongly.

    The contract leaves open what it answers to more than three. Yes and one more is right, and so
    is no; but it may not answer one way for some and another way for others. When it says no, the
    number does not count any more.
    """
    made = boot.own_calls
    if made is None or made.last or made.last_count is None:
        return None
    whole = msg("it reads and writes the int that data points to, 4 bytes")
    if made.last_beside or (made.first and made.first_beside == 0):
        return _number(
            cause="another-width-of-the-number",
            expected=whole,
            observed=msg(
                "data pointed to 3, and it returned true when the bytes behind the int were not 0"
            )
            if made.last_beside
            else msg(
                "data pointed to 0, and it returned false when the bytes behind the int were not 0"
            ),
        )
    more = [one for one in made.far if one.left != one.sent + 1]
    wrong = [one for one in more if one.answer or one.left != one.sent]
    if wrong or len({bool(one.answer) for one in made.far}) > 1:
        shown = wrong[:1] or made.far
        return _number(
            cause="another-width-of-the-number",
            expected=whole,
            observed=listed(
                [
                    msg(
                        "it returned {answer} for {number:#x} and left {left:#x}",
                        answer="true" if one.answer else "false",
                        number=one.sent,
                        left=one.left,
                    )
                    for one in shown
                ],
                "; ",
            ),
        )
    return None


def _number(*, cause: str, expected: Text, observed: Text) -> Failure:
    return replace(_ignored("ap_start_loopcond", expected, observed), cause=cause)


def sends_one_init(boot: Observation) -> bool:
    """Whether ap_start_addr, called by the grader, sends one INIT: it is called again, then."""
    made = boot.own_calls
    if made is None or not made.asked:
        return False
    return len(_sent_by_own_call(boot, made, "INIT")) == 1


def sends_another_number(boot: Observation) -> bool:
    """Whether ap_start_addr, called by the grader, sends more or fewer SIPIs than it asks for."""
    made = boot.own_calls
    if made is None or not made.asked:
        return False
    return len(_sent_by_own_call(boot, made, "SIPI")) != made.times


def _sent_by_own_call(boot: Observation, made: OwnCalls, kind: str) -> list[Icr]:
    """Return the IPIs of a kind that ap_start_addr sent to the CPU for which the grader called."""
    sent = boot.icr[made.writes : made.sipi_writes or None]
    return [one for one in sent if _is_for_one(one, kind)]


def _is_for_one(write: Icr, kind: str) -> bool:
    """Whether an IPI of a kind reaches APIC id 1, for which the grader calls the functions."""
    return write.kind == kind and write.reaches(1, 0)


def _ignored(function: str, expected: Text, observed: Text) -> Failure:
    return Failure(
        "argument-ignored",
        cpu=0,
        place=called(function),
        expected=expected,
        observed=observed,
        function=function,
        goes_on=True,
    )
