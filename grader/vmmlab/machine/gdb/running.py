"""Resuming, stepping and stopping processors.

Facts about the stub, found by experiment on QEMU 7.2.22 and 10.0.13:

- `vCont;c:p01.02` runs just that processor. All others are held for as long as it takes, also those
  that are sent an INIT or a SIPI meanwhile (they take it when they are resumed).
- Only one processor is reported when several reach a breakpoint. The others stand *at* theirs, not
  behind it, and stop there again at once when they are resumed: such a stop comes later, it is not
  lost.
- Resuming a processor that stands at a breakpoint stops it there again, but a single step ignores
  breakpoints. `Runner.resume` therefore first steps those processors that have reported theirs.
- Steps mask hardware interrupts and timers (`qqemu.sstep` is 7). An INIT, SIPI or NMI that is taken
  during a step counts as the step: a step that changed no register is repeated once.
- A step of `hlt`, and a step of a halted processor, never reports a stop.
- A SIPI that comes after the first is ignored, but it ends a `hlt` (real processors stay halted).
- Interrupt bytes sent to a paused machine are ignored. They also are when the guest has put the
  machine to sleep (ACPI S3), which the stub does not count as a stop: QMP reports it, and
  `Runner.note_suspended` is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vmmlab.base.message import msg
from vmmlab.machine.gdb.cpus import Cpus
from vmmlab.machine.gdb.errors import GdbError
from vmmlab.machine.gdb.memory import Memory, PhysicalRange
from vmmlab.machine.gdb.points import Points
from vmmlab.machine.gdb.registers import Registers
from vmmlab.machine.gdb.stops import SUSPENDED, Stop, StopReader
from vmmlab.machine.gdb.stub import Stub

_LONGEST_STEP_S = 1.0


@dataclass
class GdbCounts:
    """How often the rare things have happened; for tests and benchmarks."""

    stops: int = 0
    steps: int = 0
    repeated_steps: int = 0
    spurious_stops: int = 0
    stepped_off: int = 0


class Runner:
    """Runs the processors of one machine and waits for their stops.

    Args:
        stub: the connection.
        cpus: the registers.
        memory: the memory.
        points: the breakpoints.
        stops: reads stop replies.

    Attributes:
        counts: for tests and benchmarks.
        ended: the stop after which nothing can be resumed, None before.
    """

    def __init__(
        self, stub: Stub, cpus: Cpus, memory: Memory, points: Points, stops: StopReader
    ) -> None:
        self.counts = GdbCounts()
        self.ended: Stop | None = None
        self._stub = stub
        self._cpus = cpus
        self._memory = memory
        self._points = points
        self._stops = stops
        self._stepping: int | None = None
        self._reply: bytes | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._unfetched: Stop | None = None
        self._turn = -1
        stub.on_stop = self._take_reply
        stub.on_lost = self._wake

    def note_suspended(self) -> None:
        """Take it as the end of the machine that the guest has put it to sleep."""
        self._take_reply(SUSPENDED)

    # --- resume and wait --------------------------------------------------------------------

    async def resume(self, cpus: Iterable[int] | None = None) -> None:
        """Let only these processors run (None: all); `wait` returns how it ends.

        A processor at a breakpoint that it has reported is stepped off it first. Does nothing if
        the machine has ended: `wait` then returns that stop.

        Raises:
            ValueError: there is no such processor, or none is named.
        """
        self._must_be_paused()
        if self.ended is not None or self._unfetched is not None:
            return
        who = frozenset(range(self._stub.cpus)) if cpus is None else frozenset(cpus)
        for cpu in who:
            self._stub.thread(cpu)
        if not who:
            raise ValueError("resume() of no processor at all would never stop")
        for cpu in sorted(who):
            if self._cpus.reported.get(cpu) in self._points.breaks:
                stop = await self._step(cpu)
                self.counts.stepped_off += 1
                if stop.kind not in ("step", "halted"):
                    self._unfetched = stop
                    return
        for cpu in who:
            self._cpus.reported.pop(cpu, None)
        self._go(who)

    def _must_be_paused(self) -> None:
        if self._stub.running is not None:
            raise RuntimeError("the machine already runs")

    def _go(self, who: frozenset[int], action: bytes = b"c") -> None:
        if len(who) == self._stub.cpus and action == b"c":
            packet = b"vCont;c"
        else:
            packet = b"vCont" + b"".join(
                b";%b:%b" % (action, self._stub.thread(cpu)) for cpu in sorted(who)
            )
        self._stepping = next(iter(who)) if action == b"s" else None
        self._cpus.forget()
        self._memory.forget()
        self._reply = None
        self._stub.resume(packet, who)

    async def wait(self, timeout_s: float | None = None) -> Stop | None:
        """Return the next stop, or None if there is none in time: the machine then still runs.

        Args:
            timeout_s: seconds; default `limits.quiet_s`.
        """
        if self._unfetched is not None:
            stop, self._unfetched = self._unfetched, None
            return stop
        if self.ended is not None:
            return self.ended
        end = self._end(timeout_s)
        while True:
            who = self._stub.running
            if who is None:
                raise RuntimeError("the machine stands still: resume() before wait()")
            reply = await self._next_reply(end - asyncio.get_running_loop().time())
            if reply is None:
                return None
            found = await self._read(reply)
            if found is not None:
                return found
            self.counts.spurious_stops += 1
            self._go(who)

    async def interrupt(self) -> Stop:
        """Stop a running machine; if it has stopped before, return that stop instead."""
        who = self._stub.running
        if who is None:
            raise RuntimeError("the machine stands still already")
        if self._reply is None and not self._stub.wire.lost:
            self._stub.wire.interrupt()
        reply = await self._next_reply(self._stub.limits.reply_s)
        if reply is None:
            raise GdbError(
                msg("QEMU does not stop on request."),
                expected=msg("a stop within {reply_s:g} s", reply_s=self._stub.limits.reply_s),
                found=msg("nothing"),
                next_step=msg("The host may be overloaded: try again."),
            )
        return await self._read(reply) or Stop("interrupt", min(who))

    async def wait_by_turns(
        self,
        cpus: Iterable[int] | None = None,
        *,
        slice_s: float = 0.001,
        timeout_s: float | None = None,
    ) -> Stop | None:
        """Run processors one at a time, each for about `slice_s`, until one stops.

        The way to use watchpoints with several processors. Unlike after `wait`, the machine is
        paused afterwards in every case.

        Args:
            cpus: the processors, in turn; None: all.
            slice_s: how long each one runs, seconds.
            timeout_s: seconds; default `limits.quiet_s`.

        Returns:
            The stop, or None if there was none in time.
        """
        self._must_be_paused()
        order = list(range(self._stub.cpus)) if cpus is None else list(cpus)
        if not order:
            raise ValueError("wait_by_turns() of no processor at all would never stop")
        end = self._end(timeout_s)
        while asyncio.get_running_loop().time() < end:
            self._turn += 1
            await self.resume([order[self._turn % len(order)]])
            stop = await self.wait(slice_s) or await self.interrupt()
            if stop.kind != "interrupt":
                return stop
        return None

    def _end(self, timeout_s: float | None) -> float:
        """Return when to stop waiting, by the clock of the event loop."""
        patience_s = self._stub.limits.quiet_s if timeout_s is None else timeout_s
        return asyncio.get_running_loop().time() + patience_s

    # --- stop replies -----------------------------------------------------------------------

    def _take_reply(self, body: bytes) -> None:
        if self._stub.running is not None and self._reply is None:
            self._reply = body
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _next_reply(self, timeout_s: float) -> bytes | None:
        """Return the stop reply that is there or comes in time; None if there is none."""
        if self._reply is None and not self._stub.wire.lost:
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
        if self._reply is None and self._stub.wire.lost:
            raise await self._stub.died()
        return self._reply

    async def _read(self, reply: bytes, peek: Sequence[PhysicalRange] = ()) -> Stop | None:
        """Return what a stop reply means; None for a stop without a cause."""
        who, self._stub.running = self._stub.running, None
        self.counts.stops += 1
        try:
            stop = await self._stops.read(
                reply, who=who or frozenset(), stepping=self._stepping, peek=peek
            )
        except asyncio.CancelledError:
            self._stub.running = who  # the reply is still there for the next wait()
            raise
        if stop is not None and stop.final:
            self.ended = stop
        return stop

    # --- single steps -----------------------------------------------------------------------

    async def step(self, cpu: int, *, peek: Iterable[PhysicalRange] = ()) -> Stop:
        """Execute one instruction on one processor, while all others are held.

        A step that arrives at a breakpoint is a step; the next `resume` reports the breakpoint.

        Args:
            cpu: the processor.
            peek: physical addresses and sizes in bytes that will be read next: they are read
                together with the registers, and `read_phys` of just these takes no time.

        Returns:
            Stop of kind "step", or "watch", "shutdown", or "halted" when the processor waits for
            an interrupt (it may have executed `hlt` just now: compare `address`).
        """
        self._must_be_paused()
        if self.ended is not None:
            return self.ended
        if self._unfetched is not None:
            raise RuntimeError("a stop is waiting to be fetched with wait()")
        return await self._step(cpu, tuple(peek))

    async def _step(self, cpu: int, peek: Sequence[PhysicalRange] = ()) -> Stop:
        before = await self._cpus.registers(cpu)
        self.counts.steps += 1
        stop = await self._try_step(cpu, before, peek)
        if stop.kind == "step" and stop.registers == before:
            # An INIT, SIPI or the like was taken instead, or this is a jump to itself.
            self.counts.repeated_steps += 1
            stop = await self._try_step(cpu, before, peek)
        self._cpus.reported.pop(cpu, None)
        return stop

    async def _try_step(self, cpu: int, before: Registers, peek: Sequence[PhysicalRange]) -> Stop:
        limits = self._stub.limits
        patience_s = limits.step_s
        loop = asyncio.get_running_loop()
        end = loop.time() + limits.quiet_s
        stop: Stop | None
        while True:
            self._go(frozenset((cpu,)), b"s")
            reply = await self._next_reply(patience_s)
            stop = await self.interrupt() if reply is None else await self._read(reply, peek)
            if stop is not None and stop.kind != "interrupt":
                return stop
            # No stop in time: the processor is halted, or the host is busy. Did it execute?
            now = await self._cpus.registers(cpu)
            if (await self._cpus.describe(cpu)).get("hlt"):
                return Stop("halted", cpu, now.linear_pc, registers=now)
            if now != before:
                return Stop("step", cpu, now.linear_pc, registers=now)
            if loop.time() > end:
                raise GdbError(
                    msg("CPU {cpu} does not execute a single instruction.", cpu=cpu),
                    expected=msg("one instruction within {quiet_s:g} s", quiet_s=limits.quiet_s),
                    found=msg("still at {linear_pc:#x}", linear_pc=now.linear_pc),
                    next_step=msg("The host may be overloaded: try again."),
                )
            patience_s = min(patience_s * 4, _LONGEST_STEP_S)
