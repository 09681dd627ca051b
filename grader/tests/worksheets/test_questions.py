"""Every question: the solution earns its points; known-wrong and copied answers do not."""

import contextlib
import io

import pytest
from sheet import LABS, cells, play
from wrong import RIGHT, WRONG

STUDENTS = ("alice", "bob", "carol", "dave", "学生", "o'neil@example.org")


@pytest.fixture(autouse=True)
def quiet():
    """Discard what checks print about the form of an answer."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def lab_of(question):
    return question.partition("-")[0]


@pytest.mark.parametrize("lab", LABS)
def test_the_solution_earns_everything_and_an_empty_sheet_nothing(lab):
    for student in STUDENTS:
        played = play(lab, student)
        assert played.points == played.maximum
        assert set(play(lab, student, solved=False).points.values()) == {0.0}


@pytest.mark.parametrize("lab", LABS)
def test_what_a_student_has_looks_at_the_form_only(lab):
    """Without the hidden tests: full marks for anything well-formed, none for None."""
    assert play(lab, hidden=False).points == play(lab, hidden=False).maximum
    assert set(play(lab, solved=False, hidden=False).points.values()) == {0.0}


@pytest.mark.parametrize(
    ("question", "lines", "most"),
    [
        pytest.param(question, lines, most, id=f"{question}: {what}")
        for question, answers in WRONG.items()
        for what, lines, most in answers
    ],
)
def test_wrong_answers_are_found(question, lines, most):
    """Only the wrong lines are answered; they must not be right for any student by chance."""
    lab = lab_of(question)
    earned = [
        play(lab, student, {question: lines}, solved=False, only=question).points[question]
        for student in (STUDENTS if question in CHANCE else STUDENTS[:2])
    ]
    if question in CHANCE:
        assert sorted(earned)[len(earned) // 2] <= most
        assert min(earned) <= most
    else:
        assert max(earned) <= most


CHANCE = {"lab4-lost", "lab4-inside", "lab4-barrier", "lab4-broken-barrier", "lab3-modes",
          "lab1-sort", "lab1-prefix", "lab4-atomic", "lab1-views"}  # fmt: skip
"""Questions in which a wrong method can give the right result for some students."""


@pytest.mark.parametrize(
    ("question", "lines"),
    [
        pytest.param(question, lines, id=f"{question}: {what}")
        for question, answers in RIGHT.items()
        for what, lines in answers
    ],
)
def test_any_right_answer_is_right(question, lines):
    for student in STUDENTS[:3]:
        played = play(lab_of(question), student, {question: lines}, only=question)
        assert played.points[question] == played.maximum[question]


@pytest.mark.parametrize("lab", LABS)
def test_every_question_has_a_known_wrong_answer(lab):
    assert set(cells(lab, "test")) == {one for one in WRONG if lab_of(one) == lab}
    assert set(cells(lab, "answer")) == set(cells(lab, "test"))


def literals(lab, student, cohort="dev"):
    """Return a student's answers as another student would copy them: values, no formulas."""
    names = play(lab, student, cohort=cohort).names
    return {
        question: "\n".join(f"{one} = {names[one]!r}" for one in variables(cell))
        for question, cell in cells(lab, "answer").items()
    }


def variables(cell):
    before = cell.source.split("### BEGIN SOLUTION")[0]
    return [line.removesuffix(" = None") for line in before.splitlines() if " = None" in line]


@pytest.mark.parametrize("lab", LABS)
def test_copied_answers_are_wrong(lab):
    copied = literals(lab, "alice")
    own = play(lab, "alice", copied)
    assert own.points == own.maximum
    for student in ("bob", "carol"):
        earned = play(lab, student, copied)
        assert sum(earned.points.values()) < 0.2 * sum(earned.maximum.values())


@pytest.mark.parametrize("lab", LABS)
def test_everybody_has_other_numbers(lab):
    played = [play(lab, student).names for student in ("alice", "bob", "carol")]
    for cell in cells(lab, "given").values():
        name = cell.source.strip().splitlines()[-1]
        assert len({repr(names[name]) for names in played}) == 3, name


@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize(
    "anything",
    [
        "Equal()",
        "True",
        "-1",
        "2**70",
        "1.0",
        "float('nan')",
        "''",
        "b''",
        "[Equal()] * 5",
        "print",
    ],
)
def test_strange_answers_earn_nothing(lab, anything):
    equal = "class Equal:\n    __eq__ = __lt__ = __gt__ = lambda *_: True\n    __hash__ = None\n"
    strange = {
        question: equal + "\n".join(f"{one} = {anything}" for one in variables(cell))
        for question, cell in cells(lab, "answer").items()
    }
    assert set(play(lab, answers=strange).points.values()) == {0.0}


@pytest.mark.parametrize("lab", LABS)
def test_answers_of_another_year_are_wrong(lab):
    copied = literals(lab, "alice", "2025")
    earned = play(lab, "alice", copied, cohort="2026")
    assert sum(earned.points.values()) < 0.2 * sum(earned.maximum.values())


def test_capitals_and_blanks_do_not_change_the_numbers():
    assert play("lab1", " Alice ").names["views"].mi == play("lab1", "alice").names["views"].mi
