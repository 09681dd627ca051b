"""Makes a CPU panic while the others are hardest to stop, and examines each of them.

The grader calls `panic` itself, by the registers of a CPU, with a text that nothing in the image
contains. So nothing has to go wrong by itself, and every CPU is where the probe has put it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from vmmlab.observe.cpu import CpuState
from vmmlab.observe.evidence import Verdict
from vmmlab.observe.icr import Icr, apic_id
from vmmlab.observe.observation import Hit
from vmmlab.observe.panicking import (
    NOWHERE,
    Left,
    Panic,
    Prints,
    TakenNmi,
    TakesLocks,
    WakeupCall,
)
from vmmlab.observe.session import Session
from vmmlab.probes.base import BaseProbe
from vmmlab.probes.registry import probe
from vmmlab.probes.situations import LOCKS, PLAIN_SITUATIONS, Caller, Situation
from vmmlab.x86.registers import EFLAGS_IF, ICR_ASSERT, ICR_NMI

WAKEUP: Final = "panic_wakeup_all"
HANDLER: Final = "nmi_handler"
_BACK: Final = "panic_wakeup_all returned"
_HANDLER_BUDGET: Final = 600  # instructions in which a CPU that is to halt has halted
_ICR: Final = "apic_write_icr"
_NMI: Final = ICR_NMI | ICR_ASSERT
_BARRIER: Final = "sync_all_processors"
_SOON: Final = ("bsp_proc", _BARRIER)  # where the BSP is, and where each AP is
_LATE: Final = ("vmm_parked", "vmm_parked")
_PRINTS: Final[tuple[Prints, ...]] = ("printf", "vprintf", "serial_putchar", "vga_putchar")
_TAKES_LOCKS: Final[tuple[TakesLocks, ...]] = ("mapmem_hphys", "mapmem", "unmapmem", "alloc")
_LEAVES: Final[tuple[Left, ...]] = (
    "panic", "vmm_todo", "exception_panic", *_PRINTS, *_TAKES_LOCKS,
)  # fmt: skip


_LOCKS_OF_OTHERS: Final = ("ap_lock", "sync_lock")
"""Locks that a student's code can name; each is a byte."""


@dataclass
class _Locks:
    """The locks of other code, as one CPU leaves them.

    Args:
        session: the boot.
    """

    session: Session
    changed: tuple[str, ...] = ()
    """The names of those that did not hold what they had held, at one of the looks."""
    _held: dict[str, bytes] = field(default_factory=dict)

    async def begin(self) -> None:
        """From now on changes count."""
        self._held = await self._now()

    async def look(self) -> None:
        """Take note of what has changed since the last time."""
        before, self._held = self._held, await self._now()
        new = [name for name, was in before.items() if self._held[name] != was]
        self.changed = tuple(dict.fromkeys((*self.changed, *new)))

    async def _now(self) -> dict[str, bytes]:
        view = self.session.view
        return {name: await view.read_if_there(view.phys(name), 1) for name in _LOCKS_OF_OTHERS}


def sent_by(cpu: int, writes: Sequence[Icr]) -> int:
    """Return how many IPIs a CPU has sent."""
    return sum(one.cpu == cpu for one in writes)


