"""The machine to boot, as data. Does not know QEMU's command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.machine import firmware

MAX_CPUS_MULTI_THREADED = 32
"""Above this many CPUs QEMU runs all of them in one thread, which is then faster.

What is graded stays below: in one thread, a loop without PAUSE keeps the other CPUs waiting for
0.1 s at a time.
"""

MAX_CPUS_XAPIC = 255
"""An xAPIC id has 8 bits, and 255 means all: more processors need x2APIC (SDM vol. 3, 10.12)."""

MAX_CPUS = 288
"""The most processors that QEMU's q35 machine takes."""

BOARD = "q35,sata=off,smbus=off"
"""QEMU's machine: the same wherever a VMM boots, so that it cannot tell where it is."""

NO_SMM = "smm=off"
"""What is added to it where a VMM runs guests: QEMU's emulation of SVM knows no SMM."""

_MEMORY_MIB = range(16, 3072 + 1)


@dataclass(frozen=True)
class MachineSpec:
    """One machine to boot.

    Attributes:
        kernel: multiboot1 image that QEMU's `-kernel` takes (ELF32). UEFI firmware starts the
            loader instead, which takes the same file.
        cpus: number of processors, the boot processor included.
        sockets: processors are in so many packages. An APIC id has a field for the package and one
            for the core (Intel SDM vol. 3, 8.9.1), so ids have gaps unless the number of
            processors of a package is a power of two.
        acpi: whether the firmware finds ACPI tables to pass on. SeaBIOS makes some of its own if
            there are none.
        memory_mib: RAM in MiB.
        firmware: the name of one that `vmmlab.machine.firmware` knows.
        cmdline: the multiboot command line.
        modules: multiboot modules, in order: files, or their contents.
        arch: what the kernel is built for; the emulated processor is a 64-bit one in both cases.
        accel: "tcg", which emulates the processors, or "kvm": the processors of this host.
        threads: how TCG runs the processors; "auto" is "multi" up to 32 CPUs.
        log_exceptions: record every exception and interrupt taken in protected mode (`-d int`);
            this tells the processor and the vector of a triple fault.
        svm: whether the emulated processors can run guests, by AMD SVM with nested paging; None:
            QEMU's own choice.
        log_guests: record every VMRUN and #VMEXIT of each processor; needs a host thread for each.
        loader: the EFI loader that waits for a VMM (`vmmlab.images.efi`); for UEFI firmware only.
        guest_os: an EFI application that the loader starts once the VMM has returned; b"" for none.
        trace_io: record every write to a device as `IoWrite` (costs about 5 us a write).

    Raises:
        UsageError: a value is out of range, or there is no such firmware.
    """

    kernel: Path
    cpus: int = 4
    sockets: int = 1
    acpi: bool = True
    memory_mib: int = 64
    firmware: str = firmware.DEFAULT
    cmdline: str = ""
    modules: tuple[Path | bytes, ...] = ()
    arch: Literal["x86_64", "i386"] = "x86_64"
    accel: Literal["tcg", "kvm"] = "tcg"
    threads: Literal["auto", "multi", "single"] = "auto"
    log_exceptions: bool = True
    trace_io: bool = False
    svm: bool | None = None
    log_guests: bool = False
    loader: Path | None = None
    guest_os: bytes = b""

    def __post_init__(self) -> None:
        if not 1 <= self.cpus <= MAX_CPUS:
            raise UsageError(
                msg("A machine cannot have this many processors."),
                expected=msg("1 to {max_cpus}", max_cpus=MAX_CPUS),
                found=str(self.cpus),
                next_step=msg("Choose another number of CPUs for this scenario."),
            )
        if self.sockets < 1 or self.cpus % self.sockets:
            raise UsageError(
                msg("The processors of a machine cannot be divided among its packages."),
                expected=msg("a number of packages that divides {cpus}", cpus=self.cpus),
                found=str(self.sockets),
                next_step=msg("Choose another number of CPUs or of sockets for this scenario."),
            )
        if self.memory_mib not in _MEMORY_MIB:
            raise UsageError(
                msg("A machine cannot have this much memory."),
                expected=msg("16 to 3072 MiB"),
                found=msg("{memory_mib} MiB", memory_mib=self.memory_mib),
                next_step=msg("Choose another memory size for this scenario."),
            )
        if self.log_guests and (self.accel != "tcg" or self.single_threaded):
            raise UsageError(
                msg("The guests of this machine cannot be recorded."),
                expected=msg("emulated processors, {most} at most", most=MAX_CPUS_MULTI_THREADED),
                found=f"{self.accel}, {self.cpus}",
                next_step=msg("Choose another number of CPUs for this scenario."),
            )
        self._check_firmware()
        if "\0" in self.cmdline:
            raise UsageError(msg("The command line of a scenario contains a NUL character."))

    def _check_firmware(self) -> None:
        found = firmware.find(self.firmware)
        if found.efi and (self.arch != "x86_64" or self.cmdline or self.modules):
            raise UsageError(
                msg("UEFI firmware cannot start this."),
                expected=msg("a VMM for x86_64, without a command line and without modules"),
                found=f"{self.arch}, {self.cmdline!r}, {len(self.modules)}",
                next_step=msg("Choose another firmware for this scenario."),
            )
        if self.memory_mib < found.least_mib:
            raise UsageError(
                msg("The firmware {name} needs more memory.", name=found.name),
                expected=msg("at least {least} MiB", least=found.least_mib),
                found=msg("{memory_mib} MiB", memory_mib=self.memory_mib),
                next_step=msg("Choose another memory size for this scenario."),
            )

    @property
    def x2apic(self) -> bool:
        """Whether there are more processors than an xAPIC can address."""
        return self.cpus > MAX_CPUS_XAPIC

    @property
    def board(self) -> str:
        """QEMU's machine, with its options."""
        options = [*firmware.find(self.firmware).board]
        if self.svm:
            options.append(NO_SMM)
        if not self.acpi:
            options.append("acpi=off")
        return ",".join(dict.fromkeys((BOARD, *options)))

    @property
    def efi(self) -> bool:
        """Whether UEFI firmware starts the VMM, through the loader."""
        return firmware.find(self.firmware).efi

    @property
    def started(self) -> Path:
        """The file for QEMU's `-kernel`: the kernel itself, or the loader."""
        return self.loader if self.efi and self.loader is not None else self.kernel

    @property
    def apic_ids(self) -> tuple[int, ...]:
        """The APIC id of each processor, by its index."""
        cores = self.cpus // self.sockets
        field = (cores - 1).bit_length()
        return tuple(cpu // cores << field | cpu % cores for cpu in range(self.cpus))

    @property
    def single_threaded(self) -> bool:
        """Whether one host thread runs all processors."""
        if self.threads == "auto":
            return self.cpus > MAX_CPUS_MULTI_THREADED
        return self.threads == "single"
