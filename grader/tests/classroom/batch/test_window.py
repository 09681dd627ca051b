"""What `Window` does with a cluster that has no workers."""

from __future__ import annotations

from typing import Any

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.base.notices import listening
from vmmlab.classroom.batch import window
from vmmlab.classroom.batch.job import Job, Settings
from vmmlab.classroom.batch.window import Window


class Empty:
    """A client of a cluster that runs and has no workers."""

    status = "running"

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {}}

    def cancel(self, futures: object, force: bool) -> None:
        pass


def test_it_says_at_once_that_it_waits_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "_LOOK_S", 0.001)
    job = Job("key", "lab1", {}, "dev", Settings("/", "identity"))
    client: Any = Empty()
    said: list[str] = []
    with (
        listening(lambda text: said.append(str(text))),
        pytest.raises(InfraError, match="the cluster has no workers"),
    ):
        list(Window(client, ("lab1",)).run([job]))
    assert said == ["the cluster has no workers: waiting for some"]
