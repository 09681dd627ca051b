"""`vmmlab doctor`: names each thing that is missing, and one command that installs it."""

from pathlib import Path

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.cli import main
from vmmlab.host import bubblewrap, distribution, tools, versions
from vmmlab.host.bubblewrap import Bubblewrap
from vmmlab.machine import firmware
from vmmlab.student import doctor
from vmmlab.student.doctor import Item


def tool(folder: Path, name: str, says: str, code: int = 0) -> None:
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has only the tools of the test."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(versions.QEMU_VARIABLE, raising=False)
    monkeypatch.setenv(firmware.OVMF_VARIABLE, str(tmp_path / "data" / "OVMF.fd"))
    monkeypatch.setattr(tools, "GRUB_MODULES", tmp_path / "grub")
    debian = distribution.Distribution("debian", "Debian GNU/Linux 12 (bookworm)")
    monkeypatch.setattr(distribution, "this", lambda: debian)
    monkeypatch.setattr(doctor, "KVM", tmp_path / "kvm")
    monkeypatch.setattr(
        bubblewrap, "examine", lambda: Bubblewrap(False, reason="none", next_step="mend bwrap")
    )
    return tmp_path


def named(items: list[Item], name: str) -> Item:
    return next(item for item in items if item.name == name)


def fill(machine: Path, qemu: str = "QEMU emulator version 7.2.22 (Debian)") -> None:
    folder = machine / "bin"
    for name in ("gcc", "ld", "objcopy", "clang", "gdb", "grub-mkrescue", "xorriso", "apt-get"):
        tool(folder, name, f"{name} (Debian) 12.2.0")
    (machine / "grub").mkdir(exist_ok=True)
    (folder / "qemu-system-x86_64").write_text(
        f'#!/bin/sh\ncase "$1" in -L) echo {machine}/data;; *) echo "{qemu}";; esac\n'
    )
    (folder / "qemu-system-x86_64").chmod(0o755)
    (machine / "data" / "qboot.rom").write_text("")
    (machine / "data" / "OVMF.fd").write_text("")


def test_a_machine_with_everything_but_bwrap(machine: Path) -> None:
    fill(machine)
    items = doctor.examine()
    assert doctor.healthy(items)
    assert named(items, "qemu-system-x86_64").detail == "7.2.22"
    assert named(items, "gcc").detail == "12.2.0"
    assert named(items, "pydantic").ok
    assert not named(items, "bwrap").ok
    text = list(doctor.lines(items))
    assert text[-1] == "  next: sudo apt-get install --no-install-recommends bubblewrap"


