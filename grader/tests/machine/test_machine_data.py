"""Limits, scenarios, versions, register layouts: everything that needs no QEMU."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.host.versions import is_tried, parse_version, qemu_path, tool_versions
from vmmlab.machine import Limits, MachineSpec, firmware
from vmmlab.machine.gdb import REGISTER_NAMES, GdbError, Registers
from vmmlab.machine.gdb.registers import parse_layout
from vmmlab.machine.limits import NOMINAL_START_S, nominal_start_s
from vmmlab.machine.qemu.command import argv
from vmmlab.machine.qemu.output import BoundedText


def regs(**values: int) -> Registers:
    return Registers(**{"cpu": 0, **dict.fromkeys(REGISTER_NAMES, 0), **values})


def test_limits_follow_the_host_but_never_below_one() -> None:
    base = Limits()
    assert base.scaled(NOMINAL_START_S / 10) == base
    assert base.scaled(NOMINAL_START_S * 3).quiet_s == pytest.approx(base.quiet_s * 3, rel=0.02)
    assert base.scaled(1e9).total_s == pytest.approx(base.total_s * 50)
    assert base.times(math.nan) == base
    # Many CPUs take long to start; that is not the fault of the host.
    assert nominal_start_s(4) == pytest.approx(NOMINAL_START_S, rel=0.05)
    assert base.scaled(nominal_start_s(255), 255).quiet_s < 5 * base.quiet_s
    assert base.scaled(nominal_start_s(255), 4).quiet_s > 40 * base.quiet_s
    assert Limits.for_host(2).start_s == 2 * base.start_s


@pytest.mark.parametrize(
    "options",
    [
        {"cpus": 0}, {"cpus": 289}, {"cpus": 6, "sockets": 4}, {"sockets": 0}, {"memory_mib": 8},
        {"cmdline": "a\0b"},
    ],
)  # fmt: skip
def test_impossible_machines_are_refused(options: dict[str, int | str]) -> None:
    with pytest.raises(UsageError):
        MachineSpec(Path("k"), **options)  # type: ignore[arg-type]


def test_firmware_is_one_that_is_registered() -> None:
    with pytest.raises(UsageError, match="no firmware 'coreboot'") as caught:
        MachineSpec(Path("k"), firmware="coreboot")
    assert str(caught.value.expected) == "qboot or seabios or ovmf"
    with pytest.raises(ValueError, match="'qboot' is registered already"):
        firmware.register(firmware.find("qboot"))


def test_a_new_firmware_is_one_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware, "_REGISTERED", dict(firmware._REGISTERED))
    firmware.register(firmware.Firmware("mine", "mine.rom", "for this test"))
    assert "-bios mine.rom" in line(firmware="mine")


def test_threads_by_number_of_cpus() -> None:
    assert not MachineSpec(Path("k"), cpus=32).single_threaded
    assert MachineSpec(Path("k"), cpus=33).single_threaded
    assert MachineSpec(Path("k"), cpus=2, threads="single").single_threaded


def test_apic_ids_have_gaps_where_packages_are_not_full() -> None:
    assert MachineSpec(Path("k"), cpus=6).apic_ids == (0, 1, 2, 3, 4, 5)
    assert MachineSpec(Path("k"), cpus=6, sockets=2).apic_ids == (0, 1, 2, 4, 5, 6)
    assert MachineSpec(Path("k"), cpus=8, sockets=2).apic_ids == tuple(range(8))
    assert MachineSpec(Path("k"), cpus=3, sockets=3).apic_ids == (0, 1, 2)
    assert "-smp 6,sockets=2,cores=3,threads=1" in line(cpus=6, sockets=2)


def line(**options: object) -> str:
    spec = MachineSpec(Path("/k/vmm.elf32"), **options)  # type: ignore[arg-type]
    return " ".join(argv(spec, qemu=Path("/q"), qmp_fd=3, gdb_fd=4, serial_fd=5))


def test_command_line() -> None:
    text = line()
    assert text.startswith("/q -accel tcg,thread=multi,tb-size=128 -M q35,sata=off,smbus=off ")
    assert "-nodefaults" in text
    assert "-smp 4 " in text
    assert "acpi" not in text
    assert "-M q35,sata=off,smbus=off,acpi=off " in line(acpi=False)
    assert "-bios qboot.rom" in text
    assert "isa-debug-exit" not in text
    assert "memory_region_ops_write" not in text
    assert "thread=single" in line(cpus=33)
    assert "memory_region_ops_write" in line(cpus=33)
    assert "qboot" not in line(firmware="seabios")
    assert "-d int" not in line(log_exceptions=False)


def test_modules_with_commas_and_a_command_line() -> None:
    spec = MachineSpec(Path("k"), cmdline="a b,c", modules=(Path("/m/a,b"), Path("/m/c")))
    out = argv(spec, qemu=Path("/q"), qmp_fd=3, gdb_fd=4, serial_fd=5)
    assert out[out.index("-append") + 1] == "a b,c"
    assert out[out.index("-initrd") + 1] == "/m/a,,b,/m/c"


@pytest.mark.parametrize(
    ("text", "version", "tried"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", (7, 2, 22), True),
        ("QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0)", (10, 0, 13), True),
        ("QEMU emulator version 8.2.2 (Debian 1:8.2.2)", (8, 2, 2), False),
        ("QEMU emulator version 11.0", (11, 0, 0), False),
    ],
)
def test_versions(text: str, version: tuple[int, int, int], tried: bool) -> None:
    assert parse_version(text) == version
    assert is_tried(version) is tried


def test_no_version() -> None:
    with pytest.raises(InfraError, match="version"):
        parse_version("command not found")


def test_tool_versions() -> None:
    found = tool_versions()
    assert found.qemu >= (7, 2, 0)
    assert found.qemu_path.is_absolute()
    assert found.qmp


def test_qemu_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMMLAB_QEMU", "/nowhere/qemu-system-x86_64")
    with pytest.raises(InfraError, match="not installed"):
        qemu_path()


def test_real_mode_linear_address() -> None:
    real = regs(cs=0xF00, rip=0x12)
    assert real.mode == "real"
    assert real.linear_pc == 0x12  # the base is concluded when registers are read
    assert regs(cs_base=0xF000, rip=0x12).linear_pc == 0xF012
    assert regs(cr0=1, cs=8, rip=0x100000).mode == "protected"
    assert regs(cr0=0x80000001, efer=0x500, rip=1 << 40, cs_base=16).linear_pc == 1 << 40
    assert real["cs"] == 0xF00
    with pytest.raises(KeyError):
        real["xmm0"]
    assert list(real.as_dict()) == list(REGISTER_NAMES)


def test_layout_skips_what_is_not_needed() -> None:
    names = ["pad", *REGISTER_NAMES]
    text = "".join(f'<reg name="{n}" bitsize="64" type="int64"/>' for n in names)
    layout = parse_layout(["<target/>", text])
    assert layout.size == 8 * len(names)
    assert layout.index["rip"] == (names.index("rip"), 8)
    values = layout.codec.unpack(b"".join(i.to_bytes(8, "little") for i in range(len(names))))
    assert dict(zip(layout.order, values, strict=True))["rip"] == names.index("rip")


def test_layout_of_another_processor_is_refused() -> None:
    with pytest.raises(GdbError, match="unknown way"):
        parse_layout(['<reg name="eax" bitsize="32"/>'])


def test_bounded_text_keeps_both_ends() -> None:
    text = BoundedText(head=10, tail=10)
    for at in range(100):
        text.feed(b"%03d." % at)
    value = text.value()
    assert value.startswith(b"000.001.00")
    assert value.endswith(b"\n98.099.") or value.endswith(b"7.098.099.")
    assert b"380 bytes left out" in value
    short = BoundedText(head=10, tail=10)
    short.feed(b"0123456789abc")
    assert short.value() == b"0123456789abc"
