"""Bundles: what is in them, and their scripts with a stand-in for the grader."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from test_export_command import GRADED, SAMPLE
from validators import VALIDATORS

from vmmlab.classroom.bundles import BUNDLES
from vmmlab.cli import main

COURSE = """\
schema: 1
title: A small course
cohort: dev
labs:
  lab3:
    title: Wake them
    files:
      lab3/ap_start.c: [ap_start]
    steps:
      - {id: lab3.1, title: a step, file: lab3/ap_start.c, function: ap_start}
    points: 5
    checks:
      lab3.ljmpw.present: {points: 5, step: lab3.1}
"""
GRADER = """\
#!/usr/bin/env bash
# Stands in for vmmlab: `grade` writes the report that the test wants, the rest is the real one.
if [ "$1" = grade ]; then
  echo "$@" > "$(dirname "$0")/words"
  while [ $# -gt 1 ]; do
    [ "$1" = --submission ] && (cd "$2" && find . -type f) > "$(dirname "$0")/files"
    [ "$1" = --json ] && [ -e "$(dirname "$0")/report" ] && cp "$(dirname "$0")/report" "$2"
    shift
  done
  echo "what the grader says"
  exit "$(cat "$(dirname "$0")/code")"
fi
exec PYTHON -m vmmlab.cli.main "$@"
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    root = tmp_path / "release"
    (root / "labs" / "lab3").mkdir(parents=True)
    (root / "course.yml").write_text(COURSE)
    (root / "labs" / "lab3" / "README.md").write_text("# Lab 3\n")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "x.pyc").write_bytes(b"x")
    (root / "link").symlink_to("/etc/passwd")
    return root


class Host:
    """A platform: its folders, and a grader whose answer the test chooses."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.vmmlab = root / "vmmlab"
        self.vmmlab.write_text(GRADER.replace("PYTHON", sys.executable))
        self.vmmlab.chmod(0o755)
        self.answer(GRADED, 1)

    def answer(self, report: object, code: int) -> None:
        (self.root / "report").unlink(missing_ok=True)
        if report is not None:
            (self.root / "report").write_text(json.dumps(report))
        (self.root / "code").write_text(str(code))

    def hand_in(self, folder: str, *names: str) -> None:
        for name in names:
            path = self.root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")

    def run(self, script: Path, *words: str) -> subprocess.CompletedProcess[str]:
        places = dict.fromkeys(("AUTOGRADER", "GRADE"), str(self.root))
        return subprocess.run(
            ["bash", str(script), *words],
            env={"PATH": "/usr/bin:/bin", "VMMLAB": str(self.vmmlab), **places},
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )

    def said(self, name: str) -> str:
        return (self.root / name).read_text()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def made(form: str, release: Path, *words: str) -> Path:
    path = release.parent / f"{form}.made"
    assert main.main(["export", form, str(release), "--lab", "lab3", "-o", str(path), *words]) == 0
    return path


def unzipped(path: Path, to: Path) -> dict[str, int]:
    """Unzip, and return the mode of each file."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(to)
        return {one.filename: one.external_attr >> 16 & 0o777 for one in archive.infolist()}


# --- Gradescope -----------------------------------------------------------------------------------


def test_the_zip_file_for_gradescope(release: Path, tmp_path: Path) -> None:
    path = made("gradescope-bundle", release)
    modes = unzipped(path, tmp_path / "source")
    assert sorted(modes) == [
        "release/course.yml",
        "release/labs/lab3/README.md",
        "run_autograder",
        "setup.sh",
    ]
    assert modes["setup.sh"] == modes["run_autograder"] == 0o755
    assert "@" not in (tmp_path / "source" / "run_autograder").read_text().replace("$@", "")
    again = path.read_bytes()
    assert made("gradescope-bundle", release).read_bytes() == again


