"""A release: what is in it, what is not, and that a student can work with it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmmlab.author.release import release
from vmmlab.author.release.coursefile import course_text
from vmmlab.author.release.leaks import leaks
from vmmlab.author.release.worksheets import worksheets
from vmmlab.base.errors import CourseError, UsageError
from vmmlab.course import materials
from vmmlab.course.load import load_course
from vmmlab.course.markup import regions, starter_text
from vmmlab.course.reference import reference
from vmmlab.images import prebuilt

ROOT = Path(__file__).parents[3]
STUDENT_S = 120
"""The time-out of a student's command in seconds, for each lab; none takes a tenth of it."""


@pytest.fixture(scope="session")
def released(course, tmp_path_factory):
    return release(course, tmp_path_factory.mktemp("given") / "kit", book=False).folder


def sh(line, folder, kit, labs=1):
    """Run a student's command line, which grades so many labs, with the vmmlab of the release."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(kit / "grader"), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=STUDENT_S * labs,
        check=False,
    )


# --- what is not in it ----------------------------------------------------------------------


def test_nothing_of_the_instructors(released):
    names = {path.relative_to(released).as_posix() for path in released.rglob("*")}
    for part in ("reference", "hidden", "grader/mutants", "grader/tests", "__pycache__"):
        assert not [name for name in names if part in name.split("/") or name.startswith(part)]
    ours = [name for name in names if name.startswith("labs/")]
    assert not [name for name in ours if name.endswith(("worksheet.py", "/contract.yml"))]
    assert "labs/lab3/test_lab3.py" in names
    assert "vmm-skeleton/starters/en/lab3/ap_start.c" in names
    assert "vmm-skeleton/standins/dev/i386/lab3.o" in names
    assert "vmm-skeleton/standins/dev/dev2/lab3.o" in names
    assert "vmm-skeleton/standins/dev/dev2/i386/lab3.o" in names
    assert not [name for name in names if "third" in name]


def test_it_is_ready_for_git_and_says_when_labs_are_due(released):
    assert ".venv/" in (released / ".gitignore").read_text().splitlines()
    assert "| [lab3](labs/lab3/README.md) |" in (released / "SCHEDULE.md").read_text("utf-8")
    assert "`lab3/apinit.S`" in (released / "SCHEDULE.ja.md").read_text("utf-8")


def test_no_line_of_a_solution_and_no_name_of_a_hidden_check(course, released):
    """The search is another one than the command's own: line by line, as grep does."""
    everything = [path for path in released.rglob("*") if path.is_file() and path.suffix != ".o"]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in everything]
    lines = {line.strip() for text in texts for line in text.splitlines()}
    searched = 0
    for lab in course.labs.values():
        for file in lab.files:
            text = (course.reference_dir / file).read_text(encoding="utf-8")
            starter = {one.strip() for one in starter_text(text, path=file).splitlines()}
            given = {
                one.strip()
                for path in course.tree.rglob("*.[cSh]")
                for one in path.read_text(encoding="utf-8").splitlines()
            }
            for part in regions(text, path=file):
                for line in {one.strip() for one in part.solution} - starter - given:
                    if len(line) > 8 and not line.startswith(("*", "/*")):
                        searched += 1
                        assert line not in lines, f"{part.step}: {line}"
        for check in lab.hidden:
            searched += 1
            assert not any(check in text for text in texts), check
    assert searched > 80


def test_what_is_given_away_by_mistake_is_found(course, released, tmp_path):
    assert list(leaks(course, released)) == []
    copy = Path(shutil.copytree(released, tmp_path / "kit"))
    shutil.copytree(course.reference_dir / "lab3", copy / "solutions")
    (copy / "labs/lab1/README.md").write_text("The check lab1.hidden.mi adds modules.\n")
    shutil.copy(ROOT / "labs/lab2/worksheet.ipynb", copy / "labs/lab2/worksheet.ipynb")
    found = {(one.file, str(one.what).split(" (")[0]) for one in leaks(course, copy)}
    assert ("labs/lab1/README.md", "the hidden check lab1.hidden.mi is named.") in found
    assert ("solutions/ap_start.c", "a line of the solution of lab3.1") in found
    assert ("labs/lab2/worksheet.ipynb", "this is the instructor's worksheet.") in found


