"""Judges the object that is linked, made from all files of a lab.

Between files a strong symbol replaces a weak one, common symbols and sections add up, and records
of init functions come together: so limits and contract that each piece keeps can be broken by the
whole. Only looks at what `vmmlab.images.objects` has read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.images import objects
from vmmlab.images.model import Diagnostic, LabLike
from vmmlab.images.objects import ObjectFile, Symbol

MOST_RECORDS: Final = 256
"""Records of init functions in one lab; the given code has some ten."""
MOST_SPAN: Final = 0x10000
"""Bytes of code that is copied, from its label NAME_start to NAME_end: a real-mode segment."""

_RECORD_WORDS: Final = 3  # include/initfunc.h
_START, _END = "_start", "_end"


def refused(lab: LabLike, merged: ObjectFile, word: int) -> list[Diagnostic]:
    """Return one message for each thing that a lab's object must not be.

    Args:
        lab: the lab.
        merged: its object.
        word: bytes of a pointer.
    """
    whole = objects.refused(lab.files[0], merged)
    found = [
        Diagnostic(one.file, 0, 0, "error", msg("all files together: {text}", text=one.message))
        for one in whole
    ]
    found += objects.missing_contract(lab.symbols, {"": merged})
    if not found:
        found += _spans(lab.symbols, merged)
    if too_many := _records(merged, word):
        found.append(Diagnostic(lab.files[0], 0, 0, "error", too_many))
    return found


def _records(merged: ObjectFile, word: int) -> Text:
    size = _RECORD_WORDS * word
    count = sum(one.size for one in merged.sections if one.name == ".initfunc") // size
    if count <= MOST_RECORDS:
        return ""
    return msg(
        "{count} records of init functions; at most {most} are allowed",
        count=count,
        most=MOST_RECORDS,
    )


def _spans(contract: Mapping[str, Sequence[str]], merged: ObjectFile) -> Iterator[Diagnostic]:
    """Yield what is wrong with code that is copied as a whole: labels NAME_start and NAME_end."""
    visible = {one.name: one for one in merged.defined_globals}
    for file, names in contract.items():
        for name in names:
            stem = name.removesuffix(_START)
            if stem == name or stem + _END not in names:
                continue
            others = [visible[one] for one in names if one not in (name, stem + _END)]
            if reason := _span(visible[name], visible[stem + _END], others):
                yield Diagnostic(file, 0, 0, "error", reason)


def _span(start: Symbol, end: Symbol, others: Sequence[Symbol]) -> Text:
    if start.section != end.section:
        return msg(
            "{start} is in section {first}, {end} in {second}: both must be in the same section",
            start=start.name,
            first=start.section,
            end=end.name,
            second=end.section,
        )
    size = end.value - start.value
    if not 0 < size <= MOST_SPAN:
        return msg(
            "from {start} to {end} there are {size} bytes; 1 to {most} can be copied",
            start=start.name,
            end=end.name,
            size=size,
            most=MOST_SPAN,
        )
    for one in others:
        if one.section != start.section or not start.value <= one.value < end.value:
            return msg(
                "{name} is not between {start} and {end}, so it is not copied",
                name=one.name,
                start=start.name,
                end=end.name,
            )
    return ""
