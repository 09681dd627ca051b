"""What a stop reply of the stub means.

Facts about the stub, found by experiment on QEMU 7.2.22 and 10.0.13:

- `T05thread:p01.02;` is a breakpoint or the end of a step; with `watch:ADDRESS;` behind it, a
  watchpoint (`vmmlab.machine.dialects` knows both spellings). `T02` answers an interrupt.
- `T03` means that the machine has shut down: the thread then says nothing, registers and memory
  can be read, and `vCont` does nothing and answers nothing.
- A processor that asks a device for a reset or for power off stops, and QEMU's main loop ends the
  machine. If another one comes to a breakpoint before it does, the stub reports only that, and the
  machine could be resumed as if nothing had happened. QMP then tells of the end before the stub
  answers the next request, see `StopReader.read`.
- A stop stops every processor. Only one is reported, even if several have reached a breakpoint,
  and not necessarily one that has.
- A stop may leave half of QEMU's bookkeeping behind, which would stop the next resume at once. One
  more request removes it, and every stop here is followed by one: the registers are read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from vmmlab.base.message import msg
from vmmlab.machine.dialects import watch_address
from vmmlab.machine.gdb.cpus import Cpus
from vmmlab.machine.gdb.errors import GdbError
from vmmlab.machine.gdb.memory import PhysicalRange
from vmmlab.machine.gdb.points import Points
from vmmlab.machine.gdb.registers import Registers
from vmmlab.machine.gdb.stub import Stub

StopKind = Literal["break", "step", "watch", "interrupt", "halted", "shutdown", "exit"]

SUSPENDED = b"suspended"
"""In place of a stop reply when the guest puts the machine to sleep: the stub reports nothing."""

_SIGINT, _SIGTRAP = 2, 5
_REPLY = re.compile(rb"T([0-9a-f]{2})(?:thread:p[0-9a-f]+\.([0-9a-f]+);)?(.*)")


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the machine has stopped.

    Attributes:
        kind: "break"; "step"; "watch"; "interrupt" (asked for); "halted" (a step that cannot end
            because the processor waits for an interrupt); "shutdown" (triple fault, reset, power
            off or sleep, see `reason`; nothing can be resumed); "exit" (QEMU was told to quit).
        cpu: the processor, None for "shutdown" and "exit".
        address: the linear address of its next instruction, None if there is no processor.
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

    @property
    def final(self) -> bool:
        """Whether nothing can be resumed after this stop."""
        return self.kind in ("shutdown", "exit")


class StopReader:
    """Turns stop replies into `Stop`s.

    Args:
        stub: the connection, of a machine that has just stopped.
        cpus: its registers.
        points: its breakpoints.
        shutdown_reason: returns QEMU's word for the end of the machine.
        ending: whether QEMU has told of the end of the machine, by another connection.
    """

    def __init__(
        self,
        stub: Stub,
        cpus: Cpus,
        points: Points,
        shutdown_reason: Callable[[], Awaitable[str]],
        ending: Callable[[], bool],
    ) -> None:
        self._stub = stub
        self._cpus = cpus
        self._points = points
        self._shutdown_reason = shutdown_reason
        self._ending = ending

    async def read(
        self,
        body: bytes,
        *,
        who: frozenset[int],
        stepping: int | None,
        peek: Sequence[PhysicalRange],
    ) -> Stop | None:
        """Return what a stop reply means; None for a stop without a cause.

        Args:
            body: the stop reply.
            who: the processors that ran.
            stepping: the processor that was stepped, None if they were resumed.
            peek: physical ranges to read in the same round trip as the registers.

        Raises:
            GdbError: the reply makes no sense.
        """
        if body == SUSPENDED:
            return await self._shutdown()
        match = _REPLY.match(body)
        if match is None or match[2] is None:
            if body[:1] in (b"W", b"X"):
                return Stop("exit", reason="QEMU exited")
            raise GdbError(msg("QEMU's debug stub sent an unknown stop reply."), found=repr(body))
        signal, cpu = int(match[1], 16), int(match[2], 16) - 1
        if signal not in (_SIGINT, _SIGTRAP):
            # A shutdown, an internal error, a panic device, …: each is the end of the machine.
            return await self._shutdown()
        if cpu == stepping and signal == _SIGTRAP:
            self._stub.stopped_after_step(cpu)
        registers = (await self._cpus.read([cpu], peek))[0]
        # What was sent before the registers has come with them, and is read in this turn of the
        # event loop.
        await asyncio.sleep(0)
        if self._ending():
            return await self._shutdown()
        pc = registers.linear_pc
        if signal == _SIGINT:
            return Stop("interrupt", cpu, pc, registers=registers)
        if (watch := watch_address(match[3])) is not None:
            return Stop("watch", cpu, pc, watch=watch, registers=registers)
        if cpu == stepping:
            return Stop("step", cpu, pc, registers=registers)
        return await self._break([cpu, *sorted(who - {cpu})], who)

    async def _shutdown(self) -> Stop:
        return Stop("shutdown", reason=await self._shutdown_reason())

    async def _break(self, candidates: list[int], who: frozenset[int]) -> Stop | None:
        """Find the processor that is at a breakpoint; the one that was reported may not be."""
        for cpu in candidates:
            registers = await self._cpus.registers(cpu)
            if cpu in who and registers.linear_pc in self._points.breaks:
                return self._at_break(registers)
        # The base of CS may be one that cannot be inferred: ask the monitor, which knows it.
        for cpu in candidates:
            told = await self._cpus.describe(cpu)
            base = told.get("cs_base", 0)
            if cpu in who and base + told.get("rip", 0) in self._points.breaks:
                return self._at_break(await self._cpus.with_code_base(cpu, base))
        return None

    def _at_break(self, registers: Registers) -> Stop:
        address = self._cpus.reported[registers.cpu] = registers.linear_pc
        return Stop("break", registers.cpu, address, registers=registers)
