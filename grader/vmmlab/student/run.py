"""Boots a student's own work: on this terminal, under gdb, or unattended.

Nothing here earns points: what a guest prints is for the reader only.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import msg
from vmmlab.course.cohort import Cohort, Role
from vmmlab.course.model import Course
from vmmlab.host import tools
from vmmlab.host.sandbox import Sandbox
from vmmlab.host.versions import tool_versions
from vmmlab.i18n.translate import Reader
from vmmlab.images import prebuilt
from vmmlab.images.efi import EfiBuilder
from vmmlab.images.guest import GuestBuilder, GuestImage
from vmmlab.images.model import Delays, Image
from vmmlab.machine import MachineSpec, firmware
from vmmlab.machine.dialects import require_x2apic
from vmmlab.observe.view import Inputs
from vmmlab.student.boot import Boot
from vmmlab.student.build import folder_of, image_of, install, labs_of, own_image
from vmmlab.student.command import on_terminal, qemu_argv, sandboxed, tell
from vmmlab.student.debug import boot_under_gdb
from vmmlab.student.unattended import boot_unattended
from vmmlab.workspace.model import Workspace
from vmmlab.workspace.source import Source

UEFI_ENTRY: Final = "uefi_entry"
"""Where the EFI loader enters a VMM (boot/uefi.S)."""


def run(
    what: Boot,
    course: Course,
    source: Workspace | str,
    *,
    gdb: bool,
    say: Reader | None = None,
) -> int:
    """Boot a lab and return the exit code: 0 if the machine ended by itself, as it should.

    Args:
        what: the lab and the machine.
        course: the course.
        source: the workspace to boot from, the folder of a submission, or "reference".
        gdb: run it under gdb, on this terminal.
        say: the reader's language; else English.

    Raises:
        UsageError: a device, gdb or a terminal is missing.
        SubmissionError: a file is missing or cannot be read.
        BuildFailed: the student's files do not make an image.
        InfraError: a tool failed.
    """
    tools.require(("qemu-system-x86_64",))
    image = image_for(what.lab, course, source, what.arch, role=what.role)
    if isinstance(source, Workspace):
        root = source.root
        elf = install(image, folder_of(root, what.lab, what.arch, what.role))
    else:
        root, elf = course.tree, image.elf
    sandbox = sandbox_for(source)
    guest = None if _firmware(what, course).efi else guest_for(what, course, sandbox)
    spec = _machine(what, course, image, guest, sandbox)
    if spec.x2apic and what.accel == "tcg":
        require_x2apic(tool_versions().qemu)
    if what.accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise UsageError(
            msg("KVM cannot be used here."),
            expected=msg("/dev/kvm, readable and writable for you"),
            next_step=msg("leave --accel out: TCG needs no device"),
        )
    if gdb:
        return boot_under_gdb(
            elf,
            image.symbols,
            replace(spec, accel="kvm" if what.accel == "kvm" else "tcg", log_exceptions=False),
            _inputs(spec, what, _cohort_of(course, source).in_role(what.role)),
            what,
            sandbox,
            root,
            say or Reader(),
            untrusted=not _is_trusted(source),
            guest=guest.elf if guest else None,
        )
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _on_terminal(spec, what, sandbox, say or Reader())
    if what.accel != "tcg":
        raise UsageError(msg("--accel kvm needs a terminal."), next_step=msg("leave --accel out"))
    return boot_unattended(spec, sandbox, what.timeout_s, say or Reader())


def _machine(
    what: Boot, course: Course, image: Image, guest: GuestImage | None, sandbox: Sandbox
) -> MachineSpec:
    lab = labs_of(course, what.lab, what.arch)[-1]
    used = _firmware(what, course)
    return MachineSpec(
        kernel=loader_of(image, course, sandbox, lab.guest_uefi) if used.efi else image.kernel,
        cpus=what.cpus or lab.cpus[0],
        memory_mib=max(MachineSpec.memory_mib, used.least_mib),
        firmware=used.name,
        modules=(guest.flat,) if guest else (),
        svm=True if lab.guest else None,
    )


def _firmware(what: Boot, course: Course) -> firmware.Firmware:
    lab = labs_of(course, what.lab, what.arch)[-1]
    return firmware.find(what.firmware or lab.firmware[0])


def loader_of(image: Image, course: Course, sandbox: Sandbox, guest: str = "") -> Path:
    """Return the EFI loader with a VMM inside.

    Args:
        image: the VMM.
        course: gives the loader; a workspace's copy of it is not used.
        sandbox: where it is built.
        guest: the given file of the guest that the loader starts, if the VMM runs one; "": none.

    Raises:
        UsageError: this VMM has no entry for UEFI.
        InfraError: a tool failed.
    """
    if image.symbols.maybe(UEFI_ENTRY) is None:
        raise UsageError(
            msg("UEFI firmware cannot start this VMM: it has no {entry}.", entry=UEFI_ENTRY),
            expected=msg("a lab whose VMM has it, for x86_64"),
        )
    builder = EfiBuilder(course.tree, sandbox)
    carried = builder.guest(guest).read_bytes() if guest else b""
    return builder.loader(image.kernel.read_bytes(), carried)


def guest_for(what: Boot, course: Course, sandbox: Sandbox) -> GuestImage | None:
    """Build the test guest of what is booted, if it has one.

    Args:
        what: the lab and the machine.
        course: the course.
        sandbox: where the tools run.

    Raises:
        InfraError: a tool is missing or failed.
    """
    name = labs_of(course, what.lab, what.arch)[-1].guest
    return GuestBuilder(course.tree, sandbox).build(name) if name else None


def image_for(
    lab: str,
    course: Course,
    source: Workspace | str,
    arch: str = "x86_64",
    delays: Delays = "fast",
    role: Role = "own",
) -> Image:
    """Build the image to boot.

    Args:
        lab: a lab's name, or `vmmlab.student.build.ALL`.
        course: the course.
        source: a workspace, the folder of a submission, or "reference".
        arch: what to build for.
        delays: "faithful" for real processors, which need longer delays.
        role: which cohort to build for.

    Raises: as for `run`.
    """
    if isinstance(source, Workspace):
        return own_image(source, course, lab, arch, delays, role)[0]
    own = _cohort_of(course, source)
    cohort = own.in_role(role)
    return image_of(
        course.tree,
        course,
        prebuilt.source_of(course, own),
        lab,
        Source(source).take([one.name for one in labs_of(course, lab, arch)], course).files,
        cohort,
        sandbox_for(source),
        arch,
        delays,
    )


def _cohort_of(course: Course, source: Workspace | str) -> Cohort:
    return source.cohort if isinstance(source, Workspace) else Cohort.derive(course.cohort)


def _inputs(spec: MachineSpec, what: Boot, cohort: Cohort) -> Inputs:
    """Return the inputs of a boot that is not graded."""
    return Inputs(
        scenario=what.lab,
        cohort=cohort.name,
        seed=0,
        cpus=spec.cpus,
        apinit_addr=cohort.apinit_addr,
        apinit_offset=cohort.apinit_offset,
        stack_size=cohort.stack_size,
        pcpu_pad=cohort.pcpu_pad,
        arch=what.arch,
        uefi=spec.efi,
    )


def sandbox_for(source: Workspace | str) -> Sandbox:
    """Return the sandbox for what is built and booted from a source.

    Args:
        source: a workspace, the folder of a submission, or "reference".

    Raises:
        UsageError: it is other people's code, and there is no sandbox.
    """
    return Sandbox.choose(require=not _is_trusted(source))


def _is_trusted(source: Workspace | str) -> bool:
    return not source.copied if isinstance(source, Workspace) else Source(source).trusted


def _on_terminal(spec: MachineSpec, what: Boot, sandbox: Sandbox, say: Reader) -> int:
    machine = msg(
        "{lab} on {cpus} CPUs, {firmware}", lab=what.lab, cpus=spec.cpus, firmware=spec.firmware
    )
    tell(say(msg("{machine}; Ctrl-A X quits, Ctrl-A H shows help", machine=machine)))
    argv = [*qemu_argv(spec, what.accel), "-serial", "mon:stdio"]
    code = on_terminal(sandboxed(sandbox, argv, spec, what.accel))
    tell(
        say(
            msg("QEMU has ended")
            if code == 0
            else msg("QEMU has ended with status {code}", code=code)
        )
    )
    return 0 if code == 0 else InfraError.exit_code
