"""The client of one machine's debug stub: its parts behind one object."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from vmmlab.machine.gdb.cpus import Cpus
from vmmlab.machine.gdb.memory import Memory
from vmmlab.machine.gdb.points import Points
from vmmlab.machine.gdb.registers import RegisterLayout, Registers
from vmmlab.machine.gdb.running import Runner
from vmmlab.machine.gdb.stops import Stop, StopReader
from vmmlab.machine.gdb.stub import Stub
from vmmlab.machine.gdb.wire import Wire
from vmmlab.machine.limits import Limits


class Gdb:
    """One connection to the stub. Made by `Machine`; requests need a paused machine.

    Most methods are those of its parts, documented there: registers (`Cpus`), memory (`Memory`),
    breakpoints and watchpoints (`Points`), resuming and stepping (`Runner`). All of them raise
    `MachineDied` (an InfraError) when QEMU is gone, and `GdbError` when it refuses or does not
    answer within `limits.reply_s`.

    Args:
        cpus: number of processors; they are counted from 0, as QEMU does.
        limits: time-outs.
        died: returns the error to raise when QEMU is gone.
        shutdown_reason: returns QEMU's word for the end of the machine.
        ending: whether QEMU has told of the end of the machine.

    Attributes:
        cpus: number of processors.
        counts: how often the rare things have happened; for tests and benchmarks.
    """

    def __init__(
        self,
        cpus: int,
        *,
        limits: Limits,
        died: Callable[[], Awaitable[Exception]],
        shutdown_reason: Callable[[], Awaitable[str]],
        ending: Callable[[], bool],
    ) -> None:
        self.cpus = cpus
        stub = self._stub = Stub(cpus, limits=limits, died=died)
        memory = self._memory = Memory(stub)
        registers = self._cpus = Cpus(stub, memory)
        points = self._points = Points(stub)
        stops = StopReader(stub, registers, points, shutdown_reason, ending)
        runner = self._runner = Runner(stub, registers, memory, points, stops)

        self.registers = registers.registers
        self.all_registers = registers.all_registers
        self.peek = registers.peek
        self.standing_at = registers.standing_at
        self.write_register = registers.write_register
        self.write_registers = registers.write_registers
        self.describe = registers.describe
        self.with_code_base = registers.with_code_base

        self.read_phys = memory.read_phys
        self.write_phys = memory.write_phys
        self.read_virt = memory.read_virt
        self.write_virt = memory.write_virt

        self.set_break = points.set_break
        self.set_breaks = points.set_breaks
        self.clear_break = points.clear_break
        self.clear_breaks = points.clear_breaks
        self.set_watch = points.set_watch
        self.clear_watch = points.clear_watch

        self.resume = runner.resume
        self.wait = runner.wait
        self.wait_by_turns = runner.wait_by_turns
        self.interrupt = runner.interrupt
        self.step = runner.step
        self.note_suspended = runner.note_suspended
        self.counts = runner.counts

    async def connect(self, sock: socket.socket) -> None:
        """Take over `sock`, whose other end is QEMU, and read the register layout."""
        self._cpus.layout = await self._stub.connect(sock)

    def close(self) -> None:
        """End the connection; QEMU is not told to do anything."""
        self._stub.wire.close()

    @property
    def limits(self) -> Limits:
        """The time-outs."""
        return self._stub.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._stub.limits = limits

    @property
    def running(self) -> bool:
        """Whether some processor may be executing."""
        return self._stub.running is not None

    @property
    def ended(self) -> Stop | None:
        """The stop after which nothing can be resumed, or None."""
        return self._runner.ended

    @property
    def breakpoints(self) -> frozenset[int]:
        """The linear addresses of the breakpoints that are set."""
        return frozenset(self._points.breaks)

    @property
    def layout(self) -> RegisterLayout:
        """Where each register is in the answer to a `g` request."""
        return self._cpus.layout

    async def exact(self, cpu: int) -> Registers:
        """Return the registers of a processor, with the base of CS where it cannot be inferred."""
        registers = await self._cpus.registers(cpu)
        if registers.mode != "protected":
            return registers
        return await self._cpus.with_code_base(
            cpu, (await self._cpus.describe(cpu)).get("cs_base", registers.cs_base)
        )

    async def halted(self, cpu: int) -> bool:
        """Return whether a processor waits for an interrupt, an INIT or a SIPI."""
        return bool((await self._cpus.describe(cpu)).get("hlt"))

    def lend(self, on_stop: Callable[[bytes], None], on_lost: Callable[[], None]) -> Wire:
        """Return the connection, so that the caller can let the machine run.

        This object may still read a paused machine, after `forget`.

        Args:
            on_stop: called with each stop reply.
            on_lost: called when the connection has ended.
        """
        self._stub.on_stop = on_stop
        self._stub.on_lost = on_lost
        self.forget()
        return self._stub.wire

    def forget(self) -> None:
        """Drop what was read and what is selected: the connection had another user."""
        self._cpus.forget()
        self._memory.forget()
        self._stub.forget()

    async def monitor(self, command: str) -> str:
        """Return what a command of QEMU's human monitor prints."""
        text = await self._stub.monitor(command)
        self._cpus.forget()  # the command may have changed registers
        return text
