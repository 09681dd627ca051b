"""The templates for GitHub Actions and GitLab CI in a workspace."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from test_bundles import Host
from validators import SCHEMAS, VALIDATORS, _against

from vmmlab.report.export import FORMATS

ROOT = Path(__file__).resolve().parents[3]
SKELETON = ROOT / "vmm-skeleton"
WORKSPACE = SKELETON / "{{cookiecutter.slug}}"
FILES = {
    "github-workflows.json": WORKSPACE / ".github" / "workflows" / "grade.yml",
    "gitlab-ci.json": WORKSPACE / ".gitlab-ci.yml",
}
SETUP = ROOT / "grader/vmmlab/classroom/bundles/files/gradescope-setup.sh.txt"
DOCKERFILE = ROOT / "docker" / "grader.Dockerfile"


def wrong(schema: str, text: str) -> str:
    data = YAML(typ="safe").load(text)
    return _against(json.loads((SCHEMAS / schema).read_text(encoding="utf-8")), data)


@pytest.mark.parametrize("schema", FILES)
def test_a_template_fits_the_published_schema(schema: str) -> None:
    assert wrong(schema, FILES[schema].read_text(encoding="utf-8")) == ""


@pytest.mark.parametrize(
    ("schema", "old", "new"),
    [
        ("github-workflows.json", "on: [push", "on: [pushed"),
        ("github-workflows.json", "runs-on:", "runs:"),
        ("github-workflows.json", "contents: read", "contents: all"),
        ("gitlab-ci.json", "when: always", "when: ever"),
        ("gitlab-ci.json", "junit: reports/junit.xml", "junit: 1"),
        ("gitlab-ci.json", "  script:", "  scripts:"),
    ],
)
def test_a_wrong_template_is_noticed(schema: str, old: str, new: str) -> None:
    text = FILES[schema].read_text(encoding="utf-8")
    assert old in text
    assert wrong(schema, text.replace(old, new)) != ""


def test_cookiecutter_leaves_them_alone() -> None:
    """Both have braces that are not cookiecutter's."""
    settings = json.loads((SKELETON / "cookiecutter.json").read_text(encoding="utf-8"))
    assert {".github", ".gitlab-ci.yml"} <= set(settings["_copy_without_render"])


@pytest.mark.parametrize("schema", FILES)
def test_they_name_formats_that_exist(schema: str) -> None:
    named = re.findall(r"vmmlab export ([\w-]+)", FILES[schema].read_text(encoding="utf-8"))
    assert len(named) == 2
    assert set(named) <= FORMATS.keys()


def _packages(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"apt-get install -y --no-install-recommends +([a-z0-9 -]+)", text)
    return set(" ".join(found).split())


@pytest.mark.parametrize("path", [*FILES.values(), SETUP])
def test_each_installs_what_grading_needs(path: Path) -> None:
    """The packages of the grading image; a workspace's own code needs no sandbox."""
    image = DOCKERFILE.read_text(encoding="utf-8").rpartition("\nFROM")[2]
    needed = set(re.findall(r"(?m)^ {6}([a-z0-9-]+) \\$", image)) - {"python3"}
    assert {"bubblewrap", "ovmf"} <= needed
    assert needed - _packages(path) == (set() if path == SETUP else {"bubblewrap"})


# --- their scripts, with a stand-in for the grader ------------------------------------------------


def _github() -> tuple[str, str]:
    steps = YAML(typ="safe").load(FILES["github-workflows.json"])["jobs"]["grade"]["steps"]
    named = {step.get("name"): step.get("run") for step in steps}
    return named["Grade"], named["Show"]


def _gitlab() -> tuple[str, str]:
    job = YAML(typ="safe").load(FILES["gitlab-ci.json"])["grade"]
    return "\n".join(job["script"]), "\n".join(job["after_script"])


@pytest.mark.parametrize("parts", [_github, _gitlab])
@pytest.mark.parametrize(("code", "fine"), [(0, True), (1, True), (2, False), (3, False)])
def test_missing_points_do_not_fail_a_job_but_a_broken_grading_does(
    parts: Callable[[], tuple[str, str]], code: int, fine: bool, tmp_path: Path
) -> None:
    host = Host(tmp_path / "host")
    host.answer(json.loads(host.said("report")), code)
    host.hand_in("work", "lab3/ap_start.c", "core/x.c")
    grade, show = (text.replace("/tmp/vmmlab/bin/vmmlab", "vmmlab") for text in parts())
    env: dict[str, Any] = {
        "PATH": f"{host.root}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "GITHUB_STEP_SUMMARY": str(host.root / "summary.md"),
    }

    def run(script: str) -> int:
        words = ["bash", "-eo", "pipefail", "-c", script]
        done = subprocess.run(
            words, cwd=host.root / "work", env=env, capture_output=True, check=False
        )
        return done.returncode

    assert (run(grade) == 0) == fine
    assert host.said("words").startswith("grade lab3 --submission . --json reports/lab3.json")
    assert run(show) == 0
    if parts is _github:
        assert VALIDATORS["github-summary"](host.said("summary.md")) == ""
    else:
        assert VALIDATORS["junit"](host.said("work/reports/junit.xml")) == ""
        quality = host.said("work/reports/code-quality.json")
        assert VALIDATORS["gitlab-codequality"](quality) == ""
