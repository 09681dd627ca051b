"""Probes of the handshake: who may be where, seen with one CPU running at a time.

All of them first let the BSP come to ap_wait and every AP to ap_entry, and hold them there. What
comes then is played: who runs, and how far, is decided here. So the outcome does not depend on
luck, and a mistake in one step of the lab does not look like one in another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from vmmlab.observe.deadlock import PAUSE
from vmmlab.observe.observation import CpuState, Hit, Rung
from vmmlab.observe.session import REST_PLACES, Director, Verdict, Watcher
from vmmlab.probes.base import DELAY_FIELDS, EndProbe, keep_what_alloc_returns
from vmmlab.x86.decode import accesses

PLACES = (
    "ap_entry", "apinitproc0", "apinitproc1", "segment_init_ap", "ap_wait", "bsp_proc",
    "sync_all_processors",
)  # fmt: skip
CALL_BUDGET = 1500  # instructions for a short given or contract function
WAIT_BUDGET = 400  # instructions in which a CPU that is free to go would have gone
LOOK_BUDGET = 100  # instructions in which a waiting CPU would see that it may go
NUDGES = 64  # instructions by which a CPU is moved on that may stand in another one's way
STILL_THERE = ("waits", "budget")  # verdicts of a trial in which the CPU did not get away
CLOBBERED = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""General registers without a meaning at ap_entry; RSP, which has none either, stays as it is."""
LONG_US = 600_000_000  # more patience than any boot has time for


async def nudge(director: Director, cpu: int) -> bool:
    """Move a CPU on by one instruction, but not past a place.

    Returns:
        Whether it could be moved.
    """
    if director.at_place((await director.state(cpu)).pc):
        return False
    verdict, _ = await director.step_until(cpu, lambda now: True, budget=1)
    return verdict == "reached"


async def push(
    director: Director,
    cpu: int,
    wanted: Callable[[CpuState], bool],
    *,
    budget: int,
    others: list[int],
    watcher: Watcher | None = None,
    peek: Iterable[tuple[int, int]] = (),
) -> tuple[Verdict, CpuState]:
    """Step a CPU until `wanted` holds; move others on that may stand in its way.

    A CPU that stands still may hold a lock: that somebody waits for it proves nothing.
    """
    verdict, state = await director.step_until(
        cpu, wanted, budget=budget, watcher=watcher, peek=peek
    )
    for _ in range(NUDGES):
        if verdict not in STILL_THERE:
            break
        if not any([await nudge(director, other) for other in others]):
            break
        verdict, state = await director.step_until(
            cpu, wanted, budget=LOOK_BUDGET, watcher=watcher, peek=peek
        )
    return verdict, state


async def bring_in(director: Director, cpu: int) -> bool:
    """Let one AP run alone from where it stands to the barrier."""
    verdict, _ = await director.run_to(cpu, "sync_all_processors")
    return verdict == "reached"


async def look_where_it_waits(director: Director, cpu: int) -> None:
    """Write down if a CPU that waits before the lock looks at the pointer apinitlock only.

    The lock is where that points. A loop that reads the pointer anew looks at the lock as well.
    """
    pointer = director.addr("apinitlock")
    touched: dict[int | None, CpuState] = {}

    async def look(state: CpuState) -> None:
        registers = await director.gdb.registers(cpu)
        code = await director.code_at(cpu, state)
        if code.startswith(PAUSE):  # then one step is of two instructions
            code, skipped = code[len(PAUSE) :], len(PAUSE)
            state = replace(state, pc=state.pc + skipped, rip=state.rip + skipped)
        for one in accesses(code, state.pc, state.bits, registers.as_dict()):
            touched.setdefault(one.address, state)

    verdict, _ = await director.step_until(cpu, lambda now: False, budget=LOOK_BUDGET, watcher=look)
    if verdict == "waits" and touched.keys() == {pointer}:
        director.facts["apinitlock"] = pointer
        director.add_trial(cpu, "at-apinitlock", "apinitproc0", verdict, touched[pointer])


async def bring_in_noting(director: Director, cpu: int) -> bool:
    """As `bring_in`; what alloc gives the AP is noted and filled with chance bytes."""
    await director.watch("alloc")
    verdict, state = await director.run_to(cpu, "alloc", "sync_all_processors")
    while verdict == "reached" and director.at_place(state.pc) == "alloc":
        await keep_what_alloc_returns(director, director.hits[-1])
        verdict, state = await director.run_to(cpu, "alloc", "sync_all_processors")
    await director.unwatch("alloc")
    return verdict == "reached"


