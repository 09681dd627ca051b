"""`--cc` and `--opt` are what the submission is really built with."""

import pytest

from vmmlab.author import mutants
from vmmlab.course.cohort import Cohort
from vmmlab.grading.request import RunRequest
from vmmlab.report.make import report_lab

SEED = 21
FORGETS_VOLATILE = "lab4.wait.not-volatile"


@pytest.mark.parametrize(
    ("compiler", "opt", "right"),
    [
        ("gcc", "-O0", True),
        ("gcc", "-O2", False),
        pytest.param("clang", "-O0", True, marks=pytest.mark.full),
        pytest.param("clang", "-O2", False, marks=pytest.mark.full),
    ],
)
def test_a_plain_read_in_a_wait_loop_is_wrong_where_it_is_optimised(course, compiler, opt, right):
    """Without optimisation that binary is right: the loop reads memory each time."""
    mutant = next(one for one in mutants.load(course, ["lab4"]) if one.id == FORGETS_VOLATILE)
    request = RunRequest(
        course=course,
        lab="lab4",
        files=mutants.apply(course, mutant),
        cohort=Cohort.derive("dev"),
        seed=SEED,
        sandbox_required=False,
        compiler=compiler,
        opt=opt,
    )
    report = report_lab(request, select=mutant.check)
    outcome = next(one for one in report.checks if one.id == mutant.check)
    assert (outcome.outcome == "pass") is right
    assert f"--opt {opt}" in outcome.again or opt == "-O2"
    assert ("--cc clang" in outcome.again) is (compiler == "clang")
