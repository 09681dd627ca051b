"""A scenario takes the parameters that mean something, and no other."""

import inspect
import re
from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.checks import parameters, scenario
from vmmlab.grading import boots as runner
from vmmlab.probes import make_probe, probe_kind, probe_names
from vmmlab.probes.base import DELAY_FIELDS

ROOT = Path(__file__).parents[3]
DELAYS = frozenset(DELAY_FIELDS)
OF_PROBE = {
    "end": DELAYS,
    "rungs": DELAYS,
    "ladder": DELAYS,
    "delay": frozenset(),
    "initfuncs": frozenset({"functions"}),
    "uefi": frozenset(),
    "switch": DELAYS | {"swap", "elsewhere"},
    "calls": frozenset(),
    "late-ap": DELAYS | {"cpu"},
    "missing-ap": DELAYS | {"cpu"},
    "exclusion": frozenset(),
    "barrier": frozenset(),
}
"""What each probe takes besides the parameters of every scenario: a new field of a probe's class
is a new parameter, and belongs here and on the page."""


@pytest.mark.parametrize(
    ("params", "said", "hint"),
    [
        ({"prob": "ladder"}, "there is no parameter prob.", "did you mean probe?"),
        ({"cpuz": 4}, "there is no parameter cpuz.", "did you mean cpu?"),
        ({"firmwre": "seabios"}, "there is no parameter firmwre.", "did you mean firmware?"),
        ({"xyzzy": 1}, "there is no parameter xyzzy.", ""),
        ({"probe": "lader"}, "there is no probe lader.", "did you mean ladder?"),
        ({"probe": 3}, "there is no probe 3.", ""),
        (
            {"probe": "ladder", "elsewhere": 1},
            "the probe ladder takes no parameter elsewhere.",
            "remove elsewhere, or choose a probe that takes it: switch",
        ),
        (
            {"cpu": 2},
            "the probe end takes no parameter cpu.",
            "remove cpu, or choose a probe that takes it: late-ap, missing-ap",
        ),
        (
            {"probe": "uefi", "functions": 9},
            "the probe uefi takes no parameter functions.",
            "remove functions, or choose a probe that takes it: initfuncs",
        ),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(params, said, hint):
    with pytest.raises(CourseError) as caught:
        scenario("x", **params)
    assert re.fullmatch(r".*test_parameters\.py:[0-9]+: scenario x: (.*)", caught.value.message)
    assert caught.value.message.endswith(said)
    assert caught.value.expected.startswith("one of ")
    assert caught.value.next_step == hint


@pytest.mark.parametrize("probe", sorted(OF_PROBE))
def test_what_a_probe_takes_is_accepted(probe):
    params = dict.fromkeys(parameters.EVERYWHERE | OF_PROBE[probe], 1)
    assert scenario("x", **(params | {"probe": probe})).probe == probe


def test_the_place_of_the_scenario_is_named(kit):
    kit.write("\nX = scenario('x', cpuz=1)\n")
    with pytest.raises(CourseError, match=r"test_lab3\.py:4: scenario x: there is no parameter"):
        kit.grade()


def test_the_parameters_that_a_boot_asks_for_are_those_there_are():
    asked = set(re.findall(r'scenario\.get\("(\w+)"', inspect.getsource(runner)))
    asked |= set(runner.BUILD_PARAMS)
    of_probes = asked - parameters.EVERYWHERE
    assert asked >= parameters.EVERYWHERE
    assert of_probes <= frozenset().union(*OF_PROBE.values())


def test_a_probe_takes_the_parameters_of_its_class():
    assert {name: probe_kind(name).parameters for name in probe_names()} == OF_PROBE


def test_every_parameter_of_a_probe_reaches_it():
    numbers = {name: number for number, name in enumerate(sorted(DELAYS), 1)}
    switch = make_probe("switch", {"swap": 1, "elsewhere": 2, "cpus": 4, **numbers})
    assert (switch.swap, switch.elsewhere, switch.delays) == (1, 2, numbers)
    assert make_probe("end", {"cpus": 4, "poll_us": 3}).delays == {"poll_us": 3}
    assert make_probe("late-ap", {"cpu": 3}).cpu == 3
    assert make_probe("initfuncs", {"functions": 9}).functions == 9


@pytest.mark.parametrize("name", ["probes.md", "probes.ja.md"])
def test_the_page_lists_the_parameters_of_every_scenario(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    table = text.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    listed = {
        key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert listed == parameters.EVERYWHERE | DELAYS


@pytest.mark.parametrize(("name", "word"), [("probes.md", "not with "), ("probes.ja.md", "）。")])
def test_the_page_names_the_probes_that_take_no_delays(name, word):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `init_us`"))
    named = set(re.findall(r"`([\w-]+)`", row.partition(word)[2]))
    assert named == {probe for probe, taken in OF_PROBE.items() if not taken & DELAYS}
