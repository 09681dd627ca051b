"""The image for a PC: GRUB finds it on a CD and on a stick, and every processor comes up."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from ovmf import needs_ovmf
from serial_line import serial_until

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.cli.main import main
from vmmlab.host.versions import qemu_path
from vmmlab.machine.firmware import find
from vmmlab.student import iso
from vmmlab.student import run as boot

pytestmark = pytest.mark.slow

KIT = Path(__file__).resolve().parents[3]
VMMLAB = str(Path(sys.executable).with_name("vmmlab"))
MACHINE = ["-smp", "4", "-nic", "none", "-monitor", "none"]
ALL_CAME = r"(?s)(Processor \d \(AP\).*){3}\n"
BSP_CAME = r"(?s)cohort dev, UEFI\n.*Processor 0 \(BSP\)\n.*\n"
EFI_FILE = b"BOOTX64 EFI"
"""The name of the loader in a FAT directory."""


@pytest.fixture(scope="module", params=["x86_64", "i386"])
def image(tmp_path_factory, request) -> Path:
    made = tmp_path_factory.mktemp("iso") / request.param / "vmm.iso"
    argv = [
        VMMLAB, "iso", "vmm", "--submission", "reference", "--output", str(made),
        "--arch", request.param,
    ]  # fmt: skip
    done = subprocess.run(argv, cwd=KIT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(made) in done.stdout
    return made


@pytest.mark.parametrize("drive", [["-cdrom", "{}"], ["-drive", "file={},format=raw"]])
def test_it_boots(image, drive):
    said = serial_until(ALL_CAME, [*MACHINE, *(word.format(image) for word in drive)])
    assert re.search(ALL_CAME, said), said
    assert "Processor 0 (BSP)" in said


@needs_ovmf
@pytest.mark.parametrize("drive", [["-cdrom", "{}"], ["-drive", "file={},format=raw"]])
def test_it_boots_by_uefi(image, drive):
    if EFI_FILE not in image.read_bytes():
        assert image.parent.name == "i386", "only i386 has no entry for UEFI"
        return
    firmware = ["-bios", find("ovmf").image(qemu_path())]
    said = serial_until(BSP_CAME, [*MACHINE, *firmware, *(word.format(image) for word in drive)])
    assert re.search(BSP_CAME, said), said


@pytest.mark.parametrize("delays", ["fast", "faithful"])
def test_the_image_waits_as_long_as_real_processors_need(tmp_path, monkeypatch, delays):
    """SDM vol. 3, 8.4.4.1: 10 ms after INIT, 200 us or more after a SIPI."""
    options = []

    def make(kernel, title, output, loader, linux):
        output.write_bytes(kernel.read_bytes())

    real = boot.image_for

    def image_for(*given, **more):
        made = real(*given, **{**more, **({"delays": "fast"} if delays == "fast" else {})})
        options.append(made.options)
        return made

    monkeypatch.setattr(iso, "make_iso", make)
    monkeypatch.setattr(boot, "image_for", image_for)
    output = tmp_path / "vmm.iso"
    course = ["--submission", "reference", "--course", str(KIT)]
    assert main(["iso", "vmm", *course, "--output", str(output)]) == 0
    faithful = struct.pack("<II", 10_000, 200_000) in output.read_bytes()
    assert faithful == (delays == "faithful"), options


def test_a_boot_that_loses_a_processor_does_not_pass():
    said = "Processor 0 (BSP)\nProcessor 1 (AP)\nProcessor 2 (AP)\n"
    assert not re.search(ALL_CAME, said)
    assert re.search(ALL_CAME, said + "Processor 3 (AP)\n")


def test_a_place_that_cannot_be_written():
    with pytest.raises(UsageError) as caught:
        iso.make_iso(Path("/dev/null"), "x", Path("/proc/vmm.iso"))
    assert "/proc/vmm.iso" in str(caught.value.message)


def test_tools_that_are_missing_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfraError) as caught:
        iso.make_iso(Path("/dev/null"), "x", tmp_path / "vmm.iso")
    assert "grub-mkrescue" in str(caught.value.message)
