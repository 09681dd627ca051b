"""One machine under QEMU, from its first instruction to its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from qemu.qmp import QMPClient
from qemu.qmp.error import QMPError

from vmmlab.base.errors import InfraError
from vmmlab.base.message import listed, msg
from vmmlab.base.tasks import run_to_end
from vmmlab.base.text import from_guest
from vmmlab.host.versions import is_tried, qemu_path
from vmmlab.machine.culprits import culprits
from vmmlab.machine.exceptions import CpuException, TripleFault
from vmmlab.machine.gdb import Gdb
from vmmlab.machine.limits import Limits
from vmmlab.machine.qemu.migration import Progress
from vmmlab.machine.qemu.output import Output
from vmmlab.machine.qemu.process import Launcher, PlainLauncher, Process
from vmmlab.machine.qemu.qmp import Events, QuietClient
from vmmlab.machine.spec import MachineSpec
from vmmlab.machine.svmlog import GuestCounts
from vmmlab.machine.trace import TraceEvent, TraceLog

_DEVICES_MIB: Final = 32
"""The state of a machine has its memory and that of its devices: this much at most, MiB."""


class MachineDied(InfraError):
    """QEMU itself ended while it was needed. The guest cannot do that."""


class Machine:
    """A QEMU that is paused before its first instruction, and gone when the block is left.

    One that is restored is paused where it was when it was saved.

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
        template: a file that `save` has written, of a machine with the same spec.
        saves: the machine can be saved.

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
        template: Path | None = None,
        saves: bool = False,
    ) -> None:
        self.spec = spec
        self.limits = limits or Limits.for_host()
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.version: tuple[int, int, int] = (0, 0, 0)
        self.start_s = 0.0
        self._qemu = qemu
        self._template = template
        self._saves = saves
        self._migration = Progress()
        self._worked_before_s = 0.0
        self._process = Process(launcher or PlainLauncher())
        self._output = Output(TraceLog(by_region=spec.single_threaded, keep_io=spec.trace_io))
        self._shutdown: asyncio.Future[str] | None = None

    # --- start ------------------------------------------------------------------------------

    async def __aenter__(self) -> Machine:
        try:
            await self._start()
        except BaseException:
            self._kill()
            await run_to_end(self._close())
            raise
        return self

    async def _start(self) -> None:
        _check_files(self.spec)
        process = self._process
        self._shutdown = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        qemu = self._qemu or qemu_path()
        process.launch(self.spec, qemu, self._template, saves=self._saves)
        self._output.start(process.log_fd, process.serial_fd)
        self.gdb = Gdb(
            self.spec.cpus,
            limits=self.limits,
            died=self._died,
            shutdown_reason=self._shutdown_reason,
            ending=self._is_ending,
        )
        self.qmp = QuietClient("vmmlab")
        self.qmp.register_listener(Events(self._on_event))
        try:
            async with asyncio.timeout(self.limits.start_s):
                await process.open_gate()
                await self.gdb.connect(process.gdb)
                self.start_s = time.monotonic() - began
                await self._connect_qmp(process.qmp)
                await self._restore(process.restore_uri)
        except TimeoutError:
            raise InfraError(
                msg("QEMU did not start in time."),
                expected=msg("an answer within {start_s:g} s", start_s=self.limits.start_s),
                found=self._output.log.messages() or msg("nothing"),
                next_step=msg("The host may be overloaded: try again."),
            ) from None
        except MachineDied as error:
            raise self._start_error() from error
        self.limits = self.limits.scaled(self.start_s, self.spec.cpus)
        self.gdb.limits = self.limits

    async def _connect_qmp(self, sock: socket.socket) -> None:
        try:
            await self.qmp.connect(sock)
            if not self.spec.single_threaded:
                cpus: Any = await self.qmp.execute("query-cpus-fast")
                threads = {c["cpu-index"]: c["thread-id"] for c in cpus}
                self._output.log.threads = threads
                if self._process.thread_logs is not None:
                    self._output.follow(self._process.thread_logs.open(threads), threads)
        except (QMPError, EOFError, OSError) as error:
            raise await self._died() from error
        if self.qmp.greeting is not None:
            number: Any = self.qmp.greeting.QMP.version["qemu"]
            self.version = (number["major"], number["minor"], number["micro"])

    async def _restore(self, uri: str) -> None:
        """Restore the machine, if it does not start anew."""
        if not uri:
            return
        try:
            done = await self._migration.run(self.qmp, "migrate-incoming", uri)
        except (QMPError, EOFError, OSError) as error:
            raise await self._died() from error
        if not done:
            raise MachineDied(
                msg("QEMU could not restore a machine."),
                found=self._output.log.messages() or msg("nothing"),
                next_step=msg("Run the command again."),
            )

    async def save(self, file: BinaryIO) -> None:
        """Save the paused machine, which cannot run any more then.

        Args:
            file: where to write its state.

        Raises:
            InfraError: QEMU failed.
            OSError: the file cannot be written.
        """
        outgoing, uri = self._process.outgoing, self._process.save_uri
        assert outgoing is not None
        most = (self.spec.memory_mib + _DEVICES_MIB) << 20
        try:
            await self._migration.save(self.qmp, uri, outgoing.receive(file, most))
        except (QMPError, EOFError) as error:
            raise await self._died() from error

    def _start_error(self) -> InfraError:
        code = self._process.exit_code()
        return InfraError(
            msg("QEMU could not be started."),
            expected=msg("a paused machine"),
            found=self._output.log.messages()
            or msg("exit code {code} without a message", code=str(code)),
            next_step=msg(
                "Run `vmmlab doctor`; the command was: {command}", command=" ".join(self.argv)
            ),
        )

    # --- what QEMU reports ------------------------------------------------------------------

    def _on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "MIGRATION":
            self._migration.take(event)
            return
        self.events.put_nowait(event)
        reason = {
            "SHUTDOWN": event.get("data", {}).get("reason", "unknown"),
            "SUSPEND": "guest-suspend",
        }.get(event["event"])
        if reason is not None and self._shutdown is not None and not self._shutdown.done():
            self._shutdown.set_result(reason)
        if event["event"] == "SUSPEND":
            self.gdb.note_suspended()

    def _is_ending(self) -> bool:
        return self._shutdown is not None and self._shutdown.done()

    async def _shutdown_reason(self) -> str:
        assert self._shutdown is not None
        done, _ = await asyncio.wait((self._shutdown,), timeout=self.limits.reply_s)
        return self._shutdown.result() if done else "unknown"

    def serial_bytes(self) -> bytes:
        """Return what the guest has sent to its serial port, as sent: first and last 64 KiB."""
        return self._output.read_serial().value()

    def serial(self) -> str:
        """Return the same as text that is safe to show. The guest wrote it: it is no evidence."""
        return from_guest(self.serial_bytes())

    async def serial_line(self, beginning: bytes) -> bytes:
        """Wait until the guest has sent a whole line with `beginning`; return what follows it."""
        return await self._output.serial_line(beginning)

    def trace(self) -> tuple[TraceEvent, ...]:
        """Return IPIs and resets of processors so far.

        Device writes too with `spec.trace_io`, and VMRUNs and #VMEXITs with `spec.log_guests`.
        """
        return self._output.events()

    def guest_counts(self) -> dict[int, GuestCounts]:
        """Return what each processor did with guests so far, in numbers (`spec.log_guests`)."""
        self._output.read_logs()
        return {cpu: log.guests for cpu, log in self._output.cpu_logs.items()}

    @property
    def trace_dropped(self) -> int:
        """How many events were not kept because there were too many."""
        return self._output.dropped

    def exceptions(self) -> tuple[CpuException, ...]:
        """Return exceptions and interrupts taken so far (with `spec.log_exceptions`)."""
        return tuple(e for log in self._output.read_logs() for e in log.exceptions())

    def triple_faults(self) -> tuple[TripleFault, ...]:
        """Return the triple faults so far (with `spec.log_exceptions`)."""
        return tuple(f for log in self._output.read_logs() for f in log.triple_faults())

    async def culprits(self) -> tuple[tuple[int, TripleFault], ...]:
        """Return the processors that triple faults have shut down, each with its fault."""
        return await culprits(self.gdb, self.triple_faults())

    @property
    def argv(self) -> tuple[str, ...]:
        """QEMU's command line."""
        return self._process.argv

    @property
    def pid(self) -> int:
        """Process id of the launched command (the sandbox, if there is one)."""
        pid = self._process.pid
        assert pid is not None
        return pid

    def worked_s(self) -> float | None:
        """Return the processor time that QEMU has used so far, seconds; None if unknown.

        What it used before `forget_work` does not count.
        """
        worked_s = self._process.worked_s()
        return None if worked_s is None else worked_s - self._worked_before_s

    def forget_work(self) -> None:
        """Let the processor time that QEMU has used until now not count."""
        self._worked_before_s = self._process.worked_s() or 0.0

    @property
    def tried(self) -> bool:
        """Whether the project was tested with this version of QEMU."""
        return is_tried(self.version)

    # --- end --------------------------------------------------------------------------------

    async def _died(self) -> Exception:
        """Return the error that says why QEMU is gone."""
        await self._output.log_end(self.limits.end_s)
        said = self._output.log.messages() or msg("it printed nothing")
        return MachineDied(
            msg("QEMU ended during a boot."),
            expected=msg("a machine that runs until the grader ends it"),
            found=listed([self._process.status(), said], "; "),
            next_step=msg(
                "Try again; if it happens again, report it with the command: {command}",
                command=" ".join(self.argv),
            ),
        )

    def _kill(self) -> None:
        self._process.kill(self.limits.end_s)

    async def _close(self) -> None:
        if self._process.pid is not None:
            # In a sandbox QEMU is a grandchild: it is gone when no process holds its log open.
            await self._output.log_end(self.limits.end_s)
        self._output.stop()
        if hasattr(self, "gdb"):
            self.gdb.close()
        if hasattr(self, "qmp"):
            with contextlib.suppress(Exception):
                await self.qmp.disconnect()
        self._process.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()
        await run_to_end(self._close())


def _check_files(spec: MachineSpec) -> None:
    for path in (spec.kernel, spec.started, *spec.modules):
        if isinstance(path, Path) and not path.is_file():
            raise InfraError(
                msg("There is nothing to boot."),
                expected=msg("a file {path}", path=path),
                found="none",
                next_step=msg("Build it first."),
            )
