"""What a function such as `panic` is about to print, from its arguments (core/printf.c)."""

from __future__ import annotations

import re
from typing import Final

from vmmlab.machine.gdb import GdbError
from vmmlab.observe.view import View

_MOST: Final = 400  # bytes of a format, and columns of a value
_CONVERSION: Final = re.compile(r"%(0?)(\d*)(l*)([csduxXp])|%(.?)")


async def formatted(view: View, cpu: int, function: str) -> str:
    """Return the text that a CPU at the first instruction of a function prints; "" if none.

    Args:
        view: the machine, stopped.
        cpu: the CPU.
        function: its first argument is the format, the others are the values.
    """
    pattern, text, end = "", "", 0
    try:
        pattern = await view.read_text(cpu, await view.argument(cpu, function), _MOST)
        for number, found in enumerate(_CONVERSION.finditer(pattern), 1):
            text += pattern[end : found.start()]
            end = found.start()
            if found[4] is None:
                text += found[5]
            else:
                value = await view.argument(cpu, function, number)
                text += await _converted(view, cpu, found, value)
            end = found.end()
    except (GdbError, ValueError):  # no stack, or more arguments than there are registers
        pass  # the rest is shown as it is
    return text + pattern[end:]


async def _converted(view: View, cpu: int, found: re.Match[str], value: int) -> str:
    zero, width, longs, kind = found[1], min(int(found[2] or 0), _MOST), found[3], found[4]
    if kind == "s":
        return (await view.read_text(cpu, value)).rjust(width)
    if kind == "c":
        return chr(value & 0xFF).rjust(width)
    if kind == "p":
        return f"{value:#x}"
    bits = 8 * view.abi.word if longs else 32
    value &= (1 << bits) - 1
    if kind == "d":
        value -= value >> bits - 1 << bits
    digits = f"{value:{kind if kind in 'xX' else 'd'}}"
    return digits.zfill(width) if zero else digits.rjust(width)
