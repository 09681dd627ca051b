"""A workspace of its own for each test, copied from one that is made once."""

import shutil
from pathlib import Path

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference as reference_of
from vmmlab.student.new import new_workspace
from vmmlab.workspace.new import Answers

KIT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def english(monkeypatch):
    """Leave no other language behind: it belongs to the process."""
    monkeypatch.setattr("vmmlab.worksheet.language._notebook", "en")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    kit = load_course(KIT)
    answers = Answers(student="Ada", cohort=Cohort.derive("dev"))
    return new_workspace(tmp_path_factory.mktemp("made") / "vmm", kit, answers)


@pytest.fixture
def workspace(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "vmm", symlinks=True))


@pytest.fixture
def reference():
    kit = load_course(KIT)
    files = reference_of(kit, list(kit.labs)).files
    return {path: content.decode() for path, content in files.items()}
