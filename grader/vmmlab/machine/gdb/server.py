"""Lends a machine to a real gdb: a debug stub of our own in front of QEMU's.

Requests go on to QEMU, with these differences. In real mode gdb sees linear addresses as RIP, so
that symbols, disassembly and breakpoints work there too; QEMU gives it the offset in CS. Monitor
commands that begin with `OWN` and the number of a thread are answered here. A step of a CPU that is
halted, which QEMU never ends, ends here. And gdb may end, but not the machine.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.errors import VmmlabError
from vmmlab.machine.gdb import narrow
from vmmlab.machine.gdb.client import Gdb
from vmmlab.machine.gdb.registers import Registers
from vmmlab.machine.gdb.wire import Batch

OWN: Final = "vmmlab"
"""The first word of the monitor commands that are answered here."""

Answer = Callable[[list[str], int], Awaitable[str]]
"""Answers a monitor command: its words without `OWN` and gdb's number of a thread, and the CPU."""

_INTERRUPT: Final = b"\x03"
_ACK: Final = b"+"
_RESUMES: Final = re.compile(rb"vCont;|[csCS]")
_LINEAR: Final = b"Qqemu.PhyMemMode:0"
_RIP_SIZE: Final = 8
_REFUSED: Final = b"E01"
_DESCRIPTION: Final = re.compile(rb"qXfer:features:read:target\.xml:([0-9a-f]+),([0-9a-f]+)")
_ENDS: Final = re.compile(rb"k|D|vKill")
_ONE_STEP: Final = re.compile(rb"vCont;s:p[0-9a-f]+\.([0-9a-f]+)")
_INTERRUPTED: Final = b"T02"
_STEPPED: Final = b"T05"
_LONGEST_STEP_S: Final = 1.0
_THREAD: Final = re.compile(rb"thread:p[0-9a-f]+\.([0-9a-f]+)")
_SELECTED: Final = re.compile(rb"H([gc])p?[0-9a-f]+\.([0-9a-f]+)")
_ONE_REGISTER: Final = re.compile(rb"p([0-9a-f]+)")
_SET_REGISTER: Final = re.compile(rb"P([0-9a-f]+)=([0-9a-f]+)")


@dataclass
class _Selected:
    """What gdb has selected, to be selected again after requests of our own."""

    general: bytes = b"Hgp1.1"
    resumed: bytes = b""
    cpu: int = 0


@dataclass
class _Step:
    """A step of one CPU that QEMU has not ended yet.

    Attributes:
        body: the request.
        before: the registers of the CPU before it.
        patience_s: how long to wait before looking whether the CPU is halted.
        timer: interrupts the machine then.
    """

    body: bytes
    before: Registers
    patience_s: float
    timer: asyncio.TimerHandle | None = None


