"""Sub-scores: cases, parameters, both together."""

from __future__ import annotations

import pytest
from vmmlab.checks.model import CheckMistake

from vmmlab.checks import Score, fail


def test_points_are_the_share_of_cases_that_passed(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def test_one(boot, score):
            '''One.'''
            for cpu in range(1, 4):
                with score.case(f"CPU {cpu}"):
                    if cpu != 2:
                        fail("lost", cpu=cpu, observed=f"lost\\nat {cpu}")
        """,
        {"lab3.a.one": 10},
    )
    report = kit.grade()
    (one,) = report.checks
    assert (one.outcome, one.points) == ("partial", 3.33), "rounded down"
    assert report.points == 3.33
    assert (one.cause, one.cpu) == ("lost", 1), "the first case that failed leads"
    assert [(case.name, case.outcome, str(case.message)) for case in one.cases] == [
        ("CPU 1", "fail", "CPU 1: lost at 1"),
        ("CPU 2", "pass", ""),
        ("CPU 3", "fail", "CPU 3: lost at 3"),
    ]


def test_all_cases_pass_and_none_passes(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def test_one(boot, score):
            '''One.'''
            with score.case("a"): pass
            with score.case("b"): pass

        @check("lab3.a.two", S)
        def test_two(boot, score):
            '''Two.'''
            with score.case("a"): fail("late", timeout=True)
            with score.case("b"): fail("no")
        """,
        {"lab3.a.one": 3, "lab3.a.two": 3},
    )
    one, two = kit.grade().checks
    assert (one.outcome, one.points) == ("pass", 3)
    assert (two.outcome, two.points) == ("timeout", 0)
    assert [case.outcome for case in two.cases] == ["timeout", "fail"]


def test_fail_outside_a_case_fails_the_whole_check(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def test_one(boot, score):
            '''One.'''
            with score.case("a"): pass
            fail("no")
        """,
        {"lab3.a.one": 3},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points, one.cause) == ("fail", 0, "no")


def test_a_score_without_cases_is_the_authors_mistake_and_no_pass(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def test_one(boot, score):
            '''Every AP.'''
            for cpu in []:
                with score.case("never"): pass
        """,
        {"lab3.a.one": 3},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("infra-error", None)
    assert "opened no case" in one.infra


def test_a_mistake_inside_a_case(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def test_one(boot, score):
            '''One.'''
            with score.case("a"): pass
            with score.case("b"): 1 / 0
        """,
        {"lab3.a.one": 3},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("infra-error", None)


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
    assert [(case.name, case.outcome) for case in one.cases] == [
        ("1", "pass"),
        ("2", "pass"),
        ("3", "fail"),
        ("4", "pass"),
    ]


def test_parametrize_and_score_together(kit):
    kit.write(
        """
        import pytest

        @check("lab3.a.one", S)
        @pytest.mark.parametrize("n", [1, 2])
        def test_one(boot, score, n):
            '''One.'''
            for m in range(n):
                with score.case(f"m{m}"):
                    if m == 1:
                        fail("no")
        """,
        {"lab3.a.one": 8},
    )
    (one,) = kit.grade().checks
    assert one.points == 6, "each parameter set has the same weight"
    assert [case.name for case in one.cases] == ["1, m0", "2, m0", "2, m1"]


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

        @check("lab3.a.two", S, needs=["lab3.a.one"])
        def test_two(boot):
            '''Two.'''
        """,
        {"lab3.a.one": 8, "lab3.a.two": 1},
    )
    assert [check.outcome for check in kit.grade().checks] == ["partial", "skipped"]
    report = kit.grade(select="a.two", runner_factory=type(kit.runner)())
    assert [check.points for check in report.checks] == [4, 0]


def test_a_case_inside_a_case():
    score = Score()
    with pytest.raises(CheckMistake, match="inside case 'a'"), score.case("a"), score.case("b"):
        pass


def test_a_score_counts():
    score = Score()
    with score.case("a"):
        fail("no")
    with score.case("b"):
        pass
    assert score.fraction == 0.5
