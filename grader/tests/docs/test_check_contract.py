"""`vmmlab check-course`: sentences of a contract without a check, and checks without a sentence."""

import pytest
from course_copies import copy_of_the_clone

from vmmlab.author import new_lab
from vmmlab.author.check_course import contract
from vmmlab.course.load import load_course

CONTRACT = "labs/lab90/contract.yml"
SOLUTION, COMMENTS = "reference/lab90/start.c", "reference/lab90/contracts.ja.yml"
FILES = ("course.yml", CONTRACT, SOLUTION, COMMENTS)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """A copy of the clone with a new lab 9."""
    root = copy_of_the_clone(tmp_path_factory.mktemp("contract") / "clone")
    new_lab.new_lab(load_course(root), "lab90")
    return root


@pytest.fixture
def clone(new):
    """The same copy; what a test changes in it is put back."""
    before = {file: (new / file).read_bytes() for file in FILES}
    yield new
    for file, data in before.items():
        (new / file).write_bytes(data)


def found_in(root):
    course = load_course(root)
    return [str(one) for one in contract.in_contract(course, course.lab("lab90"))]


def edit(root, file, old, new):
    text = (root / file).read_text(encoding="utf-8")
    assert old in text
    (root / file).write_text(text.replace(old, new), encoding="utf-8")


def test_a_new_lab_lacks_nothing(clone):
    assert found_in(clone) == []


WRONG = {
    "a sentence of the contract without an id": (
        (SOLUTION, '"lab90", once. */', '"lab90", once.  Do it soon. */'),
        f"{SOLUTION}:8: lab90_start: this sentence of the contract has no id: Do it soon",
    ),
    "a comment without ids": (
        (SOLUTION, "\nINITFUNC", "\n/* To be called. */\nINITFUNC"),
        f"{SOLUTION}:23: lab90_start: this sentence of the contract has no id: To be called",
    ),
    "an id without a sentence": (
        (CONTRACT, "says: call the init", "says: start the init"),
        f"{CONTRACT}:9: lab90.c.lab90_start.group: no sentence begins like this. Found start the",
    ),
    "an id for two sentences": (
        (SOLUTION, '"lab90", once. */', '"lab90", once.  call the init functions again. */'),
        f"{CONTRACT}:9: lab90.c.lab90_start.group: several sentences begin like this",
    ),
    "two ids for one sentence": (
        (CONTRACT, "says: All APs run", "says: call the"),
        f"{CONTRACT}:9: lab90.c.lab90_start.group: this sentence has two ids",
    ),
    "ids in another order": (
        (
            SOLUTION,
            "the BSP, on its own stack, no lock held.  All APs run.",
            "All APs run.  the BSP, on its own stack, no lock held.",
        ),
        f"{CONTRACT}:5: lab90_start: the sentences are in another order than in the comment",
    ),
    "ids of a function that has no contract": (
        (CONTRACT, "  lab90_start:", "  lab90_stop:"),
        f"{CONTRACT}:5: lab90/start.c has no comment above lab90_stop",
    ),
    "ids of a file that the lab has not": (
        (CONTRACT, "lab90/start.c:", "lab90/stop.c:"),
        f"{CONTRACT}:5: lab90/stop.c has no comment above lab90_start",
    ),
    "a sentence judged by no check of the lab": (
        (
            CONTRACT,
            "init functions, judged_by: [lab90.group",
            "init functions, judged_by: [lab90.grp",
        ),
        f"{CONTRACT}:9: lab90.c.lab90_start.group: course.yml has no check lab90.grp.called",
    ),
    "a check that judges no sentence": (
        (CONTRACT, "judged_by: [lab90.group.called]", "given: nobody"),
        "lab90.group.called judges no sentence of the contract: write the sentence",
    ),
    "a sentence that is judged and given": (
        (CONTRACT, "given: core/main.c}\n    group", "judged_by: [], given: x}\n    group"),
        f"{CONTRACT}:8: aps: this does not say what judges a sentence",
    ),
    "a sentence that is not judged, without a reason": (
        (CONTRACT, "All APs run, given: core/main.c", "All APs run, not_judged: "),
        f"{CONTRACT}:8: aps: this does not say what judges a sentence",
    ),
    "a contract that is a list": (
        (CONTRACT, None, "- a list\n"),
        f"{CONTRACT}:1: this is not a mapping",
    ),
    "a TODO with words of its own": (
        (SOLUTION, "TODO(lab90.1):", "TODO(lab90.1): call them."),
        f"{SOLUTION}:16: no TODO of lab90.1 has the title that course.yml gives it",
    ),
    "a sentence less in Japanese": (
        (COMMENTS, "実行する。AP は", "実行し、AP は"),
        f"{COMMENTS}:9: lab90_start, paragraph 2: the Japanese has other sentences than the "
        "English. Expected 2 sentences. Found 1",
    ),
    "a paragraph more in Japanese": (
        (COMMENTS, "1 回呼ぶ。\n", "1 回呼ぶ。\n\n      終わり。\n"),
        f"{COMMENTS}:9: lab90_start, paragraph 4: the Japanese has other sentences",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_named(clone, what):
    (file, old, new), said = WRONG[what]
    if old is None:
        (clone / file).write_text(new)
    else:
        edit(clone, file, old, new)
    found = found_in(clone)
    assert any(said in one for one in found), found


def test_a_reference_that_is_gone_is_named_elsewhere(clone):
    (clone / SOLUTION).unlink()
    assert any(f"{CONTRACT}:5: lab90/start.c has no comment" in one for one in found_in(clone))


def test_a_lab_without_ids_is_named(clone):
    (clone / CONTRACT).unlink()
    assert found_in(clone) == [
        f"{CONTRACT}: no sentence of the contract has an id: give an id to each sentence of the "
        "contract, and name its checks"
    ]
