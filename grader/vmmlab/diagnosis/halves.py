"""Recognises a pointer of which only the lower half was stored."""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import Text, msg

_LOWER: Final = 0xFFFF_FFFF


def half_stored(found: int, held: int | None, right: int) -> Text:
    """Return what to do if the upper half of a pointer is what the place held before; else "".

    Args:
        found: the value that is there.
        held: what the grader had put there; None: nothing.
        right: the value that should be there.
    """
    if held is None or found == right or found & _LOWER != right & _LOWER:
        return ""
    if found & ~_LOWER != held & ~_LOWER:
        return ""
    return msg(
        "Its lower 32 bits are right, and the upper ones are what it held before: a pointer has 64 "
        "bits. Store it as one."
    )
