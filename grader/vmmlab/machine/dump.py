"""Register dumps of QEMU, as its log (`-d int`) and the monitor's `info registers` print them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ITEM = re.compile(
    rb"\b([A-Z][A-Z0-9]{1,3}) ?= *([0-9a-f]+)(?: ([0-9a-f]+))?(?: ([0-9a-f]{8}) ([0-9a-f]{8}))?"
)
_SEGMENTS = ("ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR")
_NAMES_32 = ("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "IP", "FL")


def parse_dump(lines: Iterable[bytes]) -> dict[str, int]:
    """Return the registers in a dump: "rax" …, "rip", "cs", "cs_base", "cr2", "idt_limit".

    Of a segment register also the hidden part: "ds_limit" (in bytes) and "ds_flags" (the second
    half of a descriptor). A 32-bit dump gets the 64-bit names, so that both read the same.
    """
    out: dict[str, int] = {}
    for line in lines:
        for match in _ITEM.finditer(line):
            name, value, second, limit, flags = match.groups()
            key = name.decode("ascii")
            number = int(value, 16)
            if key in _SEGMENTS:
                out[key.lower()] = number
                if second is not None:
                    out[f"{key.lower()}_base"] = int(second, 16)
                if limit is not None:
                    out[f"{key.lower()}_limit"] = int(limit, 16)
                    out[f"{key.lower()}_flags"] = int(flags, 16)
            elif key in ("GDT", "IDT"):
                out[f"{key.lower()}_base"] = number
                if second is not None:
                    out[f"{key.lower()}_limit"] = int(second, 16)
            elif key[0] in "ER" and key[1:] in _NAMES_32:
                out["rflags" if key[1:] == "FL" else f"r{key[1:].lower()}"] = number
            elif key == "FL" or key == "EFL":
                out["rflags"] = number
            elif key in ("CPL", "II", "HLT", "SMM", "EFER") or key[0] in "RC":
                out[key.lower()] = number
    return out
