"""What version 0.1.0 has written is read: reports, workspaces, gradebooks (see CONTRIBUTING.md).

The files in `v0.1` were made by that version. They are never made again: a later version gets a
folder of its own beside it.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.course.load import load_course
from vmmlab.i18n.translate import Reader
from vmmlab.report.export import FORMATS, export
from vmmlab.report.html import page
from vmmlab.report.model import read_json
from vmmlab.report.runrecord import RunRecord
from vmmlab.workspace import model as workspaces

THERE = Path(__file__).with_name("v0.1")
REPORTS = ("report.json",)


@pytest.mark.parametrize("name", REPORTS)
def test_reports_are_read_and_shown(name: str) -> None:
    report = read_json(THERE / name)
    old = json.loads((THERE / name).read_text(encoding="utf-8"))
    assert (report.points, report.max) == (old["points"], old["max"])
    assert [check.id for check in report.checks] == [check["id"] for check in old["checks"]]
    made = page(RunRecord.model_validate({"report": report}), Reader())
    assert all(check.id in made for check in report.checks if check.visibility == "visible")


@pytest.mark.parametrize("form", FORMATS)
def test_reports_are_exported(form: str) -> None:
    """The report has a check that was not judged: no format makes 0 points of it."""
    report = read_json(THERE / "report.json")
    if FORMATS[form].ungraded or not FORMATS[form].grade:
        assert export(FORMATS[form], [report], lambda _: Reader(), environment={})
    else:
        with pytest.raises(InfraError, match="no grade yet"):
            export(FORMATS[form], [report], lambda _: Reader(), environment={})


@pytest.mark.parametrize("name", REPORTS)
def test_no_field_has_gone(name: str) -> None:
    """Within a version of the schema fields are only added."""
    old = json.loads((THERE / name).read_text(encoding="utf-8"))
    new = json.loads(read_json(THERE / name).to_json())
    assert _lost(old, new) == []


def _lost(old: Any, new: Any, place: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{place}.{key}" for key in old.keys() - new.keys()]
        return gone + [one for key in old.keys() & new.keys()
                       for one in _lost(old[key], new[key], f"{place}.{key}")]  # fmt: skip
    if isinstance(old, list) and isinstance(new, list):
        return [
            one
            for n, (a, b) in enumerate(zip(old, new, strict=True))
            for one in _lost(a, b, f"{place}[{n}]")
        ]
    return [] if old == new else [place]


def test_a_report_of_a_later_version_says_so(tmp_path: Path) -> None:
    text = (THERE / "report.json").read_text(encoding="utf-8")
    (tmp_path / "lab3.json").write_text(text.replace("vmmlab/report/2", "vmmlab/report/99"))
    with pytest.raises(UsageError) as caught:
        read_json(tmp_path / "lab3.json")
    assert caught.value.found == "vmmlab/report/99"


def test_a_workspace_is_read() -> None:
    found = workspaces.read(THERE)
    assert (found.student, found.version, found.lang) == ("Ada Lovelace", "0.1.0", "en")
    assert (found.cohort.name, found.cohort.apinit_addr) == ("spring", 0x84260)
    assert found.mark == "d4d61f235718d9e9a7ea4be58cf15e3f"


def test_a_workspace_of_a_later_version_says_so(tmp_path: Path) -> None:
    text = (THERE / "workspace.toml").read_text(encoding="utf-8")
    (tmp_path / "workspace.toml").write_text(text.replace("schema = 1", "schema = 99"))
    with pytest.raises(UsageError, match="another version"):
        workspaces.read(tmp_path)


def test_a_gradebook_goes_on(tmp_path: Path) -> None:
    """A score by hand stays; the same report changes nothing; a new student comes in."""
    pytest.importorskip("nbgrader")
    from vmmlab.classroom import gradebook
    from vmmlab.classroom.gradebook import Options

    kit, folder = tmp_path / "kit", tmp_path / "nbgrader"
    (kit / "labs").mkdir(parents=True)
    folder.mkdir()
    (kit / "course.yml").write_bytes((THERE / "course.yml").read_bytes())
    course = load_course(kit)
    (folder / "nbgrader_config.py").write_text("c.CourseDirectory.course_id = 'vmm'\n")
    with closing(sqlite3.connect(folder / "gradebook.db")) as book:
        book.executescript((THERE / "gradebook.sql").read_text(encoding="utf-8"))
        book.execute("update grade set manual_score = 1 where auto_score = 0")
        book.commit()
    for student in ("alice", "zoe"):
        path = tmp_path / "reports" / student / "lab3.json"
        path.parent.mkdir(parents=True)
        path.write_bytes((THERE / "alice-lab3.json").read_bytes())
    options = Options(folder=folder, cohort=course.cohort, create_students=True)
    result = gradebook.run(course, [tmp_path / "reports"], options)
    assert not result.refused
    alice, zoe = result.synced
    assert (alice.changes.before, alice.changes.after, alice.changes.what) == (12, 12, [])
    assert (zoe.changes.before, zoe.changes.after) == (None, 11)
