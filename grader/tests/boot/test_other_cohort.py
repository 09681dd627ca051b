"""`vmmlab run --other-cohort`: the numbers that some open checks are booted with."""

from pathlib import Path

import pytest

from vmmlab.course.load import load_course
from vmmlab.student.boot import Boot
from vmmlab.student.build import folder_of
from vmmlab.student.run import image_for

COURSE = load_course(Path(__file__).parents[3])


@pytest.mark.parametrize(("other", "cohort"), [(False, "dev"), (True, "dev2")])
def test_the_image_is_built_for_the_cohort_that_is_asked_for(other, cohort):
    what = Boot("lab3", other_cohort=other)
    assert image_for("lab3", COURSE, "reference", role=what.role).cohort == cohort


def test_the_two_images_of_a_lab_are_kept_apart():
    root = Path("/work")
    assert folder_of(root, "lab3", "x86_64") == Path("/work/build/lab3")
    assert folder_of(root, "lab3", "x86_64", "other") == Path("/work/build/lab3-other-cohort")
    assert folder_of(root, "lab3", "i386", "other") == Path("/work/build/lab3-i386-other-cohort")