def test_a_leak_stops_the_command(course, tmp_path, monkeypatch):
    kit = tmp_path / "kit"
    shutil.copytree(ROOT / "labs", kit / "labs", ignore=shutil.ignore_patterns("worksheet*"))
    for name in ("reference", "vmm-skeleton"):
        (kit / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "course.yml", kit)
    page = kit / "labs/lab3/README.md"
    page.write_text(page.read_text() + "\n    memcpy (saved, jump, sizeof saved);\n")
    with pytest.raises(CourseError, match=r"labs/lab3/README\.md:\d+: a line of the solution"):
        release(load_course(kit), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kit"], "nothing is left behind"


# --- course.yml ---------------------------------------------------------------------------------


def test_course_yml_is_the_same_but_for_the_hidden_checks(course, released):
    mine = (ROOT / "course.yml").read_text().splitlines()
    theirs = (released / "course.yml").read_text().splitlines()
    gone = [line for line in mine if line not in theirs]
    hidden = [name for lab in course.labs.values() for name in lab.hidden]
    assert [line for line in theirs if line not in mine] == ["kind: class"]
    assert [line for line in gone if line.strip() != "hidden:"] == [
        line for line in mine if any(name in line for name in hidden)
    ]
    given = load_course(released)
    for name, lab in course.labs.items():
        assert dict(given.lab(name).checks) == dict(lab.checks)
        assert given.lab(name).hidden_points == lab.hidden_points
        assert not given.lab(name).hidden


SMALL = """\
schema: 1
title: A course  # mine
labs:
  lab1:
    title: One
    files: {lab1/a.c: [a]}
    steps: [{id: lab1.1, title: write it, file: lab1/a.c, function: a}]
    points: 3
    hidden_points: 5
    hidden:
      # what they try
      lab1.hidden.one: {points: 4, step: lab1.1}

      lab1.hidden.two:
        points: 1
        step: lab1.1
    # the open ones
    checks:
      lab1.open.one: {points: 3, step: lab1.1}
"""


@pytest.mark.parametrize(
    "text",
    [
        SMALL,
        "\n".join(f"{' ' * (len(one) - len(one.lstrip()))}{one}" for one in SMALL.split("\n")),
        SMALL[: SMALL.index("    hidden:\n")]
        + "    checks: {lab1.open.one: {points: 3, step: lab1.1}}\n"
        + "    hidden: {lab1.hidden.one: {points: 4, step: lab1.1},\n"
        + "      lab1.hidden.two: {points: 1, step: lab1.1}}\n",
    ],
    ids=["a block", "indented deeper", "in braces"],
)
def test_hidden_is_cut_out_however_it_is_written(tmp_path, text):
    (tmp_path / "course.yml").write_text(text)
    course = load_course(tmp_path)
    assert len(course.lab("lab1").hidden) == 2
    made = course_text(course, "autumn")
    assert "hidden." not in made
    assert "# mine" in made
    assert made.count("# the open ones") == text.count("# the open ones")
    (tmp_path / "course.yml").write_text(made)
    given = load_course(tmp_path)
    assert (given.cohort, list(given.lab("lab1").checks)) == ("autumn", ["lab1.open.one"])
    assert (dict(given.lab("lab1").hidden), given.lab("lab1").hidden_points) == ({}, 5)


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace("# the open ones", "# not lab1.hidden.one"),
        SMALL[: SMALL.index("  lab1:")]
        + "  lab1: {title: One, files: {lab1/a.c: [a]}, points: 0, hidden_points: 0,\n"
        + "    hidden:\n      {lab1.hidden.one: {points: 0}}, checks: {}}\n",
    ],
    ids=["in a comment", "in braces with the rest"],
)
def test_what_cannot_be_cut_out_is_refused(tmp_path, text):
    (tmp_path / "course.yml").write_text(text)
    with pytest.raises(CourseError, match="something cannot be left out"):
        course_text(load_course(tmp_path), "dev")


