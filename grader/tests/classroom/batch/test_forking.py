"""The process that forks a child for each job: whatever a child does, the next one is graded."""

from __future__ import annotations

import os
from pathlib import Path

import fakes
import pytest

from vmmlab.base.errors import InfraError
from vmmlab.classroom.batch import worker
from vmmlab.classroom.batch.job import Job, Result, Settings
from vmmlab.classroom.batch.window import failure_of

SETTINGS = Settings("/", fakes.IDENTITY)


def job(*lines: str, deadline_s: float = 600) -> Job:
    files = {"lab1/vmm_main.c": "\n".join(lines).encode()}
    return Job("key", "lab1", files, "dev", SETTINGS, deadline_s=deadline_s)


@pytest.fixture(scope="module")
def warm():
    process = worker.Warm(SETTINGS, ("lab1",), fakes.REHEARSE, fakes.GRADE)
    yield process
    process.close()


def points(result: Result) -> float | None:
    from vmmlab.report.model import Report

    return Report.model_validate_json(result.report).points


def test_a_job_is_graded(warm) -> None:
    result = warm.grade(job("POINTS 7"))
    assert (result.end, points(result)) == ("graded", 7)
    assert result.wall_s > 0


@pytest.mark.parametrize(
    ("line", "end", "words"),
    [
        ("KILL", "died", "SIGKILL"),
        ("RAISE one two", "died", "ValueError: one two"),
        ("EXIT", "died", "status 0"),
        ("FAIL no disk", "failed", "no disk"),
    ],
)
def test_a_bad_end_is_told_and_costs_nothing_else(warm, line: str, end: str, words: str) -> None:
    result = warm.grade(job(line))
    assert result.end == end
    assert words in str(result.reason)
    assert failure_of(result)
    assert warm.grade(job()).end == "graded"


def test_a_child_that_does_not_end_is_ended(warm, tmp_path: Path) -> None:
    result = warm.grade(job(f"WAIT {tmp_path}/waits", deadline_s=0.2))
    assert result.end == "overdue"
    assert warm.grade(job()).end == "graded"


def test_nothing_that_a_child_leaves_behind_stays(warm, tmp_path: Path) -> None:
    result = warm.grade(job(f"LEAVE {tmp_path}/pid"))
    assert result.end == "graded"
    assert fakes.gone(int((tmp_path / "pid").read_text()))


def test_everything_ends_with_the_worker(tmp_path: Path) -> None:
    process = worker.Warm(SETTINGS, ("lab1",), fakes.REHEARSE, fakes.GRADE)
    server = process._process.pid
    process._connection.close()  # what the kernel does when the worker is killed
    assert fakes.gone(server)
    process.close()


def test_a_server_that_died_is_told_of(tmp_path: Path) -> None:
    process = worker.Warm(SETTINGS, ("lab1",), fakes.REHEARSE, fakes.GRADE)
    os.kill(process._process.pid, 9)
    with pytest.raises(InfraError):
        process.grade(job())


def test_a_worker_with_another_grader_gives_no_verdict(monkeypatch) -> None:
    monkeypatch.setenv("FAKE_IDENTITY", "another")
    result = Result.from_json(worker.grade(job(), ("lab1",), fakes.REHEARSE, fakes.GRADE))
    assert result.end == "stranger"
    assert not result.report
    worker._threads.warm.close()
