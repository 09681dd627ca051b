"""The file with a lab's causes: read once, and again when it has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.checks import causes
from vmmlab.checks.causes import Causes


def test_it_is_read_once_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "causes.yml"
    path.write_text("some-cause: {next: Look there.}\n")
    times: list[Path] = []
    read = causes._read
    monkeypatch.setattr(causes, "_read", lambda one: (times.append(one), read(one))[1])
    assert Causes(path).of("some-cause").next == "Look there."
    assert Causes(path).of("some-cause").next == "Look there."
    assert len(times) == 1
    path.write_text("some-cause: {next: Look here.}\n")
    os.utime(path, ns=(1, 1))
    assert Causes(path).of("some-cause").next == "Look here."
    assert len(times) == 2


def test_a_wrong_file_is_told_of_each_time(tmp_path: Path) -> None:
    path = tmp_path / "causes.yml"
    path.write_text("- a list\n")
    for _ in range(2):
        with pytest.raises(CourseError, match="does not list causes"):
            Causes(path).load()


def test_no_file_has_no_causes(tmp_path: Path) -> None:
    assert Causes(tmp_path / "none.yml").load() == {}
