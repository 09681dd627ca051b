"""Cases of a check, and the share of its points that it earns."""

from __future__ import annotations

from dataclasses import replace

import pytest


def test_points_are_the_share_of_cases_that_passed(kit):
    kit.write(
        """
        def cpus(boot):
            for cpu in range(1, 4):
                yield f"CPU {cpu}", cpu

        @check("lab3.a.one", S, per=cpus)
        def one(boot, cpu):
            '''One.'''
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
    assert [(str(case.name), case.outcome, str(case.message)) for case in one.cases] == [
        ("CPU 1", "fail", "CPU 1: lost at 1"),
        ("CPU 2", "pass", ""),
        ("CPU 3", "fail", "CPU 3: lost at 3"),
    ]


AB = """
        def both(boot):
            yield "a", 1
            yield "b", 2
"""


def test_all_cases_pass_and_none_passes(kit):
    kit.write(
        AB
        + """
        @check("lab3.a.one", S, per=both)
        def one(boot, number):
            '''One.'''

        @check("lab3.a.two", S, per=both)
        def two(boot, number):
            '''Two.'''
            if number == 1:
                fail("late", timeout=True)
            fail("no")
        """,
        {"lab3.a.one": 3, "lab3.a.two": 3},
    )
    one, two = kit.grade().checks
    assert (one.outcome, one.points) == ("pass", 3)
    assert (two.outcome, two.points) == ("timeout", 0)
    assert [case.outcome for case in two.cases] == ["timeout", "fail"]


def test_a_failure_in_the_function_that_gives_the_cases_fails_the_whole_check(kit):
    kit.write(
        """
        def both(boot):
            yield "a", 1
            fail("no")

        @check("lab3.a.one", S, per=both)
        def one(boot, number):
            '''One.'''
        """,
        {"lab3.a.one": 3},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points, one.cause) == ("fail", 0, "no")
    assert one.cases == ()


def test_a_check_without_a_single_case_is_the_authors_mistake_and_no_pass(kit):
    kit.write(
        """
        @check("lab3.a.one", S, per=lambda boot: [])
        def one(boot, number):
            '''Every AP.'''
        """,
        {"lab3.a.one": 3},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("infra-error", None)
    assert "none was judged" in one.infra


@pytest.mark.parametrize("given", ["3", "'CPU 1'", "('CPU 1',)", "None"])
def test_what_is_no_case_is_the_authors_mistake(kit, given):
    kit.write(
        f"""
        @check("lab3.a.one", S, per=lambda boot: [{given}])
        def one(boot, number):
            '''Every AP.'''
        """,
        {"lab3.a.one": 3},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("infra-error", None)
    assert f"`per` gives {given}" in one.infra


def test_a_mistake_inside_a_case(kit):
    kit.write(
        AB
        + """
        @check("lab3.a.one", S, per=both)
        def one(boot, number):
            '''One.'''
            1 / (2 - number)
        """,
        {"lab3.a.one": 3},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("infra-error", None)


def test_a_boot_is_a_case(kit, sample):
    kit.write(
        """
        @check("lab3.a.one", S, parking(name="late", cpus=2), per="boot")
        def one(boot):
            '''One.'''
            if boot.seed == 2:
                fail("no")
        """,
        {"lab3.a.one": 3},
    )
    kit.runner.answers = {
        "ladder": replace(sample, scenario="ladder", seed=1),
        "late": replace(sample, scenario="late", seed=2),
    }
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("partial", 1.5)
    assert [(str(case.name), case.outcome) for case in one.cases] == [
        ("4 CPUs", "pass"),
        ("2 CPUs", "fail"),
    ]
