"""The debug client with a stub whose answers the test chooses, nonsense among them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from machine_helpers import asynced

from vmmlab.machine import Gdb, Limits, MachineDied
from vmmlab.machine.gdb import REGISTER_NAMES, GdbError, MemoryUnreadable

TARGET = "".join(f'<reg name="{n}" bitsize="64"/>' for n in REGISTER_NAMES)


class FakeStub:
    """Answers requests like QEMU; `stops` are the replies to the next resumes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.log: list[str] = []
        self.stops: list[str] = []
        self.pc = [0x1000, 0x2000]
        self.cs_base = 0
        self.answers: dict[str, str] = {}
        self.silent = False
        self.ends = False
        self.strays = b""
        self.thread = 0

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        buffer = b""
        while data := await loop.sock_recv(self.sock, 65536):
            buffer += data
            while match := re.search(rb"\x03|\$([^#]*)#..", buffer):
                self.strays += buffer[: match.start()]
                buffer = buffer[match.end() :]
                text = match[1].decode() if match[1] is not None else "\x03"
                self.log.append(text)
                for answer in self.answer(text):
                    frame = b"+$" + answer.encode() + b"#%02x" % (sum(answer.encode()) & 0xFF)
                    await loop.sock_sendall(self.sock, frame)

    def answer(self, text: str) -> list[str]:
        if self.silent:
            return []
        for start, reply in self.answers.items():
            if text.startswith(start):
                return [reply]
        if text.startswith("qSupported"):
            return ["PacketSize=1000;qXfer:features:read+"]
        if text.startswith("qXfer"):
            offset, size = (int(x, 16) for x in text.rpartition(":")[2].split(","))
            part = TARGET[offset : offset + size]
            return [("l" if offset + size >= len(TARGET) else "m") + part]
        if text.startswith("Hg"):
            self.thread = int(text.rpartition(".")[2], 16) - 1
        if text == "g":
            values = dict.fromkeys(REGISTER_NAMES, 0) | {"cr0": 1, "rip": self.pc[self.thread]}
            return ["".join(v.to_bytes(8, "little").hex() for v in values.values())]
        if text.startswith("vCont") or text == "\x03":
            return [self.stops.pop(0)] if self.stops else []
        if text.startswith("m"):
            return ["00" * int(text.partition(",")[2], 16)]
        if text.startswith("qRcmd"):
            where = self.pc[int(bytes.fromhex(text[6:]).decode().split()[-1])]
            told = f"EIP={where:08x} EFL=2\nCS =0008 {self.cs_base:08x} ffffffff\nEFER=0\n"
            return ["O" + told.encode().hex(), "OK"]
        return ["OK"]


