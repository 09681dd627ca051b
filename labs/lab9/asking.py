"""Calls functions of lab 9 itself, before any guest runs, so that each is judged for itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe
from vmmlab.probes.calling import stand_at

from .director import APIC_ID, ENTER, RESET, RUN, STARTUP, TAKES, WAIT, Director, vcpus_of
from .evidence import VCPU_RUNS, Asked, Direct, Processors, Single
from .script import ALL, FIXED, INIT, LOGICAL, OTHERS, SELF, SIPI, X2APIC_ALL, Sending
from .sharing import IS_DESTINATION, SIGNAL_INIT, SIGNAL_SIPI, Sharing

_BACK: Final = 0x180  # in the boot stack, whose low end nothing uses
_CALLED: Final = "own call returned"
_IDS: Final = range(0x20, 0xC0)
"""APIC ids that no CPU of these boots has."""
_HIGH_VECTORS: Final = range(0xA0, 0x100)
"""Pages that are no memory: nothing begins there in the end."""
_ARGUMENTS: Final = ("rdi", "rsi", "rdx", "rcx")


@dataclass
class AskingProbe(BaseProbe):
    """Calls functions on the BSP, which stands before its first guest, with no lock held.

    Args:
        pair: the CPUs that execute each function at the same time; not CPU 2, which is meant.
    """

    pair: tuple[int, int] = (0, 1)
    seen: Processors = field(default_factory=Processors, init=False)

    def note(self, session: Session, **found: object) -> None:
        """Record more of the boot: fields of `Processors`."""
        self.seen = replace(self.seen, **found)  # type: ignore[arg-type]
        session.log.lab = self.seen

    async def _call(
        self, session: Session, function: str, *arguments: int, cpu: int = 0
    ) -> int | None:
        """Call a function on a CPU, the BSP if none is given.

        Returns:
            RAX; None if the function does not return.
        """
        gdb, back = session.gdb, session.view.addr("boot_stack") + _BACK
        before = await gdb.registers(cpu)
        if await stand_at(session, function, back, *arguments, cpu=cpu) is None:
            return None
        await session.places.watch(_CALLED, back)
        verdict, state = await session.run_to(cpu, _CALLED, attempts=1)
        await session.places.unwatch(_CALLED)
        if verdict != "reached":
            return None
        names = (*_ARGUMENTS, "rsp", "rip")
        await gdb.write_registers(cpu, {name: before[name] for name in names})
        session.stands_at(cpu, before.linear_pc)
        return state.rax

    async def _ask(self, session: Session) -> bool:
        """Call localapic_is_destination with all kinds of arguments; return whether it returns.

        Meanwhile the virtual CPUs have APIC ids that differ from their numbers.
        """
        vcpus = await vcpus_of(session)
        own = [await self._read_id(session, at) for at in vcpus]
        ids = session.choice.some(len(vcpus), _IDS)
        await self._write_ids(session, zip(vcpus, ids, strict=True))
        for cpu, sending in _questions(session, ids):
            rax = await self._call(
                session,
                IS_DESTINATION,
                vcpus[cpu],
                vcpus[sending.sender],
                sending.low,
                sending.dest,
            )
            answer = None if rax is None else bool(rax & 0xFF)
            asked = Asked(cpu, sending, answer, tuple(ids))
            self.note(session, asked=(*self.seen.asked, asked))
            if answer is None:
                return False
        await self._write_ids(session, zip(vcpus, own, strict=True))
        return True

    async def _read_id(self, session: Session, vcpu: int) -> int:
        return await session.view.read_u32(vcpu - VMM_BASE + APIC_ID)

    async def _write_ids(self, session: Session, ids: Iterable[tuple[int, int]]) -> None:
        for vcpu, apic_id in ids:
            at = vcpu - VMM_BASE + APIC_ID
            await session.gdb.write_phys(at, apic_id.to_bytes(4, "little"))

    async def _direct_calls(self, session: Session, director: Director) -> bool:
        """Let a SIPI come to three APs that do not wait yet, by functions that lead there."""
        view, vcpus = session.view, await vcpus_of(session)
        one, other = session.choice.some(2, _HIGH_VECTORS)
        last = await view.read_u64(view.phys("vcpus") + 8 * (len(vcpus) - 1))
        c = vcpus.index(last)  # the one with the highest number
        a, b = (cpu for cpu in (1, 2, 3) if cpu != c)
        calls = (
            (SIGNAL_SIPI, a, one, (vcpus[a], one)),
            (TAKES, c, other, (vcpus[0], SIPI | other, c)),
            (SIGNAL_SIPI, b, 0, (vcpus[b], 0)),
        )
        made = []
        for function, cpu, number, arguments in calls:
            if await self._call(session, function, *arguments) is None:
                return False
            startup = await view.read_u32(vcpus[cpu] - VMM_BASE + STARTUP)
            made.append(Direct(function, cpu, number, startup))
        await session.places.watch_all((RESET, WAIT, RUN, ENTER))
        for one in made:
            place, gif = "", True
            if await director.run(one.cpu, ENTER) == ("reached", ENTER):
                place, gif = await director.step(one.cpu, True, WAIT, RUN)
            if not place:  # it takes longer than it is followed
                _, place = await director.run(one.cpu, RESET, WAIT, RUN)
                gif = True
            if place == RUN:
                one = replace(one, ran=True)
            elif place == WAIT:
                one = replace(one, gif=gif)
                _, place = await director.run(one.cpu, RESET)
            if place == RESET:
                registers = await session.gdb.registers(one.cpu)
                cs, ip = registers.rsi & 0xFFFF, registers.rdx & 0xFFFF
                one = replace(one, cs=cs, ip=ip)
            where = view.place(await view.state(one.cpu))
            self.note(session, direct=(*self.seen.direct, replace(one, place=where)))
        first, other = self.pair
        stack = view.addr("boot_stack")
        sharing = Sharing(session, vcpus, self._call, stack + _BACK, first=first, other=other)
        await sharing.keep()
        await self._single_calls(session, vcpus[0])
        if all(one.right for one in self.seen.direct):
            for place in (RESET, WAIT, RUN, ENTER):
                await session.places.unwatch(place)
            self.note(session, together=await sharing.all())
        return True

    async def _single_calls(self, session: Session, vcpu: int) -> None:
        """Call localapic_icr and localapic_signal_init on the BSP.

        Args:
            session: the boot.
            vcpu: the virtual CPU of the BSP.
        """
        view, startup = session.view, vcpu - VMM_BASE + STARTUP
        sent, vector = len(view.icr()), session.choice.between(0x30, 0xFE)
        rax = await self._call(session, TAKES, vcpu, FIXED | vector, 0)
        refused = None if rax is None else not rax & 0xFF
        found = Single(refused=refused, written=len(view.icr()) - sent)
        self.note(session, single=found)
        calls = (("signalled", SIGNAL_INIT, (vcpu,)), ("taken", TAKES, (vcpu, INIT, 0)))
        for name, function, arguments in calls:
            await session.gdb.write_phys(startup, VCPU_RUNS.to_bytes(4, "little"))
            if await self._call(session, function, *arguments) is None:
                return
            found = replace(found, **{name: await view.read_u32(startup)})
            self.note(session, single=found)


def _questions(session: Session, ids: list[int]) -> list[tuple[int, Sending]]:
    """The arguments of localapic_is_destination: index of the CPU asked about, and what is sent."""
    cpus = session.inputs.cpus
    choice = session.choice
    one, other = choice.some(2, range(cpus))
    vector = choice.between(1, 0xFE)
    found = []
    for low in (INIT, SIPI | vector):
        for dest in (ids[one], ids[other], 0xFF, X2APIC_ALL, one, other, ids[one] | 0x100):
            for cpu in (one, other):
                found.append((cpu, Sending(other, low, dest, by_msr=True)))
        for shorthand in (SELF, ALL, OTHERS):
            for cpu in (one, other):
                for dest in (ids[one], X2APIC_ALL):
                    found.append((cpu, Sending(other, low | shorthand, dest, by_msr=True)))
    for dest in (ids[one], 1 << one, X2APIC_ALL):
        found.append((one, Sending(other, INIT | LOGICAL, dest, by_msr=True)))
    found.append((one, Sending(other, INIT | LOGICAL | OTHERS, ids[other], by_msr=True)))
    return found
