"""The worksheet of a lab in a workspace: it is the students', and is opened where it lies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.course import materials
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.student import worksheet
from vmmlab.workspace.model import Workspace

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, Cohort.derive("autumn"), "Ada", "0")


@pytest.fixture(scope="module")
def kit() -> Course:
    return load_course(ROOT)


def test_one_is_made_without_its_solutions(here: Workspace, kit: Course) -> None:
    pytest.importorskip("nbgrader")
    path = worksheet.worksheet_of(here, kit, "lab1", "ja")
    assert path == here.root / "lab1" / "worksheet.ja.ipynb"
    text = path.read_text()
    assert "YOUR CODE HERE" in text
    assert "cohort='autumn'" in text
    assert "BEGIN" not in text


def test_one_that_is_there_is_not_touched(here: Workspace, kit: Course) -> None:
    mine = here.root / "lab1" / "worksheet.ipynb"
    mine.parent.mkdir()
    mine.write_text("my answers")
    assert worksheet.worksheet_of(here, kit, "lab1", "") == mine
    assert mine.read_text() == "my answers"


def test_without_nbgrader_the_command_says_what_to_install(
    here: Workspace, kit: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    with pytest.raises(InfraError) as caught:
        worksheet.worksheet_of(here, kit, "lab1", "")
    assert caught.value.next_step == "pip install 'vmmlab[worksheets]'"
    assert not (here.root / "lab1").exists()


def test_a_lab_without_a_worksheet(
    here: Workspace, kit: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = materials.worksheet
    monkeypatch.setattr(
        materials,
        "worksheet",
        lambda course, lab, *rest: None if lab == "lab8" else real(course, lab, *rest),
    )
    monkeypatch.setattr(worksheet, "text_for", lambda *_: None)
    with pytest.raises(UsageError, match="lab8 has no worksheet") as caught:
        worksheet.worksheet_of(here, kit, "lab8", "")
    assert "lab1, lab2" in str(caught.value)


def test_it_is_opened_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Sequence[str], Path]] = []

    def run(words: Sequence[str], *, cwd: Path, check: bool) -> SimpleNamespace:
        ran.append((words, cwd))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert worksheet.open_notebook(tmp_path / "worksheet.ipynb") == 0
    assert ran == [([sys.executable, "-m", "notebook", "worksheet.ipynb"], tmp_path)]


def test_without_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InfraError, match="Jupyter is not installed"):
        worksheet.open_notebook(tmp_path / "worksheet.ipynb")
