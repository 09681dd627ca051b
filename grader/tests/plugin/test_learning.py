"""Hints on request and progress, after a real pytest in a small workspace."""

from __future__ import annotations

import json

import pytest

from vmmlab.cli.main import main
from vmmlab.workspace.solutions import mark_seen

pytestmark = pytest.mark.slow

CAUSES = "far-jump-missing:\n  hints: [think, write it, ea it is]\nlost:\n  next: look\n"
HANDOUT = "# A\n\n## Steps\n\n### lab3.1: do it\n\nSo.\n"


@pytest.fixture
def graded(place, monkeypatch):
    """A workspace whose lab 3 fails; returns a function that runs vmmlab there."""
    (place.root.parent / "labs" / "lab3").mkdir()
    (place.root.parent / "labs" / "lab3" / "causes.yml").write_text(CAUSES)
    (place.root / "lab3" / "README.md").write_text(HANDOUT)
    monkeypatch.chdir(place.root)
    monkeypatch.setenv("VMMLAB_OWN", str(place.root.parent))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    place.student("lab3", "nothing")
    ran = place.pytest("lab3")
    assert "hint      if you want one: vmmlab hint lab3.ljmpw.present\n" in ran.out
    return place


@pytest.fixture
def run(capsys):
    def run(*words):
        capsys.readouterr()
        code = main(list(words))
        out, err = capsys.readouterr()
        return code, out + err

    return run


def test_each_call_gives_one_level_more(graded, run):
    code, first = run("hint")
    assert code == 0
    assert "lab3.ljmpw.present\n  There is a far jump.\n" in first
    assert "Hint 1 of 4\n  think\n" in first
    assert "The next hint: vmmlab hint lab3.ljmpw.present" in first
    assert 'Hint 2 of 4\n  Read lab3/README.md:5, "lab3.1: do it".\n' in run("hint")[1]
    assert "Hint 3 of 4\n  write it\n" in run("hint", "lab3.ljmpw.present")[1]
    last = run("hint", "lab3")[1]
    assert "Hint 4 of 4\n  ea it is\n" in last
    assert "These were all." in last
    assert "Hint 4 of 4" in run("hint")[1]


def test_again_shows_no_new_one_and_all_shows_everything(graded, run):
    assert "Hint 1 of 4" in run("hint", "--again")[1]
    again = run("hint", "--again")[1]
    assert ("Hint 1 of 4" in again, "Hint 2 of 4" in again) == (True, False)
    every = run("hint", "--all")[1]
    assert [f"Hint {number} of 4" in every for number in (1, 2, 3, 4)] == [True] * 4


def test_a_check_that_waits_leads_to_the_one_it_waits_for(graded, run):
    code, out = run("hint", "ljmpw.target")
    assert code == 0
    assert out.startswith("lab3.ljmpw.present\n")
    assert "lab3.ljmpw.target waits for this one." in out


def test_hints_begin_anew_with_another_cause(graded, run):
    run("hint", "--all")
    graded.student("lab3", "jump")
    graded.pytest("lab3")
    assert "lab3.ljmpw.target\n" in run("hint")[1]
    assert "Hint 1 of 1" in run("hint")[1]


def test_changed_files_are_said(graded, run):
    graded.student("lab3", "jump")
    assert "changed since this grading: lab3/a.c" in run("hint")[1]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ljmpw.presnt", "the nearest are: lab3.ljmpw.present"),
        ("lab3.late.cpu", "lab3.late.cpu passes: it needs no hint."),
        ("lab4", "lab4 has not been graded in this workspace yet."),
        ("lab11", "this course has no lab called 'lab11'."),
        ("lab33.late", "did you mean lab3?"),
        ("lab3.lete.cpu", "there is no check lab3.lete.cpu."),
    ],
)
def test_what_has_no_hint_says_why(graded, run, word, said):
    code, out = run("hint", word)
    assert code == 2
    assert said in out
    assert "Traceback" not in out


def test_code_that_does_not_compile_is_named(graded, run):
    graded.student("lab3", "syntax error")
    graded.pytest("lab3")
    code, out = run("hint")
    assert code == 2
    assert "lab3/a.c:3: syntax error" in out


def test_a_workspace_that_was_never_graded(place, run, monkeypatch):
    monkeypatch.chdir(place.root)
    monkeypatch.setenv("VMMLAB_OWN", str(place.root.parent))
    assert run("hint")[0] == 2
    code, out = run("progress")
    assert code == 0
    assert "lab3         0/6     0/3         0  A lab\n" in out
    assert "Begin with lab3." in out


def test_progress_names_what_is_next(graded, run):
    code, out = run("progress")
    assert code == 0
    assert "lab3         3/6     1/3         1  A lab\n" in out
    assert "Next: lab3, 2 checks to go.\nA hint: vmmlab hint lab3\n" in out
    graded.student("lab3", "jump cpu1 cpu2")
    ran = graded.pytest("lab3")
    assert "All points. lab3 is done, well done!\nNext is lab4: lab4/README.md\n" in ran.out
    assert "All points: next is lab4." in run("progress")[1]
    graded.pytest("lab4")
    code, out = run("progress")
    assert "all labs   12/12     6/6" in out
    assert "All points of all labs." in out


def test_damaged_progress_is_said_and_hints_go_on(graded, run):
    (graded.root / ".vmmlab" / "progress.json").write_text("{")
    code, out = run("progress")
    assert code == 0
    assert ".vmmlab/progress.json could not be read, so this begins anew." in out
    assert "Hint 1 of 4" in run("hint")[1]


def test_progress_says_nothing_of_a_student_but_checks_and_points(graded):
    data = json.loads((graded.root / ".vmmlab" / "progress.json").read_text())
    assert set(data) == {"schema", "labs", "last", "hints"}
    assert data["labs"]["lab3"]["gradings"] == 1


def test_japanese(graded, run):
    assert "ヒント 1/4" in run("hint", "--lang", "ja")[1]
    assert "lab3" in run("progress", "--lang", "ja")[1]


def test_the_right_run_is_shown_after_the_solution_only(graded, run, monkeypatch, tmp_path):
    beside: list[bool] = []

    def page(*what: object, **options: bool) -> str:
        beside.append(options["beside"])
        return ""

    monkeypatch.setattr("vmmlab.student.show.html_of", page)
    assert run("show", "lab3", "--html", str(tmp_path / "page.html"))[0] == 0
    mark_seen(graded.root, "lab3")
    assert run("show", "lab3", "--html", str(tmp_path / "page.html"))[0] == 0
    assert beside == [False, True]
