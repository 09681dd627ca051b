"""Every way in which a check can end, and what it is worth."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from vmmlab.base.errors import CourseError, InfraError
from vmmlab.course.digest import digests
from vmmlab.grading.request import RunFacts
from vmmlab.report import exit_code

TWO = {"lab3.a.one": 4, "lab3.a.two": 6}


def test_pass(kit, checks_of):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''First line of what
            the student reads.

            Not this.
            '''
            assert boot.cpus == 4

        @check("lab3.a.two", S, after="lab3.a.one")
        def two(boots):
            '''Two.'''
            (boot,) = boots
        """,
        TWO,
    )
    report = kit.grade(notes=["a note"])
    one, two = report.checks
    assert (one.outcome, one.points, one.max) == ("pass", 4, 4)
    assert str(one.title) == "First line of what the student reads."
    assert (two.outcome, two.points) == ("pass", 6)
    assert (report.points, report.max, report.needs_attention) == (10, 10, False)
    assert report.first_step is None
    assert not report.partial_run
    assert tuple(map(str, report.notes)) == ("a note",)
    assert exit_code(report) == 0
    assert kit.runner.observed == ["ladder"], "one boot, however many checks ask"
    assert kit.runner.closed == 1


def test_the_report_says_what_was_graded_when_and_by_which_course(kit, tmp_path):
    body = """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
        """

    def graded(name, points, code=None):
        own = type(kit)(tmp_path / name)
        own.write(body, {"lab3.a.one": points})
        own.files = own.files if code is None else {"lab3/ap_start.c": code}
        return own.grade().audit, digests(own.files)["lab3"]

    began = datetime.now(UTC).replace(microsecond=0)
    first, hashed = graded("first", 4)
    assert began <= datetime.fromisoformat(first.graded_at) <= datetime.now(UTC)
    assert first.files == hashed
    other, hashed = graded("other", 4, b"other")
    assert (other.files, other.course) == (hashed, first.course)
    assert other.files != first.files
    dearer, _ = graded("dearer", 5)
    assert dearer.files == first.files
    assert dearer.course != first.course


