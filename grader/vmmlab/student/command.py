"""The command line of a QEMU for interactive use, and keeping the terminal's settings."""

from __future__ import annotations

import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vmmlab.host import toolroots
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Sandbox
from vmmlab.host.versions import qemu_path
from vmmlab.machine import MachineSpec, firmware
from vmmlab.machine.dialects import processor
from vmmlab.machine.qemu.bootfiles import KERNEL


def qemu_argv(spec: MachineSpec, accel: str, qemu: Path | None = None) -> list[str]:
    """Return the command line: no trace, no debug stub, and a reset ends the machine.

    Args:
        spec: the machine.
        accel: "tcg" or "kvm".
        qemu: another QEMU than the usual one.

    Raises:
        InfraError: there is no QEMU.
        UsageError: there is no such firmware.
    """
    threads = "single" if spec.single_threaded else "multi"
    used = qemu or qemu_path()
    cpu = processor(svm=spec.svm, x2apic=spec.x2apic)
    return [
        str(used),
        *("-accel", "kvm" if accel == "kvm" else f"tcg,thread={threads}"),
        *(("-cpu", "host") if accel == "kvm" else ()),
        *("-M", spec.board, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-m", str(spec.memory_mib), "-smp", str(spec.cpus)),
        *(("-cpu", cpu) if cpu and accel == "tcg" else ()),
        *("-bios", firmware.find(spec.firmware).image(used)),
        *("-kernel", str(spec.kernel)),
        *(("-initrd", ",".join(map(str, spec.modules))) if spec.modules else ()),
    ]


def sandboxed(
    sandbox: Sandbox, argv: Sequence[str], spec: MachineSpec, accel: str, rw: Sequence[Path] = ()
) -> list[str]:
    """Return a command line of QEMU that runs it in a sandbox.

    Args:
        sandbox: the sandbox.
        argv: from `qemu_argv`.
        spec: the machine; its modules are files.
        accel: "tcg" or "kvm".
        rw: folders that QEMU writes to.
    """
    devices = [Path("/dev/kvm")] if accel == "kvm" else []
    modules = [one for one in spec.modules if isinstance(one, Path)]
    named = {spec.kernel: KERNEL}
    named |= {one: KERNEL.with_name(f"module{n}") for n, one in enumerate(modules)}
    seen = {one: sandbox.seen(one.resolve(), str(name)) for one, name in named.items()}
    words = {str(one): str(name) for one, name in seen.items()}
    words[",".join(map(str, modules))] = ",".join(str(seen[one]) for one in modules)
    return sandbox.wrap(
        [words.get(word, word) for word in argv],
        ro=[*(one.resolve() for one in seen), *toolroots.roots(qemu_path())],
        rw=rw,
        devices=devices,
        limits=ResourceLimits(file_mib=64),
        names={one.resolve(): name for one, name in seen.items()},
    )


@contextmanager
def terminal_kept() -> Iterator[None]:
    """Restore the terminal's settings, even if the program that used it was killed."""
    try:
        before = termios.tcgetattr(0)
    except termios.error:
        yield
        return
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def tell(text: str) -> None:
    """Write one line about the machine."""
    sys.stdout.write(f"vmmlab: {text}\n")
    sys.stdout.flush()
