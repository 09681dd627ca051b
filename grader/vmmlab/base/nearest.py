"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from vmmlab.base.message import Text, msg


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `name`, or None."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def nearest_names(words: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known names that are most similar to any word of `words`, the best first.

    Args:
        words: what was asked for, such as an expression of pytest's -k.
        known: names such as "lab3.ljmpw.target"; a part of one counts as much as the whole.
        most: how many to return; so many are returned if there are.
    """
    wanted = [word.lower() for word in re.findall(r"[\w.]+", words)] or [words]

    def likeness(name: str) -> float:
        parts = [name, *name.split("."), *re.split(r"[._]", name)]
        return max(
            difflib.SequenceMatcher(None, word, part.lower()).ratio()
            for word in wanted
            for part in parts
        )

    return sorted(known, key=lambda name: (-likeness(name), name))[:most]


def suggestion(name: str, known: Iterable[str]) -> Text:
    """Return the question whether the nearest known name is meant; "" if none is near."""
    near = nearest(name, known)
    return did_you_mean(near) if near else ""


def did_you_mean(name: str | int) -> Text:
    """Return the question whether `name` is meant."""
    return msg("did you mean {name}?", name=name)
