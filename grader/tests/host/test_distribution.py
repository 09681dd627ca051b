"""What a host calls its packages, from os-release files of several systems."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmmlab.host import distribution, tools
from vmmlab.host.distribution import Distribution, parsed

FILES = Path(__file__).with_name("os-release")
WANTED = ["bubblewrap", "gcc", "ovmf", "qemu-system-x86", "xorriso"]
LINES = {
    "debian-12": "sudo apt-get install --no-install-recommends "
    "bubblewrap gcc ovmf qemu-system-x86 xorriso",
    "fedora-41": "sudo dnf install bubblewrap edk2-ovmf gcc qemu-system-x86 xorriso",
    "arch": "sudo pacman -S --needed bubblewrap edk2-ovmf gcc libisoburn qemu-system-x86",
    "nixos-24.05": "",
}
LINES["ubuntu-24.04"] = LINES["debian-12"]
LINES["rocky-9"] = LINES["fedora-41"]
LINES["manjaro"] = LINES["arch"]


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
def test_each_system_has_its_line(name: str) -> None:
    found = parsed((FILES / name).read_text())
    assert found.install_command(WANTED) == LINES[name]
    assert found.name.partition(" ")[0].lower() in name
    assert found.wsl == 0


def test_macos() -> None:
    line = Distribution("macos", "macOS 15").install_command(WANTED)
    assert line == "brew install qemu x86_64-elf-gcc xorriso"


@pytest.mark.parametrize(
    ("kernel", "version"),
    [
        ("6.1.0-26-amd64", 0),
        ("5.15.153.1-microsoft-standard-WSL2", 2),
        ("4.4.0-19041-Microsoft", 1),
    ],
)
def test_wsl(kernel: str, version: int) -> None:
    assert parsed((FILES / "ubuntu-24.04").read_text(), kernel).wsl == version


@pytest.mark.parametrize("text", ["", "\0", "ID", "=", 'ID="deb', "ID=\nNAME=\n", "#ID=debian"])
def test_a_damaged_file(text: str) -> None:
    assert parsed(text).family == "other"
    assert parsed(text).install_command(WANTED) == ""


def test_a_host_without_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "OS_RELEASE", (tmp_path / "none",))
    assert distribution.this().family == "other"
    assert "as Debian calls them" in str(tools.install_command(WANTED))


def test_every_tool_has_a_package_in_every_table() -> None:
    for family in ("debian", "fedora", "arch", "macos"):
        here = Distribution(family, "")
        for package in set(tools.PACKAGES.values()) - {"bubblewrap"}:
            assert here.package(package)
