"""Where gdb stops: found from what a check said and what its boot showed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from vmmlab.failure import Failure
from vmmlab.observe.observation import Observation
from vmmlab.observe.place import Place
from vmmlab.report.model import CheckReport
from vmmlab.student.evidence import Student, Target, boot_of, target_of


def check(cpu: int | None, place: str, cohort: str = "") -> CheckReport:
    return CheckReport.model_validate(
        {
            "id": "lab3.a.one",
            "title": "One.",
            "points": 0,
            "max": 1,
            "outcome": "fail",
            "scenario": "s",
            "again": "",
            "cpu": cpu,
            "place": place,
            "cohort": cohort,
        }
    )


def place_in(file: str, caller: Place | None = None, symbol: str = "") -> Place:
    return Place(0, "image", symbol, file, 1, "", 0, caller=caller)


def boot(
    hits: list[tuple[int, str]],
    steps: tuple[int, ...] = (),
    cohort: str = "",
    file: str = "core/x.c",
    name: str = "a",
    symbol: str = "",
) -> Observation:
    trampoline = [
        SimpleNamespace(
            place=Place(0xF000 + at, "trampoline", f"cpuinit_start+{at:#x}", "lab3/a.S", at, "", at)
        )
        for at in steps
    ]
    seen: Any = SimpleNamespace(
        cpus=[
            SimpleNamespace(
                steps=[], end_place=place_in("core/main.c", place_in(file, symbol=symbol))
            ),
            SimpleNamespace(steps=trampoline, end_place=None),
        ],
        hits=[SimpleNamespace(cpu=cpu, place=place) for cpu, place in hits],
        cohort=cohort,
        scenario=name,
    )
    return cast(Observation, seen)


STEPS = (1, 2, 16)
BSP = [(0, "ap_start"), (1, "ap_entry"), (0, "ap_start_addr"), (0, "ap_start"), (0, "vmm_parked")]


@pytest.mark.parametrize(
    ("cpu", "place", "target"),
    [
        (1, "trampoline+0x2, cpuinit_start+0x2 (lab3/a.S:2), `lgdtl 0xb0`", Target(1, steps=1)),
        (1, "trampoline+0x10, cpuinit_start+0x10 (lab3/a.S:16)", Target(1, steps=2)),
        (1, "ap_entry", Target(1, place="ap_entry", visit=1)),
        (
            0,
            "ap_start, physical address 0",
            Target(0, place="ap_start", visit=2, after="vmm_parked"),
        ),
        (0, "ap_start_addr", Target(0, place="ap_start_addr", visit=1, after="ap_start")),
        (None, "nowhere", Target(0)),
        (9, "", Target(0)),
    ],
)
def test_the_moment_of_the_evidence(cpu, place, target):
    assert target_of(check(cpu, place), boot(BSP, STEPS)) == target


def test_an_ap_that_got_no_further_stops_before_its_last_step():
    assert target_of(check(1, ""), boot([(0, "ap_start")], STEPS)) == Target(1, steps=2)
    assert target_of(check(1, ""), boot([(1, "ap_entry")], STEPS)).at_end


def test_evidence_from_elsewhere_is_shown_from_the_function_of_the_step():
    """CPU 0 has gone on after the mistake; it does not if it hangs in the student's own code."""
    wrote = Student("ap_start")
    target = Target(0, place="ap_start", visit=1, any_cpu=True)
    assert target_of(check(0, "", ""), boot([]), wrote) == target
    assert target_of(check(0, "", ""), boot([], file="lab3/ap_start.c"), wrote).at_end
    assert target_of(check(0, "", ""), boot([])).at_end


def test_evidence_at_a_function_of_the_student_is_shown_from_its_beginning():
    """Wherever CPU 0 is at the end: that may be where it waits for another one."""
    wrote = Student("other", ("ap_start", "ap_start_addr"))
    seen = boot([], file="lab3/ap_start.c")
    target = Target(0, place="ap_start_addr", visit=1, any_cpu=True)
    assert target_of(check(0, "ap_start_addr"), seen, wrote) == target
    assert target_of(check(0, "ap_start_addr"), seen, wrote, 7).call == 7
    there = boot([], file="lab3/ap_start.c", symbol="ap_start_addr+0x8")
    assert target_of(check(0, "ap_start_addr+0x8 (lab3/ap_start.c:1)"), there, wrote).at_end


def test_evidence_inside_a_function_that_was_stepped_is_shown_from_its_beginning():
    """Where the boot ended afterwards, in a lab's own code, too, is not the evidence."""
    wrote = Student("uefi_call", ("alloc_realmodemem", "uefi_call"))
    seen = boot([(0, "vmm_main")], file="lab3/realmode.c")
    said = "0x102866, the physical address of uefi_call+0x76 (lab3/uefi_call.S:99)"
    found = Target(0, place="uefi_call", visit=1, any_cpu=True)
    assert target_of(check(0, said), seen, wrote) == found
    assert target_of(check(0, "uefi_call_more+0x76"), seen, wrote) == Target(0)


def test_the_boot_of_the_cohort_that_failed():
    boots = [boot(BSP, STEPS, "dev"), boot(BSP, STEPS, "dev2")]
    assert boot_of(check(1, "ap_entry", "dev2"), boots) == 1
    assert boot_of(check(1, "ap_entry"), boots) == 0
    boots = [boot([], (), "dev"), boot(BSP, STEPS, "dev")]
    assert boot_of(check(1, "ap_entry", "dev"), boots) == 1, "the one that shows the place"


def test_the_boot_that_the_failure_names():
    boots = [boot([], name="one"), boot([], name="eight")]
    assert boot_of(check(0, ""), boots, Failure("a", boot="eight")) == 1
    assert boot_of(check(0, ""), boots, Failure("a", boot="gone")) == 0
    assert boot_of(check(0, ""), boots, Failure("a")) == 0
