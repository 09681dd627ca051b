"""Register access: the processors of a paused machine, one or all of them in one round trip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vmmlab.machine.dump import parse_dump
from vmmlab.machine.gdb.errors import GdbError
from vmmlab.machine.gdb.memory import Memory, PhysicalRange
from vmmlab.machine.gdb.registers import RegisterLayout, Registers, code_base
from vmmlab.machine.gdb.stub import Stub
from vmmlab.x86.registers import CR0_PE


class Cpus:
    """Reads and writes registers, and keeps what was read until a processor runs.

    Args:
        stub: the connection.
        memory: where memory goes that is read in the same round trip.

    Attributes:
        layout: of the stub's register packet; set when the connection is made.
        reported: for each processor the breakpoint that it still stands at and has reported.
    """

    layout: RegisterLayout

    def __init__(self, stub: Stub, memory: Memory) -> None:
        self._stub = stub
        self._memory = memory
        self.reported: dict[int, int] = {}
        self._kept: dict[int, Registers] = {}
        self._real_cs: dict[int, int] = {}

    async def registers(self, cpu: int) -> Registers:
        """Return the registers of one processor."""
        if self._stub.running is None and (kept := self._kept.get(cpu)) is not None:
            return kept
        return (await self.read([cpu]))[0]

    async def all_registers(self) -> tuple[Registers, ...]:
        """Return the registers of all processors, in one round trip."""
        everyone = range(self._stub.cpus)
        if self._stub.running is None and len(self._kept) == len(everyone):
            return tuple(self._kept[cpu] for cpu in everyone)
        return tuple(await self.read(everyone))

    async def peek(self, ranges: Iterable[PhysicalRange]) -> None:
        """Read all registers and some physical memory in one round trip.

        Reading just these takes no time then, until a processor runs.

        Args:
            ranges: physical addresses and sizes in bytes; what cannot be read is left out.
        """
        await self.read(range(self._stub.cpus), tuple(ranges))

    async def standing_at(self, address: int) -> tuple[int, ...]:
        """Return the processors whose next instruction is at this linear address."""
        return tuple(one.cpu for one in await self.all_registers() if one.linear_pc == address)

    async def read(
        self, cpus: Sequence[int], peek: Sequence[PhysicalRange] = ()
    ) -> list[Registers]:
        """Return the registers of `cpus`, and read physical memory in the same round trip.

        Args:
            cpus: the processors.
            peek: ranges that `Memory.read_phys` then has at no cost; those that cannot be read are
                left out.
        """
        packets: list[bytes] = []
        answers: list[int] = []
        for cpu in cpus:
            packets += self._stub.select_cpu(cpu)
            answers.append(len(packets))
            packets.append(b"g")
        replies = await self._stub.ask(*packets, *self._memory.peek_requests(peek))
        self._memory.take_peeked(peek, replies)
        return [self._decoded(cpu, replies[at]) for at, cpu in zip(answers, cpus, strict=True)]

    def _decoded(self, cpu: int, body: bytes) -> Registers:
        values = self.layout.decode(cpu, body)
        if not values["cr0"] & CR0_PE:
            self._real_cs[cpu] = values["cs"]
        base = code_base(values, self._real_cs.get(cpu))
        registers = self._kept[cpu] = Registers(cpu=cpu, cs_base=base, **values)
        return registers

    async def write_register(self, cpu: int, name: str, value: int) -> None:
        """Set one register, see `write_registers`."""
        await self.write_registers(cpu, {name: value})

    async def write_registers(self, cpu: int, values: Mapping[str, int]) -> None:
        """Set registers, by the names of `REGISTER_NAMES`, in one round trip.

        Raises:
            ValueError: there is no such register.
            GdbError: QEMU refuses.
        """
        packets = [self.layout.write_request(name, value) for name, value in values.items()]
        before = self._stub.select_cpu(cpu)
        replies = (await self._stub.ask(*before, *packets))[len(before) :]
        for name, reply in zip(values, replies, strict=True):
            if reply != b"OK":
                message = f"QEMU does not let {name} of CPU {cpu} be written."
                raise GdbError(message, found=repr(reply))
        self._kept.pop(cpu, None)
        if "rip" in values or "cs" in values:
            self.reported.pop(cpu, None)

    async def describe(self, cpu: int) -> dict[str, int]:
        """Return what the monitor's `info registers` shows of a processor, by name.

        This includes values that the stub does not send: "cs_base", "idt_limit", "hlt".
        """
        text = await self._stub.monitor(f"info registers {cpu}")
        return parse_dump(text.encode("ascii", "replace").splitlines())

    async def with_code_base(self, cpu: int, base: int) -> Registers:
        """Return the registers of a processor with this base of CS, and keep them in this form."""
        registers = self._kept[cpu] = replace(await self.registers(cpu), cs_base=base)
        return registers

    def forget(self) -> None:
        """Drop what was kept: a processor is about to run."""
        self._kept.clear()
