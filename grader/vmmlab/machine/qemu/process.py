"""One QEMU process from launch to kill.

QEMU talks over inherited file descriptors only: a socket pair each for QMP and the debug stub, a
pipe each for the serial port and for its log (`threadlogs`: for each processor's log). So there is
no socket path to wait for and no file that a guest could fill, and when QEMU dies, all of them end.

The process dies with this one: it leads its own process group, which is sent SIGKILL on every way
out, and the kernel kills it when the thread that started it is gone (PR_SET_PDEATHSIG, by
`setpriv` or by the sandbox's own `--die-with-parent`; not by a preexec_fn, which would have to run
Python between fork and exec of a process that may have threads).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.host import toolroots
from vmmlab.host.processes import end_tree, processor_time_s
from vmmlab.host.versions import version_of
from vmmlab.machine import firmware
from vmmlab.machine.dialects import incoming
from vmmlab.machine.kvm import KVM
from vmmlab.machine.qemu import migration
from vmmlab.machine.qemu.bootfiles import BootFiles, boot_files
from vmmlab.machine.qemu.command import argv
from vmmlab.machine.qemu.threadlogs import FOLDER_INSIDE, PIPE_BYTES, ThreadLogs
from vmmlab.machine.spec import MachineSpec

_GATE = 'echo >&0; read -r go || exit 0; exec "$@" </dev/null'
"""The shell script that QEMU is started through.