@dataclass
class GatheringProbe(EndProbe):
    """Brings everyone to where the handshake begins, then plays.

    Args:
        late: index of an AP that is held at physical address 0 instead, before it has executed
            anything.
    """

    places: tuple[str, ...] = PLACES
    late: int | None = None
    played: bool = field(default=False, init=False)

    async def start(self, director: Director) -> None:
        """Watch where the late AP is to be caught."""
        await EndProbe.start(self, director)
        if self.late is not None:
            await director.watch("physical-0", 0)

    async def hit(self, director: Director, hit: Hit) -> None:
        """Collect; when all are there, play."""
        await EndProbe.hit(self, director, hit)
        if self.played:
            return
        if hit.place == "physical-0" and hit.cpu == self.late:
            director.held.add(hit.cpu)
            await director.unwatch("physical-0")
        if (hit.place, hit.cpu) == ("ap_wait", 0) or (hit.place == "ap_entry" and hit.cpu):
            director.held.add(hit.cpu)
        if len(director.held) == director.inputs.cpus:
            await self._begin(director)

    async def quiet(self, director: Director) -> bool:
        """Somebody does not come: play with those who are there."""
        if self.played or not director.held:
            return await EndProbe.quiet(self, director)
        await self._begin(director)
        return True

    async def _begin(self, director: Director) -> None:
        self.played = True
        everyone = len(director.held) == director.inputs.cpus
        director.held = set(range(director.inputs.cpus)) if everyone else director.held
        await self.play(director, everyone)
        director.held.clear()

    async def play(self, director: Director, everyone: bool) -> None:
        """What happens when all stand still.

        Args:
            director: the boot.
            everyone: all CPUs are where they were to be collected.
        """


@dataclass
class OneByOneProbe(GatheringProbe):
    """The APs come in one after the other, never two at once; then the BSP goes on.

    None of them comes at the turn that is its APIC id.
    """

    async def play(self, director: Director, everyone: bool) -> None:
        """Bring one in after the other."""
        aps = list(director.ap_indices)
        shift = director.random.randrange(1, len(aps))
        for turn, cpu in enumerate(aps[shift:] + aps[:shift], 1):
            if cpu in director.held:
                director.facts[f"turn.{turn}"] = cpu
                if await bring_in_noting(director, cpu):
                    base = await director.stackaddr(await director.state(cpu))
                    director.facts[f"stackaddr.{cpu}"] = base or 0
                elif not director.at("apinitproc0", cpu) and not director.ended:
                    await look_where_it_waits(director, cpu)
        await director.unwatch("sync_all_processors")  # from here on, only the end counts


@dataclass
class LateProbe(GatheringProbe):
    """The last AP is late: it has not entered yet, then it has but waits before the lock.

    Meanwhile the BSP may poll as often as it likes; it must not go on.
    """

    polls: int = 4

    async def start(self, director: Director) -> None:
        """Give the BSP time."""
        await GatheringProbe.start(self, director)
        await director.write_u32("ap_delays", LONG_US, 12)

    async def hit(self, director: Director, hit: Hit) -> None:
        """When the BSP has gone on, nothing more is asked of this boot."""
        await GatheringProbe.hit(self, director, hit)
        if self.played and hit.place == "bsp_proc":
            director.finished = True

    async def play(self, director: Director, everyone: bool) -> None:
        """Bring in the others, then look at the BSP in both phases."""
        late = self.late
        if late is None or late not in director.held:
            return
        for cpu in director.ap_indices:
            if everyone and cpu != late:
                await bring_in(director, cpu)
        if await self._phase(director, late, "not-entered", everyone):
            return
        verdict, _ = await director.run_to(late, "ap_entry")
        if verdict == "reached":
            await self._phase(director, late, "not-numbered", everyone)

    async def _phase(self, director: Director, late: int, name: str, everyone: bool) -> bool:
        """Let the BSP alone poll a few times. True if it went on."""
        await director.note(late, f"{name}.held", await director.state(late))
        gone = everyone and await self._polls(director, name)
        await director.snapshot(f"physical-0.{name}", 0, 16)
        return gone

    async def _polls(self, director: Director, name: str) -> bool:
        await director.watch("usleep")
        gone = False
        for _ in range(self.polls):
            verdict, state = await director.run_to(0, "usleep", "bsp_proc", attempts=2)
            gone = verdict == "reached" and director.at_place(state.pc) == "bsp_proc"
            if gone:
                await director.note(0, f"left while {name}", state)
                director.finished = True
            if gone or verdict != "reached":
                break  # or it waits without usleep
        await director.unwatch("usleep")
        return gone


