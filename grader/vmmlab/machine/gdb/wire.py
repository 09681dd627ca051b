"""Packets of the remote protocol on a connection. Knows nothing of what they mean.

Facts about the stub, found by experiment on QEMU 7.2.22 and 10.0.13:

- Requests to a paused machine can be sent in one batch; they are answered in order.
- QStartNoAckMode is not supported, but answers need not be acknowledged: the stub takes the next
  "$" for an acknowledgement. A "+" that arrived after a `vCont` would stop the machine, so none is
  ever sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

_INTERRUPT = b"\x03"
_ESCAPE, _ESCAPED_BY = 0x7D, 0x20


class Batch:
    """Requests that were sent together, and the answers so far.

    Attributes:
        want: how many answers there will be.
        replies: the answers, in the order of the requests.
        console: what a monitor command has printed.
        future: done when all answers are there or no more will come.
    """

    __slots__ = ("console", "future", "replies", "want")

    def __init__(self, want: int, future: asyncio.Future[None]) -> None:
        self.want = want
        self.replies: list[bytes] = []
        self.console = bytearray()
        self.future = future

    @property
    def complete(self) -> bool:
        """Whether every request was answered."""
        return len(self.replies) >= self.want

    def finish(self) -> None:
        """Wake the task that waits for the batch, whether it is complete or not."""
        if not self.future.done():
            self.future.set_result(None)


class Wire(asyncio.Protocol):
    """Sends requests and sorts incoming packets into answers and stop replies.

    Args:
        on_unasked: called with a packet that answers no request.
        on_lost: called once when the connection has ended.

    Attributes:
        lost: whether the connection has ended.
    """

    def __init__(self, on_unasked: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._batches: deque[Batch] = deque()
        self._on_unasked = on_unasked
        self._on_lost = on_lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by asyncio)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Finish all batches, incomplete as they are (called by asyncio)."""
        self.lost = True
        while self._batches:
            self._batches.popleft().finish()
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Take the packets out of the stream (called by asyncio)."""
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
        if batch.complete:
            self._batches.popleft().finish()

    def send(self, packets: Iterable[bytes]) -> None:
        """Send packets that are not answered at once."""
        assert self._transport is not None
        self._transport.write(b"".join(b"$%b#%02x" % (p, sum(p) & 0xFF) for p in packets))

    def ask(self, packets: tuple[bytes, ...], *, then: tuple[bytes, ...] = ()) -> Batch:
        """Send requests, and in the same write packets that are not answered at once.

        Args:
            packets: the requests.
            then: sent behind them.
        """
        batch = Batch(len(packets), asyncio.get_running_loop().create_future())
        self._batches.append(batch)
        self.send(packets + then)
        return batch

    def interrupt(self) -> None:
        """Send the byte that stops a running machine."""
        assert self._transport is not None
        self._transport.write(_INTERRUPT)

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()


def unescape(data: bytes) -> bytes:
    """Undo the escapes of binary data in a packet."""
    if _ESCAPE not in data:
        return data
    out, escaped = bytearray(), False
    for byte in data:
        if escaped:
            out.append(byte ^ _ESCAPED_BY)
            escaped = False
        elif byte == _ESCAPE:
            escaped = True
        else:
            out.append(byte)
    return bytes(out)
