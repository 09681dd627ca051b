"""A CPU that stands at the first instruction of a function which was called for its guest."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vmmlab.base.message import label
from vmmlab.observe.session import Session
from vmmlab.x86.vmcb import VMCB_BYTES

from .crossing import PASSED, named
from .evidence import Difference
from .ports import PortAccess

UNKNOWN: Final = (1 << 64) - 1
RIP: Final = 0x123456789A
CS_ATTR, EFER, CR4, CR0, RFLAGS, RIP_AT, RAX = 0x412, 0x4D0, 0x548, 0x558, 0x570, 0x578, 0x5F8
"""Offsets of fields of a VMCB."""
_COMPARED: Final = (
    *range(0, 0x58, 8), 0x60, 0x90, 0xA8, 0xB0, *range(0x400, 0x670, 8)
)  # fmt: skip
"""What none of the functions has any business with, but for RAX and RIP; the processor reads it at
the next VMRUN. The interrupt shadow, which an instruction ends, is not among it."""
_LONG_MODE: Final = {EFER: 0x1500, CR4: 0x20, CR0: 0x80000011, RIP_AT: RIP}
_CODE_64: Final = 0xA9B
_FREE: Final = (RFLAGS, RIP_AT, RAX)
"""What may change: RFLAGS.RF, or it is compared by its name."""
_RETURNED: Final = label("its call returned")
_REGISTERS_BYTES: Final = 8 * len(PASSED)


@dataclass(frozen=True)
class Question:
    """What a function is called for, and what it has to answer.

    Args:
        about: what the report calls it.
        fields: fields of the VMCB, by their offset.
        registers: registers of the guest that are not in the VMCB.
        wanted: registers afterwards, by name; of the others each keeps its value.
        compared: the bits of RAX that are compared.
        access: what it has to do at a port; None if the hardware itself does that.
    """

    about: str
    fields: Mapping[int, int]
    registers: Mapping[str, int]
    wanted: Mapping[str, int]
    compared: int = UNKNOWN
    access: PortAccess | None = None


@dataclass(frozen=True)
class Standing:
    """A CPU at the first instruction of a function.

    Args:
        session: the boot.
        cpu: its index.
        entry: its registers.
        back: where the function returns to.
        vmcb: the physical address of its VMCB.
        regs: that of the other registers of its guest.
        body: what the VMCB holds.
        kept: what those registers hold.
    """

    session: Session
    cpu: int
    entry: Mapping[str, int]
    back: int
    vmcb: int
    regs: int
    body: bytes
    kept: bytes

    @classmethod
    async def at(cls, session: Session, cpu: int, vmcb: int, regs: int) -> Standing:
        """Return a CPU that stands there now."""
        gdb = session.gdb
        now = (await gdb.registers(cpu)).as_dict()
        return cls(
            session,
            cpu,
            {name: now[name] for name in (*PASSED, "rax", "rsp", "rip", "eflags")},
            await session.return_address(cpu) or 0,
            vmcb,
            regs,
            await gdb.read_phys(vmcb, VMCB_BYTES),
            await gdb.read_phys(regs, _REGISTERS_BYTES),
        )

    async def put(self, question: Question) -> Mapping[int | str, int]:
        """Let its guest have executed what a question says; return what it holds then.

        By the names of registers, and by the offsets of fields of the VMCB.
        """
        gdb, made = self.session.gdb, bytearray(self.body)
        for offset, value in (_LONG_MODE | dict(question.fields)).items():
            struct.pack_into("<Q", made, offset, value)
        struct.pack_into("<H", made, CS_ATTR, _CODE_64)
        registers = {**named(self.kept), **question.registers}
        await gdb.write_phys(self.vmcb, bytes(made))
        await gdb.write_phys(self.regs, struct.pack("<14Q", *registers.values()))
        await gdb.write_registers(self.cpu, dict(self.entry))
        return {**registers, **_fields(made)}

    async def is_back(self) -> bool:
        """Whether the function has returned."""
        ended = self.session.ended
        return not ended and (await self.session.view.state(self.cpu)).pc == self.back

    async def run(self) -> bool:
        """Let it run alone; return whether the function has returned."""
        places = self.session.places
        self.session.stands_at(self.cpu, (await self.session.view.state(self.cpu)).pc)
        await places.watch(_RETURNED, self.back)
        verdict, _ = await self.session.run_to(self.cpu, _RETURNED, attempts=1)
        await places.unwatch(_RETURNED)
        return verdict == "reached"

    async def lost(
        self, question: Question, before: Mapping[int | str, int]
    ) -> tuple[Difference, ...]:
        """Return what is not as the question says, compared with what `put` has returned."""
        gdb = self.session.gdb
        after = await gdb.read_phys(self.vmcb, VMCB_BYTES)
        found: dict[int | str, int] = dict(named(await gdb.read_phys(self.regs, _REGISTERS_BYTES)))
        found["rip"], found["rax"] = (
            struct.unpack_from("<Q", after, at)[0] for at in (RIP_AT, RAX)
        )
        found |= _fields(after)
        registers = {name: value for name, value in before.items() if isinstance(name, str)}
        wanted: dict[int | str, int] = {**registers, **question.wanted, **before, **question.wanted}
        wanted["rax"] = wanted["rax"] & question.compared | found["rax"] & ~question.compared
        return tuple(
            Difference(name if isinstance(name, str) else f"VMCB + {name:#x}", value, found[name])
            for name, value in wanted.items()
            if found[name] != value
        )

    async def give_back(self) -> None:
        """Let everything be as it was."""
        gdb = self.session.gdb
        await gdb.write_phys(self.vmcb, self.body)
        await gdb.write_phys(self.regs, self.kept)
        await gdb.write_registers(self.cpu, dict(self.entry))
        self.session.stands_at(self.cpu, self.entry["rip"])


def _fields(body: bytes | bytearray) -> dict[int | str, int]:
    """Return the fields of a VMCB that are compared, by their offsets."""
    offsets = [at for at in _COMPARED if at not in _FREE]
    return {at: struct.unpack_from("<Q", body, at)[0] for at in offsets}