@dataclass
class MissingProbe(GatheringProbe):
    """One AP never comes, and the VMM's patience is short."""

    async def hit(self, director: Director, hit: Hit) -> None:
        """The boot is over when the BSP has said so or gone on."""
        await GatheringProbe.hit(self, director, hit)
        if self.late is not None and self.played:
            director.held.add(self.late)
        if hit.cpu == 0 and hit.place in ("vmm_ap_missing", "bsp_proc"):
            director.finished = True

    async def _begin(self, director: Director) -> None:
        await GatheringProbe._begin(self, director)
        if self.late is not None:
            director.held.add(self.late)

    async def play(self, director: Director, everyone: bool) -> None:
        """All others come in before the BSP begins to wait: only one can be named."""
        at = director.phys("ap_delays") + DELAY_FIELDS["poll_us"]
        director.facts["ap_delays.poll_us"] = await director.read_u32(at)
        for cpu in director.ap_indices:
            if everyone and cpu != self.late:
                await bring_in(director, cpu)


@dataclass(frozen=True)
class Change:
    """An instruction changed what several CPUs share."""

    what: str
    cpu: int
    pc: int


@dataclass
class ExclusionProbe(GatheringProbe):
    """Who can be on the shared boot stack, or between load and store of the count, at once.

    While one AP stands on the boot stack, another is stepped until it either comes there too or
    turns out to wait; and so on for every moment at which a second AP could do harm.
    """

    changes: list[Change] = field(default_factory=list, init=False)

    async def hit(self, director: Director, hit: Hit) -> None:
        """What comes after the play shows only whether all get in."""
        await GatheringProbe.hit(self, director, hit)
        numbered = all(Rung.NUMBERED in director.seen[cpu].rungs for cpu in director.ap_indices)
        if self.played and numbered:
            director.finished = True

    async def play(self, director: Director, everyone: bool) -> None:
        """The whole play; it ends where going on would prove nothing."""
        order = list(director.ap_indices)
        if not everyone or len(order) < 5:
            return
        director.random.shuffle(order)
        first, second, third, fourth, fifth = order[:5]
        await self._scramble(director)
        free = (await self._shared(director)).get("lock")
        if not await self._enter(director, first):
            return
        if await self._gets_in(director, second, "boot-stack"):
            return
        if not await self._leave(director, first, second):
            if director.seen[first].rest == "todo" and free is not None:
                # Nobody will release the lock: what it was before stands for that.
                await director.gdb.write_phys(self._shared_at(director)["lock"][0], free)
                await self._race(director, fourth, fifth)
            return
        if not await self._release(director, first):
            return
        early = self._first("count", first)
        if await self._pass_by(director, first, second):
            await self._count(director, first, second, third)
        for cpu in (first, second, third):
            await director.run_to(cpu, "sync_all_processors")
            if cpu == first:
                await self._keep_stackaddr(director, first)
        for cpu in order[5:]:  # the last two are to be the last indeed
            await bring_in(director, cpu)
        if await self._race(director, fourth, fifth) and early is not None:
            await self._late_release(director, fourth, fifth)

    async def _scramble(self, director: Director) -> None:
        """Put chance values where an AP comes from the trampoline, and nothing is promised.

        RAX becomes 0, which is what a lock holds that is free.
        """
        for cpu in director.ap_indices:
            values = {name: director.random.getrandbits(64) for name in CLOBBERED}
            await director.gdb.write_registers(cpu, values | {"rax": 0})

    # ---- what the APs share ----------------------------------------------------------------

    def _first(self, what: str, cpu: int) -> Change | None:
        return next((c for c in self.changes if (c.what, c.cpu) == (what, cpu)), None)

    def _shared_at(self, director: Director) -> dict[str, tuple[int, int]]:
        """Physical addresses and sizes in bytes."""
        shared = {"count": (director.phys("num_of_processors"), 4)}
        if (lock := director.in_copy("apinit_lock")) is not None:
            shared["lock"] = (lock, 8)
        return shared

    async def _shared(self, director: Director) -> dict[str, bytes]:
        shared = self._shared_at(director)
        return {what: await director.gdb.read_phys(*where) for what, where in shared.items()}

    async def _watcher(self, director: Director, cpu: int) -> Watcher:
        """Writes down which instruction of a CPU changes the lock or the count."""
        before = await self._shared(director)
        at = [(await director.state(cpu)).pc]

        async def look(state: CpuState) -> None:
            now = await self._shared(director)
            for what in now:
                if now[what] != before[what]:
                    self.changes.append(Change(what, cpu, at[0]))
            before.update(now)
            at[0] = state.pc

        return look

    # ---- the acts --------------------------------------------------------------------------

    async def _gets_in(self, director: Director, cpu: int, while_at: str) -> bool:
        """Does another AP come to the boot stack? Then nothing more can be asked of this boot.

        One that neither waits in a small loop nor comes there is on a long way: it may run.
        """
        arrived = director.addr("apinitproc0")
        verdict, state = await director.step_until(
            cpu, lambda now: now.pc == arrived, budget=WAIT_BUDGET
        )
        if verdict == "budget":
            verdict, state = await director.run_to(cpu, "apinitproc0", attempts=1)
        director.add_trial(cpu, while_at, "apinitproc0", verdict, state)
        if verdict == "waits":
            await look_where_it_waits(director, cpu)
        return verdict == "reached"

    async def _enter(self, director: Director, first: int) -> bool:
        """The first AP takes the free lock; which instruction does it?"""
        watcher = await self._watcher(director, first)
        arrived = director.addr("apinitproc0")
        verdict, _ = await director.step_until(
            first,
            lambda now: now.pc == arrived,
            budget=CALL_BUDGET,
            watcher=watcher,
            peek=self._shared_at(director).values(),
        )
        if (taken := self._first("lock", first)) is not None:
            code = await director.gdb.read_virt(first, taken.pc, 15)
            director.memory["lock.take.code"] = code
            director.facts["lock.take"] = taken.pc
        if verdict == "budget":
            verdict, _ = await director.run_to(first, "apinitproc0")
        return verdict == "reached"

    async def _leave(self, director: Director, first: int, second: int) -> bool:
        """Step the first AP off the boot stack; on the way, and if the lock moves, try another."""
        allocates = director.addr("alloc")
        tried = False
        watcher = await self._watcher(director, first)
        known = len(self.changes)
        for _ in range(CALL_BUDGET):
            verdict, state = await director.step_until(
                first,
                lambda now, known=known, tried=tried: (
                    len(self.changes) > known  # type: ignore[misc]
                    or (now.pc == allocates and not tried)
                    or not director.on_boot_stack(now.rsp)
                ),
                budget=CALL_BUDGET,
                watcher=watcher,
                peek=self._shared_at(director).values(),
            )
            if verdict != "reached":
                return False
            if not director.on_boot_stack(state.rsp):
                return True
            unlocked = any(c.what == "lock" for c in self.changes[known:])
            if unlocked or (state.pc == allocates and not tried):
                where = "boot-stack.unlocked" if unlocked else "boot-stack.alloc"
                if await self._gets_in(director, second, where):
                    return False
                if state.pc == allocates:  # given code, and long: it may run
                    await director.run_to_return(first, state)
                watcher = await self._watcher(director, first)
            tried = tried or state.pc == allocates
            known = len(self.changes)
        return False

    async def _release(self, director: Director, first: int) -> bool:
        """The first AP, on its own stack: up to the instruction that releases the lock."""
        watcher = await self._watcher(director, first)
        known = len(self.changes)
        ends = ("sync_all_processors", *REST_PLACES)
        await director.step_until(
            first,
            lambda now: (
                any(c.what == "lock" for c in self.changes[known:])
                or director.at_place(now.pc) in ends
            ),
            budget=2 * CALL_BUDGET,
            watcher=watcher,
            peek=self._shared_at(director).values(),
        )
        released = any(c.what == "lock" for c in self.changes[known:])
        if released:
            await director.note(first, "lock-released", await director.state(first))
        return released

    async def _pass_by(self, director: Director, first: int, second: int) -> bool:
        """The second AP comes in and takes a number while the first stands right after unlock."""
        number_at = director.addr("segment_init_ap")
        verdict, _ = await push(
            director,
            second,
            lambda now: now.pc == number_at,
            budget=2 * CALL_BUDGET,
            others=[first],
            watcher=await self._watcher(director, second),
            peek=self._shared_at(director).values(),
        )
        return verdict == "reached"

    async def _count(self, director: Director, first: int, second: int, third: int) -> None:
        """The first AP stands right before it stores the count: may another do the same?"""
        counted = self._first("count", second)
        if counted is None or self._first("count", first) is not None:
            return
        name, store = "count.store", counted.pc
        await director.watch(name, store)
        verdict, state = await director.run_to(first, name)
        if verdict == "reached":
            director.memory["count.store.code"] = await director.code_at(first, state)
            verdict, state = await director.step_until(
                third, lambda now: now.pc == store, budget=2 * CALL_BUDGET
            )
            director.add_trial(third, "counting", name, verdict, state)
            await self._number(director, first, third)
        await director.unwatch(name)

    async def _number(self, director: Director, first: int, third: int) -> None:
        """The first AP has counted and stops before it goes on: does it get another's number?"""
        number_at = director.addr("segment_init_ap")
        await director.step(first)
        await push(
            director, third, lambda now: now.pc == number_at, budget=CALL_BUDGET, others=[first]
        )
        numbers = []
        for cpu in (first, third):
            if not director.at("segment_init_ap", cpu):
                await director.run_to(cpu, "segment_init_ap")
            numbers += [hit.state.rdi & 0xFFFFFFFF for hit in director.at("segment_init_ap", cpu)]
        if len(numbers) == 2 and numbers[0] == numbers[1]:
            director.facts["number.twice"] = numbers[0]
            director.facts["number.twice.cpu"] = first

    async def _keep_stackaddr(self, director: Director, first: int) -> None:
        state = await director.state(first)
        entered = director.at("apinitproc1", first)
        if director.at("sync_all_processors", first) and entered:
            director.facts["private.cpu"] = first
            director.facts["private.base"] = entered[0].state.rsp - director.inputs.stack_size
            director.facts["private.stackaddr"] = await director.stackaddr(state) or 0

    async def _race(self, director: Director, slow: int, quick: int) -> bool:
        """One AP sleeps right before it takes the free lock, another takes it; then the first.

        Returns:
            Whether the boot can go on as planned: not both of them are on the boot stack.
        """
        taken = next((c for c in self.changes if c.what == "lock"), None)
        if taken is None:
            return False
        await director.watch("lock.taken", taken.pc)
        verdict, _ = await director.run_to(slow, "lock.taken")
        await director.unwatch("lock.taken")
        if verdict != "reached":
            return False
        if not await self._gets_in(director, quick, "lock-free"):
            return False
        return not await self._gets_in(director, slow, "lock-taken")

    async def _late_release(self, director: Director, last: int, before: int) -> None:
        """An AP counts itself before it releases the lock: the last one comes too late for that.

        The BSP goes on as soon as all are counted, and takes the trampoline away.
        """
        if not await bring_in(director, before):
            return
        watcher = await self._watcher(director, last)
        known = len(self.changes)
        guard = director.phys("ap_lock")
        free = [True]

        async def look(state: CpuState) -> None:
            await watcher(state)
            free[0] = not (await director.gdb.read_phys(guard, 1))[0]

        def counted(_: CpuState) -> bool:
            return free[0] and any(c.what == "count" for c in self.changes[known:])

        verdict, _ = await director.step_until(
            last,
            counted,
            budget=2 * CALL_BUDGET,
            watcher=look,
            peek=[*self._shared_at(director).values(), (guard, 1)],
        )
        # Its last change of the lock was to take it.
        held = sum(c.what == "lock" for c in self.changes[known:]) == 1
        if verdict == "reached" and held:
            verdict, _ = await director.run_to(0, "bsp_proc")
        if verdict == "reached" and held:
            # A processor may forget a translation at any time; writing CR3 makes it do so now.
            cr3 = (await director.state(last)).cr3
            await director.gdb.write_register(last, "cr3", cr3)
            verdict, state = await director.run_to(last, "sync_all_processors")
            director.add_trial(last, "released.late", "sync_all_processors", verdict, state)
