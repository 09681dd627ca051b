"""What a whole batch may use, and each grading's share of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fakes
import pytest

from vmmlab.base.errors import UsageError
from vmmlab.classroom.batch.share import Share, exceeded
from vmmlab.classroom.batch.window import Window

SHARE = Share(processes=100, scratch_mib=200)


@pytest.mark.parametrize(
    ("processes", "scratch", "most"),
    [(0, 0, 0), (100, 0, 1), (399, 0, 3), (0, 400, 2), (1000, 400, 2), (200, 10_000, 2)],
)
def test_how_many_gradings_fit(processes: int, scratch: int, most: int) -> None:
    assert SHARE.fit(processes, scratch) == most


@pytest.mark.parametrize(("processes", "scratch"), [(99, 0), (0, 199), (99, 10_000)])
def test_not_one_fits(processes: int, scratch: int) -> None:
    with pytest.raises(UsageError, match=r"no grading fits in") as caught:
        SHARE.fit(processes, scratch)
    assert "at least" in str(caught.value.expected)


def test_what_is_exceeded(tmp_path: Path) -> None:
    def told(share: Share) -> str:
        return str(exceeded(os.getpid(), tmp_path, share))

    assert told(SHARE) == ""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(bytes(3 << 20))
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)  # takes nothing
    (tmp_path / "link").symlink_to("/usr")
    assert told(Share(scratch_mib=4)) == ""
    assert "2 MiB of temporary files" in told(Share(scratch_mib=2))
    assert "more than 0 processes" in told(Share(processes=0))


class Cluster:
    """As much of Dask's client as a window asks for the number of workers."""

    status = "running"

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {f"tls://{n}": {"nthreads": 2} for n in range(3)}}


@pytest.mark.parametrize(("most", "room"), [(0, 6), (4, 4), (10, 6)])
def test_a_cap_is_kept_on_any_cluster(most: int, room: int) -> None:
    assert Window(Cluster(), [], most=most)._room() == room


@pytest.mark.full
def test_a_cap_on_the_batch_is_kept_and_told(tmp_path: Path) -> None:
    """Each grading takes the place that there is for one."""
    place = tmp_path / "place"
    for number in range(6):
        fakes.put(tmp_path / "class", f"s{number}", f"ALONE {place}")
    outcome, _ = fakes.run(tmp_path / "class", tmp_path / "out", processes=128)
    assert [one.verdict for one in outcome.records] == ["graded"] * 6
    page = outcome.page.read_text(encoding="utf-8")
    assert "all gradings together: 128 processes, 256 MiB of temporary files" in page
