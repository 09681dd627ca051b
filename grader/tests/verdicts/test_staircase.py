"""With steps 1 to k written, a submission earns exactly the points of these steps."""

import pytest

from vmmlab.course.reference import reference

STEPS = {"lab1": 4, "lab2": 3, "lab3": 7, "lab4": 5, "lab5": 2, "lab6": 5, "lab7": 8, "lab8": 5,
         "lab9": 8, "lab10": 5}  # fmt: skip
STAIRS = [(lab, k) for lab, steps in STEPS.items() for k in range(steps + 1)]
# Of the later labs, which boot longer, only the starter and the whole solution are quick enough.
OFTEN = [
    pytest.param(lab, k, marks=() if lab in ("lab1", "lab2", "lab3", "lab4") else pytest.mark.full)
    if 0 < k < STEPS[lab]
    else (lab, k)
    for lab, k in STAIRS
]


def test_these_are_the_steps_of_the_course(course):
    assert {lab: len(course.labs[lab].steps) for lab in STEPS} == STEPS


def climb(course, grade, lab, k, cohort):
    steps = frozenset(step.id for step in course.labs[lab].steps[:k])
    report = grade(lab, reference(course, [lab], steps).files, cohort)
    want = {id: spec.points * (spec.step in steps) for id, spec in course.labs[lab].checks.items()}
    assert {check.id: check.points for check in report.checks} == want
    return report


@pytest.mark.parametrize(("lab", "k"), OFTEN)
def test_each_step_earns_its_points(course, grade, lab, k):
    report = climb(course, grade, lab, k, "dev")
    if k < STEPS[lab]:
        following = course.labs[lab].steps[k]
        assert report.first_step.id == following.id
        causes = {check.cause for check in report.checks if check.outcome in ("fail", "partial")}
        assert causes == {"not-written-yet"}
    else:
        assert report.points == report.max
        assert report.first_step is None


@pytest.mark.full
@pytest.mark.parametrize(("lab", "k"), STAIRS)
def test_each_step_earns_its_points_in_another_cohort(course, grade, lab, k):
    climb(course, grade, lab, k, "autumn")


@pytest.mark.parametrize("lab", STEPS)
def test_the_reference_earns_all_points_in_another_cohort(course, grade, lab):
    climb(course, grade, lab, STEPS[lab], "autumn")