def test_a_bare_machine(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(machine / "bin", "apt-get", "apt")
    items = doctor.examine()
    assert not doctor.healthy(items)
    missing = {item.name for item in items if not item.ok}
    assert missing == {*tools.PACKAGES, "sandbox", "kvm"}
    assert list(doctor.lines(items))[-1] == (
        "  next: sudo apt-get install --no-install-recommends "
        "binutils bubblewrap clang gcc gdb grub-common grub-pc-bin ovmf "
        "qemu-system-data qemu-system-x86 xorriso"
    )
    lines = list(doctor.lines(items))
    for name, package in tools.PACKAGES.items():
        row = next(n for n, line in enumerate(lines) if line.split()[1] == name)
        assert lines[row + 1].split(": ")[1] == (
            f"sudo apt-get install --no-install-recommends {package}"
        )
    monkeypatch.setattr(distribution, "this", lambda: distribution.Distribution("other", "NixOS"))
    assert "as Debian calls them" in str(doctor.mend(items))
    monkeypatch.setattr(distribution, "this", lambda: distribution.Distribution("arch", "Arch"))
    assert str(doctor.mend(items)).startswith("sudo pacman -S --needed binutils bubblewrap")


def test_an_untried_qemu_is_named_and_allowed(machine: Path) -> None:
    fill(machine, "QEMU emulator version 8.1.0")
    item = named(doctor.examine(), "qemu-system-x86_64")
    assert item.ok
    assert str(item.detail) == "8.1.0, not tested: this kit is tested with 7.2, 10.0"


def test_a_qemu_that_does_not_answer(machine: Path) -> None:
    fill(machine, "something else")
    items = doctor.examine()
    item = named(items, "qemu-system-x86_64")
    assert not item.ok
    assert item.detail
    assert str(item.remedy) in "\n".join(doctor.lines(items))


def test_a_tool_that_does_not_run(machine: Path) -> None:
    fill(machine)
    tool(machine / "bin", "gcc", "", code=1)
    item = named(doctor.examine(), "gcc")
    assert not item.ok
    assert "does not run" in str(item.detail)
    assert str(item.remedy) == "reinstall gcc"


def test_firmware_that_is_missing(machine: Path) -> None:
    fill(machine)
    (machine / "data" / "qboot.rom").unlink()
    items = doctor.examine()
    assert not doctor.healthy(items)
    assert "qemu-system-data" in str(doctor.mend(items))


def test_ovmf_that_is_missing(machine: Path) -> None:
    fill(machine)
    assert named(doctor.examine(), "ovmf").detail == str(machine / "data" / "OVMF.fd")
    (machine / "data" / "OVMF.fd").unlink()
    items = doctor.examine()
    assert doctor.healthy(items), "the labs that do not boot by UEFI go on without it"
    assert "ovmf" in str(doctor.mend(items))
    assert "nothing boots by UEFI" in "\n".join(doctor.lines(items))


def test_bwrap_that_is_forbidden(machine: Path) -> None:
    fill(machine)
    tool(machine / "bin", "bwrap", "bubblewrap 0.8.0")
    items = doctor.examine()
    assert doctor.healthy(items), "one's own work can be graded without"
    assert list(doctor.lines(items))[-1] == "  next: mend bwrap"


def test_a_missing_python_package(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(machine)
    monkeypatch.setattr(
        "importlib.metadata.requires",
        lambda name: ["pydantic>=2", "no-such-thing>=1; python_version>'3'", 'x>1; extra == "dev"'],
    )
    items = doctor.examine()
    assert not doctor.healthy(items)
    assert not named(items, "no-such-thing").ok
    assert "x" not in {item.name for item in items}
    assert "pip install 'no-such-thing>=1" in list(doctor.lines(items))[-1]


def test_a_missing_extra_is_optional(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(machine)
    here = ["pydantic>=2", 'pytest>1; extra == "similar"', 'no-such-thing>1; extra == "explore"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: here)
    items = doctor.examine()
    assert doctor.healthy(items)
    assert named(items, "vmmlab[similar]").ok
    assert not named(items, "vmmlab[explore]").ok
    told = "\n".join(doctor.lines(items))
    assert "missing vmmlab[explore]     no-such-thing; optional: for vmmlab explore" in told
    assert "mend: python -m pip install 'vmmlab[explore]'" in told
    assert "next: python -m pip" not in told, "a missing extra is no next step"


def test_requiring_tools(machine: Path) -> None:
    fill(machine)
    tools.require(tools.PACKAGES.keys() - {"bwrap", "qboot.rom", "ovmf"})
    (machine / "bin" / "ld").unlink()
    (machine / "bin" / "qemu-system-x86_64").unlink()
    with pytest.raises(InfraError) as caught:
        tools.require(("qemu-system-x86_64", "gcc", "ld"))
    assert str(caught.value.message) == "qemu-system-x86_64, ld: not installed."
    assert caught.value.next_step.endswith("binutils qemu-system-x86")


def test_the_command(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["doctor"]) == 3
    assert "missing gcc" in capsys.readouterr().out
    fill(machine)
    assert main.main(["doctor"]) == 0
    assert "ok      gcc" in capsys.readouterr().out


def test_wsl_1_and_macos_say_what_to_do(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for family, wsl, word in (("debian", 1, "wsl --set-version"), ("macos", 0, ".devcontainer")):
        found = distribution.Distribution(family, "a system", wsl)  # type: ignore[arg-type]
        monkeypatch.setattr(distribution, "this", lambda found=found: found)
        items = doctor.examine()
        assert not named(items, "system").ok
        assert any(word in line for line in doctor.lines(items))
    two = distribution.Distribution("debian", "Ubuntu 24.04", 2)
    monkeypatch.setattr(distribution, "this", lambda: two)
    assert named(doctor.examine(), "system") == Item("system", True, "Ubuntu 24.04, WSL 2")


def test_the_sandbox_kvm_and_the_speed_are_told(machine: Path) -> None:
    fill(machine)
    (machine / "kvm").write_text("")
    items = doctor.examine()
    assert named(items, "kvm").ok
    assert "times the 43 ms" in str(named(items, "speed").detail)
    (machine / "kvm").unlink()
    without = named(doctor.examine(), "kvm")
    assert (without.ok, without.optional) == (False, True)
    assert not named(items, "sandbox").ok, "the machine of this test has no bubblewrap"
