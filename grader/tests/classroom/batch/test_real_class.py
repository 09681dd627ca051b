"""Batches that really build and boot: `vmmlab batch` and `vmmlab grade` agree."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import made_up
import nbformat
import psutil
import pytest

from vmmlab.classroom.batch import record
from vmmlab.classroom.students import sources
from vmmlab.course.load import load_course
from vmmlab.course.markup import starter_text
from vmmlab.course.reference import reference
from vmmlab.host.sandbox import Sandbox
from vmmlab.report.model import read_json

LAB = "lab1"
STUB = "# YOUR CODE HERE"
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)\n### END SOLUTION", re.DOTALL)
CLASS, *CLASS_LABS = os.environ.get("VMMLAB_CLASS", f"40 {LAB}").split()
"""The larger class: how many students, and their labs, such as VMMLAB_CLASS="600 lab1 lab3"."""

pytestmark = pytest.mark.skipif(
    Sandbox.choose(require=False).kind == "none", reason="foreign code needs a sandbox"
)


def vmmlab(*words: object, code: int = 0, folder: Path | None = None) -> str:
    program = Path(sys.executable).with_name("vmmlab")
    done = subprocess.run(
        [program, *map(str, words), "--course", made_up.ROOT],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def records(out: Path) -> dict[str, record.Record]:
    found = [record.read(path) for path in (out / "records").glob("*/*.json")]
    return {one.student: one for one in found}


@pytest.mark.slow
def test_a_small_class_from_an_archive(tmp_path: Path) -> None:
    course = load_course(made_up.ROOT)
    right = reference(course, [LAB]).files
    archive = tmp_path / "class.zip"
    with zipfile.ZipFile(archive, "w") as box:
        for name, data in right.items():
            starter = starter_text(data.decode(), path=name).encode()
            box.writestr(f"right/{name}", data)
            box.writestr(f"starter/{name}", starter)
            box.writestr(f"broken/{name}", "int (")
        box.writestr("山田 太郎/lab1/notes.txt", "nothing")
    out = tmp_path / "out"
    said = vmmlab("batch", archive, "--out", out, "--labs", LAB, "-j", 2)
    assert "3 graded, 1 could not be graded" in said
    found = records(out)
    lab = course.lab(LAB)
    assert (found["right"].points, found["right"].hidden_points) == (lab.points, lab.hidden_points)
    assert found["starter"].points == found["broken"].points == 0
    assert found["broken"].verdict == "graded"
    assert sorted(one.verdict for one in found.values()) == ["graded"] * 3 + ["ungradable"]
    assert found["right"].tools_s > 0
    assert found["right"].host.sandbox.startswith("bwrap")
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert json.loads((out / "intake.json").read_bytes())["submissions"]
    assert len(sources([out / "reports"])) == 4  # as the gradebook and the exports read them

    text = (out / "reports" / "right" / f"{LAB}.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert str(made_up.ROOT) not in text
    alone = tmp_path / "alone.json"
    words = ("grade", LAB, "--submission", out / "submissions" / "right", "--json", alone)
    vmmlab(*words, "--hidden")
    one, other = read_json(alone), read_json(out / "reports" / "right" / f"{LAB}.json")
    assert one.seed == other.seed
    assert [(c.id, c.outcome, c.points) for c in one.checks] == [
        (c.id, c.outcome, c.points) for c in other.checks
    ]
    assert "0 of them graded now" in _page(archive, out, "--resume")


def _page(archive: Path, out: Path, *words: str) -> str:
    vmmlab("batch", archive, "--out", out, "--labs", LAB, "-j", 2, *words)
    return (out / "index.html").read_text(encoding="utf-8")


def killing_workers(words: tuple[object, ...], out: Path, every: int) -> tuple[str, int]:
    """Run a batch, and kill a worker or a process of one after every so many results."""
    draw = random.Random(1)
    program = Path(sys.executable).with_name("vmmlab")
    process = subprocess.Popen(
        [program, *map(str, (*words, "--out", out)), "--course", made_up.ROOT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    killed, next_at = 0, every
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
        if len(list((out / "records").glob("*/*.json"))) >= next_at:
            next_at += every
            below = psutil.Process(process.pid).children(recursive=True)
            with contextlib.suppress(psutil.Error):
                draw.choice([one for one in below if "python" in one.name()]).kill()
                killed += 1
    assert process.stdout is not None
    return process.stdout.read(), killed


@pytest.mark.full
def test_a_larger_class_twice(tmp_path: Path) -> None:
    """No verdict differs although workers die; what is right has all points, garbage has none."""
    kinds = made_up.make(tmp_path / "class", int(CLASS), CLASS_LABS)
    words = ("batch", tmp_path / "class", "--labs", ",".join(CLASS_LABS), "-j", 2, "--no-html")
    vmmlab(*words, "--out", tmp_path / "one", code=3)  # a person must look at some garbage
    more = (*words, "--compare", tmp_path / "one")
    said, killed = killing_workers(more, tmp_path / "two", every=7)
    assert killed >= int(CLASS) // 10
    assert "changed since that batch: 0" in said
    for student, one in records(tmp_path / "two").items():
        kind = kinds.get(one.name, kinds.get(student))
        if kind == "right":
            assert one.points == one.max, student
        if kind == "starter":
            assert one.points == 0, student
        if one.verdict == "attention":
            assert kind == "garbage", student
        if kind in ("attack", "garbage"):
            assert not one.points, student


# --- labs and worksheets together ----------------------------------------------------------------

ROSTER = """\
id,last_name,first_name
s1,Lovelace,Ada
s2,山田,太郎
s3,"O'Neil, Jr.",Ben
s4,佐藤,花子
"""


def worksheet_of(released: Path, right: bool) -> str:
    """Return a students' worksheet of lab 0, with the answers of the kit or without any."""
    whole = nbformat.read(made_up.ROOT / "labs" / "lab0" / "worksheet.ipynb", as_version=4)
    answers = {
        cell.metadata.nbgrader.grade_id: SOLUTION.search(cell.source + "\n")
        for cell in whole.cells
        if "nbgrader" in cell.metadata
    }
    sheet = nbformat.read(released, as_version=4)
    for cell in sheet.cells:
        found = answers.get(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
        if right and found is not None:
            cell.source = cell.source.replace(STUB, found[1])
    return nbformat.writes(sheet)


@pytest.mark.full
def test_labs_and_worksheets_into_one_gradebook(tmp_path: Path) -> None:
    """One command grades both; what cannot be graded is in the gradebook and in the summary."""
    pytest.importorskip("nbgrader")
    book, out, handed_in = tmp_path / "vmm-course", tmp_path / "out", tmp_path / "class"
    (tmp_path / "students.csv").write_text(ROSTER, encoding="utf-8")
    roster = ("--roster", tmp_path / "students.csv")
    vmmlab("gradebook", "init", book, "--labs", "lab0", *roster)
    released = book / "release" / "lab0" / "worksheet.ipynb"
    right = reference(load_course(made_up.ROOT), [LAB]).files
    files: dict[str, bytes] = {f"s1/{name}": data for name, data in right.items()}
    files["s1/lab0/worksheet.ipynb"] = worksheet_of(released, True).encode()
    files["山田 太郎/lab0/worksheet.ipynb"] = worksheet_of(released, False).encode()
    files["s3/lab0/worksheet.ipynb"] = b"{not json"
    files["s3/lab1/vmm_main.c"] = right["lab1/vmm_main.c"]
    for name, data in files.items():
        (handed_in / name).parent.mkdir(parents=True, exist_ok=True)
        (handed_in / name).write_bytes(data)
    words = ("batch", handed_in, "--out", out, *roster, "--no-html", "-j", 2)
    words = (*words, "--worksheets", "--nbgrader", book)
    said = vmmlab(*words)
    assert "s1  lab0  12/15 points" in said
    assert "s3  lab0  not graded: NotJSONError" in said
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "12/15" in page
    assert "山田 太郎" in page
    assert "NotJSONError" in page
    with (out / "worksheets.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert rows["s1"]["points"] == "12"
    assert rows["s3"]["points"] == ""
    assert 0 <= float(rows["s2"]["points"]) < 12

    again = vmmlab(*words, "--resume")
    assert "s1  lab0  already graded" in again
    assert "12/15" in (out / "index.html").read_text(encoding="utf-8")

    synced = vmmlab("gradebook", "sync", out / "reports", "--nbgrader", book, *roster)
    assert "2 changed, 0 the same, 0 refused" in synced
    assert f"{LAB}: nothing was handed in, so no grade: s2, s4" in synced
    csv_file = tmp_path / "grades.csv"
    program = Path(sys.executable).with_name("vmmlab")
    subprocess.run(
        [program, "gradebook", "export", csv_file, "--nbgrader", book],
        check=True,
        capture_output=True,
    )
    with csv_file.open(newline="", encoding="utf-8") as file:
        grades = {row["student_id"]: row for row in csv.DictReader(file)}
    assert float(grades["s1"]["lab1-checks"]) > 0
    assert grades["s4"]["lab1-checks"] == ""  # nothing was handed in
    assert grades["s4"]["lab0"] == ""
    assert grades["s3"]["last_name"] == "O'Neil, Jr."
    said = vmmlab("gradebook", "feedback", f"{LAB}-checks", "--nbgrader", book)
    assert f"s3  {LAB}-checks  {LAB}.html report.html" in said
    assert "s4" not in said
    appeal = vmmlab(*words, "--only", "山田太郎", "--seed", "5")
    assert "s2  lab0" in appeal
    assert "s1  lab0" not in appeal
