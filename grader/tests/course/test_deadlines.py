"""The key `deadlines` of course.yml: forms of a time, mistakes, and what a release keeps."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from vmmlab.author.release.coursefile import course_text
from vmmlab.base.errors import CourseError
from vmmlab.course.load import load_course
from vmmlab.course.model import Course

HEAD = """\
schema: 1
title: A course
labs:
  lab0: {title: Look around}
  lab1: {title: More}
"""
DEADLINES = """\
deadlines:
  zone: Asia/Tokyo
  free_days: 3
  late: {per_day: 10, at_most: 50, days: 7, grace_minutes: 15}
  labs:
    lab0:
      due: 2026-11-22 23:59
    lab1:
      due: 2026-12-06  # all day
      late: {per_day: 100}
  # who was ill
  extensions:
    - student: s1234567
      lab: lab0
      due: 2026-11-29T23:59:00
    - student: s7654321
      lab: lab1
      due: 2026-12-13
"""


def read(tmp_path: Path, text: str) -> Course:
    (tmp_path / "course.yml").write_text(text, encoding="utf-8")
    return load_course(tmp_path)


def test_three_forms_of_a_time(tmp_path: Path) -> None:
    found = read(tmp_path, HEAD + DEADLINES).deadlines
    assert found is not None
    assert found.labs["lab0"].due == datetime(2026, 11, 22, 23, 59)
    assert found.labs["lab1"].due == datetime(2026, 12, 6, 23, 59, 59, 999_999)
    assert [one.due.day for one in found.extensions] == [29, 13]
    assert (found.late.per_day, found.late.of, found.free_days) == (10, "earned", 3)


def test_a_course_without_deadlines(tmp_path: Path) -> None:
    assert read(tmp_path, HEAD).deadlines is None


@pytest.mark.parametrize(
    ("was", "wrong", "key", "said"),
    [
        ("2026-11-22 23:59", "22.11.2026", "lab0 > due", "without a zone"),
        ("2026-11-22 23:59", "2026-11-22T23:59:00+09:00", "lab0 > due", "without a zone"),
        ("2026-11-22 23:59", "2026-02-30 10:00", "lab0 > due", "without a zone"),
        ("Asia/Tokyo", "JST-9", "zone", "Asia/Tokyo or Europe/Berlin"),
        ("Asia/Tokyo", "../../etc/passwd", "zone", "Asia/Tokyo or Europe/Berlin"),
        ("    lab0:\n", "    lab7:\n", "labs > lab7", "one of lab0, lab1"),
        ("lab: lab0", "lab: lab7", "extensions > 0 > lab", "one of lab0, lab1"),
        ("at_most: 50", "at_most: 101", "late > at_most", "at most 100"),
        ("free_days: 3", "free_day: 3", "free_day", "did you mean free_days?"),
        ("at_most: 50", "atmost: 50", "late > atmost", "did you mean at_most?"),
        ("student: s1234567", "studnet: s1234567", "studnet", "did you mean student?"),
        ("due: 2026-12-06", "doe: 2026-12-06", "lab1 > doe", "did you mean due?"),
    ],
)
def test_mistakes(tmp_path: Path, was: str, wrong: str, key: str, said: str) -> None:
    assert was in DEADLINES
    with pytest.raises(CourseError) as caught:
        read(tmp_path, HEAD + DEADLINES.replace(was, wrong, 1))
    assert f"{key}: " in str(caught.value)
    assert said in str(caught.value)
    assert "course.yml:" in str(caught.value)


def test_an_extension_for_a_lab_without_a_deadline(tmp_path: Path) -> None:
    text = DEADLINES.replace("    lab0:\n      due: 2026-11-22 23:59\n", "")
    with pytest.raises(CourseError, match="this lab has no deadline"):
        read(tmp_path, HEAD + text)


def test_a_release_names_no_student(tmp_path: Path) -> None:
    course = read(tmp_path, HEAD + DEADLINES)
    made = course_text(course, "dev")
    assert "s1234567" not in made
    assert "s7654321" not in made
    (tmp_path / "release").mkdir()
    released = read(tmp_path / "release", made).deadlines
    assert course.deadlines is not None
    assert released == course.deadlines.model_copy(update={"extensions": []})


def test_extensions_that_cannot_be_cut_stop_a_release(tmp_path: Path) -> None:
    text = HEAD + "deadlines: {labs: {lab0: {due: 2026-11-22}}, extensions: [{student: s1, "
    course = read(tmp_path, text + "lab: lab0, due: 2026-11-29}]}\n")
    with pytest.raises(CourseError, match="cannot be left out"):
        course_text(course, "dev")


@pytest.mark.parametrize("page", ["instructor.md", "instructor.ja.md"])
def test_the_sample_in_the_guide(tmp_path: Path, page: str) -> None:
    root = Path(__file__).resolve().parents[3]
    text = (root / "docs" / page).read_text(encoding="utf-8")
    sample = text.partition("```yaml\ndeadlines:\n")[2].partition("```")[0]
    labs = HEAD.replace("lab0", "lab3").replace("lab1", "lab4")
    found = read(tmp_path, f"{labs}deadlines:\n{sample}").deadlines
    assert found is not None
    assert (found.late.per_day, found.free_days, found.zone) == (10, 3, "Asia/Tokyo")
    assert found.labs["lab4"].late is not None
    assert found.extensions[0].due == datetime(2026, 11, 29, 23, 59)
