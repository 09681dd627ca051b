"""One QEMU process from launch to kill: the async context manager `Machine`.

QEMU talks over inherited file descriptors only: a socket pair each for QMP and the debug stub, a
pipe each for the serial port and for its log. So there is no socket path to wait for, no file that
a guest could fill, and QEMU's death is an end of file on all of them.

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
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from qemu.qmp import EventListener, Message, QMPClient
from qemu.qmp.error import QMPError

from vmmlab.base.errors import InfraError
from vmmlab.host import toolroots
from vmmlab.host.processes import end_tree
from vmmlab.host.versions import X2APIC_CPU, is_tried, qemu_path
from vmmlab.machine.gdb import Gdb, Registers
from vmmlab.machine.limits import Limits
from vmmlab.machine.spec import MachineSpec
from vmmlab.machine.trace import CpuException, TraceEvent, TraceLog, TripleFault

#: What is kept of the serial port, bytes: this much of the beginning and this much of the end.
SERIAL_HEAD = SERIAL_TAIL = 64 * 1024
#: How often the serial pipe is emptied, s. It holds 64 KiB; a guest that is faster has to wait.
_SERIAL_PERIOD_S = 0.02
_READ = 1 << 16
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|[ -/]*[0-~])"
)
_CONTROL = re.compile(r"[^\n\t\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]")


#: QEMU is started through this gate: the shell says that it is there, and goes on only when told.
#: A sandbox whose launcher is killed before its first process has asked to die with it would
#: otherwise live on, with a QEMU that nobody knows. At a gate that nobody opens, it ends.
_GATE = 'echo >&0; read -r go || exit 0; exec "$@" </dev/null'


class MachineDied(InfraError):
    """QEMU itself ended while it was needed. The guest cannot do that."""


class Launcher(Protocol):
    """What starts a long-lived process: in production the sandbox."""

    def wrap(self, argv: Sequence[str], *, ro: Sequence[Path], rw: Sequence[Path]) -> list[str]:
        """The command that runs `argv`, seeing only the system and these paths."""


class PlainLauncher:
    """No sandbox at all."""

    def wrap(self, argv: Sequence[str], *, ro: Sequence[Path], rw: Sequence[Path]) -> list[str]:
        """`argv` as it is."""
        return list(argv)


class BoundedText:
    """The first and the last bytes of a stream of any length."""

    def __init__(self, head: int = SERIAL_HEAD, tail: int = SERIAL_TAIL) -> None:
        self._head_size, self._tail_size = head, tail
        self._head, self._tail = bytearray(), bytearray()
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        self.total += len(data)
        room = self._head_size - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data
            if len(self._tail) > 2 * self._tail_size:
                del self._tail[: -self._tail_size]

    def value(self) -> bytes:
        """What was kept, with a line that says how much is left out."""
        tail = bytes(self._tail[-self._tail_size :])
        lost = self.total - len(self._head) - len(tail)
        gap = b"\n[... %d bytes left out ...]\n" % lost if lost else b""
        return bytes(self._head) + gap + tail


def sanitise(data: bytes) -> str:
    """Text that is safe to show: no escape sequences, no control characters but tab and newline."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
    text = _ESCAPE.sub("", text)
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else "\ufffd", text)


