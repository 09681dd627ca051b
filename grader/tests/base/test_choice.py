"""Seeded choice: the numbers are fixed for ever, because worksheets and reports depend on them."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from vmmlab.base.choice import Choice

VMMLAB = Path(__file__).parents[2] / "vmmlab"


def test_the_numbers_never_change() -> None:
    choice = Choice("key", 7)
    assert choice.word() == 0x74AAC255A068E177
    assert [choice.below(100) for _ in range(5)] == [95, 64, 80, 97, 50]
    assert choice.shuffled(range(6)) == [5, 4, 1, 2, 3, 0]
    assert choice.randbytes(5).hex() == "4ab5f2a71b"
    assert Choice("key", secret="a secret").below(1000) == 774


def test_other_keys_give_other_numbers() -> None:
    words = {Choice(*key).word() for key in (("a", 1), ("a1",), ("a", 2), (1, "a"))}
    assert len(words) == 4
    assert Choice("a", secret="").word() != Choice("a").word()


def test_every_choice_is_made_about_as_often() -> None:
    choice = Choice("often")
    counted = Counter(choice.pick("abcd") for _ in range(4000))
    assert set(counted) == set("abcd")
    assert all(850 < count < 1150 for count in counted.values())


def test_bounds() -> None:
    choice = Choice("bounds")
    assert {choice.between(1, 3) for _ in range(50)} == {1, 2, 3}
    assert {choice.between(16, 64, 16) for _ in range(100)} == {16, 32, 48, 64}
    assert len(choice.randbytes(13)) == 13
    assert len(set(choice.some(3, range(5)))) == 3


def test_nothing_else_draws() -> None:
    """The module `random` promises the same choices only within one version of Python."""
    found = subprocess.run(
        ["grep", "-rnE", "^(import|from) random", "--include=*.py", str(VMMLAB)],
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    # The cache decides by chance when to clean up: nothing that anybody sees depends on it.
    assert [line for line in found if "images/cache.py" not in line] == []


@pytest.mark.parametrize("count", [0, 1])
def test_of_few(count: int) -> None:
    assert Choice("few").shuffled(range(count)) == list(range(count))
