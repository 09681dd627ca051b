"""Worksheets in the real nbgrader, in a new course folder: release, check, grade."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from sheet import LABS, SOLUTION, cells, notebook, play, role_of
from test_questions import literals

from vmmlab.worksheet.autograde import STUB

pytestmark = pytest.mark.slow

CONFIG = """\
from vmmlab.worksheet.autograde import configure

c = get_config()
c.CourseDirectory.course_id = "vmm"
configure(c, cohort="it's 2026")
"""

COHORT = "it's 2026"
PART = "rsp = 1\nlast_byte = block.base + block.size - 1"
"""One of the three answers of lab2-ends is right, one wrong, one missing."""


@pytest.fixture
def course(tmp_path):
    (tmp_path / "nbgrader_config.py").write_text(CONFIG)
    return tmp_path


def nbgrader(course: Path, *arguments: str, **environment: str) -> str:
    """Run a command as an instructor or a student does, and return its output."""
    bin_dir = Path(sys.executable).parent  # nbgrader calls a bare `alembic`
    path = os.pathsep.join([str(bin_dir), os.environ.get("PATH", os.defpath)])
    home = course / "home"
    done = subprocess.run(
        [bin_dir / "nbgrader", *arguments],
        cwd=course,
        env={"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def release(course: Path, lab: str):
    source = course / "source" / lab
    source.mkdir(parents=True)
    nbformat.write(notebook(lab), source / "worksheet.ipynb")
    nbgrader(course, "generate_assignment", lab)
    return nbformat.read(course / "release" / lab / "worksheet.ipynb", as_version=4)


def submit(course: Path, lab: str, student: str, released, answers: dict[str, str]):
    """Hand in the released worksheet with these answers written into it."""
    sheet = nbformat.from_dict(released)
    for cell in sheet.cells:
        question = cell.metadata.get("nbgrader", {}).get("grade_id", "").removesuffix("-answer")
        if question in answers:
            for stub in (STUB, "YOUR ANSWER HERE"):
                cell.source = cell.source.replace(stub, answers[question])
    folder = course / "submitted" / student / lab
    folder.mkdir(parents=True)
    nbformat.write(sheet, folder / "worksheet.ipynb")
    return folder / "worksheet.ipynb"


def scores(course: Path, lab: str) -> dict[str, dict[str, float | None]]:
    """Return the points that were given automatically: student → question → points."""
    from nbgrader.api import Gradebook

    found: dict[str, dict[str, float | None]] = {}
    with Gradebook(f"sqlite:///{course}/gradebook.db", "vmm") as gradebook:
        for submission in gradebook.assignment_submissions(lab):
            points = found.setdefault(submission.student.id, {})
            for sheet in submission.notebooks:
                points |= {one.name: one.auto_score for one in sheet.grades}
    return found


def solutions(lab: str) -> dict[str, str]:
    return {
        question: SOLUTION.search(cell.source + "\n")[0].strip()
        for question, cell in cells(lab, "answer").items()
    }


@pytest.mark.parametrize(
    "lab", [lab if lab == "lab2" else pytest.param(lab, marks=pytest.mark.full) for lab in LABS]
)
def test_released_checked_and_graded(course, lab):
    released = release(course, lab)
    text = "\n".join(cell.source for cell in released.cells)
    assert "HIDDEN" not in text
    assert "SOLUTION" not in text
    assert not hidden_lines(lab) & {line.strip() for line in text.splitlines()}
    by_hand = set(cells(lab, "manual"))  # lab 7 has none
    assert {role_of(c) for c in released.cells if c.metadata.get("nbgrader")} == {
        *("given", "answer", "test", *(["manual"] if by_hand else []))
    }

    right = solutions(lab)
    half = dict(list(right.items())[::2])
    if lab == "lab2":
        half["lab2-ends"] = PART
    words = dict.fromkeys(cells(lab, "manual"), "In my own words.")
    submit(course, lab, "alice", released, {**right, **words})
    submit(course, lab, "bob", released, literals(lab, "alice", COHORT))
    submit(course, lab, "frank", released, literals(lab, "frank", COHORT))
    submit(course, lab, "carol", released, half)
    submit(course, lab, "dave", released, {})
    nbgrader(course, "autograde", lab)
    earned = scores(course, lab)
    full = play(lab).maximum
    assert {name: earned["alice"][name] for name in full} == full
    assert {name: earned["frank"][name] for name in full} == full
    assert {name for name, points in earned["carol"].items() if points} == set(half)
    if lab == "lab2":
        assert earned["carol"]["lab2-ends"] == 1.0
    assert set(earned["dave"].values()) == {0.0}
    copied = play(lab, "bob", literals(lab, "alice", COHORT), cohort=COHORT)
    assert {name: earned["bob"][name] for name in full} == copied.points
    assert sum(earned["bob"][name] for name in full) < 0.2 * sum(full.values())
    # A written answer waits for a reader; a missing one is 0 at once.
    assert {earned["alice"][name] for name in by_hand} == {None}
    assert {earned["carol"][name] for name in by_hand} == {0.0}


def hidden_lines(lab: str) -> set[str]:
    """Return lines that only the instructor may have: of hidden tests and solutions."""
    told: set[str] = set()
    secret: set[str] = set()
    for cell in notebook(lab).cells:
        hidden = False
        for line in cell.source.splitlines():
            if "END HIDDEN" in line or "END SOLUTION" in line:
                hidden = False
            (secret if hidden else told).add(line.strip())
            if "BEGIN HIDDEN" in line or "BEGIN SOLUTION" in line:
                hidden = True
    return {line for line in secret - told if len(line) > 12}


@pytest.mark.full
def test_part_of_an_answer_earns_part_of_the_points(course):
    """Validating tells a student about a wrong form, not about a wrong answer."""
    lab = "lab2"
    released = release(course, lab)
    words = dict.fromkeys(cells(lab, "manual"), "In my own words.")
    wrong = {**solutions(lab), **words, "lab2-ends": PART}
    sheet = submit(course, lab, "erin", released, wrong)
    said = nbgrader(course, "validate", str(sheet), VMMLAB_STUDENT="erin")
    assert "FAILED ON 1 CELL" in said
    assert 'check.number("pushed"' in said
    nbgrader(course, "autograde", lab, "--student", "erin")
    assert scores(course, lab)["erin"]["lab2-ends"] == 1.0

    sheet.write_text(
        sheet.read_text().replace("rsp = 1\\n", "rsp = 1\\npushed = 2\\n"), encoding="utf-8"
    )
    assert "Success" in nbgrader(course, "validate", str(sheet), VMMLAB_STUDENT="erin")
