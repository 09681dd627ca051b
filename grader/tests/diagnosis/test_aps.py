"""Why an AP is not at a milestone, and what keeps CPUs from parking: a case for every cause."""

from dataclasses import replace
from pathlib import Path

import pytest
from handmade import INIT, RESET_VECTOR, SAMPLE, SIPI, ap, boot, code, hit
from named_causes import causes
from test_deaths import DEATHS
from test_passage import CONDUCT
from test_starting import STARTING

from vmmlab import diagnosis
from vmmlab.base.message import msg, template
from vmmlab.base.registry import Scope
from vmmlab.diagnosis.aps import (
    never_started,
    not_reached,
    waits_for_sipi,
    why_not,
    why_not_all_parked,
)
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe import milestones as registry
from vmmlab.observe.cpu import TakenException, TripleFault
from vmmlab.observe.icr import Icr
from vmmlab.observe.milestones import (
    AP_ENTRY,
    BOOT_STACK,
    LONG_MODE,
    NUMBERED,
    OWN_STACK,
    PARKED,
    PARKED_BY_ITSELF,
    PHYSICAL_0,
    PROTECTED_MODE,
    REAL_MODE,
    WAITING,
    Milestone,
)
from vmmlab.observe.place import Place

TRAMPOLINE = Place(0xF012, "trampoline", "cpuinit_start+0x12", "lab3/apinit.S", 30, "student", 0x12)
REAL_END, PROTECTED_END, LONG_END = (
    SAMPLE.aps[0].at(one) for one in (REAL_MODE, PROTECTED_MODE, LONG_MODE)
)
NO_CODE = Place(0x5000, "elsewhere")
AT_ENTRY = SAMPLE.aps[0].at(AP_ENTRY)
PHYSICAL_ENTRY = replace(SAMPLE.aps[0].steps[-1].state, pc=SAMPLE.phys("ap_entry"))
DE_ASSERT = Icr(0, 0x88500, 0, 0.0)
OTHER = ap(NUMBERED, index=2)
THIRD = ap(NUMBERED, index=3)
FAULT = TakenException(13, 0, code("apinitproc1+0x8"), 0)
PANICKED = replace(SAMPLE.bsp, end_kind="panic")


def lost(**changes):
    """An AP that was not seen at any milestone, and does not wait for a SIPI either."""
    return ap(end_kind="running", **changes)


# --- the reason, where the AP has not come to a milestone ---------------------------------------

