"""The tools that the kit starts: whether they are installed, and their Debian packages."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.host import distribution, versions

PACKAGES: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qboot.rom": "qemu-system-data",
    "ovmf": "ovmf",
    "gcc": "gcc",
    "ld": "binutils",
    "objcopy": "binutils",
    "bwrap": "bubblewrap",
    "clang": "clang",
    "gdb": "gdb",
    "grub-mkrescue": "grub-common",
    "grub-i386-pc": "grub-pc-bin",
    "xorriso": "xorriso",
}
"""The Debian package of each tool."""

GRUB_MODULES: Final = Path("/usr/lib/grub/i386-pc")
"""Where GRUB for BIOS is installed."""


def is_installed(name: str) -> bool:
    """Return whether a tool is there; nothing is started.

    Args:
        name: a key of `PACKAGES` other than `qboot.rom`, which only QEMU finds, and `ovmf`, see
            `vmmlab.machine.firmware`.
    """
    if name == "qemu-system-x86_64":
        try:
            versions.qemu_path()
        except InfraError:
            return False
        return True
    if name == "grub-i386-pc":
        return GRUB_MODULES.is_dir()
    return shutil.which(name) is not None


FOR_GRADING: Final = ("qemu-system-x86_64", "gcc", "ld", "objcopy")
"""What a workspace is graded with."""


def require(names: Iterable[str]) -> None:
    """Make sure that some tools are installed; takes 1 ms.

    Args:
        names: as for `is_installed`.

    Raises:
        InfraError: some are missing; it names all of them and the command that installs them.
    """
    missing = [name for name in names if not is_installed(name)]
    if missing:
        raise InfraError(
            msg("{missing}: not installed.", missing=", ".join(missing)),
            expected=msg("a command on PATH"),
            next_step=install_command(PACKAGES[name] for name in missing)
            or msg("install them, then run vmmlab doctor"),
        )


def install_command(packages: Iterable[str]) -> Text:
    """Return the one command that installs some packages on this host; "" for none.

    Args:
        packages: their names in Debian.
    """
    wanted = sorted(set(packages))
    if not wanted:
        return ""
    return distribution.this().install_command(wanted) or msg(
        "install {wanted} (as Debian calls them)", wanted=", ".join(wanted)
    )
