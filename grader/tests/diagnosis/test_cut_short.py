"""Boots that ran out of time or lost their QEMU: what did not happen in them, and why."""

from __future__ import annotations

import pytest
from handmade import INIT, ap, boot, code, hit

from vmmlab.diagnosis.aps import why_not, why_not_all_parked
from vmmlab.diagnosis.cut_short import cut_short, not_begun
from vmmlab.failure import Failure
from vmmlab.observe.evidence import Lost, Unreadable
from vmmlab.observe.milestones import AP_ENTRY, NUMBERED, OWN_STACK

WANTED = Failure("ap-not-numbered", cpu=1, expected="a number", observed="it has none")
LOST = {
    "ended": ("machine-lost", "QEMU itself ended"),
    "no-answer": ("machine-lost", "no longer answered"),
    "refused": ("machine-lost", "refused"),
    "no-time": ("no-time-left", "used up its time"),
}


def test_a_boot_that_came_to_its_own_end_changes_nothing():
    assert cut_short(boot(ap()), WANTED) is WANTED


def test_a_time_out_keeps_the_cause_and_says_what_the_cpus_did():
    seen = boot(ap(OWN_STACK), ap(index=2), icr=(INIT,), how_ended="timeout")
    found = cut_short(seen, WANTED)
    assert (found.cause, found.timeout, found.expected) == (WANTED.cause, True, WANTED.expected)
    text = str(found.observed)
    assert text.startswith("it has none; the boot was ended after its time limit, with")
    assert "CPU 1 at sync_all_processors+0x12" in text
    assert "CPU 2 waiting for a SIPI" in text


def test_of_many_cpus_only_the_first_are_shown():
    seen = boot(*(ap(OWN_STACK, index=n) for n in range(1, 20)), how_ended="timeout")
    assert len(str(cut_short(seen, WANTED).observed)) < 500


@pytest.mark.parametrize(("how", "said"), LOST.items())
def test_a_lost_machine_is_the_cause_of_what_is_missing(how, said):
    cause, words = said
    seen = boot(ap(OWN_STACK), how_ended="lost", lost=Lost(how, "killed; /root/secret/kernel"))
    found = cut_short(seen, WANTED)
    assert (found.cause, found.cpu, found.expected) == (cause, 1, WANTED.expected)
    assert words in str(found.observed)
    assert "/root" not in str(found.observed) + str(found.next), "QEMU's words are not shown"


def test_the_diagnosis_of_aps_knows_both():
    late = boot(ap(OWN_STACK), how_ended="timeout")
    assert why_not(late, late.aps[0], NUMBERED).timeout
    found = why_not_all_parked(late)
    assert found is not None
    assert found.timeout
    gone = boot(ap(), how_ended="lost", lost=Lost("ended"))
    assert why_not(gone, gone.aps[0], AP_ENTRY).cause == "machine-lost"


def test_a_todo_is_a_todo_whatever_became_of_the_boot():
    at_todo = ap(OWN_STACK, end_place=code("todo_lab4_3"))
    seen = boot(at_todo, how_ended="timeout")
    assert why_not(seen, seen.aps[0], NUMBERED).cause == "not-written-yet"


def test_a_boot_that_did_not_come_to_vmm_main_has_nothing_to_judge():
    assert not_begun(boot(hits=(hit("vmm_main", 0),))) is None
    found = not_begun(boot(hits=()))
    assert found is not None
    assert (found.cause, found.cpu) == ("vmm-main-not-reached", 0)
    gone = not_begun(boot(hits=(), how_ended="timeout", lost=Lost("no-time")))
    assert gone is not None
    assert (gone.cause, gone.timeout) == ("no-time-left", True)


def test_memory_that_is_not_there_is_said_of_what_did_not_happen():
    seen = boot(ap(OWN_STACK), unreadable=(Unreadable(1, 0xC0000000, 8),))
    found = cut_short(seen, WANTED)
    assert (found.cause, found.timeout) == (WANTED.cause, False)
    assert str(found.observed).startswith("it has none; CPU 1 uses address 0xc0000000")
    physical = boot(ap(OWN_STACK), unreadable=(Unreadable(None, 1 << 40, 8),))
    assert "no memory at physical address 0x10000000000" in str(
        cut_short(physical, WANTED).observed
    )
