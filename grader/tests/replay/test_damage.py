"""Damaged evidence breaks no check, no diagnosis and no message: a verdict comes of all of it.

`damage.py` says what is damaged. A boot that was not recorded is replaced by another one of the
same submission, whose probe looked at other things: that is damage, too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from damage import damaged, with_cpus
from recordings import Recording, load, names

from vmmlab.base.messagedata import to_json
from vmmlab.checks import Check, CheckFailed
from vmmlab.checks.declaring import declared_in
from vmmlab.checks.judging import judge
from vmmlab.course.labpackage import LabPackage
from vmmlab.course.load import load_course
from vmmlab.grading.selection import Selection
from vmmlab.observe.observation import Observation
from vmmlab.observe.schema import with_own_evidence

COURSE = load_course(Path(__file__).parents[3])
SEEDS = range(12)
MUTANTS_OF_A_LAB = 4


def recorded() -> list[str]:
    """The references, and some mutants of each lab."""
    found: list[str] = []
    for lab in COURSE.labs:
        mine = [name for name in names() if name.split(".")[0] == lab]
        mutants = [name for name in mine if name not in (lab, f"{lab}.i386")]
        few = random.Random(lab).sample(mutants, min(MUTANTS_OF_A_LAB, len(mutants)))
        found += [*(name for name in mine if name not in mutants), *sorted(few)]
    return found


@contextmanager
def checks_of(recording: Recording) -> Iterator[tuple[Selection, list[Check]]]:
    """All checks of a lab, the hidden ones too."""
    lab = COURSE.lab(recording.lab)
    selection = Selection(lab, recording.arch, hidden=True, tests_dir=COURSE.labs_dir / lab.name)
    package = LabPackage(lab.name, selection.tests_dir)
    try:
        declared = [check for path in selection.files for check in declared_in(package.load(path))]
        with package.scope.in_use():
            yield selection, [check for check in declared if check in selection]
    finally:
        package.unload()


def boots_of(recording: Recording, check: Check) -> list[Observation]:
    """The boots of a check; another one for a boot that was not recorded."""
    other = next(iter(recording.boots.values()))
    return [
        recording.boots.get(str(one)) or with_cpus(replace(other, scenario=one.name), one.cpus)
        for one in check.scenarios
    ]


@pytest.mark.parametrize("name", recorded())
def test_a_verdict_comes_of_any_evidence(name: str) -> None:
    recording = load(name)
    with checks_of(recording) as (selection, checks):
        boots = {one: with_own_evidence(boot) for one, boot in recording.boots.items()}
        recording = replace(recording, boots=boots)
        for check in checks:
            for seed in SEEDS:
                shown = [
                    selection.view(check, damaged(boot, f"{name}/{check.id}/{seed}/{number}"))
                    for number, boot in enumerate(boots_of(recording, check))
                ]
                try:
                    judge(check, shown)
                except CheckFailed as failed:
                    for text in (failed.failure.summary, failed.failure.expected):
                        assert to_json(text)
                except Exception as error:
                    raise AssertionError(f"{check.id}, damage {name}/{check.id}/{seed}") from error


def test_damage_is_repeatable_and_reaches_most_of_the_evidence() -> None:
    boot = next(iter(load("lab4").boots.values()))
    assert damaged(boot, "one") == damaged(boot, "one")
    different = [damaged(boot, f"{seed}") for seed in range(400)]
    assert sum(one != boot for one in different) > 300
    for part in ("hits", "icr", "cpus", "how_ended", "counters", "physical_0", "trampoline"):
        assert any(getattr(one, part) != getattr(boot, part) for one in different), part
    for part in ("milestones", "end_kind", "end_place", "end", "allocations"):
        assert any(
            getattr(cpu, part) != getattr(was, part)
            for one in different
            for cpu, was in zip(one.cpus, boot.cpus, strict=True)
        ), part
    assert any(one.lock is None for one in different) or boot.lock is None
