"""Running some checks only, and what the instructor's grader refuses to listen to."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from vmmlab.base.errors import CourseError, UsageError

BODY = """
    @check("lab3.ljmpw.present", S)
    def far_jump(boot):
        '''A far jump.'''

    @check("lab3.ljmpw.target", S, after="lab3.ljmpw.present")
    def trampoline(boot):
        '''It leads to the trampoline.'''
        fail("wrong")

    @check("lab3.late.cpu", parking(name="late"))
    def late(boot):
        '''A late CPU.'''
"""
POINTS = {"lab3.ljmpw.present": 1, "lab3.ljmpw.target": 2, "lab3.late.cpu": 3}


@pytest.mark.parametrize(
    ("select", "ids"),
    [
        ("late", ["late.cpu"]),
        ("lab3.late.cpu", ["late.cpu"]),
        ("ljmpw", ["ljmpw.present", "ljmpw.target"]),
        ("far_jump", ["ljmpw.present"]),
        ("not late and not target", ["ljmpw.present"]),
        ("trampoline", ["ljmpw.present", "ljmpw.target"]),
    ],
)
def test_select(kit, select, ids, checks_of):
    kit.write(BODY, POINTS)
    report = kit.grade(select=select)
    assert list(checks_of(report)) == ids, "what is needed comes along"
    assert report.partial_run
    assert report.max == sum(POINTS[f"lab3.{name}"] for name in ids)
    scenarios = {"late"} if ids == ["late.cpu"] else {"ladder"}
    assert {item.name for item in kit.runner.prepared} == scenarios


def test_select_everything_is_no_partial_run(kit):
    kit.write(BODY, POINTS)
    assert not kit.grade(select="lab3").partial_run


def test_again_selects_just_that_check(kit, checks_of):
    kit.write(BODY, POINTS)
    words = kit.grade().checks[1].again.split()
    assert words[-2] == "-k"
    report = kit.grade(select=words[-1], runner_factory=type(kit.runner)())
    assert checks_of(report)["ljmpw.target"].outcome == "fail"


def test_select_nothing(kit):
    kit.write(BODY, POINTS)
    with pytest.raises(UsageError, match="no check of lab3 matches 'nonsense'") as caught:
        kit.grade(select="nonsense")
    assert "lab3.late.cpu" in str(caught.value)
    assert kit.runner.closed == 1


@pytest.mark.parametrize("select", ["late and", "((", "a b"])
def test_select_unreadable(kit, select):
    kit.write(BODY, POINTS)
    with pytest.raises(UsageError, match="cannot be read"):
        kit.grade(select=select)


def test_unknown_lab(kit):
    from vmmlab.grading.grade import grade_lab

    kit.write(BODY, POINTS)
    with pytest.raises(UsageError, match="no lab called 'lab4'"):
        grade_lab(replace(kit.request(), lab="lab4"))


@pytest.fixture
def with_hidden(kit):
    """The course of BODY with one hidden check, worth 4."""
    kit.write(BODY, POINTS)
    text = (
        (kit.root / "course.yml")
        .read_text()
        .replace("    files:\n", "    hidden_points: 4\n    files:\n", 1)
    )
    (kit.root / "course.yml").write_text(
        text + "    hidden:\n      lab3.hidden.one: {points: 4, step: lab3.2}\n"
    )
    (kit.tests / "hidden").mkdir()
    (kit.tests / "hidden" / "test_more.py").write_text(
        textwrap.dedent("""
        from vmmlab.checks import check, fail
        from vmmlab.probes import parking

        from .. import test_lab3 as lab

        HIDDEN = parking(name="other", cpus=9)

        @check("lab3.hidden.one", HIDDEN, after="lab3.ljmpw.present")
        def more(boot):
            '''More.'''
            assert lab.S.cpus == 4
            if boot == "wrong":
                fail("all-wrong", observed="seen")
        """)
    )
    return kit


def test_hidden_checks_are_graded_when_they_are_asked_for(with_hidden, checks_of):
    report = with_hidden.grade(hidden=True)
    checks = checks_of(report)
    assert checks["hidden.one"].visibility == "hidden"
    assert checks["hidden.one"].outcome == "pass"
    assert checks["late.cpu"].visibility == "visible"
    assert checks["hidden.one"].again.endswith("--hidden -k lab3.hidden.one")
    assert report.max == sum(POINTS.values()), "the open points are what they were"
    assert (report.hidden_points, report.hidden_max, report.hidden_judged) == (4, 4, True)


def test_hidden_points_can_be_lost(with_hidden, checks_of):
    with_hidden.runner.answers["other"] = "wrong"
    report = with_hidden.grade(hidden=True)
    assert checks_of(report)["hidden.one"].cause == "all-wrong"
    assert (report.hidden_points, report.hidden_max) == (0, 4)
    with_hidden.runner = type(with_hidden.runner)()
    assert with_hidden.grade(hidden=True).points == report.points


def test_otherwise_hidden_checks_are_not_even_booted(with_hidden, checks_of):
    report = with_hidden.grade()
    assert "hidden.one" not in checks_of(report)
    assert (report.hidden_points, report.hidden_max, report.hidden_judged) == (None, 4, False)
    assert "other" not in {boot.name for boot in with_hidden.runner.prepared}
    assert not report.partial_run


def test_a_released_course_only_knows_how_many_points_there_are(with_hidden, checks_of):
    shutil.rmtree(with_hidden.tests / "hidden")
    path = with_hidden.root / "course.yml"
    path.write_text(path.read_text().partition("    hidden:\n")[0])
    for hidden in (False, True):
        with_hidden.runner = type(with_hidden.runner)()
        report = with_hidden.grade(hidden=hidden)
        assert (report.hidden_points, report.hidden_max) == (None, 4)
        assert not report.hidden_judged
        assert "lab3.hidden" not in report.to_json()


def test_a_hidden_check_that_is_not_there_is_a_mistake(with_hidden):
    shutil.rmtree(with_hidden.tests / "hidden")
    with pytest.raises(CourseError, match=r"labs > lab3 > hidden > lab3\.hidden\.one: no test"):
        with_hidden.grade(hidden=True)


FORGERIES = {
    "conftest.py": """
        import pytest
        open("conftest-ran", "w").close()

        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_makereport(item, call):
            outcome = yield
            outcome.get_result().outcome = "passed"
    """,
    "pytest.ini": "[pytest]\naddopts = --collect-only\npython_files = nothing.py\n",
    "tox.ini": "[pytest]\naddopts = --collect-only\n",
    "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-k nothing -p evil'\n",
    "setup.cfg": "[tool:pytest]\naddopts = --collect-only\n",
    "evil.py": "open('evil-ran', 'w').close()\n",
    "sitecustomize.py": "open('sitecustomize-ran', 'w').close()\n",
    "pytest.py": "open('shadow-ran', 'w').close()\nraise SystemExit(0)\n",
    "vmmlab.py": "open('shadow-ran', 'w').close()\n",
    "test_lab3.py": "def far_jump(): open('own-test-ran', 'w').close()\n",
}


def test_forgeries_in_the_submission_have_no_effect(kit, tmp_path, monkeypatch, checks_of):
    kit.write(BODY, POINTS)
    submission = tmp_path / "submission"
    (submission / "lab3").mkdir(parents=True)
    for folder in (submission, submission / "lab3"):
        for name, text in FORGERIES.items():
            (folder / name).write_text(textwrap.dedent(text))
    monkeypatch.chdir(submission)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p evil --collect-only")
    monkeypatch.setenv("PYTEST_PLUGINS", "evil")
    checks = checks_of(kit.grade(submission="."))
    outcomes = [check.outcome for check in checks.values()]
    assert outcomes == ["pass", "fail", "pass"]
    assert not list(submission.rglob("*-ran"))
    assert not list(submission.rglob("__pycache__"))


def test_a_conftest_beside_the_checks_is_not_read_either(kit, checks_of):
    kit.write(BODY, POINTS)
    (kit.tests / "conftest.py").write_text("raise SystemExit(0)\n")
    (kit.tests / "pytest.ini").write_text("[pytest]\naddopts = --collect-only\n")
    assert checks_of(kit.grade())["ljmpw.target"].outcome == "fail"


SPEED = """
import sys, time
from pathlib import Path
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.grading.request import RunFacts, RunRequest
from vmmlab.report.make import report_lab
course = load_course(Path(sys.argv[1]))
began = time.process_time()  # other work on this machine does not count

class Runner:
    def __init__(self, request): pass
    def prepare(self, scenarios): pass
    def observe(self, scenario): return scenario
    def facts(self): return RunFacts()
    def close(self): pass

request = RunRequest(course=course, lab="lab3", files={}, cohort=Cohort.derive("dev"), seed=1,
                     sandbox_required=False)
report_lab(request, runner_factory=Runner)
print(time.process_time() - began)
"""


def test_overhead_without_boots(kit):
    body = "".join(
        f"""
    @check("lab3.many.c{n}", S, per=lambda boot: [(f"CPU {{cpu}}", cpu) for cpu in range(4)])
    def number_{n}(boot, cpu):
        '''Number {n}.'''
        if cpu == {n} % 4:
            fail("wrong", cpu=cpu, observed="x" * 100)
"""
        for n in range(25)
    )
    kit.write(body, {f"lab3.many.c{n}": 1 for n in range(25)})
    times = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", SPEED, str(kit.root)], capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout))
        if min(times) <= 0.35:
            return
    pytest.fail(f"grading took {min(times):.2f} s without a boot, more than 0.35 s")
