"""The machine of a scenario, and what its boot is given. Boots nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.checks import Scenario
from vmmlab.course.cohort import Cohort
from vmmlab.grading import inputs
from vmmlab.images.model import Image
from vmmlab.machine import MachineSpec, firmware
from vmmlab.machine.templates import Templates
from vmmlab.observe.view import Inputs

UEFI_MIB: Final = 128
"""Main memory with UEFI firmware, the same in all scenarios: each other size is a template more."""


@dataclass(frozen=True)
class Uefi:
    """What a boot by UEFI firmware needs.

    Attributes:
        loader: the EFI loader that waits for a VMM.
        templates: where booted firmware is kept; None: the firmware boots each time.
    """

    loader: Path
    templates: Templates | None


def machine_of(
    image: Image, scenario: Scenario, seed: int, uefi: Uefi | None, guest: Path | None
) -> MachineSpec:
    """Return the machine of a scenario.

    Args:
        image: what it boots.
        scenario: the scenario.
        seed: seed of the boot's inputs.
        uefi: what a boot by UEFI firmware needs; None: the scenario has another firmware.
        guest: a test guest, if it has one.
    """
    if firmware.find(scenario.firmware).efi:
        return MachineSpec(
            kernel=image.kernel,
            arch="i386" if image.options.arch == "i386" else "x86_64",
            loader=uefi.loader if uefi else None,
            cpus=scenario.cpus,
            sockets=scenario.sockets,
            memory_mib=scenario.memory_mib or UEFI_MIB,
            firmware=scenario.firmware,
            svm=scenario.svm,
            log_guests=scenario.kind.make.records_guests,
            guest_os=b"" if guest is None else guest.read_bytes(),
        )
    if not scenario.kind.make.leaves_traces:
        return MachineSpec(
            kernel=image.kernel,
            cpus=scenario.cpus,
            firmware=scenario.firmware,
            acpi=scenario.acpi,
            svm=scenario.svm,
        )
    modules = tuple(inputs.module(seed, number) for number in range(scenario.modules))
    return MachineSpec(
        kernel=image.kernel,
        cpus=scenario.cpus,
        sockets=scenario.sockets,
        acpi=scenario.acpi,
        memory_mib=scenario.memory_mib or inputs.memory_mib(seed, scenario.name),
        firmware=scenario.firmware,
        cmdline=inputs.command_line(seed, scenario.name, scenario.cmdline),
        svm=scenario.svm,
        log_guests=scenario.kind.make.records_guests,
        modules=modules if guest is None else (guest, *modules),
    )


def inputs_of(
    image: Image, scenario: Scenario, cohort: Cohort, seed: int, spec: MachineSpec
) -> Inputs:
    """Return what the seed and the cohort decide in a boot.

    Args:
        image: what is booted.
        scenario: the scenario.
        cohort: whose numbers are in the image.
        seed: seed of the boot's inputs.
        spec: the machine.
    """
    moved = inputs.moved(seed, scenario.name, cohort) if scenario.moved else None
    return Inputs(
        scenario=scenario.name,
        cohort=cohort.name,
        seed=seed,
        cpus=spec.cpus,
        apic_ids=spec.apic_ids,
        apinit_addr=cohort.apinit_addr if moved is None else moved,
        apinit_addr_linked=None if moved is None else cohort.apinit_addr,
        apinit_offset=cohort.apinit_offset,
        stack_size=cohort.stack_size,
        pcpu_pad=cohort.pcpu_pad,
        arch=image.options.arch,
        uefi=spec.efi,
    )
