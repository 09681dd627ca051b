"""Whose panic the text of lab 7 is: each CPU has its own line on the one serial port."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from handmade import SAMPLE, boot, code

from vmmlab.course.labpackage import LabPackage
from vmmlab.course.load import load_course
from vmmlab.observe.cpu import Panicked

COURSE = load_course(Path(__file__).parents[3])
THEIRS = "panic: CPU 1 (APIC id 1): exit 0x400\n"
OURS = "panic: CPU 0 (APIC id 0): exit 0x7f\nRIP 0x1234\n"


@pytest.fixture(scope="module")
def stopped() -> Iterator[ModuleType]:
    """The module of lab 7."""
    package = LabPackage("lab7", COURSE.labs_dir / "lab7")
    yield package.load(COURSE.labs_dir / "lab7" / "stopped.py")
    package.unload()


@pytest.mark.parametrize(
    ("serial", "recorded", "said"),
    [
        (THEIRS + OURS, "", OURS.strip()),
        (OURS + THEIRS, "", OURS.strip()),
        (THEIRS, "exit 0x7f", "exit 0x7f"),
        (THEIRS, "", ""),
    ],
    ids=["last", "first", "not printed yet", "another CPU's alone"],
)
def test_a_cpu_answers_for_its_own_words(stopped, serial, recorded, said):
    panicked = Panicked(recorded, code("svm_start_vm+0x9", "lab7/svm_loop.c:150"))
    seen = replace(boot(bsp=replace(SAMPLE.bsp, panicked=panicked)), serial=serial)
    assert stopped.said_in_panic(seen, seen.bsp) == said
