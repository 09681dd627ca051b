"""The runner that boots: what `close` ends, and what it leaves to the machines."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.checks import Scenario
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.grading import boots
from vmmlab.grading.request import RunRequest

ROOT = Path(__file__).resolve().parents[3]
SCENARIO = Scenario("ladder")


class NoBuilder:
    """Builds nothing, at once."""

    def patched(self, patch: object) -> NoBuilder:
        return self

    def build(self, *what: object) -> Any:
        return SimpleNamespace(warnings=())

    def close(self) -> None:
        pass


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(boots, "make_builder", lambda *what: NoBuilder())
    made = boots.LabRunner(
        RunRequest(
            course=load_course(ROOT),
            lab="lab3",
            files={},
            cohort=Cohort.derive("dev"),
            seed=1,
            sandbox_required=False,
        )
    )
    yield made
    made.close()


class SlowMachine:
    """In place of `boot`: a library's task at work beside it, which its clean-up still needs."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ends: list[str] = []

    async def boot(self, *what: object) -> object:
        answer = asyncio.get_running_loop().create_future()

        async def library() -> None:
            await answer

        task = asyncio.create_task(library())
        self.began.set()
        try:
            await asyncio.get_running_loop().create_future()  # until it is cancelled
        finally:
            answer.set_result(None)
            await asyncio.wait((task,))
            self.ends.append("cancelled" if task.cancelled() else "in order")
        return None


def test_close_cancels_boots_but_not_the_tasks_that_end_them(
    runner: boots.LabRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = SlowMachine()
    monkeypatch.setattr(boots, "boot", machine.boot)
    runner.prepare([SCENARIO])
    assert machine.began.wait(30)
    runner.close()
    assert machine.ends == ["in order"]
    runner.close()


def test_close_ends_boots_that_still_wait_for_a_free_slot(
    runner: boots.LabRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = SlowMachine()
    monkeypatch.setattr(boots, "boot", machine.boot)
    runner.prepare([Scenario("ladder", memory_mib=64 + number) for number in range(20)])
    assert machine.began.wait(30)
    runner.close()
    assert set(machine.ends) == {"in order"}
    assert len(machine.ends) < 20


def test_after_an_infrastructure_failure_it_boots_again(
    runner: boots.LabRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [InfraError("QEMU died"), "seen"]

    async def boot(*what: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(boots, "boot", boot)
    with pytest.raises(InfraError, match="QEMU died"):
        runner.observe(SCENARIO)
    assert runner.observe(SCENARIO) == "seen"
    assert runner.observe(SCENARIO) == "seen", "and is not booted a third time"


def test_each_scenario_is_built_and_booted_with_its_cohort(
    runner: boots.LabRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def boot(image: object, scenario: Scenario, cohort: Cohort, *more: object) -> Any:
        return cohort.name

    monkeypatch.setattr(boots, "boot", boot)
    asked = [Scenario("a"), Scenario("b", cohort="other"), Scenario("c", cohort="third")]
    assert [runner.observe(one) for one in asked] == ["dev", "dev2", "third"]
