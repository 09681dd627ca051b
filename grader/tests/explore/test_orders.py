"""Which check of lab 4 a wrong order fails, and with which cause."""

from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.checks.orders import FILE, WrongOrder, judge_in
from vmmlab.course.labpackage import LabPackage
from vmmlab.course.load import load_course

COURSE = load_course(Path(__file__).parents[3])
ALL = {one.id: one for one in mutants.load(COURSE, ["lab4"])}
FOLDER = COURSE.labs_dir / "lab4"
JUDGED = {
    "lab4.wait.gives-up-silently": ("lab4.wait.missing", "missing-cpu-not-noticed"),
    "lab4.wait.nobody-entered": ("lab4.wait.late", "bsp-goes-on-in-some-order"),
    "lab4.barrier.of-four": ("lab4.boot.cpus", "barrier-never-opens"),
    "lab4.many.eight-tickets": ("lab4.lock.exclusive", "lock-breaks-with-many-aps"),
    "lab4.many.ninth-keeps-the-lock": ("lab4.number.alone", "guard-kept-in-some-order"),
    "lab4.many.stuck-at-128": ("lab4.barrier.reusable", "barrier-breaks-in-a-later-round"),
    "lab4.barrier.no-generation": ("lab4.barrier.reusable", "barrier-stuck-in-some-order"),
}


LONG = ("lab4.many.eight-tickets", "lab4.many.ninth-keeps-the-lock", "lab4.many.stuck-at-128")


@pytest.mark.parametrize(
    "id", [pytest.param(one, marks=[pytest.mark.slow] * (one in LONG)) for one in JUDGED]
)
def test_a_wrong_order_fails_the_check_that_contains_the_mistake(explored, id):
    part = explored(mutants.apply(COURSE, ALL[id])).parts[-1]
    package = LabPackage("lab4", FOLDER)
    try:
        judge = judge_in(package.load(FOLDER / FILE)).judge
    finally:
        package.unload()
    assert judge(part.scenario, part.counterexample) == WrongOrder(*JUDGED[id])
