"""A lab brings a probe, a milestone and evidence of its own, and the grader does not know it."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vmmlab.author import release
from vmmlab.base.errors import CourseError
from vmmlab.course.cohort import Cohort
from vmmlab.course.labpackage import LabPackage
from vmmlab.course.load import load_course
from vmmlab.grading.boots import LabRunner
from vmmlab.grading.request import RunRequest
from vmmlab.observe.milestones import milestone_named, milestones
from vmmlab.observe.schema import from_json, to_json
from vmmlab.probes import probe_names
from vmmlab.report.make import report_lab

ROOT = Path(__file__).parents[3]
COURSE = """
schema: 1
title: A course with a probe of its own
cohort: dev
labs:
  lab0:
    title: The VMM sleeps
    links: lab4
    points: 0
    checks:
      lab0.sleep.counted: {points: 0}
      lab0.barrier.reached: {points: 0}
"""
PAGES = [
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("probes.md", "probes.ja.md")
]
PROBES = [page.partition("```python\nfrom dataclasses")[2].partition("```")[0] for page in PAGES]
PROBE = f"from dataclasses{PROBES[0]}"
"""The probe that the page for lab authors shows."""
CHECKS = '''
"""Lab 0 with a probe of its own."""

from vmmlab.checks import check, fail
from vmmlab.probes import scenario_of

from .probes import AT_BARRIER, Slept

SLEEPS = scenario_of("sleeps", {"cpus": 2, "most": 1})


@check("lab0.sleep.counted", SLEEPS)
def test_the_bsp_sleeps(boot):
    """The BSP sleeps while it waits for the APs."""
    if boot.lab != Slept(1):
        fail("does-not-sleep", observed=repr(boot.lab))


@check("lab0.barrier.reached", SLEEPS)
def test_the_aps_come_to_the_barrier(boot):
    """Each AP comes to the barrier."""
    for ap in boot.aps:
        if not ap.reached(AT_BARRIER) or ap.highest < AT_BARRIER:
            fail("not-at-the-barrier", cpu=ap.index, expected=AT_BARRIER.goal_of(ap.name))
'''


@pytest.fixture
def course(tmp_path):
    """The kit's own VMM and reference, with another lab 0."""
    return course_in(tmp_path)


def course_in(tmp_path):
    tmp_path.mkdir(exist_ok=True)
    for name in ("vmm-skeleton", "reference"):
        (tmp_path / name).symlink_to(ROOT / name)
    text = (ROOT / "course.yml").read_text(encoding="utf-8")
    labs = text.partition("\n  lab1:")[2]
    (tmp_path / "course.yml").write_text(f"{COURSE}\n  lab1:{labs}", encoding="utf-8")
    folder = tmp_path / "labs" / "lab0"
    folder.mkdir(parents=True)
    (folder / "probes.py").write_text(PROBE, encoding="utf-8")
    (folder / "test_lab0.py").write_text(CHECKS, encoding="utf-8")
    return load_course(tmp_path)


def graded(course, **options):
    request = RunRequest(
        course=course,
        lab="lab0",
        files={},
        cohort=Cohort.derive("dev"),
        seed=1,
        sandbox_required=False,
    )
    return report_lab(request, **options)


def test_the_page_shows_the_same_probe_in_both_languages():
    assert "class SleepProbe" in PROBE
    assert PROBES[0] == PROBES[1]


def test_it_is_graded_like_any_other_and_leaves_no_module_behind(course):
    before = {*sys.modules}
    for _ in range(2):  # the second time its files are loaded anew
        report = graded(course)
        assert {check.id: check.outcome for check in report.checks} == {
            "lab0.sleep.counted": "pass",
            "lab0.barrier.reached": "pass",
        }
    assert [name for name in {*sys.modules} - before if "lab0" in name] == []


def test_two_courses_at_once_each_with_a_probe_of_the_same_name(course, tmp_path):
    other = course_in(tmp_path / "other")
    probes = other.labs_dir / "lab0" / "probes.py"
    probes.write_text(PROBE.replace('"at the barrier"', '"at it"').replace("85", "86"))
    package = LabPackage("lab0", other.labs_dir / "lab0")
    try:
        theirs = package.load(other.labs_dir / "lab0" / "test_lab0.py")
        report = graded(course)
        assert [check.outcome for check in report.checks] == ["pass", "pass"]
        with package.scope.in_use():
            assert milestone_named("at-barrier") is theirs.AT_BARRIER
        assert theirs.SLEEPS.kind.make.__module__.startswith(theirs.__package__)
    finally:
        package.unload()
    assert "sleeps" not in probe_names()
    assert "at-barrier" not in [one.name for one in milestones()]


def test_its_evidence_fails_a_check_and_survives_json(course):
    seen = []

    class Never(LabRunner):
        def observe(self, scenario):
            found = LabRunner.observe(self, scenario)
            text = to_json(found)
            seen.append((found, from_json(text, type(found.lab))))
            return replace(found, lab=replace(found.lab, times=0))

    report = graded(course, runner_factory=Never)
    assert [check.cause for check in report.checks] == ["does-not-sleep", None]
    assert str(report.checks[0].observed) == "Slept(times=0)"
    assert seen
    assert all(one == other for one, other in seen)


def test_a_parameter_that_its_probe_does_not_take_is_refused(course):
    path = course.labs_dir / "lab0" / "test_lab0.py"
    path.write_text(CHECKS.replace('"most"', '"moost"'), encoding="utf-8")
    with pytest.raises(CourseError, match="takes no parameter moost") as caught:
        graded(course)
    assert str(caught.value.next_step) == "did you mean most?"


def test_a_release_has_its_probes(course, tmp_path):
    folder = course.labs_dir / "lab0"
    (folder / "hidden").mkdir()
    (folder / "hidden" / "test_hidden.py").write_text("", encoding="utf-8")
    release.copy_lab(folder, tmp_path / "given")
    assert {path.name for path in (tmp_path / "given").iterdir()} == {"test_lab0.py", "probes.py"}
