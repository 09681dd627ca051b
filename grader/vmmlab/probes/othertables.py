"""Calls functions of ap_start.c as if the ACPI tables listed other processors.

The two functions of include/acpi.h are replaced in memory, as `sleeping` replaces usleep. No IPI is
sent: the BSP is stopped at apic_write_icr and goes on behind the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmmlab.observe.session import Session
from vmmlab.observe.starting import IcrCall
from vmmlab.probes.calling import stand_at
from vmmlab.probes.replacing import ReplacedCode

_SENDER: Final = "apic_write_icr"
_FIRST: Final = range(0x10, 0xF0)
_WIDE: Final = range(0x101, 0x1F0)
_BSP: Final = 0  # its APIC id
_IDS: Final = 0xC0
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

    async def install(self, count: int, ids: Sequence[int] = ()) -> None:
        """Let the tables list `count` processors, with these APIC ids."""
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
        for name, code in codes.items():
            await self._code.put(name, code)

    async def remove(self) -> None:
        """Let the VMM find its own tables again."""
        await self._code.remove()


def some_ids(session: Session) -> tuple[int, ...]:
    """Return APIC ids of which the first is not the BSP's, and the last needs more than a byte."""
    return session.choice.pick(_FIRST), _BSP, session.choice.pick(_WIDE)


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
        The calls, in order; None if the function does not come back.
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
    return tuple(calls) if done else None


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