def test_the_students_image_names_no_hidden_check_either(course, tmp_path):
    step = (ROOT / "docker" / "student.Dockerfile").read_text()
    words = re.search(r"(sed -i -E '[^']*') /course/course\.yml", step).group(1)
    shutil.copy(ROOT / "course.yml", tmp_path)
    subprocess.run(["bash", "-c", f"{words} course.yml"], cwd=tmp_path, check=True)
    assert (tmp_path / "course.yml").read_text() == course_text(course, course.cohort)


# --- worksheets ---------------------------------------------------------------------------------


def test_a_release_without_worksheets_says_what_to_install(course, tmp_path, monkeypatch):
    def missing(cohort):
        raise ImportError

    monkeypatch.setattr(sys.modules[worksheets.__module__], "stripper", missing)
    (tmp_path / "labs" / "lab0").mkdir(parents=True)
    (note,) = worksheets(course, tmp_path, ["dev"])
    assert "nbgrader is not installed; pip install 'vmmlab[worksheets]'" in str(note)


def test_worksheets_are_the_students(released):
    pytest.importorskip("nbgrader")
    for source in sorted((ROOT / "labs").glob("lab*/worksheet*.ipynb")):
        mine = json.loads(source.read_text())
        theirs = json.loads((released / "labs" / source.parent.name / source.name).read_text())
        code = "\n".join("".join(cell["source"]) for cell in theirs["cells"])
        secret = 0
        for cell in mine["cells"]:
            inside = False
            for line in "".join(cell["source"]).splitlines():
                begins = "BEGIN SOLUTION" in line or "BEGIN HIDDEN TESTS" in line
                inside = (inside or begins) and not line.strip().startswith("### END")
                if inside and not begins and len(line.strip()) > 12:
                    secret += 1
                    assert line not in code
        assert secret > 5
        assert "YOUR CODE HERE" in code
        assert "cohort='dev'" in code


# --- what can be done with it -------------------------------------------------------------------


@pytest.fixture(scope="session")
def workspace(released):
    made = sh("python -m vmmlab.cli.main new --no-input --name Ada ../vmm", released, released)
    assert (made.returncode, made.stderr) == (0, "")
    return released.parent / "vmm"


def test_a_workspace_is_as_one_from_the_whole_kit(course, released, workspace):
    for lab in course.labs.values():
        for file in lab.files:
            assert (workspace / file).read_text() == materials.starter(course, file)
    sheet = "lab1/worksheet.ipynb"
    assert (workspace / sheet).read_bytes() == (released / "labs" / sheet).read_bytes()
    source = prebuilt.folder_of(course)
    assert not source.exists(), "the kit makes its own"
    assert (workspace / "standin" / "lab3.o").read_bytes()[:4] == b"\x7fELF"
    assert (workspace / "standin" / "i386" / "lab3.o").is_file()
    assert (workspace / "standin" / "dev2" / "lab3.o").is_file()


def test_a_student_earns_nothing_with_the_starter_and_all_with_a_solution(
    course, released, workspace, tmp_path
):
    here = Path(shutil.copytree(workspace, tmp_path / "vmm", symlinks=True))
    vmmlab = "python -m vmmlab.cli.main"
    make = f"make VMMLAB='{vmmlab}'"
    first = sh(f"{make} lab3 && pytest lab3", here, released)
    assert "lab3  0/40 points" in first.stdout, first.stdout + first.stderr
    assert "TODO(lab3.1)" in first.stdout
    assert "hidden checks: 5 more points, judged elsewhere" in first.stdout
    for name, text in reference(course, ["lab3"]).files.items():
        (here / name).write_bytes(text)
    full = sh(f"{make} lab3 && pytest lab3", here, released)
    assert (full.returncode, "lab3  40/40 points" in full.stdout) == (0, True), full.stdout
    graded = sh(f"{vmmlab} grade lab3 --submission .", here, released)
    assert (graded.returncode, graded.stdout.count("40/40")) == (0, 1), graded.stderr
    hidden = sh(f"{vmmlab} grade lab3 --submission . --hidden", here, released)
    assert hidden.returncode == 2
    assert "no hidden checks for lab3" in hidden.stderr
    booted = sh(f"{vmmlab} run lab4", here, released)
    assert "TODO(lab4.1)" in booted.stdout, booted.stderr


