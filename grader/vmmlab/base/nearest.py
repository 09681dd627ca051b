"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vmmlab.base.message import Text, msg


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `name`, or None."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def suggestion(name: str, known: Iterable[str]) -> Text:
    """Return the question whether the nearest known name is meant; "" if none is near."""
    near = nearest(name, known)
    return did_you_mean(near) if near else ""


def did_you_mean(name: str | int) -> Text:
    """Return the question whether `name` is meant."""
    return msg("did you mean {name}?", name=name)
