"""The probe of lab 9: lets the guest send what the lab's script says, one CPU at a time.

Each CPU is held when its virtual CPU is ready. Then the grader calls functions of the lab itself,
or it directs the guest (`director`), or it holds a CPU at an instruction while an INIT comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Literal

from vmmlab.observe.observation import Hit
from vmmlab.observe.place import Place
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe
from vmmlab.probes.guest import STARTS
from vmmlab.probes.registry import probe

from .asking import AskingProbe
from .director import (
    ACKED,
    AP_START,
    BEGINS,
    CAME,
    CPUID_CODE,
    CPUID_EXT,
    DIRECTED,
    ENTER,
    PLACES,
    RESET,
    RUN,
    WAIT,
    Director,
    store,
)  # fmt: skip
from .evidence import Entered, Race, Sent, Written
from .script import (
    FIXED,
    INIT,
    LOGICAL,
    OTHERS,
    SELF,
    SIPI,
    X2APIC_ALL,
    Expected,
    Sending,
    everything,
)  # fmt: skip

WRITE_ICR: Final = "apic_write_icr"
TIMES: Final = 300
"""So often an INIT is sent to nobody."""
_FREE_PAGES: Final = range(0x38, 0x9E)
_HIGH_PAGES: Final = range(0x80, 0x9E)  # vectors of 8 bits
_NOBODY: Final = 0xC7  # an APIC id that no CPU has
_OTHER_MODES: Final = (0x100, 0x200, 0x400, 0x700)
_BOUNDARIES, _LONGEST = 16, 400
_SVR, _TPR, _LDR, _DFR, _ERRORS = 0xF0, 0x80, 0xD0, 0xE0, 0x280
_LVT_TIMER, _LVT_COUNTER, _LVT_ERROR, _COUNT, _DIVIDE = 0x320, 0x340, 0x370, 0x380, 0x3E0
_FLAT: Final = 0xFFFFFFFF  # of the register _DFR
_EOI: Final = 0xB0
_MASKED: Final = 1 << 16


@probe("processors", cost=5)
@dataclass
class ProcessorsProbe(AskingProbe):
    """Directs the guest, and records what its processors do.

    Args:
        what: "script": everything that the script of the lab sends; "alone": calls by the grader,
            and what one CPU sends to nobody and to itself; "race": an INIT at an instruction;
            "x2apic": by the MSR of x2APIC mode; "direct": functions called by the grader.
        victim: the CPU that must not lose an INIT: 1, or the BSP.
        pair: as for `AskingProbe`.
    """

    records_guests: ClassVar[bool] = True
    places: tuple[str, ...] = (*BaseProbe.places, STARTS)
    what: Literal["script", "alone", "race", "x2apic", "direct"] = "script"
    victim: int = 1
    _ready: set[int] = field(default_factory=set, init=False)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Hold each CPU that has a virtual CPU; when all have one, begin."""
        await BaseProbe.hit(self, session, hit)
        if hit.place != STARTS:
            return
        self._ready.add(hit.cpu)
        session.held.add(hit.cpu)
        if len(self._ready) == session.inputs.cpus:
            await self._direct(session)
            session.finished = True

    async def _direct(self, session: Session) -> None:
        director = Director(session)
        self.note(session)
        if self.what == "alone" and not await self._ask(session):
            return
        if self.what == "direct":
            self.note(session, complete=await self._direct_calls(session, director))
            return
        await session.gdb.write_phys(DIRECTED, b"\1")
        await session.places.watch_all((ENTER, WAIT, RESET, AP_START))
        for name, address in PLACES:
            await session.places.watch(name, address)
        if not await self._enter_all(session, director):
            return
        await session.places.unwatch(ENTER)
        done = {
            "script": self._script,
            "alone": self._alone,
            "race": self._race,
            "x2apic": self._x2apic,
        }[self.what]
        if await done(session, director):
            self.note(session, complete=True)

    # ---- localapic_enter -----------------------------------------------------------------------

    async def _enter_all(self, session: Session, director: Director) -> bool:
        """Follow each CPU into localapic_enter; return whether the guest of the BSP runs."""
        for cpu in sorted(range(session.inputs.cpus), reverse=True):
            if await director.run(cpu, ENTER) != ("reached", ENTER):
                return False
            reached, gif = await director.step(cpu, True, RUN, WAIT)
            place = session.view.place(await session.view.state(cpu))
            entered = Entered(reached, gif, place)
            if cpu and reached == WAIT:
                verdict = await director.still_waits(cpu)
                after = session.view.place(await session.view.state(cpu))
                entered = replace(entered, then=verdict, then_place=after)
            self.note(session, entered={**self.seen.entered, cpu: entered})
            if session.ended:
                return False
        return await director.run(0, CAME, WAIT) == ("reached", CAME)

    # ---- what a boot does ----------------------------------------------------------------------

    async def _script(self, session: Session, director: Director) -> bool:
        """Write to registers, then send everything that the script has."""
        choice = session.choice
        registers = (
            (_SVR, 0x100 | choice.between(0x21, 0xFE)),
            (_TPR, choice.between(1, 0xFF)),
            (_LDR, choice.between(1, 0xFE) << 24),
            *(
                (one, _MASKED | choice.between(0x20, 0xFE))
                for one in (_LVT_TIMER, _LVT_COUNTER, _LVT_ERROR)
            ),
            (_DFR, _FLAT),
            (_ERRORS, 0),
            (_COUNT, choice.between(1 << 24, (1 << 32) - 1)),
            (_DIVIDE, 0xB),
            (_TPR, 0),
            (_EOI, 0),
            (_EOI, choice.between(1, 0xFF)),  # the contract has no other rule for it
            (0x310, choice.between(0, 3) << 24),
            (0x300, FIXED | SELF | choice.between(0x30, 0xFE)),
            (0x300, FIXED | LOGICAL | choice.between(0x30, 0xFE)),
            (0x310, _NOBODY << 24),  # all delivery modes but INIT and SIPI
            *((0x300, FIXED | mode | 0x42) for mode in _OTHER_MODES),
        )
        for number, (offset, value) in enumerate(registers):
            done = await director.command(0, store(offset, value, number), value)
            written = Written(offset, value, done)
            self.note(session, written=(*self.seen.written, written))
            if not done:
                return False
        vectors = [choice.pick(_HIGH_PAGES)]
        vectors += choice.some(8, [one for one in _FREE_PAGES if one not in vectors])
        await director.prepare(*vectors)
        aps = choice.some(3, range(1, session.inputs.cpus))
        return await self._send_all(session, director, everything(vectors, aps))

    async def _send_all(
        self, session: Session, director: Director, sendings: tuple[Sending, ...]
    ) -> bool:
        """Send one after the other; stop at the first that does not come out right.

        If a CPU is overlooked that is counted only in handle_ap_start, or something is not taken
        for its level, the same is sent again without that: what comes then is another matter.
        """
        running = {0}
        for number, sending in enumerate(sendings):
            before = set(running)
            sent = await director.send(sending, running, number)
            self.keep(session, sent)
            if (again := sent.again) is not None and not session.ended:
                running = before
                sent = await director.send(again, running, number)
                self.keep(session, sent)
            if not sent.goes_on or session.ended:
                return False
        return True

    def keep(self, session: Session, sent: Sent) -> None:
        """Record what came of something that was sent."""
        self.note(session, sent=(*self.seen.sent, sent))

    async def _alone(self, session: Session, director: Director) -> bool:
        """Send INIT to CPUs that do not exist, many times, and then to itself."""
        nobody = session.choice.between(session.inputs.cpus, 0xFE)
        sendings = (
            Sending(0, INIT, nobody),
            Sending(0, SIPI | 0x99, nobody),
        )
        if not await self._send_all(session, director, sendings):
            return False
        loop = (
            b"\xb9" + TIMES.to_bytes(4, "little")  # mov $TIMES, %ecx
            + b"\x89\x83\x00\x03\x00\x00"  # 1: mov %eax, 0x300(%rbx)
            + b"\xff\xc9\x75\xf6"  # dec %ecx; jnz 1b
        )  # fmt: skip
        await session.places.unwatch(AP_START)
        if not await director.long_command(0, loop, INIT):
            return False
        if not await director.long_command(0, store(0x310, 1 << 24, 0) + loop, INIT):
            self.note(session, stopped_at_many=True)
            return False
        await session.places.watch(AP_START)
        return await self._send_all(session, director, (Sending(0, INIT | SELF),))

    async def _x2apic(self, session: Session, director: Director) -> bool:
        """Send by the MSR of x2APIC mode."""
        v = session.choice.some(3, _FREE_PAGES)
        await director.prepare(*v)
        last = session.inputs.cpus - 1
        vector = session.choice.between(0x30, 0xFE)
        sendings = (
            Sending(0, FIXED | vector, last, by_msr=True),
            Sending(0, INIT, last, by_msr=True),
            Sending(0, SIPI | v[0], last, by_msr=True),
            Sending(0, INIT, 0xFF, by_msr=True),  # nobody has this id
            Sending(0, INIT, last | 0x10000, by_msr=True),  # nor this one
            Sending(0, INIT | OTHERS, 0, by_msr=True),
            Sending(0, SIPI | v[1], X2APIC_ALL, by_msr=True),
            Sending(last, INIT, X2APIC_ALL, by_msr=True),
        )
        return await self._send_all(session, director, sendings)

    # ---- an INIT at an instruction -------------------------------------------------------------

    async def _race(self, session: Session, director: Director) -> bool:
        """Let an INIT come at each instruction of localapic_enter, and at some others."""
        vectors = session.choice.some(2, _FREE_PAGES)
        await director.prepare(*vectors)
        race = _Races(self, session, director, *vectors, victim=self.victim)
        return await race.all()


