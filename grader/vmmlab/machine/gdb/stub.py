"""Requests to the debug stub of a paused machine, and what earlier requests have selected there.

Facts about the stub, found by experiment on QEMU 7.2.22 and 10.0.13:

- Any byte that is sent while the machine runs stops it. So nothing can be sent together with a
  `vCont`, and every request first makes sure that the machine is paused.
- Processor N is thread `p01.0(N+1)`.
- `p` works only after target.xml was read.
- A stop ends the single-step mode of only one processor: the one that `Hc` selected. If another one
  keeps that mode, its next resume is a step, which also ignores breakpoints. So `Hc` goes before
  every `vCont` unless that processor is selected already.
- A stop selects its processor as if by `Hc` and `Hg`. Which processor that is can be told only if
  no other one could have stopped too: after a step.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vmmlab.base.message import msg
from vmmlab.machine.gdb.errors import GdbError
from vmmlab.machine.gdb.registers import RegisterLayout, parse_layout
from vmmlab.machine.gdb.wire import Batch, Wire, unescape
from vmmlab.machine.limits import Limits

_MOST_PACKET = 0x1000


@dataclass
class _Selected:
    """What the stub applies the next requests to; None where that is not known.

    Attributes:
        asked: the processor whose registers and linear addresses are meant (`Hg`).
        continued: the processor whose single-step mode a stop ends (`Hc`).
        physical: whether addresses are physical (`Qqemu.PhyMemMode`).
    """

    asked: int | None = None
    continued: int | None = None
    physical: bool | None = None


class Stub:
    """One connection to the stub.

    Args:
        cpus: number of processors.
        limits: time-outs.
        died: returns the error to raise when QEMU is gone.

    Attributes:
        running: the processors that may be executing; None while the machine is paused.
        wire: the connection; a stop of a running machine arrives there.
        on_stop: called with a packet that answers no request: a stop reply.
        on_lost: called when the connection has ended.
        packet_size: the longest packet that the stub takes, bytes.

    All requests raise `MachineDied` when QEMU is gone, and `GdbError` when there is no answer
    within `limits.reply_s`.
    """

    def __init__(
        self, cpus: int, *, limits: Limits, died: Callable[[], Awaitable[Exception]]
    ) -> None:
        self.cpus = cpus
        self.limits = limits
        self.died = died
        self.running: frozenset[int] | None = None
        self.wire = Wire(lambda body: self.on_stop(body), lambda: self.on_lost())
        self.on_stop: Callable[[bytes], None] = lambda body: None
        self.on_lost: Callable[[], None] = lambda: None
        self.packet_size = _MOST_PACKET
        self._selected = _Selected()

    async def connect(self, sock: socket.socket) -> RegisterLayout:
        """Take over `sock`, whose other end is QEMU, and read the register layout."""
        await asyncio.get_running_loop().create_connection(lambda: self.wire, sock=sock)
        batch = await self._batch(
            (b"qSupported:multiprocess+;vContSupported+",), self.limits.start_s
        )
        match = re.search(rb"PacketSize=([0-9a-fA-F]+)", batch.replies[0])
        if match is not None:
            self.packet_size = min(int(match[1], 16), _MOST_PACKET)
        main = await self._feature("target.xml")
        names = re.findall(r'<xi:include href="([^"]+)"', main)
        files = await asyncio.gather(*(self._feature(name) for name in names))
        return parse_layout([main, *files])

    async def _feature(self, name: str) -> str:
        text, step = b"", self.packet_size - 16
        while True:
            packet = f"qXfer:features:read:{name}:{len(text):x},{step:x}".encode("ascii")
            body = (await self.ask(packet))[0]
            if body[:1] not in (b"m", b"l"):
                raise GdbError(
                    msg("QEMU's debug stub does not describe {name}.", name=name), found=repr(body)
                )
            text += unescape(body[1:])
            if body[:1] == b"l":
                return text.decode("utf-8")

    # --- requests to a paused machine -------------------------------------------------------

    async def ask(self, *packets: bytes) -> list[bytes]:
        """Send requests in one batch and return their answers, in order.

        Raises:
            RuntimeError: the machine runs.
        """
        self.must_be_paused()
        return (await self._batch(packets, self.limits.reply_s)).replies

    async def monitor(self, command: str) -> str:
        """Return what a command of QEMU's human monitor prints.

        Raises:
            GdbError: the command is refused.
            RuntimeError: the machine runs.
        """
        self.must_be_paused()
        packet = b"qRcmd," + command.encode("utf-8").hex().encode("ascii")
        batch = await self._batch((packet,), self.limits.reply_s)
        if batch.replies[0] != b"OK":
            raise GdbError(
                msg("QEMU refused the monitor command {command}.", command=repr(command))
            )
        return batch.console.decode("utf-8", "replace")

    async def _batch(self, packets: tuple[bytes, ...], patience_s: float) -> Batch:
        if self.wire.lost:
            raise await self.died()
        batch = self.wire.ask(packets)
        timer = asyncio.get_running_loop().call_later(patience_s, batch.finish)
        try:
            await batch.future
        finally:
            timer.cancel()
        if not batch.complete:
            if self.wire.lost:
                raise await self.died()
            raise GdbError(
                msg("QEMU's debug stub does not answer."),
                expected=msg("an answer within {patience_s:g} s", patience_s=patience_s),
                found=msg("nothing"),
                next_step=msg("The host may be overloaded: try again."),
            )
        return batch

    def must_be_paused(self) -> None:
        """Raise RuntimeError if the machine runs."""
        if self.running is not None:
            raise RuntimeError("the machine runs: wait() or interrupt() before asking it anything")

    # --- what is selected -------------------------------------------------------------------
    # The requests that `select_cpu` and `select_addresses` return count as sent: call these
    # functions only where the packets are put together.

    def thread(self, cpu: int) -> bytes:
        """Return the stub's name of a processor; ValueError if there is no such processor."""
        if not 0 <= cpu < self.cpus:
            raise ValueError(f"no CPU {cpu}: this machine has CPUs 0 to {self.cpus - 1}")
        return b"p01.%02x" % (cpu + 1)

    def select_cpu(self, cpu: int) -> tuple[bytes, ...]:
        """Return what to send first so that registers and linear addresses are those of `cpu`."""
        self.must_be_paused()
        if self._selected.asked == cpu:
            return ()
        self._selected.asked = cpu
        return (b"Hg" + self.thread(cpu),)

    def select_addresses(self, *, physical: bool) -> tuple[bytes, ...]:
        """Return what to send first so that addresses are physical, or linear."""
        self.must_be_paused()
        if self._selected.physical is physical:
            return ()
        self._selected.physical = physical
        return (b"Qqemu.PhyMemMode:%d" % physical,)

    def forget(self) -> None:
        """Take note that the connection had another user: what is selected is not known."""
        self._selected = _Selected()

    def resume(self, packet: bytes, who: frozenset[int]) -> None:
        """Send a `vCont`, which resumes the processors `who`."""
        first = min(who)
        if self._selected.continued == first:
            self.wire.send((packet,))
        else:
            self.wire.ask((b"Hc" + self.thread(first),), then=(packet,))
        self._selected.asked = self._selected.continued = None
        self.running = who

    def stopped_after_step(self, cpu: int) -> None:
        """Remember that `cpu` is selected, because its step has just ended."""
        self._selected.asked = self._selected.continued = cpu
