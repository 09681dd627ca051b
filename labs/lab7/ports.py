"""Lets do_ioio access a port that no device has: the grader carries out the access itself.

So any port can be asked about, in any size, and what other devices there are makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from vmmlab.observe.cpu import CpuState
from vmmlab.observe.session import Session

from .evidence import Difference

PORT, SIZE, VALUE, COUNT, IS_IN = "port", "size", "value", "count", "is_in"
"""Names of what can differ."""
_BUDGET: Final = 2000
_PREFIX_16: Final = 0x66
_REX: Final = range(0x40, 0x50)
_IN, _OUT = (0xE4, 0xE5, 0xEC, 0xED), (0xE6, 0xE7, 0xEE, 0xEF)
_BY_DX: Final = 0x08
"""Set in an opcode of IN or OUT whose port is in DX, not in the next byte."""
_WIDE: Final = 0x01


@dataclass(frozen=True)
class PortAccess:
    """IN or OUT of a guest.

    Args:
        is_in: IN, not OUT.
        port: the port.
        size: in bytes.
        value: what IN reads, or what OUT writes.
    """

    is_in: bool
    port: int
    size: int
    value: int

    @property
    def about(self) -> str:
        """The instruction."""
        register = {1: "AL", 2: "AX", 4: "EAX"}[self.size]
        port = f"{self.port:#x}"
        return f"IN {register}, {port}" if self.is_in else f"OUT {port}, {register}"


@dataclass
class Ports:
    """The ports of a CPU that executes do_ioio.

    Args:
        session: the boot; all CPUs stand still.
        cpu: the CPU.
        wanted: the access that it has to make; None if the hardware carries out what it does.
    """

    session: Session
    cpu: int
    wanted: PortAccess | None
    _found: list[PortAccess] = field(default_factory=list, init=False)

    async def carry_out(self, state: CpuState) -> None:
        """Carry out the next instruction of the CPU if it accesses a port."""
        wanted, session = self.wanted, self.session
        if wanted is None:
            return
        code = await session.view.code_at(self.cpu, state)
        registers = await session.gdb.registers(self.cpu)
        done = _decoded(code, registers.rdx & 0xFFFF, registers.rax)
        if done is None:
            return
        one, length = done
        self._found.append(one)
        values = {"rip": registers.rip + length}
        if one.is_in:
            mask = (1 << 8 * one.size) - 1
            kept = 0 if one.size == 4 else registers.rax & ~mask
            values["rax"] = kept | wanted.value & mask
        await session.gdb.write_registers(self.cpu, values)

    async def run(self, back: int) -> list[Difference]:
        """Step the CPU from the first instruction to its return; return what differs."""
        await self.session.step_until(
            self.cpu, lambda now: now.pc == back, budget=_BUDGET, watcher=self.carry_out
        )
        return self.differences

    @property
    def differences(self) -> list[Difference]:
        """In what the accesses differ from the one that there has to be."""
        return [] if self.wanted is None else _differences(self.wanted, self._found)


def _decoded(code: bytes, dx: int, rax: int) -> tuple[PortAccess, int] | None:
    """Return the access that an instruction makes, and its length in bytes."""
    at = wide = 0
    while at < len(code) and (code[at] == _PREFIX_16 or code[at] in _REX):
        wide |= code[at] == _PREFIX_16
        at += 1
    opcode = code[at] if at < len(code) else 0
    if opcode not in (*_IN, *_OUT):
        return None
    size = 1 if not opcode & _WIDE else 2 if wide else 4
    immediate = not opcode & _BY_DX
    port = code[at + 1] if immediate else dx
    value = rax & (1 << 8 * size) - 1
    return PortAccess(opcode in _IN, port, size, value), at + 1 + immediate


def _differences(wanted: PortAccess, found: list[PortAccess]) -> list[Difference]:
    """Return in what the accesses differ from the one that there has to be."""
    count = [] if len(found) == 1 else [Difference(COUNT, 1, len(found))]
    names = (IS_IN, PORT, SIZE) if wanted.is_in else (IS_IN, PORT, SIZE, VALUE)
    return [
        Difference(name, int(getattr(wanted, name)), int(getattr(one, name)))
        for one in found[:1]
        for name in names
        if getattr(wanted, name) != getattr(one, name)
    ] + count
