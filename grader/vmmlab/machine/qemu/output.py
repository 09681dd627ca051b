"""QEMU's log and the guest's serial port, read from their pipes while the machine runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from functools import partial
from itertools import zip_longest

from vmmlab.machine.trace import TraceEvent, TraceLog, merged

SERIAL_HEAD = SERIAL_TAIL = 64 * 1024
"""How much of the serial port is kept from the beginning and from the end, bytes."""

_SERIAL_PERIOD_S = 0.02
"""How often the serial pipe is emptied. It holds 64 KiB; a guest that is faster has to wait."""

_READ_BYTES = 1 << 16
_READS_AT_ONCE = 64


class BoundedText:
    """The first and the last bytes of a stream of any length.

    Args:
        head: how many bytes are kept from the beginning.
        tail: how many bytes are kept from the end.

    Attributes:
        total: length of the stream so far, bytes.
    """

    def __init__(self, head: int = SERIAL_HEAD, tail: int = SERIAL_TAIL) -> None:
        self._head_size, self._tail_size = head, tail
        self._head, self._tail = bytearray(), bytearray()
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
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
        """Return what was kept, with a line that says how much is left out."""
        tail = bytes(self._tail[-self._tail_size :])
        lost = self.total - len(self._head) - len(tail)
        gap = b"\n[... %d bytes left out ...]\n" % lost if lost else b""
        return bytes(self._head) + gap + tail


class Output:
    """Reads all pipes into bounded memory.

    Args:
        log: takes QEMU's log.

    Attributes:
        log: as given.
        serial: what the guest has sent to its serial port.
        cpu_logs: the log of each processor's thread, where each has one.
    """

    def __init__(self, log: TraceLog) -> None:
        self.log = log
        self.serial = BoundedText()
        self.cpu_logs: dict[int, TraceLog] = {}
        self._cpu_fds: dict[int, int] = {}
        self._merged: tuple[TraceEvent, ...] = ()
        self._merged_of: list[tuple[TraceEvent, ...]] = []
        self._log_ended = asyncio.Event()
        self._log_fd = self._serial_fd = -1
        self._timer: asyncio.TimerHandle | None = None
        self._wanted = b""
        self._found: asyncio.Future[bytes] | None = None

    async def serial_line(self, beginning: bytes) -> bytes:
        """Wait until the guest has sent a line with this beginning; return the rest of it."""
        self._wanted = beginning
        self._found = asyncio.get_running_loop().create_future()
        self._look_for_line()
        return await self._found

    def _look_for_line(self) -> None:
        if self._found is None or self._found.done():
            return
        for line in self.serial.value().split(b"\n")[:-1]:
            _, begun, rest = line.partition(self._wanted)
            if begun:
                self._found.set_result(rest.strip())
                return

    def start(self, log_fd: int, serial_fd: int) -> None:
        """Read these pipes, which are non-blocking, from now on."""
        self._log_fd, self._serial_fd = log_fd, serial_fd
        asyncio.get_running_loop().add_reader(log_fd, self._log_readable)
        self._schedule()

    def follow(self, pipes: Mapping[int, int], threads: Mapping[int, int]) -> None:
        """Read the logs of the processors' threads from now on, too.

        Args:
            pipes: key: a processor; value: the pipe, non-blocking.
            threads: the same; value: the id of its thread.
        """
        for cpu, fd in pipes.items():
            log = self.cpu_logs[cpu] = TraceLog()
            log.cpu, log.threads = cpu, dict(threads)
            self._cpu_fds[cpu] = fd
            asyncio.get_running_loop().add_reader(fd, partial(_drain, fd, log, at_once=1))

    def _log_readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._log_fd, _READ_BYTES)
            if data:
                self.log.feed(data)
                return
            asyncio.get_running_loop().remove_reader(self._log_fd)
            self._log_ended.set()

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_SERIAL_PERIOD_S, self._tick)

    def _tick(self) -> None:
        self.read_serial()
        self._schedule()

    def read_serial(self) -> BoundedText:
        """Return the serial port's text, with what is in the pipe now."""
        _drain(self._serial_fd, self.serial)
        self._look_for_line()
        return self.serial

    def read_logs(self) -> tuple[TraceLog, ...]:
        """Return all logs, with what is in the pipes now; `log` is the last one."""
        for cpu, fd in self._cpu_fds.items():
            _drain(fd, self.cpu_logs[cpu])
        _drain(self._log_fd, self.log)
        return (*self.cpu_logs.values(), self.log)

    def events(self) -> tuple[TraceEvent, ...]:
        """Return the events of all logs, with what is in the pipes now."""
        logs = self.read_logs()
        if not self.cpu_logs:
            return self.log.events()
        each = [log.events() for log in logs]
        if any(now is not before for now, before in zip_longest(each, self._merged_of)):
            self._merged, self._merged_of = merged(each), each
        return self._merged

    @property
    def dropped(self) -> int:
        """How many events and exceptions were not kept because there were too many."""
        return self.log.dropped + sum(log.dropped for log in self.cpu_logs.values())

    async def log_end(self, timeout_s: float) -> None:
        """Wait until no process holds the log open, but not longer than `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._log_ended.wait()

    def stop(self) -> None:
        """Read the rest, then leave the pipes alone."""
        if self._timer is not None:
            self._timer.cancel()
        for fd in (self._log_fd, *self._cpu_fds.values()):
            if fd >= 0:
                asyncio.get_running_loop().remove_reader(fd)
        self.read_serial()
        self.read_logs()
        self._log_fd = self._serial_fd = -1
        self._cpu_fds.clear()


def _drain(fd: int, sink: TraceLog | BoundedText, *, at_once: int = _READS_AT_ONCE) -> None:
    if fd < 0:
        return
    with contextlib.suppress(BlockingIOError):
        for _ in range(at_once):
            data = os.read(fd, _READ_BYTES)
            if not data:
                return
            sink.feed(data)