@pytest.mark.full
def test_a_submission_can_be_graded_outside_of_a_workspace(course, released, tmp_path):
    for lab in course.labs:
        for name, text in reference(course, [lab]).files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(text)
    labs = [lab.name for lab in course.labs.values() if lab.files]
    line = f"python -m vmmlab.cli.main grade --submission {tmp_path} --no-sandbox"
    done = sh(f"{line} {' '.join(labs)}", released, released, len(labs))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("All points") == len(labs)
    arch = sh(f"{line} lab2 lab3 --arch i386", released, released, 2)
    assert arch.returncode == 0, arch.stdout + arch.stderr


@pytest.mark.full
def test_in_japanese(course, released, tmp_path):
    line = f"python -m vmmlab.cli.main new --no-input --lang ja {tmp_path / 'vmm'}"
    done = sh(line, released, released)
    assert done.returncode == 0, done.stderr
    for lab in course.labs.values():
        for file in lab.files:
            assert (tmp_path / "vmm" / file).read_text() == materials.starter(course, file, "ja")


def test_what_a_release_cannot_do_is_said(released, tmp_path):
    other = sh(
        f"python -m vmmlab.cli.main new --no-input --cohort spring {tmp_path / 'vmm'}",
        released,
        released,
    )
    assert other.returncode == 2
    assert "this release is not for the cohort 'spring'" in other.stderr
    assert "one of dev" in other.stderr
    assert not (tmp_path / "vmm").exists()
    again = sh(f"python -m vmmlab.cli.main release {tmp_path / 'kit'}", released, released)
    assert again.returncode == 2
    assert "no reference solutions" in again.stderr
    solution = sh("python -m vmmlab.cli.main grade lab3 --submission reference", released, released)
    assert solution.returncode == 2
    assert "a released kit contains no solutions" in solution.stderr
    assert sh("make lab3", released, released).returncode == 2


def test_a_folder_in_use_is_left_alone(course, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UsageError, match="in use"):
        release(course, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.full
@pytest.mark.parametrize("name", ["a b", "", "a/b"])
def test_what_is_no_name_of_a_cohort_is_refused_by_name(course, tmp_path, name):
    with pytest.raises(UsageError) as caught:
        release(course, tmp_path / "kit", [name], book=False)
    assert f"{name!r} cannot be a cohort's name" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_for_several_cohorts(course, tmp_path):
    made = release(course, tmp_path / "kit", ["autumn", "spring"])
    assert load_course(made.folder).cohort == "autumn"
    assert "several" in " ".join(map(str, made.notes))
    for cohort in ("autumn", "spring"):
        line = f"python -m vmmlab.cli.main new --no-input --cohort {cohort} {tmp_path / cohort}"
        assert sh(line, made.folder, made.folder).returncode == 0
        here = tmp_path / cohort
        for name, text in reference(course, ["lab2"]).files.items():
            (here / name).write_bytes(text)
        done = sh("pytest lab2", here, made.folder)
        assert "lab2  20/20 points" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "name", ["2026", "007", "1e3", "0x10", "true", "null", "2026-10-01", "no", "spring", "a: b"]
)
def test_a_name_of_a_cohort_stays_text(name: str) -> None:
    """YAML reads some names as numbers, dates or nothing."""
    from ruamel.yaml import YAML

    made = course_text(load_course(ROOT), name)
    assert YAML(typ="safe").load(made)["cohort"] == name
