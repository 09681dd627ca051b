"""Every cause that a check can name has two mutants at least, or a reason why it cannot."""

from collections import Counter
from pathlib import Path

from named_causes import among, causes

from vmmlab.author import mutants
from vmmlab.checks.causes import Causes
from vmmlab.course.load import load_course

ROOT = Path(__file__).parents[3]
COURSE = load_course(ROOT)
FILES = [
    *sorted((ROOT / "labs").glob("lab*/test_lab*.py")),
    *sorted((ROOT / "labs").glob("lab*/orders.py")),
    *sorted((ROOT / "grader/vmmlab/diagnosis").glob("*.py")),
]

NOT_BY_A_MUTANT = {
    "given-vmm-does-not-boot": "lab 0 has no file of the student's, so none can be wrong",
    "ap-stuck": "what is said of a CPU of which nothing is known but its end: every milestone "
    "has a cause of its own",
    "milestone-passed-by": "every milestone that can be passed by has a name of its own",
    "bsp-not-parked": "who has come to bspinitproc1 with the right RSP runs given code only; it "
    "ends by an exception, which has a cause of its own, or parks",
    "machine-lost": "what takes QEMU down is an attack: see verdicts/test_attacks.py",
    "ap-missed-the-trampoline": "lab3.ljmpw looks at the far jump itself just before an AP runs; "
    "a store that spoils it later is trampoline-overrun, or physical-0-restored-too-early",
    "ap-never-started": "what an INIT or a SIPI can lack has a cause of its own in lab3.ipi, which "
    "comes before the question whether the AP has started",
    "no-time-left": "what uses up the time of a grade is an attack: see verdicts/test_attacks.py",
    "vmm-main-not-reached": "code before vmm_main is an attack: see verdicts/test_attacks.py",
    "panic-does-not-halt": "panic, which is given, halts the CPU after panic_wakeup_all",
    "panic-message-lost": "panic, which is given, prints its message before panic_wakeup_all",
    "panic-not-reached": "panic, which is given, calls panic_wakeup_all; a boot that does not come "
    "to it is not-observed",
    "guest-found-a-mistake": "all that the guest of lab 7 can note has a cause of its own; that of "
    "lab 10 watches labs 7 to 9, which are the course's own unless a student grades all of them",
    "wrong-number-of-aps": "start, which is lab 3's, returns only when all have been counted",
    "physical-0-changed": "between the call of start and its return nothing of lab 10 runs: it is "
    "lab 3 that puts physical 0 back",
}  # fmt: skip


OWED = {"bsp-lost-in-the-switch"}
"""Causes for which mutants are still to be written: fewer than two name them."""


def named() -> set[str]:
    found = set().union(*(causes(path.read_text()) for path in FILES))
    for folder in sorted((ROOT / "labs").glob("lab*")):
        told = Causes(folder / "causes.yml").load().keys()
        files = (path for path in folder.glob("*.py") if not path.name.startswith("worksheet"))
        found |= set().union(*(among(told, path.read_text()) for path in files))
    return found


def test_the_causes_of_a_file_are_found_wherever_they_are_named():
    source = """
_STUCK: Final = {1: ("eight", "look")}
def f():
    fail("one", cpu=0)
    fail("two" if x else "three")
    report(boot, "lab1.1", "number-four")
    missing("eleven", cpu=0)
    expect("twelve", 1, 2)
    what(cause="thirteen")
    cause, look = "five", "look"
    cause = "six" if a else "seven"
    cause, look = _STUCK.get(high, ("nine", "look"))
    return "ten", "look"
    return Failure(f"ap-died-in-{mode}-mode", 1)
"""
    found = causes(source)
    assert found >= {"one", "two", "three", "number-four", "five", "six", "seven", "eight", "ten"}
    assert found >= {"eleven", "twelve", "thirteen"}
    assert found >= {"ap-died-in-real-mode", "ap-died-in-long-mode"}


def test_every_cause_has_two_mutants():
    count = Counter(one.cause for one in mutants.load(COURSE))
    few = {cause: count[cause] for cause in named() - NOT_BY_A_MUTANT.keys() if count[cause] < 2}
    assert few.keys() - OWED == set(), "write more mutants in grader/mutants/"
    assert OWED - few.keys() == set(), "take them off the list"


def test_a_mutant_names_a_cause_that_a_check_can_name():
    assert {one.cause for one in mutants.load(COURSE)} - named() == set()


def test_what_has_no_mutant_is_a_cause_and_has_none():
    assert NOT_BY_A_MUTANT.keys() <= named()
    have = {one.cause for one in mutants.load(COURSE)}
    assert NOT_BY_A_MUTANT.keys() & have == set(), "it can be produced: take it off the list"
    assert all(len(why) > 30 for why in NOT_BY_A_MUTANT.values())


def test_there_are_at_least_a_hundred_mutants_and_twenty_right_solutions():
    x86_64 = [one for one in mutants.load(COURSE) if one.arch == "x86_64"]
    assert len(x86_64) >= 100
    right = [one for one in mutants.load_variants(COURSE) if "x86_64" in one.arches]
    assert len(right) >= 20