def test_fail_carries_what_the_student_needs(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''The far jump.'''
            fail("far-jump-wrong", cpu=2, place="physical 0", expected="E", observed="O", next="N")
        """,
        {"lab3.a.one": 4},
    )
    report = kit.grade(submission="my work/lab")
    (one,) = report.checks
    assert (one.outcome, one.points) == ("fail", 0)
    assert (one.cause, one.cpu, str(one.place)) == ("far-jump-wrong", 2, "physical 0")
    assert (str(one.expected), str(one.observed), str(one.next)) == ("E", "O", "N")
    assert one.scenario == "ladder(cpus=4, probe=ladder)"
    assert one.again == ("vmmlab grade lab3 --submission 'my work/lab' --seed 7 -k lab3.a.one")
    assert (one.step, one.infra, one.waited_for) == ("lab3.1", None, None)
    assert report.first_step.function == "ap_start"
    assert exit_code(report) == 1


def test_the_first_step_says_where_its_todo_stands(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''

        @check("lab3.a.two", S)
        def two(boot):
            '''Two.'''
            fail("no")
        """,
        TWO,
    )
    assert kit.grade().first_step.line is None
    kit.files = {"lab3/ap_start.c": b"\n\n/* TODO(lab3.1): x */\n/* TODO(lab3.2): y */\n"}
    step = kit.grade(runner_factory=type(kit.runner)()).first_step
    assert (step.id, step.line) == ("lab3.2", 4)


def test_the_step_that_contains_the_mistake_comes_first(kit):
    """It is that of the failure, else that of the cause, else the one that earns the points."""
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
            fail("there")

        @check("lab3.a.two", S)
        def two(boot):
            '''Two.'''
            fail("elsewhere", step="lab3.1")
        """,
        TWO,
    )
    (kit.tests / "causes.yml").write_text("there:\n  step: lab3.2\n")
    report = kit.grade()
    one, two = report.checks
    assert (one.step, one.mistake.id, one.mistake.file) == ("lab3.1", "lab3.2", "lab3/ap_start.c")
    assert (two.step, two.mistake.id) == ("lab3.2", "lab3.1")
    assert report.first_step.id == "lab3.1"


def test_the_function_that_a_failure_names_is_named(kit):
    """A step may be several functions."""
    kit.files = {"lab3/ap_start.c": b"bool\nap_start_loopcond (void *data)\n{\n}\n"}
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
            fail("no", place="ap_start_loopcond")
        """,
        {"lab3.a.one": 4},
    )
    report = kit.grade()
    assert report.checks[0].mistake.function == "ap_start_loopcond"
    assert report.first_step.function == "ap_start_loopcond"


def test_what_only_waits_does_not_decide_where_to_begin(kit):
    kit.write(
        """
        @check("lab3.a.two", S)
        def two(boot):
            '''Two.'''
            fail("no", step="lab3.2")

        @check("lab3.a.one", S, after="lab3.a.two")
        def one(boot):
            '''One.'''
        """,
        TWO,
    )
    report = kit.grade()
    two, one = sorted(report.checks, key=lambda check: check.id, reverse=True)
    assert (two.outcome, one.outcome) == ("fail", "skipped")
    assert (one.step, one.mistake) == ("lab3.1", None)
    assert report.first_step.id == "lab3.2"


def test_timeout(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''It ends.'''
            fail("bsp-waits-for-ever", timeout=True)
        """,
        {"lab3.a.one": 4},
    )
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("timeout", 0)


def test_skipped_names_what_it_waited_for(kit, checks_of):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''

        @check("lab3.a.two", S, after="lab3.a.one", per=lambda boot: zip("ab", "ab"))
        def two(boot, case):
            '''Two.'''
            if case == "b": fail("no")

        @check("lab3.a.three", S, after=["lab3.a.one", "lab3.a.two"])
        def three(boot):
            '''Three.'''
            raise RuntimeError("must not run")

        @check("lab3.a.four", S, after="lab3.a.three")
        def four(boot):
            '''Four.'''
            raise RuntimeError("must not run")
        """,
        {"lab3.a.one": 1, "lab3.a.two": 2, "lab3.a.three": 3, "lab3.a.four": 4},
    )
    checks = checks_of(kit.grade())
    assert checks["a.two"].outcome == "partial", "and a part is not enough for what needs it"
    assert (checks["a.three"].outcome, checks["a.three"].points) == ("skipped", 0)
    assert checks["a.three"].waited_for == "lab3.a.two"
    assert checks["a.four"].waited_for == "lab3.a.three"


def test_build_error_for_every_check(kit, build_failed):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''

        @check("lab3.a.two", S, after="lab3.a.one")
        def two(boot):
            '''Two.'''
        """,
        TWO,
    )
    kit.runner.answers["ladder"] = build_failed
    report = kit.grade()
    assert [check.outcome for check in report.checks] == ["build-error"] * 2
    assert [check.points for check in report.checks] == [0, 0]
    assert report.points == 0
    assert not report.needs_attention
    assert not report.build.ok
    (diagnostic,) = report.build.diagnostics
    assert (diagnostic.file, diagnostic.line) == ("lab3/ap_start.c", 12)
    assert exit_code(report) == 1
    assert kit.runner.observed == ["ladder"]


def test_build_error_found_late_still_counts_for_every_check(kit, build_failed):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''

        @check("lab3.a.two", parking(name="late"))
        def two(boot):
            '''Two.'''
        """,
        TWO,
    )
    kit.runner.answers["late"] = build_failed
    assert {check.outcome for check in kit.grade().checks} == {"build-error"}


