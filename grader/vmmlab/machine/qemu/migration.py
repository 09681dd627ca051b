"""Saves a paused machine into a file, and restores a machine from one.

QEMU sends its state to a unix socket in a folder that its sandbox may only read; nothing that runs
in there can write a file. It reads the state from a descriptor that it inherits.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final

from qemu.qmp import QMPClient

from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg
from vmmlab.base.scratch import scratch_folder

FOLDER_INSIDE: Final = Path("/save")
"""The name of the socket's folder in a sandbox."""
_NAME: Final = "state"
_CHUNK_BYTES: Final = 1 << 20
_BYTES_PER_SECOND: Final = 1 << 34
_ENDS: Final = ("completed", "failed", "cancelled")


class Outgoing:
    """The socket to which a machine is saved.

    Args:
        stack: closes it and removes its folder.

    Attributes:
        folder: where it is on this host.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.folder = stack.enter_context(scratch_folder("save"))
        self._listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._listener.bind(str(self.folder / _NAME))
        self._listener.listen(1)
        self._listener.setblocking(False)

    def uri(self, renames: bool) -> str:
        """Return the socket's name for QEMU.

        Args:
            renames: QEMU runs in a sandbox in which the folder is `FOLDER_INSIDE`.
        """
        return f"unix:{(FOLDER_INSIDE if renames else self.folder) / _NAME}"

    async def receive(self, file: BinaryIO, most: int) -> None:
        """Write what QEMU sends into a file.

        Args:
            file: where to write it.
            most: bytes that it may have.

        Raises:
            InfraError: it sends more.
        """
        loop = asyncio.get_running_loop()
        taken, _ = await loop.sock_accept(self._listener)
        with taken:
            taken.setblocking(False)
            while data := await loop.sock_recv(taken, _CHUNK_BYTES):
                most -= len(data)
                if most < 0:
                    raise InfraError(msg("The state of a machine is larger than its memory."))
                await asyncio.to_thread(file.write, data)


class Progress:
    """Follows the MIGRATION events of a machine."""

    def __init__(self) -> None:
        self._end: asyncio.Future[str] | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event of QMP."""
        status = event.get("data", {}).get("status")
        if self._end is not None and not self._end.done() and status in _ENDS:
            self._end.set_result(status)

    async def run(self, qmp: QMPClient, command: str, uri: str) -> bool:
        """Save or restore; return whether it was successful.

        Args:
            qmp: of the machine.
            command: "migrate" or "migrate-incoming".
            uri: where to or from.
        """
        self._end = asyncio.get_running_loop().create_future()
        events = {"capability": "events", "state": True}
        await qmp.execute("migrate-set-capabilities", {"capabilities": [events]})
        if command == "migrate":
            await qmp.execute("migrate-set-parameters", {"max-bandwidth": _BYTES_PER_SECOND})
        await qmp.execute(command, {"uri": uri})
        return await self._end == "completed"

    async def save(self, qmp: QMPClient, uri: str, receiving: Coroutine[Any, Any, None]) -> None:
        """Save a machine.

        Args:
            qmp: of the machine.
            uri: where to.
            receiving: takes what QEMU sends.

        Raises:
            InfraError: QEMU failed.
            OSError: what it sends cannot be written.
        """
        task = asyncio.ensure_future(receiving)
        sending = asyncio.ensure_future(self.run(qmp, "migrate", uri))
        try:
            await asyncio.wait((task, sending), return_when=asyncio.FIRST_EXCEPTION)
            if task.done() and not sending.done():
                task.result()  # an error: QEMU would wait for its reader
            if not await sending:
                raise InfraError(msg("QEMU could not save a machine."))
            await task
        finally:
            for one in (task, sending):
                one.cancel()
            await asyncio.gather(task, sending, return_exceptions=True)
