"""Points: the share of a check's points that it earned, rounding, and sums. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

Points = int | float
"""Points with at most two decimals; whole numbers are int."""


def earned(share: Fraction | None, worth: int) -> Points | None:
    """Return what a check earned.

    Args:
        share: the part of the check that passed, from 0 to 1; None if it could not be judged.
        worth: the points of the whole check.

    Returns:
        The points, rounded down; None if the check could not be judged.
    """
    return None if share is None else rounded(share * worth)


def total(points: Iterable[Points | None]) -> Points | None:
    """Return the sum; None if one of the checks could not be judged."""
    found = list(points)
    known = [Fraction(str(one)) for one in found if one is not None]
    return None if len(known) < len(found) else rounded(sum(known, Fraction(0)))


def rounded(points: Fraction) -> Points:
    """Round down to two decimals, so that no score exceeds what was earned."""
    hundredths = math.floor(points * 100)
    return hundredths // 100 if hundredths % 100 == 0 else hundredths / 100