def test_infra_error_is_retried(kit, qemu_died):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
            assert boot == "observation"
        """,
        {"lab3.a.one": 4},
    )
    kit.runner.answers["ladder"] = [qemu_died, qemu_died, "observation"]
    report = kit.grade()
    assert report.checks[0].outcome == "pass"
    assert report.points == 4
    assert tuple(map(str, report.notes)) == ("The boot (4 CPUs) was repeated: QEMU died",)
    assert exit_code(report) == 0


def test_infra_error_after_two_retries_is_never_zero_points(kit, qemu_died, checks_of):
    kit.write(
        """
        L = parking(name="late", cpus=2)

        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''

        @check("lab3.a.two", S, L)
        def two(boots):
            '''Two.'''

        @check("lab3.a.three", L)
        def three(boot):
            '''Three.'''

        @check("lab3.a.four", S, after="lab3.a.three")
        def four(boot):
            '''Four.'''

        @check("lab3.a.five", S, after="lab3.a.four")
        def five(boot):
            '''Five.'''
        """,
        {f"lab3.a.{name}": 2 for name in ("one", "two", "three", "four", "five")},
    )
    kit.runner.answers["late"] = [qemu_died] * 9
    report = kit.grade()
    checks = checks_of(report)
    assert checks["a.one"].points == 2
    for name in ("a.two", "a.three"):
        assert (checks[name].outcome, checks[name].points) == ("infra-error", None)
        assert str(checks[name].reason) == "QEMU died"
        assert "signal 9" in checks[name].infra
    assert (checks["a.four"].outcome, checks["a.four"].points) == ("skipped", None)
    assert (checks["a.five"].outcome, checks["a.five"].points) == ("skipped", None)
    assert report.points is None
    assert report.needs_attention
    assert exit_code(report) == 3
    assert kit.runner.observed.count("late") == 3, "once and two retries, for all checks together"


def test_infra_and_lost_points_is_still_infra(kit, qemu_died):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
            fail("no")

        @check("lab3.a.two", parking(name="late"))
        def two(boot):
            '''Two.'''
        """,
        TWO,
    )
    kit.runner.answers["late"] = qemu_died
    assert exit_code(kit.grade()) == 3


@pytest.mark.parametrize(
    ("body", "reason", "infra"),
    [
        ("boot.nothing", "AttributeError", "boot.nothing"),
        ("assert boot.cpus == 5", "AssertionError", "Only vmmlab.checks.fail"),
        ("pytest.fail('x')", "Failed", "Only vmmlab.checks.fail"),
        ("pytest.skip('x')", "Skipped", "does not skip itself"),
        ("sys.exit(0)", "SystemExit", "sys.exit(0)"),
        ("fail('Not An Identifier')", "CheckMistake", "Not An Identifier"),
        ("print('seen by the author'); 1 / 0", "ZeroDivisionError", "seen by the author"),
        ("raise EOFError", "EOFError", "raise EOFError"),
    ],
)
def test_a_mistake_in_the_check_costs_no_points(kit, body, reason, infra, capfd):
    kit.write(
        f"""
        import pytest, sys

        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
            {body}

        @check("lab3.a.two", S)
        def two(boot):
            '''Two.'''
        """,
        TWO,
    )
    report = kit.grade()
    one, two = report.checks
    assert (one.outcome, one.points) == ("infra-error", None)
    assert str(one.reason) == f"the check itself failed ({reason} at test_lab3.py:10)"
    assert infra in one.infra
    assert "_pytest" not in one.infra
    assert two.outcome == "pass"
    assert report.needs_attention
    assert exit_code(report) == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mark", ['skip(reason="later")', "xfail"])
def test_marks_cannot_hide_a_check(kit, mark):
    kit.write(
        f"""
        import pytest

        @check("lab3.a.one", S)
        @pytest.mark.{mark}
        def one(boot):
            '''One.'''
            fail("no")
        """,
        {"lab3.a.one": 1},
    )
    with pytest.raises(CourseError, match=r"test_lab3\.py: one has a pytest mark"):
        kit.grade()


