"""The command line of a QEMU for people to look at, and running it with or without a terminal."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.text import from_guest
from vmmlab.host import toolroots
from vmmlab.host.processes import processor_time_s
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.running import kill_tree
from vmmlab.host.sandbox import Sandbox
from vmmlab.host.versions import qemu_path
from vmmlab.machine import MachineSpec, firmware
from vmmlab.machine.dialects import processor
from vmmlab.machine.qemu.bootfiles import KERNEL

_CHUNK: Final = 4096
_TAIL: Final = 2 * _CHUNK


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


def on_terminal(command: Sequence[str]) -> int:
    """Run a QEMU whose serial line is this terminal; return its status.

    Args:
        command: from `sandboxed`.
    """
    with terminal_kept():
        process = subprocess.Popen(command, start_new_session=True, cwd="/")
        try:
            return process.wait()
        finally:
            kill_tree(process)


@dataclass(frozen=True)
class Streamed:
    """What came of a QEMU without a terminal.

    Attributes:
        text: what the machine printed.
        status: the exit status of QEMU; None: it was ended, because nothing more was to come or
            its time was over.
        seconds: how long it ran.
        processor_s: processor time that it used, in seconds, 0 where that cannot be seen.
    """

    text: str
    status: int | None
    seconds: float
    processor_s: float


def streamed(command: Sequence[str], timeout_s: float, enough: Callable[[str], bool]) -> Streamed:
    """Run a QEMU whose serial line is its standard output, and show each line as it comes.

    Args:
        command: from `sandboxed`.
        timeout_s: how long to wait for its end, in seconds.
        enough: whether nothing more is to come; it is shown the last 8 KiB that were printed.
    """
    process = subprocess.Popen(
        command,
        start_new_session=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    began = time.monotonic()
    data, shown, used, ended = b"", 0, 0.0, False
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not ended and not enough(from_guest(data[-_TAIL:])):
                if not selector.select(max(0.0, began + timeout_s - time.monotonic())):
                    break
                more = os.read(process.stdout.fileno(), _CHUNK)
                used = max(used, processor_time_s(process.pid) or 0.0)
                data, ended = data + more, not more
                whole = data.rfind(b"\n") + 1
                if whole > shown:
                    sys.stdout.write(from_guest(data[shown:whole]))
                    sys.stdout.flush()
                    shown = whole
        sys.stdout.write(from_guest(data[shown:]))
        status = process.wait() if ended else None
        return Streamed(from_guest(data), status, time.monotonic() - began, used)
    finally:
        kill_tree(process)
        process.stdout.close()


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
