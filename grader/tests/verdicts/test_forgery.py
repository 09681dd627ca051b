"""A submission that only pretends earns nothing for what it pretends.

It earns what it honestly does, and exactly that; it neither hangs the grader nor looks like a
failure of it.
"""

import pytest
from forgeries import BY_ITSELF, FORGERIES, refused

pytestmark = pytest.mark.slow

LONG = {
    "serial output",
    "lab2 parks",
    "lab3 numbered bsp",
    "lab3 numbers, all prepared",
    "lab3 the bsp counts",
    "lab3 one ap counts for all",
    "lab4 global tracepoints",
    "lab4 numbered bsp",
}
"""Those that take longest, or are much like another one: for the full run only."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.full] * (n in LONG), id=n) for n in FORGERIES],
)
def test_a_forgery_earns_what_is_honest_in_it(course, grade, earned, name):
    lab, make, honest = FORGERIES[name]
    report = grade(lab, make(course))
    assert report.build.ok, report.build.diagnostics
    assert earned(report) == honest
    lost = {check.outcome for check in report.checks if check.id not in honest}
    assert lost <= {"fail", "skipped"}
    assert "fail" in lost


@pytest.mark.parametrize("how", BY_ITSELF)
def test_code_that_would_run_by_itself_is_refused(course, grade, how):
    report = grade("lab3", refused(how)(course))
    assert not report.build.ok
    assert "is not allowed" in str(report.build.diagnostics[0].message)
    assert report.points == 0
    assert {check.outcome for check in report.checks} == {"build-error"}
