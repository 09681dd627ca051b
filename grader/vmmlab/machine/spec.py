"""What machine is to be booted, as data. Nothing here knows how QEMU spells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmmlab.base.errors import UsageError

#: Above this many CPUs QEMU runs all of them in one thread, which is then faster. What is graded
#: stays below: in one thread a loop without PAUSE keeps the others waiting for 0.1 s at a time.
MAX_CPUS_MULTI_THREADED = 32
#: An xAPIC id has 8 bits, and 255 means all: more processors need x2APIC (SDM vol. 3, 10.12).
MAX_CPUS_XAPIC = 255
#: What the q35 machine of QEMU takes.
MAX_CPUS = 288


@dataclass(frozen=True)
class MachineSpec:
    """One machine to boot.

    Attributes:
        kernel: multiboot1 image that QEMU's `-kernel` takes (ELF32).
        cpus: number of processors, the boot processor included.
        memory_mib: RAM in MiB.
        firmware: "qboot" is fast and sends no IPIs; "seabios" sends its own INIT and SIPI first.
        cmdline: the multiboot command line.
        modules: multiboot modules, in order.
        arch: what the kernel is; the emulated processor is a 64-bit one in both cases.
        threads: how TCG runs the processors; "auto" is multi up to 32 CPUs.
        log_exceptions: record every exception and interrupt taken in protected mode (`-d int`);
            this is what names the processor and the vector of a triple fault.
        trace_io: record every write to a device as `IoWrite` (costs time, about 5 us a write).

    Raises:
        UsageError: a value is out of range.
    """

    kernel: Path
    cpus: int = 4
    memory_mib: int = 64
    firmware: Literal["qboot", "seabios"] = "qboot"
    cmdline: str = ""
    modules: tuple[Path, ...] = ()
    arch: Literal["x86_64", "i386"] = "x86_64"
    threads: Literal["auto", "multi", "single"] = "auto"
    log_exceptions: bool = True
    trace_io: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.cpus <= MAX_CPUS:
            raise UsageError(
                "A machine cannot have this many processors.",
                expected=f"1 to {MAX_CPUS}",
                found=str(self.cpus),
                next_step="Choose another number of CPUs for this scenario.",
            )
        if not 16 <= self.memory_mib <= 3072:
            raise UsageError(
                "A machine cannot have this much memory.",
                expected="16 to 3072 MiB",
                found=f"{self.memory_mib} MiB",
                next_step="Choose another memory size for this scenario.",
            )
        if "\0" in self.cmdline:
            raise UsageError("The command line of a scenario contains a NUL character.")

    @property
    def x2apic(self) -> bool:
        """Whether there are more processors than an xAPIC can name."""
        return self.cpus > MAX_CPUS_XAPIC

    @property
    def single_threaded(self) -> bool:
        """Whether one host thread runs all processors."""
        if self.threads == "auto":
            return self.cpus > MAX_CPUS_MULTI_THREADED
        return self.threads == "single"
