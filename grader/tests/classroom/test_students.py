"""The student of a report, the format of a roster, the time of handing in."""

from datetime import datetime
from pathlib import Path

import pytest

from vmmlab.base.errors import UsageError
from vmmlab.classroom import students


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def test_the_folder_names_the_student(tmp_path: Path) -> None:
    path = tmp_path / "alice" / "lab3.json"
    touch(path)
    (one,) = students.sources([path])
    assert (one.student, one.lab) == ("alice", "lab3")


def test_the_option_wins_over_the_folder(tmp_path: Path) -> None:
    (one,) = students.sources([tmp_path / "old" / "lab3.json"], "alice")
    assert one.student == "alice"


def test_a_file_of_another_name_says_nothing_about_a_student(tmp_path: Path) -> None:
    (one,) = students.sources([tmp_path / "alice" / "report.json"])
    assert (one.student, one.lab) == ("", "")


def test_a_file_named_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "alice" / "lab3.json")
    monkeypatch.chdir(tmp_path / "alice")
    assert students.sources([Path("lab3.json")])[0].student == "alice"
    assert students.sources([Path()])[0].student == "alice"


def test_a_folder_stands_for_its_reports(tmp_path: Path) -> None:
    names = ("alice/lab3.json", "alice/lab1.json", "bob/lab3.json")
    touch(*(tmp_path / name for name in names))
    touch(tmp_path / "bob" / "notes.json", tmp_path / "bob" / "old" / "lab3.json")
    found = students.sources([tmp_path, tmp_path / "bob" / "lab3.json"])
    assert [(one.student, one.lab) for one in found] == [
        ("alice", "lab1"),
        ("alice", "lab3"),
        ("bob", "lab3"),
    ]


def test_a_folder_without_reports_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no reports in this folder"):
        students.sources([tmp_path])


def test_an_option_that_is_no_id() -> None:
    with pytest.raises(UsageError, match="cannot be a student's id"):
        students.sources([], "../x")


# --- when --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22 03:00:00 UTC",
        "2026-11-22 12:00:00 +0900\n",
        "2026-11-22 12:00:00.000000 +0900",
        "2026-11-22T03:00:00Z",
        "2026-11-21T22:00:00-05:00",
    ],
)
def test_times(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lab3.timestamp.txt"
    path.write_text(text)
    assert students.read_timestamp(path) == datetime(2026, 11, 22, 3, 0)


@pytest.mark.parametrize(
    "text",
    ["2026-11-22 12:00:00 JST", "2026-11-22 12:00:00", "2026-13-22 12:00:00 UTC", "", "yesterday"],
)
def test_a_time_without_a_known_zone_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lab3.timestamp.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match="not a time"):
        students.read_timestamp(path)


def test_nbgrader_takes_a_zone_it_does_not_know_for_utc() -> None:
    """The known-wrong case."""
    from nbgrader.utils import parse_utc

    assert parse_utc("2026-11-22 12:00:00 JST") == datetime(2026, 11, 22, 12, 0)


def test_no_file_no_time(tmp_path: Path) -> None:
    assert students.read_timestamp(tmp_path / "lab3.timestamp.txt") is None
