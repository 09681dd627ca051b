"""`make` and `pytest` name the same line for a step, in the function of the step."""

import re
from pathlib import Path

import pytest

from vmmlab.course import markup
from vmmlab.course.load import load_course
from vmmlab.course.stops import function_of, open_steps, place_of

COURSE = load_course(Path(__file__).parents[3])
LABS = [lab for lab in COURSE.labs.values() if lab.files]


def starters(lab):
    read = {name: (COURSE.reference_dir / name).read_text(encoding="utf-8") for name in lab.files}
    return {name: markup.starter_text(text, path=name).encode() for name, text in read.items()}


def function_at(text, line):
    """The function that a line is in."""
    before = text.decode().split("\n")[: line - 1]
    begin = re.compile(r"([a-z_]\w*) \(")
    return next(found[1] for one in reversed(before) if (found := begin.match(one)))


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_make_and_pytest_name_the_same_line(lab):
    files = starters(lab)
    found = dict(open_steps(lab, files))
    assert found
    assert {step: place_of(step, files) for step in found} == found


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_the_line_is_in_the_function_that_is_named(lab):
    files = starters(lab)
    wrong = {}
    for step, line in open_steps(lab, files):
        named = function_of(step, files)
        there = function_at(files[step.file], line) if step.file.endswith(".c") else step.function
        if there != named:
            wrong[step.id] = (there, named)
    assert wrong == {}


def test_a_step_with_several_functions_names_the_one_of_the_line():
    lab = COURSE.lab("lab3")
    (step,) = (step for step in lab.steps if step.id == "lab3.4")
    assert step.function == "ap_start_addr"
    assert function_of(step, starters(lab)) == "apic_send_startup_ipi"
    assert function_of(step, {step.file: b"void\nf (void)\n{\n}\n"}) == "ap_start_addr"


@pytest.mark.parametrize(
    "line", ["if (!mi_arg)", "else if (a (b))", "while (x (1,", "for (;", "return f (1,"]
)
def test_a_statement_at_the_left_margin_is_no_function(line):
    step = LABS[0].steps[0]
    text = f'void\nmine (void)\n{{\n{line}\n\tvmm_todo ("{step.id}");\n}}\n'
    assert function_of(step, {step.file: text.encode()}) == "mine"


def test_without_a_stop_the_last_comment_counts():
    lab = LABS[0]
    step = lab.steps[0]
    text = f"/* TODO({step.id}): helpers */\n\n/* TODO({step.id}): the function */\n".encode()
    assert place_of(step, {step.file: text}) == 3
    assert place_of(step, {step.file: b"done\n"}) is None
