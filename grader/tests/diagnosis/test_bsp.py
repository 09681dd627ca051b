"""What ended the BSP, and where to look, as far as the place of a fault tells."""

from dataclasses import replace

import pytest
from handmade import SAMPLE, ap, boot, code, hit

from vmmlab.diagnosis.bsp import bsp_stopped
from vmmlab.observe.cpu import Panicked, TakenException
from vmmlab.observe.milestones import PHYSICAL_0
from vmmlab.observe.place import Place

MEMCPY = code("memcpy+0x6", "core/string.c:12", "provided")
AP_WAIT = code("ap_wait+0x5", "lab4/handshake.c:99")
APINITPROC1 = code("apinitproc1+0x8", "lab4/handshake.c:70")
NO_CODE = Place(0)


def faulted(where, *, vector=14, error=0, cr2=0):
    """A boot in which the BSP has ended by an exception."""
    taken = TakenException(vector, error, where, cr2)
    bsp = replace(SAMPLE.bsp, end_kind="exception", exception=taken)
    return boot(ap(), bsp=bsp, hits=(hit("exception_panic", 0),))


def panicked(said="", **changes):
    """A boot in which the BSP has ended by a panic, whose call was seen if it `said` something."""
    called = Panicked(said, AP_WAIT) if said else None
    bsp = replace(SAMPLE.bsp, end_kind="panic", end_place=NO_CODE, panicked=called)
    return boot(ap(), bsp=bsp, **changes)


def reset(*aps):
    """A boot in which the machine has reset."""
    bsp = replace(SAMPLE.bsp, end_kind="shutdown", end_place=AP_WAIT, end_code="ret")
    return boot(*aps, bsp=bsp, how_ended="shutdown")


@pytest.mark.parametrize(
    ("where", "more", "said"),
    [
        (MEMCPY, {"error": 2, "cr2": 0xC0031000}, "Nothing is mapped at"),
        (MEMCPY, {"error": 3, "cr2": 0xC0031000}, "not for writing"),
        (MEMCPY, {"error": 2, "cr2": 0}, "use mapmem"),
        (MEMCPY, {"vector": 13}, "what ap_start passes to it."),
        (NO_CODE, {}, "There is no code at"),
    ],
)
def test_outside_of_the_students_code_the_function_is_named(where, more, said):
    found = bsp_stopped(faulted(where, **more), by="ap_start")
    assert found is not None
    assert (found.cause, found.cpu, str(found.place)) == ("bsp-exception", 0, str(where))
    assert "ap_start" in str(found.next)
    assert said in str(found.next)
    others = {"Nothing is mapped at", "not for writing", "use mapmem", "There is no code at"} - {
        said
    }
    assert not any(other in str(found.next) for other in others)


@pytest.mark.parametrize("by", ["", "ap_start"])
def test_in_the_students_code_the_line_is_enough(by):
    found = bsp_stopped(faulted(AP_WAIT, cr2=1 << 40), by=by)
    assert found is not None
    assert str(found.next) == f"Look at what the code at {AP_WAIT} reads or writes."


def test_an_address_below_1_gib_was_unmapped():
    found = bsp_stopped(faulted(AP_WAIT, cr2=0xF000))
    assert found is not None
    assert "reading or writing address 0xf000" in str(found.observed)
    assert "use mapmem to access physical memory" in str(found.next)


@pytest.mark.parametrize(
    ("error", "said"), [(3, "map it with MAPMEM_WRITE"), (2, "was it unmapped before")]
)
def test_a_fault_in_the_window_of_mapmem(error, said):
    found = bsp_stopped(faulted(AP_WAIT, cr2=0xC0031003, error=error))
    assert found is not None
    assert said in str(found.next)
    assert "0xc0031003" in str(found.next)


def test_without_a_function_none_is_named():
    found = bsp_stopped(faulted(MEMCPY, cr2=1 << 40))
    assert found is not None
    assert (
        str(found.next) == "Look at what the code at memcpy+0x6 (core/string.c:12) reads or writes."
    )


def test_a_panic_of_the_bsp_is_not_the_exception_of_an_ap():
    theirs = TakenException(14, 0, APINITPROC1, 0)
    seen = panicked(said="no more memory")
    found = bsp_stopped(replace(seen, cpus=(seen.bsp, replace(ap(), exception=theirs))))
    assert found is not None
    assert (found.cause, found.cpu, str(found.place)) == ("bsp-panic", 0, str(AP_WAIT))
    assert (str(found.observed), found.function) == ("the VMM panicked: no more memory", "ap_wait")


@pytest.mark.parametrize(
    ("serial", "said"), [("a line\n\n", "a line"), ("\n", "(nothing was printed)")]
)
def test_a_panic_whose_call_was_not_seen(serial, said):
    found = bsp_stopped(panicked(serial=serial))
    assert found is not None
    assert str(found.observed) == f"the VMM panicked: {said}"


def test_of_two_exceptions_the_bsp_answers_for_its_own():
    seen = faulted(MEMCPY, vector=13)
    theirs = TakenException(6, 0, APINITPROC1, 0x123)
    found = bsp_stopped(replace(seen, cpus=(seen.bsp, replace(ap(), exception=theirs))))
    assert found is not None
    assert str(found.observed) == "exception 13 at memcpy+0x6 (core/string.c:12)"


def test_a_triple_fault_before_any_ap_ran_is_the_bsps():
    found = bsp_stopped(reset(ap()))
    assert found is not None
    assert (found.cause, found.cpu, str(found.place)) == ("bsp-triple-fault", 0, str(AP_WAIT))
    assert ": ret; CR2 = 0x0" in str(found.observed)


def test_a_triple_fault_after_an_ap_ran_is_not_the_bsps():
    assert bsp_stopped(reset(ap(PHYSICAL_0))) is None


def test_a_todo_of_the_bsp_comes_first():
    seen = faulted(MEMCPY)
    found = bsp_stopped(replace(seen, hits=(*seen.hits, hit("vmm_todo", 0, "lab1.1"))))
    assert found is not None
    assert (found.cause, found.cpu) == ("not-written-yet", 0)


def test_a_bsp_that_waits_was_not_stopped():
    assert bsp_stopped(boot(ap())) is None
    assert bsp_stopped(SAMPLE) is None
