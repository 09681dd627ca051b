"""Two sources that are alike, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: whose it is, for people.
        share: the part of its own code that the other one has too, 0 to 1.
        code: its text, whole.
        marked: start and end of each passage that the other one has too, in `code`.
    """

    name: str
    share: float
    code: str
    marked: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Alike:
    """A pair.

    Attributes:
        file: such as "lab3/ap_start.c".
        left: the one that comes first in the class.
        right: the other one.
    """

    file: str
    left: Side
    right: Side

    @property
    def share(self) -> float:
        """The larger of the two shares: one may have copied all and added more."""
        return max(self.left.share, self.right.share)
