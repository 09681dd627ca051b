"""The firmware that a machine can boot with: a registry.

A new firmware is one call of `register`; the scenarios of course.yml and of the checks name it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import msg

DEFAULT = "qboot"
"""The firmware of a machine for which none is named."""

OVMF = "ovmf"
OVMF_VARIABLE = "VMMLAB_OVMF"
"""The environment variable that names another OVMF than the usual ones."""
_OVMF_FILES = (
    "share/ovmf/OVMF.fd",  # Debian, Ubuntu
    "share/OVMF/OVMF.fd",
    "share/edk2/ovmf/OVMF.stateless.fd",  # Fedora
    "share/edk2/ovmf/OVMF_CODE.fd",
    "share/edk2/x64/OVMF.4m.fd",  # Arch
    "share/edk2-ovmf/x64/OVMF.fd",
    "share/edk2-ovmf/OVMF_CODE.fd",  # Gentoo
    "share/qemu/ovmf-x86_64.bin",  # openSUSE
    "share/OVMF/OVMF_CODE.fd",
)
"""Where OVMF is, below /usr or the root of another QEMU."""


@dataclass(frozen=True)
class Firmware:
    """A firmware.

    Attributes:
        name: what scenarios call it.
        file: a file that QEMU brings along; "" if it is found elsewhere, see `image`.
        note: what is special about it, one line.
        efi: it is UEFI firmware: it starts the VMM through the EFI loader.
        board: options that QEMU's machine must have with it.
        least_mib: memory that it needs, MiB.
    """

    name: str
    file: str
    note: str
    efi: bool = False
    board: tuple[str, ...] = ()
    least_mib: int = 16

    def image(self, qemu: Path) -> str:
        """Return the file for QEMU's `-bios`.

        Args:
            qemu: the executable: firmware that is installed with it is preferred.

        Raises:
            InfraError: the firmware is not installed.
        """
        found = self.file or _ovmf(qemu)
        if found is None:
            raise InfraError(
                msg(
                    "The firmware {name} is not installed: install OVMF (Debian, Ubuntu: apt "
                    "install ovmf; Fedora: dnf install edk2-ovmf).",
                    name=self.name,
                ),
                expected=msg("a file {path}", path=f"/usr/{_OVMF_FILES[0]}"),
                found=msg("none"),
                next_step=msg(
                    "Install it, or name its file in ${variable}.", variable=OVMF_VARIABLE
                ),
            )
        return str(found)


def _ovmf(qemu: Path) -> Path | None:
    if named := os.environ.get(OVMF_VARIABLE):
        path = Path(named).absolute()
        return path if path.is_file() else None
    roots = dict.fromkeys((qemu.resolve().parent.parent, Path("/usr")))
    paths = (root / name for root in roots for name in _OVMF_FILES)
    return next((path for path in paths if path.is_file()), None)


_REGISTERED: dict[str, Firmware] = {}
_ALSO_CALLED: Final = {"uefi": OVMF, "bios": "seabios"}
"""Names that people use on the command line."""


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
    found = _REGISTERED.get(_ALSO_CALLED.get(name, name))
    if found is None:
        raise UsageError(
            msg("there is no firmware {name!r}.", name=name), expected=" or ".join(_REGISTERED)
        )
    return found


register(Firmware("qboot", "qboot.rom", "fast, and sends no IPIs"))
register(Firmware("seabios", "bios-256k.bin", "sends its own INIT and SIPI first"))
register(
    Firmware(
        OVMF,
        "",
        "UEFI: starts the VMM through the EFI loader, and uses the APs itself",
        efi=True,
        board=("smm=off",),
        least_mib=128,
    )
)
