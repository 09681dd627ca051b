"""What QEMU itself reports about its processors, read from its log while it runs.

The log is a pipe, not a file: `TraceLog.feed` takes whatever arrived, keeps the lines of interest
and forgets the rest, so that a guest that floods the log costs time but neither disk nor memory.

Lines of QEMU 7.2 and 10 (recorded under grader/tests/machine/data)::

    5176@1795354278.070499:apic_mem_writel 0x300 = 0x000c4500                       7.2
    5176@1795354278.070499:apic_register_write register 0x30 = 0xc4500              10
    5161@1795354276.065105:memory_region_ops_write cpu 0 mr 0x5578 addr 0xfee00300 value 0xc4500 \
size 4 name 'apic-msi'                                                              both
    5164@1795354276.065610:guest_cpu_reset cpu=0x55c65efec150                       7.2
    5164@1795354276.065610:cpu_reset 1                                              10
         1: v=0d e=0032 i=0 cpl=0 IP=0008:000000000000803c pc=... (then registers)   both, -d int
    check_exception old: 0x8 new 0xd             a fault while delivering #DF: triple fault

The number before the @ is the host thread. With one thread for each processor it names the
processor that wrote; `TraceLog.threads` maps it. With one thread for all, the
memory_region_ops_write lines are asked for instead, which carry the index.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Most events of one kind that are kept.
MAX_EVENTS = 4096
#: Exceptions kept from the beginning, and from the end.
MAX_EXCEPTIONS = 64
#: Longest unfinished line or register dump that is waited for, bytes.
MAX_PARTIAL = 16384
#: Text of QEMU itself (warnings, errors) kept from the end, bytes.
MAX_MESSAGES = 8192

APIC_BASE = 0xFEE00000
APIC_ICR_LOW = 0x300
APIC_ICR_HIGH = 0x310


@dataclass(frozen=True)
class IcrWrite:
    """A write to the low half of the interrupt command register: an IPI is sent.

    Attributes:
        cpu: who wrote, None if not known.
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
class CpuReset:
    """A processor was reset: by an INIT it executed, or at power-on (QEMU 10 only).

    Attributes:
        cpu: which one, None if not known.
        time_s: host wall clock, seconds since the epoch.
    """

    cpu: int | None
    time_s: float


@dataclass(frozen=True)
class IoWrite:
    """A write to a device: a port or a memory-mapped register."""

    cpu: int
    address: int
    value: int
    size: int
    region: str
    time_s: float


TraceEvent = IcrWrite | IcrDest | CpuReset | IoWrite


@dataclass(frozen=True)
class CpuException:
    """An exception or interrupt that some processor took in protected or long mode.

    QEMU does not say which processor it was; compare `registers` with those of each processor.

    Attributes:
        vector: interrupt vector (14 is #PF).
        error: error code, 0 if the exception has none.
        software: raised by an INT instruction.
        cpl: privilege level before.
        cs: code segment selector.
        ip: offset in the code segment.
        pc: linear address of the instruction.
        registers: registers and control registers as printed: "rax", …, "cr2", "idt_limit".
    """

    vector: int
    error: int
    software: bool
    cpl: int
    cs: int
    ip: int
    pc: int
    registers: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class TripleFault:
    """A processor that could not even deliver its double fault.

    Attributes:
        first: the exception that began it (None if its record was lost in a flood).
        last: the double fault.
        vector: the third fault, raised while the double fault was being delivered.
    """

    first: CpuException | None
    last: CpuException | None
    vector: int