WHY_NOT = {
    "its own TODO": (
        REAL_MODE,
        boot(ap(PHYSICAL_0), hits=(hit("vmm_todo", 1, "lab3.1"),)),
        "not-written-yet",
    ),
    "a TODO of another AP": (
        NUMBERED,
        boot(ap(OWN_STACK), OTHER, hits=(hit("vmm_todo", 2, "lab4.5"),)),
        "not-written-yet",
    ),
    "ap_entry at its physical address": (
        AP_ENTRY,
        boot(
            ap(LONG_MODE, steps=(replace(SAMPLE.aps[0].steps[-1], state=PHYSICAL_ENTRY),)),
        ),
        "ap-entry-at-wrong-address",
    ),
    "lost in the trampoline, real mode": (
        AP_ENTRY,
        boot(lost(end=REAL_END, end_place=TRAMPOLINE)),
        "ap-died-in-real-mode",
    ),
    "lost in the trampoline, protected mode": (
        AP_ENTRY,
        boot(lost(end=PROTECTED_END, end_place=TRAMPOLINE)),
        "ap-died-in-protected-mode",
    ),
    "lost in the trampoline, long mode": (
        AP_ENTRY,
        boot(lost(end=LONG_END, end_place=TRAMPOLINE)),
        "ap-died-in-long-mode",
    ),
    "lost in real mode": (
        AP_ENTRY,
        boot(lost(end=REAL_END, end_place=NO_CODE)),
        "ap-missed-the-trampoline",
    ),
    "lost at the lock": (
        BOOT_STACK,
        boot(lost(end=AT_ENTRY, end_place=code("apinit_enter+0x9"))),
        "ap-waits-for-the-lock",
    ),
    "lost elsewhere": (
        AP_ENTRY,
        boot(lost(end=AT_ENTRY, end_place=code("apinitproc0+0x9"))),
        "ap-stuck",
    ),
    "lost, with a BSP that panicked": (
        AP_ENTRY,
        boot(lost(end=AT_ENTRY), bsp=PANICKED),
        "bsp-panic",
    ),
    "never called, with a BSP that panicked": (REAL_MODE, boot(ap(), bsp=PANICKED), "bsp-panic"),
    "never called, with a BSP that took an exception": (
        REAL_MODE,
        boot(ap(), bsp=replace(SAMPLE.bsp, end_kind="exception", exception=FAULT)),
        "bsp-exception",
    ),
    "never called, with a machine that reset": (
        REAL_MODE,
        boot(ap(), how_ended="shutdown"),
        "bsp-triple-fault",
    ),
    "nothing sent": (REAL_MODE, boot(ap(), icr=()), "ap-got-no-init"),
    "physical 0 only": (AP_ENTRY, boot(ap(PHYSICAL_0)), "ap-missed-the-trampoline"),
    "past ap_entry": (
        AP_ENTRY,
        boot(replace(ap(BOOT_STACK), milestones={"boot-stack": AT_ENTRY})),
        "ap-entry-passed-by",
    ),
    "past apinitproc0": (
        BOOT_STACK,
        boot(replace(ap(OWN_STACK), milestones={"own-stack": AT_ENTRY})),
        "apinitproc0-passed-by",
    ),
    "past apinitproc1": (
        OWN_STACK,
        boot(replace(ap(NUMBERED), milestones={"numbered": AT_ENTRY})),
        "apinitproc1-passed-by",
    ),
    "past segment_init_ap": (
        NUMBERED,
        boot(replace(ap(PARKED), milestones={"parked": AT_ENTRY})),
        "segment-init-ap-passed-by",
    ),
    "past a milestone that is no place": (
        PROTECTED_MODE,
        boot(replace(ap(AP_ENTRY), milestones={"ap-entry": AT_ENTRY})),
        "milestone-passed-by",
    ),
    "on into the code of another stage": (
        AP_ENTRY,
        boot(ap(LONG_MODE, end=AT_ENTRY, end_place=code("apinit_enter+0x9", owner="prebuilt"))),
        "ap-entry-passed-by",
    ),
    "in real mode": (PROTECTED_MODE, boot(ap(REAL_MODE, steps=())), "ap-died-in-real-mode"),
    "in protected mode": (
        LONG_MODE,
        boot(ap(PROTECTED_MODE, steps=())),
        "ap-died-in-protected-mode",
    ),
    "in long mode": (AP_ENTRY, boot(ap(LONG_MODE, steps=())), "ap-died-in-long-mode"),
    "at the lock": (BOOT_STACK, boot(ap(AP_ENTRY)), "ap-waits-for-the-lock"),
    "at the lock, which one AP has taken": (
        BOOT_STACK,
        boot(ap(AP_ENTRY), OTHER),
        "lock-never-released",
    ),
    "at the lock, which two APs have passed": (
        BOOT_STACK,
        boot(ap(AP_ENTRY), OTHER, THIRD),
        "ap-waits-for-the-lock",
    ),
    "died at the lock": (
        BOOT_STACK,
        boot(ap(AP_ENTRY, triple_fault=TripleFault(14, 0, 0)), OTHER, how_ended="shutdown"),
        "ap-died-at-the-lock",
    ),
    "on the boot stack": (OWN_STACK, boot(ap(BOOT_STACK)), "ap-lost-on-boot-stack"),
    "on its own stack": (NUMBERED, boot(ap(OWN_STACK)), "ap-not-numbered"),
    "numbered": (PARKED, boot(ap(NUMBERED)), "ap-not-parked"),
    "an exception": (
        NUMBERED,
        boot(ap(OWN_STACK, end_kind="exception", exception=FAULT)),
        "ap-exception",
    ),
}
"""The milestone that is asked about, a boot in which CPU 1 did not come to it, and the cause."""


@pytest.mark.parametrize(("milestone", "seen", "cause"), WHY_NOT.values(), ids=WHY_NOT)
def test_the_first_thing_that_went_wrong_is_the_cause(milestone, seen, cause):
    found = why_not(seen, seen.aps[0], milestone)
    assert found.cause == cause
    assert found == not_reached(seen, seen.aps[0], milestone)
    assert found.expected
    assert found.observed
    assert found.next
    if not cause.startswith("bsp-") and cause != "not-written-yet":
        assert found.cpu == 1


@pytest.mark.parametrize(
    ("milestone", "goal"),
    [
        (PROTECTED_MODE, "CPU 1 reaches protected mode"),
        (NUMBERED, "CPU 1 gets its number"),
        (PARKED, "CPU 1 parks after the last barrier"),
    ],
)
def test_what_is_expected_names_the_cpu(milestone, goal):
    seen = boot(replace(ap(REAL_MODE), end_kind="running"))
    assert str(why_not(seen, seen.aps[0], milestone).expected) == goal


def test_nothing_is_wrong_with_an_ap_that_was_there():
    seen = boot(ap(NUMBERED))
    assert not_reached(seen, seen.aps[0], NUMBERED) is None
    assert not_reached(seen, seen.aps[0], LONG_MODE) is None


def test_after_a_milestone_that_a_lab_brings_nothing_is_known():
    with Scope().in_use():
        asleep = registry.milestone(75, "asleep", msg("asleep"), template("{cpu} falls asleep"))
        cpu = ap(OWN_STACK)
        cpu = replace(cpu, milestones={**cpu.milestones, asleep.name: cpu.end})
        found = why_not(boot(cpu), cpu, NUMBERED)
    assert found.cause == "ap-stuck"
    assert "got as far as this milestone: asleep;" in str(found.observed)


def test_the_ap_that_took_the_lock_is_named():
    seen = boot(ap(AP_ENTRY), OTHER)
    found = why_not(seen, seen.aps[0], BOOT_STACK)
    assert "CPU 2 has taken *apinitlock" in str(found.next)


