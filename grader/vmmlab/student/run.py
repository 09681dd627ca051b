"""Booting one's own work: on this terminal, under gdb, or unattended.

Nothing here earns points: what a guest prints is for the reader only.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.host import toolroots, tools
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Sandbox, kill_tree
from vmmlab.host.versions import qemu_path, tool_versions
from vmmlab.i18n.translate import Reader
from vmmlab.images import prebuilt
from vmmlab.images.model import Delays, Image
from vmmlab.images.symbols import Symbols
from vmmlab.machine import Machine, MachineSpec, firmware
from vmmlab.machine.dialects import X2APIC_CPU, require_x2apic
from vmmlab.student.build import folder_of, image_of, install, labs_of, own_image
from vmmlab.workspace.model import Workspace
from vmmlab.workspace.source import Source

_POLL_S: Final = 0.1
_QUIET_S: Final = 2.0
"""After a TODO, nothing printed for so long means that the other CPUs wait for the stopped one."""
_AT_TODO: Final = re.compile(r"^TODO\(lab[0-9.]+\) in ", re.MULTILINE)
"""What vmm_todo prints (core/todo.c)."""
_BREAKPOINTS: Final = ("vmm_main", "vmm_todo", "vmm_ap_missing", "panic")


@dataclass(frozen=True, slots=True)
class Boot:
    """What to boot, and on which machine.

    Attributes:
        lab: a lab's name, or `local.ALL`.
        cpus: how many processors; None: what the lab asks for.
        firmware: a name that `vmmlab.machine.firmware` knows; None: what the lab asks for.
        accel: "tcg" or "kvm".
        timeout_s: how long to wait for the end where there is no terminal, seconds.
        arch: what the VMM is built for.
    """

    lab: str
    cpus: int | None = None
    firmware: str | None = None
    accel: str = "tcg"
    timeout_s: float = 20.0
    arch: str = "x86_64"

    def __post_init__(self) -> None:
        if self.firmware is not None:
            firmware.find(self.firmware)
        if self.accel not in ("tcg", "kvm"):
            raise UsageError(f"there is no accelerator {self.accel!r} here.", expected="tcg or kvm")


def run(
    what: Boot,
    course: Course,
    source: Workspace | str,
    *,
    gdb: bool,
    say: Reader | None = None,
) -> int:
    """Boot `what` and return 0 when it ended by itself as it should.

    Args:
        what: the lab and the machine.
        course: the course.
        source: the workspace to boot from, the folder of a submission, or "reference".
        gdb: under gdb, on this terminal.
        say: the reader's language; else English.

    Raises:
        UsageError: a device, gdb or a terminal is missing.
        SubmissionError: a file is missing or cannot be read.
        BuildFailed: the student's files do not make an image.
        InfraError: a tool failed.
    """
    tools.require(("qemu-system-x86_64",))
    image = image_for(what.lab, course, source, what.arch)
    if isinstance(source, Workspace):
        root = source.root
        elf = install(image, folder_of(root, what.lab, what.arch))
    else:
        root, elf = course.tree, image.elf
    sandbox = _sandbox_for(source)
    lab = labs_of(course, what.lab)[-1]
    spec = MachineSpec(
        kernel=image.kernel,
        cpus=what.cpus or lab.cpus[0],
        firmware=what.firmware or lab.firmware[0],
    )
    if spec.x2apic and what.accel == "tcg":
        require_x2apic(tool_versions().qemu)
    if what.accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise UsageError(
            "KVM cannot be used here.",
            expected="/dev/kvm, readable and writable for you",
            next_step="leave --accel out: TCG needs nothing",
        )
    if gdb:
        return _debug(elf, image.symbols, spec, what, sandbox, root, say or Reader())
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _on_terminal(spec, what, sandbox, say or Reader())
    if what.accel != "tcg":
        raise UsageError("--accel kvm needs a terminal.", next_step="leave --accel out")
    return _until_terminated(_unattended(spec, sandbox, what.timeout_s, say or Reader()))


def image_for(
    lab: str,
    course: Course,
    source: Workspace | str,
    arch: str = "x86_64",
    delays: Delays = "fast",
) -> Image:
    """Build what is to be booted.

    Args:
        lab: a lab's name, or `local.ALL`.
        course: the course.
        source: a workspace, the folder of a submission, or "reference".
        arch: what to build for.
        delays: "faithful" for real processors, which need the time.

    Raises: as for `run`.
    """
    if isinstance(source, Workspace):
        return own_image(source, course, lab, arch, delays)[0]
    cohort = Cohort.derive(course.cohort)
    return image_of(
        course.tree,
        course,
        prebuilt.source_of(course, cohort),
        lab,
        Source(source).take([one.name for one in labs_of(course, lab)], course).files,
        cohort,
        _sandbox_for(source),
        arch,
        delays,
    )


def _sandbox_for(source: Workspace | str) -> Sandbox:
    """Somebody else's code runs in a sandbox or not at all."""
    return Sandbox.choose(require=isinstance(source, str) and not Source(source).trusted)