@dataclass
class WakeupProbe(BaseProbe):
    """What the probes of panic_wakeup_all share: watch a call of it."""

    panic: Panic = field(default_factory=Panic, init=False)

    def keep(self, session: Session, **found: object) -> None:
        """Record what is known of the panic so far."""
        self.panic = replace(self.panic, **found)  # type: ignore[arg-type]
        session.log.panic = self.panic

    async def watch_call(
        self,
        session: Session,
        cpu: int,
        moment: str,
        *,
        at_once: bool = False,
        follows: bool = False,
    ) -> WakeupCall:
        """Let a CPU at the first instruction of panic_wakeup_all run until that returns.

        Args:
            session: the boot.
            cpu: which CPU runs; all others are held.
            moment: when that is.
            at_once: a CPU takes its NMI as soon as it is sent, while the sender stands still.
            follows: count what is sent past apic_write_icr; it is so with `at_once`, too.
        """
        view = session.view
        first, seen = len(view.icr()), len(session.log.hits)
        locks = _Locks(session)
        await locks.begin()
        await session.places.watch(_BACK, await session.return_address(cpu) or 0)
        watched = (*_PRINTS, *_TAKES_LOCKS)
        await session.places.watch_all((HANDLER, *watched))
        if at_once or follows:
            verdict, state, past = await self._run(session, cpu, first, locks if at_once else None)
        else:
            (verdict, state), past = await session.run_to(cpu, _BACK, attempts=1), 0
        await locks.look()
        for name in (_BACK, *watched):
            await session.places.unwatch(name)
        passed = [hit.place for hit in session.log.hits[seen:] if hit.cpu == cpu]
        place = view.place(state)
        made = WakeupCall(
            cpu,
            moment,
            verdict,
            replace(place, caller=await view.caller(cpu, state)),
            first,
            len(view.icr()),
            next((name for name in watched if name in passed), ""),
            locks.changed,
            past,
        )
        self.keep(session, calls=(*self.panic.calls, made))
        return made

    async def _run(
        self, session: Session, cpu: int, first: int, locks: _Locks | None
    ) -> tuple[Verdict, CpuState, int]:
        """Let the CPU run; with `locks`, each CPU that is sent an NMI takes it at once.

        Returns:
            How that ended, the CPU then, and how many IPIs it has sent past apic_write_icr.
        """
        view, by_it = session.view, 0
        await session.places.watch(_ICR)
        verdict, state = await session.run_to(cpu, _ICR, _BACK, attempts=1)
        while verdict == "reached" and session.places.at(state.pc) == _ICR:
            before = sent_by(cpu, view.icr())
            state = await session.run_to_return(cpu, state)
            by_it += sent_by(cpu, view.icr()) - before
            if locks is not None:
                await locks.look()
                await self.sent(session, cpu, first)
                await locks.begin()  # what a handler has changed is its own mistake
            if session.places.at(state.pc) != _BACK:  # the last call may be a jump
                verdict, state = await session.run_to(cpu, _ICR, _BACK, attempts=1)
        await session.places.unwatch(_ICR)
        return verdict, state, sent_by(cpu, view.icr()[first:]) - by_it

    async def sent(self, session: Session, sender: int, first: int) -> None:
        """Called when a CPU has written to the interrupt command register."""