def test_a_submission_on_gradescope(release: Path, host: Host) -> None:
    unzipped(made("gradescope-bundle", release), host.root / "source")
    host.hand_in("submission", "lab3/ap_start.c")
    done = host.run(host.root / "source" / "run_autograder")
    assert done.returncode == 0, done.stderr
    assert VALIDATORS["gradescope"](host.said("results/results.json")) == ""
    assert host.said("files") == "./lab3/ap_start.c\n"
    assert "--open-only" in host.said("words")
    assert "--no-sandbox" not in host.said("words")


def test_files_without_their_folder(release: Path, host: Host) -> None:
    unzipped(made("gradescope-bundle", release, "--no-sandbox"), host.root / "source")
    host.hand_in("submission", "ap_start.c")
    assert host.run(host.root / "source" / "run_autograder").returncode == 0
    assert host.said("files") == "./lab3/ap_start.c\n"
    assert "--no-sandbox" in host.said("words")


@pytest.mark.parametrize(
    ("report", "code"), [(None, 2), (None, 3), (SAMPLE, 2), (SAMPLE, 3), (SAMPLE, 1)]
)
def test_without_a_grade_gradescope_gets_none(
    report: object, code: int, release: Path, host: Host
) -> None:
    unzipped(made("gradescope-bundle", release), host.root / "source")
    host.hand_in("submission", "lab3/ap_start.c")
    host.answer(report, code)
    done = host.run(host.root / "source" / "run_autograder")
    assert done.returncode in (2, 3)
    assert not (host.root / "results" / "results.json").exists()
    assert "what the grader says" in done.stdout


@pytest.mark.parametrize("secret", ["reference/lab3/ap_start.c", "labs/lab3/hidden/test_x.py"])
def test_solutions_are_not_uploaded(
    secret: str, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (release / secret).parent.mkdir(parents=True)
    (release / secret).write_text("x")
    target = release.parent / "x.zip"
    words = ["export", "gradescope-bundle", str(release), "--lab", "lab3", "-o", str(target)]
    assert main.main(words) == 2
    assert "would be uploaded" in capsys.readouterr().err
    assert not target.exists()


# --- PrairieLearn ---------------------------------------------------------------------------------


def test_a_question_for_prairielearn(release: Path, host: Host) -> None:
    path = made("prairielearn-bundle", release, "--image", "example/grader:1")
    modes = unzipped(path, host.root)
    assert sorted(modes) == ["lab3/info.json", "lab3/question.html", "lab3/tests/run.sh"]
    options = json.loads(host.said("lab3/info.json"))["externalGradingOptions"]
    assert options["image"] == "example/grader:1"
    assert options["timeout"] <= 600
    assert 'file-names="ap_start.c"' in host.said("lab3/question.html")
    host.hand_in("student", "ap_start.c")
    done = host.run(host.root / "lab3" / "tests" / "run.sh")
    assert done.returncode == 0, done.stderr
    assert VALIDATORS["prairielearn"](host.said("results/results.json")) == ""
    assert json.loads(host.said("results/results.json"))["score"] == 13.33 / 35
    assert host.said("files") == "./lab3/ap_start.c\n"


@pytest.mark.parametrize(("report", "code"), [(None, 2), (None, 3), (SAMPLE, 2), (SAMPLE, 3)])
def test_without_a_grade_prairielearn_takes_no_attempt(
    report: object, code: int, release: Path, host: Host
) -> None:
    unzipped(made("prairielearn-bundle", release), host.root)
    host.hand_in("student", "ap_start.c")
    host.answer(report, code)
    assert host.run(host.root / "lab3" / "tests" / "run.sh").returncode == 0
    text = host.said("results/results.json")
    assert VALIDATORS["prairielearn"](text) == ""
    assert json.loads(text)["gradable"] is False


# --- Autolab --------------------------------------------------------------------------------------


def unpacked(release: Path, host: Host) -> None:
    with tarfile.open(made("autolab-bundle", release)) as outer:
        assert sorted(outer.getnames()) == ["autograde-Makefile", "autograde.tar"]
        outer.extractall(host.root)
    with tarfile.open(host.root / "autograde.tar") as inner:
        inner.extractall(host.root)


def hand_in_tar(host: Host) -> None:
    data = io.BytesIO(b"x")
    with tarfile.open(host.root / "handin.tar", "w") as archive:
        entry = tarfile.TarInfo("lab3/ap_start.c")
        entry.size = 1
        archive.addfile(entry, data)


def test_a_submission_on_autolab(release: Path, host: Host) -> None:
    unpacked(release, host)
    hand_in_tar(host)
    done = host.run(host.root / "driver.sh", "handin.tar")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.rstrip("\n").split("\n")[-1]) == {"scores": {"lab3": 13.33}}
    assert host.said("files") == "./lab3/ap_start.c\n"
    assert "bash driver.sh handin.tar" in host.said("autograde-Makefile")


