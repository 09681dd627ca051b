"""Where a CPU is: an address, with what a student can find there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from vmmlab.base.message import Text, msg

Region = Literal["image", "trampoline", "low", "elsewhere"]
"""What kind of memory an address is in.

image: the VMM's image, by the address at which it is linked.
trampoline: the copy of the trampoline.
low: physical address 0 and the bytes behind it, in real mode.
elsewhere: any other address; with a symbol if the image has one at that physical address.
"""

_FIRMWARE: Final = (range(0xE0000, 0x100000), range(0xFFFC0000, 0x100000000))
"""Where a PC has its BIOS: below 1 MiB, and below 4 GiB, where each CPU begins."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a CPU is.

    Args:
        address: linear address of the next instruction.
        region: what kind of memory that is.
        symbol: the nearest symbol with the distance from it, as "ap_start+0x5"; "" if none is near.
        file: source file as the student knows it, "" if unknown.
        line: line in that file, 0 if unknown.
        owner: whose code it is: "provided", "student", "prebuilt", "extra"; "" outside the image.
        offset: bytes from the beginning of the trampoline's copy.
        caller: for provided code, the place in the student's code that it will return to.
    """

    address: int
    region: Region = "image"
    symbol: str = ""
    file: str = ""
    line: int = 0
    owner: str = ""
    offset: int = 0
    caller: Place | None = None

    @property
    def source(self) -> str:
        """File and line, as "lab3/ap_start.c:12"; "" if unknown."""
        return f"{self.file}:{self.line}" if self.file else ""

    @property
    def lab_source(self) -> str:
        """File and line of the code of a lab: of this place, or of its caller; "" if neither."""
        for place in (self.caller, self):
            if place is not None and place.in_lab:
                return place.source
        return ""

    @property
    def lab_function(self) -> str:
        """The function of a lab that this place, or else its caller, is in; "" if neither is."""
        for place in (self, self.caller):
            if place is not None and place.in_lab:
                return place.symbol.partition("+")[0]
        return ""

    @property
    def in_lab(self) -> bool:
        """Whether the source is known and is a file of a lab."""
        return self.file.startswith("lab")

    @property
    def in_firmware(self) -> bool:
        """Whether it is where a PC has its BIOS."""
        return self.region == "elsewhere" and _is_firmware(self.address)

    def is_in(self, function: str) -> bool:
        """Whether the nearest symbol is `function`."""
        return self.symbol.partition("+")[0] == function

    @property
    def text(self) -> Text:
        """The place in words that a student can find in their files."""
        if self.caller is None:
            return self._text()
        return msg("{place}, called by {caller}", place=self._text(), caller=self.caller.text)

    def _text(self) -> Text:
        named = self.symbol or f"{self.address:#x}"
        if self.file:
            named += f" ({self.source})"
        if self.region == "trampoline":
            return f"trampoline+{self.offset:#x}, {named}"
        if self.region == "low":
            return msg("physical address {address:#x}", address=self.address)
        if self.region == "elsewhere" and self.symbol:
            return msg(
                "{address:#x}, the physical address of {place}", address=self.address, place=named
            )
        if self.region == "elsewhere":
            return address_text(self.address)
        return named

    def __str__(self) -> str:
        """The place in English."""
        return str(self.text)


def address_text(address: int) -> Text:
    """Return an address outside the image in words: says so if it is the firmware's."""
    if _is_firmware(address):
        return msg("{address:#x}, in the firmware", address=address)
    return f"{address:#x}"


def _is_firmware(address: int) -> bool:
    return any(address in part for part in _FIRMWARE)
