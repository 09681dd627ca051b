"""Every attack gains nothing, and something as soon as its defence is switched off."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from corpus import Attack
from table import ATTACKS, DEFENCES, ELSEWHERE, PAGE, text

TESTS = Path(__file__).parents[1]
BY_NAME = {one.name: one for one in DEFENCES}


def cases(attacks: Iterable[Attack]) -> list[object]:
    return [
        pytest.param(one, id=one.id, marks=[pytest.mark.full] if one.full else [])
        for one in attacks
    ]


@pytest.mark.parametrize("attack", cases(ATTACKS))
def test_it_gains_nothing(attack: Attack, tmp_path: Path) -> None:
    assert attack.attempt(tmp_path) == ""


@pytest.mark.parametrize("attack", cases(one for one in ATTACKS if one.shown))
def test_without_its_defence_it_gains_something(
    attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BY_NAME[attack.defence].off(monkeypatch)
    assert attack.attempt(tmp_path) != ""


def test_each_defence_has_an_attack_that_shows_what_it_is_for() -> None:
    assert len(BY_NAME) == len(DEFENCES)
    assert {one.defence for one in ATTACKS} == set(BY_NAME)
    assert {one.defence for one in ATTACKS if one.shown} == set(BY_NAME)


def test_the_corpus_is_large_and_no_two_are_the_same() -> None:
    assert len(ATTACKS) >= 80
    assert len({one.id for one in ATTACKS}) == len(ATTACKS)
    assert {one.kind for one in ATTACKS} >= {"build", "archive", "batch", "export", "notebook"}


def test_what_is_tried_elsewhere_is_there() -> None:
    for one in ELSEWHERE:
        for test in filter(None, (one.test, one.off)):
            file, _, name = test.partition("::")
            assert f"def {name} (".replace(" (", "(") in (TESTS / file).read_text("utf-8"), test


def test_the_table_is_that_of_the_corpus() -> None:
    """`python grader/tests/attacks/table.py` writes it."""
    assert PAGE.read_text("utf-8") == text()
