"""States that a CPU can be in: spinning, halted, at the barrier, holding a lock, in printf.

The grader brings a CPU there by its registers. All that the CPU executes is given code, code of
other labs that is called as usual, or a few instructions that the grader puts into the boot stack,
which nothing uses once all CPUs run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.session import Session
from vmmlab.x86.registers import EFLAGS_IF

_TEXT_BYTES: Final = 0x40
# Offsets in the boot stack, whose low end nothing uses.
_TEXT, _SPIN, _HALT, _BACK = 0x80, 0x100, 0x110, 0x120
_SPINS: Final = b"\xf3\x90\xeb\xfc"  # pause; jmp back
_HALTS: Final = b"\xfb\xf4\xeb\xfc"  # sti; hlt; jmp back
_DIRECTION_FLAG: Final = 0x400
_ALIGNED: Final = 16
_ROOM: Final = 0x200  # bytes of stack that a call of the grader's leaves alone
_ROUNDS: Final = 8  # of a loop; no loop before it in these functions goes round as often
_WAITS: Final = 300  # instructions after which a CPU that has to wait waits


@dataclass(frozen=True)
class Caller:
    """Calls functions on CPUs by their registers; x86_64 only.

    Args:
        session: the boot.
        message: the text at `text`, which is in no image.
    """

    session: Session
    message: str

    @classmethod
    async def made(cls, session: Session) -> Caller:
        """Put the code and the text into the boot stack, below all that a CPU uses of it."""
        message = f"vmmlab {session.choice.randbytes(8).hex()}"
        made = cls(session, message)
        await made.put(_TEXT, message.encode().ljust(_TEXT_BYTES, b"\0"))
        for at, code in ((_SPIN, _SPINS), (_HALT, _HALTS), (_BACK, _SPINS)):
            await made.put(at, code)
        return made

    async def put(self, offset: int, content: bytes) -> None:
        """Write bytes into the boot stack."""
        await self.session.gdb.write_phys(self.session.view.phys("boot_stack") + offset, content)

    def at(self, offset: int) -> int:
        """Return an address in the boot stack."""
        return self.session.view.addr("boot_stack") + offset

    @property
    def text(self) -> int:
        """The address of the text."""
        return self.at(_TEXT)

    async def call(self, cpu: int, function: str, *arguments: int) -> None:
        """Bring a CPU to the first instruction of a function, as if the grader's code called it.

        Args:
            cpu: the CPU; it stands still.
            function: its name.
            arguments: its first arguments.
        """
        view = self.session.view
        rsp = ((await view.state(cpu)).rsp - _ROOM & -_ALIGNED) - view.abi.word
        back = self.at(_BACK).to_bytes(view.abi.word, "little")
        await self.session.gdb.write_phys(rsp - VMM_BASE, back)
        values = dict(zip(view.abi.registers, arguments, strict=False))
        values |= {"rax": 0, "rsp": rsp, "rip": view.addr(function)}
        await self.session.gdb.write_registers(cpu, values)

    async def kept(self, cpu: int) -> Mapping[str, int]:
        """Return the registers of a CPU, to give them back later."""
        return (await self.session.gdb.registers(cpu)).context

    async def give_back(self, cpu: int, registers: Mapping[str, int]) -> None:
        """Put the registers of a CPU back."""
        await self.session.gdb.write_registers(cpu, dict(registers))

    async def go_to(self, cpu: int, offset: int, flags: int = 0, misaligned: int = 0) -> None:
        """Bring a CPU to code in the boot stack.

        Args:
            cpu: the CPU.
            offset: where the code is.
            flags: bits of EFLAGS to set.
            misaligned: bytes by which RSP is moved down.
        """
        state = await self.session.view.state(cpu)
        values = {"rip": self.at(offset), "eflags": state.eflags | flags}
        values["rsp"] = state.rsp - misaligned
        await self.session.gdb.write_registers(cpu, values)

    async def run(self, cpu: int, budget: int = _WAITS) -> None:
        """Let a CPU run alone until it halts or waits, or has executed so many instructions."""
        await self.session.step_until(cpu, lambda now: False, budget=budget)

    async def run_into_a_loop(self, cpu: int) -> None:
        """Let a CPU run alone until it goes round in a loop; one that counts does not repeat."""
        passed: Counter[int] = Counter()

        def goes_round(now: CpuState) -> bool:
            passed[now.pc] += 1
            return passed[now.pc] > _ROUNDS

        await self.session.step_until(cpu, goes_round, budget=_WAITS)


@dataclass(frozen=True)
class Situation:
    """A situation.

    Args:
        name: identifier, in records.
        enter: brings a CPU into it.
    """

    name: str
    enter: Callable[[Caller, int], Awaitable[None]]


async def _parked(caller: Caller, cpu: int) -> None:
    await caller.run(cpu)


async def _halted(caller: Caller, cpu: int) -> None:
    await caller.go_to(cpu, _HALT)
    await caller.run(cpu)


async def _spins(caller: Caller, cpu: int) -> None:
    await caller.go_to(cpu, _SPIN, EFLAGS_IF)


async def _in_assembly(caller: Caller, cpu: int) -> None:
    await caller.go_to(cpu, _SPIN, _DIRECTION_FLAG, misaligned=3)


async def _at_the_barrier(caller: Caller, cpu: int) -> None:
    await caller.call(cpu, "sync_all_processors")
    await caller.run(cpu)


async def _hold(caller: Caller, cpu: int, lock: str) -> None:
    """Let a CPU take a lock; it is left at the return address."""
    session = caller.session
    await caller.call(cpu, "spinlock_lock", session.view.addr(lock))
    back = caller.at(_BACK)
    await session.step_until(cpu, lambda now: now.pc == back, budget=_WAITS)


async def _holds_ap_lock(caller: Caller, cpu: int) -> None:
    await _hold(caller, cpu, "ap_lock")


async def _holds_sync_lock(caller: Caller, cpu: int) -> None:
    await _hold(caller, cpu, "sync_lock")


async def _waits_for_ap_lock(caller: Caller, cpu: int) -> None:
    await caller.call(cpu, "spinlock_lock", caller.session.view.addr("ap_lock"))
    await caller.run(cpu)


async def _prints(caller: Caller, cpu: int) -> None:
    await caller.call(cpu, "vprintf", caller.text, caller.text)
    await caller.run_into_a_loop(cpu)


async def _panics(caller: Caller, cpu: int) -> None:
    await caller.call(cpu, "panic", caller.text)
    await caller.run_into_a_loop(cpu)


PLAIN_SITUATIONS: Final = (
    Situation("spins", _spins),
    Situation("halted", _halted),
    Situation("barrier", _at_the_barrier),
    Situation("assembly", _in_assembly),
    Situation("parked", _parked),
)
"""Situations without a lock."""

LOCKS: Final = (
    Situation("ap-lock", _holds_ap_lock),
    Situation("sync-lock", _holds_sync_lock),
    Situation("waits-for-a-lock", _waits_for_ap_lock),
    Situation("prints", _prints),
    Situation("panics", _panics),
)
"""Situations with locks, in an order in which each one can be entered."""
