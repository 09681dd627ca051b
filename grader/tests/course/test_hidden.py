"""course.yml: hidden checks have points of their own, and a release may name none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.course.defined import check_defined
from vmmlab.course.load import load_course
from vmmlab.course.model import Course

TEXT = """\
schema: 1
title: A course
labs:
  lab1:
    title: One
    files:
      lab1/a.c: [a]
    steps:
      - {id: lab1.1, title: write it, file: lab1/a.c, function: a}
    points: 3
    hidden_points: 5
    checks:
      lab1.open.one: {points: 3, step: lab1.1}
    hidden:
      lab1.hidden.one: {points: 4, step: lab1.1}
      lab1.hidden.two: {points: 1, step: lab1.1}
"""


def read(tmp_path: Path, text: str) -> Course:
    (tmp_path / "course.yml").write_text(text, encoding="utf-8")
    return load_course(tmp_path)


def test_their_points_are_no_part_of_the_open_ones(tmp_path: Path) -> None:
    lab = read(tmp_path, TEXT).lab("lab1")
    assert list(lab.checks) == ["lab1.open.one"]
    assert list(lab.hidden) == ["lab1.hidden.one", "lab1.hidden.two"]
    assert (lab.points, lab.points_of("x86_64"), lab.hidden_points) == (3, 3, 5)
    assert (lab.hidden_points_of("x86_64"), lab.hidden_points_of("i386")) == (5, 0)
    assert (lab.hidden_of("x86_64"), dict(lab.hidden_of("i386"))) == (lab.hidden, {})
    assert lab.check_lines["lab1.hidden.two"] == 16


def test_a_release_names_none(tmp_path: Path) -> None:
    lab = read(tmp_path, TEXT.partition("    hidden:\n")[0]).lab("lab1")
    assert (dict(lab.hidden), lab.hidden_points) == ({}, 5)
    check_defined(lab, ["lab1.open.one"], hidden=True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hidden_points: 5", "hidden_points: 6", "hidden_points: the points do not add up"),
        ("    hidden_points: 5\n", "", "the hidden checks of lab1 add up to 5"),
        ("lab1.hidden.two", "lab1.other.two", "belong under `hidden`"),
        ("lab1.open.one", "lab1.hidden.zero", "belong under `hidden`"),
        ("lab1.hidden.two", "lab2.hidden.two", "not a valid id of a check"),
        ("points: 1, step: lab1.1", "points: 1, step: lab1.7", "no such step"),
        ("points: 1, step: lab1.1", "points: 1", "needs the step"),
        ("points: 1, step", "arch: i386, points: 1, step", "hidden checks must be for x86_64"),
        ("points: 1, step", "point: 1, step", "unknown key"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(CourseError, match=said):
        read(tmp_path, TEXT.replace(old, new))


def test_they_must_be_defined_where_they_are_run(tmp_path: Path) -> None:
    lab = read(tmp_path, TEXT).lab("lab1")
    check_defined(lab, ["lab1.open.one"])
    check_defined(lab, ["lab1.open.one", *lab.hidden], hidden=True)
    with pytest.raises(CourseError, match=r"hidden > lab1\.hidden\.two: no test") as caught:
        check_defined(lab, ["lab1.open.one", "lab1.hidden.one"], hidden=True)
    assert "labs/lab1/hidden/" in str(caught.value)
    where = {"lab1.open.one": "a:1", "lab1.hidden.three": "b:2"}
    with pytest.raises(
        CourseError, match=r"b:2: the check lab1\.hidden\.three is not in"
    ) as caught:
        check_defined(lab, where)
    assert "lab1 > hidden > lab1.hidden.three" in str(caught.value)
