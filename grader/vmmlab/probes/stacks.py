"""Probes of the stack switch: the BSP's own, and a call that the grader makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.evidence import PlacedCall, Switch
from vmmlab.observe.milestones import rest_places
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe, note_allocation, nowhere, write_pointer
from vmmlab.probes.calling import stand_at
from vmmlab.probes.gathering import boot_stack
from vmmlab.probes.registry import probe
from vmmlab.probes.shared import Variables

_TOP_BYTES: Final = 64  # of the new stack, to see whether anything was pushed
_ABOVE: Final = 16  # bytes above it, which belong to no one
_BELOW: Final = 16  # bytes below the new stack, which belong to whoever allocated before
_HIGH_STACK: Final = 0xFFFF_8305_0000_1230  # not mapped: nothing may be pushed there
_HIGH_TARGET: Final = 0xFFFF_8606_0000_4568  # the same for the function that is jumped to
_HIGH_GIVEN: Final = (0xFFFF_8606_0000_5568, 0xFFFF_8606_0000_6568)
_LOWER: Final = 0xFFFF_FFFF
_ASKED, _LOW = "called.asked", "called.low"
_GENERAL: Final = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "eflags",
)  # fmt: skip
_BUDGET: Final = 64  # instructions of asm_wrrsp_and_jmp that are looked at one by one


@probe("switch")
@dataclass
class SwitchProbe(BaseProbe):
    """Records the BSP's switch to its own stack.

    Args:
        swap: exchange the two arguments of start_all_processors.
        holds: "initproc" or "stackaddr": what holds another value before it is to be stored. If it
            still does afterwards, the probe stores it, so that the boot goes on.
        elsewhere: in its place call bsp_continue, and for vmm_parked; the VMM itself only ever asks
            for bspinitproc1.
    """

    swap: bool = False
    elsewhere: bool = False
    holds: str = ""

    places: tuple[str, ...] = (
        "start_all_processors", "bsp_continue", "bspinitproc1", "bsp_proc", "ap_proc", "ap_entry",
        "apinitproc0", "apinitproc1",
    )  # fmt: skip

    async def hit(self, session: Session, hit: Hit) -> None:
        """Record what alloc returned, what was stored, and the boot stack from here on."""
        if hit.place == "start_all_processors":
            await self._started(session, hit)
        if hit.place == "alloc" and hit.cpu == 0:
            await note_allocation(session, hit)
            await self._look_at_top(session)
        if hit.cpu == 0 and hit.place in ("bspinitproc1", "bsp_proc", "ap_proc", *rest_places()):
            await self._stored(session)
        if hit.place == "bspinitproc1" and _switch(session).boot_stack_left is None:
            await session.places.unwatch("alloc")
            left = await boot_stack(session)
            session.log.switch = replace(_switch(session), boot_stack_left=left)
            await self._look_at_top(session)
        if hit.place == "vmm_parked" and hit.cpu == 0:
            end = await boot_stack(session)
            session.log.switch = replace(_switch(session), boot_stack_end=end)

    async def _look_at_top(self, session: Session) -> None:
        """Record the bytes around the top of the stack that alloc returned first.

        Once when it is filled, and then as they are now.
        """
        size = session.inputs.stack_size
        made = (one.address for one in session.log.cpus[0].allocations if one.size == size)
        base = next(made, None)
        if base is None or not VMM_BASE <= base < 2 * VMM_BASE:
            return
        top = base + size - VMM_BASE
        found = await session.view.read_if_there(top - _TOP_BYTES, _TOP_BYTES)
        above = await session.view.read_if_there(top, _ABOVE)
        below = await session.view.read_if_there(base - VMM_BASE - _BELOW, _BELOW)
        known = _switch(session)
        if known.top_filled is not None:
            session.log.switch = replace(
                known, top_found=found, above_found=above, below_found=below
            )
            return
        if not any(above):
            above = session.choice.randbytes(len(above))
            await session.gdb.write_phys(top, above)
        session.log.switch = replace(
            known, top_filled=found, above_filled=above, below_filled=below
        )

    async def quiet(self, session: Session) -> bool:
        """Record now, since the BSP reached no place at all."""
        await self._stored(session)
        return False

    async def over(self, session: Session) -> None:
        """Record at the end if the BSP came to rest before that, with a panic for example."""
        await BaseProbe.over(self, session)
        if not session.ended and _switch(session).given_bsp is not None:
            await self._stored(session)

    async def _stored(self, session: Session) -> None:
        """Record once what start_all_processors and bsp_continue have stored, on leaving them."""
        known = _switch(session)
        if known.stackaddr is not None:
            return
        view, now = session.view, await session.view.state(0)
        began = session.log.at("start_all_processors", 0)
        if began and view.abi.word == 8:  # GS leads to the per-CPU data, and may have been lost
            now = replace(now, gs_base=began[0].state.gs_base)
        session.log.switch = replace(
            known,
            stackaddr=await view.stackaddr(now) or 0,
            initproc_bsp=await view.read_pointer(view.phys("initproc_bsp")),
            initproc_ap=await view.read_pointer(view.phys("initproc_ap")),
        )
        if known.held is not None:
            await self._mend(session)

    async def _started(self, session: Session, hit: Hit) -> None:
        view = session.view
        await session.places.watch("alloc")
        given = [await view.argument(0, hit.place, number) for number in (0, 1)]
        if self.swap:
            given.reverse()
            if self.holds == "initproc" and session.inputs.cpus == 1:
                given[1] = 0  # no AP calls it
            for number, value in enumerate(given):
                await view.set_argument(0, hit.place, number, value)
            session.log.hits[-1] = replace(hit, state=await view.state(0))
        session.log.switch = replace(_switch(session), given_bsp=given[0], given_ap=given[1])
        if view.abi.on_stack:
            await self._mislead(session)
        if self.holds:
            await self._hold(session)
        if self.elsewhere:
            await view.set_argument(0, "bsp_continue", 0, view.addr("vmm_parked"))
            await session.gdb.write_register(0, "rip", view.addr("bsp_continue"))

    async def _hold(self, session: Session) -> None:
        """Put a value into what is to be stored: it is stored whatever was there before."""
        held = nowhere(session)
        session.log.switch = replace(_switch(session), held=held)
        for at, _ in await self._held(session):
            await write_pointer(session, at, held)

    async def _mend(self, session: Session) -> None:
        """Store what still holds the other value."""
        for at, right in await self._held(session):
            if right and await session.view.read_pointer(at) == _switch(session).held:
                await write_pointer(session, at, right)

    async def _held(self, session: Session) -> list[tuple[int, int]]:
        """Return the physical addresses of what is held, and the right values; 0: unknown."""
        view, known = session.view, _switch(session)
        if self.holds == "initproc":
            given = (("initproc_bsp", known.given_bsp), ("initproc_ap", known.given_ap))
            return [(view.phys(name), value or 0) for name, value in given]
        at = view.stackaddr_at((await view.state(0)).gs_base)
        size = session.inputs.stack_size
        made = [one.address for one in session.log.cpus[0].allocations if one.size == size]
        return [] if at is None else [(at, made[-1] if made else 0)]

    async def _mislead(self, session: Session) -> None:
        """Leave other functions where an asmlinkage function would look for its arguments.

        The caller's frame is there; nothing returns to it.
        """
        view = session.view
        decoys = [view.addr("vmm_parked") + number for number in (0, 1)]
        session.log.switch = replace(_switch(session), decoy_bsp=decoys[0], decoy_ap=decoys[1])
        for number, decoy in enumerate(decoys):
            at = (await view.state(0)).rsp + (1 + number) * view.abi.word
            physical = await view.translate(0, at)
            if physical is not None:
                await write_pointer(session, physical, decoy)


def _switch(session: Session) -> Switch:
    return session.log.switch or Switch()


@probe("calls")
@dataclass
class CallsProbe(BaseProbe):
    """Calls asm_wrrsp_and_jmp as its declaration says, with decoys where no arguments are.

    The grader itself makes the call, in place of start_all_processors: so the caller is right,
    whatever else the student wrote.
    """

    places: tuple[str, ...] = ("start_all_processors",)
    delays: Mapping[str, int] = field(default_factory=dict, init=False)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Make the calls, see where they lead, and end the boot."""
        if hit.place == "start_all_processors" and hit.cpu == 0:
            view, kept = session.view, None
            variables = Variables(session)
            held = await variables.held()
            if not view.abi.on_stack:
                kept = await self._start(session)
            await variables.put_back(held)  # each call is the first one
            await self._call(session, hit.state.rsp)
            await variables.put_back(held)
            known = session.log.call
            if known is not None and not view.abi.on_stack:
                known = session.log.call = replace(known, given=_HIGH_GIVEN, kept=kept)
            if known is not None and session.places.at((await view.state(0)).pc) == _ASKED:
                await self._continue(session, known, hit.state.rsp)
        session.finished = True

    async def _start(self, session: Session) -> tuple[int, int] | None:
        """Let start_all_processors store functions above 4 GiB; return what it has stored."""
        view = session.view
        registers = (await session.gdb.registers(0)).as_dict()
        for number, function in enumerate(_HIGH_GIVEN):
            await view.set_argument(0, "start_all_processors", number, function)
        ends = ("asm_wrrsp_and_jmp", "bspinitproc1", "vmm_todo")
        await session.places.watch_all(ends)
        await session.run_to(0, *ends, attempts=1)
        for name in ends[:2]:
            await session.places.unwatch(name)
        if session.ended:
            return None
        names = ("initproc_bsp", "initproc_ap")
        stored = [await view.read_pointer(view.phys(name)) for name in names]
        await session.gdb.write_registers(0, {name: registers[name] for name in _GENERAL})
        return stored[0], stored[1]

    async def _continue(self, session: Session, known: PlacedCall, rsp: int) -> None:
        """Call bsp_continue for a function above 4 GiB, and see where it leads."""
        base = session.view.addr("boot_stack")
        await session.places.watch(_LOW, _HIGH_TARGET & _LOWER)
        await session.gdb.write_register(0, "rsp", rsp)
        if await stand_at(session, "bsp_continue", base + 0x30, _HIGH_TARGET) is not None:
            verdict, state = await session.run_to(0, _ASKED, _LOW, "vmm_todo", attempts=1)
            if verdict == "reached":
                session.log.call = replace(known, continued=state.pc)

    async def _watch_variables(self, session: Session, values: dict[int, int]) -> int | None:
        """Step a CPU through the function, with another call of it at each store of a variable.

        What a call keeps in a variable that exists once for all CPUs, a call on another CPU
        changes.

        Args:
            session: the boot.
            values: the arguments, and what the other call has in place of each.

        Returns:
            Where the variable is that held an argument, or None.
        """
        variables, found = Variables(session), None
        for _ in range(_BUDGET if variables.ranges else 0):
            touched = await variables.touched(0)
            if not await session.step(0):
                break
            state = await session.view.state(0)
            for one in touched:
                at = one.address if one.writes and not one.locked else None
                if at is not None and await _replace(session, at, values):
                    found = at
            if place := session.places.at(state.pc):
                await session.note_stepped(0, place, state)
                break
        return found

    async def _call(self, session: Session, rsp: int) -> None:
        view = session.view
        base, word = view.addr("boot_stack"), view.abi.word
        low = (base + 0x400, base + 0x10)
        asked = low if view.abi.on_stack else (_HIGH_STACK, _HIGH_TARGET)
        decoy = (base + 0x800, base + 0x20)
        places = {_ASKED: asked[1], "called.decoy": decoy[1], "returned": base + 0x30}
        session.log.call = PlacedCall(asked[0], decoy[0], asked[1])
        for name, address in places.items():
            await session.places.watch(name, address)
        rsp = (rsp - 0x100 & ~0xF) - word  # as a call leaves it
        on_stack, in_registers = (asked, decoy) if view.abi.on_stack else (decoy, asked)
        words = (places["returned"], *on_stack)
        frame = b"".join(value.to_bytes(word, "little") for value in words)
        await session.gdb.write_phys(rsp - VMM_BASE, frame)
        more = len(view.abi.registers) - len(in_registers)
        values = (*in_registers, *[decoy[1]] * more)
        registers = zip(view.abi.registers, values, strict=True)
        target = view.addr("asm_wrrsp_and_jmp")
        for register, value in (*registers, ("rsp", rsp), ("rip", target)):
            await session.gdb.write_register(0, register, value)
        if not view.abi.on_stack:
            shared = await self._watch_variables(session, dict(zip(asked, decoy, strict=True)))
            session.log.call = replace(session.log.call, shared=shared)
        if session.places.at((await view.state(0)).pc) not in places:
            await session.run_to(0, *places)


async def _replace(session: Session, address: int, values: dict[int, int]) -> bool:
    """Replace an argument in a variable by that of another call; False if none is there."""
    at, word = address - VMM_BASE, session.view.abi.word
    held = int.from_bytes(await session.gdb.read_phys(at, word), "little")
    if held in values:
        await session.gdb.write_phys(at, values[held].to_bytes(word, "little"))
    return held in values
