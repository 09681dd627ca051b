"""The registry of probes: names that are taken, unknown names, parameters."""

from dataclasses import dataclass, field

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.base.registry import Scope
from vmmlab.probes import (
    BaseProbe,
    Probe,
    Scenario,
    make_probe,
    probe,
    probe_kind,
    probe_names,
    scenario_of,
)


@pytest.fixture(autouse=True)
def _own_scope():
    with Scope().in_use():
        yield


@dataclass
class Counting(BaseProbe):
    """Takes the delays of every probe, and two parameters of its own."""

    cpu: int = 1
    often: bool = False
    seen: int = field(default=0, init=False)


def test_a_class_is_registered_and_made_by_its_name():
    assert probe("counting", cost=4)(Counting) is Counting
    assert "counting" in probe_names()
    kind = probe_kind("counting")
    assert (kind.make, kind.cost) == (Counting, 4)
    assert kind.parameters == {"cpu", "often", "init_us", "sipi_us", "poll_us", "wait_us"}
    made = make_probe("counting", {"cpu": 2, "wait_us": 7, "cpus": 4, "seen": 9})
    assert made == Counting(delays={"wait_us": 7}, cpu=2)
    assert make_probe("counting", {}) is not make_probe("counting", {})


def test_two_probes_of_one_name():
    with pytest.raises(CourseError) as caught:
        probe("ladder")(Counting)
    assert str(caught.value.message) == "probe 'ladder' is registered twice."
    assert str(caught.value.found) == "vmmlab.probes.ladder.LadderProbe"
    assert str(caught.value.next_step) == "give one of the two another name"
    assert probe_kind("ladder").make.__name__ == "LadderProbe"


def test_two_labs_may_each_have_a_probe_of_the_same_name():
    def load():
        @probe("counting")
        @dataclass
        class Again(Probe):
            pass

        return Again

    first = load()
    with pytest.raises(CourseError, match="'counting' is registered twice"):
        load()
    with Scope().in_use():
        assert "counting" not in probe_names()
        second = load()
        assert probe_kind("counting").make is second
    assert probe_kind("counting").make is first


def test_a_scenario_keeps_the_probe_of_its_lab():
    probe("counting", cost=7)(Counting)
    made = scenario_of("counting", {"cpu": 2})
    with Scope().in_use():
        assert made.kind.make is Counting
        assert made == Scenario("counting", "counting", (("cpu", 2),))
        with pytest.raises(CourseError, match="no probe 'counting'"):
            scenario_of("counting", {})


@pytest.mark.parametrize(
    ("name", "hint"), [("lader", "did you mean 'ladder'?"), ("xyzzy", ""), ("", "")]
)
def test_an_unknown_probe(name, hint):
    for ask in (probe_kind, lambda asked: make_probe(asked, {})):
        with pytest.raises(CourseError) as caught:
            ask(name)
        assert str(caught.value.message) == f"there is no probe {name!r}."
        assert str(caught.value.expected) == f"one of {', '.join(probe_names())}"
        assert str(caught.value.next_step) == hint
