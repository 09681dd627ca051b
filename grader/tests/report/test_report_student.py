"""The student's report of an official grading."""

from dataclasses import replace
from pathlib import Path

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.secret import Secret
from vmmlab.grading.request import RunRequest, default_seed
from vmmlab.report import Report
from vmmlab.report.opened import SEED_IS_PUBLIC, opened
from vmmlab.report.student import report_for_student
from vmmlab.report.terminal import render

KEY = "0123456789abcdef" * 4
SEED = Secret(KEY).seed("lab3", "1")
SAMPLE = Path(__file__).parents[2] / "vmmlab" / "report" / "report.sample.json"


@pytest.fixture
def request_of():
    return RunRequest(
        course=load_course(Path(__file__).parents[3]),
        lab="lab3",
        files={},
        cohort=Cohort.derive("dev"),
        seed=SEED,
        sandbox_required=False,
        secret=Secret(KEY),
        round="1",
    )


@pytest.fixture
def official(request_of):
    """The instructor's report: the sample, with a hidden check and a crash."""
    made = Report.model_validate_json(SAMPLE.read_text())
    hidden = made.checks[0].model_copy(update={"id": "lab3.hidden.x", "visibility": "hidden"})
    checks = [check.model_copy(update={"again": f"{SEED}"}) for check in (*made.checks, hidden)]
    return made.model_copy(
        update={
            "seed": SEED,
            "label": request_of.label,
            "checks": tuple(checks),
            "hidden_points": 1,
            "hidden_judged": True,
        }
    )


@pytest.fixture
def graded(monkeypatch, official):
    """The requests to grade again; the answer has the first failure, but not the second."""
    asked = []

    def report_lab(request, **more):
        asked.append((request, more))
        checks, seen = [], 0
        for check in official.checks:
            failed = check.outcome not in ("pass", "skipped")
            seen += failed
            again = {"again": f"grade --seed {request.seed} -k {check.id}"}
            passes = {"outcome": "pass", "cause": None} if failed and seen > 1 else {}
            checks.append(check.model_copy(update=again | passes))
        return official.model_copy(update={"seed": request.seed, "checks": tuple(checks)})

    monkeypatch.setattr("vmmlab.report.student.report_lab", report_lab)
    return asked


def test_it_has_a_label_and_neither_seed_nor_hidden_checks(official, graded, request_of):
    made = report_for_student(official, request_of)
    text = made.to_json() + render(made)
    assert made.seed is None
    assert made.label in render(made)
    assert str(SEED) not in text
    assert KEY not in text
    assert "hidden.x" not in text
    assert (made.hidden_points, made.hidden_judged) == (None, False)
    assert all(check.infra is None for check in made.checks)
    assert made.points == official.points


def test_a_failure_that_shows_with_the_public_seed_keeps_a_command(official, graded, request_of):
    made = report_for_student(official, request_of)
    ((public, more),) = graded
    assert (public.secret, public.round, public.seed) == (None, "", default_seed("lab3", "dev"))
    assert "hidden" not in more
    failed = [check for check in made.checks if check.outcome not in ("pass", "skipped")]
    assert len(failed) > 1
    assert failed[0].again == f"grade --seed {public.seed} -k {failed[0].id}"
    assert failed[1].again == ""


def test_nothing_is_graded_again_without_a_failure(official, graded, request_of):
    fine = [check.model_copy(update={"outcome": "pass"}) for check in official.checks]
    report_for_student(official.model_copy(update={"checks": tuple(fine)}), request_of)
    assert graded == []


def test_with_a_public_seed_it_only_lacks_the_hidden_checks(official, graded, request_of):
    public = official.model_copy(update={"label": "", "seed": 7})
    made = report_for_student(public, replace(request_of, secret=None, round="", seed=7))
    assert graded == []
    assert made.seed == 7
    assert {check.visibility for check in made.checks} == {"visible"}
    assert made.checks[0].again == official.checks[0].again


def test_a_note_for_the_instructor_stays_with_the_instructor(official):
    """Written and read again: the file is what is shown."""
    notes = (SEED_IS_PUBLIC, "left out, not asked for: notes.txt")
    mine = Report.model_validate_json(official.model_copy(update={"notes": notes}).to_json())
    assert str(SEED_IS_PUBLIC) in render(mine, width=400)  # known-wrong case
    theirs = opened(mine)
    assert [str(note) for note in theirs.notes] == [notes[1]]
    assert str(SEED_IS_PUBLIC) not in render(theirs, width=400)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (
            "vmmlab grade lab3 --submission 'a b' --seed 7 --hidden -k lab3.ladder.real",
            "vmmlab grade lab3 --submission . --seed 7 -k lab3.ladder.real",
        ),
        ("pytest lab3 -k lab3.ladder.real", "pytest lab3 -k lab3.ladder.real"),
        ("", ""),
        ("a quote that is open: '", ""),
    ],
)
def test_a_student_can_type_the_command(mine: str, theirs: str) -> None:
    report = Report.model_validate_json(SAMPLE.read_text())
    checks = [check.model_copy(update={"again": mine}) for check in report.checks]
    shown = opened(report.model_copy(update={"checks": tuple(checks), "label": ""}))
    assert {check.again for check in shown.checks} == {theirs}
