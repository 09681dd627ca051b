"""Two kinds of releases: without solutions for a class, and with them for self-study."""

import shutil
from pathlib import Path

import pytest
from test_release import sh

from vmmlab.author.release import release
from vmmlab.author.release.leaks import leaks, misplaced
from vmmlab.author.release.selfstudy import ANSWERS
from vmmlab.base.errors import UsageError
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference
from vmmlab.student import solution

pytestmark = pytest.mark.slow

VMMLAB = "python -m vmmlab.cli.main"


@pytest.fixture(scope="session")
def alone(course, tmp_path_factory):
    """A release for self-study."""
    return release(
        course, tmp_path_factory.mktemp("alone") / "kit", self_study=True, book=False
    ).folder


@pytest.fixture(scope="session")
def desk(alone):
    """A workspace made from it."""
    made = sh(f"{VMMLAB} new --no-input --name Ada ../vmm", alone, alone)
    assert (made.returncode, made.stderr) == (0, "")
    return alone.parent / "vmm"


def test_it_has_solutions_hidden_checks_and_answers(course, alone):
    given = load_course(alone)
    assert given.self_study
    assert {lab: one.hidden for lab, one in given.labs.items()} == {
        lab: one.hidden for lab, one in course.labs.items()
    }
    for lab in course.labs:
        assert reference(given, [lab]).files == reference(course, [lab]).files
    assert (alone / "labs/lab3/hidden/test_hidden.py").is_file()
    for page in ANSWERS:
        assert (alone / "docs" / page).is_file()
    assert "BEGIN SOLUTION" in (alone / "labs/lab1/answered/worksheet.ipynb").read_text()
    assert "vmmlab solution" in (alone / "README.md").read_text()
    assert "vmmlab solution" in (alone / "README.ja.md").read_text()


def test_it_has_nothing_that_only_instructors_need(course, alone, tmp_path):
    assert list(misplaced(course, alone)) == []
    names = {path.relative_to(alone).as_posix() for path in alone.rglob("*")}
    for part in ("grader/tests", "grader/mutants", "contract.yml", "docs/instructor.md"):
        assert not [name for name in names if name.endswith(part)]
    copy = Path(shutil.copytree(alone, tmp_path / "kit"))
    shutil.copy(course.labs_dir / "lab3/contract.yml", copy / "labs/lab3")
    assert [one.file for one in misplaced(course, copy)] == ["labs/lab3/contract.yml"]


def test_the_search_of_a_class_release_finds_what_is_only_for_self_study(course, alone):
    """The known-wrong input of the leak test: a release for self-study in the hands of a class."""
    found = {(one.file, str(one.what).partition(" (")[0]) for one in leaks(course, alone)}
    files = {file for file, _ in found}
    assert {"course.yml", "docs/answers.md", "docs/answers.ja.md"} <= files
    assert "labs/lab1/answered/worksheet.ipynb" in files
    for lab in course.labs.values():
        assert not lab.files or files & {f"reference/{file}" for file in lab.files}


def test_a_solution_is_shown_after_a_confirmation_only(course, alone, desk):
    asked = sh(f"{VMMLAB} solution lab3 < /dev/null", desk, alone)
    assert asked.returncode == 2
    assert "only after a confirmation" in asked.stderr
    assert not (desk / ".vmmlab" / "solutions.json").exists()
    shown = sh(f"COLUMNS=160 {VMMLAB} solution lab3 --yes", desk, alone)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "=== lab3/apinit.S" in shown.stdout
    assert 'vmm_todo ("lab3.1");' in shown.stdout, "the student's own file is beside it"
    assert "BEGIN SOLUTION" not in shown.stdout
    line = reference(course, ["lab3"]).files["lab3/ap_start.c"].decode()
    assert "ap_start_loopcond" in line
    again = sh(f"{VMMLAB} solution lab3 < /dev/null", desk, alone)
    assert again.returncode == 0, "once is enough"
    none = sh(f"{VMMLAB} solution lab0 --yes", desk, alone)
    assert (none.returncode, "nothing to write" in none.stderr) == (2, True)


def test_hidden_checks_are_judged_with_the_others_and_nothing_is_elsewhere(course, alone, desk):
    for name, data in reference(course, ["lab1"]).files.items():
        (desk / name).write_bytes(data)
    done = sh("pytest lab1", desk, alone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lab1  20/20 points" in done.stdout
    assert "elsewhere" not in done.stdout
    assert "hidden" in done.stdout
    graded = sh(f"{VMMLAB} grade lab1 --submission .", desk, alone)
    assert graded.returncode == 0, graded.stdout + graded.stderr
    assert "elsewhere" not in graded.stdout


def test_a_class_release_says_where_the_solutions_are(course, tmp_path):
    root = tmp_path / "class"
    root.mkdir()
    text = (course.root / "course.yml").read_text()
    (root / "course.yml").write_text(text)
    with pytest.raises(UsageError, match="this course has no solutions") as caught:
        solution.solution(load_course(root), "lab3")
    assert "vmmlab release --self-study" in str(caught.value.next_step)
    told = text.replace("cohort: dev", "cohort: dev\nself_study_at: on the page of the course")
    (root / "course.yml").write_text(told)
    with pytest.raises(UsageError) as caught:
        solution.solution(load_course(root), "lab3")
    assert caught.value.next_step == "on the page of the course"


def test_nothing_is_held_back_from_those_who_study_alone(course, tmp_path):
    with pytest.raises(UsageError, match="holds nothing back"):
        release(course, tmp_path / "kit", until="lab3", self_study=True)