@dataclass
class _Races:
    """An INIT of one CPU to another one, again and again, each time at another instruction.

    Args:
        probe: what it is recorded by.
        session: the boot.
        director: of its guests.
        first: where a CPU begins.
        second: another page.
        victim: the CPU that the INITs are for, 0 or 1. The other one sends them.
    """

    probe: ProcessorsProbe
    session: Session
    director: Director
    first: int
    second: int
    victim: int = 1
    running: set[int] = field(default_factory=lambda: {0})

    @property
    def sender(self) -> int:
        """The other CPU."""
        return 1 - self.victim

    async def all(self) -> bool:
        """Return whether each INIT came."""
        for low in (INIT, SIPI | self.first):
            if not await self._send(Sending(0, low, 1)):
                return False
        for steps in await self._boundaries():
            if not await self._enters(steps):
                return False
        for place in (RESET, ""):
            if not await self._begins(place):
                return False
        return await self._pending() and await self._signals()

    async def _send(self, sending: Sending) -> bool:
        sent = await self.director.send(sending, self.running, 1)
        self.probe.keep(self.session, sent)
        return sent.right

    async def _restart(self, low: int) -> bool:
        return await self._send(Sending(self.sender, low, self.victim))

    def _ipi(self, low: int) -> bytes:
        return store(0x310, self.victim << 24, 0) + store(0x300, low, 0)

    async def _at(self) -> Place:
        return self.session.view.place(await self.session.view.state(self.victim))

    async def _init(self, where: str) -> bool:
        """Let INIT come to the victim, which stands still, and then let that go on."""
        at = await self._at()
        await self.director.note_states()
        init = Sending(self.sender, INIT, self.victim)
        if not await self.director.command(self.sender, self._ipi(INIT), sends=init):
            return False
        await self.director.note_states(sent=True)
        return await self._came(self.victim, at, where)

    async def _sipi(self, vector: int) -> None:
        sipi = Sending(self.sender, SIPI | vector, self.victim)
        await self.director.command(self.sender, self._ipi(sipi.low), sends=sipi)

    async def _came(self, held: int, at: Place, where: str) -> bool:
        reaction = await self.director.reaction(Expected(self.victim, "waits", meant=True))
        self._note(Race(held, at, where, reaction))
        self.running.discard(self.victim)
        return reaction.right

    def _note(self, race: Race) -> None:
        self.probe.note(self.session, races=(*self.probe.seen.races, race))

    async def _enter(self) -> bool:
        """Let the victim exit, and enter localapic_enter."""
        await self.director.execute(self.victim, CPUID_CODE, CPUID_EXT)
        await self.session.places.watch(ENTER)
        there = await self.director.run(self.victim, ENTER, WAIT) == ("reached", ENTER)
        await self.session.places.unwatch(ENTER)
        return there

    async def _boundaries(self) -> list[int]:
        """How many instructions of localapic_enter the victim has executed when an INIT comes."""
        session = self.session
        run = session.view.symbols.maybe(RUN)
        steps, around = 0, set[int]()
        if await self._enter():
            state = await session.view.state(self.victim)
            while steps < _LONGEST and state.pc != run:
                if await self.director.gif_after(self.victim, state, True) is False:
                    around |= {steps, steps + 1}  # CLGI is next
                await session.step(self.victim)
                state = await session.view.state(self.victim)
                steps += 1
            await self.director.run(self.victim, ACKED)
        others = [one for one in range(steps + 1) if one not in around]
        chosen = session.choice.some(min(len(others), _BOUNDARIES), others)
        return sorted({*around, *chosen})

    async def _enters(self, steps: int) -> bool:
        """Let INIT come so many instructions after the victim has entered localapic_enter."""
        if not await self._enter():
            return False
        for _ in range(steps):
            await self.session.step(self.victim)
        return await self._init("enter") and await self._restart(SIPI | self.first)

    async def _begins(self, place: str) -> bool:
        """Let INIT come when the victim begins: at svm_reset, or when that has returned."""
        session = self.session
        if not await self._restart(INIT):
            return False
        await self._sipi(self.second)
        if await self.director.run(self.victim, RESET) != ("reached", RESET):
            return False
        if not place:
            await session.run_to_return(self.victim, await session.view.state(self.victim))
        await session.places.watch(BEGINS, self.second << 12)
        came = await self._init("wait")
        await session.places.unwatch(BEGINS)
        return came and await self._restart(SIPI | self.first)

    async def _pending(self) -> bool:
        """Let INIT come when there is a SIPI that the victim has not obeyed; then two SIPIs."""
        if not await self._restart(INIT):
            return False
        await self._sipi(self.second)
        if not await self._init("pending"):
            return False
        await self._sipi(self.first)
        await self._sipi(self.second)
        at = await self._at()
        self.running.add(self.victim)
        expected = Expected(self.victim, "starts", self.first, meant=True)
        reaction = await self.director.reaction(expected)
        self._note(Race(self.victim, at, "twice", reaction))
        return reaction.right

    async def _signals(self) -> bool:
        """Hold the sender before and after its NMI, while the victim runs its guest."""
        session, director, sender = self.session, self.director, self.sender
        for after in (False, True):
            await session.places.watch(WRITE_ICR)
            await director.execute(sender, self._ipi(INIT))
            if await director.run(sender, WRITE_ICR, ACKED) != ("reached", WRITE_ICR):
                return True  # it sends the NMI in another way
            await session.places.unwatch(WRITE_ICR)
            if after:
                await session.run_to_return(sender, await session.view.state(sender))
            at = session.view.place(await session.view.state(sender))
            await director.execute(self.victim, CPUID_CODE, CPUID_EXT)
            await director.run(self.victim, ACKED, WAIT)
            if await director.run(sender, ACKED) != ("reached", ACKED):
                return False
            if not await self._came(sender, at, "signal"):
                return False
            if not await self._restart(SIPI | self.first):
                return False
        return True
