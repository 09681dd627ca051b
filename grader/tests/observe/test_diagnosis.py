"""Where to look after a fault, as far as the place of the fault tells."""

from dataclasses import replace
from pathlib import Path

import pytest

from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.observe.cpu import TakenException
from vmmlab.observe.place import Place
from vmmlab.observe.schema import from_json

SAMPLE = Path(__file__).parent / "observation.sample.json"
MEMCPY = Place(0x40101006, symbol="memcpy+0x6", file="core/string.c", line=12, owner="given")
AP_WAIT = Place(0x40102005, symbol="ap_wait+0x5", file="lab4/handshake.c", line=99, owner="student")
APINITPROC1 = replace(AP_WAIT, symbol="apinitproc1+0x8", line=70)
NO_CODE = Place(0)
VMM_TODO = replace(MEMCPY, symbol="vmm_todo+0x72", file="include/asm.h", line=18)
VMM_MAIN = replace(AP_WAIT, symbol="vmm_main+0x19", file="lab1/vmm_main.c", line=36)


def faulted(where, *, vector=14, error=0, cr2=0):
    """A boot in which the BSP has ended by an exception."""
    boot = from_json(SAMPLE.read_text(encoding="utf-8"))
    taken = TakenException(vector, error, where, cr2)
    bsp = replace(boot.bsp, end_kind="exception", exception=taken)
    hit = replace(boot.hits[0], cpu=0, place="exception_panic")
    return replace(boot, cpus=(bsp, *boot.aps), hits=(hit,))


@pytest.mark.parametrize(
    ("where", "more", "said"),
    [
        (MEMCPY, {"error": 2, "cr2": 0xC0031000}, "Nothing is mapped at"),
        (MEMCPY, {"error": 3, "cr2": 0xC0031000}, "not for writing"),
        (MEMCPY, {"error": 2, "cr2": 0}, "only mapmem"),
        (MEMCPY, {"vector": 13}, "what ap_start gives it."),
        (NO_CODE, {}, "No code is at"),
    ],
)
def test_outside_of_the_students_code_the_function_is_named(where, more, said):
    found = bsp_stopped(faulted(where, **more), by="ap_start")
    assert found is not None
    assert (found.cause, found.cpu, found.place) == ("bsp-exception", 0, str(where))
    assert "ap_start" in found.next
    assert said in found.next
    others = {"Nothing is mapped at", "not for writing", "only mapmem", "No code is at"} - {said}
    assert not any(other in found.next for other in others)


@pytest.mark.parametrize("by", ["", "ap_start"])
def test_in_the_students_code_the_line_is_enough(by):
    found = bsp_stopped(faulted(AP_WAIT, cr2=1 << 40), by=by)
    assert found is not None
    assert found.next == f"Look at what the code at {AP_WAIT} reads or writes."


def test_without_a_function_none_is_named():
    found = bsp_stopped(faulted(MEMCPY, cr2=1 << 40))
    assert found is not None
    assert found.next == "Look at what the code at memcpy+0x6 (core/string.c:12) reads or writes."


def test_a_panic_of_the_bsp_is_not_the_exception_of_an_ap():
    boot = faulted(MEMCPY)
    bsp = replace(boot.bsp, end_kind="panic", end_place=Place(0, symbol="panic"), exception=None)
    ap = replace(boot.aps[0], exception=replace(boot.bsp.exception, place=APINITPROC1))
    hits = tuple(
        replace(boot.hits[0], order=n, cpu=cpu, place=place)
        for n, (cpu, place) in enumerate([(1, "exception_panic"), (0, "panic")])
    )
    found = bsp_stopped(
        replace(
            boot,
            cpus=(bsp, ap),
            hits=hits,
            serial="panic: CPU 0 (APIC id 0): no more memory\npanic: CPU 1 (APIC id 1): invalid\n",
        )
    )
    assert found is not None
    assert (found.cause, found.cpu, found.place) == ("bsp-panic", 0, "panic")
    assert found.observed == "the VMM panicked: panic: CPU 0 (APIC id 0): no more memory"


def test_of_two_exceptions_the_bsp_answers_for_its_own():
    boot = faulted(MEMCPY, vector=13)
    theirs = TakenException(6, 0, APINITPROC1, 0x123)
    found = bsp_stopped(replace(boot, cpus=(boot.bsp, replace(boot.aps[0], exception=theirs))))
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
        replace(VMM_TODO, caller=VMM_MAIN),
        replace(VMM_MAIN, region="trampoline", offset=0x1C, symbol="todo_lab1_1+0x1"),
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


@pytest.mark.parametrize("where", [VMM_TODO, AP_WAIT, Place(0xFFFFFFF0, "elsewhere")], ids=str)
def test_a_todo_whose_line_is_not_known_gets_no_other_line(where):
    found = stopped_at_todo(at_a_todo(where))
    assert found is not None
    assert found.observed.endswith("stopped at TODO(lab1.1)")
    assert "Search your files for lab1.1" in found.next
    assert ".c:" not in found.next
