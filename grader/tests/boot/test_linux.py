"""The finale: Debian's Linux and memtest86+ on the reference's VMM, and what is said about it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import serial_line
from ovmf import needs_ovmf

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.cli.main import main
from vmmlab.course.load import load_course
from vmmlab.host.sandbox import Sandbox
from vmmlab.host.versions import qemu_path
from vmmlab.images.packages import Packages
from vmmlab.machine.firmware import find
from vmmlab.student import linux, systems
from vmmlab.student.command import streamed

KIT = Path(__file__).resolve().parents[3]
VMMLAB = str(Path(sys.executable).with_name("vmmlab"))
REFERENCE = ["--submission", "reference", "--course", str(KIT)]


def never(_: str) -> bool:
    return False


# --- in a machine ---------------------------------------------------------------------------------


def booted(*options: str) -> str:
    argv = [VMMLAB, "linux", "vmm", *REFERENCE, "--timeout", "1800", *options]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


@pytest.mark.full
@needs_ovmf
@pytest.mark.parametrize("cpus", [1, 4, 8])
def test_linux_uses_all_processors_of_the_vmm(cpus):
    said = booted("--cpus", str(cpus))
    if cpus > 1:
        assert re.search(rf"smp: Brought up \d nodes?, {cpus} CPUs\n", said)
    below = re.findall(r"(?m)^CPU (\d+) of Linux is processor (\d+) of the VMM$", said)
    assert [int(cpu) for cpu, _ in below] == list(range(cpus))
    assert sorted(int(processor) for _, processor in below) == list(range(cpus))
    counted = re.findall(r"(?m)^processor (\d+) +(\d+) ", said)
    assert [int(processor) for processor, _ in counted] == list(range(cpus))
    assert all(int(apic) for _, apic in counted)
    assert f"Linux used {cpus} CPUs" in said


@pytest.mark.full
@needs_ovmf
def test_the_same_linux_without_the_vmm():
    said = booted("--bare")
    assert "cohort" not in said
    assert said.count("there is no VMM below") == 4
    assert "Linux used 4 CPUs" in said


@pytest.mark.full
@needs_ovmf
def test_memtest_uses_all_processors_of_the_vmm():
    assert "memtest86+ used 4 CPUs" in booted("--guest", "memtest86+")


@pytest.mark.full
@needs_ovmf
def test_grub_starts_the_vmm_and_then_linux_as_its_guest(tmp_path, monkeypatch):
    image = tmp_path / "vmm.iso"
    assert main(["iso", "vmm", *REFERENCE, "--linux", "--output", str(image)]) == 0
    monkeypatch.setattr(serial_line, "PATIENCE_S", 1800)
    ends = r"Linux counts 2 processors\n(?s:.*)exits of"
    said = serial_line.serial_until(
        ends,
        [
            *("-bios", find("ovmf").image(qemu_path()), "-cpu", "qemu64,+svm,+npt"),
            *("-m", "512", "-smp", "2", "-nic", "none", "-monitor", "none"),
            *("-drive", f"file={image},format=raw"),
        ],
    )
    assert re.search(ends, said), said[-3000:]
    order = ("Starting a virtual machine", "Processor 1 (AP)", "Linux version", "2 CPUs")
    places = [said.index(text) for text in order]
    assert places == sorted(places)


# --- without one ----------------------------------------------------------------------------------


@pytest.fixture
def nothing_installed(tmp_path):
    return Packages(tmp_path, tmp_path, ())


def machine(lab, packages):
    what = linux.Try(lab)
    course = load_course(KIT)
    return linux.machine_for(what, course, "reference", packages, Sandbox.choose(require=False))


def test_a_vmm_that_runs_no_guest_under_uefi_is_refused(nothing_installed):
    with pytest.raises(UsageError) as caught:
        machine("lab8", nothing_installed)
    assert "svm_state_uefi" in str(caught.value)


def test_a_package_that_cannot_be_had_is_named(nothing_installed, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    what = linux.Try("vmm", bare=True)
    course, sandbox = load_course(KIT), Sandbox.choose(require=False)
    with pytest.raises(InfraError, match="linux-image-cloud-amd64"):
        linux.machine_for(what, course, "reference", nothing_installed, sandbox)


def test_a_guest_that_is_not_known(capsys):
    assert main(["linux", "vmm", *REFERENCE, "--guest", "minix"]) == 2
    assert "linux or memtest86+" in capsys.readouterr().err


def test_a_shell_needs_a_terminal(capsys):
    assert main(["linux", "vmm", *REFERENCE, "--shell"]) == 2
    assert "terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("printed", "good"),
    [
        ("Linux counts 4 processors\n", True),
        ("Linux counts 3 processors\n", False),
        ("panic: CPU 0 (APIC id 0): guest exit 0x400\n", False),
        ("", False),
    ],
)
def test_what_counts_is_that_linux_uses_all_processors(printed, good, capsys):
    what = linux.Try("vmm")
    output = streamed(["printf", "%s", printed], 60, linux.enough(what))
    assert linux.ending(what, output)[1] == good
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    "last",
    [
        "panic: CPU 0 (APIC id 0): guest exit 0x400",
        "TODO(lab10.2) in svm_state_uefi",
        "No guest: this processor has no AMD SVM with nested paging.",
        "vmmlab-loader: the VMM's file is damaged or missing",
        "[    1.5] Kernel panic - not syncing: No working init found",
    ],
)
def test_a_line_after_which_nothing_comes_ends_it(last):
    what = linux.Try("vmm")
    script = f'echo first; echo "{last}"; exec sleep 1000'
    output = streamed(["sh", "-c", script], 600, linux.enough(what))
    assert output.status is None
    assert output.text == f"first\n{last}\n"
    assert not linux.ending(what, output)[1]


def test_a_system_that_has_not_ended_is_no_success():
    what = linux.Try("vmm")
    output = streamed(["sh", "-c", "echo Linux counts 4 processors; exec sleep 1000"], 1, never)
    assert output.status is None
    assert not linux.ending(what, output)[1]


def test_a_system_that_does_not_end_is_ended_when_it_uses_all_processors():
    what = linux.Try("vmm", systems.find("memtest86+"))
    script = r"printf 'SMP: \033[7m4T (PAR)'; exec sleep 1000"
    output = streamed(["sh", "-c", script], 600, linux.enough(what))
    assert linux.ending(what, output)[1]


def test_the_first_program_of_linux_is_a_script_without_mistakes(tmp_path):
    archive = systems.initial_files(b"busybox", b"ask")
    script = archive[archive.index(b"#!/bin/busybox") :].split(b"\0")[0]
    script = script[: script.rindex(b"poweroff -f\n") + 12]
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("head", "serves"),
    [
        (b"", False),
        (b"#!/bin/sh\n", False),
        (Path("/bin/sh").read_bytes()[:65536], False),
    ],
)
def test_a_program_that_needs_libraries_does_not_serve(head, serves):
    assert systems.BUSYBOX.usable(head) == serves


def test_a_kernel_that_uefi_cannot_start_does_not_serve():
    head = bytearray(0x240)
    head[:2], head[0x202:0x206], head[0x236] = b"MZ", b"HdrS", 1
    assert systems.LINUX.kernel.usable(bytes(head))
    for change in (0, 0x202, 0x236):
        wrong = bytearray(head)
        wrong[change] = 0
        assert not systems.LINUX.kernel.usable(bytes(wrong))
    assert not systems.LINUX.kernel.usable(b"MZ")
