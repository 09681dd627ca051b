"""What QEMU itself reports about its processors, read from its log while it runs.

The log is a pipe, not a file: `TraceLog.feed` takes what has arrived, keeps the lines of interest
and forgets the rest, so that a guest that floods the log costs time but neither disk nor memory.

Lines look like this (`vmmlab.machine.dialects` reads them, for each version of QEMU)::

    5176@1795354278.070499:apic_mem_writel 0x300 = 0x000c4500
    5161@1795354276.065105:memory_region_ops_write cpu 0 mr 0x5578 addr 0xfee00300 value 0xc4500 \
size 4 name 'apic-msi'

The number before the @ is the host thread. With one thread for each processor it names the
processor that wrote; `TraceLog.threads` maps it. With one thread for all of them, the
memory_region_ops_write lines are asked for instead, which carry the number of the processor.

Where guests are recorded, each processor's thread has a log of its own, because the lines of
`vmmlab.machine.svmlog` name neither thread nor time: `TraceLog.cpu` is set then, and `merged` puts
the logs together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from vmmlab.machine.dialects import LogLine, log_line
from vmmlab.machine.exceptions import CpuException, ExceptionLog, TripleFault
from vmmlab.machine.svmlog import GuestCounts, GuestEvent, guest_line

MAX_EVENTS = 16384
"""How many events are kept: two for each IPI, and a few for each id that an xAPIC can have."""
MAX_PARTIAL = 16384
"""The longest unfinished line that is waited for, bytes."""
MAX_MESSAGES = 8192
"""How much text of QEMU itself (warnings, errors) is kept from the end, bytes."""

APIC_BASE = 0xFEE00000
APIC_ICR_LOW = 0x300
APIC_ICR_HIGH = 0x310

_TIMED = re.compile(rb"\d+@\d+\.\d+:")
_NOISE = (b"SMM: ", b"Servicing hardware INT", b"check_exception", b"Triple fault")
_UNKNOWN_THREAD = -1


@dataclass(frozen=True)
class IcrWrite:
    """A write to the low half of the interrupt command register: an IPI is sent.

    Attributes:
        cpu: the sender, None if not known.
        value: the low 32 bits (Intel SDM vol. 3, 10.6.1).
        dest: the high 32 bits at that time; the destination is in the top byte (xAPIC).
        time_s: host wall clock, seconds since the epoch.
    """

    cpu: int | None
    value: int
    dest: int
    time_s: float


@dataclass(frozen=True)
class IcrDest:
    """A write to the high half of the interrupt command register (the destination)."""

    cpu: int | None
    value: int
    time_s: float


@dataclass(frozen=True)
class ApicWrite:
    """A write to another register of the local APIC; kept where guests are recorded.

    Attributes:
        cpu: the processor whose APIC it is, None if not known.
        offset: of the register, in the page of xAPIC mode (Intel SDM vol. 3, 10.4.1).
        value: what was written.
        time_s: host wall clock, seconds since the epoch.
    """

    cpu: int | None
    offset: int
    value: int
    time_s: float


@dataclass(frozen=True)
class CpuReset:
    """A processor was reset: by an INIT that it took, or at power-on (QEMU 10 only).

    Attributes:
        cpu: which one, None if not known.
        time_s: host wall clock, seconds since the epoch.
    """

    cpu: int | None
    time_s: float


@dataclass(frozen=True)
class IoWrite:
    """A write to a device, to a port or a memory-mapped register; `cpu` None: by a device."""

    cpu: int | None
    address: int
    value: int
    size: int
    region: str
    time_s: float


TraceEvent = IcrWrite | IcrDest | ApicWrite | CpuReset | IoWrite | GuestEvent


class TraceLog:
    """Takes QEMU's standard error bit by bit and keeps what matters, in bounded memory.

    Args:
        keep_io: keep every device write as `IoWrite`, not only those to the APIC's ICR.
        by_region: all processors share a host thread: device writes tell the processor.

    Attributes:
        threads: host thread of each processor (QMP `query-cpus-fast`), {} if they share one.
        cpu: the processor whose thread alone writes this log; None if it is everybody's.
        guests: how often that processor ran a guest, and why it left it.
    """

    def __init__(self, *, keep_io: bool = False, by_region: bool = False) -> None:
        self.threads: dict[int, int] = {}
        self.cpu: int | None = None
        self.guests = GuestCounts()
        self._keep_io = keep_io
        self._by_region = by_region
        self._partial = b""
        self._region: tuple[int, int] | None = None
        self._lines: list[LogLine | GuestEvent] = []
        self._made: tuple[TraceEvent, ...] = ()
        self._made_of: tuple[int, dict[int, int]] = (0, {})
        self._kept = 0
        self._time_s = 0.0
        self._dropped = 0
        self._messages = b""
        self._exceptions = ExceptionLog()

    @property
    def dropped(self) -> int:
        """How many events and exceptions were not kept because there were too many."""
        return self._dropped + self._exceptions.dropped

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the log."""
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        if len(self._partial) > MAX_PARTIAL:
            self._partial = self._partial[-MAX_PARTIAL:]
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        if self._exceptions.in_dump:
            self._exceptions.take(line)
        elif (found := log_line(line)) is not None:
            self._event(found)
        elif guest := guest_line(line, self.guests, self.cpu, self._time_s):
            if not isinstance(guest, bool):
                self._lines.append(guest)
        elif self._exceptions.take(line):
            pass
        elif line and not _TIMED.match(line) and not line.startswith(_NOISE):
            self._messages = (self._messages + line + b"\n")[-MAX_MESSAGES:]

    def _event(self, line: LogLine) -> None:
        if line.kind == "icr" and self._by_region:
            # The device write came just before, unless this was an MSR (x2APIC).
            seen, self._region = self._region, None
            if seen == (line.address, line.value):
                return
            line = line._replace(thread=_UNKNOWN_THREAD)
        elif line.kind == "io":
            offset = line.address - APIC_BASE
            if self._by_region and offset in (APIC_ICR_LOW, APIC_ICR_HIGH):
                self._region = (offset, line.value)
                self._keep(line._replace(kind="icr", address=offset))
            if not self._keep_io:
                return
        elif line.kind == "apic" and self.cpu is None:
            return
        self._keep(line)

    def _keep(self, line: LogLine) -> None:
        self._time_s = max(self._time_s, line.time_s)
        if self._kept >= MAX_EVENTS:
            self._dropped += 1
        else:
            self._kept += 1
            self._lines.append(line)

    def events(self) -> tuple[TraceEvent, ...]:
        """Return what was kept, in the order in which it was logged.

        The same tuple as the last time, if nothing has come since.
        """
        made_of = len(self._lines), self.threads
        if self._made_of != made_of:
            self._made, self._made_of = self._events(), (made_of[0], dict(self.threads))
        return self._made

    def _events(self) -> tuple[TraceEvent, ...]:
        out: list[TraceEvent] = []
        by_thread = {thread: cpu for cpu, thread in self.threads.items()}
        high: dict[int, int] = {}
        for line in self._lines:
            if not isinstance(line, LogLine):
                out.append(line)
                continue
            cpu = by_thread.get(line.thread) if line.cpu is None else line.cpu
            sender = line.thread if line.cpu is None else line.cpu
            if line.kind == "reset":
                out.append(CpuReset(cpu, line.time_s))
            elif line.kind == "apic":
                out.append(ApicWrite(self.cpu, line.address, line.value, line.time_s))
            elif line.kind == "io":
                what = (line.address, line.value, line.size, line.region)
                out.append(IoWrite(line.cpu, *what, line.time_s))
            elif line.address == APIC_ICR_HIGH:
                high[sender] = line.value
                out.append(IcrDest(cpu, line.value, line.time_s))
            else:
                # In x2APIC mode one write carries both halves.
                dest = high.get(sender, 0) | line.value >> 32
                out.append(IcrWrite(cpu, line.value & 0xFFFFFFFF, dest, line.time_s))
        return tuple(out)

    def exceptions(self) -> tuple[CpuException, ...]:
        """Return the first and the last exceptions, in order."""
        return self._exceptions.exceptions()

    def triple_faults(self) -> tuple[TripleFault, ...]:
        """Return the triple faults, oldest first."""
        return self._exceptions.triple_faults()

    def messages(self) -> str:
        """Return QEMU's own text, no trace: warnings and errors, the last 8 KiB."""
        text = self._messages + self._partial
        return text.decode("utf-8", "replace").strip()


def merged(logs: Iterable[Iterable[TraceEvent]]) -> tuple[TraceEvent, ...]:
    """Return the events of several logs by their time; those of one log keep their order."""
    return tuple(sorted((event for events in logs for event in events), key=_moment))


def _moment(event: TraceEvent) -> float:
    return event.time_s


def parse(text: bytes, *, by_region: bool = False, keep_io: bool = False) -> TraceLog:
    """Return the log of a whole recording."""
    log = TraceLog(keep_io=keep_io, by_region=by_region)
    log.feed(text if text.endswith(b"\n") else text + b"\n")
    return log
