"""Calls functions of ap_start.c with arguments that the VMM itself never uses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuState
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.observe.starting import CondCall, OwnCalls
from vmmlab.probes.base import DELAY_FIELDS, BaseProbe
from vmmlab.probes.calling import stand_at
from vmmlab.probes.othertables import OtherTables, asked_to_send, some_ids
from vmmlab.probes.registry import probe
from vmmlab.probes.sleeping import Sleeps

_TIMES: Final = 5  # more SIPIs than the VMM's own condition allows
_MOST: Final = 3  # SIPIs after which ap_start_loopcond says no
_VECTORS: Final = range(0x80, 0xFF)  # bit 7 too
_FAR: Final = (0x10000, 0x10000 + _MOST)
"""Numbers of SIPIs whose low byte or low half is that of 0 or 3: code that reads only a part of the
int takes them for these."""
_BESIDE: Final = (bytes.fromhex("5aa5c33c"), bytes.fromhex("5aa5c3bc"))
"""Behind an int of 0 and one of 3: as one signed number the first is above 3, the second below."""
_MANY: Final = 0x101
"""Processors in the tables, more than a byte can count: `_MANY` - 1 has the low byte 0."""
_UNLISTED: Final = ((1, 0), (1, 1), (2, 0), (2, 1))
"""SIPIs sent and APs arrived when no tables list a processor: a SIPI after each pair, or none."""
_TURNS: Final = 100  # of a loop in ap_start_loopcond, which needs none
_TURN_STEPS: Final = 2000
_SHORT_US: Final = range(100, 200)
"""Short delays: whatever is added to them shows, as do pieces that are longer than a delay."""
_COUNTER: Final = 4  # bytes of apinit_procs
_SAVED: Final = ("rbx", "rbp", "rsi", "rdi")
_SAVED_64: Final = ("r12", "r13", "r14", "r15")
_RETURNED: Final = "own call returned"
# Offsets in the boot stack, whose low end nothing uses.
_DATA, _STATE, _CODE, _BACK, _STEPPED = 0x80, 0xA0, 0x100, 0x180, 0x190


@probe("arguments")
@dataclass
class ArgumentsProbe(BaseProbe):
    """Boots as usual up to ap_wait; then calls the functions of ap_start.c with other arguments.

    For one processor: the IPIs reach no CPU. The condition that ap_start_addr is given is code of
    the grader, which counts how often it is asked and keeps the pointer that it gets.
    """

    sleeps: Sleeps | None = field(default=None, init=False)
    called: bool = field(default=False, init=False)

    async def start(self, session: Session) -> None:
        """Let usleep return at once."""
        await BaseProbe.start(self, session)
        self.sleeps = Sleeps(session)
        await self.sleeps.install()

    async def hit(self, session: Session, hit: Hit) -> None:
        """Make the calls when the BSP has finished its own."""
        await BaseProbe.hit(self, session, hit)
        if hit.cpu or self.called or hit.place not in ("ap_wait", *rest_places()):
            return
        self.called = True
        if self.sleeps is None:
            return
        await self._calls(session, self.sleeps)
        await self.sleeps.remove()

    async def _calls(self, session: Session, sleeps: Sleeps) -> None:
        view, base = session.view, session.view.addr("boot_stack")
        page, other = session.choice.some(2, _VECTORS)
        made = OwnCalls(vector=page, sipi_vector=other, times=_TIMES, writes=len(view.icr()))
        await session.places.watch(_RETURNED, base + _BACK)
        registers = await session.gdb.registers(0)
        await sleeps.take()
        counter, counted = view.in_copy("apinit_procs"), b""
        if counter is not None:  # what ap_start has left there is no argument
            counted = await session.gdb.read_phys(counter, _COUNTER)
            await session.gdb.write_phys(counter, bytes(_COUNTER))
        made = await self._condition(session, sleeps, made)
        if made.last_count is not None:
            condition = {"x86_64": _x86_64, "i386": _i386}[view.abi.arch]
            await _put(session, _CODE, condition(base + _STATE))
            asked = (page, base + _CODE, base + _DATA)
            waits = len(session.log.at("ap_wait", 0))
            made = await self._delays(session, sleeps, made, asked)
            await _put(session, _STATE, bytes(16))
            back = await self._call(session, "ap_start_addr", *asked)
            raw = await _get(session, _STATE, 16)
            made = replace(
                made,
                waits=len(session.log.at("ap_wait", 0)) > waits,
                asked=int.from_bytes(raw[:4], "little"),
                data=int.from_bytes(raw[8:], "little") == base + _DATA,
                sipi_writes=len(view.icr()),
            )
            if back is not None:
                slept, _ = await sleeps.take()
                made = replace(made, slept_us=slept)
                back = await self._call(session, "apic_send_startup_ipi", other)
                waited, _ = await sleeps.take()
                made = replace(made, returned=back is not None, send_sipi_slept_us=waited)
                before = len(view.icr())
                if back is not None and await self._call(session, "apic_send_init") is not None:
                    waited, _ = await sleeps.take()
                    made = replace(made, init_writes=before, send_init_slept_us=waited)
                    made = await self._other_tables(session, made, counter)
        session.log.own_calls = made
        if session.ended:
            return
        if counter is not None:
            await session.gdb.write_phys(counter, counted)
        wide = _SAVED_64 if view.abi.word == 8 else ()  # by a function that was left half-way
        for name in ("rax", *view.abi.registers, *_SAVED, *wide, "rsp", "rip"):
            await session.gdb.write_register(0, name, registers[name])
        await session.places.unwatch(_RETURNED)

    async def _condition(self, session: Session, sleeps: Sleeps, made: OwnCalls) -> OwnCalls:
        """Ask ap_start_loopcond whether another SIPI is needed, after several numbers of them."""
        first, last = await self._asked(session, 0), await self._asked(session, _MOST)
        if first is not None:
            made = replace(made, first=first.answer, count=first.left)
        if first is None or last is None:
            return made
        made = replace(made, last=last.answer, last_count=last.left)
        before = await self._asked(session, 0, _BESIDE[0])
        beside = await self._asked(session, _MOST, _BESIDE[1])
        far = [await self._asked(session, number) for number in _FAR]
        made = replace(made, far=tuple(one for one in far if one is not None))
        if before is not None:
            made = replace(made, first_beside=before.answer)
        if beside is not None:
            made = replace(made, last_beside=beside.answer)
        waited, _ = await sleeps.take()
        return replace(made, cond_slept_us=waited, cond_turns=await self._turns(session))

    async def _asked(
        self, session: Session, number: int, beside: bytes = bytes(4)
    ) -> CondCall | None:
        """Call ap_start_loopcond; None if it does not come back."""
        await _put(session, _DATA, number.to_bytes(4, "little") + beside)
        data = session.view.addr("boot_stack") + _DATA
        back = await self._call(session, "ap_start_loopcond", data)
        if back is None:
            return None
        left = int.from_bytes(await _get(session, _DATA, 4), "little")
        return CondCall(number, back & 0xFF, left)

    async def _other_tables(
        self, session: Session, made: OwnCalls, counter: int | None
    ) -> OwnCalls:
        """Ask ap_start_loopcond, and call the senders, with other processors in the tables."""
        tables = OtherTables(session)
        many, unlisted = [], []
        await tables.install(0)
        for sent, arrived in _UNLISTED if counter is not None else ():
            await session.gdb.write_phys(counter or 0, arrived.to_bytes(_COUNTER, "little"))
            unlisted.append(await self._asked(session, sent))
        await tables.install(_MANY)
        # Before the first SIPI no AP can have arrived, so no one has to look then.
        for sent, arrived in ((0, 0), (1, _MANY - 1)) if counter is not None else ():
            await session.gdb.write_phys(counter or 0, arrived.to_bytes(_COUNTER, "little"))
            many.append(await self._asked(session, sent))
        own, ids = await some_ids(session)
        await tables.install(len(ids), ids, own)
        back = (_RETURNED, session.view.addr("boot_stack") + _BACK)
        init = await asked_to_send(session, back, "apic_send_init")
        sipi = await asked_to_send(session, back, "apic_send_startup_ipi", made.sipi_vector)
        await tables.remove()
        answers = tuple(one for one in many if one is not None)
        silent = tuple(one for one in unlisted if one is not None)
        return replace(
            made, many=answers, unlisted=silent, ids=ids, own_id=own, init_told=init, sipi_told=sipi
        )

    async def _turns(self, session: Session) -> int:
        """Return how often ap_start_loopcond is in a loop while no AP comes; 0: not too often."""
        view, base = session.view, session.view.addr("boot_stack")
        await _put(session, _DATA, (1).to_bytes(4, "little") + bytes(4))
        if await stand_at(session, "ap_start_loopcond", base + _STEPPED, base + _DATA) is None:
            return 0
        passed: Counter[int] = Counter()

        async def count(now: CpuState) -> None:
            if any(now.pc in code for code in view.symbols.student_ranges):
                passed[now.pc] += 1

        await session.step_until(
            0,
            lambda now: now.pc == base + _STEPPED or passed[now.pc] > _TURNS,
            budget=_TURN_STEPS,
            watcher=count,
        )
        return max(0, *passed.values()) // _TURNS * _TURNS if passed else 0

    async def _delays(
        self, session: Session, sleeps: Sleeps, made: OwnCalls, asked: tuple[int, int, int]
    ) -> OwnCalls:
        """Set other delays, and see how long ap_start_addr waits after INIT if no SIPI follows."""
        init_us, sipi_us = session.choice.some(2, _SHORT_US)
        made = replace(made, init_us=init_us, sipi_us=sipi_us)
        for name, value in (("init_us", init_us), ("sipi_us", sipi_us)):
            await session.view.write_u32("ap_delays", value, DELAY_FIELDS[name])
        await _put(session, _STATE, _TIMES.to_bytes(4, "little"))
        await sleeps.take()
        before = len(session.view.icr())
        if await self._call(session, "ap_start_addr", *asked) is None:
            return made
        slept, _ = await sleeps.take()
        now = len(session.view.icr())
        return replace(made, slept_init_us=slept, writes=now, init_sent=now > before)

    async def _call(self, session: Session, function: str, *values: int) -> int | None:
        """Call a function on the BSP; return what it returns, or None if it does not come back."""
        view = session.view
        if session.ended:
            return None
        if await stand_at(session, function, view.addr("boot_stack") + _BACK, *values) is None:
            return None
        verdict, state = await session.run_to(0, _RETURNED, attempts=1)
        return state.rax if verdict == "reached" else None


async def _put(session: Session, offset: int, data: bytes) -> None:
    at = session.view.addr("boot_stack") + offset - VMM_BASE
    await session.gdb.write_phys(at, data)


async def _get(session: Session, offset: int, size: int) -> bytes:
    return await session.gdb.read_phys(session.view.addr("boot_stack") + offset - VMM_BASE, size)


def _x86_64(at: int) -> bytes:
    """Return code that keeps its argument, counts, and returns true the first few times."""
    return b"".join(
        (
            b"\x48\xb8" + at.to_bytes(8, "little"),  # mov $at, %rax
            b"\x48\x89\x78\x08",  # mov %rdi, 8(%rax)
            b"\xff\x00",  # incl (%rax)
            b"\x83\x38" + bytes([_TIMES]),  # cmpl $_TIMES, (%rax)
            b"\x0f\x96\xc0",  # setbe %al
            b"\x0f\xb6\xc0",  # movzbl %al, %eax
            b"\xc3",  # ret
        )
    )


def _i386(at: int) -> bytes:
    """Return the same for i386, where EAX holds the argument (-mregparm=3)."""
    counter = at.to_bytes(4, "little")
    return b"".join(
        (
            b"\xa3" + (at + 8).to_bytes(4, "little"),  # mov %eax, at+8
            b"\xff\x05" + counter,  # incl at
            b"\x83\x3d" + counter + bytes([_TIMES]),  # cmpl $_TIMES, at
            b"\x0f\x96\xc0",  # setbe %al
            b"\x0f\xb6\xc0",  # movzbl %al, %eax
            b"\xc3",  # ret
        )
    )
