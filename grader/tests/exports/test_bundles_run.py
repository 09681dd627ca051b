"""The bundles with the real grader, in the layout of each platform, from the file to the result."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
from machines import PATH, Machine, machine
from validators import VALIDATORS

from vmmlab.author import mutants
from vmmlab.author.release import release
from vmmlab.cli import main
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference

ROOT = Path(__file__).resolve().parents[3]
COURSE = load_course(ROOT)
LAB = COURSE.lab("lab2")
POINTS = float(LAB.points)
WRONG, LOST = "lab2.stackaddr.forgotten", "lab2.stack.stackaddr"
VMMLAB = f"/opt/vmmlab/bin:{PATH}"
"""The path of an image in which vmmlab is installed."""

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release, as a class gets it."""
    return release(COURSE, tmp_path_factory.mktemp("kit") / "release").folder


@pytest.fixture(scope="module")
def host(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on which Gradescope's setup.sh has run: /opt/vmmlab has vmmlab and the release."""
    made = machine(tmp_path_factory.mktemp("machine"))
    made.empty("opt")
    unzip(bundle(kit, "gradescope-bundle"), made.empty("autograder/source"))
    made.empty("grade")
    made.empty("job")
    done = made.run("bash", "-c", "chmod +x setup.sh && ./setup.sh", cwd="/autograder/source")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="module")
def submissions() -> dict[str, dict[str, bytes]]:
    """The files of submissions that earn all, some, and no points."""
    right = dict(reference(COURSE, [LAB.name]).files)
    (wrong,) = (one for one in mutants.load(COURSE, [LAB.name]) if one.id == WRONG)
    return {
        "reference": right,
        "starter": dict(reference(COURSE, [LAB.name], steps=()).files),
        "wrong": {**right, **mutants.apply(COURSE, wrong)},
        "broken": {**right, next(iter(right)): b"this is not C\n"},
    }


def bundle(kit: Path, form: str, *words: str) -> bytes:
    path = kit.parent / form
    line = ["export", form, str(kit), "--lab", LAB.name, "-o", str(path), *words]
    assert main.main(line) == 0
    return path.read_bytes()