@probe("panic", cost=2)
@dataclass
class PanicProbe(WakeupProbe):
    """Lets one CPU panic when all have parked, and looks at what each of the others does then.

    Args:
        cpu: index of the CPU that panics.
        locks: the others hold locks, and wait for some, and the panic is one within a panic, on a
            CPU without per-CPU data. If not, they spin, halt or wait at the barrier.
        at_once: a CPU takes its NMI as soon as it is sent, while the sender stands still; if not,
            when the sender has gone on.
        soon: not when all have parked, but as soon as the APs are started: the BSP is at bsp_proc,
            the APs are at their first barrier.
        backwards: the APs start one by one, the one with the highest index first: no AP but the
            middle one has its index as its number.
        delays: as for `BaseProbe`.
    """

    cpu: int = 0
    locks: bool = False
    at_once: bool = False
    soon: bool = False
    backwards: bool = False
    delays: Mapping[str, int] = field(default_factory=dict)
    situations: dict[int, str] = field(default_factory=dict, init=False)
    not_yet: list[int] = field(default_factory=list, init=False)
    """The APs that have not been let go, in their order."""
    awaited: set[int] = field(default_factory=set, init=False)
    """The APs that have no number yet."""
    in_wait: bool = field(default=False, init=False)
    """The BSP is held in ap_wait for them."""

    async def start(self, session: Session) -> None:
        """Watch the place where the APs are to be."""
        await BaseProbe.start(self, session)
        self.awaited = set(session.view.ap_indices)
        if self.soon:
            await session.places.watch(_BARRIER)
        if self.backwards:
            self.not_yet = list(session.view.ap_indices)[:-1]
            session.held |= set(self.not_yet)

    async def hit(self, session: Session, hit: Hit) -> None:
        """Hold the CPUs that are where the panic is to find them; when all are, begin."""
        await BaseProbe.hit(self, session, hit)
        if hit.place == "segment_init_ap":  # it has its number
            self.awaited.discard(hit.cpu)
            if self.not_yet:
                session.held.discard(self.not_yet.pop())
        self._leave_no_ap_behind(session, hit)
        ends = _SOON if self.soon else _LATE
        if hit.place == ends[hit.cpu != 0]:
            session.held.add(hit.cpu)
        everyone = len(session.held) == session.inputs.cpus and not self.not_yet
        if everyone and not self.in_wait and not session.finished:
            session.finished = True
            await self._play(session)

    def _leave_no_ap_behind(self, session: Session, hit: Hit) -> None:
        """Hold the BSP in ap_wait until each AP has its number.

        Without ACPI tables the VMM knows only of the APs that have come, and may go on without one
        whose thread in QEMU has had no processor yet.
        """
        if hit.cpu == 0 and hit.place == "ap_wait":
            self.in_wait = True
            session.held.add(0)
        if self.in_wait and not self.awaited:
            self._go_on(session)

    def _go_on(self, session: Session) -> None:
        self.in_wait = False
        session.held.discard(0)

    async def quiet(self, session: Session) -> bool:
        """Let the BSP go on if it is held for an AP that does not come."""
        await BaseProbe.quiet(self, session)
        if not self.in_wait:
            return False
        self.awaited.clear()
        self._go_on(session)
        return True

    async def _play(self, session: Session) -> None:
        """Cause the panic, and look at each CPU."""
        caller = await Caller.made(session)
        self.keep(session, cpu=self.cpu, message=caller.message)
        await session.places.unwatch(_BARRIER)
        await session.places.unwatch("panic")  # a CPU that is called there must not stop
        await session.places.watch(WAKEUP)
        if not await self._panics(session, caller):
            return
        if self.locks:
            await session.gdb.write_registers(self.cpu, {"gs_base": NOWHERE.start})
        await self._prepare(session, caller)
        await session.places.watch("panic")
        call = await self.watch_call(session, self.cpu, "panic", at_once=self.at_once, follows=True)
        await self.sent(session, self.cpu, call.first)
        if call.verdict != "halted":
            await self._send_the_rest(session, caller, call.first)
        if call.verdict == "reached":
            await self._halts(session)

    async def _panics(self, session: Session, caller: Caller) -> bool:
        """Let the CPU panic; return whether it comes to panic_wakeup_all."""
        await caller.call(self.cpu, "panic", caller.text)
        if self.locks:  # a panic within the panic, in the middle of the text
            await session.places.watch("serial_putchar")
            for _ in range(session.choice.between(2, 20)):
                await session.run_to(self.cpu, "serial_putchar", attempts=1)
            await session.places.unwatch("serial_putchar")
            await caller.call(self.cpu, "panic", caller.text)
        verdict, _ = await session.run_to(self.cpu, WAKEUP)
        return verdict == "reached"

    async def _prepare(self, session: Session, caller: Caller) -> None:
        """Bring the other CPUs into their situations, in an order that the seed decides."""
        others = [cpu for cpu in range(session.inputs.cpus) if cpu != self.cpu]
        kinds: tuple[Situation, ...] = LOCKS if self.locks else PLAIN_SITUATIONS
        order = session.choice.shuffled(others)
        for number, cpu in enumerate(order):
            kind = kinds[number % len(kinds)]
            self.situations[cpu] = kind.name
            await kind.enter(caller, cpu)

    async def sent(self, session: Session, sender: int, first: int) -> None:
        """Let each CPU that has been sent an NMI since then take it, one after the other."""
        writes = [one for one in session.view.icr()[first:] if one.kind == "NMI"]
        known = {one.cpu for one in self.panic.taken} | {sender}
        for cpu in sorted(set(range(session.inputs.cpus)) - known):
            if any(session.view.reaches(write, cpu) for write in writes):
                taken = await self._take(session, cpu)
                self.keep(session, taken=(*self.panic.taken, taken))

    async def _send_the_rest(self, session: Session, caller: Caller, first: int) -> None:
        """Send an NMI to each CPU that was sent none, so that its handler is judged, too.

        One that an INIT has reached waits for a SIPI, and would take no NMI.

        Args:
            session: the boot.
            caller: lets the CPU that panics call the function that sends.
            first: the IPIs of panic_wakeup_all are those from this one on.
        """
        view = session.view
        resets = [one for one in view.icr()[first:] if one.kind not in ("NMI", "fixed")]
        known = {one.cpu for one in self.panic.taken} | {self.cpu}
        registers = await caller.kept(self.cpu)
        for cpu in sorted(set(range(session.inputs.cpus)) - known):
            if session.ended or any(view.reaches(write, cpu) for write in resets):
                continue
            await caller.call(self.cpu, _ICR, apic_id(session.inputs.apic_ids, cpu), _NMI)
            await session.run_to_return(self.cpu, await view.state(self.cpu))
            await caller.give_back(self.cpu, registers)
            taken = replace(await self._take(session, cpu), by_grader=True)
            self.keep(session, taken=(*self.panic.taken, taken))

    async def _take(self, session: Session, cpu: int) -> TakenNmi:
        """Let one CPU run alone until it halts, or leaves nmi_handler."""
        view = session.view
        left: Left = ""
        let_in: list[CpuState] = []

        async def watch(state: CpuState) -> None:
            if state.eflags & EFLAGS_IF and not let_in and state.pc not in ends:
                let_in.append(state)

        verdict, state = await session.run_to(cpu, HANDLER, attempts=1)
        locks = _Locks(session)
        await locks.begin()
        entered = verdict == "reached"
        ends: dict[int, Left] = {}
        if entered:
            ends[await session.return_address(cpu) or 0] = "returned"
            ends |= {found: name for name in _LEAVES if (found := view.symbols.maybe(name))}
            verdict, state = await session.step_until(
                cpu, lambda now: now.pc in ends, budget=_HANDLER_BUDGET, watcher=watch
            )
            if verdict == "budget":  # slow is not wrong
                verdict = await self._runs_out(session, cpu)
                state = await view.state(cpu)
            left = ends.get(state.pc, "") if verdict == "reached" else ""
        await locks.look()
        place = replace(view.place(state), caller=await view.caller(cpu, state))
        return TakenNmi(
            cpu,
            self.situations.get(cpu, ""),
            entered,
            verdict,
            left,
            bool(state.eflags & EFLAGS_IF),
            place,
            await view.instruction(cpu, state),
            let_in=view.place(let_in[0]) if let_in else None,
            locks=locks.changed if entered else (),
        )

    async def _runs_out(self, session: Session, cpu: int) -> Verdict:
        """Let one CPU that has executed many instructions run alone; return whether it halts."""
        await session.go([cpu], session.limits.alone_s)
        halted = (await session.gdb.describe(cpu)).get("hlt")
        return "halted" if halted else "budget"

    async def _halts(self, session: Session) -> None:
        """Let the CPU that panicked go on, and record whether it halts."""
        verdict, state = await session.step_until(
            self.cpu, lambda now: False, budget=_HANDLER_BUDGET
        )
        halted = verdict == "halted" and not state.eflags & EFLAGS_IF
        self.keep(session, halted=halted)


