"""QMP: a client without the parts of `qemu.qmp` that cost time, and its events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qemu.qmp import EventListener, Message, QMPClient

_EACH_STEP = (b'"event": "STOP"', b'"event": "RESUME"')  # within a string, quotes are escaped


class QuietClient(QMPClient):
    """A client that does not log and drops the two events of every single step.

    Handling those would take longer than the step.
    """

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


class Events(EventListener):
    """Hands each event to a function at once, instead of queueing it.

    Args:
        sink: called with each event.
    """

    def __init__(self, sink: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._sink = sink

    def accept(self, event: Message) -> bool:
        """Take an event; it is not queued."""
        self._sink(dict(event))
        return False
