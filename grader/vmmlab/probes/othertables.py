"""Calls functions of ap_start.c as if the ACPI tables listed other processors.

The two functions of include/acpi.h are replaced in memory, as `sleeping` replaces usleep, and so is
what tells the BSP's own APIC id. No IPI is sent: the BSP is stopped at apic_write_icr and goes on
behind the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.session import Session
from vmmlab.observe.starting import IcrCall
from vmmlab.probes.calling import stand_at
from vmmlab.probes.replacing import ReplacedCode

_SENDER: Final = "apic_write_icr"
_FIRST: Final = range(0x10, 0xF0)
_WIDE: Final = range(0x101, 0x2F0)
_NONE: Final = 0
"""An id that a CPU has in most machines, often the BSP."""
_BYTE: Final = 0x100  # ids, more than an index of one byte can count
_CPUID: Final = b"\x0f\xa2"
_ID_SHIFT: Final = 24  # of the id in the register of an xAPIC
_IDS: Final = 0x400
"""Offset of the APIC ids in the boot stack, whose low end nothing uses."""
_WORD: Final = 4
_MOST: Final = 1024  # calls of apic_write_icr in one function: more than there can be ids


class OtherTables:
    """Lets the VMM find other processors in the tables.

    Args:
        session: the boot; only the BSP runs.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._code = ReplacedCode(session)
        self._own: tuple[int, int] | None = None

    async def install(self, count: int, ids: Sequence[int] = (), own: int = 0) -> None:
        """Let the tables list `count` processors, with these APIC ids.

        Args:
            count: what acpi_num_of_processors returns.
            ids: what acpi_apic_id returns.
            own: the APIC id of the BSP, wherever given code tells it.
        """
        view = self._session.view
        at = view.addr("boot_stack") + _IDS
        raw = b"".join(one.to_bytes(_WORD, "little") for one in ids)
        if raw:
            await self._session.gdb.write_phys(view.phys("boot_stack") + _IDS, raw)
        by_index = b"\x8b\x04\xbd" if view.abi.word == 8 else b"\x8b\x04\x85"
        codes = {
            "acpi_num_of_processors": b"\xb8" + count.to_bytes(_WORD, "little") + b"\xc3",
            # mov at(,%rdi,4), %eax, or at(,%eax,4); ret
            "acpi_apic_id": by_index + at.to_bytes(_WORD, "little") + b"\xc3",
        }
        if own:
            for name, value in (("apic_id", own), ("apic_read", own << _ID_SHIFT)):
                codes[name] = b"\xb8" + value.to_bytes(_WORD, "little") + b"\xc3"
            await self._be(own)
        for name, code in codes.items():
            await self._code.put(name, code)

    async def _be(self, own: int) -> None:
        """Let `currentcpu->apic_id`, which is right before stackaddr, hold an id."""
        view = self._session.view
        stackaddr = view.stackaddr_at((await view.state(0)).gs_base)
        if stackaddr is not None:
            at = stackaddr - _WORD
            self._own = self._own or (at, await view.read_u32(at))
            await self._session.gdb.write_phys(at, own.to_bytes(_WORD, "little"))

    async def remove(self) -> None:
        """Let the VMM find its own tables again."""
        await self._code.remove()
        if self._own is not None:
            at, value = self._own
            await self._session.gdb.write_phys(at, value.to_bytes(_WORD, "little"))


async def some_ids(session: Session) -> tuple[int, tuple[int, ...]]:
    """Return the id of the BSP, and all APIC ids: more than a byte can count, most of them wide.

    The first one is not the BSP's. If the student's code asks the processor itself for its id, the
    BSP keeps the one that it has, which is 0.
    """
    first, own = session.choice.some(2, _FIRST)
    wide = session.choice.some(_BYTE, _WIDE)
    if await _asks_the_processor(session):
        return _NONE, (first, _NONE, *wide)
    return own, (first, own, _NONE, *wide)


async def _asks_the_processor(session: Session) -> bool:
    view = session.view
    for one in view.symbols.student_ranges:
        if one.section.startswith(".text"):
            size = one.end - one.start
            if _CPUID in await view.read_if_there(one.start - VMM_BASE, size):
                return True
    return False


async def asked_to_send(
    session: Session, back: tuple[str, int], function: str, *values: int
) -> tuple[IcrCall, ...] | None:
    """Call a function and return what it asks apic_write_icr to send; nothing is sent.

    Args:
        session: the boot; only the BSP runs.
        back: name and address of the watched place that it is to return to.
        function: its name.
        values: its arguments.

    Returns:
        The calls, in order, `_MOST` of them if it does not end; None if it does not come back.
    """
    view, calls = session.view, list[IcrCall]()
    if session.ended or await stand_at(session, function, back[1], *values) is None:
        return None
    known = session.places.at(view.addr(_SENDER)) is not None
    if not known:
        await session.places.watch(_SENDER)
    done = await _collect(session, back[0], calls)
    if not known:
        await session.places.unwatch(_SENDER)
    return tuple(calls) if done or len(calls) == _MOST else None


async def _collect(session: Session, back: str, calls: list[IcrCall]) -> bool:
    """Let the BSP run to `back`, and note each call on the way; return whether it comes there."""
    names = session.view.abi.registers
    for _ in range(_MOST):
        verdict, state = await session.run_to(0, back, _SENDER, attempts=1)
        if verdict != "reached" or session.places.at(state.pc) == back:
            return verdict == "reached"
        registers = await session.gdb.registers(0)
        dest, low = (registers[name] & 0xFFFFFFFF for name in names[:2])
        calls.append(IcrCall(dest, low, 0, 0))
        caller = await session.return_address(0)
        if caller is None:
            return False
        rsp = state.rsp + session.view.abi.word
        await session.gdb.write_registers(0, {"rsp": rsp, "rip": caller})
    return False
