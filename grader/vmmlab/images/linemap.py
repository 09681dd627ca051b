"""Reads the link map: from which object and which section each part of the image comes.

Source: GNU ld manual, option -Map. A line is ` .text 0x40101000 0x123 student/lab3.o`; a long
section name stands alone and the rest follows on the next line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_PLACED = re.compile(
    r"^ (?P<section>\.[\w.$-]+|COMMON)\s+0x(?P<start>[0-9a-f]+)\s+0x(?P<size>[0-9a-f]+) "
    r"(?P<object>\S+\.o)$",
    re.MULTILINE,
)
_IN_IMAGE = (".text", ".rodata", ".data", ".bss", ".initfunc", ".multiboot", "COMMON")


@dataclass(frozen=True, order=True)
class Range:
    """A piece of the image: [start, end), its owner and its section.

    `owner` is "provided", "student", "prebuilt" or "extra"; `unit` is a source file for provided
    code and a lab for the others.
    """

    start: int
    end: int
    owner: str
    unit: str
    section: str

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


def ranges(text: str) -> tuple[Range, ...]:
    """Return the pieces named in a link map, in order of address.

    Args:
        text: the map of a link whose objects are named OWNER/UNIT.o.
    """
    found = []
    for match in _PLACED.finditer(re.sub(r"^( \.[\w.$-]+)\n\s+(?=0x)", r"\1 ", text, flags=re.M)):
        start, size = int(match["start"], 16), int(match["size"], 16)
        section = match["section"]
        if not size or not start or not section.startswith(_IN_IMAGE):
            continue
        path = PurePosixPath(match["object"])
        unit = path.name.removesuffix(".o").replace("@", "/")
        found.append(Range(start, start + size, path.parts[0], unit, section))
    return tuple(sorted(found))