@probe("wakeup")
@dataclass
class EarlyPanicProbe(WakeupProbe):
    """Calls panic_wakeup_all before the APs are started, at several moments; then the boot goes on.

    The moments: the BSP enters vmm_main; it runs on its own stack, and no AP has been started; it
    waits in ap_wait, and the APs have arrived; and at that time, on an AP. The first call that
    sends something, or does not return, is the last one.

    Args:
        delays: as for `BaseProbe`.
    """

    places: tuple[str, ...] = (*BaseProbe.places, "bspinitproc1", "sync_all_processors")
    delays: Mapping[str, int] = field(default_factory=dict)

    async def start(self, session: Session) -> None:
        """Call it before anything else."""
        await BaseProbe.start(self, session)
        self.keep(session)
        await self._call(session, 0, "vmm_main")

    async def hit(self, session: Session, hit: Hit) -> None:
        """Call it on the BSP; when all APs are at the barrier, on the BSP and on an AP."""
        await BaseProbe.hit(self, session, hit)
        if session.finished:
            return
        if hit.cpu == 0 and hit.place == "bspinitproc1":
            await session.places.unwatch(hit.place)
            await self._call(session, 0, hit.place)
        if (hit.place == "ap_wait") if hit.cpu == 0 else (hit.place == "sync_all_processors"):
            session.held.add(hit.cpu)
        if len(session.held) == session.inputs.cpus:
            await self._call(session, 0, "ap_wait")
            if not session.finished:
                last = session.inputs.cpus - 1
                await self._call(session, session.choice.between(1, last), "ap")
            session.finished = True

    async def _call(self, session: Session, cpu: int, moment: str) -> None:
        """Call the function on a CPU, and put the CPU back to where it was."""
        if session.view.symbols.maybe(WAKEUP) is None:
            return
        caller = await Caller.made(session)
        registers = await caller.kept(cpu)
        if moment == "vmm_main":  # without per-CPU data GS is where the firmware has left it
            registers = {**registers, "gs_base": (await session.gdb.registers(cpu))["gs_base"]}
            await session.gdb.write_registers(cpu, {"gs_base": NOWHERE.start})
        await caller.call(cpu, WAKEUP)
        made = await self.watch_call(session, cpu, moment)
        if made.verdict != "reached" or made.last > made.first:
            session.finished = True
            return
        await caller.give_back(cpu, registers)