class GdbServer:
    """Serves one gdb with a machine that is paused.

    Args:
        gdb: the connection to QEMU; nothing else may use it meanwhile.
        answer: answers the monitor commands that begin with `OWN`.
        cpu: the CPU that gdb sees as stopped.
        narrow: show the registers of a 32-bit processor.
        halted: what to tell about a CPU that cannot be stepped.
    """

    def __init__(
        self,
        gdb: Gdb,
        answer: Answer,
        cpu: int = 0,
        *,
        narrow: bool = False,
        halted: Callable[[int], str] = "CPU {} is halted".format,
    ) -> None:
        self._gdb = gdb
        self._narrow = narrow
        self._answer = answer
        self._halted = halted
        self._selected = _Selected(b"Hgp1.%x" % (cpu + 1), cpu=cpu)
        self._first = cpu
        self._writer: asyncio.StreamWriter | None = None
        self._acks = True
        self._step: _Step | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wire = gdb.lend(self._stopped, self._lost)

    async def serve(self, path: Path) -> asyncio.Server:
        """Listen; the machine may be used by gdb from now on.

        Args:
            path: of a socket that does not exist yet.
        """
        return await asyncio.start_unix_server(self._serve_one, path)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()
            return
        self._writer = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                byte = await reader.readexactly(1)
                if byte == _INTERRUPT:
                    self._end_step()
                    self._wire.interrupt()
                elif byte == b"$":
                    body = (await reader.readuntil(b"#"))[:-1]
                    await reader.readexactly(2)
                    if self._acks:
                        writer.write(_ACK)
                    await self._request(body)
                    await writer.drain()

    # --- requests -------------------------------------------------------------------------------

    async def _request(self, body: bytes) -> None:
        """Answer a request of gdb's, or pass it on."""
        if body == b"QStartNoAckMode":
            self._send(b"OK")
            self._acks = False
        elif _ENDS.match(body):
            self._send(b"OK")
        elif body == b"?":
            self._selected = _Selected(b"Hgp1.%x" % (self._first + 1), cpu=self._first)
            await self._select()
            self._send(b"T05thread:p01.%02x;" % (self._first + 1))
        elif body.startswith(b"qRcmd,"):
            await self._monitor(body)
        elif _RESUMES.match(body) and body != b"vCont?":
            if one := _ONE_STEP.fullmatch(body):
                self._gdb.forget()
                before = await self._gdb.exact(int(one[1], 16) - 1)
                self._step = _Step(body, before, self._gdb.limits.step_s)
            self._resume(body)
        elif self._narrow and (part := _DESCRIPTION.fullmatch(body)):
            self._send(_part(narrow.description(), int(part[1], 16), int(part[2], 16)))
        elif body == b"g":
            self._send(await self._registers())
        elif one := _ONE_REGISTER.fullmatch(body):
            self._send(await self._register(body, int(one[1], 16)))
        elif one := _SET_REGISTER.fullmatch(body):
            self._send(await self._set_register(int(one[1], 16), one[2]))
        else:
            self._note(body)
            reply = (await self._ask(body)).replies[0]
            if body.startswith(b"qSupported"):
                reply += b";QStartNoAckMode+"
            self._send(reply)

    def _note(self, body: bytes) -> None:
        """Remember what gdb selects."""
        found = _SELECTED.fullmatch(body)
        if found is None:
            return
        if found[1] == b"c":
            self._selected.resumed = body
            return
        number = int(found[2], 16)
        if number:  # else any will do
            self._selected.general, self._selected.cpu = body, number - 1

    async def _select(self) -> None:
        """Select again what gdb has selected: requests of our own have changed it."""
        chosen = (self._selected.resumed, self._selected.general, _LINEAR)
        await self._ask(*filter(None, chosen))

    async def _ask(self, *packets: bytes) -> Batch:
        batch = self._wire.ask(packets)
        await batch.future
        if not batch.complete:
            raise ConnectionError
        return batch

    async def _registers(self) -> bytes:
        """Return all registers of the selected CPU, with a linear address as RIP."""
        now = await self._now()
        if self._narrow:
            return narrow.packet(now)
        body = (await self._ask(b"g")).replies[0]
        at = 2 * self._gdb.layout.offsets["rip"]
        return body[:at] + _hex(now.linear_pc) + body[at + 2 * _RIP_SIZE :]

    async def _register(self, body: bytes, number: int) -> bytes:
        """Return one register."""
        if self._narrow:
            return narrow.one(await self._now(), number)
        if number == self._gdb.layout.index["rip"][0]:
            return _hex((await self._now()).linear_pc)
        return (await self._ask(body)).replies[0]

    async def _set_register(self, number: int, value: bytes) -> bytes:
        """Set a register; RIP to the offset in CS of a linear address."""
        now = await self._now()
        rip = self._gdb.layout.index["rip"][0]
        if self._narrow:
            name = narrow.wide(number)
            if not name:
                return _REFUSED
            number = self._gdb.layout.index[name][0]
        wanted = int.from_bytes(bytes.fromhex(value.decode("ascii")), "little")
        if number == rip:
            base = now.linear_pc - now.rip
            wanted = (wanted - base) & 0xFFFFFFFF if base else wanted
        size = next(size for known, size in self._gdb.layout.index.values() if known == number)
        data = wanted.to_bytes(max(size, len(value) // 2), "little")[:size]
        self._gdb.forget()
        await self._select()
        return (await self._ask(b"P%x=%b" % (number, data.hex().encode("ascii")))).replies[0]

    async def _now(self) -> Registers:
        """Return the registers of the selected CPU."""
        self._gdb.forget()
        return await self._gdb.exact(self._selected.cpu)

    async def _monitor(self, body: bytes) -> None:
        """Answer a monitor command, or pass it on."""
        words = bytes.fromhex(body.partition(b",")[2].decode("ascii")).decode("utf-8", "replace")
        name, *others = words.split() or [""]
        if name != OWN:
            batch = await self._ask(body)
            self._say(bytes(batch.console))
            self._send(batch.replies[0])
            return
        thread, *command = others or ["0"]
        try:
            text = await self._answer(command, max(int(thread) - 1, 0))
        except (VmmlabError, ValueError) as error:
            text = str(error)
        self._gdb.forget()
        await self._select()
        self._say(text.encode() + b"\n")
        self._send(b"OK")

    # --- steps ----------------------------------------------------------------------------------

    def _resume(self, body: bytes) -> None:
        """Let CPUs run; look after a while whether a step has come to its end."""
        self._gdb.forget()
        self._wire.send([body])
        if self._step is not None:
            loop = asyncio.get_running_loop()
            self._step.timer = loop.call_later(self._step.patience_s, self._wire.interrupt)

    def _end_step(self) -> _Step | None:
        """Forget the step, and return it."""
        step, self._step = self._step, None
        if step is not None and step.timer is not None:
            step.timer.cancel()
        return step

    async def _look(self, step: _Step, body: bytes) -> None:
        """Decide whether a step that had to be interrupted is over, or only slow."""
        cpu = step.before.cpu
        self._gdb.forget()
        now = await self._gdb.exact(cpu)
        halted = await self._gdb.halted(cpu)
        if halted:
            self._say(f"{self._halted(cpu)}\n".encode())
        if halted or now != step.before:
            await self._select()
            self._pass_on(body.replace(_INTERRUPTED, _STEPPED, 1))
            return
        step.patience_s = min(step.patience_s * 4, _LONGEST_STEP_S)
        self._step = step
        self._resume(step.body)

    # --- answers --------------------------------------------------------------------------------

    def _stopped(self, body: bytes) -> None:
        """Pass a stop on, unless it ends a step that may only be slow."""
        step = self._end_step()
        if step is None or not body.startswith(_INTERRUPTED):
            self._pass_on(body)
            return
        task = asyncio.get_running_loop().create_task(self._look(step, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _pass_on(self, body: bytes) -> None:
        """Pass a stop on."""
        found = _THREAD.search(body)
        if found is not None:
            self._selected.cpu = int(found[1], 16) - 1
            self._selected.general = b"Hgp1.%b" % found[1]
        self._send(body)

    def _lost(self) -> None:
        """QEMU is gone."""
        if self._writer is not None:
            self._writer.close()

    def _say(self, text: bytes) -> None:
        """Send text that gdb prints, in pieces that fit."""
        for at in range(0, len(text), 1000):
            self._send(b"O" + text[at : at + 1000].hex().encode())

    def _send(self, body: bytes) -> None:
        if self._writer is not None:
            self._writer.write(b"$%b#%02x" % (body, sum(body) & 0xFF))


def _part(data: bytes, start: int, count: int) -> bytes:
    """Return a part of a file as the protocol has it: "l" if it is the last one."""
    piece = data[start : start + count]
    return (b"l" if start + count >= len(data) else b"m") + piece


def _hex(value: int) -> bytes:
    """Return a register of 64 bits as the protocol writes it."""
    return value.to_bytes(_RIP_SIZE, "little").hex().encode("ascii")
