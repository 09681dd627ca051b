"""A release that holds back the later labs: what is not in it, and what is judged later."""

import pytest

from vmmlab.author.release import release
from vmmlab.base.errors import UsageError
from vmmlab.course import materials
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference
from vmmlab.grading import boots
from vmmlab.grading.request import RunRequest
from vmmlab.images import objects, prebuilt
from vmmlab.report.make import report_lab
from vmmlab.report.terminal import render
from vmmlab.student.build import ALL, labs_of
from vmmlab.student.new import new_workspace
from vmmlab.workspace.new import Answers

pytestmark = pytest.mark.slow

SOMEONE = Answers(student="Ada", cohort=Cohort.derive("dev"))
LAST = "lab3"


@pytest.fixture(scope="module")
def released(course, tmp_path_factory):
    return load_course(release(course, tmp_path_factory.mktemp("given") / "kit", until=LAST).folder)


def request(course, lab, arch, submitted):
    """The request to grade the reference of a lab."""
    return RunRequest(
        course=course,
        lab=lab,
        files=reference(submitted, [lab]).files,
        cohort=Cohort.derive("dev"),
        seed=1,
        arch=arch,
        sandbox_required=False,
    )


def test_nothing_of_a_later_lab_is_in_it_but_an_object_that_stops(course, released, tmp_path):
    labs = list(course.labs)
    assert released.held_back == tuple(labs[labs.index(LAST) + 1 :])
    root = released.root
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    of_lab4 = {name for name in names if "lab4" in name and not name.startswith("grader/")}
    standins = "vmm-skeleton/standins/dev"
    assert of_lab4 == {
        f"{standins}/{below}lab4.o" for below in ("", "i386/", "dev2/", "dev2/i386/")
    }
    prebuilt.place(course, Cohort.derive("dev"), tmp_path)
    for lab in ("lab1", "lab2", "lab3"):
        assert (root / standins / f"{lab}.o").read_bytes() == (tmp_path / f"{lab}.o").read_bytes()
    held = objects.read((root / standins / "lab4.o").read_bytes())
    used = set(held.undefined)
    assert "vmm_todo" in used
    assert not used & {"alloc", "spinlock_lock", "segment_init_ap", "vmm_ap_missing"}


def test_a_workspace_has_the_open_labs_only(released, tmp_path):
    made = new_workspace(tmp_path / "vmm", released, SOMEONE)
    assert {path.name for path in made.glob("lab*")} == {"lab0", "lab1", "lab2", "lab3"}
    assert [lab.name for lab in labs_of(released, ALL, "x86_64")] == ["lab1", "lab2", "lab3"]
    with pytest.raises(UsageError, match="lab4 is not open yet"):
        released.graded_for("lab4", "x86_64")


def test_there_must_be_such_a_lab(course, tmp_path):
    with pytest.raises(UsageError, match="no lab called 'lab99'"):
        release(course, tmp_path / "kit", until="lab99")


@pytest.mark.parametrize(
    ("lab", "arch"), [("lab1", "x86_64"), ("lab2", "x86_64"), ("lab3", "x86_64"), ("lab3", "i386")]
)
def test_what_is_judged_earns_all_points_and_the_rest_is_not_lost(course, released, lab, arch):
    report = report_lab(request(released, lab, arch, course))
    assert [check.id for check in report.checks if check.outcome != "pass"] == []
    assert report.points == report.max
    assert report.max + report.later_max == course.lab(lab).points_of(arch)
    assert set(report.later) == {
        name for name, check in course.lab(lab).checks_of(arch).items() if check.needs == "lab4"
    }
    assert ("judged later" in render(report)) == bool(report.later)


def test_a_lab_of_which_all_is_judged_later(course, released):
    report = report_lab(request(released, "lab0", "x86_64", course))
    assert (report.checks, report.later) == ((), ("lab0.boot.parked",))


@pytest.mark.parametrize("last", ["lab1", "lab2"])
def test_each_lab_can_be_the_last_one(course, last, monkeypatch):
    """What `needs` no later lab passes with the starters of all later labs."""
    source = prebuilt.FromReference(
        course.reference_dir,
        {
            path: materials.starter(course, path).encode()
            for name in course.after(last)
            for path in course.lab(name).files
        },
    )
    monkeypatch.setattr(boots, "source_of", lambda *what: source)
    report = report_lab(request(course, last, "x86_64", course))
    needs = {name for name, check in course.lab(last).checks.items() if check.needs}
    assert {check.id for check in report.checks if check.outcome != "pass"} <= needs
