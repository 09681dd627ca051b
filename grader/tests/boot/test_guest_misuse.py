"""Guests that misuse their local APIC, and a processor that never comes: the VMM says so."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

import pytest
from ovmf import needs_ovmf
from serial_line import PATIENCE_S

from vmmlab.course.load import load_course
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.layout import VMM_BASE
from vmmlab.images.model import Image
from vmmlab.machine import Machine, MachineSpec
from vmmlab.probes.base import DELAY_FIELDS
from vmmlab.student.run import image_for, loader_of

COURSE = load_course(Path(__file__).parents[3])
SOURCE = Path(__file__).with_name("guests") / "misuse.S"
GOES_ON = b"guest: it goes on"
ROUNDS = 300


@cache
def vmm(lab: str) -> Image:
    """The VMM of the reference of a lab."""
    return image_for(lab, COURSE, "reference")


def guest(folder: Path, *options: str) -> Path:
    """The guest that misuses its APIC, as a multiboot module."""
    obj, elf, flat = (folder / f"guest.{kind}" for kind in ("o", "elf", "bin"))
    for command in (
        ["gcc", "-c", f"-I{COURSE.tree}/include", *options, str(SOURCE), "-o", str(obj)],
        ["ld", "-m", "elf_x86_64", "-Ttext=0x7c00", "-e", "_start", "-o", str(elf), str(obj)],
        ["objcopy", "-O", "binary", str(elf), str(flat)],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return flat


def said(spec: MachineSpec, meanwhile: Callable[[Machine], Awaitable[object]]) -> str:
    """What the machine says until something has happened."""

    async def boot() -> str:
        async with Machine(spec) as machine:
            async with asyncio.timeout(PATIENCE_S):
                await meanwhile(machine)
            return machine.serial().replace("\r", "")

    return asyncio.run(boot())


def until(line: bytes) -> Callable[[Machine], Awaitable[object]]:
    """Let the machine run until it has said this."""

    async def run(machine: Machine) -> None:
        await machine.gdb.resume()
        await machine.serial_line(line)

    return run


def bios(flat: Path, cpus: int) -> MachineSpec:
    """The VMM of lab 9 with a guest of its own."""
    return MachineSpec(vmm("lab9").kernel, cpus=cpus, modules=(flat,), svm=True)


def test_a_guest_that_misuses_its_apic_gets_exceptions_and_goes_on(tmp_path: Path) -> None:
    text = said(bios(guest(tmp_path), 1), until(GOES_ON))
    assert re.findall(r"^guest: exception (.)$", text, re.MULTILINE) == [*"666666DDDDD0"]
    named = re.findall(
        r"^CPU 0: its guest writes to the APIC, (0x\w+), by an instruction that is not decoded, "
        r"at CS:RIP 0x8:0x7\w+: (\w\w(?: \w\w)*)$",
        text,
        re.MULTILINE,
    )
    assert [(at, code[: len(begins)]) for (at, code), begins in zip(named, BEGIN, strict=True)] == [
        ("0xfee00084" if begins == BEGIN[4] else "0xfee00080", begins) for begins in BEGIN
    ]
    bases = re.findall(r"^CPU 0: its guest sets IA32_APIC_BASE to (0x\w+), which", text, re.M)
    assert [int(base, 16) ^ 0xFEE00900 for base in bases] == [0x1000, 1 << 32, 0x800, 0x400, 1]
    assert "panic" not in text


BEGIN = [
    "87 83 80 00 00 00", "83 8b 80 00 00 00 01", "66 89 83 80", "88 83 80 00",
    "89 83 84 00 00 00", "f3 ab",
]  # fmt: skip
"""How the instructions that are not decoded begin."""


def test_inits_to_nobody_and_hundreds_to_itself(tmp_path: Path) -> None:
    text = said(bios(guest(tmp_path, f"-DROUNDS={ROUNDS}"), 2), until(GOES_ON))
    assert "panic" not in text


def test_a_guest_whose_stack_is_in_its_apic_is_named(tmp_path: Path) -> None:
    text = said(bios(guest(tmp_path, "-DSTACK_IN_APIC"), 1), until(b"panic: CPU 0"))
    assert text.count("not decoded") == 1
    assert re.search(
        r"^panic: CPU 0 .*guest exit 0x400, info 0x\w+ 0xfee000\w\w, CS:RIP", text, re.M
    )


def missing(symbol: str, cpus: int) -> Callable[[Machine], Awaitable[object]]:
    """Let the machine run, but its last processor only until the BSP comes to a function."""
    symbols = vmm("lab10").symbols
    wait_us = symbols.addr("ap_delays") - VMM_BASE + DELAY_FIELDS["wait_us"]

    async def run(machine: Machine) -> None:
        await machine.gdb.set_break(symbols.addr(symbol))
        await machine.gdb.resume()
        stop = await machine.gdb.wait(PATIENCE_S)
        assert stop is not None
        assert (stop.kind, stop.cpu) == ("break", 0)
        await machine.gdb.clear_break(stop.address)
        await machine.gdb.write_phys(wait_us, (20000).to_bytes(4, "little"))
        await machine.gdb.resume([*range(cpus - 1)])
        await machine.serial_line(b"panic: CPU 0")

    return run


def test_an_ap_that_never_comes_is_named() -> None:
    spec = MachineSpec(vmm("lab10").kernel, cpus=3, svm=True)
    assert "processor with APIC id 2 did not come up in time" in said(spec, missing("vmm_main", 3))


@needs_ovmf
@pytest.mark.full
def test_an_ap_that_never_comes_is_named_when_a_guest_starts_it() -> None:
    spec = MachineSpec(
        loader_of(vmm("lab10"), COURSE, Sandbox.choose(require=False), "guest/efi_os.c"),
        cpus=3,
        memory_mib=128,
        firmware="ovmf",
        svm=True,
    )
    text = said(spec, missing("handle_ap_start", 3))
    assert "Starting a virtual machine." in text
    assert "processor with APIC id 2 did not come up in time" in text
