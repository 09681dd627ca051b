"""The boots that leave no trace of the grader must end as the others do."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from vmmlab.diagnosis.aps import ends_otherwise
from vmmlab.grading.plain import disagreements
from vmmlab.observe.observation import Observation
from vmmlab.probes import bringup, parking, plain, probe_kind, probe_names

SAMPLE = Path(__file__).parents[1] / "observe" / "observation.sample.json"
ONE, MANY = parking(name="cpus-2", cpus=2), parking(name="cpus-16", cpus=16)
PLAIN, OTHER = plain(name="plain", cpus=2), bringup(cpus=2)


@pytest.fixture(scope="module")
def parked():
    boot = TypeAdapter(Observation).validate_json(SAMPLE.read_text())
    assert boot.all_parked
    return replace(boot, serial="VMM, 64512 KiB\nProcessor 1 (AP)\nhalted\n")


@pytest.fixture(scope="module")
def stuck(parked):
    bsp, *aps = parked.cpus
    return replace(parked, cpus=(bsp, *(replace(ap, end_kind="running") for ap in aps)))


def test_boots_that_end_alike_need_no_look(parked, stuck):
    assert disagreements({ONE: parked, MANY: parked, PLAIN: parked}) == ()
    assert disagreements({ONE: stuck, MANY: stuck, PLAIN: stuck}) == ()
    more = replace(parked, serial="VMM, 97280 KiB\nProcessor 1 (AP)\nProcessor 15 (AP)\nhalted\n")
    assert disagreements({ONE: parked, MANY: more, PLAIN: parked}) == (), "numbers may differ"


def test_a_plain_boot_that_ends_otherwise_is_for_a_person(parked, stuck):
    (reason,) = disagreements({ONE: parked, MANY: parked, PLAIN: stuck})
    assert "some CPU does not park" in str(reason)
    (reason,) = disagreements({ONE: stuck, MANY: stuck, PLAIN: parked})
    assert "in the other boots some do not" in str(reason)


def test_where_the_others_differ_among_themselves_nothing_is_said(parked, stuck):
    assert disagreements({ONE: parked, MANY: stuck, PLAIN: stuck}) == ()
    assert disagreements({PLAIN: stuck}) == ()
    assert disagreements({ONE: RuntimeError("lost"), OTHER: parked, PLAIN: stuck}) == ()


def test_other_lines_are_for_a_person(parked):
    cheat = replace(parked, serial=parked.serial.replace("halted", "not watched"))
    (reason,) = disagreements({ONE: parked, MANY: parked, PLAIN: cheat})
    assert "prints other lines" in str(reason)
    assert "not watched" in str(reason)
    noisy = replace(parked, serial=parked.serial + "once in a while\n")
    assert disagreements({ONE: parked, MANY: noisy, PLAIN: parked}) == ()


def test_it_is_the_failure_of_the_plain_boot_that_is_reported(parked, stuck):
    here, alone = replace(parked, scenario="cpus-2"), replace(stuck, scenario="plain")
    found = ends_otherwise([here, alone], "plain")
    assert found is not None
    assert (found.cause, found.cpu) == ("ends-otherwise-unwatched", 1)
    assert ends_otherwise([replace(stuck, scenario="cpus-2"), alone], "plain") is None
    assert ends_otherwise([here, replace(parked, scenario="plain")], "plain") is None


def test_only_one_probe_leaves_no_trace():
    assert [name for name in probe_names() if not probe_kind(name).make.leaves_traces] == ["plain"]
