"""A scenario takes the parameters that mean something, and no other."""

import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest

from vmmlab import probes
from vmmlab.base.errors import CourseError
from vmmlab.probes import (
    Scenario,
    bringup,
    init_functions,
    late_ap,
    make_probe,
    missing_ap,
    no_multiboot,
    parking,
    plain,
    probe_kind,
    probe_names,
    scenario_of,
    stack_switch,
)
from vmmlab.probes.base import DELAY_FIELDS
from vmmlab.probes.scenario import Setup, TimedSetup

ROOT = Path(__file__).parents[3]
DELAYS = frozenset(DELAY_FIELDS)
EVERYWHERE = frozenset(Setup.__annotations__)
OF_PROBE = {
    "end": DELAYS | {"decoy"},
    "plain": frozenset(),
    "one-by-one": DELAYS | {"holds"},
    "ladder": DELAYS,
    "arguments": DELAYS,
    "initfuncs": frozenset({"functions", "empty", "silent", "information", "descending"}),
    "uefi": frozenset(),
    "switch": DELAYS | {"swap", "elsewhere", "holds"},
    "calls": frozenset(),
    "late-ap": DELAYS | {"cpu", "entered"},
    "missing-ap": DELAYS | {"cpu", "entered"},
    "exclusion": frozenset(),
    "barrier": frozenset(),
    "guest": DELAYS | {"marks", "until", "by"},
    "panic": DELAYS | {"cpu", "locks", "at_once", "soon", "backwards"},
    "wakeup": DELAYS,
}
"""What each probe takes besides the parameters of every scenario: a new field of a probe's class
is a new parameter, and belongs here, into its function in probes/scenario.py and on the page."""

NOTICED = {"sockets": 5, "moved": True, "memory_mib": 64, "cmdline": 100, "modules": 2}
"""What a `plain` boot refuses, because the VMM could notice it."""

MAKERS = {
    "end": "parking",
    "plain": "plain",
    "one-by-one": "one_by_one",
    "ladder": "bringup",
    "arguments": "other_arguments",
    "initfuncs": "init_functions",
    "uefi": "no_multiboot",
    "switch": "stack_switch",
    "calls": "placed_call",
    "late-ap": "late_ap",
    "missing-ap": "missing_ap",
    "exclusion": "exclusion",
    "barrier": "barrier",
    "guest": "guest",
    "panic": "panics",
    "wakeup": "early_panic",
}
"""The function that makes the scenarios of a probe."""


