"""Which system this host runs, and how packages are called and installed there.

Debian's names of packages stand for all: other systems have a table of what they call them.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Family = Literal["debian", "fedora", "arch", "macos", "other"]

OS_RELEASE: Final = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
"""Where a Linux system says what it is: os-release(5)."""

_MOST: Final = 64 * 1024  # bytes
_FAMILIES: Final[Mapping[str, Family]] = {
    "debian": "debian", "ubuntu": "debian",
    "fedora": "fedora", "rhel": "fedora", "centos": "fedora",
    "arch": "arch",
}  # fmt: skip
_INSTALL: Final[Mapping[Family, str]] = {
    "debian": "sudo apt-get install --no-install-recommends",
    "fedora": "sudo dnf install",
    "arch": "sudo pacman -S --needed",
    "macos": "brew install",
}
_NAMES: Final[Mapping[Family, Mapping[str, str]]] = {
    "fedora": {
        "qemu-system-data": "qemu-system-x86",
        "ovmf": "edk2-ovmf",
        "grub-common": "grub2-tools-extra",
        "grub-pc-bin": "grub2-pc-modules",
    },
    "arch": {
        "qemu-system-data": "qemu-system-x86-firmware",
        "ovmf": "edk2-ovmf",
        "grub-common": "grub",
        "grub-pc-bin": "grub",
        "xorriso": "libisoburn",
    },
    "macos": {
        "qemu-system-x86": "qemu",
        "qemu-system-data": "qemu",
        "ovmf": "qemu",
        "gcc": "x86_64-elf-gcc",
        "binutils": "x86_64-elf-binutils",
        "clang": "llvm",
        "gdb": "x86_64-elf-gdb",
        "grub-common": "x86_64-elf-grub",
        "grub-pc-bin": "x86_64-elf-grub",
        "bubblewrap": "",  # Linux only
    },
}


@dataclass(frozen=True, slots=True)
class Distribution:
    """The system of a host.

    Attributes:
        family: systems that have the same names of packages.
        name: for people, for example "Ubuntu 24.04.1 LTS".
        wsl: the version of the Windows Subsystem for Linux that it runs in; 0: in none.
    """

    family: Family
    name: str
    wsl: int = 0

    def package(self, debian: str) -> str:
        """Return what the package is called here that Debian calls `debian`; "": there is none."""
        return _NAMES.get(self.family, {}).get(debian, debian)

    def install_command(self, packages: Iterable[str]) -> str:
        """Return the one command that installs some packages; "" if none is known.

        Args:
            packages: their names in Debian.
        """
        wanted = sorted({name for one in packages if (name := self.package(one))})
        if not wanted or self.family not in _INSTALL:
            return ""
        return f"{_INSTALL[self.family]} {' '.join(wanted)}"


def this() -> Distribution:
    """Return the system of this host; reads one file."""
    if platform.system() == "Darwin":
        return Distribution("macos", f"macOS {platform.mac_ver()[0]}".strip())
    for path in OS_RELEASE:
        try:
            with path.open("rb") as file:
                return parsed(file.read(_MOST).decode(errors="replace"), platform.release())
        except OSError:
            continue
    return Distribution("other", platform.system() or "unknown", _wsl(platform.release()))


def parsed(text: str, kernel: str = "") -> Distribution:
    """Return the system that an os-release describes.

    Args:
        text: the file, which may be damaged.
        kernel: the release of the kernel: in WSL it names Microsoft.
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, sign, value = line.strip().partition("=")
        if sign and not key.startswith("#"):
            try:
                values[key] = " ".join(shlex.split(value))[:100]
            except ValueError:  # an odd number of quotes
                continue
    alike = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    families = [_FAMILIES[name] for name in alike if name in _FAMILIES]
    family: Family = families[0] if families else "other"
    name = values.get("PRETTY_NAME") or values.get("NAME") or values.get("ID") or "Linux"
    return Distribution(family, name, _wsl(kernel))


def _wsl(kernel: str) -> int:
    """Return the version of WSL: kernels of WSL 2 are called …-microsoft-standard-WSL2."""
    if "microsoft" not in kernel.lower():
        return 0
    return 2 if "wsl2" in kernel.lower() or "microsoft-standard" in kernel else 1
