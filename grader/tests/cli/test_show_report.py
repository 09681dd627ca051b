"""`vmmlab show REPORT.json`: a report that was written before, in the terminal or as a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmmlab.cli import main
from vmmlab.course.find import find_course
from vmmlab.report.schema import SAMPLE_FILE

HIDDEN = "lab3.hidden.secret"
TITLE = "The secret title."


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "ada" / "lab3.json"
    path.parent.mkdir()
    sample = json.loads(SAMPLE_FILE.read_text(encoding="utf-8"))
    failed = next(check for check in sample["checks"] if check["outcome"] == "fail")
    failed |= {"id": HIDDEN, "visibility": "hidden", "title": {"text": TITLE}}
    path.write_text(json.dumps(sample | {"hidden_judged": True}))
    return path


def run(*words: object) -> int:
    kit = str(find_course(Path(__file__)))
    return main.main(["show", *map(str, words), "--no-open", "--course", kit])


@pytest.mark.parametrize("language", ["en", "ja"])
def test_in_the_terminal(report: Path, language: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(report, "--text", "--lang", language) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("lab3  ")
    assert ("点" in shown) == (language == "ja")
    assert list(report.parent.iterdir()) == [report]


def test_as_a_page(report: Path, tmp_path: Path) -> None:
    with_pictures = report.with_suffix(".html")  # of `vmmlab batch`
    with_pictures.write_text("pictures")
    assert run(report) == run(report, "--student") == 0
    assert with_pictures.read_text() == "pictures"
    page = report.with_suffix(".report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert run(report, "--html", tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page


def test_for_the_student_nothing_is_hidden_in_it(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--text"], []):
        assert run(report, *words) == 0  # known-wrong case: the instructor's has them
        mine = capsys.readouterr().out + read(report, ".report.html")
        assert run(report, "--student", *words) == 0
        theirs = capsys.readouterr().out + read(report, ".student.html")
        assert TITLE in mine
        assert TITLE not in theirs
        assert HIDDEN not in theirs


def read(report: Path, end: str) -> str:
    page = report.with_suffix(end)
    return page.read_text(encoding="utf-8") if page.is_file() else ""


def test_what_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lab3.json").write_text("{}")
    assert run(tmp_path / "lab3.json") == 2
    err = capsys.readouterr().err
    assert "this is not a report" in err
    assert "grade the submission again with this version" in err
    assert run(tmp_path / "nowhere.json") == 2
    assert "cannot be read" in capsys.readouterr().err
