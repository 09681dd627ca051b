"""A mistake is named when its step is written, not only when all the others are."""

from pathlib import Path

import pytest

from vmmlab.author.mutants import load, run_mutant
from vmmlab.author.mutants.apply import apply_early, steps_needed
from vmmlab.course.load import load_course
from vmmlab.course.model import ARCHES

COURSE = load_course(Path(__file__).parents[3])
SAMPLE = (
    "lab1.mi.size-of-pointer", "lab2.alloc.number", "lab3.entry.past-it",
    "lab3.real.jump-to-the-linked-address", "lab4.lock.store-only", "lab4.wait.locks-each-time",
)  # fmt: skip
LABS = ("lab1", "lab2", "lab3", "lab4", "lab5")
NOT_BACK = "initfunc_init is not written, so the BSP does not come back from it"
LATER = {
    **dict.fromkeys(
        (
            *("lab1.mi.after-the-sort", "lab1.mi.both-after-the-sort"),
            *("lab1.main.calls-for-multiboot-only", "lab1.main.never-calls"),
            *("lab1.uefi.clears-mi-later", "lab1.uefi.clears-mi-at-the-end"),
            *("lab1.mi.changed-later", "lab1.mi.field-cleared-later"),
        ),
        NOT_BACK,
    ),
    **dict.fromkeys(
        ("lab3.lock.not-whole", "lab3.counter.begins-at-one", "lab3.counter.begins-at-all"),
        "the counter and the lock must be zero when the first SIPI is sent",
    ),
    **dict.fromkeys(
        ("lab3.sipi.minus-one-forgotten", "lab3.sipi.never-stops-early"),
        "no AP counts itself yet",
    ),
    "lab3.delay.before-the-sipi": "no SIPI follows the first one, whose pause is missing",
    **dict.fromkeys(
        ("lab3.copy.after-the-sipis", "lab3.lock.after-the-sipis"),
        "what ap_start has done last is looked at where the BSP waits",
    ),
    "lab3.copy.whole-blocks": "the memory behind the copy is looked at when an AP has come",
    "lab3.entry.long-pause": "the boot ends where the BSP meets the TODO",
    "lab3.real.waits-for-the-others": "nobody raises the count that it waits for",
    "lab4.enter.to-apinitproc1": "apinitproc1 is not written",
    "lab4.number.waits-and-parks": "the BSP does not wait yet",
    "lab4.unlock.after-the-count": "the BSP does not wait yet",
    "lab4.unlock.last-of-all": "the BSP does not wait yet",
}
"""What shows fully only when more is written, and why."""


def early(mutant):
    """Whether a mutant's step is not the last one; hidden checks are for what is handed in."""
    lab = COURSE.lab(mutant.lab)
    open_check = mutant.check not in lab.hidden
    return (
        open_check
        and mutant.arch == ARCHES[0]
        and len(steps_needed(COURSE, mutant)) < len(lab.steps)
    )


ALL = {one.id: one for one in load(COURSE, LABS) if early(one)}


def named_at_once(name):
    result = run_mutant(COURSE, ALL[name], early=True)
    assert (result.verdict, result.cause) == ("killed", ALL[name].cause), result.message


def test_later_steps_are_not_written():
    mutant = next(m for m in load(COURSE) if m.id == "lab4.lock.store-only")
    files = {path: text.decode() for path, text in apply_early(COURSE, mutant).items()}
    assert "TODO(lab4.1)" not in files["lab4/apinit_enter.S"]
    assert all(f"TODO(lab4.{k})" in "".join(files.values()) for k in range(2, 6))


def test_there_are_mutants_of_every_lab():
    assert set(SAMPLE) | LATER.keys() <= ALL.keys()
    assert {one.lab for one in ALL.values()} == set(LABS)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_mistake_is_named_at_once(name):
    named_at_once(name)


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(ALL.keys() - LATER.keys() - set(SAMPLE)))
def test_every_other_mistake_is_named_at_once(name):
    named_at_once(name)
