"""Boots an operating system of Debian's on a VMM, under UEFI, or without the VMM to compare.

Nothing here earns points: what a guest prints is for the reader only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import Message, msg
from vmmlab.course.model import Course
from vmmlab.host import tools
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader
from vmmlab.images.efi import EfiBuilder
from vmmlab.images.guest import GuestBuilder
from vmmlab.images.model import Image
from vmmlab.images.packages import Packages
from vmmlab.machine import MachineSpec, firmware
from vmmlab.student import iso, systems
from vmmlab.student.command import Streamed, on_terminal, qemu_argv, sandboxed, streamed, tell
from vmmlab.student.run import image_for, sandbox_for
from vmmlab.workspace.model import Workspace

CPUS: Final = 4
"""Processors, if nothing else is asked for."""
_ENTRY: Final = "svm_state_uefi"
"""What a VMM must have so that the firmware goes on as its guest (include/svm.h)."""
_GAVE_UP: Final = re.compile(
    r"^(?:panic: |TODO\(|No guest|vmmlab-loader: |.*Kernel panic).*\n", re.M
)
"""A line after which nothing more is to come: of the VMM, its loader, or Linux."""


@dataclass(frozen=True)
class Try:
    """What to boot.

    Attributes:
        lab: a lab's name, or `vmmlab.student.build.ALL`: the labs of the VMM.
        system: the operating system.
        cpus: number of processors.
        bare: without the VMM.
        shell: stay in a shell, in Linux.
        timeout_s: how long to wait for the end where there is no terminal, in seconds.
    """

    lab: str
    system: systems.System = systems.LINUX
    cpus: int = CPUS
    bare: bool = False
    shell: bool = False
    timeout_s: float = 600.0


def boot(
    what: Try,
    course: Course,
    source: Workspace | str,
    say: Reader,
    packages: Packages | None = None,
) -> int:
    """Boot an operating system and return the exit code: 0 if it has started and ended.

    Args:
        what: the VMM, the system and the machine.
        course: the course.
        source: the workspace to boot from, the folder of a submission, or "reference".
        say: the reader's language.
        packages: where the system comes from; default: this machine and its apt.

    Raises:
        UsageError: the VMM runs no guest under UEFI, or there is no terminal for a shell.
        SubmissionError: a file is missing or cannot be read.
        BuildFailed: the student's files do not make an image.
        InfraError: a tool or a package is missing, or failed.
    """
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if what.shell and not terminal:
        raise UsageError(msg("--shell needs a terminal."), next_step=msg("leave --shell out"))
    tools.require(("qemu-system-x86_64",))
    sandbox = sandbox_for(source)
    spec = machine_for(what, course, source, packages or Packages(), sandbox)
    argv = qemu_argv(spec, "tcg")
    if what.system.screen:
        argv += ["-device", "VGA"]
    command = sandboxed(
        sandbox, [*argv, "-serial", "mon:stdio" if terminal else "stdio"], spec, "tcg"
    )
    if terminal:
        machine = msg("{title} on {cpus} CPUs", title=what.system.title, cpus=spec.cpus)
        tell(say(msg("{machine}; Ctrl-A X quits, Ctrl-A H shows help", machine=machine)))
        status, end, good = on_terminal(command), msg("QEMU has ended"), True
    else:
        output = streamed(command, what.timeout_s, enough(what))
        status, (end, good) = output.status or 0, ending(what, output)
    if status:
        raise InfraError(msg("QEMU has ended with status {code}", code=status))
    tell(say(end))
    return 0 if good else 1


def machine_for(
    what: Try, course: Course, source: Workspace | str, packages: Packages, sandbox: Sandbox
) -> MachineSpec:
    """Build what is booted, and return the machine.

    Args:
        what: the VMM, the system and the machine.
        course, source: as for `boot`.
        packages: where the system comes from.
        sandbox: where the tools run.

    Raises: as for `boot`.
    """
    system = what.system
    options = f"{system.options} {systems.SHELL}" if what.shell else system.options
    image = None if what.bare else image_for(what.lab, course, source)
    if image is not None:
        check_guest(image)
    kernel = packages.find(system.kernel)
    initrd = _initial_files(course, packages, sandbox) if system.initrd else b""
    vmm = b"" if image is None else image.kernel.read_bytes()
    return MachineSpec(
        kernel=EfiBuilder(course.tree, sandbox).loader(
            vmm, kernel.read_bytes(), options=options, initrd=initrd
        ),
        cpus=what.cpus,
        memory_mib=system.memory_mib,
        firmware=firmware.OVMF,
        svm=True,
    )


def check_guest(image: Image) -> None:
    """Check that a VMM lets the firmware go on as its guest.

    Raises:
        UsageError: it does not.
    """
    if image.symbols.maybe(_ENTRY) is None:
        raise UsageError(
            msg("This VMM cannot run a guest under UEFI: it has no {entry}.", entry=_ENTRY),
            expected=msg("a lab with that function, or all labs: LAB=vmm"),
        )


def for_iso(course: Course, sandbox: Sandbox, packages: Packages | None = None) -> iso.Linux:
    """Return what an image for a PC with Linux has, too.

    Args:
        course: gives the program that asks the VMM.
        sandbox: where the tools run.
        packages: where the rest comes from; default: this machine and its apt.

    Raises:
        InfraError: a tool or a package is missing, or failed.
    """
    found = packages or Packages()
    return iso.Linux(
        grub=found.find(systems.GRUB),
        kernel=found.find(systems.LINUX.kernel),
        initrd=_initial_files(course, found, sandbox),
        options=f"console=tty0 {systems.LINUX.options}",
    )


def _initial_files(course: Course, packages: Packages, sandbox: Sandbox) -> bytes:
    ask = GuestBuilder(course.tree, sandbox).program(systems.ASK)
    busybox = packages.find(systems.BUSYBOX)
    return systems.initial_files(busybox.read_bytes(), ask.read_bytes())


def enough(what: Try) -> Callable[[str], bool]:
    """Return whether nothing more is to come after some text of the machine's."""
    ready = what.system.ready.format(cpus=what.cpus)
    return lambda text: bool(_GAVE_UP.search(text)) or (not what.system.ends and ready in text)


def ending(what: Try, output: Streamed) -> tuple[Message, bool]:
    """Return how it ended, and whether that is how it should."""
    title, cpus = what.system.title, what.cpus
    if what.system.ready.format(cpus=cpus) not in output.text:
        return msg("{title} has not come to use {cpus} CPUs", title=title, cpus=cpus), False
    if output.status is None and what.system.ends:
        return msg("{title} has not ended", title=title), False
    return msg(
        "{title} used {cpus} CPUs, for {seconds:.0f} s ({processor_s:.0f} s of processor time)",
        title=title,
        cpus=cpus,
        seconds=output.seconds,
        processor_s=output.processor_s,
    ), True
