"""The registry of probes: names that are taken, unknown names, parameters."""

from dataclasses import dataclass, field

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.probes import BaseProbe, Probe, make_probe, probe, probe_kind, probe_names, registry


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))


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
    assert str(caught.value.found) == "vmmlab.probes.bringup.BringupProbe"
    assert str(caught.value.next_step) == "give one of the two another name"
    assert probe_kind("ladder").make.__name__ == "BringupProbe"


def test_a_module_that_is_loaded_again_replaces_its_probe():
    def load():
        @probe("counting")
        @dataclass
        class Again(Probe):
            pass

        return Again

    first, second = load(), load()
    assert first is not second
    assert probe_kind("counting").make is second


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
