"""Recorded boots go through the checks without QEMU: the same points, causes and CPUs as ever.

record.py says how to record more of them, or all of them anew.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from recordings import expected, load, names, replay, verdict

from vmmlab.author import mutants
from vmmlab.course.load import load_course
from vmmlab.course.model import ARCHES
from vmmlab.observe.evidence import Physical0
from vmmlab.observe.observation import Observation
from vmmlab.x86.decode import as_text

COURSE = load_course(Path(__file__).parents[3])
EXPECTED = expected()
MUTANTS = [one for one in mutants.load(COURSE) if one.id in EXPECTED]
REFERENCES = {
    lab.name if arch == ARCHES[0] else f"{lab.name}.{arch}": lab.points_of(arch)
    for lab in COURSE.labs.values()
    for arch in ARCHES
    if lab.checks_of(arch)
}


def broken(report):
    """What the author of a check has to see: it broke, or its scenario was never recorded."""
    return [check.infra for check in report.checks if check.infra is not None]


@pytest.mark.parametrize("name", names())
def test_the_verdict_is_the_recorded_one(name):
    report = replay(COURSE, load(name))
    assert broken(report) == []
    assert verdict(report) == EXPECTED[name]
    failed = [one for one in report.checks if one.outcome in ("fail", "partial")]
    assert [one.id for one in failed if not one.next] == [], "what to look at next"


def in_att(seen):
    """A boot with the instructions of its trampoline as they are shown to students now."""
    if not isinstance(seen, Observation):
        return seen

    def shown(step):
        text = as_text(step.code, step.state.pc, step.state.bits)
        return replace(step, text=text or step.text)

    cpus = (replace(cpu, steps=tuple(map(shown, cpu.steps))) for cpu in seen.cpus)
    return replace(seen, cpus=tuple(cpus))


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("lab3")])
def test_the_syntax_of_an_instruction_changes_no_verdict(name):
    recording = load(name)
    boots = {scenario: in_att(seen) for scenario, seen in recording.boots.items()}
    assert verdict(replay(COURSE, replace(recording, boots=boots))) == EXPECTED[name]


def test_every_recording_has_an_expected_verdict():
    assert names() == sorted(EXPECTED)
    assert EXPECTED.keys() <= REFERENCES.keys() | {one.id for one in MUTANTS}


def test_each_mutant_is_caught_by_its_check_with_its_cause():
    wrong = {}
    for mutant in MUTANTS:
        found = EXPECTED[mutant.id]["failed"].get(mutant.check, [None] * 4)
        if found[2] != mutant.cause:
            wrong[mutant.id] = found
    assert wrong == {}


def test_the_reference_of_each_lab_earns_all_points():
    labs = {name.partition(".")[0] for name in EXPECTED}
    points = {name: most for name, most in REFERENCES.items() if name.partition(".")[0] in labs}
    assert {name: EXPECTED[name] for name in points} == {
        name: {"points": most, "failed": {}} for name, most in points.items()
    }


@pytest.mark.parametrize("lab", sorted({one.lab for one in MUTANTS}))
def test_many_causes_of_a_lab_are_replayed(lab):
    assert len({one.cause for one in MUTANTS if one.lab == lab}) >= 12


# --- the test of the test ------------------------------------------------------------------------


def test_another_observation_gives_another_verdict():
    recording = load("lab3")
    boots = {
        scenario: replace(seen, physical_0=Physical0(during=b"\x90" * 16))
        for scenario, seen in recording.boots.items()
    }
    found = verdict(replay(COURSE, replace(recording, boots=boots)))
    assert found["failed"]["lab3.ljmpw.present"] == ["fail", 0, "far-jump-missing", 0]


def test_a_scenario_that_was_not_recorded_is_named():
    report = replay(COURSE, replace(load("lab3"), boots={}))
    (text,) = broken(report)
    assert "lab3: ladder(cpus=4, probe=ladder) was not recorded; python" in text
    assert text.rstrip().endswith("record.py lab3")
    assert report.needs_attention