It reports that it runs and goes on only when told to. A sandbox whose launcher is killed before its
first process has asked to die with it would live on, with an unknown QEMU; waiting at
this gate, which then never opens, it ends instead.
"""

_STATUS_WITHIN_S = 1.0


class Launcher(Protocol):
    """What starts a long-lived process: in production the sandbox."""

    def wrap(self, argv: Sequence[str], *, ro: Sequence[Path], rw: Sequence[Path]) -> list[str]:
        """Return the command that runs `argv` so that it sees only the system and these paths.

        If the launcher has an attribute `renames` that is true, it also takes `names`, the names of
        paths inside, and `data`, files inside from open descriptors: see `Sandbox.wrap`.
        """


class PlainLauncher:
    """A launcher without a sandbox."""

    def wrap(self, argv: Sequence[str], *, ro: Sequence[Path], rw: Sequence[Path]) -> list[str]:
        """Return `argv` as it is."""
        return list(argv)


class Process:
    """A QEMU process and this side's ends of its connections.

    Args:
        launcher: starts it.

    Attributes:
        argv: QEMU's command line.
        gdb: the socket of the debug stub.
        qmp: the socket of QMP.
        log_fd: the pipe with QEMU's standard output and error, non-blocking.
        serial_fd: the pipe with what the guest sends to its serial port, non-blocking.
        thread_logs: the logs of the processors' threads, if each has one.
        outgoing: where the machine can be saved to, if it was asked for.
        restore_uri: where QEMU restores the machine from, "" if it starts anew.
        save_uri: the name of `outgoing` for QEMU.
    """

    gdb: socket.socket
    qmp: socket.socket
    log_fd: int
    serial_fd: int

    def __init__(self, launcher: Launcher) -> None:
        self.argv: tuple[str, ...] = ()
        self.thread_logs: ThreadLogs | None = None
        self.outgoing: migration.Outgoing | None = None
        self.restore_uri = self.save_uri = ""
        self._launcher = launcher
        self._process: subprocess.Popen[bytes] | None = None
        self._open = ExitStack()

    @property
    def pid(self) -> int | None:
        """Process id of the launched command (the sandbox, if there is one), None before."""
        return None if self._process is None else self._process.pid

    def launch(
        self, spec: MachineSpec, qemu: Path, template: Path | None = None, *, saves: bool = False
    ) -> None:
        """Start QEMU; it waits at the gate.

        Args:
            spec: the machine.
            qemu: the executable.
            template: the file that the machine is restored from; None: it starts anew.
            saves: it can be saved.

        Raises:
            InfraError: the command cannot be executed, or the firmware is not installed.
            OSError: a file cannot be opened.
        """
        with ExitStack() as theirs:
            renames = getattr(self._launcher, "renames", False)
            boot = boot_files(spec, renames, theirs)
            if saves:
                self.outgoing = migration.Outgoing(self._open)
                self.save_uri = self.outgoing.uri(renames)
            state = (
                () if template is None else (theirs.enter_context(template.open("rb")).fileno(),)
            )
            options: tuple[str, ...] = ()
            if state:
                options, self.restore_uri = incoming(version_of(qemu), *state)
            if spec.log_guests:
                self.thread_logs = ThreadLogs(self._open)
            spec = replace(spec, kernel=boot.kernel, loader=None, modules=boot.modules)
            self.gdb, gdb = self._socket_pair(theirs)
            self.qmp, qmp = self._socket_pair(theirs)
            self._gate, gate = self._socket_pair(theirs)
            self._gate.setblocking(False)
            self.log_fd, log = self._pipe(theirs)
            self.serial_fd, serial = self._pipe(theirs)
            # A burst of trace lines should not make the processors wait for this process.
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self.argv = argv(
                spec,
                qemu=qemu,
                qmp_fd=qmp.fileno(),
                gdb_fd=gdb.fileno(),
                serial_fd=serial,
                logs=self.thread_logs.template(renames) if self.thread_logs else None,
                incoming=options,
            )
            roots = [*toolroots.roots(qemu), *_outside(firmware.find(spec.firmware).image(qemu))]
            command = self._command(boot, roots, spec.accel == "kvm")
            inherited = (gdb.fileno(), qmp.fileno(), serial, *boot.descriptors, *state)
            self._process = _run(command, gate.fileno(), log, inherited)

    def _command(self, boot: BootFiles, roots: Sequence[Path], kvm: bool) -> list[str]:
        inside: dict[str, Any] = {}
        if kvm and not isinstance(self._launcher, PlainLauncher):
            inside = {"devices": (KVM,)}
        seen = [*boot.paths, *roots]
        if boot.names:
            inside |= {"names": dict(boot.names), "data": boot.data}
        for made, name in (
            (self.thread_logs, FOLDER_INSIDE),
            (self.outgoing, migration.FOLDER_INSIDE),
        ):
            if made is not None:
                seen.append(made.folder)
                if boot.names:
                    inside["names"][made.folder] = name
        command = self._launcher.wrap(
            ["/bin/sh", "-c", _GATE, "gate", *self.argv], ro=seen, rw=(), **inside
        )
        setpriv = shutil.which("setpriv")
        if setpriv is not None and "--die-with-parent" not in command:
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        return command

    def _socket_pair(self, theirs: ExitStack) -> tuple[socket.socket, socket.socket]:
        ours, other = socket.socketpair()
        self._open.callback(ours.close)
        theirs.callback(other.close)
        return ours, other

    def _pipe(self, theirs: ExitStack) -> tuple[int, int]:
        read, write = os.pipe()
        self._open.callback(os.close, read)
        theirs.callback(os.close, write)
        os.set_blocking(read, False)
        return read, write

    async def open_gate(self) -> None:
        """Wait until the gate is reached, and open it: QEMU itself starts."""
        loop = asyncio.get_running_loop()
        await loop.sock_recv(self._gate, 1)
        with contextlib.suppress(OSError):  # it is gone: the end of the debug stub tells why
            await loop.sock_sendall(self._gate, b"\n")

    def worked_s(self) -> float | None:
        """Return the processor time used so far, seconds; None if unknown."""
        return None if self._process is None else processor_time_s(self._process.pid)

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal; None if there is no process or it runs."""
        return None if self._process is None else self._process.poll()

    def status(self) -> Text:
        """Return how the process ended: "exit code 1", "killed by SIGKILL"."""
        code: int | None = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(timeout=_STATUS_WITHIN_S)
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return msg("killed by {signals}", signals=signal.Signals(-code).name)
        return msg("exit code {code}", code=str(code))

    def kill(self, timeout_s: float) -> None:
        """End the process at once; waits for nothing but the kernel.

        Args:
            timeout_s: how long the kernel may take, seconds.
        """
        if self._process is None or self._process.returncode is not None:
            return
        end_tree(self._process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=timeout_s)

    def close(self) -> None:
        """Close this side's ends of the connections."""
        self._open.close()


def _run(
    command: list[str], gate: int, log: int, inherited: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    """Start a command that reads the gate and writes the log, without core dumps."""
    try:
        process = subprocess.Popen(
            command,
            stdin=gate,
            stdout=log,
            stderr=log,
            pass_fds=inherited,
            start_new_session=True,
            cwd="/",
        )
    except OSError as error:
        raise InfraError(
            msg("QEMU cannot be started: {error}", error=str(error)),
            found=command[0],
            next_step=msg("Run `vmmlab doctor`."),
        ) from error
    with contextlib.suppress(OSError, AttributeError):
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    return process


def _outside(image: str) -> list[Path]:
    """Return the file of a firmware if a sandbox does not see it anyway."""
    path = Path(image)
    if not path.is_absolute() or (path.is_relative_to("/usr") and not toolroots.hidden(path)):
        return []
    return [path]
