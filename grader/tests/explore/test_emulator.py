"""The emulator: the deadline leaves no trace in later runs."""

import math

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.explore.emulator import Emulator, OutOfTime
from vmmlab.explore.localstate import before_first_step, entering
from vmmlab.explore.program import RETURN_MARK, Program


@pytest.fixture
def program(built, solution, declared):
    return Program(built(solution), Cohort.derive("dev"), declared)


@pytest.fixture
def entry(program):
    """The context of a CPU that enters the barrier."""
    function = program.symbols.addr("sync_all_processors")
    stack = program.harness_stack(1)
    return entering(before_first_step(1), function, stack, RETURN_MARK).context


@pytest.mark.parametrize("method", ["step", "run"])
def test_a_run_after_the_deadline_has_passed_changes_nothing(program, entry, method):
    fresh, interrupted = Emulator(program), Emulator(program)
    other = entry.having(rax=1, rbx=2, rip=program.symbols.addr("ap_wait"))
    interrupted.deadline = 0
    with pytest.raises(OutOfTime):
        getattr(interrupted, method)(other)
    interrupted.deadline = math.inf
    assert interrupted.run(entry) == fresh.run(entry)
    assert interrupted.step(entry) == fresh.step(entry)