def _until_terminated(work: Coroutine[Any, Any, int]) -> int:
    """Run `work`; SIGTERM ends it in good order, and is then passed on to who handles it."""
    before = signal.getsignal(signal.SIGTERM)
    terminated = False

    async def run() -> int | None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with suppress(ValueError, RuntimeError):  # not the main thread
            loop.add_signal_handler(signal.SIGTERM, terminate, task)
        try:
            return await work
        except asyncio.CancelledError:
            if not terminated:
                raise  # Ctrl-C, which asyncio turns into a KeyboardInterrupt
            return None
        finally:
            with suppress(ValueError, RuntimeError):
                loop.remove_signal_handler(signal.SIGTERM)
                signal.signal(signal.SIGTERM, before)

    def terminate(task: asyncio.Task[Any]) -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    code = asyncio.run(run())
    if code is None:
        signal.raise_signal(signal.SIGTERM)
        return InfraError.exit_code
    return code


def _argv(spec: MachineSpec, accel: str, qemu: Path | None = None) -> list[str]:
    """QEMU for a person: no trace, no debug stub, and a reset ends it."""
    threads = "single" if spec.single_threaded else "multi"
    return [
        str(qemu or qemu_path()),
        *("-accel", "kvm" if accel == "kvm" else f"tcg,thread={threads}"),
        *(("-cpu", "host") if accel == "kvm" else ()),
        *("-M", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-m", str(spec.memory_mib), "-smp", str(spec.cpus)),
        *(("-cpu", X2APIC_CPU) if spec.x2apic and accel == "tcg" else ()),
        *firmware.find(spec.firmware).options,
        *("-kernel", str(spec.kernel)),
    ]


def _wrap(
    sandbox: Sandbox, argv: Sequence[str], spec: MachineSpec, accel: str, rw: Sequence[Path] = ()
) -> list[str]:
    devices = [Path("/dev/kvm")] if accel == "kvm" else []
    return sandbox.wrap(
        argv,
        ro=[spec.kernel.resolve(), *toolroots.roots(qemu_path())],
        rw=rw,
        devices=devices,
        limits=ResourceLimits(file_mib=64),
    )


def _on_terminal(spec: MachineSpec, what: Boot, sandbox: Sandbox, say: Reader) -> int:
    machine = f"{what.lab} on {spec.cpus} CPUs, {spec.firmware}"
    _say(say(f"{machine}; Ctrl-A X leaves, Ctrl-A H helps"))
    argv = [*_argv(spec, what.accel), "-serial", "mon:stdio"]
    with _terminal_kept():
        process = subprocess.Popen(
            _wrap(sandbox, argv, spec, what.accel), start_new_session=True, cwd="/"
        )
        try:
            code = process.wait()
        finally:
            kill_tree(process)
    _say(say("QEMU has ended" if code == 0 else f"QEMU has ended with status {code}"))
    return 0 if code == 0 else InfraError.exit_code


async def _unattended(spec: MachineSpec, sandbox: Sandbox, timeout_s: float, say: Reader) -> int:
    """Boot until nothing more can come or the time is over; then show what it printed.

    Nothing more comes when all CPUs have halted, the machine has reset, or a CPU has stopped at a
    TODO and the others print nothing.
    """
    async with Machine(spec, sandbox) as machine:
        await machine.gdb.resume()
        text, printed_at = "", time.monotonic()
        ends_at = printed_at + timeout_s
        ending, code = f"still running after {timeout_s:g} s, stopped", 1
        while time.monotonic() < ends_at:
            stop = await machine.gdb.wait(_POLL_S)
            if stop is not None:
                ending = f"the machine has stopped: {stop.reason or stop.kind}"
                break
            if await _all_halted(machine):
                ending, code = "all CPUs have halted", 0
                break
            if (now := machine.serial()) != text:
                text, printed_at = now, time.monotonic()
            elif _AT_TODO.search(text) and time.monotonic() - printed_at > _QUIET_S:
                ending, code = "a CPU has stopped at a TODO, and the others wait", 0
                break
        text = machine.serial()
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    _say(say(ending))
    return code


async def _all_halted(machine: Machine) -> bool:
    """Whether every CPU executed HLT with interrupts off, or was never started."""
    said = await machine.qmp.execute("human-monitor-command", {"command-line": "info registers -a"})
    states = re.findall(r"[ER]FL=([0-9a-f]+).*?HLT=(\d)", str(said), re.DOTALL)
    return len(states) == machine.spec.cpus and all(
        halted == "1" and not int(flags, 16) & 0x200 for flags, halted in states
    )


def _debug(
    elf: Path,
    symbols: Symbols,
    spec: MachineSpec,
    what: Boot,
    sandbox: Sandbox,
    root: Path,
    say: Reader,
) -> int:
    gdb = shutil.which("gdb")
    if gdb is None:
        remedy = tools.install_command([tools.PACKAGES["gdb"]])
        raise UsageError("gdb is not installed.", next_step=remedy)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmmlab-gdb-")))
        serial = folder / "serial.txt"
        serial.touch()
        # QEMU gets a socket that listens already: there is nothing to wait for.
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(folder / "gdb"))
        listener.listen(1)
        qemu, processor = _qemu_for_gdb(what.arch)
        argv = [
            *_argv(spec, what.accel, qemu),
            *("-S", "-action", "reboot=shutdown,shutdown=pause"),
            *("-chardev", f"socket,id=gdb,fd={listener.fileno()},server=on,wait=off"),
            *("-gdb", "chardev:gdb", "-serial", f"file:{serial}"),
        ]
        argv.remove("-no-reboot")
        log = stack.enter_context((folder / "qemu.txt").open("wb"))
        machine = subprocess.Popen(
            _wrap(sandbox, argv, spec, what.accel, rw=[folder]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
            cwd="/",
        )
        stack.callback(kill_tree, machine)
        script = folder / "commands.gdb"
        commands = _gdb_commands(symbols, processor, folder, what, spec, say)
        script.write_text(commands, encoding="utf-8")
        with _terminal_kept():
            debugger = subprocess.Popen(
                [gdb, "-q", "-d", str(root), "-x", str(script), str(elf)], cwd=root
            )
            stack.callback(_end, debugger)
            # Ctrl-C is for gdb.
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            stack.callback(signal.signal, signal.SIGINT, before)
            return debugger.wait()


def _qemu_for_gdb(arch: str) -> tuple[Path, str]:
    """The QEMU to debug in, and what gdb calls its processor.

    For i386 its own QEMU, if there is one: gdb then sees 32-bit registers and 32-bit code.
    """
    usual = qemu_path()
    if arch == "i386" and os.access(own := usual.with_name("qemu-system-i386"), os.X_OK):
        return own, "i386"
    return usual, "i386:x86-64"


_GDB_HELP: Final = (
    "continue: run to the next breakpoint    info threads: all CPUs",
    "hbreak NAME: a hardware breakpoint      serial: what it has printed",
    "Ctrl-C: stop it                         quit: end gdb and the machine",
)


def _gdb_commands(
    symbols: Symbols, processor: str, folder: Path, what: Boot, spec: MachineSpec, say: Reader
) -> str:
    breaks = [f"hbreak {name}" for name in _BREAKPOINTS if symbols.maybe(name) is not None]
    serial = shlex.quote(str(folder / "serial.txt"))
    greeting = f"{what.lab} on {spec.cpus} CPUs, stopped before the first instruction."
    return "\n".join(
        [
            "set pagination off",
            "set confirm off",
            f"set architecture {processor}",
            f"target remote {folder / 'gdb'}",
            "define serial",
            f"shell cat {serial}",
            "end",
            "document serial",
            say("Show what the VMM has written to its serial line so far."),
            "end",
            *breaks,
            rf"echo \n{say(greeting)}\n",
            *(rf"echo {say(line)}\n" for line in _GDB_HELP),
            r"echo \n",
            "",
        ]
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


@contextmanager
def _terminal_kept() -> Iterator[None]:
    """Give the terminal back as it was, also when the program on it was killed."""
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


def _say(text: str) -> None:
    sys.stdout.write(f"vmmlab: {text}\n")
    sys.stdout.flush()