@pytest.mark.parametrize(
    ("make", "setup", "key", "hint"),
    [
        (bringup, {"cpuz": 4}, "cpuz", "did you mean cpus?"),
        (parking, {"firmwre": "seabios"}, "firmwre", "did you mean firmware?"),
        (parking, {"memory": 64}, "memory", "did you mean memory_mib?"),
        (parking, {"xyzzy": 1}, "xyzzy", ""),
        (parking, {"prob": "ladder"}, "prob", ""),
        (bringup, {"elsewhere": True}, "elsewhere", ""),
        (parking, {"cpu": 2}, "cpu", "did you mean cpus?"),
        (no_multiboot, {"functions": 9}, "functions", ""),
        (init_functions, {"sipi_us": 9}, "sipi_us", ""),
        (stack_switch, {"swop": True}, "swop", "did you mean swap?"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(make, setup, key, hint):
    with pytest.raises(CourseError) as caught:
        make(name="x", **setup)
    where, said = str(caught.value.message).split(": ", 1)
    assert re.fullmatch(r".*test_parameters\.py:[0-9]+", where)
    assert re.fullmatch(rf"scenario x: the probe [a-z-]+ takes no parameter {key}\.", said)
    assert str(caught.value.expected).startswith("one of ")
    assert str(caught.value.found).startswith(f"{key}=")
    assert str(caught.value.next_step) == hint


def test_a_role_that_no_cohort_has_is_refused():
    with pytest.raises(CourseError, match="scenario x: there is no such cohort") as caught:
        parking(name="x", cohort="dev2")
    assert str(caught.value.expected) == "one of own, other, third"


def test_a_firmware_that_there_is_not_is_refused():
    with pytest.raises(CourseError, match=r"[0-9]: x: there is no firmware 'sebios'") as caught:
        parking(name="x", firmware="sebios")
    assert caught.value.expected == "qboot or seabios or ovmf"


def test_a_probe_that_there_is_not_is_refused():
    with pytest.raises(CourseError, match="no probe 'lader'") as caught:
        scenario_of("lader", {})
    assert str(caught.value.next_step) == "did you mean 'ladder'?"


@pytest.mark.parametrize("make", [late_ap, missing_ap])
def test_what_a_scenario_cannot_do_without_is_required(make):
    with pytest.raises(TypeError, match="cpu"):
        make(cpus=4)


@pytest.mark.parametrize("probe", sorted(OF_PROBE))
def test_what_a_probe_takes_is_accepted(probe):
    usable = {"name": "x", "cohort": "other", "firmware": "qboot"}
    refused = NOTICED.keys() if probe == "plain" else set()
    setup = dict.fromkeys((EVERYWHERE | OF_PROBE[probe]) - refused, 1) | usable
    made = getattr(probes, MAKERS[probe])(**setup)
    assert (made.name, made.probe) == ("x", probe)
    assert {name for name, _ in made.options} == OF_PROBE[probe]


@pytest.mark.parametrize("probe", sorted(OF_PROBE))
def test_the_function_of_a_probe_names_all_that_it_takes(probe):
    parameters = inspect.signature(getattr(probes, MAKERS[probe]), eval_str=True).parameters
    own = {name for name in parameters if name != "setup"}
    timed = "TimedSetup" in str(parameters["setup"].annotation)
    assert own | (DELAYS if timed else set()) == OF_PROBE[probe]


@pytest.mark.parametrize("probe", sorted(OF_PROBE))
def test_a_scenario_has_the_name_of_its_probe_unless_it_has_another(probe):
    more = {"cpu": 1} if "cpu" in OF_PROBE[probe] else {}
    assert getattr(probes, MAKERS[probe])(**more).name == probe


def test_the_place_of_the_scenario_is_named(kit):
    kit.write("\nX = parking(name='x', cpuz=1)\n")
    with pytest.raises(CourseError, match=r"test_lab3\.py:5: scenario x: the probe end takes no"):
        kit.grade()


def test_a_probe_takes_the_parameters_of_its_class():
    assert {name: probe_kind(name).parameters for name in probe_names()} == OF_PROBE


def test_every_parameter_of_a_scenario_is_a_field_of_it():
    assert set(Scenario.__dataclass_fields__) == EVERYWHERE | {"probe", "options", "scope"}
    assert set(TimedSetup.__annotations__) == EVERYWHERE | DELAYS


def test_every_parameter_of_a_probe_reaches_it():
    numbers = {name: number for number, name in enumerate(sorted(DELAYS), 1)}
    switch = make_probe("switch", {"swap": True, "elsewhere": 2, "cpus": 4, **numbers})
    assert (switch.swap, switch.elsewhere, switch.delays) == (True, 2, numbers)
    assert make_probe("end", {"cpus": 4, "poll_us": 3}).delays == {"poll_us": 3}
    assert make_probe("late-ap", {"cpu": 3}).cpu == 3
    assert make_probe("initfuncs", {"functions": 9}).functions == 9


def test_what_is_as_usual_is_no_option():
    assert stack_switch(swap=False, elsewhere=False) == stack_switch()
    assert stack_switch().options == init_functions(functions=0).options == ()
    assert stack_switch(swap=True).option("swap") is True
    assert stack_switch().option("swap", False) is False


def test_scenarios_are_values():
    one = late_ap(name="late", cpus=4, cpu=2)
    assert one == late_ap(cpu=2, cpus=4, name="late")
    assert hash(one) == hash(late_ap(cpu=2, cpus=4, name="late"))
    assert one != late_ap(name="late", cpus=2, cpu=2)
    assert (one.name, one.cpus, one.probe, one.option("cpu")) == ("late", 4, "late-ap", 2)
    assert one.firmware == "qboot"
    assert str(one) == "late(cpu=2, cpus=4, probe=late-ap)"
    with pytest.raises(AttributeError):
        one.name = "other"  # type: ignore[misc]


def test_scenarios_can_be_copied_and_pickled():
    one = late_ap(name="late", cpus=4, cpu=2)
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert Scenario("late", "late-ap", (("cpu", 2),), cpus=4) == one


@pytest.mark.parametrize("key", ["probe", "options", "option"])
def test_parameters_that_would_hide_something(key):
    with pytest.raises(CourseError, match=f"takes no parameter {key}"):
        parking(name="x", **{key: 1})


@pytest.mark.parametrize("name", ["probes.md", "probes.ja.md"])
def test_the_page_lists_the_parameters_of_every_scenario(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    table = text.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    listed = {
        key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert listed == EVERYWHERE | DELAYS


@pytest.mark.parametrize(("name", "word"), [("probes.md", "not with "), ("probes.ja.md", "）。")])
def test_the_page_names_the_probes_that_take_no_delays(name, word):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `init_us`"))
    named = set(re.findall(r"`([\w-]+)`", row.partition(word)[2]))
    assert named == {probe for probe, taken in OF_PROBE.items() if not taken & DELAYS}


@pytest.mark.parametrize(("key", "value"), NOTICED.items())
def test_a_plain_boot_refuses_what_the_vmm_could_notice(key: str, value: object) -> None:
    with pytest.raises(CourseError, match=f"which has no {key}") as error:
        plain(name="quiet", cpus=15, **{key: value})  # type: ignore[misc]
    assert str(error.value.found) == f"{key}={value!r}"
