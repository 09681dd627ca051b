"""Batches that really build and boot: `vmmlab batch` and `vmmlab grade` agree."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import made_up
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
CLASS = 40

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
    kinds = made_up.make(tmp_path / "class", CLASS, [LAB])
    words = ("batch", tmp_path / "class", "--labs", LAB, "-j", 2, "--no-html")
    vmmlab(*words, "--out", tmp_path / "one", code=3)  # a person must look at some garbage
    more = (*words, "--compare", tmp_path / "one")
    said, killed = killing_workers(more, tmp_path / "two", every=7)
    assert killed >= CLASS // 10
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
