"""`pytest --arch i386` in a workspace."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def both(place):
    """lab3 has a check for i386, lab4 has none."""
    path = place.root.parent / "course.yml"
    text = path.read_text()
    text = text.replace("points: 6", "points: 3\n    points_i386: 3", 1)
    text = text.replace("lab3.late.cpu: {", "lab3.late.cpu: {arch: i386, ")
    path.write_text(text)
    path = place.root / "lab3" / "test_lab3.py"
    text = path.read_text()
    path.write_text(text.replace('parking(name="late")', 'parking(name="late"), arch="i386"'))
    return place


def test_only_the_checks_for_it_run(both):
    ran = both.pytest("--arch", "i386")
    assert ran.code == 0, ran.out
    assert ran.last == "1 passed"
    assert "cohort dev, i386" in ran.out
    assert "lab3  3/3 points" in ran.out
    assert not re.search(r"^lab4  ", ran.out, re.MULTILINE)
    assert "boot late" in ran.log
    assert "boot ladder" not in ran.log


def test_without_it_nothing_changes(both):
    ran = both.pytest("lab3")
    assert ran.last == "2 passed"
    assert "boot late" not in ran.log


def test_again_names_it(both):
    both.student("lab3", "break the check")
    ran = both.pytest("lab3", "--arch", "i386")
    assert ran.code == 3, ran.out
    both.student("lab3", "")
    path = both.root / "lab3" / "test_lab3.py"
    path.write_text(path.read_text().replace('if "break the check" in boot:', 'fail("late")'))
    path.write_text(path.read_text().replace('raise KeyError("mistake of the author")', ""))
    ran = both.pytest("lab3", "--arch", "i386")
    assert "again     pytest lab3 --arch i386 -k lab3.late.cpu" in ran.out


def test_a_lab_without_checks_for_it(both):
    ran = both.pytest("lab4", "--arch", "i386")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "lab4 is not graded for i386" in ran.out
    assert "one of lab3" in ran.out


def test_an_architecture_that_does_not_exist(both):
    ran = both.pytest("--arch", "pdp11")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "no architecture 'pdp11'" in ran.out
