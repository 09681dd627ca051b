"""The registers of a 64-bit QEMU as gdb wants those of a 32-bit processor.

For a VMM of 32 bits: with 64-bit registers gdb would misread its stack and refuse its symbols.
"""

from __future__ import annotations

from typing import Final

from vmmlab.machine.gdb.registers import Registers

_GENERAL: Final = (
    "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags",
    "cs", "ss", "ds", "es", "fs", "gs",
)  # fmt: skip
_FLOAT: Final = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
_CONTROL: Final = ("cr0", "cr2", "cr3", "cr4", "efer")
_POINTERS: Final = {"esp": "data_ptr", "ebp": "data_ptr", "eip": "code_ptr"}
_STACK: Final = 8  # registers of the x87 unit, which are not shown
_STACK_BYTES: Final = 10
_WORD: Final = 4

_SIZES: Final = {
    **dict.fromkeys(_GENERAL, _WORD),
    **dict.fromkeys((f"st{number}" for number in range(_STACK)), _STACK_BYTES),
    **dict.fromkeys(_FLOAT, _WORD),
    **dict.fromkeys(_CONTROL, _WORD),
}
"""Name to size in bytes, in the order of gdb's numbers."""


def description() -> bytes:
    """Return the target description that gdb asks for."""
    core = [_register(name, _POINTERS.get(name, "int32")) for name in _GENERAL]
    core += [f'<reg name="st{n}" bitsize="80" type="i387_ext"/>' for n in range(_STACK)]
    core += [_register(name, "int", ' group="float"') for name in _FLOAT]
    control = [_register(name, "int32") for name in _CONTROL]
    text = (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">'
        "<architecture>i386</architecture>"
        f'<feature name="org.gnu.gdb.i386.core">{"".join(core)}</feature>'
        f'<feature name="vmmlab.control">{"".join(control)}</feature></target>'
    )
    return text.encode("ascii")


def _register(name: str, kind: str, more: str = "") -> str:
    return f'<reg name="{name}" bitsize="32" type="{kind}"{more}/>'


def packet(registers: Registers) -> bytes:
    """Return all registers as the answer to a `g` request, with a linear address as EIP."""
    return b"".join(one(registers, number) for number in range(len(_SIZES)))


def one(registers: Registers, number: int) -> bytes:
    """Return a register as the answer to a `p` request.

    Args:
        registers: of the processor.
        number: gdb's number of it.
    """
    name, size = list(_SIZES.items())[number]
    if name == "eip":
        return _hex(registers.linear_pc)
    known = wide(number)
    return _hex(registers[known]) if known else b"xx" * size


def wide(number: int) -> str:
    """Return the name that QEMU has for a register; "" if that is not shown.

    Args:
        number: gdb's number of it.
    """
    names = list(_SIZES)
    name = names[number] if number < len(names) else ""
    if name in _CONTROL or name in ("eflags", *_GENERAL[_GENERAL.index("cs") :]):
        return name
    return f"r{name[1:]}" if name in _GENERAL else ""


def _hex(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(_WORD, "little").hex().encode("ascii")