@contextlib.asynccontextmanager
async def connected(limits: Limits | None = None) -> AsyncIterator[tuple[Gdb, FakeStub]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    async def died() -> Exception:
        return MachineDied("gone")

    async def reason() -> str:
        return "guest-reset"

    stub = FakeStub(theirs)
    server = asyncio.ensure_future(stub.serve())
    gdb = Gdb(
        2,
        limits=limits or Limits(quiet_s=1),
        died=died,
        shutdown_reason=reason,
        ending=lambda: stub.ends,
    )
    await gdb.connect(ours)
    try:
        yield gdb, stub
    finally:
        server.cancel()
        gdb.close()
        theirs.close()
        await asyncio.sleep(0)


@asynced
async def test_a_stop_without_a_cause_is_not_reported() -> None:
    async with connected() as (gdb, stub):
        await gdb.set_break(0x3000)
        stub.stops = ["T05thread:p01.01;", "T05thread:p01.02;"]
        await gdb.resume()
        assert await gdb.wait(0.1) is None
        assert gdb.counts.spurious_stops == 2
        assert gdb.running
        assert stub.log.count("vCont;c") == 3
        stub.pc[1] = 0x3000
        stub.stops = ["T02thread:p01.01;"]
        assert (await gdb.interrupt()).kind == "interrupt"


@asynced
async def test_a_breakpoint_in_a_machine_that_ends_is_its_end() -> None:
    """QEMU reports the breakpoint of another processor, and could be resumed."""
    async with connected() as (gdb, stub):
        await gdb.set_break(0x2000)
        stub.stops, stub.ends = ["T05thread:p01.02;"], True
        await gdb.resume()
        stop = await gdb.wait(5)
        assert stop is not None
        assert (stop.kind, stop.reason) == ("shutdown", "guest-reset")
        assert gdb.ended == stop


@asynced
async def test_the_one_that_stands_on_a_breakpoint_is_the_one() -> None:
    """QEMU's reply names the processor that was last."""
    async with connected() as (gdb, stub):
        await gdb.set_break(0x2000)
        stub.stops = ["T05thread:p01.01;"]
        await gdb.resume()
        stop = await gdb.wait(5)
        assert stop is not None
        assert (stop.kind, stop.cpu, stop.address) == ("break", 1, 0x2000)


@asynced
async def test_a_frozen_processor_on_a_breakpoint_is_not_the_one() -> None:
    async with connected() as (gdb, stub):
        await gdb.set_break(0x2000)
        stub.stops = ["T05thread:p01.01;"]
        await gdb.resume([0])
        assert await gdb.wait(0.1) is None
        assert gdb.counts.spurious_stops == 1


@asynced
async def test_a_code_segment_that_is_not_flat() -> None:
    async with connected() as (gdb, stub):
        stub.cs_base = 0xF0000
        await gdb.set_break(0xF1000)
        stub.stops = ["T05thread:p01.01;"]
        await gdb.resume()
        stop = await gdb.wait(5)
        assert stop is not None
        assert (stop.kind, stop.cpu, stop.address) == ("break", 0, 0xF1000)


@asynced
async def test_both_spellings_of_a_watch_stop() -> None:
    async with connected() as (gdb, stub):
        stub.stops = [
            "T05thread:p01.02;watch:0000000000107800;",
            "T05thread:p01.02;watch:107800;",
            "T05thread:p01.02;watch:0;",
        ]
        for expected in (0x107800, 0x107800, 0):
            await gdb.resume()
            stop = await gdb.wait(5)
            assert stop is not None
            assert (stop.kind, stop.cpu, stop.watch) == ("watch", 1, expected)


@pytest.mark.parametrize("reply", ["T03thread:p01.02;", "T8fthread:p01.01;", "T06thread:p01.01;"])
@asynced
async def test_every_other_signal_is_the_end(reply: str) -> None:
    async with connected() as (gdb, stub):
        stub.stops = [reply]
        await gdb.resume()
        stop = await gdb.wait(5)
        assert stop is not None
        assert (stop.kind, stop.cpu, stop.reason) == ("shutdown", None, "guest-reset")
        await gdb.resume()
        assert await gdb.wait() == stop


@asynced
async def test_qemu_told_to_quit() -> None:
    async with connected() as (gdb, stub):
        stub.stops = ["W63"]
        await gdb.resume()
        stop = await gdb.wait(5)
        assert stop is not None
        assert stop.kind == "exit"


@asynced
async def test_asleep() -> None:
    async with connected() as (gdb, _):
        await gdb.resume()
        gdb.note_suspended()
        stop = await gdb.wait(5)
        assert stop is not None
        assert stop.kind == "shutdown"


@asynced
async def test_a_stop_that_makes_no_sense() -> None:
    async with connected() as (gdb, stub):
        stub.stops = ["nonsense"]
        await gdb.resume()
        with pytest.raises(GdbError, match="unknown stop reply"):
            await gdb.wait(5)


@asynced
async def test_a_step_that_changed_nothing_is_tried_once_more() -> None:
    async with connected() as (gdb, stub):
        stub.stops = ["T05thread:p01.02;"] * 2
        stop = await gdb.step(1)
        assert (stop.kind, stop.cpu) == ("step", 1)
        assert stub.log.count("vCont;s:p01.02") == 2
        assert "Hcp01.02" in stub.log
        assert gdb.counts.repeated_steps == 1


@asynced
async def test_no_acknowledgement_is_ever_sent() -> None:
    async with connected() as (gdb, stub):
        await gdb.all_registers()
        stub.stops = ["T05thread:p01.01;"] * 2
        await gdb.step(0)
        assert stub.strays == b""


@pytest.mark.parametrize(
    ("request_of", "start", "reply", "error"),
    [
        (lambda g: g.set_break(0), "Z1", "E22", "breakpoint"),
        (lambda g: g.set_break(0), "Z1", "", "breakpoint"),
        (lambda g: g.registers(0), "g", "E22", "no registers"),
        (lambda g: g.write_register(0, "rip", 1), "P", "E14", "rip of CPU 0"),
        (lambda g: g.monitor("nonsense"), "qRcmd", "", "monitor command"),
        (lambda g: g.read_phys(0x1234, 4), "m", "E14", "4 bytes .* physical address 0x1234"),
        (lambda g: g.read_phys(0x1234, 4), "m", "00", "0x1234"),
        (lambda g: g.write_virt(1, 0x1234, b"abc"), "M", "E14", "linear address 0x1234"),
    ],
)
@asynced
async def test_refusals(
    request_of: Callable[[Gdb], object], start: str, reply: str, error: str
) -> None:
    async with connected() as (gdb, stub):
        stub.answers[start] = reply
        pending = request_of(gdb)
        assert asyncio.iscoroutine(pending)
        with pytest.raises(GdbError, match=error) as caught:
            await pending
        assert isinstance(caught.value, MemoryUnreadable) == (start in "mM")
        assert caught.value.exit_code == 3
        assert gdb.breakpoints == frozenset()


@asynced
async def test_no_answer() -> None:
    async with connected(Limits(reply_s=0.05, quiet_s=1)) as (gdb, stub):
        stub.silent = True
        with pytest.raises(GdbError, match="does not answer"):
            await gdb.registers(0)
        await gdb.resume()
        with pytest.raises(GdbError, match="does not stop"):
            await gdb.interrupt()


@asynced
async def test_the_other_end_is_gone() -> None:
    async with connected() as (gdb, stub):
        await gdb.resume()
        waiting = asyncio.ensure_future(gdb.wait(10))
        await asyncio.sleep(0)
        stub.sock.shutdown(socket.SHUT_RDWR)
        with pytest.raises(MachineDied):
            await waiting
        with pytest.raises(MachineDied):
            await gdb.interrupt()
    async with connected() as (gdb, stub):
        stub.silent = True
        asking = asyncio.ensure_future(gdb.registers(0))
        await asyncio.sleep(0)
        stub.sock.shutdown(socket.SHUT_RDWR)
        with pytest.raises(MachineDied):
            await asking
        with pytest.raises(MachineDied):
            await gdb.registers(0)


@asynced
async def test_large_memory_is_read_in_one_batch() -> None:
    async with connected() as (gdb, stub):
        assert await gdb.read_virt(1, 0x1000, 10_000) == bytes(10_000)
        requests = [line for line in stub.log if line.startswith("m")]
        assert len(requests) == 5
        assert all(int(r.partition(",")[2], 16) <= 2048 for r in requests)
