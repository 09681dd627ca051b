"""What a CPU's next instruction accesses, and whether only another CPU can end its loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from vmmlab.images.layout import VMM_ALIAS_SIZE
from vmmlab.machine.gdb import GdbError, Registers
from vmmlab.observe.view import View
from vmmlab.x86.decode import Access, footprint
from vmmlab.x86.registers import CR0_PG

PAUSE: Final = bytes.fromhex("f390")  # QEMU steps two instructions when the first is one of these
_LAP_MOST: Final = 100  # instructions of one lap of a loop
_WORD: Final = 8  # bytes; two accesses to the same word touch each other


@dataclass
class Touched:
    """Tells what the next instruction of a CPU accesses.

    Args:
        view: of the boot.
        cpu: the CPU; all others are held.
    """

    view: View
    cpu: int
    _pages: dict[int, int | None] = field(default_factory=dict)

    async def registers(self) -> Registers:
        """Return the registers of the CPU."""
        return await self.view.gdb.registers(self.cpu)

    async def accesses(self) -> tuple[Access, ...] | None:
        """Return what the next instruction accesses; None if it may do more, or is unknown."""
        state = await self.view.state(self.cpu)
        registers = (await self.registers()).as_dict()
        code = await self.view.code_at(self.cpu, state)
        found = footprint(code, state.pc, state.bits, registers)
        pause = PAUSE if code.startswith(PAUSE) else b""
        if found is not None and pause:
            found = footprint(code[len(pause) :], state.pc + len(pause), state.bits, registers)
        return None if found and state.bits == 16 else found

    async def word(self, physical: int) -> bytes:
        """Return a word of memory by its physical address."""
        return await self.view.gdb.read_phys(physical, _WORD)

    async def words(self, one: Access) -> set[int] | None:
        """Return the words of RAM that an access reads or writes; None if elsewhere, or unknown."""
        if one.address is None:
            return None
        paging = (await self.registers()).cr0 & CR0_PG
        found = set()
        for at in _ends(one.address, one.size):
            physical = await self._physical(at) if paging else at
            if physical is None or physical >= VMM_ALIAS_SIZE:
                return None
            found.add(physical & -_WORD)
        return found

    async def _physical(self, virtual: int) -> int | None:
        page = virtual & ~0xFFF
        if page not in self._pages:
            try:
                self._pages[page] = await self.view.translate(self.cpu, page)
            except GdbError:
                self._pages[page] = None
        found = self._pages[page]
        return None if found is None else found | virtual & 0xFFF


def _ends(address: int, size: int) -> Iterable[int]:
    return address, address + max(size, 1) - 1


class Loop:
    """Proves that a CPU that is stepped alone is in a loop which only another CPU can end.

    The same registers seen again are not enough: a delay that counts in memory looks like that.
    From then on the memory that the CPU writes is watched as well, until the registers come back
    once more: if no word has changed by then, nothing has, and nothing will. An instruction that
    the CPU is at again and again, with the same registers, does not complete: it changes nothing,
    whatever it would do.

    Args:
        view: of the boot.
        cpu: the CPU; all others are held.
    """

    def __init__(self, view: View, cpu: int) -> None:
        self._touched = Touched(view, cpu)
        self._seen: set[Registers] = set()
        self._start: Registers | None = None
        self._was: dict[int, bytes] = {}
        self._known = True
        self._age = 0

    async def before_step(self) -> None:
        """Record what the next instruction writes, if the CPU may be in a loop."""
        if self._start is None or not self._known:
            return
        accesses = await self._touched.accesses()
        if accesses is None:
            self._known = (await self._touched.view.state(self._touched.cpu)).bits == 16
            return
        for one in accesses:
            words = await self._touched.words(one) if one.writes else set()
            if words is None:
                self._known = False
                return
            for at in words - self._was.keys():
                self._was[at] = await self._touched.word(at)

    async def closed(self, registers: Registers) -> bool:
        """Whether the step that was made has brought back everything as it was one lap before.

        Args:
            registers: of the CPU, after the step.
        """
        self._age += 1
        again = registers in self._seen
        self._seen.add(registers)
        if registers != self._start:
            if again and (self._start is None or self._age > _LAP_MOST):  # another loop
                self._begin(registers)
            return False
        same = self._age == 1 or (
            self._known
            and all([await self._touched.word(at) == value for at, value in self._was.items()])
        )
        self._begin(registers)
        return same

    def _begin(self, registers: Registers) -> None:
        self._start = registers
        self._age = 0
        self._known = True
        self._was.clear()
