"""`vmmlab check-course`: sentences of a contract without a check, and checks without a sentence."""

import pytest
from book_pages import ROOT
from course_copies import copy_of_the_clone

from vmmlab.author import new_lab
from vmmlab.author.check_course import contract
from vmmlab.course.load import load_course

CONTRACT = "labs/lab9/contract.yml"
SOLUTION, COMMENTS = "reference/lab9/start.c", "reference/lab9/contracts.ja.yml"
FILES = ("course.yml", CONTRACT, SOLUTION, COMMENTS)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """A copy of the clone with a new lab 9."""
    root = copy_of_the_clone(tmp_path_factory.mktemp("contract") / "clone")
    new_lab.new_lab(load_course(root), "lab9")
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
    return [str(one) for one in contract.in_contract(course, course.lab("lab9"))]


def edit(root, file, old, new):
    text = (root / file).read_text(encoding="utf-8")
    assert old in text
    (root / file).write_text(text.replace(old, new), encoding="utf-8")


def test_a_new_lab_lacks_nothing(clone):
    assert found_in(clone) == []


WRONG = {
    "a sentence of the contract without an id": (
        (SOLUTION, '"lab9", once. */', '"lab9", once.  Do it soon. */'),
        f"{SOLUTION}:8: lab9_start: this sentence of the contract has no id: Do it soon",
    ),
    "a comment without ids": (
        (SOLUTION, "\nINITFUNC", "\n/* To be called. */\nINITFUNC"),
        f"{SOLUTION}:23: lab9_start: this sentence of the contract has no id: To be called",
    ),
    "an id without a sentence": (
        (CONTRACT, "says: call the init", "says: start the init"),
        f"{CONTRACT}:9: lab9.c.lab9_start.group: no sentence begins like this. Found start the",
    ),
    "an id for two sentences": (
        (SOLUTION, '"lab9", once. */', '"lab9", once.  call the init functions again. */'),
        f"{CONTRACT}:9: lab9.c.lab9_start.group: several sentences begin like this",
    ),
    "two ids for one sentence": (
        (CONTRACT, "says: All APs run", "says: call the"),
        f"{CONTRACT}:9: lab9.c.lab9_start.group: this sentence has two ids",
    ),
    "ids in another order": (
        (
            SOLUTION,
            "the BSP, on its own stack, no lock held.  All APs run.",
            "All APs run.  the BSP, on its own stack, no lock held.",
        ),
        f"{CONTRACT}:5: lab9_start: the sentences are in another order than in the comment",
    ),
    "ids of a function that has no contract": (
        (CONTRACT, "  lab9_start:", "  lab9_stop:"),
        f"{CONTRACT}:5: lab9/start.c has no comment above lab9_stop",
    ),
    "ids of a file that the lab has not": (
        (CONTRACT, "lab9/start.c:", "lab9/stop.c:"),
        f"{CONTRACT}:5: lab9/stop.c has no comment above lab9_start",
    ),
    "a sentence judged by no check of the lab": (
        (
            CONTRACT,
            "init functions, judged_by: [lab9.group",
            "init functions, judged_by: [lab9.grp",
        ),
        f"{CONTRACT}:9: lab9.c.lab9_start.group: course.yml has no check lab9.grp.called",
    ),
    "a check that judges no sentence": (
        (CONTRACT, "judged_by: [lab9.group.called]", "given: nobody"),
        "lab9.group.called judges no sentence of the contract: write the sentence",
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
        (SOLUTION, "TODO(lab9.1):", "TODO(lab9.1): call them."),
        f"{SOLUTION}:16: no TODO of lab9.1 has the title that course.yml gives it",
    ),
    "a sentence less in Japanese": (
        (COMMENTS, "実行する。AP は", "実行し、AP は"),
        f"{COMMENTS}:9: lab9_start, paragraph 2: the Japanese has other sentences than the "
        "English. Expected 2 sentences. Found 1",
    ),
    "a paragraph more in Japanese": (
        (COMMENTS, "1 回呼ぶ。\n", "1 回呼ぶ。\n\n      終わり。\n"),
        f"{COMMENTS}:9: lab9_start, paragraph 4: the Japanese has other sentences",
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
    assert any(f"{CONTRACT}:5: lab9/start.c has no comment" in one for one in found_in(clone))


def test_a_lab_without_ids_is_named_when_every_lab_must_have_them(clone, monkeypatch):
    (clone / CONTRACT).unlink()
    assert found_in(clone) == []
    monkeypatch.setattr(contract, "EVERY_LAB", True)
    assert found_in(clone) == [
        f"{CONTRACT}: no sentence of the contract has an id: give an id to each sentence of the "
        "contract, and name its checks"
    ]


def test_every_lab_must_have_ids_as_soon_as_each_has_them():
    """If this fails, set EVERY_LAB in check_course/contract.py to True, or add what is lacking."""
    labs = [lab.name for lab in load_course(ROOT).labs.values() if lab.files]
    lacking = [lab for lab in labs if not (ROOT / "labs" / lab / "contract.yml").is_file()]
    if contract.EVERY_LAB or "lab7" in labs:  # until then, labs are still being added
        assert (not lacking) == contract.EVERY_LAB, lacking
