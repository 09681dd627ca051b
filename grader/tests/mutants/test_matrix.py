"""Known-wrong solutions are caught by the check and the cause that each of them names."""

import re
from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.course.load import load_course

COURSE = load_course(Path(__file__).parents[3])
ALL = {one.id: one for one in mutants.load(COURSE)}
EACH = 2
"""How many mutants of a lab are graded for real in `make test`."""


def sample(ids: list[str]) -> list[str]:
    """Return `EACH` ids, evenly spread."""
    return ids[:: max(1, len(ids) // EACH)][:EACH]


SAMPLE = [
    id
    for lab in COURSE.labs
    for id in sample(sorted(one.id for one in ALL.values() if one.lab == lab))
]


def test_the_sample_has_mutants_of_every_graded_lab():
    counted = {lab: sum(ALL[id].lab == lab for id in SAMPLE) for lab in COURSE.labs}
    assert counted == {name: EACH if lab.points else 0 for name, lab in COURSE.labs.items()}


def test_every_check_has_a_mutant_that_it_must_catch():
    graded = {
        id
        for lab in COURSE.labs.values()
        for arch in lab.arches
        for id, spec in lab.checks_of(arch).items()
        if spec.points
    }
    assert graded - {one.check for one in ALL.values()} == set()


def test_every_mutant_applies_and_differs_from_the_reference():
    from vmmlab.course.reference import reference

    for one in ALL.values():
        assert mutants.apply(COURSE, one) != dict(reference(COURSE, [one.lab]).files), one.id


def test_a_mutant_names_a_check_of_the_course_and_a_cause():
    for one in ALL.values():
        lab = COURSE.labs[one.lab]
        assert one.check in {**lab.checks_of(one.arch), **lab.hidden_of(one.arch)}, one.id
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", one.cause), one.id


def killed(id):
    result = mutants.run_mutant(COURSE, ALL[id])
    assert (result.verdict, result.cause) == ("killed", ALL[id].cause), result.message


@pytest.mark.parametrize("id", SAMPLE)
def test_a_sample_is_killed(id):
    killed(id)


@pytest.mark.full
@pytest.mark.parametrize("id", sorted(set(ALL) - set(SAMPLE)))
def test_all_others_are_killed(id):
    killed(id)


@pytest.mark.full
@pytest.mark.parametrize(("id", "seed"), [("lab6.bios.bytes", 913025)])  # the word wraps around
def test_with_another_seed_the_cause_is_the_same(id, seed):
    result = mutants.run_mutant(COURSE, ALL[id], seed=seed)
    assert (result.verdict, result.cause) == ("killed", ALL[id].cause), result.message
