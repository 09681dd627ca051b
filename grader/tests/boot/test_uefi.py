"""A VMM on UEFI firmware: each failure of the loader is one line, and a boot goes through."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from ovmf import needs_ovmf
from serial_line import PATIENCE_S, serial_until

from vmmlab.course.load import load_course
from vmmlab.host.sandbox import Sandbox
from vmmlab.host.versions import qemu_path
from vmmlab.images.efi import EfiBuilder
from vmmlab.machine.firmware import find

pytestmark = pytest.mark.slow

KIT = Path(__file__).resolve().parents[3]
VMMLAB = str(Path(sys.executable).with_name("vmmlab"))
LINE = re.compile(r"vmmlab-loader: .*\n")


def elf32(physical: int, content: bytes) -> bytes:
    """An ELF32 file with one segment."""
    header = struct.pack(
        "<16s2H5I6H", b"\x7fELF\1\1\1", 2, 3, 1, physical, 52, 0, 0, 52, 32, 1, 0, 0, 0
    )
    size = len(content)
    return header + struct.pack("<8I", 1, 84, physical, physical, size, size, 7, 1) + content


def line_of(loader: Path) -> str:
    """The line in which the loader says why it gives up."""
    firmware = ["-nodefaults", "-bios", find("ovmf").image(qemu_path())]
    said = serial_until(LINE.pattern, [*firmware, "-kernel", str(loader)])
    found = LINE.search(said)
    assert found is not None, said
    return found[0]


@needs_ovmf
@pytest.mark.parametrize(
    ("vmm", "said"),
    [
        (b"not an ELF file", "the VMM's file is damaged or missing"),
        (elf32(0x100000, b"x" * 100)[:-1], "the VMM's file is damaged or missing"),
        (elf32(0x100000, b""), "the VMM's file has nothing to load"),
        (elf32(0x70000000, b"x" * 100), "no memory at the VMM's address: 0x70000000, 0x1000 bytes"),
        (elf32(0x100000, b"x" * 100), "this VMM has no UEFI entry"),
    ],
)
def test_why_the_loader_gives_up_is_said_in_a_line(tmp_path, vmm, said):
    builder = EfiBuilder(load_course(KIT).tree, Sandbox.choose(require=False), tmp_path)
    assert said in line_of(builder.loader(vmm))


@needs_ovmf
def test_a_boot_without_a_terminal_goes_through():
    argv = [VMMLAB, "run", "lab6", "--submission", "reference", "--firmware", "uefi"]
    done = subprocess.run(
        [*argv, "--timeout", str(PATIENCE_S)],
        cwd=KIT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vmmlab VMM, cohort dev, UEFI" in done.stdout
    assert "all CPUs have halted" in done.stdout


@needs_ovmf
@pytest.mark.full
@pytest.mark.parametrize("cpus", [1, 2, 4, 8])
def test_the_firmware_goes_on_as_a_guest_and_gets_its_processors(cpus):
    argv = [VMMLAB, "run", "lab10", "--submission", "reference", "--cpus", str(cpus)]
    done = subprocess.run(
        [*argv, "--timeout", str(PATIENCE_S)],
        cwd=KIT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("(AP)") == cpus - 1
    assert "guest: all processors have started" in done.stdout


def test_a_vmm_without_an_entry_for_uefi_is_refused():
    argv = [VMMLAB, "run", "lab4", "--submission", "reference", "--firmware", "uefi"]
    done = subprocess.run(argv, cwd=KIT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "it has no uefi_entry" in done.stderr


@pytest.mark.parametrize(("said", "meant"), [("uefi", "ovmf"), ("bios", "seabios")])
def test_other_names_of_firmware(said, meant):
    assert find(said).name == meant