@pytest.mark.parametrize(
    ("report", "code"), [(None, 2), (None, 3), (SAMPLE, 2), (SAMPLE, 3), (SAMPLE, 1)]
)
def test_without_a_grade_autolab_gets_no_scores(
    report: object, code: int, release: Path, host: Host
) -> None:
    unpacked(release, host)
    hand_in_tar(host)
    host.answer(report, code)
    done = host.run(host.root / "driver.sh", "handin.tar")
    assert done.returncode in (2, 3)
    assert "scores" not in done.stdout
    (host.root / "handin.tar").write_text("no archive")
    assert host.run(host.root / "driver.sh", "handin.tar").returncode == 1


# --- Artemis --------------------------------------------------------------------------------------


def unpack_artemis(release: Path, host: Host) -> Path:
    with tarfile.open(made("artemis-bundle", release)) as archive:
        archive.extractall(host.root)
    return host.root / "build.sh"


def test_a_build_on_artemis(release: Path, host: Host) -> None:
    script = unpack_artemis(release, host)
    host.hand_in("assignment", "lab3/ap_start.c")
    host.hand_in("test-reports", "forged.xml")
    done = host.run(script)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (host.root / "test-reports").iterdir()] == ["vmmlab.xml"]
    assert VALIDATORS["artemis"](host.said("test-reports/vmmlab.xml")) == ""
    assert host.said("files") == "./lab3/ap_start.c\n"


@pytest.mark.parametrize(("report", "code"), [(None, 2), (SAMPLE, 3), (SAMPLE, 1)])
def test_without_a_grade_artemis_gets_no_results(
    report: object, code: int, release: Path, host: Host
) -> None:
    script = unpack_artemis(release, host)
    host.hand_in("assignment", "lab3/ap_start.c")
    host.hand_in("test-reports", "forged.xml")
    host.answer(report, code)
    assert host.run(script).returncode in (2, 3)
    assert not list(host.root.glob("test-reports/*.xml"))


# --- all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", BUNDLES)
def test_a_bundle_needs_a_release_and_a_lab(form: str, release: Path, tmp_path: Path) -> None:
    assert main.main(["export", form, str(release)]) == 2
    assert main.main(["export", form, str(release), str(release), "--lab", "lab3"]) == 2
    assert main.main(["export", form, str(release), "--lab", "lab11"]) == 2
    assert main.main(["export", form, str(tmp_path), "--lab", "lab3"]) == 2


@pytest.mark.parametrize("form", BUNDLES)
def test_its_scripts_are_bash(form: str, release: Path, host: Host) -> None:
    path = made(form, release)
    if form == "autolab-bundle":
        unpacked(release, host)
    elif form == "artemis-bundle":
        unpack_artemis(release, host)
    else:
        unzipped(path, host.root / "here")
    scripts = [*host.root.rglob("*.sh"), *host.root.rglob("run_autograder")]
    assert scripts
    for script in scripts:
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