def test_an_observation_that_breaks_is_not_the_students_fault(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
        """,
        {"lab3.a.one": 1},
    )
    kit.runner.answers["ladder"] = KeyError("a mistake in the evidence layer")
    (one,) = kit.grade().checks
    assert (one.outcome, one.points) == ("infra-error", None)
    assert "evidence layer" in one.infra
    assert "in observe" in one.infra
    assert str(one.reason) == "the grader failed before this check could be judged (KeyError)"


def test_several_scenarios_come_in_their_order(kit):
    kit.write(
        """
        @check("lab3.a.one", parking(name="cpus-2", cpus=2), parking(name="cpus-8", cpus=8))
        def one(boots):
            '''One.'''
            assert [boot.cpus for boot in boots] == [2, 8]
        """,
        {"lab3.a.one": 1},
    )
    (one,) = kit.grade().checks
    assert one.outcome == "pass", one.infra
    assert one.scenario == "cpus-2(cpus=2, probe=end); cpus-8(cpus=8, probe=end)"
    assert [item.name for item in kit.runner.prepared] == ["cpus-2", "cpus-8"]


def test_facts_of_the_runner_are_in_the_report(kit, fake_runner, build_failed):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
        """,
        {"lab3.a.one": 1},
    )
    facts = RunFacts(build_failed.diagnostics, {"qemu": "7.2.15"}, {}, ["no sandbox"])
    kit.runner = fake_runner(facts=facts)
    report = kit.grade(notes=["from the submission"])
    assert report.versions["qemu"] == "7.2.15"
    assert report.versions["vmmlab"]
    assert report.build.warnings[0].line == 12
    assert tuple(map(str, report.notes)) == ("from the submission", "no sandbox")


def test_lost_facts_do_not_cost_the_verdict(kit, monkeypatch):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
        """,
        {"lab3.a.one": 1},
    )

    def broken():
        raise InfraError("gone")

    monkeypatch.setattr(kit.runner, "facts", broken)
    report = kit.grade()
    assert report.points == 1
    assert "gone" in str(report.notes[0])
    assert kit.runner.closed == 1


def test_a_runner_that_cannot_start_is_an_error_and_no_report(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
        """,
        {"lab3.a.one": 1},
    )

    def factory(request):
        raise InfraError("no sandbox here")

    with pytest.raises(InfraError, match="no sandbox here"):
        kit.grade(runner_factory=factory)

    def prepare(scenarios):
        raise InfraError("no disk space")

    kit.runner.prepare = prepare
    with pytest.raises(InfraError, match="no disk space"):
        kit.grade()
    assert kit.runner.closed == 1


def test_ctrl_c_ends_the_runner(kit):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
        """,
        {"lab3.a.one": 1},
    )
    kit.runner.answers["ladder"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kit.grade()
    assert kit.runner.closed == 1


def test_nothing_stays_behind_in_the_process(kit, monkeypatch):
    kit.write(
        """
        import dataclasses

        @dataclasses.dataclass
        class Helper:
            number: "int" = 1

        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
            if Helper().number == 1:
                fail("first")
        """,
        {"lab3.a.one": 1},
    )
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    modules, path, hooks = dict(sys.modules), list(sys.path), list(sys.meta_path)
    assert kit.grade().checks[0].cause == "first"
    text = (kit.tests / "test_lab3.py").read_text()
    (kit.tests / "test_lab3.py").write_text(text.replace('"first"', '"other-cause"'))
    kit.runner = type(kit.runner)()
    assert kit.grade().checks[0].cause == "other-cause", "the file is read anew"
    assert not [name for name in set(sys.modules) - set(modules) if "lab3" in name]
    assert (sys.path, sys.meta_path) == (path, hooks)
    import os

    assert os.environ["PYTEST_ADDOPTS"] == "--collect-only"


def test_two_threads_grade_one_after_the_other(kit, fake_runner):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
            if boot == "b":
                fail("b")
        """,
        {"lab3.a.one": 1},
    )
    with ThreadPoolExecutor(4) as pool:
        runners = [fake_runner({"ladder": name}) for name in "abab"]
        reports = list(pool.map(lambda runner: kit.grade(runner_factory=runner), runners))
    assert [report.points for report in reports] == [1, 0, 1, 0]


def test_what_a_person_should_look_at_is_flagged_and_costs_nothing(kit, fake_runner):
    kit.write(
        """
        @check("lab3.a.one", S)
        def one(boot):
            '''One.'''
        """,
        {"lab3.a.one": 1},
    )
    kit.runner = fake_runner(facts=RunFacts(review=["not explored", "not explored"]))
    report = kit.grade()
    assert (report.review, tuple(map(str, report.review_reasons))) == (True, ("not explored",))
    assert (report.points, report.needs_attention, exit_code(report)) == (1, False, 0)