_TRACE = re.compile(
    rb"(\d+)@(\d+\.\d+):(?:"
    rb"(?P<a7>apic_mem_writel 0x(?P<r7>3[01]0)) = 0x(?P<v7>[0-9a-f]+)"
    rb"|(?P<a10>apic_register_write register 0x(?P<r10>3[01])) = 0x(?P<v10>[0-9a-f]+)"
    rb"|(?P<reset7>guest_cpu_reset) "
    rb"|cpu_reset (?P<reset10>\d+)"
    rb"|memory_region_ops_write cpu (?P<cpu>-?\d+) mr 0x[0-9a-f]+ addr 0x(?P<addr>[0-9a-f]+)"
    rb" value 0x(?P<value>[0-9a-f]+) size (?P<size>\d+)(?: name '(?P<name>[^']*)')?)"
)
_HEAD = re.compile(
    rb" *\d+: v=([0-9a-f]+) e=([0-9a-f]+) i=(\d) cpl=(\d) IP=([0-9a-f]+):([0-9a-f]+)"
    rb" pc=([0-9a-f]+)"
)
_CHECK = re.compile(rb"check_exception old: 0x([0-9a-f]+) new 0x([0-9a-f]+)")
_DUMPED = re.compile(
    rb"\b([A-Z][A-Z0-9]{1,3}) ?= *([0-9a-f]+)(?: ([0-9a-f]+))?(?: ([0-9a-f]{8}) ([0-9a-f]{8}))?"
)
_DUMP_START = (b"EAX=", b"RAX=")
_DUMP_END = b"EFER="
_DOUBLE_FAULT = 8
_NAMES_32 = ("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "IP", "FL")


def parse_dump(lines: list[bytes]) -> dict[str, int]:
    """The registers in a `CPU state` dump: "rax" …, "rip", "cs", "cs_base", "cr2", "idt_limit".

    Of a segment register also what it hides: "ds_limit" (in bytes) and "ds_flags" (the second half
    of a descriptor).

    32-bit dumps get the 64-bit names, so that both read the same.
    """
    out: dict[str, int] = {}
    for line in lines:
        for match in _DUMPED.finditer(line):
            name, value, second, limit, flags = match.groups()
            key = name.decode("ascii")
            number = int(value, 16)
            if key in ("ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"):
                out[key.lower()] = number
                if second is not None:
                    out[f"{key.lower()}_base"] = int(second, 16)
                if limit is not None:
                    out[f"{key.lower()}_limit"] = int(limit, 16)
                    out[f"{key.lower()}_flags"] = int(flags, 16)
            elif key in ("GDT", "IDT"):
                out[f"{key.lower()}_base"] = number
                if second is not None:
                    out[f"{key.lower()}_limit"] = int(second, 16)
            elif key[0] in "ER" and key[1:] in _NAMES_32:
                out["rflags" if key[1:] == "FL" else f"r{key[1:].lower()}"] = number
            elif key == "FL" or key == "EFL":
                out["rflags"] = number
            elif key in ("CPL", "II", "HLT", "SMM", "EFER") or key[0] in "RC":
                out[key.lower()] = number
    return out


class TraceLog:
    """Takes QEMU's standard error bit by bit and keeps what matters, in bounded memory.

    Attributes:
        threads: host thread of each processor (QMP `query-cpus-fast`), {} if they share one.
        keep_io: keep every device write as `IoWrite`, not only those to the APIC's ICR.
        dropped: events that were not kept because there were too many.
    """

    def __init__(self, *, keep_io: bool = False, by_region: bool = False) -> None:
        self.threads: dict[int, int] = {}
        self.keep_io = keep_io
        self.dropped = 0
        self._by_region = by_region
        self._partial = b""
        self._region: tuple[int, int] | None = None
        self._raw: list[tuple[str, int, int, int, float, str, int]] = []
        self._messages = b""
        self._heads: list[tuple[int, ...]] = []
        self._dump: list[bytes] | None = None
        self._first: list[CpuException] = []
        self._last: deque[CpuException] = deque(maxlen=MAX_EXCEPTIONS)
        self._exceptions = 0
        self._triples: list[TripleFault] = []
        self._third: int | None = None

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the log."""
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        if len(self._partial) > MAX_PARTIAL:
            self._partial = self._partial[-MAX_PARTIAL:]
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        if self._dump is not None:
            self._dump.append(line)
            if line.startswith(_DUMP_END) or len(self._dump) > 40:
                self._exception(self._dump)
                self._dump = None
            return
        match = _TRACE.match(line)
        if match is not None:
            self._event(match)
            return
        if line.startswith(_DUMP_START):
            self._dump = [line]
            return
        match = _HEAD.match(line)
        if match is not None:
            v, e, i, cpl, cs, ip, pc = match.groups()
            if len(self._heads) < 512:
                self._heads.append(
                    (int(v, 16), int(e, 16), int(i), int(cpl), *(int(x, 16) for x in (cs, ip, pc)))
                )
            return
        match = _CHECK.match(line)
        if match is not None:
            if int(match[1], 16) == _DOUBLE_FAULT:
                self._triple(int(match[2], 16))
            return
        if line and not _TIMED.match(line) and not line.startswith(_NOISE):
            self._messages = (self._messages + line + b"\n")[-MAX_MESSAGES:]

    def _event(self, match: re.Match[bytes]) -> None:
        group = match.groupdict()
        tid, time_s = int(match[1]), float(match[2])
        kind, cpu, address, value, region = "", -1, 0, 0, ""
        if group["a7"] or group["a10"]:
            kind = "icr"
            address = int(group["r7"], 16) if group["a7"] else int(group["r10"], 16) << 4
            value = int(group["v7"] or group["v10"], 16)
            if self._by_region:
                # The line of the region came just before, unless this was an MSR (x2APIC).
                seen, self._region = self._region, None
                if seen == (address, value):
                    return
                tid = -1
        elif group["reset7"] or group["reset10"]:
            kind = "reset"
            if group["reset10"]:
                cpu = int(group["reset10"])
        else:
            address, value = int(group["addr"], 16), int(group["value"], 16)
            cpu = int(group["cpu"])
            icr = address - APIC_BASE in (APIC_ICR_LOW, APIC_ICR_HIGH)
            if icr and self._by_region:
                self._region = (address - APIC_BASE, value)
                self._keep(("icr", tid, cpu, address - APIC_BASE, time_s, "", value))
            if not self.keep_io:
                return
            kind, region = "io", (group["name"] or b"").decode("ascii", "replace")
            value |= int(group["size"]) << 64
        self._keep((kind, tid, cpu, address, time_s, region, value))

    def _keep(self, event: tuple[str, int, int, int, float, str, int]) -> None:
        if len(self._raw) >= MAX_EVENTS:
            self.dropped += 1
        else:
            self._raw.append(event)

    def _exception(self, dump: list[bytes]) -> None:
        self._exceptions += 1
        registers = parse_dump(dump)
        # Another processor's line may stand between a head and its dump: match them by address.
        ip = registers.get("rip", -1)
        head = next((h for h in self._heads if h[5] == ip), None)
        if head is None:
            return  # a dump for another reason, such as SMM
        self._heads.remove(head)
        vector, error, software, cpl, cs, offset, pc = head
        record = CpuException(vector, error, bool(software), cpl, cs, offset, pc, registers)
        if len(self._first) < MAX_EXCEPTIONS:
            self._first.append(record)
        else:
            if len(self._last) == MAX_EXCEPTIONS:
                self.dropped += 1
            self._last.append(record)

    def _triple(self, vector: int) -> None:
        taken = {id(t.last) for t in self._triples}
        records = [*self._first, *self._last]
        last = next(
            (r for r in reversed(records) if r.vector == _DOUBLE_FAULT and id(r) not in taken), None
        )
        first = None
        if last is not None:
            for record in reversed(records[: records.index(last)]):
                if record.pc == last.pc and record.registers.get("rsp") == last.registers.get(
                    "rsp"
                ):
                    if record.vector == _DOUBLE_FAULT:
                        break
                    first = record
        if len(self._triples) < MAX_EXCEPTIONS:
            self._triples.append(TripleFault(first, last, vector))

    def events(self) -> tuple[TraceEvent, ...]:
        """What was kept, in the order in which it was logged."""
        out: list[TraceEvent] = []
        by_thread = {tid: cpu for cpu, tid in self.threads.items()}
        high: dict[int, int] = {}
        for kind, tid, index, address, time_s, region, value in self._raw:
            cpu = by_thread.get(tid) if index < 0 else index
            if kind == "reset":
                out.append(CpuReset(cpu, time_s))
            elif kind == "io":
                number, size = value & (1 << 64) - 1, value >> 64
                out.append(IoWrite(index, address, number, size, region, time_s))
            elif address == APIC_ICR_HIGH:
                high[tid if index < 0 else index] = value
                out.append(IcrDest(cpu, value, time_s))
            else:
                # In x2APIC mode one write carries both halves.
                dest = high.get(tid if index < 0 else index, 0) | value >> 32
                out.append(IcrWrite(cpu, value & 0xFFFFFFFF, dest, time_s))
        return tuple(out)

    def exceptions(self) -> tuple[CpuException, ...]:
        """The first and the last exceptions, in order."""
        return (*self._first, *self._last)

    def triple_faults(self) -> tuple[TripleFault, ...]:
        """The triple faults, oldest first."""
        return tuple(self._triples)

    def messages(self) -> str:
        """What QEMU said that is no trace: warnings and errors, the last 8 KiB."""
        text = self._messages + self._partial
        return text.decode("utf-8", "replace").strip()


_TIMED = re.compile(rb"\d+@\d+\.\d+:")
_NOISE = (b"SMM: ", b"Servicing hardware INT", b"check_exception", b"Triple fault")


def parse(text: bytes, *, by_region: bool = False, keep_io: bool = False) -> TraceLog:
    """A whole recorded log at once."""
    log = TraceLog(keep_io=keep_io, by_region=by_region)
    log.feed(text if text.endswith(b"\n") else text + b"\n")
    return log
