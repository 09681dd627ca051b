"""Lets another CPU execute a function of lab 9 in the middle of a call of it, and compares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.place import Place
from vmmlab.observe.session import Session
from vmmlab.probes.calling import stand_at
from vmmlab.probes.shared import Variables

from .director import AP_START, ENTER, RESET, STARTUP, TAKES, WAIT
from .evidence import Called, Outcome, Together
from .script import FIXED, INIT, SELF, SIPI

WRITE, X2APIC_WRITE = "localapic_write", "localapic_x2apic_icr"
IS_DESTINATION: Final = "localapic_is_destination"
SIGNAL_INIT, SIGNAL_SIPI = "localapic_signal_init", "localapic_signal_sipi"
_APIC_WRITE, _APIC_READ, _SEND = "apic_write", "apic_read", "apic_write_icr"
_ARGUMENTS: Final = {
    TAKES: 3, SIGNAL_INIT: 1, SIGNAL_SIPI: 2, WAIT: 1, RESET: 3, AP_START: 0, _APIC_WRITE: 2,
}  # fmt: skip
"""The functions whose calls are compared, and how many arguments each has."""
_RUN_THROUGH: Final = (AP_START, RESET, _APIC_WRITE, _APIC_READ, _SEND, "memset", "memcpy")
_SHORT_ARGUMENTS: Final = {SIGNAL_SIPI: 0xFF, RESET: 0xFFFF}
_BOOL: Final = (TAKES, IS_DESTINATION)
_REGISTERS: Final = ("rdi", "rsi", "rdx", "rcx")
_ICR, _ICR_HIGH, _TPR = 0x300, 0x310, 0x80
_NOBODY: Final = 0xC7  # an APIC id that no CPU has
_BUDGET, _SLICE = 4000, 400  # instructions
_SUBJECT: Final = 2  # the CPU that is meant

Call = Callable[..., Awaitable[int | None]]
"""Calls a function on a CPU: function, arguments, `cpu`."""


@dataclass(frozen=True)
class _Case:
    """A function that two CPUs execute.

    Args:
        function: its name.
        arguments: those of the first CPU.
        others: those of the other CPU, which must not matter to the first one.
        before: calls that come before: function, arguments, CPU.
        of_itself: whether v->startup of the first CPU is compared, not that of the one that is
            meant.
    """

    function: str
    arguments: tuple[int, ...]
    others: tuple[int, ...]
    before: tuple[tuple[str, tuple[int, ...], int], ...] = ()
    of_itself: bool = False


@dataclass
class _Walk:
    """A CPU that executes a function, one instruction after the other."""

    session: Session
    cpu: int
    back: int
    calls: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    returned: int | None = None
    over: bool = False
    failed: bool = False

    async def step(self) -> None:
        """Execute an instruction, or all of a given function."""
        session, symbols = self.session, self.session.view.symbols
        if not await session.step(self.cpu):
            self.over = self.failed = True
            return
        state = await session.view.state(self.cpu)
        name = next((one for one in _NAMES if symbols.maybe(one) == state.pc), "")
        if name in _ARGUMENTS:
            registers = (await session.gdb.registers(self.cpu)).as_dict()
            found = (registers[one] for one in _REGISTERS[: _ARGUMENTS[name]])
            self.calls.append((name, tuple(found)))
        if name in _RUN_THROUGH:
            state = await session.run_to_return(self.cpu, state)
        if name == WAIT or state.pc == self.back:
            self.over, self.returned = True, state.rax

    async def go_on(self) -> None:
        """Go on to the end, or for as long as another CPU may have to wait for it."""
        for _ in range(_SLICE):
            if not self.over:
                await self.step()


_NAMES: Final = tuple(dict.fromkeys((*_ARGUMENTS, *_RUN_THROUGH)))


@dataclass
class Sharing:
    """Calls functions on one CPU, in the middle of which another one calls them, too.

    All is as it was before each call: the student's variables, v->startup and the registers. If a
    call alone does not do the same each time, nothing is said about it. If the student's files have
    no variables, nothing is called.

    Args:
        session: the boot; four CPUs, whose virtual CPUs run, stand in the VMM.
        vcpus: addresses of the virtual CPUs, by their APIC ids.
        call: calls a function on a CPU.
        back: where a call returns to.
        first: the CPU that is compared.
        other: the one that comes in between.
    """

    session: Session
    vcpus: Sequence[int]
    call: Call
    back: int
    first: int = 0
    other: int = 1
    _held: bytes = field(default=b"", init=False)
    _states: list[bytes] = field(default_factory=list, init=False)
    _kept: dict[int, dict[str, int]] = field(default_factory=dict, init=False)

    @property
    def _variables(self) -> Variables:
        return Variables(self.session)

    async def keep(self) -> None:
        """Take note of how all is now."""
        self._held = await self._variables.held()
        for one in self.vcpus:
            self._states.append(await self.session.gdb.read_phys(one - VMM_BASE + STARTUP, 4))
        for cpu in (self.first, self.other):
            self._kept[cpu] = (await self.session.gdb.registers(cpu)).context

    async def _restore(self) -> None:
        gdb = self.session.gdb
        await self._variables.put_back(self._held)
        for one, state in zip(self.vcpus, self._states, strict=True):
            await gdb.write_phys(one - VMM_BASE + STARTUP, state)
        for cpu, registers in self._kept.items():
            await gdb.write_registers(cpu, registers)

    async def all(self) -> tuple[Together, ...]:
        """Return what the first CPU does otherwise because the other one comes between."""
        found: dict[str, Together] = {}
        for case in self._cases() if self._variables.ranges else ():
            if self.session.ended:
                break
            alone, stores, _ = await self._run(case, "")
            functions = {one.lab_function for one in stores} - found.keys()
            for function in sorted(functions) if alone is not None else ():
                both, _, came = await self._run(case, function)
                if alone is None or both is None or came is None or both.same_as(alone):
                    continue
                again, _, _ = await self._run(case, "")
                if again == alone:
                    one = Together(case.function, self.first, self.other, came, alone, both)
                    found[function] = one
        return tuple(found.values())

    def _cases(self) -> tuple[_Case, ...]:
        first, other = self.first, self.other
        own, others, v = (self.vcpus[cpu] for cpu in (first, other, _SUBJECT))
        w = next(one for one in self.vcpus if one not in (own, others, v))
        choice = self.session.choice
        one, two = choice.some(2, range(0xA0, 0x100))
        waits = ((SIGNAL_INIT, (v,), first), (SIGNAL_INIT, (w,), first))
        init, sipi, fixed = INIT, SIPI | one, FIXED | two
        to_subject, to_nobody = _SUBJECT << 32, _NOBODY << 32
        low, high = choice.some(2, range(1, 0x10))
        both_begin = tuple(
            (name, arguments, cpu)
            for cpu, at, vector in ((first, own, one), (other, others, two))
            for name, arguments in ((SIGNAL_INIT, (at,)), (SIGNAL_SIPI, (at, vector)))
        )
        return (
            _Case(SIGNAL_SIPI, (v, one), (w, two), waits),
            _Case(SIGNAL_INIT, (v,), (w,)),
            _Case(IS_DESTINATION, (v, own, init, _SUBJECT), (w, others, init | SELF, _NOBODY)),
            _Case(TAKES, (own, sipi, _SUBJECT), (others, init, _NOBODY), waits),
            _Case(TAKES, (own, sipi, _SUBJECT), (others, fixed, _NOBODY), waits),
            _Case(WRITE, (own, _ICR, sipi), (others, _ICR, init), waits),
            _Case(WRITE, (own, _ICR, sipi), (others, _ICR, fixed), waits),
            _Case(WRITE, (own, _ICR, fixed), (others, _ICR, init), waits),
            _Case(WRITE, (own, _TPR, low << 4), (others, _TPR, high << 4)),
            _Case(X2APIC_WRITE, (own, to_subject | sipi), (others, to_nobody | init), waits),
            _Case(X2APIC_WRITE, (own, to_subject | sipi), (others, to_nobody | fixed), waits),
            _Case(WAIT, (own,), (others,), both_begin, of_itself=True),
            # The last one: on return GIF is 0.
            _Case(ENTER, (own,), (others,), ((SIGNAL_INIT, (others,), other),), of_itself=True),
        )

    async def _stored(self) -> Place | None:
        """Where the student's code is about to store a shared variable; None if it is not."""
        view = self.session.view
        state = await view.state(self.first)
        if view.symbols.owner(state.pc) != "student":
            return None
        return view.place(state) if await self._variables.stored(self.first) else None

    async def _run(
        self, case: _Case, function: str
    ) -> tuple[Outcome | None, tuple[Place, ...], Place | None]:
        """Let the first CPU execute a function; the other comes when it has stored a variable.

        Args:
            case: what they execute.
            function: the function in which the first CPU stores it; "" to let it run alone.

        Returns:
            What the first CPU did, None if it has not come back; where it stored variables; where
            the other one came first.
        """
        session, stores, came = self.session, list[Place](), None
        await self._restore()
        for name, arguments, cpu in case.before:
            if await self.call(self.session, name, *arguments, cpu=cpu) is None:
                return None, (), None
        for cpu, dest in ((self.first, _SUBJECT), (self.other, _NOBODY)):
            await self.call(self.session, _APIC_WRITE, _ICR_HIGH, dest << 24, cpu=cpu)
        sent = len(session.view.icr())
        first, other = await self._walk(self.first, case.function, case.arguments), None
        for steps in range(_BUDGET):
            at = await self._stored()
            await first.step()
            if first.over:
                break
            if at is not None:
                stores.append(at)
            if at is not None and at.lab_function == function and (other is None or other.over):
                came = came or at
                await session.gdb.write_registers(self.other, self._kept[self.other])
                other = await self._walk(self.other, case.function, case.others)
                await other.go_on()
            elif other is not None and not steps % _SLICE:
                await other.go_on()  # the first one may wait for it
        if not first.over or first.failed:
            return None, tuple(stores), came
        return await self._outcome(case, first, sent), tuple(stores), came

    async def _walk(self, cpu: int, function: str, arguments: tuple[int, ...]) -> _Walk:
        walk = _Walk(self.session, cpu, self.back)
        if await stand_at(self.session, function, self.back, *arguments, cpu=cpu) is None:
            walk.over = walk.failed = True
        return walk

    async def _outcome(self, case: _Case, walk: _Walk, sent: int) -> Outcome:
        session, view = self.session, self.session.view
        subject = self.vcpus[self.first if case.of_itself else _SUBJECT] - VMM_BASE
        startup = await view.read_u32(subject + STARTUP)
        written = tuple((one.dest, one.low) for one in view.icr()[sent:])
        value = walk.returned if case.function in _BOOL else None
        await session.gdb.write_registers(self.first, self._kept[self.first])
        high = await self.call(self.session, _APIC_READ, _ICR_HIGH, cpu=self.first)
        return Outcome(
            calls=tuple(self._called(*one) for one in walk.calls if not _of_the_high_half(*one)),
            returned=None if value is None else bool(value & 0xFF),
            startup=startup,
            sent=written,
            high=(high or 0) >> 24 & 0xFF,
        )

    def _called(self, function: str, arguments: tuple[int, ...]) -> Called:
        """What was called; a virtual CPU by its APIC id."""
        short = _SHORT_ARGUMENTS.get(function, 0xFFFFFFFF)
        ids = {at: number for number, at in enumerate(self.vcpus)}
        return Called(function, tuple(ids.get(one, one & short) for one in arguments))


def _of_the_high_half(function: str, arguments: tuple[int, ...]) -> bool:
    """Whether a call writes APIC_ICR_HIGH: only the final value counts."""
    return function == _APIC_WRITE and arguments[0] & 0xFFFFFFFF == _ICR_HIGH