def unzip(data: bytes, to: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(to)


def fits(name: str, points: float) -> bool:
    """Whether a submission has as many points as it must have."""
    if name == "wrong":
        return 0 < points < POINTS
    return points == (POINTS if name == "reference" else 0)


SUBMISSIONS = pytest.mark.parametrize("name", ["reference", "starter", "wrong", "broken"])
Files = Mapping[str, Mapping[str, bytes]]


# --- Gradescope: /autograder/source, submission, results ------------------------------------------


def gradescope(host: Machine, files: Mapping[str, bytes]) -> tuple[int, str, str]:
    """Grade as Gradescope does; return the exit status, results.json and what was said."""
    host.empty("autograder/results")
    host.empty("autograder/submission")
    for name, data in files.items():
        host.put(f"autograder/submission/{name}", data)
    host.put("autograder/run_autograder", run_autograder(host), 0o755)
    done = host.run("/autograder/run_autograder", cwd="/autograder")
    results = host.folder / "autograder/results/results.json"
    text = results.read_text(encoding="utf-8") if results.exists() else ""
    return done.returncode, text, done.stdout + done.stderr


def run_autograder(host: Machine) -> bytes:
    """Return what Gradescope copies one folder up after setup.sh."""
    return (host.folder / "autograder/source/run_autograder").read_bytes()


@SUBMISSIONS
def test_gradescope(name: str, host: Machine, submissions: Files) -> None:
    code, results, said = gradescope(host, submissions[name])
    assert code == 0, said
    assert VALIDATORS["gradescope"](results) == ""
    data = json.loads(results)
    assert fits(name, data["score"]), data
    scores = {test["name"].partition(":")[0]: test["score"] for test in data["tests"]}
    assert scores[LOST] == (3 if name == "reference" else 0)
    assert not [one for one in scores if "hidden" in one]
    if name == "starter":
        assert "lab2.1" in said
    if name == "broken":
        assert "does not compile" in said or "error" in said


def test_gradescope_with_files_that_lie_flat(host: Machine, submissions: Files) -> None:
    flat = {Path(name).name: data for name, data in submissions["reference"].items()}
    code, results, said = gradescope(host, flat)
    assert code == 0, said
    assert json.loads(results)["score"] == POINTS


def test_gradescope_where_no_sandbox_can_be_made(
    host: Machine, kit: Path, submissions: Files
) -> None:
    """Without --no-sandbox nobody is graded; with it the points are the same."""
    closed = host.without_sandbox()
    code, results, said = gradescope(closed, submissions["reference"])
    assert (code, results) == (3, "")
    assert "sandbox" in said
    source = host.folder / "autograder/source"
    with zipfile.ZipFile(io.BytesIO(bundle(kit, "gradescope-bundle", "--no-sandbox"))) as archive:
        kept = run_autograder(host)
        try:
            archive.extract("run_autograder", source)
            code, results, said = gradescope(closed, submissions["reference"])
        finally:
            (source / "run_autograder").write_bytes(kept)
    assert code == 0, said
    assert json.loads(results)["score"] == POINTS


# --- PrairieLearn: /grade/tests, student, results -------------------------------------------------


@SUBMISSIONS
def test_prairielearn(name: str, host: Machine, kit: Path, submissions: Files) -> None:
    """PrairieLearn mounts /grade, makes the entry point executable, and wants status 0."""
    unzip(bundle(kit, "prairielearn-bundle"), question := host.empty("job/question"))
    grade = host.empty("grade")
    (question / LAB.name / "tests").rename(grade / "tests")
    host.put("grade/data/data.json", b"{}")
    for path, data in submissions[name].items():
        host.put(f"grade/student/{Path(path).name}", data)
    info = json.loads((question / LAB.name / "info.json").read_text())
    entry = info["externalGradingOptions"]["entrypoint"]
    (host.folder / entry.lstrip("/")).chmod(0o755)
    done = host.run(entry, path=VMMLAB)
    assert done.returncode == 0, done.stdout + done.stderr
    results = (grade / "results/results.json").read_text(encoding="utf-8")
    assert VALIDATORS["prairielearn"](results) == ""
    data = json.loads(results)
    assert data["gradable"]
    assert fits(name, round(data["score"] * POINTS, 6)), data


# --- Autolab: a Makefile, autograde.tar and handin.tar in one folder ------------------------------


@SUBMISSIONS
def test_autolab(name: str, host: Machine, kit: Path, submissions: Files) -> None:
    """Tango renames autograde-Makefile to Makefile, runs make, and reads the last line."""
    job = host.empty("job/autolab")
    with tarfile.open(fileobj=io.BytesIO(bundle(kit, "autolab-bundle"))) as archive:
        archive.extractall(job, filter="data")
    (job / "autograde-Makefile").rename(job / "Makefile")
    with tarfile.open(job / "handin.tar", "w") as handin:
        for path, data in submissions[name].items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            handin.addfile(entry, io.BytesIO(data))
    done = host.run("make", cwd="/job/autolab", path=VMMLAB)
    assert done.returncode == 0, done.stdout + done.stderr
    feedback, last = done.stdout.rstrip("\n").split("\n")[-2:]
    assert VALIDATORS["autolab"](f"{feedback}\n{last}\n") == ""
    assert fits(name, json.loads(last)["scores"][LAB.name]), last


# --- Artemis: assignment/ beside build.sh, test-reports/ as the result ----------------------------


@SUBMISSIONS
def test_artemis(name: str, host: Machine, kit: Path, submissions: Files) -> None:
    host.empty("job/artemis")
    with tarfile.open(fileobj=io.BytesIO(bundle(kit, "artemis-bundle"))) as archive:
        archive.extractall(host.folder / "job/artemis", filter="data")
    for path, data in submissions[name].items():
        host.put(f"job/artemis/assignment/{path}", data)
    done = host.run("bash", "build.sh", cwd="/job/artemis", path=VMMLAB)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (host.folder / "job/artemis/test-reports/vmmlab.xml").read_text(encoding="utf-8")
    assert VALIDATORS["artemis"](text) == ""
    cases = ElementTree.fromstring(text).iter("testcase")
    passed = {case.get("name") for case in cases if not len(case)}
    assert (LOST in passed) == (name == "reference")
    points = sum(spec.points for check, spec in LAB.checks.items() if check in passed)
    assert fits(name, points), passed
