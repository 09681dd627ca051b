"""A small course, reports on it, and a real nbgrader course folder to put them into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradebook_helpers import COURSE, Put, Sync, make_report, write_course

from vmmlab.classroom import gradebook
from vmmlab.classroom.gradebook import Options, Result
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader
from vmmlab.report.model import write_json


@pytest.fixture(autouse=True)
def _apart_from_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ignore the user's own configuration of Jupyter and nbgrader."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
            patch.setenv(f"JUPYTER_{name}", str(tmp_path_factory.getbasetemp() / name))
        yield


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return write_course(tmp_path / "kit", COURSE)


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradebook with two students and nothing else."""
    from nbgrader.api import Gradebook

    from vmmlab.classroom.gradebook.opening import _make

    file = tmp_path_factory.mktemp("template") / "gradebook.db"
    _make(file, "vmm")
    with Gradebook(f"sqlite:///{file}", "vmm") as book:
        book.add_student("alice", first_name="Alice", last_name="Liddell")
        book.add_student("bob")
    return file


@pytest.fixture
def folder(tmp_path: Path, _made_once: Path) -> Path:
    """nbgrader's course folder."""
    root = tmp_path / "nbgrader"
    root.mkdir()
    (root / "nbgrader_config.py").write_text("c.CourseDirectory.course_id = 'vmm'\n")
    (root / "gradebook.db").write_bytes(_made_once.read_bytes())
    return root


# --- reports ---------------------------------------------------------------------------------


@pytest.fixture
def put(tmp_path: Path, course: Course) -> Put:
    """Write a report to reports/STUDENT/labN.json; arguments say where it is not a pass."""

    def write(student: str = "alice", lab: str = "lab3", **more: Any) -> Path:
        path = tmp_path / "reports" / student / f"{lab}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(make_report(more.pop("course", course), lab, **more), path)
        return path

    return write


# --- the gradebook ---------------------------------------------------------------------------


@pytest.fixture
def sync(tmp_path: Path, course: Course, folder: Path) -> Sync:
    """Put all reports of reports/, or the given ones, into the gradebook."""

    def run(*paths: Path, **more: Any) -> Result:
        used = more.pop("course", course)
        say = Reader(more.pop("lang", "en"))
        options = Options(folder=folder, cohort=used.cohort, **more)
        return gradebook.run(used, paths or (tmp_path / "reports",), options, say=say)

    return run