def test_the_jump_that_passed_a_place_by_is_named():
    _, seen, _ = WHY_NOT["past apinitproc1"]
    found = why_not(seen, seen.aps[0], OWN_STACK)
    assert str(found.place) == "apinitproc0, at its jump to apinitproc1"
    assert "did not go through apinitproc1" in str(found.observed)


def test_both_addresses_of_ap_entry_are_told():
    milestone, seen, _ = WHY_NOT["ap_entry at its physical address"]
    found = why_not(seen, seen.aps[0], milestone)
    assert f"{seen.addr('ap_entry'):#x}" in str(found.expected)
    assert f"{seen.addr('ap_entry') - VMM_BASE:#x}" in str(found.observed)


# --- an AP that executed nothing -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("icr", "cause"),
    [
        ((), "ap-got-no-init"),
        ((DE_ASSERT, SIPI), "ap-got-no-init"),
        ((replace(INIT, low=0x04500, dest=2), SIPI), "ap-got-no-init"),
        ((INIT,), "ap-got-no-sipi"),
        ((INIT, replace(SIPI, low=0x04600, dest=2)), "ap-got-no-sipi"),
        ((INIT, replace(SIPI, low=0xC460F)), "sipi-wrong-vector"),
        ((SIPI, INIT), "sipi-before-init"),
        ((INIT, replace(SIPI, low=0xC460F), SIPI), "ap-never-started"),
    ],
)
def test_which_interrupt_an_ap_lacked(icr, cause):
    seen = boot(ap(), icr=icr)
    found = never_started(seen, seen.aps[0])
    assert (found.cause, found.cpu, str(found.place)) == (cause, 1, "before its first instruction")
    assert why_not(seen, seen.aps[0], AP_ENTRY) == found
    assert all(str(one) in str(found.observed) for one in icr)


def test_the_reset_vector_is_where_a_sipi_is_waited_for():
    assert waits_for_sipi(ap())
    assert not waits_for_sipi(ap(end=replace(RESET_VECTOR, rip=0xFFF1)))
    assert not waits_for_sipi(ap(REAL_MODE))


# --- who did not park ----------------------------------------------------------------------------

PARKED_BSP = SAMPLE.bsp
PARKED_AP = ap(PARKED, end_kind="parked")
NOT_PARKED = {
    "a TODO": (boot(PARKED_AP, hits=(hit("vmm_todo", 0, "lab4.6"),)), "not-written-yet", 0),
    "the BSP panicked": (boot(PARKED_AP, bsp=PANICKED), "bsp-panic", 0),
    "an AP without a number": (
        boot(PARKED_AP, ap(OWN_STACK, index=2)),
        "ap-not-numbered",
        2,
    ),
    "the BSP waits": (boot(PARKED_AP, OTHER), "bsp-waits-for-ever", 0),
    "the BSP is in a barrier": (
        boot(PARKED_AP, hits=(hit("bsp_proc", 0),)),
        "cpu-not-parked",
        0,
    ),
    "an AP was parked by the student": (
        boot(OTHER, ap(PARKED, index=1, end_kind=PARKED_BY_ITSELF), bsp=PARKED_BSP),
        "parked-without-barrier",
        1,
    ),
    "an AP is in a barrier": (boot(PARKED_AP, OTHER, bsp=PARKED_BSP), "cpu-not-parked", 2),
}


@pytest.mark.parametrize(("seen", "cause", "cpu"), NOT_PARKED.values(), ids=NOT_PARKED)
def test_what_kept_cpus_from_parking(seen, cause, cpu):
    found = why_not_all_parked(seen)
    assert found is not None
    assert (found.cause, found.cpu) == (cause, cpu)


def test_nothing_kept_them():
    assert why_not_all_parked(boot(PARKED_AP, bsp=PARKED_BSP)) is None
    assert why_not_all_parked(SAMPLE) is None


# --- no cause is left out ------------------------------------------------------------------------


def test_every_cause_of_the_diagnosis_has_a_case():
    (folder,) = diagnosis.__path__
    named = set().union(*(causes(file.read_text()) for file in Path(folder).glob("*.py")))
    tried = {cause for _, _, cause in WHY_NOT.values()}
    tried |= {cause for _, cause, _ in NOT_PARKED.values()}
    tried |= {"ap-got-no-sipi", "sipi-wrong-vector", "sipi-before-init", "ap-never-started"}
    tried |= {"machine-lost", "no-time-left", "vmm-main-not-reached"}  # test_cut_short.py
    tried |= {"ends-otherwise-unwatched"}  # grading/test_plain.py
    tried |= {"exception-in-the-vmm", "vmm-panic"}  # test_halting.py
    tried |= {cause for _, _, cause in STARTING.values()}
    assert tried | DEATHS | CONDUCT == named


def test_a_record_is_asked_by_the_order_of_the_way():
    assert ap(OWN_STACK).highest == OWN_STACK
    assert ap().highest == WAITING
    assert isinstance(ap().highest, Milestone)
