"""Calls at full speed: what is right comes to its end; anything else is followed step by step."""

from collections.abc import Callable

import pytest

from vmmlab.author import mutants
from vmmlab.author.mutants.model import load, of_names
from vmmlab.course.cohort import Cohort
from vmmlab.explore.cpumodel import CpuModel
from vmmlab.explore.freerun import FreeRun
from vmmlab.explore.program import Program

SCENARIO = "many rounds"
WRONG = ("lab4.many.round-in-a-byte", "lab4.barrier.empty", "lab4.barrier.halts")


@pytest.fixture
def goes_well(built, declared) -> Callable[..., bool]:
    """Return a function that lets all CPUs call the barrier of some files, again and again."""

    def run(files: dict[str, bytes], seconds: float = 10.0) -> bool:
        (scenario,) = declared.named([SCENARIO])
        program = Program(built(files), Cohort.derive("dev"), declared, frozenset(), scenario.cpus)
        harness = scenario(CpuModel(program, loops=False))
        calls = harness.repeated()
        assert calls is not None
        run = FreeRun(program, calls, (*harness.initial_writes(), *calls.writes))
        return run.run(seconds)

    return run


def test_the_reference_comes_to_its_end(goes_well, solution) -> None:
    assert goes_well(solution)


def test_no_time_is_left(goes_well, solution) -> None:
    assert not goes_well(solution, seconds=0.0)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_barrier_is_followed_step_by_step(goes_well, course, name: str) -> None:
    (wrong,) = of_names(load(course), [name])
    assert not goes_well(mutants.apply(course, wrong))
