"""Calls do_cpuid, do_vmmcall and do_ioio for guests that are in states which no guest of ours has.

The CPU stands at the first instruction of the function, which was called for its own guest. It
runs from there once for each question; then all is as it was, and the call goes on.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.msr import execute
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.x86.vmcb import VMCB_BYTES

from .crossing import PASSED, CrossingProbe, named
from .evidence import Answer, Difference, SvmCpu
from .mending import REGS_AT
from .ports import PortAccess, run_with

CPUID, VMMCALL, IOIO = "do_cpuid", "do_vmmcall", "do_ioio"
EXT, SVM = 0x80000001, 0x8000000A
CPUNUM: Final = 0
_LEAVES: Final = ((0, 0), (1, 0), (0xB, 1), (0x80000000, 0), (EXT, 0), (0x80000008, 0), (SVM, 0),
                  (SVM + 1, 0))  # fmt: skip
_QUESTIONS: Final = (CPUNUM, 5, 0xFFFFFFFE)
_NUMBER: Final = 0x4D  # of the CPU, while it is asked for it
_UNKNOWN: Final = (1 << 64) - 1
_ECX_SVM: Final = 1 << 2
_IN_8, _SCRATCH, _AL = 1 << 4 | 1, 0x3FF, 0xFF
_IN, _SIZE_SHIFT, _PORT_SHIFT = 1, 4, 16  # of EXITINFO1 (APM 15.10.2)
_BYTES_4: Final = 4
_RIP, _NEXT, _HIGH = 0x123456789A, 0x23456789AB, 0x5A5A5A5A << 32
_INFO1, _INFO2, _CS_ATTR, _EFER = 0x78, 0x80, 0x412, 0x4D0
_CR4, _CR0, _RFLAGS, _RIP_AT, _RAX = 0x548, 0x558, 0x570, 0x578, 0x5F8
_COMPARED: Final = (
    *range(0, 0x58, 8), 0x60, 0x90, 0xA8, 0xB0, *range(0x400, 0x670, 8)
)  # fmt: skip
"""What none of the functions has any business with, but for RAX and RIP; the processor reads it at
the next VMRUN. The interrupt shadow, which an instruction ends, is not among it."""
_LONG_MODE: Final = {_EFER: 0x1500, _CR4: 0x20, _CR0: 0x80000011, _RIP_AT: _RIP}
_CODE_64: Final = 0xA9B
_FREE: Final = (_RFLAGS, _RIP_AT, _RAX)
"""What may change: RFLAGS.RF, or it is compared by its name."""
_LOW: Final = (1 << 32) - 1
_CPUID_CODE: Final = b"\x0f\xa2"
_CPUNUM_AT: Final = 8  # in struct pcpu, behind the padding


@dataclass(frozen=True)
class _Question:
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
    compared: int = _UNKNOWN
    access: PortAccess | None = None


_PATIENCE: Final = 64
"""Calls of a function on other CPUs after which nothing is asked: a guest makes no progress."""


@dataclass
class AskingProbe(CrossingProbe):
    """Asks the three functions on CPU 0, each when it is called there for the first time.

    Args:
        asks: whether it does.
    """

    asks: bool = False
    _asked_of: set[str] = field(default_factory=set, init=False)
    _calls: Counter[str] = field(default_factory=Counter, init=False)
    """How often each of them was called on other CPUs."""

    async def start(self, session: Session) -> None:
        """Watch the three functions."""
        await CrossingProbe.start(self, session)
        if self.asks:
            await session.places.watch_all((CPUID, VMMCALL, IOIO))

    async def _ask(self, session: Session, hit: Hit) -> None:
        """Call a function once for each question, if it was called on CPU 0."""
        vcpu = self._vcpus.get(hit.cpu)
        if hit.place in self._asked_of or vcpu is None or hit.state.rdi != vcpu:
            return
        if hit.cpu:
            self._calls[hit.place] += 1
            if self._calls[hit.place] > _PATIENCE:
                self._asked_of.add(hit.place)
                await session.places.unwatch(hit.place)
            return
        self._asked_of.add(hit.place)
        await session.places.unwatch(hit.place)
        gdb, view = session.gdb, session.view
        entry = (await gdb.registers(hit.cpu)).as_dict()
        entry = {name: entry[name] for name in (*PASSED, "rax", "rsp", "rip", "eflags")}
        back = await session.return_address(hit.cpu)
        vmcb, regs = self._pages[hit.cpu][0] - VMM_BASE, vcpu + REGS_AT - VMM_BASE
        body, kept = await gdb.read_phys(vmcb, VMCB_BYTES), await gdb.read_phys(regs, 8 * 14)
        number = int(hit.state.gs_base) - VMM_BASE + session.inputs.pcpu_pad + _CPUNUM_AT
        cpunum = await gdb.read_phys(number, 4)
        await gdb.write_phys(number, _NUMBER.to_bytes(4, "little"))
        for question in await self._questions(session, hit):
            made = bytearray(body)
            for offset, value in (_LONG_MODE | dict(question.fields)).items():
                struct.pack_into("<Q", made, offset, value)
            struct.pack_into("<H", made, _CS_ATTR, _CODE_64)
            before = {**named(kept), **question.registers}
            await gdb.write_phys(vmcb, bytes(made))
            await gdb.write_phys(regs, struct.pack("<14Q", *before.values()))
            await gdb.write_registers(hit.cpu, entry)
            differs = await self._run(session, hit.cpu, back, question.access)
            if session.ended or (await view.state(hit.cpu)).pc != back:
                return  # it has stopped, and the report says where
            after = await gdb.read_phys(vmcb, VMCB_BYTES)
            lost = _lost(
                question, before, bytes(made), after, named(await gdb.read_phys(regs, 112))
            )
            lost = (*differs, *lost)
            answers = self._seen.get(hit.cpu, SvmCpu()).answers
            self._note(hit.cpu, answers=(*answers, Answer(hit.place, question.about, lost)))
        await gdb.write_phys(number, cpunum)
        await gdb.write_phys(vmcb, body)
        await gdb.write_phys(regs, kept)
        await gdb.write_registers(hit.cpu, entry)
        session.stands_at(hit.cpu, entry["rip"])

    async def _run(
        self, session: Session, cpu: int, back: int | None, access: PortAccess | None
    ) -> list[Difference]:
        """Let a function run to its return; return in what its access of a port differs."""
        if access is not None and back is not None:
            return await run_with(session, cpu, back, access)
        await session.run_to_return(cpu, await session.view.state(cpu))
        return []

    async def _questions(self, session: Session, hit: Hit) -> list[_Question]:
        if hit.place == CPUID:
            return [await self._leaf(session, hit.cpu, *leaf) for leaf in _LEAVES]
        if hit.place == VMMCALL:
            return [
                _Question(
                    f"VMMCALL, EAX = {number:#x}",
                    {_RAX: _HIGH | number},
                    {},
                    {"rax": _NUMBER if number == CPUNUM else _UNKNOWN, "rip": _RIP + 3},
                )
                for number in _QUESTIONS
            ]
        info = _SCRATCH << 16 | _IN_8
        fields = {_INFO1: info, _INFO2: _NEXT, _RAX: _HIGH | 0x12345600}
        wanted = {"rax": fields[_RAX], "rip": _NEXT}
        scratch = _Question("IN AL, 0x3ff", fields, {}, wanted, compared=_UNKNOWN & ~_AL)
        return [scratch, *map(_access, _accesses(session))]

    async def _leaf(self, session: Session, cpu: int, leaf: int, subleaf: int) -> _Question:
        """Return a question for a leaf; this CPU itself answers it first."""
        found = await execute(session, cpu, _CPUID_CODE, {"rax": leaf, "rcx": subleaf})
        told = dict.fromkeys(("rax", "rbx", "rcx", "rdx"), 0)
        if found is not None and leaf != SVM:
            told = {name: found[name] & _LOW for name in told}
        if leaf == EXT:
            told["rcx"] &= ~_ECX_SVM
        return _Question(
            f"CPUID leaf {leaf:#x}" + (f", subleaf {subleaf:#x}" if subleaf else ""),
            {_RAX: _HIGH | leaf},
            {"rbx": _HIGH, "rcx": _HIGH | subleaf, "rdx": _HIGH},
            {**told, "rip": _RIP + 2},
        )


def _accesses(session: Session) -> list[PortAccess]:
    """Return accesses of each size, at ports whose 16 bits all matter."""
    choice = session.choice
    return [
        PortAccess(
            is_in,
            0x8000 | choice.between(0x10, 0x7FF) << 4 | choice.between(0, 3) * size,
            size,
            choice.between(1 << 8 * size - 1, (1 << 8 * size) - 1),
        )
        for size in (1, 2, 4)
        for is_in in (True, False)
    ]


def _access(access: PortAccess) -> _Question:
    """Return the question about an access."""
    info = access.port << _PORT_SHIFT | access.size << _SIZE_SHIFT | access.is_in * _IN
    mask = (1 << 8 * access.size) - 1
    before = _HIGH | 0x12345678
    rax = before & ~mask | access.value
    after = access.value if access.size == _BYTES_4 else rax
    return _Question(
        access.about,
        {_INFO1: info, _INFO2: _NEXT, _RAX: before if access.is_in else rax},
        {},
        {"rax": after if access.is_in else rax, "rip": _NEXT},
        access=access,
    )


def _lost(
    question: _Question,
    before: Mapping[str, int],
    made: bytes,
    after: bytes,
    registers: Mapping[str, int],
) -> tuple[Difference, ...]:
    """Return what is not as the question says."""
    found = dict(registers)
    found["rip"], found["rax"] = (struct.unpack_from("<Q", after, at)[0] for at in (_RIP_AT, _RAX))
    wanted = {**before, **question.wanted}
    wanted["rax"] = wanted["rax"] & question.compared | found["rax"] & ~question.compared
    lost = [
        Difference(name, value, found[name])
        for name, value in wanted.items()
        if found[name] != value
    ]
    for at in _COMPARED:
        was, is_now = (struct.unpack_from("<Q", one, at)[0] for one in (made, after))
        if at not in _FREE and was != is_now:
            lost.append(Difference(f"VMCB + {at:#x}", was, is_now))
    return tuple(lost)
