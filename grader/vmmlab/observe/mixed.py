"""What a function did while another CPU executed it, too."""

from __future__ import annotations

from dataclasses import dataclass

from vmmlab.observe.place import Place


@dataclass(frozen=True, slots=True)
class MixedCall:
    """A call of call_initfunc that did something else because another call came between.

    Args:
        text: its argument.
        other: the argument of the other call.
        at: where a variable had been stored when the other call came.
        alone: the function that it calls next when it is alone, or "mixed call returned".
        found: the one that it called; "" if it came to none and did not return.
    """

    text: str
    other: str
    at: Place
    alone: str
    found: str
