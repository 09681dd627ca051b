"""A person who studies alone has the hidden checks among the others: in hints and in progress."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vmmlab.base.errors import UsageError
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader
from vmmlab.student.hint import checks_meant
from vmmlab.student.progress import next_lab, render, standings
from vmmlab.workspace.progress import CheckProgress, LabProgress, Progress

HIDDEN = "lab3.hidden.cpus"


@pytest.fixture(scope="module")
def kit() -> Course:
    return load_course(Path(__file__).parents[3])


@pytest.fixture(scope="module")
def alone(kit: Course) -> Course:
    return replace(kit, kind="self-study")


def passed(course: Course, *, but: str = "") -> Progress:
    """Return the progress of a workspace in which every check of lab 3 but one passes."""
    checks = {
        one: CheckProgress(outcome="fail" if one == but else "pass", points=spec.points)
        for one, spec in course.lab("lab3").every_check_of("x86_64").items()
    }
    return Progress(labs={"lab3": LabProgress(gradings=1, checks=checks)})


def test_a_hidden_check_has_hints(kit: Course, alone: Course) -> None:
    assert checks_meant(alone, HIDDEN, "x86_64") == [HIDDEN]
    assert HIDDEN in checks_meant(alone, "lab3", "x86_64")
    with pytest.raises(UsageError, match="there is no check"):
        checks_meant(kit, HIDDEN, "x86_64")


@pytest.mark.parametrize(
    ("reader", "handout"), [(Reader(), "lab4/README.md"), (Reader("ja"), "lab4/README.ja.md")]
)
def test_the_next_handout_is_in_the_readers_language(
    kit: Course, reader: Reader, handout: str
) -> None:
    known = passed(kit).model_copy(update={"last": [("lab3", "x86_64")]})
    text = render(kit, known, reader, damaged=False, width=80, color=False)
    assert text.rstrip().endswith(handout)


def test_a_lab_is_done_with_its_hidden_checks(kit: Course, alone: Course) -> None:
    for course, most, done in ((kit, 40, True), (alone, 45, False)):
        (lab3,) = (one for one in standings(course, passed(alone, but=HIDDEN)) if one.gradings)
        assert (lab3.max, lab3.done) == (most, done)
    (lab3,) = (one for one in standings(alone, passed(alone)) if one.gradings)
    assert (lab3.points, lab3.passed, lab3.done) == (45, 20, True)
    following = next_lab(alone, passed(alone, but=HIDDEN), "lab2")
    assert following is not None
    assert following.name == "lab3"
