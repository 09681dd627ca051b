"""Correct solutions: the explorer reports no error in any of them."""

from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.course.load import load_course

pytestmark = pytest.mark.slow

COURSE = load_course(Path(__file__).parents[3])
VARIANTS = {one.name: one for one in mutants.load_variants(COURSE, ["lab4"])}
TOOLS = (("gcc", "-O2"), ("gcc", "-O0"), ("clang", "-O2"))
# A waiting loop that counts; a ticket lock with atomic operations.
SAMPLE = (("arrivals-only", "gcc", "-O2"), ("ticket-lock", "gcc", "-O0"))
ALL = [(name, *tools) for name in sorted(VARIANTS) for tools in TOOLS]


# Locks that are queues have too many states for an exhaustive search with store buffers, and a
# barrier in two halves has too many for one of four CPUs.
LARGE = ("mcs-lock", "clh-lock", "arrives-and-leaves")


def assert_correct(exploration, *, large=False):
    for part in exploration.parts:
        # Long delays in a loop may take one order's time; it is not judged then.
        fine = ("correct", "no error found") if large or part.one_order else ("correct",)
        assert part.verdict in fine, (exploration.counterexample, exploration.parts)
    assert [(part.scenario, part.memory) for part in exploration.parts] == [
        ("registration", "in order"),
        ("registration", "store buffers"),
        ("without tables", "in order"),
        ("more than listed", "in order"),
        ("crowd", "in order"),
        ("comes back", "in order"),
        ("barrier", "in order"),
        ("barrier", "store buffers"),
        ("wide barrier", "in order"),
        ("many APs", "in order"),
        ("many CPUs", "in order"),
        ("more CPUs", "in order"),
        ("many rounds", "in order"),
    ]
    for part in exploration.parts:
        assert not part.limits
        assert large or part.one_order or not part.bound


def test_the_reference_is_correct_in_every_interleaving(explored, solution):
    exploration = explored(solution)
    assert_correct(exploration)
    assert exploration.verdict == "correct"
    assert exploration.seconds < 15, "it takes about three seconds"


def test_the_reference_of_another_cohort_is_correct(explored, solution):
    """The trampoline, the stack size and the padding of the per-CPU data differ."""
    exploration = explored(solution, "registration", cohort="autumn-7")
    assert exploration.verdict == "correct", exploration.counterexample


@pytest.mark.parametrize(("name", "compiler", "opt"), SAMPLE)
def test_a_sample_of_correct_solutions_is_correct(explored, name, compiler, opt):
    assert_correct(
        explored(mutants.variant_files(COURSE, VARIANTS[name]), compiler=compiler, opt=opt)
    )


@pytest.mark.full
@pytest.mark.parametrize(("compiler", "opt"), TOOLS[1:])
def test_the_reference_is_correct_with_every_compiler(explored, solution, compiler, opt):
    assert_correct(explored(solution, compiler=compiler, opt=opt))


@pytest.mark.full
@pytest.mark.parametrize(("name", "compiler", "opt"), [one for one in ALL if one not in SAMPLE])
def test_all_other_correct_solutions_are_correct(explored, name, compiler, opt):
    assert_correct(
        explored(mutants.variant_files(COURSE, VARIANTS[name]), compiler=compiler, opt=opt),
        large=name in LARGE or opt == "-O0",
    )
