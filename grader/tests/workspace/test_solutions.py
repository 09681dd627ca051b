"""Which solutions a reader has asked to see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vmmlab.course.load import load_course
from vmmlab.workspace.solutions import mark_seen, may_compare, seen

ROOT = Path(__file__).parents[3]


def test_only_what_was_asked_for(tmp_path: Path) -> None:
    course = load_course(ROOT)
    assert not may_compare(course, tmp_path, "lab3")
    mark_seen(tmp_path, "lab3")
    mark_seen(tmp_path, "lab1")
    assert seen(tmp_path) == {"lab1", "lab3"}
    assert may_compare(course, tmp_path, "lab3")
    assert not may_compare(course, tmp_path, "lab2")


def test_in_a_self_study_course_everything(tmp_path: Path) -> None:
    assert may_compare(replace(load_course(ROOT), kind="self-study"), tmp_path, "lab2")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seen": 3}', '{"seen": [3]}', "\x00"])
def test_a_damaged_file_shows_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / ".vmmlab").mkdir()
    (tmp_path / ".vmmlab" / "solutions.json").write_text(text)
    assert seen(tmp_path) == frozenset()
    mark_seen(tmp_path, "lab1")
    assert seen(tmp_path) == {"lab1"}
