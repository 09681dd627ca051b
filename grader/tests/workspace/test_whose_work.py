"""Whose work a command is about, and what that means for trust and cohort."""

from pathlib import Path

import pytest

from vmmlab.course import model as course
from vmmlab.course.cohort import Cohort
from vmmlab.workspace.model import Workspace
from vmmlab.workspace.source import Source

COURSE = """\
schema: 1
title: A course
labs:
  lab2: {title: Stack, files: {lab2/stack.c: [bsp_continue]}}
  lab3:
    title: The trampoline
    files: {lab3/apinit.S: [cpuinit_start], lab3/ap_start.c: [ap_start]}
"""


@pytest.fixture
def kit(tmp_path: Path) -> course.Course:
    root = tmp_path / "kit"
    (root / "labs" / "lab3").mkdir(parents=True)
    (root / "labs" / "lab3" / "test_lab3.py").write_text("")
    (root / "vmm-skeleton" / "{{cookiecutter.slug}}").mkdir(parents=True)
    (root / "course.yml").write_text(COURSE)
    return course.load(root)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lab = tmp_path / "sub" / "lab3"
    lab.mkdir(parents=True)
    (lab / "apinit.S").write_text("nop\n")
    (lab / "ap_start.c").write_text("int x;\n")
    return lab.parent


@pytest.fixture
def here(folder: Path) -> Workspace:
    return Workspace(folder.resolve(), Cohort.derive("autumn"), "Ada", "0.1.0")


def test_the_reference_is_nobodys_folder(kit: course.Course, here: Workspace) -> None:
    source = Source("reference", here)
    assert (source.is_reference, source.own, source.trusted) == (True, None, True)
    assert source.cohort(kit).name == kit.cohort
    assert source.cohort(kit, "spring").name == "spring"
    (kit.root / "reference" / "lab2").mkdir(parents=True)
    (kit.root / "reference" / "lab2" / "stack.c").write_text("int y;\n")
    assert source.take(["lab2"], kit).files == {"lab2/stack.c": b"int y;\n"}


def test_ones_own_workspace_is_trusted_and_has_its_own_numbers(
    folder: Path, kit: course.Course, here: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name in (".", str(folder)):
        source = Source(name, here)
        assert (source.is_reference, source.own, source.trusted) == (False, here, True)
        assert source.cohort(kit).name == "autumn"
        assert source.cohort(kit, "spring").name == "spring"
        assert set(source.take(["lab3"], kit).files) == {"lab3/apinit.S", "lab3/ap_start.c"}


def test_somebody_elses_folder_is_not_trusted(
    folder: Path, kit: course.Course, here: Workspace, tmp_path: Path
) -> None:
    for source in (Source(str(tmp_path), here), Source(str(folder))):
        assert (source.is_reference, source.own, source.trusted) == (False, None, False)
        assert source.cohort(kit).name == kit.cohort
