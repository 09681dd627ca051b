"""Checks that pytest calls itself: with fixtures and parameters."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("above", [True, False])
def test_parametrize_gives_cases(kit, above):
    marks = ['@check("lab3.a.one", S)', '@pytest.mark.parametrize("n", [1, 2, 3, 4])']
    if not above:
        marks.reverse()
    kit.write(
        f"""
        import pytest

        {marks[0]}
        {marks[1]}
        def test_one(boot, n):
            '''One.'''
            if n == 3:
                fail("three", observed="three")
        """,
        {"lab3.a.one": 8},
    )
    report = kit.grade()
    (one,) = report.checks
    assert (one.outcome, one.points, one.cause) == ("partial", 6, "three")
    assert [(str(case.name), case.outcome) for case in one.cases] == [
        ("1", "pass"),
        ("2", "pass"),
        ("3", "fail"),
        ("4", "pass"),
    ]


def test_one_parameter_set_that_cannot_be_judged_leaves_the_check_open(kit):
    kit.write(
        """
        import pytest

        @check("lab3.a.one", S)
        @pytest.mark.parametrize("n", [1, 0])
        def test_one(boot, n):
            '''One.'''
            1 / n
        """,
        {"lab3.a.one": 8},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("infra-error", None)


def test_what_needs_a_parametrized_check_waits_for_all_of_it(kit):
    kit.write(
        """
        import pytest

        @check("lab3.a.one", S)
        @pytest.mark.parametrize("n", [1, 2])
        def test_one(boot, n):
            '''One.'''
            if n == 2:
                fail("no")

        @check("lab3.a.two", S, after="lab3.a.one")
        def test_two(boot):
            '''Two.'''
        """,
        {"lab3.a.one": 8, "lab3.a.two": 1},
    )
    assert [check.outcome for check in kit.grade().checks] == ["partial", "skipped"]
    report = kit.grade(select="a.two", runner_factory=type(kit.runner)())
    assert [check.points for check in report.checks] == [4, 0]


def test_a_fixture_of_the_author_that_breaks_afterwards(kit):
    kit.write(
        """
        import pytest

        @pytest.fixture
        def broken():
            yield
            raise OSError("after")

        @check("lab3.a.one", S)
        def test_one(boot, broken):
            '''One.'''
            fail("no")
        """,
        {"lab3.a.one": 1},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("infra-error", None)
    assert "after" in one.infra


def test_a_fixture_that_does_not_exist_is_the_authors_mistake(kit):
    kit.write(
        "@check('lab3.a.one', S)\ndef test_one(boot, nothing):\n    '''A.'''\n", {"lab3.a.one": 1}
    )
    (one,) = kit.grade().checks
    assert one.outcome == "infra-error"
    assert "nothing" in one.infra
