"""A small asyncio client for QEMU's debug stub.

Processors are counted from 0, as QEMU does; the stub calls processor N thread `p01.0(N+1)`.

What the stub does, found by experiment on QEMU 7.2.22 and 10.0.13 (tests in grader/tests/machine):

- Any byte sent while the machine runs stops it. So nothing can be sent together with a `vCont`;
  requests to a paused machine can be sent in one batch and are answered in order.
- `vCont;c:p01.02` runs just that processor. All others stand still, however long, also those that
  were sent an INIT or a SIPI meanwhile (they take it when they are resumed).
- A stop stops every processor. Only one is reported, even if several reached a breakpoint. The
  others stand *on* theirs, not behind it, and stop there again at once when resumed: such a stop
  comes later, it is not lost. Stops at watchpoints do get lost: see `Gdb.set_watch`.
- Resuming a processor that stands on a breakpoint stops it there again, but single-stepping ignores
  breakpoints. `resume` therefore steps those off that already reported theirs.
- A stop ends the single-step mode of the thread selected by `Hc` only. If another processor keeps
  it, its next resume is a step, which also ignores breakpoints: so `Hc` goes before every `vCont`
  unless that thread is selected already: a stop selects its thread, as if by `Hc` and `Hg`. Which
  one that is, is sure only if no other could stop too: after a step.
- A stop of which the second half of QEMU's bookkeeping is left over can stop the next resume at
  once. It is gone after one more request, and every stop here is followed by one (the registers).
- Stop replies: `T05thread:p01.02;` (breakpoint, step), with `watch:0000000000107800;` on 7.2 and
  `watch:107800;` on 10, `T02` for an interrupt, `T03` when the machine shut down: there the thread
  means nothing, registers and memory can be read, and `vCont` does nothing and answers nothing.
- Steps mask hardware interrupts and timers (`qqemu.sstep` is 7). An INIT, SIPI or NMI that is
  taken during a step counts as the step: a step that changed no register is tried once more.
- A `hlt` that is stepped, and a step of a halted processor, never report a stop.
- A SIPI that comes after the first is ignored, but it ends a `hlt` (real processors stay halted).
- `p` works only after target.xml was read. The register packet knows no segment bases: in real
  mode `rip` is the offset only. `Registers.linear_pc` adds CS * 16 where that is right.
- QStartNoAckMode is not known, but no acknowledgement need be sent: the next "$" is taken for one.
  A "+" that arrived after a `vCont` would stop the machine, so none is ever sent.
- Interrupt bytes sent to a paused machine are ignored, and so they are when the guest has put the
  machine to sleep (ACPI S3), which is no stop for the stub: `note_suspended` is told by QMP.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from vmmlab.base.errors import InfraError
from vmmlab.machine.limits import Limits
from vmmlab.machine.trace import parse_dump

StopKind = Literal["break", "step", "watch", "interrupt", "halted", "shutdown", "exit"]
Mode = Literal["real", "protected", "long"]

CR0_PE = 1 << 0
CR0_PG = 1 << 31
EFER_LMA = 1 << 10

_GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
_OTHERS = (
    "rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base", "k_gs_base",
    "cr0", "cr2", "cr3", "cr4", "cr8", "efer",
)  # fmt: skip
REGISTER_NAMES = _GENERAL + _OTHERS


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers of one processor while the machine is paused.

    `cs_base` is not read from the machine but concluded, see `linear_pc`.
    """

    cpu: int
    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    rbp: int
    rsp: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int
    eflags: int
    cs: int
    ss: int
    ds: int
    es: int
    fs: int
    gs: int
    fs_base: int
    gs_base: int
    k_gs_base: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cr8: int
    efer: int
    cs_base: int = 0

    def __getitem__(self, name: str) -> int:
        """The register of that name; KeyError if there is none."""
        if name not in REGISTER_NAMES:
            raise KeyError(name)
        value: int = getattr(self, name)
        return value

    def as_dict(self) -> dict[str, int]:
        """All registers by name, in the order of `REGISTER_NAMES`."""
        return {name: getattr(self, name) for name in REGISTER_NAMES}

    @property
    def mode(self) -> Mode:
        """ "real", "protected" or "long" (compatibility mode counts as long)."""
        if not self.cr0 & CR0_PE:
            return "real"
        return "long" if self.efer & EFER_LMA else "protected"

    @property
    def linear_pc(self) -> int:
        """The linear address of the next instruction.

        CS * 16 + IP in real mode, and still so between the setting of CR0.PE and the far jump that
        loads CS anew (Intel SDM vol. 3, 9.9.1). Else flat segments are assumed.
        """
        if self.mode == "long":
            return self.rip
        return (self.cs_base + self.rip) & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the machine stands still.

    Attributes:
        kind: "break"; "step"; "watch"; "interrupt" (asked for); "halted" (a step that cannot end
            because the processor waits for an interrupt); "shutdown" (triple fault, reset or power
            off or sleep, see `reason`; nothing can be resumed); "exit" (QEMU was told to quit).
        cpu: which processor, None for "shutdown" and "exit".
        address: linear address at which that processor stands, None if there is none.
        watch: the data address of a watchpoint.
        registers: of that processor.
        reason: QEMU's word for a shutdown: "guest-reset" (also a triple fault), "guest-shutdown",
            or "guest-suspend".
    """

    kind: StopKind
    cpu: int | None = None
    address: int | None = None
    watch: int | None = None
    registers: Registers | None = None
    reason: str = ""


class GdbError(InfraError):
    """The debug stub refused a request or answered nonsense."""


class MemoryUnreadable(GdbError):
    """That memory cannot be read or written: not mapped, or no RAM there."""


@dataclass(frozen=True)
class _Layout:
    """Where each register is in a `g` reply."""

    codec: struct.Struct
    order: tuple[str, ...]
    size: int
    index: Mapping[str, tuple[int, int]]  # name -> number in the stub, bytes


_SUSPENDED = b"suspended"  # not from the stub
_SIZES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def parse_layout(files: Iterable[str]) -> _Layout:
    """The layout of a `g` reply from the target description files, in order.

    Raises:
        GdbError: a register that is needed is missing.
    """
    offset, number = 0, -1
    places: list[tuple[int, int, str]] = []
    index: dict[str, tuple[int, int]] = {}
    for text in files:
        for tag in re.findall(r"<reg\s([^>]*)>", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)):
            told: dict[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', tag))
            name, bits = told.get("name", ""), int(told.get("bitsize", "0"))
            number = int(told.get("regnum", number + 1))
            if name in REGISTER_NAMES:
                places.append((offset, bits // 8, name))
                index[name] = (number, bits // 8)
            offset += bits // 8
    missing = [name for name in REGISTER_NAMES if name not in index]
    if missing:
        raise GdbError(
            "QEMU describes its registers in a way that is not known.",
            expected="registers of a 64-bit x86 processor",
            found=f"no {', '.join(missing)}",
            next_step="Use qemu-system-x86_64, versions 7.2 to 10.",
        )
    form, at, order = "<", 0, []
    for start, size, name in sorted(places):
        if start > at:
            form += f"{start - at}x"
        form += _SIZES[size]
        order.append(name)
        at = start + size
    return _Layout(struct.Struct(form), tuple(order), at, index)


class _Batch:
    """Requests that were sent together, and their answers."""

    __slots__ = ("console", "future", "replies", "want")

    def __init__(self, want: int, future: asyncio.Future[None]) -> None:
        self.want = want
        self.replies: list[bytes] = []
        self.console = bytearray()
        self.future = future

    def give_up(self) -> None:
        """Wakes whoever waits, whether complete or not."""
        if not self.future.done():
            self.future.set_result(None)


class _Wire(asyncio.Protocol):
    """Packets in and out. Knows nothing of their meaning."""

    def __init__(self, on_unasked: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        self._buffer = b""
        self._batches: deque[_Batch] = deque()
        self._on_unasked = on_unasked
        self._on_lost = on_lost
        self.transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        while self._batches:
            self._batches.popleft().give_up()
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        at = 0
        while True:
            begin = data.find(b"$", at)
            if begin < 0:
                at = len(data)
                break
            end = data.find(b"#", begin)
            if end < 0 or len(data) < end + 3:
                at = begin
                break
            at = end + 3
            self._packet(data[begin + 1 : end])
        self._buffer = data[at:]

    def _packet(self, body: bytes) -> None:
        if body[:1] == b"O" and body != b"OK":
            if self._batches:
                self._batches[0].console += bytes.fromhex(body[1:].decode("ascii"))
            return
        if not self._batches:
            self._on_unasked(body)
            return
        batch = self._batches[0]
        batch.replies.append(body)
        if len(batch.replies) == batch.want:
            self._batches.popleft().give_up()

    def send(self, packets: Iterable[bytes]) -> None:
        assert self.transport is not None
        self.transport.write(b"".join(b"$%b#%02x" % (p, sum(p) & 0xFF) for p in packets))

    def ask(self, packets: tuple[bytes, ...], *, then: tuple[bytes, ...] = ()) -> _Batch:
        """Sends requests, and in the same write `then`, which is not answered at once."""
        batch = _Batch(len(packets), asyncio.get_running_loop().create_future())
        self._batches.append(batch)
        self.send(packets + then)
        return batch


def _unescape(data: bytes) -> bytes:
    if b"}" not in data:
        return data
    out, escaped = bytearray(), False
    for byte in data:
        if escaped:
            out.append(byte ^ 0x20)
            escaped = False
        elif byte == 0x7D:
            escaped = True
        else:
            out.append(byte)
    return bytes(out)


@dataclass
class GdbCounts:
    """How often the rare things happened; for tests and benchmarks."""

    stops: int = 0
    steps: int = 0
    repeated_steps: int = 0
    spurious_stops: int = 0
    stepped_off: int = 0


@dataclass
class _Points:
    """Break- and watchpoints that are set."""

    breaks: set[int] = field(default_factory=set)
    watches: dict[int, int] = field(default_factory=dict)  # address -> bytes


@dataclass
class _Selected:
    """What the stub takes the next requests to mean; None where that is not known."""

    asked: int | None = None  # whose registers and linear addresses: Hg
    continued: int | None = None  # whose single-step mode a stop ends: Hc
    physical: bool | None = None  # whether addresses are physical: Qqemu.PhyMemMode


class Gdb:
    """One connection to the stub. Made by `Machine`; requests need a paused machine.

    All methods raise `MachineDied` (an InfraError) when QEMU is gone and `GdbError` when it refuses
    or does not answer within `limits.reply_s`.
    """

    def __init__(
        self,
        cpus: int,
        *,
        limits: Limits,
        died: Callable[[], Awaitable[Exception]],
        shutdown_reason: Callable[[], Awaitable[str]],
    ) -> None:
        self.cpus = cpus
        self.limits = limits
        self.counts = GdbCounts()
        self._died = died
        self._shutdown_reason = shutdown_reason
        self._wire = _Wire(self._unasked, self._lost)
        self._layout: _Layout | None = None
        self._packet_size = 0x1000
        self._points = _Points()
        self._running: frozenset[int] | None = None
        self._stepping: int | None = None
        self._raw_stop: bytes | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ready: Stop | None = None
        self._ended: Stop | None = None
        self._on_break: dict[int, int] = {}
        self._known: dict[int, Registers] = {}
        self._real_cs: dict[int, int] = {}
        self._turn = -1
        self._selected = _Selected()
        self._memory: dict[tuple[int, int], bytes] = {}  # physical, as it is until somebody runs
        self._peek: tuple[tuple[int, int], ...] = ()

    # connection

    async def connect(self, sock: socket.socket) -> None:
        """Takes over `sock`, whose other end is QEMU, and learns the register layout."""
        await asyncio.get_running_loop().create_connection(lambda: self._wire, sock=sock)
        features = (await self._ask(b"qSupported:multiprocess+;vContSupported+", first=True))[0]
        match = re.search(rb"PacketSize=([0-9a-fA-F]+)", features)
        if match is not None:
            self._packet_size = int(match[1], 16)
        main = await self._feature("target.xml")
        names = re.findall(r'<xi:include href="([^"]+)"', main)
        files = await asyncio.gather(*(self._feature(name) for name in names))
        self._layout = parse_layout([main, *files])

    async def _feature(self, name: str) -> str:
        text, step = b"", min(self._packet_size, 0x1000) - 16
        while True:
            packet = f"qXfer:features:read:{name}:{len(text):x},{step:x}".encode("ascii")
            body = (await self._ask(packet))[0]
            if body[:1] not in (b"m", b"l"):
                raise GdbError(f"QEMU's debug stub does not describe {name}.", found=repr(body))
            text += _unescape(body[1:])
            if body[:1] == b"l":
                return text.decode("utf-8")

    def close(self) -> None:
        """Ends the connection; QEMU is not told to do anything."""
        if self._wire.transport is not None:
            self._wire.transport.abort()

    def _lost(self) -> None:
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _ask(self, *packets: bytes, first: bool = False) -> list[bytes]:
        self._must_stand_still()
        return (await self._batch(packets, first=first)).replies

    def _must_stand_still(self) -> None:
        if self._running is not None:
            raise RuntimeError("the machine runs: wait() or interrupt() before asking it anything")

    async def _batch(self, packets: tuple[bytes, ...], *, first: bool = False) -> _Batch:
        if self._wire.lost:
            raise await self._died()
        batch = self._wire.ask(packets)
        patience_s = self.limits.start_s if first else self.limits.reply_s
        timer = asyncio.get_running_loop().call_later(patience_s, batch.give_up)
        try:
            await batch.future
        finally:
            timer.cancel()
        if len(batch.replies) < batch.want:
            if self._wire.lost:
                raise await self._died()
            raise GdbError(
                "QEMU's debug stub does not answer.",
                expected=f"an answer within {patience_s:g} s",
                found="nothing",
                next_step="The host may be overloaded: try again.",
            )
        return batch

    def note_suspended(self) -> None:
        """The guest put the machine to sleep, of which the stub says nothing: taken as its end."""
        self._unasked(_SUSPENDED)

    # state

    @property
    def running(self) -> bool:
        """Whether some processor may be executing."""
        return self._running is not None

    @property
    def ended(self) -> Stop | None:
        """The stop after which nothing can be resumed, or None."""
        return self._ended

    @property
    def breakpoints(self) -> frozenset[int]:
        """Linear addresses of the breakpoints that are set."""
        return frozenset(self._points.breaks)

    # registers

    def _thread(self, cpu: int) -> bytes:
        if not 0 <= cpu < self.cpus:
            raise ValueError(f"no CPU {cpu}: this machine has CPUs 0 to {self.cpus - 1}")
        return b"p01.%02x" % (cpu + 1)

    def _decode(self, cpu: int, body: bytes) -> Registers:
        assert self._layout is not None
        layout = self._layout
        if len(body) < 2 * layout.size:
            raise GdbError(f"CPU {cpu}: QEMU gave no registers.", found=repr(body[:40]))
        data = bytes.fromhex(body[: 2 * layout.size].decode("ascii"))
        values = dict(zip(layout.order, layout.codec.unpack(data), strict=True))
        base = 0
        if not values["cr0"] & CR0_PE:
            self._real_cs[cpu] = values["cs"]
            # Reset puts the base of CS to 0xffff0000 (Intel SDM vol. 3, 9.1.4).
            at_reset = values["cs"] == 0xF000 and values["rip"] == 0xFFF0
            base = 0xFFFF0000 if at_reset else values["cs"] << 4
        elif not values["efer"] & EFER_LMA and self._real_cs.get(cpu) == values["cs"]:
            base = values["cs"] << 4  # PE is set, CS is not yet loaded anew
        registers = Registers(cpu=cpu, cs_base=base, **values)
        self._known[cpu] = registers
        return registers

    async def registers(self, cpu: int) -> Registers:
        """The registers of one processor."""
        if self._running is None and cpu in self._known:
            return self._known[cpu]
        return (await self._read([cpu]))[0]

    async def all_registers(self) -> tuple[Registers, ...]:
        """The registers of all processors, in one round trip."""
        if self._running is None and len(self._known) == self.cpus:
            return tuple(self._known[cpu] for cpu in range(self.cpus))
        return tuple(await self._read(list(range(self.cpus))))

    async def _read(
        self, cpus: list[int], peek: tuple[tuple[int, int], ...] = ()
    ) -> list[Registers]:
        packets: list[bytes] = []
        wanted: list[int] = []
        for cpu in cpus:
            packets += self._ask_of(cpu)
            wanted.append(len(packets))
            packets.append(b"g")
        if peek:
            packets += self._addresses(physical=True)
        first = len(packets)
        packets += [b"m%x,%x" % one for one in peek]
        replies = await self._ask(*packets)
        for (address, size), body in zip(peek, replies[first:], strict=True):
            if len(body) == 2 * size:
                self._memory[address, size] = bytes.fromhex(body.decode("ascii"))
        return [self._decode(cpu, replies[at]) for at, cpu in zip(wanted, cpus, strict=True)]

    # What has to be said first, and then is taken as said: call these where the packets are made.

    def _ask_of(self, cpu: int) -> tuple[bytes, ...]:
        self._must_stand_still()
        if self._selected.asked == cpu:
            return ()
        self._selected.asked = cpu
        return (b"Hg" + self._thread(cpu),)

    def _addresses(self, *, physical: bool) -> tuple[bytes, ...]:
        self._must_stand_still()
        if self._selected.physical is physical:
            return ()
        self._selected.physical = physical
        return (b"Qqemu.PhyMemMode:%d" % physical,)

    async def write_register(self, cpu: int, name: str, value: int) -> None:
        """Sets one register (`name` of `REGISTER_NAMES`)."""
        await self.write_registers(cpu, {name: value})

    async def write_registers(self, cpu: int, values: Mapping[str, int]) -> None:
        """Sets registers, by the names of `REGISTER_NAMES`, in one round trip."""
        assert self._layout is not None
        packets = []
        for name, value in values.items():
            if name not in self._layout.index:
                raise ValueError(f"no register {name!r}")
            number, size = self._layout.index[name]
            data = (value & (1 << 8 * size) - 1).to_bytes(size, "little").hex().encode("ascii")
            packets.append(b"P%x=%b" % (number, data))
        before = self._ask_of(cpu)
        replies = (await self._ask(*before, *packets))[len(before) :]
        for name, reply in zip(values, replies, strict=True):
            if reply != b"OK":
                message = f"QEMU does not let {name} of CPU {cpu} be written."
                raise GdbError(message, found=repr(reply))
        self._known.pop(cpu, None)
        if "rip" in values or "cs" in values:
            self._on_break.pop(cpu, None)

    async def describe(self, cpu: int) -> dict[str, int]:
        """What `info registers` of the monitor tells, also "cs_base", "idt_limit", "hlt"."""
        text = await self.monitor(f"info registers {cpu}")
        return parse_dump(text.encode("ascii", "replace").splitlines())

    async def monitor(self, command: str) -> str:
        """The output of a human monitor command, machine paused."""
        self._must_stand_still()
        batch = await self._batch((b"qRcmd," + command.encode("utf-8").hex().encode("ascii"),))
        if batch.replies[0] != b"OK":
            raise GdbError(f"QEMU refused the monitor command {command!r}.")
        self._known.clear()
        return batch.console.decode("utf-8", "replace")

    # memory

    async def read_phys(self, address: int, count: int) -> bytes:
        """`count` bytes of physical memory. Keep off device registers: reading may change them.

        Read again before anybody has run or written, it costs nothing.

        Raises:
            MemoryUnreadable: nothing is there.
        """
        self._must_stand_still()
        if (found := self._memory.get((address, count))) is None:
            before = self._addresses(physical=True)
            found = await self._read_memory("physical", address, count, before)
            self._memory[address, count] = found
        return found

    async def peek(self, ranges: Iterable[tuple[int, int]]) -> None:
        """All registers and some physical memory, in one round trip.

        Reading just these takes no time then, until somebody runs.

        Args:
            ranges: physical addresses and sizes in bytes; what is not there is passed over.
        """
        await self._read(list(range(self.cpus)), tuple(ranges))

    async def write_phys(self, address: int, data: bytes) -> None:
        """Writes physical memory; raises MemoryUnreadable if nothing is there."""
        await self._write_memory("physical", address, data, self._addresses(physical=True))

    async def read_virt(self, cpu: int, address: int, count: int) -> bytes:
        """`count` bytes at a linear address, through the page tables that `cpu` uses now.

        Raises:
            MemoryUnreadable: some of it is not mapped.
        """
        before = (*self._addresses(physical=False), *self._ask_of(cpu))
        return await self._read_memory("linear", address, count, before)

    async def write_virt(self, cpu: int, address: int, data: bytes) -> None:
        """Writes at a linear address; raises MemoryUnreadable if it is not mapped."""
        before = (*self._addresses(physical=False), *self._ask_of(cpu))
        await self._write_memory("linear", address, data, before)

    async def _read_memory(
        self, kind: str, address: int, count: int, before: tuple[bytes, ...]
    ) -> bytes:
        chunk = min(self._packet_size, 0x1000) // 2 - 8
        parts = [(at, min(chunk, count - at)) for at in range(0, count, chunk)]
        requests = [b"m%x,%x" % (address + at, size) for at, size in parts]
        replies = await self._ask(*before, *requests)
        out = bytearray()
        for (at, size), body in zip(parts, replies[len(before) :], strict=True):
            if len(body) != 2 * size:
                raise _unreadable("read", kind, address + at, size)
            out += bytes.fromhex(body.decode("ascii"))
        return bytes(out)

    async def _write_memory(
        self, kind: str, address: int, data: bytes, before: tuple[bytes, ...]
    ) -> None:
        chunk = min(self._packet_size, 0x1000) // 2 - 32
        requests = []
        for at in range(0, len(data), chunk):
            part = data[at : at + chunk]
            text = part.hex().encode("ascii")
            requests.append(b"M%x,%x:%b" % (address + at, len(part), text))
        self._memory.clear()
        replies = await self._ask(*before, *requests)
        for at, body in enumerate(replies[len(before) :]):
            if body != b"OK":
                raise _unreadable("write", kind, address + at * chunk, chunk)

    # break- and watchpoints

    async def set_break(self, address: int) -> None:
        """Stops any processor that is about to execute at this linear address."""
        if address not in self._points.breaks:
            await self._point(b"Z1,%x,1" % address)
            self._points.breaks.add(address)

    async def clear_break(self, address: int) -> None:
        """Undoes `set_break`. A processor standing there unreported is then never reported."""
        if address in self._points.breaks:
            await self._point(b"z1,%x,1" % address)
            self._points.breaks.discard(address)

    async def set_breaks(self, addresses: Iterable[int]) -> None:
        """Several breakpoints in one round trip."""
        new = [a for a in dict.fromkeys(addresses) if a not in self._points.breaks]
        await self._point(*(b"Z1,%x,1" % a for a in new))
        self._points.breaks.update(new)

    async def clear_breaks(self, addresses: Iterable[int]) -> None:
        """Undoes several breakpoints in one round trip."""
        old = [a for a in dict.fromkeys(addresses) if a in self._points.breaks]
        await self._point(*(b"z1,%x,1" % a for a in old))
        self._points.breaks.difference_update(old)

    async def set_watch(self, address: int, count: int) -> None:
        """Stops after a processor has written to one of `count` bytes at this linear address.

        Reliable only while one processor runs at a time (`resume([cpu])`, `wait_by_turns`). If
        several write at the same moment, only one is reported, the others are never, and a later
        stop may come one instruction early (both versions, both threadings; measured: of 600 stops
        about as many again were lost).
        """
        await self._point(b"Z2,%x,%x" % (address, count))
        self._points.watches[address] = count

    async def clear_watch(self, address: int) -> None:
        """Undoes `set_watch`."""
        count = self._points.watches.pop(address, None)
        if count is not None:
            await self._point(b"z2,%x,%x" % (address, count))

    async def _point(self, *packets: bytes) -> None:
        if not packets:
            return
        for packet, reply in zip(packets, await self._ask(*packets), strict=True):
            if reply != b"OK":
                raise GdbError(
                    "QEMU refused a break- or watchpoint.",
                    expected=f"OK for {packet.decode()}",
                    found=repr(reply),
                )

    async def standing_at(self, address: int) -> tuple[int, ...]:
        """The processors whose next instruction is at this linear address."""
        return tuple(r.cpu for r in await self.all_registers() if r.linear_pc == address)

    # running

    async def resume(self, cpus: Iterable[int] | None = None) -> None:
        """Lets just these processors run (None: all); `wait` tells how it ends.

        A processor that stands on a breakpoint that it already reported is stepped off it first.
        Does nothing if the machine has ended: `wait` then returns that stop.
        """
        self._must_be_paused()
        if self._ended is not None or self._ready is not None:
            return
        who = frozenset(range(self.cpus)) if cpus is None else frozenset(cpus)
        for cpu in who:
            self._thread(cpu)
        if not who:
            raise ValueError("resume() of no processor at all would never stop")
        for cpu in sorted(who):
            if self._on_break.get(cpu) in self._points.breaks:
                stop = await self._step(cpu)
                self.counts.stepped_off += 1
                if stop.kind not in ("step", "halted"):
                    self._ready = stop
                    return
        for cpu in who:
            self._on_break.pop(cpu, None)
        self._go(who)

    def _must_be_paused(self) -> None:
        if self._running is not None:
            raise RuntimeError("the machine already runs")

    def _go(self, who: frozenset[int], action: bytes = b"c") -> None:
        if len(who) == self.cpus and action == b"c":
            packet = b"vCont;c"
        else:
            packet = b"vCont" + b"".join(b";%b:%b" % (action, self._thread(c)) for c in sorted(who))
        self._running = who
        self._stepping = next(iter(who)) if action == b"s" else None
        self._known.clear()
        self._memory.clear()
        self._raw_stop = None
        # The stub ends the stepping mode of its "c" thread only.
        first = min(who)
        if self._selected.continued == first:
            self._wire.send((packet,))
        else:
            self._wire.ask((b"Hc" + self._thread(first),), then=(packet,))
        self._selected.asked = self._selected.continued = None

    def _unasked(self, body: bytes) -> None:
        if self._running is not None and self._raw_stop is None:
            self._raw_stop = body
            self._wake()

    async def wait(self, timeout_s: float | None = None) -> Stop | None:
        """The next stop, or None if there is none within `timeout_s`: the machine then still runs.

        Args:
            timeout_s: default `limits.quiet_s`.
        """
        if self._ready is not None:
            stop, self._ready = self._ready, None
            return stop
        if self._ended is not None:
            return self._ended
        if self._running is None:
            raise RuntimeError("the machine stands still: resume() before wait()")
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.limits.quiet_s if timeout_s is None else timeout_s)
        while True:
            who = self._running
            body = await self._wait_raw(end - loop.time())
            if body is None:
                return None
            found = await self._digest(body)
            if found is not None:
                return found
            self.counts.spurious_stops += 1
            self._go(who)

    async def _wait_raw(self, timeout_s: float) -> bytes | None:
        if self._raw_stop is None and not self._wire.lost:
            if timeout_s <= 0:
                await asyncio.sleep(0)
            else:
                if self._waiter is not None:
                    raise RuntimeError("two tasks wait for the same machine")
                loop = asyncio.get_running_loop()
                self._waiter = loop.create_future()
                timer = loop.call_later(timeout_s, self._wake)
                try:
                    await self._waiter
                finally:
                    timer.cancel()
                    self._waiter = None
        if self._raw_stop is None and self._wire.lost:
            raise await self._died()
        return self._raw_stop

    async def _digest(self, body: bytes) -> Stop | None:
        """What a stop reply means; None for one without a cause."""
        who, self._running = self._running, None
        self.counts.stops += 1
        try:
            return await self._classify(body, who or frozenset())
        except asyncio.CancelledError:
            self._running = who  # the reply is still there for the next wait()
            raise

    async def _classify(self, body: bytes, who: frozenset[int]) -> Stop | None:
        if body == _SUSPENDED:
            self._ended = Stop("shutdown", reason=await self._shutdown_reason())
            return self._ended
        match = re.match(rb"T([0-9a-f]{2})(?:thread:p[0-9a-f]+\.([0-9a-f]+);)?(.*)", body)
        if match is None or match[2] is None:
            if body[:1] in (b"W", b"X"):
                self._ended = Stop("exit", reason="QEMU exited")
                return self._ended
            raise GdbError("QEMU's debug stub sent a stop that is not known.", found=repr(body))
        signal, cpu = int(match[1], 16), int(match[2], 16) - 1
        if signal not in (2, 5):
            # 3: shut down. Others: internal error, panic device, …: all are the end.
            self._ended = Stop("shutdown", reason=await self._shutdown_reason())
            return self._ended
        if cpu == self._stepping and signal == 5:
            self._selected.asked = self._selected.continued = cpu
        registers = (await self._read([cpu], self._peek))[0]
        pc = registers.linear_pc
        if signal == 2:
            return Stop("interrupt", cpu, pc, registers=registers)
        watch = re.search(rb"[ar]?watch:([0-9a-f]+);", match[3])
        if watch is not None:
            return Stop("watch", cpu, pc, watch=int(watch[1], 16), registers=registers)
        if cpu == self._stepping:
            return Stop("step", cpu, pc, registers=registers)
        return await self._break(cpu, who)

    async def _break(self, cpu: int, who: frozenset[int]) -> Stop | None:
        order = [cpu, *sorted(who - {cpu})]
        for candidate in order:
            registers = await self.registers(candidate)
            if candidate in who and registers.linear_pc in self._points.breaks:
                break
        else:
            # CS may have a base that the register packet does not tell: ask precisely.
            for candidate in order:
                told = await self.describe(candidate)
                pc = told.get("cs_base", 0) + told.get("rip", 0)
                if candidate in who and pc in self._points.breaks:
                    registers = replace(
                        await self.registers(candidate), cs_base=told.get("cs_base", 0)
                    )
                    self._known[candidate] = registers
                    break
            else:
                return None
        address = registers.linear_pc
        self._on_break[candidate] = address
        return Stop("break", candidate, address, registers=registers)

    async def step(self, cpu: int, *, peek: Iterable[tuple[int, int]] = ()) -> Stop:
        """Executes one instruction on one processor, all others stand still.

        A step that arrives at a breakpoint is a step; the breakpoint is reported by the next
        `resume`.

        Args:
            cpu: the processor.
            peek: physical addresses and sizes in bytes that will be read next: they come together
                with the registers, and `read_phys` of just these takes no time.

        Returns:
            Stop of kind "step", or "watch", "shutdown", or "halted" when the processor waits for
            an interrupt (it may have executed `hlt` just now: compare `address`).
        """
        self._must_be_paused()
        if self._ended is not None:
            return self._ended
        if self._ready is not None:
            raise RuntimeError("a stop is waiting to be fetched with wait()")
        self._peek = tuple(peek)
        try:
            return await self._step(cpu)
        finally:
            self._peek = ()

    async def _step(self, cpu: int) -> Stop:
        before = await self.registers(cpu)
        self.counts.steps += 1
        stop = await self._step_once(cpu, before)
        if stop.kind == "step" and stop.registers == before:
            # An INIT, SIPI or the like was taken instead, or this is a jump to itself.
            self.counts.repeated_steps += 1
            stop = await self._step_once(cpu, before)
        self._on_break.pop(cpu, None)
        return stop

    async def _step_once(self, cpu: int, before: Registers) -> Stop:
        patience_s = self.limits.step_s
        loop = asyncio.get_running_loop()
        end = loop.time() + self.limits.quiet_s
        stop: Stop | None
        while True:
            self._go(frozenset((cpu,)), b"s")
            body = await self._wait_raw(patience_s)
            stop = await self.interrupt() if body is None else await self._digest(body)
            if stop is not None and stop.kind != "interrupt":
                return stop
            # No stop in time: halted, or the host is busy. Did it execute?
            now = await self.registers(cpu)
            if (await self.describe(cpu)).get("hlt"):
                return Stop("halted", cpu, now.linear_pc, registers=now)
            if now != before:
                return Stop("step", cpu, now.linear_pc, registers=now)
            if loop.time() > end:
                raise GdbError(
                    f"CPU {cpu} does not execute a single instruction.",
                    expected=f"one instruction within {self.limits.quiet_s:g} s",
                    found=f"still at {now.linear_pc:#x}",
                    next_step="The host may be overloaded: try again.",
                )
            patience_s = min(patience_s * 4, 1.0)

    async def wait_by_turns(
        self,
        cpus: Iterable[int] | None = None,
        *,
        slice_s: float = 0.001,
        timeout_s: float | None = None,
    ) -> Stop | None:
        """Runs the processors one at a time, each for about `slice_s`, until one stops.

        The way to use watchpoints with several processors. Unlike after `wait`, the machine is
        paused afterwards in every case.

        Returns:
            The stop, or None if there was none within `timeout_s` (default `limits.quiet_s`).
        """
        self._must_be_paused()
        order = list(range(self.cpus)) if cpus is None else list(cpus)
        if not order:
            raise ValueError("wait_by_turns() of no processor at all would never stop")
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.limits.quiet_s if timeout_s is None else timeout_s)
        while loop.time() < end:
            self._turn += 1
            await self.resume([order[self._turn % len(order)]])
            stop = await self.wait(slice_s) or await self.interrupt()
            if stop.kind != "interrupt":
                return stop
        return None

    async def interrupt(self) -> Stop:
        """Stops a running machine. Another stop that came first is returned instead."""
        if self._running is None:
            raise RuntimeError("the machine stands still already")
        if self._raw_stop is None and not self._wire.lost:
            assert self._wire.transport is not None
            self._wire.transport.write(b"\x03")
        body = await self._wait_raw(self.limits.reply_s)
        if body is None:
            raise GdbError(
                "QEMU does not stop when asked to.",
                expected=f"a stop within {self.limits.reply_s:g} s",
                found="nothing",
                next_step="The host may be overloaded: try again.",
            )
        who = self._running
        found = await self._digest(body)
        return found if found is not None else Stop("interrupt", min(who))


def _unreadable(verb: str, kind: str, address: int, size: int) -> MemoryUnreadable:
    return MemoryUnreadable(
        f"Cannot {verb} {size} bytes of memory at {kind} address {address:#x}.",
        expected="memory that is mapped",
        found="QEMU refused",
    )
