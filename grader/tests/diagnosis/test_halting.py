"""An AP that takes an exception or panics stops the others; it is the one to be named."""

from dataclasses import replace

import pytest
from handmade import SAMPLE, ap, boot, code

from vmmlab.diagnosis.halting import crash, stopped_by_an_ap
from vmmlab.observe.cpu import Panicked, TakenException
from vmmlab.observe.panicking import Panic

SVM_INIT = code("svm_init+0x1c", "lab7/svm_init.c:31")
HANDLER = code("nmi_handler+0x2", "lab5/panic_nmi.c:40")
PANICKED = replace(ap(), panicked=Panicked("no page", SVM_INIT), end_place=SVM_INIT)
FAULTED = replace(ap(), exception=TakenException(6, 0, SVM_INIT, 0, 0, "ud2"))
HALTED = replace(SAMPLE.bsp, end_kind="halted", end_place=HANDLER, exception=None, panicked=None)


def test_the_panic_that_halted_the_bsp_is_told():
    found = stopped_by_an_ap(boot(PANICKED, bsp=HALTED), 0)
    assert found is not None
    assert (found.cause, found.cpu, found.function) == ("vmm-panic", PANICKED.index, "svm_init")
    assert "no page" in str(found.observed)


def test_the_exception_of_the_cpu_itself_is_told_wherever_others_are():
    found = stopped_by_an_ap(boot(FAULTED, bsp=SAMPLE.bsp), FAULTED.index)
    assert found is not None
    assert (found.cause, found.place) == ("exception-in-the-vmm", SVM_INIT.text)
    assert "ud2" in str(found.observed)


def test_who_panicked_in_the_handler_is_not_the_first():
    second = replace(PANICKED, index=2, end_place=HANDLER, panicked=Panicked("again", HANDLER))
    found = stopped_by_an_ap(boot(second, replace(PANICKED, index=3), bsp=HALTED), 0)
    assert found is not None
    assert found.cpu == 3


@pytest.mark.parametrize(
    ("seen", "cpu"),
    [
        (boot(PANICKED, bsp=replace(HALTED, end_place=SVM_INIT)), 0),  # it waits by itself
        (boot(ap(), bsp=HALTED), 0),  # an NMI, though no CPU has panicked
        (boot(PANICKED, bsp=HALTED, panic=Panic(cpu=1, message="asked for")), 0),
        (boot(PANICKED, bsp=HALTED), 9),  # no such CPU was recorded
    ],
)
def test_otherwise_an_ap_is_not_named(seen, cpu):
    assert stopped_by_an_ap(seen, cpu) is None


def test_a_cpu_that_goes_on_has_not_crashed():
    assert crash(ap()) is None
