"""One boot for each scenario, retries after infrastructure failures, and the runner's end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.checks import Scenario
from vmmlab.grading.observations import BOOTS_AT_MOST, Observations
from vmmlab.grading.request import RunFacts
from vmmlab.images.model import BuildFailed, Diagnostic

ONE, TWO = Scenario("one"), Scenario("two")


class Runner:
    """Gives the answers one after the other, and records every call."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[str] = []

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        self.calls.append("prepare " + " ".join(one.name for one in scenarios))

    def observe(self, scenario: Scenario) -> object:
        self.calls.append(f"observe {scenario.name}")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def facts(self) -> RunFacts:
        self.calls.append("facts")
        return RunFacts(notes=["a note"])

    def close(self) -> None:
        self.calls.append("close")


def observations(runner: Runner) -> Observations:
    return Observations(None, lambda request: runner)  # type: ignore[arg-type]


def test_each_scenario_is_prepared_and_booted_once() -> None:
    runner = Runner("seen")
    seen = observations(runner)
    seen.prepare([ONE])
    seen.prepare([ONE, TWO, TWO])
    seen.prepare([TWO])
    assert [seen.of(ONE), seen.of(ONE)] == ["seen", "seen"]
    assert runner.calls == ["prepare one", "prepare two", "observe one"]


def test_an_infrastructure_failure_is_retried_and_then_final() -> None:
    died = InfraError("QEMU died")
    seen = observations(runner := Runner(died, "seen", *[died] * BOOTS_AT_MOST))
    assert seen.of(ONE) == "seen"
    assert [str(one) for one in seen.notes] == ["The boot (4 CPUs) was repeated: QEMU died"]
    for _ in range(2):
        with pytest.raises(InfraError):
            seen.of(TWO)
    assert runner.calls.count("observe two") == BOOTS_AT_MOST


def test_a_build_failure_ends_all_boots() -> None:
    failed = BuildFailed("lab3", [Diagnostic("lab3/a.c", 1, 1, "error", "wrong")])
    seen = observations(runner := Runner(failed))
    for scenario in (ONE, TWO):
        with pytest.raises(BuildFailed):
            seen.of(scenario)
    assert seen.build_failed is failed
    assert runner.calls == ["observe one"]


def test_a_bug_keeps_its_traceback() -> None:
    seen = observations(Runner(KeyError("bug")))
    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            seen.of(ONE)
        assert "observe" in [entry.name for entry in caught.traceback]


def test_close_takes_the_facts_once_and_loses_no_process() -> None:
    seen = observations(runner := Runner())
    seen.close()
    assert runner.calls == [], "there is nothing to end"
    seen.start()
    seen.close()
    seen.close()
    assert runner.calls == ["facts", "close"]
    assert [str(one) for one in seen.facts.notes] == ["a note"]


def test_without_facts_the_runner_is_still_ended() -> None:
    runner = Runner()
    runner.facts = lambda: 1 / 0  # type: ignore[assignment,return-value]
    seen = observations(runner)
    seen.start()
    seen.close()
    assert runner.calls == ["close"]
    assert [str(one) for one in seen.notes] == [
        "other notes of the boots are lost: division by zero"
    ]
