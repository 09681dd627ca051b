"""A run for one architecture: only its checks are there."""

from __future__ import annotations

import pytest

from vmmlab.base.errors import CourseError, UsageError

BODY = """
    @check("lab3.long.mode", S)
    def long(boot):
        '''In long mode.'''

    @check("lab3.i386.paging", parking(name="paging"), arch="i386")
    def paging(boot):
        '''With paging.'''
        fail("no-paging")

    @check("lab3.i386.entry", S, after="lab3.i386.paging", arch="i386")
    def entry(boot):
        '''At ap_entry.'''
"""
POINTS = {"lab3.long.mode": 1, "lab3.i386.paging": 2, "lab3.i386.entry": 3}


@pytest.fixture
def both(kit):
    kit.write(BODY, POINTS)
    path = kit.root / "course.yml"
    lines = []
    for line in path.read_text().splitlines():
        if "lab3.i386." in line:
            line = line.replace("}", ", arch: i386}")
        lines.append(line.replace("points: 6", "points: 1\n    points_i386: 5"))
    path.write_text("\n".join(lines) + "\n")
    return kit


def test_only_the_checks_of_that_architecture_run(both, checks_of):
    report = both.grade(arch="i386")
    assert list(checks_of(report)) == ["i386.paging", "i386.entry"]
    assert (report.arch, report.points, report.max) == ("i386", 0, 5)
    assert not report.partial_run
    assert both.runner.request.arch == "i386"
    assert checks_of(report)["i386.entry"].waited_for == "lab3.i386.paging"
    assert checks_of(report)["i386.paging"].again.endswith("--arch i386 -k lab3.i386.paging")


def test_without_a_word_it_is_x86_64(both, checks_of):
    report = both.grade()
    assert list(checks_of(report)) == ["long.mode"]
    assert (report.arch, report.points, report.max) == ("x86_64", 1, 1)
    assert not report.partial_run
    assert {one.name for one in both.runner.prepared} == {"ladder"}, "nothing of i386 is booted"


def test_a_check_of_the_other_architecture_cannot_be_selected(both):
    with pytest.raises(UsageError, match="no check of lab3 matches") as caught:
        both.grade(select="paging")
    assert "lab3.long.mode" in str(caught.value)
    assert "i386" not in str(caught.value)


def test_a_lab_without_checks_for_it(kit):
    kit.write(BODY, POINTS)
    with pytest.raises(UsageError, match="lab3 is not graded for i386"):
        kit.grade(arch="i386")


def test_a_need_must_be_of_the_same_architecture(both):
    path = both.tests / "test_lab3.py"
    path.write_text(path.read_text().replace('after="lab3.i386.paging"', 'after="lab3.long.mode"'))
    with pytest.raises(CourseError, match=r"lab3\.i386\.entry for i386 is after"):
        both.grade(arch="i386")


STACKED = """
    @check("lab3.long.mode", S)
    @check("lab3.i386.paging", S, arch="i386")
    def paging(boot):
        '''With paging.'''
        fail("no-paging")

    @check("lab3.i386.entry", parking(name="entry"), after="lab3.i386.paging", arch="i386")
    def entry(boot):
        '''At ap_entry.'''
"""


@pytest.mark.parametrize(
    ("arch", "found"),
    [
        ("x86_64", {"long.mode": ("fail", None)}),
        ("i386", {"i386.paging": ("fail", None), "i386.entry": ("skipped", "lab3.i386.paging")}),
    ],
)
def test_one_function_is_a_check_for_each_architecture(both, checks_of, arch, found):
    both.write_tests(STACKED)
    checks = checks_of(both.grade(arch=arch))
    assert {name: (one.outcome, one.waited_for) for name, one in checks.items()} == found
    assert both.runner.observed == ["ladder"]
    for one in checks.values():
        assert str(one.title) == ("At ap_entry." if "entry" in one.id else "With paging.")


@pytest.mark.parametrize("select", ["paging", "lab3.i386.paging"])
def test_a_function_with_two_checks_is_selected_by_its_name_and_by_the_id(both, checks_of, select):
    both.write_tests(STACKED)
    assert list(checks_of(both.grade(arch="i386", select=select))) == ["i386.paging"]


def test_a_check_for_both_architectures_is_one_for_that_of_course_yml(both, checks_of):
    path = both.tests / "test_lab3.py"
    path.write_text(path.read_text().replace('arch="i386"', 'arch=("x86_64", "i386")'))
    assert list(checks_of(both.grade(arch="i386"))) == ["i386.paging", "i386.entry"]
