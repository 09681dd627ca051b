"""A scenario takes the parameters that mean something, and no other."""

import inspect
import re
from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.checks import parameters, scenario
from vmmlab.grading import boots as runner
from vmmlab.probes import bringup as probes
from vmmlab.probes.base import DELAY_FIELDS

ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize("probe", sorted(parameters.OF_PROBE))
def test_what_a_probe_takes_is_accepted(probe):
    params = dict.fromkeys(parameters.EVERYWHERE | parameters.OF_PROBE[probe], 1)
    assert scenario("x", **(params | {"probe": probe})).probe == probe


def test_the_place_of_the_scenario_is_named(kit):
    kit.write("\nX = scenario('x', cpuz=1)\n")
    with pytest.raises(CourseError, match=r"test_lab3\.py:4: scenario x: there is no parameter"):
        kit.grade()


def test_the_parameters_that_the_evidence_layer_asks_for_are_those_there_are():
    text = inspect.getsource(runner) + inspect.getsource(probes)
    asked = set(re.findall(r'(?:scenario|params)\.get\("(\w+)"', text))
    asked |= {*runner.BUILD_PARAMS, *DELAY_FIELDS}
    assert parameters.EVERYWHERE.union(*parameters.OF_PROBE.values()) == asked
    assert set(DELAY_FIELDS) == parameters.DELAYS


def test_the_probes_are_those_that_can_be_made():
    with pytest.raises(ValueError, match="there are:") as caught:
        probes.make_probe("no such probe", {})
    assert str(caught.value).partition("there are: ")[2].split(", ") == sorted(parameters.OF_PROBE)


@pytest.mark.parametrize("name", ["probes.md", "probes.ja.md"])
def test_the_page_lists_the_parameters_of_every_scenario(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    table = text.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    listed = {
        key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert listed == parameters.EVERYWHERE | parameters.DELAYS


@pytest.mark.parametrize(("name", "word"), [("probes.md", "not with "), ("probes.ja.md", "）。")])
def test_the_page_names_the_probes_that_take_no_delays(name, word):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `init_us`"))
    named = set(re.findall(r"`([\w-]+)`", row.partition(word)[2]))
    assert named == {p for p, taken in parameters.OF_PROBE.items() if not taken & parameters.DELAYS}
