"""The firmware that a machine can boot with: a registry.

A new firmware is one call of `register`; the scenarios of course.yml and of the checks name it.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg

DEFAULT = "qboot"
"""The firmware of a machine for which none is named."""


@dataclass(frozen=True)
class Firmware:
    """A firmware.

    Attributes:
        name: what scenarios call it.
        options: how QEMU is told to use it.
        note: what is special about it, one line.
    """

    name: str
    options: tuple[str, ...]
    note: str


_REGISTERED: dict[str, Firmware] = {}


def register(firmware: Firmware) -> None:
    """Make a firmware known; ValueError if there is one of that name."""
    if firmware.name in _REGISTERED:
        raise ValueError(f"the firmware {firmware.name!r} is registered already")
    _REGISTERED[firmware.name] = firmware


def names() -> tuple[str, ...]:
    """Return the names of all registered firmware."""
    return tuple(_REGISTERED)


def find(name: str) -> Firmware:
    """Return the firmware of that name.

    Raises:
        UsageError: there is none; names those that there are.
    """
    found = _REGISTERED.get(name)
    if found is None:
        raise UsageError(
            msg("there is no firmware {name!r}.", name=name), expected=" or ".join(_REGISTERED)
        )
    return found


register(Firmware("qboot", ("-bios", "qboot.rom"), "fast, and sends no IPIs"))
register(Firmware("seabios", ("-bios", "bios-256k.bin"), "sends its own INIT and SIPI first"))
