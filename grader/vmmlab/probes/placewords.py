"""Names for watched places as people say them; most are symbols and stay as they are.

A lab marks the names of its own places as labels, in words: `label("the firmware's function")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.i18n.translate import Reader

_WORDS: Final[Mapping[str, Text]] = {
    "called.asked": msg("the function that asm_wrrsp_and_jmp is to jump to"),
    "called.decoy": msg("a function that asm_wrrsp_and_jmp is not to jump to"),
    "count.store": msg("the instruction that stores the count"),
    "guest_entry": msg("the guest's first instruction"),
    "lock-released": msg("ap_lock is free again"),
    "lock.taken": msg("the instruction that takes ap_lock"),
    "not-entered.held": msg("held before it enters ap_entry"),
    "not-numbered.held": msg("held before it has a number"),
    "left while not-entered": msg("left ap_wait while an AP had not entered ap_entry"),
    "left while not-numbered": msg("left ap_wait while an AP had no number"),
    "own call returned": msg("the grader's own call has returned"),
    "physical-0": msg("physical address 0"),
    "returned": msg("the grader's own call has returned"),
    "vmrun": "VMRUN",
}
_RETURNED: Final = " returned"


def is_symbol(place: str) -> bool:
    """Whether a place has the name of a function of the image."""
    return place.replace("_", "").isalnum() and place not in _WORDS


def place_words(place: str, say: Reader) -> str:
    """Return what a person calls a place.

    Args:
        place: the symbol, or the name that the probe gave.
        say: the reader's language, with the texts of the lab.
    """
    if place in _WORDS:
        return say(_WORDS[place])
    if is_symbol(place):
        return place
    function = place.removesuffix(_RETURNED)
    if function != place and is_symbol(function):
        return say(msg("{function} has returned", function=function))
    return say.label(place)
