"""A VMM on UEFI firmware: each failure of the loader is one line, and a boot goes through."""

import re
import selectors
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.course.load import load_course
from vmmlab.host.sandbox import Sandbox
from vmmlab.host.versions import qemu_path
from vmmlab.images.efi import EfiBuilder
from vmmlab.machine.firmware import find

KIT = Path(__file__).resolve().parents[3]
VMMLAB = str(Path(sys.executable).with_name("vmmlab"))
PATIENCE_S = 120
LINE = re.compile(r"vmmlab-loader: .*\n")


def installed() -> bool:
    try:
        return bool(find("ovmf").image(qemu_path()))
    except InfraError:
        return False


needs_ovmf = pytest.mark.skipif(not installed(), reason="ovmf is not installed")


def elf32(physical: int, content: bytes) -> bytes:
    """An ELF32 file with one segment."""
    header = struct.pack(
        "<16s2H5I6H", b"\x7fELF\1\1\1", 2, 3, 1, physical, 52, 0, 0, 52, 32, 1, 0, 0, 0
    )
    size = len(content)
    return header + struct.pack("<8I", 1, 84, physical, physical, size, size, 7, 1) + content


def line_of(loader: Path) -> str:
    """The line in which the loader says why it gives up."""
    argv = [
        str(qemu_path()), "-M", "q35,smm=off", "-m", "128", "-display", "none", "-no-reboot",
        "-nodefaults", "-bios", find("ovmf").image(qemu_path()), "-kernel", str(loader),
        "-serial", "stdio",
    ]  # fmt: skip
    said = ""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        assert machine.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(machine.stdout, selectors.EVENT_READ)
            end = time.monotonic() + PATIENCE_S
            while not LINE.search(said) and selector.select(end - time.monotonic()):
                data = machine.stdout.read1(4096)
                if not data:
                    break
                said += data.decode(errors="replace").replace("\r", "")
        machine.kill()
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


def test_a_vmm_without_an_entry_for_uefi_is_refused():
    argv = [VMMLAB, "run", "lab4", "--submission", "reference", "--firmware", "uefi"]
    done = subprocess.run(argv, cwd=KIT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "it has no uefi_entry" in done.stderr


@pytest.mark.parametrize(("said", "meant"), [("uefi", "ovmf"), ("bios", "seabios")])
def test_other_names_of_firmware(said, meant):
    assert find(said).name == meant
