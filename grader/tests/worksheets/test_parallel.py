"""Worksheets graded by several processes, which take turns at one gradebook."""

from __future__ import annotations

import multiprocessing
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("nbgrader")

from test_nbgrader import CONFIG, release, scores, solutions, submit

from vmmlab.classroom.gradebook import parallel, worksheets
from vmmlab.classroom.gradebook.worksheets import Graded
from vmmlab.classroom.intake import Submission
from vmmlab.host import bubblewrap
from vmmlab.worksheet import turns

FORK = multiprocessing.get_context("fork")
STUDENTS = [f"s{number}" for number in range(8)]


def _in_turn(folder: Path, lab: str, again: bool, sandbox: bool, student: str) -> Graded:
    """Use the gradebook twice; in between another one may."""
    with turns.taken(folder):
        (folder / "gradebook").mkdir()  # nobody else is there
        (folder / "gradebook").rmdir()
        with turns.given_up():
            (folder / f"ran-{student}").touch()
        (folder / "gradebook").mkdir()
        (folder / "gradebook").rmdir()
    return Graded(student, points=1.0)


def _at_will(folder: Path, lab: str, again: bool, sandbox: bool, student: str) -> Graded:
    if student == "s1":
        os.kill(os.getpid(), signal.SIGKILL)
    return Graded(student)


def test_the_gradebook_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    found = parallel.grade(tmp_path, "lab1", STUDENTS, jobs=3, one=_in_turn)
    assert [(one.student, one.points) for one in found] == [(name, 1.0) for name in STUDENTS]
    assert len(list(tmp_path.glob("ran-*"))) == len(STUDENTS)


def _waits(folder: Path, ready: object, go: object) -> None:
    with turns.taken(folder):
        ready.set()
        go.wait()
        (folder / "given-up").touch()
        go.clear()
        with turns.given_up():
            go.wait()


def test_while_a_notebook_runs_another_one_has_its_turn(tmp_path: Path) -> None:
    ready, go = FORK.Event(), FORK.Event()
    other = FORK.Process(target=_waits, args=(tmp_path, ready, go))
    other.start()
    ready.wait()
    assert not (tmp_path / "given-up").exists()
    go.set()
    with turns.taken(tmp_path):  # as soon as the other one gives it up
        assert (tmp_path / "given-up").exists()
    go.set()
    while other.exitcode is None:
        go.set()
        other.join(0.05)
    assert other.exitcode == 0


def test_a_process_that_dies_is_told_of(tmp_path: Path) -> None:
    found = {
        one.student: one for one in parallel.grade(tmp_path, "x", STUDENTS, jobs=2, one=_at_will)
    }
    assert found["s1"].exit_code == 3
    assert "died" in str(found["s1"].problem)
    assert len(found) == len(STUDENTS)
    assert parallel.grade(tmp_path, "x", [], jobs=2, one=_at_will) == []


def test_what_a_batch_took_in_is_handed_over_once(tmp_path: Path) -> None:
    sheet = tmp_path / "ada" / "lab1" / "worksheet.ipynb"
    sheet.parent.mkdir(parents=True)
    sheet.write_text("{}")
    ada = Submission.model_construct(
        student="ada",
        folder=tmp_path / "ada",
        worksheets=("lab1",),
        received={"lab1": datetime(2026, 11, 29, 4, 5, 6, tzinfo=UTC)},
    )
    bob = Submission.model_construct(student="bob", folder=tmp_path / "bob", worksheets=())
    book = tmp_path / "book"
    assert parallel.hand_over(book, "lab1", [ada, bob]) == ["ada"]
    assert parallel.hand_over(book, "lab1", [ada, bob]) == []
    assert parallel.handed_in(book, "lab1") == ["ada"]
    place = book / "submitted" / "ada" / "lab1"
    assert (place / "timestamp.txt").read_text() == "2026-11-29 04:05:06 +0000"
    (place / "worksheet.ipynb").unlink()
    (place / "worksheet.ipynb").symlink_to(sheet)
    assert parallel.hand_over(book, "lab1", [ada]) == ["ada"]
    assert not (place / "worksheet.ipynb").is_symlink()


@pytest.mark.full
@pytest.mark.skipif(not bubblewrap.examine().works, reason="bubblewrap does not work here")
def test_the_same_points_as_one_after_the_other(tmp_path: Path) -> None:
    course, other = tmp_path / "one", tmp_path / "two"
    for folder in (course, other):
        folder.mkdir()
        (folder / "nbgrader_config.py").write_text(CONFIG)
        released = release(folder, "lab0")
        right = solutions("lab0")
        for number, name in enumerate(STUDENTS[:4]):
            submit(folder, "lab0", name, released, dict(list(right.items())[: number * 2]))
        (folder / "submitted" / "s0" / "lab0" / "worksheet.ipynb").write_text("{")
    alone = worksheets.grade(course, "lab0")
    together = parallel.grade(other, "lab0", parallel.handed_in(other, "lab0"), jobs=3)
    assert [(one.student, one.points, one.exit_code) for one in together] == [
        (one.student, one.points, one.exit_code) for one in alone
    ]
    assert scores(other, "lab0") == scores(course, "lab0")
    assert together[3].points > 0
