"""Calls call_initfunc in the middle of a call of call_initfunc, as another CPU may do.

The other call comes on the same CPU: what the two share are the variables only, since each has its
own registers and its own part of the stack. It comes after each store of a variable of the
student's, and if it does not return, a lock guards the variable, and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.multiboot import MixedCall
from vmmlab.observe.place import Place
from vmmlab.observe.session import Session
from vmmlab.probes.calling import stand_at
from vmmlab.probes.gathering import boot_stack
from vmmlab.probes.shared import Variables

_FUNCTION: Final = "call_initfunc"
_RETURNED: Final = "mixed call returned"
_BETWEEN: Final = "other call returned"
_BACK, _OTHER_BACK, _TEXT, _OTHER_TEXT = 0x100, 0x110, 0x120, 0x180
"""Offsets in the boot stack, whose low end nothing uses."""
_OTHER: Final = "nothing begins with this"
_STEPS_MOST: Final = 10000
_FUNCTIONS_MOST: Final = 64
_CALLS_MOST: Final = 600  # other calls


@dataclass
class Mixing:
    """Steps the BSP through a call of call_initfunc; another call comes after each store.

    What the first call does next is compared with what it does alone, and then all is put back. No
    init function runs: the BSP returns from each at its first instruction.

    Args:
        session: the boot; only the BSP runs, and it is on the boot stack.
        text: the group.
        functions: the init functions and their addresses.
    """

    session: Session
    text: str
    functions: Mapping[str, int]
    _variables: Variables = field(init=False)

    def __post_init__(self) -> None:
        """Find the variables."""
        self._variables = Variables(self.session)

    async def look(self) -> MixedCall | None:
        """Return the call that went wrong; None if none did, or if there are no variables."""
        session, base = self.session, self.session.view.addr("boot_stack")
        if not self._variables.ranges:
            return None
        hits, before = len(session.log.hits), await self._state()
        places = {_FUNCTION: session.view.addr(_FUNCTION), **self.functions}
        watched = {one: at for one, at in places.items() if session.places.at(at) == one}
        await session.places.unwatch(_FUNCTION)
        for name, address in self.functions.items():
            await session.places.watch(name, address)
        for name, offset in ((_RETURNED, _BACK), (_BETWEEN, _OTHER_BACK)):
            await session.places.watch(name, base + offset)
        for text, offset in ((self.text, _TEXT), (_OTHER, _OTHER_TEXT)):
            await session.gdb.write_phys(base + offset - VMM_BASE, text.encode() + b"\0")
        found = await self._compare()
        if session.ended:
            return found
        for name in (_RETURNED, _BETWEEN, *self.functions):
            await session.places.unwatch(name)
        for name, address in watched.items():
            await session.places.watch(name, address)
        await self._put_back(before)
        session.stands_at(0, before[0]["rip"])
        del session.log.hits[hits:]
        return found

    async def _state(self) -> tuple[dict[str, int], bytes, bytes]:
        context = (await self.session.gdb.registers(0)).context
        return context, await self._variables.held(), await boot_stack(self.session)

    async def _put_back(self, state: tuple[dict[str, int], bytes, bytes]) -> None:
        registers, held, stack = state
        await self._variables.put_back(held)
        await self.session.gdb.write_phys(self.session.view.phys("boot_stack"), stack)
        await self.session.gdb.write_registers(0, registers)

    async def _compare(self) -> MixedCall | None:
        """Let the BSP make the call alone, and then step by step with another one between."""
        before, alone = await self._state(), list[str]()
        if not await self._stand():
            return None
        while (called := await self._next()) in self.functions and len(alone) < _FUNCTIONS_MOST:
            alone.append(called)
            await self._return()
        if called != _RETURNED:
            return None
        await self._put_back(before)
        return await self._step_through((*alone, _RETURNED)) if await self._stand() else None

    async def _stand(self) -> bool:
        base = self.session.view.addr("boot_stack")
        at = await stand_at(self.session, _FUNCTION, base + _BACK, base + _TEXT)
        return at is not None

    async def _next(self) -> str:
        """Let the BSP run to the next init function, or back; "" if it comes to neither."""
        verdict, state = await self.session.run_to(0, _RETURNED, *self.functions, attempts=1)
        return self.session.places.at(state.pc) or "" if verdict == "reached" else ""

    async def _return(self) -> None:
        state, back = await self.session.view.state(0), await self.session.return_address(0)
        if back is not None:
            rsp = state.rsp + self.session.view.abi.word
            await self.session.gdb.write_registers(0, {"rsp": rsp, "rip": back})

    async def _step_through(self, alone: tuple[str, ...]) -> MixedCall | None:
        session, calls, tried = self.session, 0, 0
        for _ in range(_STEPS_MOST):
            at = await self._stores()
            if not await session.step(0):
                return None
            place = session.places.at((await session.view.state(0)).pc)
            if place == _RETURNED:
                return None
            if place in self.functions:
                calls += 1
                await self._return()
            if at is None or calls >= len(alone):
                continue
            tried += 1
            before = await self._state()
            if not await self._come_between():
                return None  # it waits for the first call
            found = await self._next()
            if found != alone[calls]:
                return MixedCall(self.text, _OTHER, at, alone[calls], found)
            if tried >= _CALLS_MOST:
                return None
            await self._put_back(before)
        return None

    async def _stores(self) -> Place | None:
        """Where the student's code is about to store a variable; None if it is not."""
        view = self.session.view
        state = await view.state(0)
        if view.symbols.owner(state.pc) != "student" or not await self._variables.stored(0):
            return None
        return view.place(state)

    async def _come_between(self) -> bool:
        """Make the other call, and go back to where the first one was; False if it hangs."""
        session, base = self.session, self.session.view.addr("boot_stack")
        context = (await session.gdb.registers(0)).context
        if await stand_at(session, _FUNCTION, base + _OTHER_BACK, base + _OTHER_TEXT) is None:
            return False
        verdict, _ = await session.run_to(0, _BETWEEN, attempts=1)
        await session.gdb.write_registers(0, context)
        return verdict == "reached"
