"""Points: shares, rounding and sums."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmmlab.grading.score import earned, total


@pytest.mark.parametrize(
    ("share", "worth", "points"),
    [
        (Fraction(1), 10, 10),
        (Fraction(0), 10, 0),
        (Fraction(1, 2), 5, 2.5),
        (Fraction(2, 3), 10, 6.66),
        (None, 10, None),
    ],
)
def test_earned(share: Fraction | None, worth: int, points: float | None) -> None:
    found = earned(share, worth)
    assert found == points
    assert type(found) is type(points), "whole points are whole numbers"


@given(st.integers(0, 9), st.integers(1, 9), st.integers(0, 100))
def test_rounding_gives_nothing_that_was_not_earned(passed: int, more: int, worth: int) -> None:
    share = Fraction(passed, passed + more)
    points = earned(share, worth)
    assert points is not None
    assert share * worth - Fraction(1, 100) < Fraction(str(points)) <= share * worth


def test_total() -> None:
    assert total([]) == 0
    assert total([0.1, 0.2]) == 0.3, "sums are exact"
    assert total([3.33, 6.67]) == 10
    assert total([1, None]) is None, "a check that could not be judged is not worth 0"
