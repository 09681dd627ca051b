"""Where to look after a fault, as far as the place of the fault tells."""

from dataclasses import replace
from pathlib import Path

import pytest

from vmmlab.diagnosis.causes import bsp_stopped, stopped_at_todo
from vmmlab.observe.schema import from_json

SAMPLE = Path(__file__).parent / "observation.sample.json"


def faulted(where, *, vector=14, error=0, cr2=0):
    """A boot in which the BSP has ended by an exception."""
    boot = from_json(SAMPLE.read_text(encoding="utf-8"))
    bsp = replace(boot.bsp, end_kind="exception")
    hit = replace(boot.hits[0], cpu=0, place="exception_panic")
    return replace(
        boot,
        cpus=(bsp, *boot.aps),
        hits=(hit,),
        facts={
            **boot.facts,
            "exception.0.vector": vector,
            "exception.0.error": error,
            "exception.0.cr2": cr2,
        },
        notes=(f"exception on CPU 0 at {where}",),
    )


@pytest.mark.parametrize(
    ("where", "more", "said"),
    [
        ("memcpy+0x6 (core/string.c:12)", {"error": 2, "cr2": 0xC0031000}, "Nothing is mapped at"),
        ("memcpy+0x6 (core/string.c:12)", {"error": 3, "cr2": 0xC0031000}, "not for writing"),
        ("memcpy+0x6 (core/string.c:12)", {"error": 2, "cr2": 0}, "only mapmem"),
        ("memcpy+0x6 (core/string.c:12)", {"vector": 13}, "what ap_start gives it."),
        ("0x0", {}, "No code is at"),
    ],
)
def test_outside_of_the_students_code_the_function_is_named(where, more, said):
    found = bsp_stopped(faulted(where, **more), by="ap_start")
    assert found is not None
    assert (found.cause, found.cpu, found.place) == ("bsp-exception", 0, where)
    assert "ap_start" in found.next
    assert said in found.next
    others = {"Nothing is mapped at", "not for writing", "only mapmem", "No code is at"} - {said}
    assert not any(other in found.next for other in others)


@pytest.mark.parametrize("by", ["", "ap_start"])
def test_in_the_students_code_the_line_is_enough(by):
    where = "ap_wait+0x5 (lab4/handshake.c:99)"
    found = bsp_stopped(faulted(where, cr2=1 << 40), by=by)
    assert found is not None
    assert found.next == f"Look at what the code at {where} reads or writes."


def test_without_a_function_none_is_named():
    found = bsp_stopped(faulted("memcpy+0x6 (core/string.c:12)", cr2=1 << 40))
    assert found is not None
    assert found.next == "Look at what the code at memcpy+0x6 (core/string.c:12) reads or writes."


def test_a_panic_of_the_bsp_is_not_the_exception_of_an_ap():
    ap_place = "apinitproc1+0x8 (lab4/handshake.c:70)"
    boot = faulted("memcpy+0x6 (core/string.c:12)")
    theirs = {name.replace("exception.0", "exception.2"): v for name, v in boot.facts.items()}
    hits = tuple(
        replace(boot.hits[0], order=n, cpu=cpu, place=place)
        for n, (cpu, place) in enumerate([(2, "exception_panic"), (0, "panic")])
    )
    found = bsp_stopped(
        replace(
            boot,
            cpus=(replace(boot.bsp, end_kind="panic", end_place="panic+0x0"), *boot.aps),
            hits=hits,
            facts=theirs,
            notes=(f"exception on CPU 2 at {ap_place}",),
            serial="panic: CPU 0 (APIC id 0): no more memory\npanic: CPU 2 (APIC id 2): invalid\n",
        )
    )
    assert found is not None
    assert (found.cause, found.cpu, found.place) == ("bsp-panic", 0, "panic+0x0")
    assert found.observed == "the VMM panicked: panic: CPU 0 (APIC id 0): no more memory"


def test_of_two_exceptions_the_bsp_answers_for_its_own():
    boot = faulted("memcpy+0x6 (core/string.c:12)", vector=13)
    found = bsp_stopped(
        replace(
            boot,
            facts={**boot.facts, "exception.1.vector": 6, "exception.1.cr2": 0x123},
            notes=("exception on CPU 1 at apinitproc1+0x8 (lab4/handshake.c:70)", *boot.notes),
        )
    )
    assert found is not None
    assert found.observed == "exception 13 at memcpy+0x6 (core/string.c:12)"


def at_a_todo(where):
    """A boot in which the BSP has come to a TODO, and stands at `where`."""
    boot = from_json(SAMPLE.read_text(encoding="utf-8"))
    bsp = replace(boot.bsp, end_kind="todo", end_place=where)
    hit = replace(boot.hits[0], cpu=0, place="vmm_todo", text="lab1.1")
    return replace(boot, cpus=(bsp, *boot.aps), hits=(hit,))


@pytest.mark.parametrize(
    "where",
    [
        "vmm_todo+0x72 (include/asm.h:18), called by vmm_main+0x19 (lab1/vmm_main.c:36)",
        "trampoline+0x1c, todo_lab1_1+0x1 (lab1/vmm_main.c:36)",
    ],
)
def test_a_todo_is_named_by_its_line(where):
    found = stopped_at_todo(at_a_todo(where))
    assert found is not None
    assert (found.place, found.observed.rpartition(", ")[2]) == (
        "TODO(lab1.1)",
        "in lab1/vmm_main.c:36",
    )
    assert "before lab1/vmm_main.c:36 says" in found.next
    assert "delete that line" in found.next


@pytest.mark.parametrize(
    "where", ["vmm_todo+0x72 (include/asm.h:18)", "ap_wait+0x5 (lab4/handshake.c:99)", "0xfffffff0"]
)
def test_a_todo_whose_line_is_not_known_gets_no_other_line(where):
    found = stopped_at_todo(at_a_todo(where))
    assert found is not None
    assert found.observed.endswith("stopped at TODO(lab1.1)")
    assert "Search your files for lab1.1" in found.next
    assert ".c:" not in found.next