def argv(
    spec: MachineSpec, *, qemu: Path, qmp_fd: int, gdb_fd: int, serial_fd: int
) -> tuple[str, ...]:
    """QEMU's command line for `spec`, talking over these inherited file descriptors.

    There is deliberately no isa-debug-exit or other device by which a guest could end QEMU.
    """
    events = ["apic_*write*", "*cpu_reset"]
    if spec.single_threaded or spec.trace_io:
        events.append("memory_region_ops_write")
    out = [
        str(qemu),
        *("-accel", f"tcg,thread={'single' if spec.single_threaded else 'multi'}"),
        *(
            "-M",
            "q35,sata=off,smbus=off",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-S",
        ),
        *("-m", str(spec.memory_mib), "-smp", str(spec.cpus)),
        *(("-cpu", X2APIC_CPU) if spec.x2apic else ()),
        *("-bios", "qboot.rom" if spec.firmware == "qboot" else "bios-256k.bin"),
        *("-kernel", str(spec.kernel)),
        *("-action", "reboot=shutdown,shutdown=pause"),
        *(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ),
        *("-chardev", f"socket,id=qmp,fd={qmp_fd}", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=gdb,fd={gdb_fd}", "-gdb", "chardev:gdb"),
        *("-add-fd", f"fd={serial_fd},set=1"),
        *("-chardev", "file,id=com1,path=/dev/fdset/1,append=on", "-serial", "chardev:com1"),
        *("-msg", "timestamp=on"),
    ]
    for event in events:
        out += ("-trace", event)
    if spec.log_exceptions:
        out += ("-d", "int")
    if spec.cmdline:
        out += ("-append", spec.cmdline)
    if spec.modules:
        out += ("-initrd", ",".join(str(m).replace(",", ",,") for m in spec.modules))
    return tuple(out)


class Machine:
    """A QEMU that is paused before its first instruction, and gone when the block is left.

    ::

        async with Machine(MachineSpec(kernel)) as m:
            await m.gdb.set_break(0)
            await m.gdb.resume()
            stop = await m.gdb.wait()

    Attributes:
        gdb: the debug stub.
        qmp: a connected `qemu.qmp.QMPClient`.
        events: QMP events (dicts), oldest first; STOP and RESUME are left out.
        version: of this QEMU.
        start_s: from launch to the first answer, seconds.
        limits: time-outs, scaled by `start_s`.

    Args:
        spec: what to boot.
        launcher: the sandbox; None for none.
        limits: time-outs before scaling.
        qemu: the executable; default `versions.qemu_path()`.

    Raises (from `async with`):
        InfraError: QEMU could not be started; its own words are in the message.
        MachineDied: it ended later (from any method of `gdb`, `qmp` or this class).
    """

    gdb: Gdb
    qmp: QMPClient

    def __init__(
        self,
        spec: MachineSpec,
        launcher: Launcher | None = None,
        *,
        limits: Limits | None = None,
        qemu: Path | None = None,
    ) -> None:
        self.spec = spec
        self.limits = limits or Limits.for_host()
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.version: tuple[int, int, int] = (0, 0, 0)
        self.start_s = 0.0
        self.argv: tuple[str, ...] = ()
        self._launcher: Launcher = launcher or PlainLauncher()
        self._qemu = qemu
        self._process: subprocess.Popen[bytes] | None = None
        self._log = TraceLog(by_region=spec.single_threaded, keep_io=spec.trace_io)
        self._serial = BoundedText()
        self._log_fd = self._serial_fd = -1
        self._timer: asyncio.TimerHandle | None = None
        self._log_ended = asyncio.Event()
        self._shutdown: asyncio.Future[str] | None = None
        self._sockets: tuple[socket.socket, ...] = ()

    # start

    async def __aenter__(self) -> Machine:
        try:
            await self._start()
        except BaseException:
            self._kill()
            await self._close()
            raise
        return self

    async def _start(self) -> None:
        for path in (self.spec.kernel, *self.spec.modules):
            if not path.is_file():
                raise InfraError(
                    "There is nothing to boot.",
                    expected=f"a file {path}",
                    found="none",
                    next_step="Build it first.",
                )
        loop = asyncio.get_running_loop()
        self._shutdown = loop.create_future()
        began = time.monotonic()
        gdb_socket, qmp_socket = self._launch()
        self.gdb = Gdb(
            self.spec.cpus,
            limits=self.limits,
            died=self._died,
            shutdown_reason=self._shutdown_reason,
        )
        self.qmp = _Quiet("vmmlab")
        self.qmp.register_listener(_Events(self._on_event))
        loop.add_reader(self._log_fd, self._read_log)
        self._timer = loop.call_later(_SERIAL_PERIOD_S, self._serial_tick)
        try:
            async with asyncio.timeout(self.limits.start_s):
                await loop.sock_recv(self._gate, 1)
                with contextlib.suppress(OSError):  # it is gone: the debugger's end says why
                    await loop.sock_sendall(self._gate, b"\n")
                await self.gdb.connect(gdb_socket)
                self.start_s = time.monotonic() - began
                await self._connect_qmp(qmp_socket)
        except TimeoutError:
            raise InfraError(
                "QEMU did not start in time.",
                expected=f"an answer within {self.limits.start_s:g} s",
                found=self._log.messages() or "nothing",
                next_step="The host may be overloaded: try again.",
            ) from None
        except MachineDied as error:
            raise self._start_error() from error
        self.limits = self.limits.scaled(self.start_s, self.spec.cpus)
        self.gdb.limits = self.limits

    def _launch(self) -> tuple[socket.socket, socket.socket]:
        qemu = self._qemu or qemu_path()
        gdb_ours, gdb_theirs = socket.socketpair()
        qmp_ours, qmp_theirs = socket.socketpair()
        gate_ours, gate_theirs = socket.socketpair()
        gate_ours.setblocking(False)
        self._gate = gate_ours
        self._sockets = (gdb_ours, qmp_ours, gate_ours)
        self._log_fd, log_theirs = os.pipe()
        self._serial_fd, serial_theirs = os.pipe()
        try:
            for fd in (self._log_fd, self._serial_fd):
                os.set_blocking(fd, False)
            # A burst of trace lines should not make the processors wait for this process.
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(log_theirs, fcntl.F_SETPIPE_SZ, 1 << 18)
            # Symbolic links would lead nowhere in a sandbox, relative paths nowhere at all.
            spec = replace(
                self.spec,
                kernel=self.spec.kernel.resolve(),
                modules=tuple(path.resolve() for path in self.spec.modules),
            )
            self.argv = argv(
                spec,
                qemu=qemu,
                qmp_fd=qmp_theirs.fileno(),
                gdb_fd=gdb_theirs.fileno(),
                serial_fd=serial_theirs,
            )
            readable = [spec.kernel, *spec.modules, *toolroots.roots(qemu)]
            command = self._launcher.wrap(
                ["/bin/sh", "-c", _GATE, "gate", *self.argv], ro=readable, rw=()
            )
            setpriv = shutil.which("setpriv")
            if setpriv is not None and "--die-with-parent" not in command:
                command = [setpriv, "--pdeathsig", "KILL", "--", *command]
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=gate_theirs.fileno(),
                    stdout=log_theirs,
                    stderr=log_theirs,
                    pass_fds=(gdb_theirs.fileno(), qmp_theirs.fileno(), serial_theirs),
                    start_new_session=True,
                    cwd="/",
                )
            except OSError as error:
                raise InfraError(
                    f"QEMU cannot be started: {error}",
                    found=command[0],
                    next_step="Run `vmmlab doctor`.",
                ) from error
            with contextlib.suppress(OSError, AttributeError):
                resource.prlimit(self._process.pid, resource.RLIMIT_CORE, (0, 0))
        finally:
            gdb_theirs.close()
            qmp_theirs.close()
            gate_theirs.close()
            os.close(log_theirs)
            os.close(serial_theirs)
        return gdb_ours, qmp_ours

    async def _connect_qmp(self, sock: socket.socket) -> None:
        try:
            await self.qmp.connect(sock)
            if not self.spec.single_threaded:
                cpus: Any = await self.qmp.execute("query-cpus-fast")
                self._log.threads = {c["cpu-index"]: c["thread-id"] for c in cpus}
        except (QMPError, EOFError, OSError) as error:
            raise await self._died() from error
        if self.qmp.greeting is not None:
            number: Any = self.qmp.greeting.QMP.version["qemu"]
            self.version = (number["major"], number["minor"], number["micro"])

    def _start_error(self) -> InfraError:
        process = self._process
        code = process.poll() if process is not None else None
        return InfraError(
            "QEMU could not be started.",
            expected="a paused machine",
            found=self._log.messages() or f"exit code {code} without a word",
            next_step="Run `vmmlab doctor`; the command was: " + " ".join(self.argv),
        )

    # what QEMU says

    def _on_event(self, event: dict[str, Any]) -> None:
        self.events.put_nowait(event)
        reason = {
            "SHUTDOWN": event.get("data", {}).get("reason", "unknown"),
            "SUSPEND": "guest-suspend",
        }.get(event["event"])
        if reason is not None and self._shutdown is not None and not self._shutdown.done():
            self._shutdown.set_result(reason)
        if event["event"] == "SUSPEND":
            self.gdb.note_suspended()

    async def _shutdown_reason(self) -> str:
        assert self._shutdown is not None
        done, _ = await asyncio.wait((self._shutdown,), timeout=self.limits.reply_s)
        return self._shutdown.result() if done else "unknown"

    def _read_log(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._log_fd, _READ)
            if data:
                self._log.feed(data)
                return
            asyncio.get_running_loop().remove_reader(self._log_fd)
            self._log_ended.set()

    def _drain(self, fd: int, sink: TraceLog | BoundedText) -> None:
        if fd < 0:
            return
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                data = os.read(fd, _READ)
                if not data:
                    return
                sink.feed(data)

    def _serial_tick(self) -> None:
        self._drain(self._serial_fd, self._serial)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_SERIAL_PERIOD_S, self._serial_tick)

    def serial_bytes(self) -> bytes:
        """What the guest sent to its serial port so far: the first and the last 64 KiB, as sent."""
        self._drain(self._serial_fd, self._serial)
        return self._serial.value()

    def serial(self) -> str:
        """The same as text that is safe to show. It is what the guest says, and no evidence."""
        return sanitise(self.serial_bytes())

    def trace(self) -> tuple[TraceEvent, ...]:
        """IPIs and resets of processors so far (and device writes with `spec.trace_io`)."""
        self._drain(self._log_fd, self._log)
        return self._log.events()

    @property
    def trace_dropped(self) -> int:
        """Events that were not kept because there were too many."""
        return self._log.dropped

    def exceptions(self) -> tuple[CpuException, ...]:
        """Exceptions and interrupts taken so far (with `spec.log_exceptions`)."""
        self._drain(self._log_fd, self._log)
        return self._log.exceptions()

    def triple_faults(self) -> tuple[TripleFault, ...]:
        """Triple faults so far (with `spec.log_exceptions`)."""
        self._drain(self._log_fd, self._log)
        return self._log.triple_faults()

    async def culprits(self) -> tuple[tuple[int, TripleFault], ...]:
        """After a triple fault: which processors died, and of what.

        QEMU's record of the fault carries all registers; a processor whose registers are the same
        is the one. Several may have died before the machine stopped.
        """
        faults = self.triple_faults()
        if not faults:
            return ()
        out: list[tuple[int, TripleFault]] = []
        for registers in await self.gdb.all_registers():
            for fault in faults:
                if fault.last is not None:
                    guilty = _same(registers, fault.last)
                else:
                    # QEMU records no registers in real mode. There only a table that is too short
                    # for #DF leads to a triple fault (Intel SDM vol. 3, 21.1.4).
                    told = await self.gdb.describe(registers.cpu)
                    guilty = registers.mode == "real" and told.get("idt_limit", 0xFFFF) < 4 * 9 - 1
                if guilty:
                    out.append((registers.cpu, fault))
                    break
        return tuple(out)

    # end

    @property
    def pid(self) -> int:
        """Process id of the launched command (the sandbox, if there is one)."""
        assert self._process is not None
        return self._process.pid

    @property
    def tried(self) -> bool:
        """Whether this version of QEMU is one that the project was tested with."""
        return is_tried(self.version)

    async def _died(self) -> Exception:
        """Why QEMU is gone, to be raised."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.end_s):
                await self._log_ended.wait()
        process = self._process
        code: int | None = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=1)
        how = f"exit code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = f"killed by {signal.Signals(-code).name}"
        return MachineDied(
            "QEMU ended in the middle of a boot.",
            expected="a machine that goes on until the grader ends it",
            found=f"{how}; {self._log.messages() or 'it said nothing'}",
            next_step="Try again; if it happens again, report it with the command: "
            + " ".join(self.argv),
        )

    def _kill(self) -> None:
        """Ends QEMU at once; never waits for anything but the kernel."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        end_tree(process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=self.limits.end_s)

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        if self._process is not None:
            # In a sandbox QEMU is a grandchild: it is gone when nobody holds its log open.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits.end_s):
                    await self._log_ended.wait()
        if self._log_fd >= 0:
            loop.remove_reader(self._log_fd)
        self._drain(self._serial_fd, self._serial)
        self._drain(self._log_fd, self._log)
        for fd in (self._log_fd, self._serial_fd):
            if fd >= 0:
                os.close(fd)
        self._log_fd = self._serial_fd = -1
        if hasattr(self, "gdb"):
            self.gdb.close()
        if hasattr(self, "qmp"):
            with contextlib.suppress(Exception):
                await self.qmp.disconnect()
        for sock in self._sockets:
            sock.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()
        await self._close()


_EACH_STEP = (b'"event": "STOP"', b'"event": "RESUME"')  # inside of a string, quotes are escaped


class _Quiet(QMPClient):
    """Without the log, and deaf to the two events that every step makes: they take more than it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.logger.disabled = True

    async def _do_recv(self) -> Message:
        while True:
            line = await self._readline()
            if not any(event in line for event in _EACH_STEP):
                return Message(line, eager=True)

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        return msg


class _Events(EventListener):
    """Hands events on at once, instead of queueing them for someone who may never ask."""

    def __init__(self, sink: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._sink = sink

    def accept(self, event: Message) -> bool:
        self._sink(dict(event))
        return False


def _same(registers: Registers, record: CpuException) -> bool:
    names = ("rip", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "cs", "cr3", "cr2")
    return all(record.registers.get(name) == registers[name] for name in names)
