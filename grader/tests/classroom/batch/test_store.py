"""The folder of a batch: a result counts only when it is whole, and nothing is lost."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path

import fakes
import pytest

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.classroom.batch import store as stores
from vmmlab.classroom.batch.job import Result, Settings
from vmmlab.classroom.batch.record import Record
from vmmlab.classroom.batch.store import Store, opened
from vmmlab.classroom.students import read_timestamp
from vmmlab.report.model import read_json


def record(student: str = "ada", **values) -> Record:
    told = {"lab": "lab1", "fingerprint": "f", "verdict": "graded", "graded_at": "2026-01-01"}
    return Record.model_validate({"student": student, **told, **values})


def result(points: int | None = 3, page: str = "<p>") -> Result:
    return Result("graded", report=fakes.report(points).to_json(), page=page)


def test_a_result_counts_when_its_record_fits(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.record("ada", "lab1") is None
    store.put("lab1", record(), result())
    assert store.record("ada", "lab1").fingerprint == "f"
    store.report_path("ada", "lab1").write_text("{}")
    assert store.record("ada", "lab1") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "vmmlab/batch/9"}'])
def test_half_a_record_is_none(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    store.put("lab1", record(), result())
    (tmp_path / "records" / "ada" / "lab1.json").write_text(text)
    assert store.record("ada", "lab1") is None


def test_what_is_replaced_stays_in_the_history(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for points in (3, 5, 8):
        store.put("lab1", record(), result(points, f"<p>{points}"))
    assert [read_json(path).points for path in store.history("ada", "lab1")] == [3, 5]
    assert (tmp_path / "history/ada/lab1/0002.html").read_text() == "<p>5"
    assert store.page_path("ada", "lab1").read_text() == "<p>8"


def test_no_page_of_another_report_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("lab1", record(), result())
    store.put("lab1", record(), result(page=""))
    assert not store.page_path("ada", "lab1").exists()


def test_the_time_of_handing_in_is_read_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    moment = datetime(2026, 11, 22, 14, 59, tzinfo=UTC)
    store.put("lab1", record(), result(), moment)
    path = store.report_path("ada", "lab1").with_name("lab1.timestamp.txt")
    assert read_timestamp(path) == moment.replace(tzinfo=None)


def test_room_for_pages_ends_before_room_for_reports(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(stores, "MIB", 3000)
    store = Store(tmp_path, 1)
    store.put("lab1", record(), result(page="x" * 2000))
    assert store.pages_left_out == 1
    store._size = 2 * stores.MIB
    with pytest.raises(InfraError, match="share of the disk"):
        store.put("lab1", record("ben"), result(page=""))
    assert store.record("ada", "lab1") is not None


def test_a_full_disk_is_told_of_and_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    store = Store(tmp_path)
    store.put("lab1", record(), result())

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stores, "write_atomically", full)
        with pytest.raises(InfraError, match="disk is full"):
            store.put("lab1", record(fingerprint="g"), result(9))
    assert store.record("ada", "lab1").fingerprint == "f"


def test_one_batch_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(UsageError, match="another batch"), opened(tmp_path):
        pass
    with opened(tmp_path):
        pass


def test_settings_that_change_a_verdict_change_their_digest() -> None:
    one = Settings("/a", "i")
    assert one.digest() == Settings("/b", "i", html=False, lang="ja").digest()
    others = [
        Settings("/a", "j"),
        Settings("/a", "i", hidden=False),
        Settings("/a", "i", seed=1),
        Settings("/a", "i", secret="00"),
        Settings("/a", "i", secret="00", round="2"),
        Settings("/a", "i", compiler="clang"),
    ]
    assert len({one.digest(), *(other.digest() for other in others)}) == 7
    assert "abc" not in repr(Settings("/a", "i", secret="abc"))
