"""Probes: what a boot is watched for, and how its CPUs are held and let go.

A probe is named in a scenario (`scenario ("late", probe="late-ap", cpu=2)`). It writes down what
happens; whether that is right is for the checks to say. All of them work through the gdbstub and
need nothing in the guest.

========== ===============================================================================
end        how many CPUs park, and with which number; the cheapest
rungs      from ap_entry on: every rung of every AP, and what alloc gives it
ladder     every rung, and each instruction from physical 0 to ap_entry single-stepped
initfuncs  which init functions run, in which order; the multiboot information poisoned
uefi       vmm_main called with 0 instead of a multiboot pointer
switch     the BSP's change of stacks, and what happens to the boot stack after it
late-ap    one AP stands still before it has counted itself in, then before the lock
missing-ap one AP never comes; the patience of the VMM is shortened
exclusion  who can be on the boot stack, and in the counting, at the same time
barrier    who can leave a round of the barrier before all have come
========== ===============================================================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from vmmlab.evidence.director import REST_PLACES, VMM_BASE, Director, Probe
from vmmlab.evidence.observation import CpuState, Hit

DELAY_FIELDS = {"init_us": 0, "sipi_us": 4, "poll_us": 8, "wait_us": 12}
"""Offsets in `struct ap_delays` (include/ap.h), in bytes."""

RUNG_PLACES = ("ap_entry", "apinitproc0", "apinitproc1", "segment_init_ap", "ap_wait", "bsp_proc")
UNDECIDED = b"\x55"  # put into a bool that the VMM must decide about
MULTIBOOT_INFO_SIZE = 88  # bytes, Multiboot 0.6.96, 3.3, up to and including vbe_interface_len

CALL_BUDGET = 1500  # instructions for a short given or contract function
STILL_THERE = ("waits", "budget")  # verdicts of a trial in which the CPU did not get away
WAIT_BUDGET = 400  # instructions in which a CPU that is free to go would have gone


@dataclass
class EndProbe(Probe):
    """The cheapest probe: the numbers of the APs and who parks."""

    places: tuple[str, ...] = ("segment_init_ap", "ap_wait", "bsp_proc")
    delays: Mapping[str, int] = field(default_factory=dict)
    looked: bool = field(default=False, init=False)

    async def start(self, director: Director) -> None:
        """Set the delays that the scenario asks for."""
        for name, value in self.delays.items():
            await director.write_u32("ap_delays", value, DELAY_FIELDS[name])

    async def hit(self, director: Director, hit: Hit) -> None:
        """Look at what ap_start has prepared, while it is needed and after."""
        if hit.cpu == 0 and hit.place in ("ap_wait", *REST_PLACES):
            await self.look_while_needed(director)
        if hit.cpu == 0 and hit.place in ("ap_wait", "bsp_proc"):
            raw = await director.gdb.read_phys(director.phys("ap_started"), 1)
            director.facts.setdefault(f"ap_started.{hit.place}", raw[0])

    async def quiet(self, director: Director) -> bool:
        """The BSP came to none of these places: look now."""
        await self.look_while_needed(director)
        return False

    async def look_while_needed(self, director: Director, *, final: bool = True) -> None:
        """What ap_start has prepared, as it is now.

        Args:
            director: the boot.
            final: an AP is there, or the BSP waits or can go no further: later looks do not count.
        """
        if self.looked:
            return
        self.looked = final
        await director.snapshot("physical-0.during", 0, 16)
        address = director.inputs.apinit_addr
        await director.snapshot("trampoline.copy", address, director.trampoline_size)
        for pointer in ("apinitprocs", "apinitlock"):
            virtual = await director.read_u64(director.phys(pointer))
            physical = await director.translate(0, virtual) if virtual else None
            director.facts[f"{pointer}.virtual"] = virtual
            director.facts[f"{pointer}.physical"] = physical or 0


async def keep_bsp_in_ap_wait(director: Director, hit: Hit) -> None:
    """Hold the BSP at the entry of ap_wait until every AP has its number, or has stopped.

    What the BSP does in there is another step's business; if it went on too early it would take
    the trampoline away from under the APs.
    """
    if hit.cpu == 0 and hit.place == "ap_wait":
        director.held.add(0)
    numbered = {seen.cpu for seen in director.at("segment_init_ap")}
    if all(cpu in numbered or director.seen[cpu].rest for cpu in director.ap_indices):
        director.held.discard(0)


@dataclass
class RungsProbe(EndProbe):
    """Every rung of every AP; `stepping` adds each instruction of the trampoline."""

    stepping: bool = False
    places: tuple[str, ...] = RUNG_PLACES

    async def start(self, director: Director) -> None:
        """With `stepping`, watch where an AP executes its first instruction."""
        await EndProbe.start(self, director)
        if self.stepping:
            await director.watch("physical-0", 0)
            # An INIT that reaches the BSP as well leaves no later moment to look.
            await director.watch("apic_write_icr")

    async def hit(self, director: Director, hit: Hit) -> None:
        """Climb with the AP that has just executed physical 0."""
        await EndProbe.hit(self, director, hit)
        if hit.place == "apic_write_icr" and hit.cpu == 0:
            await self.look_while_needed(director, final=False)
        if hit.place == "physical-0" and hit.cpu != 0:
            await self._climb(director, hit)
        if hit.place == "ap_entry":
            await self._look_at_entry(director, hit.cpu)
        if hit.place == "ap_entry" and not self.stepping:
            await director.watch("alloc")
        if hit.place == "alloc" and hit.cpu != 0:
            await keep_what_alloc_returns(director, hit)
        if not self.stepping:
            await keep_bsp_in_ap_wait(director, hit)

    async def _climb(self, director: Director, hit: Hit) -> None:
        await self.look_while_needed(director)
        times = len(director.at("physical-0", hit.cpu))
        if times == 1:
            before = await director.around_trampoline()
            await director.step_trampoline(hit.cpu)
            after = await director.around_trampoline()
            changed = next((at for at in before if before[at] != after.get(at)), None)
            if changed is not None:
                director.facts[f"trampoline.overrun.{hit.cpu}"] = changed
            if director.at("ap_entry", hit.cpu):
                await self._look_at_entry(director, hit.cpu)
        elif times > 3 or all(director.at("physical-0", cpu) for cpu in director.ap_indices):
            await director.unwatch("physical-0")  # it is lost, and comes by again and again

    async def _look_at_entry(self, director: Director, cpu: int) -> None:
        """Whether the code segment is a 64-bit one: only QEMU's monitor tells."""
        told = await director.gdb.monitor(f"info registers {cpu}")
        director.facts.setdefault(f"ap_entry.{cpu}.cs64", int("CS64" in told))


async def keep_what_alloc_returns(director: Director, hit: Hit) -> None:
    """Let the CPU that called alloc come back from it, and write down what it was given."""
    size = hit.state.rdi & 0xFFFFFFFF
    raw = await director.gdb.read_virt(hit.cpu, hit.state.rsp, 8)
    back = int.from_bytes(raw, "little")
    name = f"alloc({size:#x}) returned"
    await director.watch(name, back)
    verdict, state = await director.run_to(hit.cpu, name)
    await director.unwatch(name)
    if verdict == "reached":
        director.give_value(name, hit.cpu, state.rax)


@dataclass
class InitfuncsProbe(EndProbe):
    """The order of init functions, and what vmm_main does before it calls them."""

    places: tuple[str, ...] = ("initfunc_init", "call_initfunc", "start_all_processors")

    async def start(self, director: Director) -> None:
        """Keep the multiboot information as the boot loader left it; stop at every function."""
        self._original = director.hits[0].state.rdi
        await director.snapshot("mi.original", self._original, MULTIBOOT_INFO_SIZE)
        await director.gdb.write_phys(director.phys("uefi_booted"), UNDECIDED)
        for _, _, function in await self._table(director, "linked"):
            await director.watch(function, self._functions[function])

    async def hit(self, director: Director, hit: Hit) -> None:
        """At the calls of vmm_main, keep the copy; before an init function runs, poison."""
        if hit.cpu != 0 or "sorted" in director.tables:
            return
        if hit.place in ("initfunc_init", "call_initfunc", "vmm_todo"):
            # Sorting does not need the copy: what counts is what is there before "global".
            await director.snapshot("mi.copy", director.phys("mi"), MULTIBOOT_INFO_SIZE)
            booted = await director.gdb.read_phys(director.phys("uefi_booted"), 1)
            director.facts["uefi_booted"] = booted[0]
        if hit.place in ("call_initfunc", "vmm_todo"):
            poison = bytes(director.random.randrange(256) for _ in range(MULTIBOOT_INFO_SIZE))
            await director.gdb.write_phys(self._original, poison)
        if hit.place == "call_initfunc":
            await self._table(director, "sorted")
            raw = await director.gdb.read_virt(0, hit.state.rsp, 8)
            await director.watch("call_initfunc returned", int.from_bytes(raw, "little"))

    async def _table(self, director: Director, name: str) -> tuple[tuple[str, str, str], ...]:
        """Keep the records of .initfunc as they are now: (id, file name, function)."""
        start, end = director.addr("__initfunc_start"), director.addr("__initfunc_end")
        raw = await director.gdb.read_phys(start - VMM_BASE, end - start)
        self._functions: dict[str, int] = {}
        rows = []
        for at in range(0, len(raw) - 23, 24):  # struct initfunc_data, include/initfunc.h
            filename, ident, function = (
                int.from_bytes(raw[at + i : at + i + 8], "little") for i in (0, 8, 16)
            )
            symbol = director.symbols.nearest(function)
            self._functions[symbol] = function
            texts = [await director.read_text(0, where) for where in (ident, filename)]
            rows.append((texts[0], texts[1], symbol))
        director.tables[name] = tuple(rows)
        return director.tables[name]


@dataclass
class UefiProbe(Probe):
    """vmm_main called as a UEFI loader would call it: without multiboot information."""

    places: tuple[str, ...] = ("initfunc_init", "call_initfunc", "start_all_processors")

    async def start(self, director: Director) -> None:
        """Hand over 0, and see that nobody reads from physical 0 instead."""
        await director.snapshot("mi.before", director.phys("mi"), MULTIBOOT_INFO_SIZE)
        await director.gdb.write_register(0, "rdi", 0)
        await director.gdb.write_phys(director.phys("uefi_booted"), UNDECIDED)

    async def hit(self, director: Director, hit: Hit) -> None:
        """At the first call, or the first TODO, look at what was decided."""
        if hit.place in (*self.places, "vmm_todo"):
            raw = await director.gdb.read_phys(director.phys("uefi_booted"), 1)
            director.facts["uefi_booted"] = raw[0]
            await director.snapshot("mi.copy", director.phys("mi"), MULTIBOOT_INFO_SIZE)
            director.finished = True


@dataclass
class SwitchProbe(EndProbe):
    """The BSP's change to its own stack; `swap` exchanges the arguments of what starts it."""

    swap: bool = False

    places: tuple[str, ...] = (
        "start_all_processors", "bspinitproc1", "bsp_proc", "ap_proc", "ap_entry", "apinitproc0",
        "apinitproc1",
    )  # fmt: skip

    async def hit(self, director: Director, hit: Hit) -> None:
        """Keep what alloc gave, what was stored, and the boot stack from here on."""
        if hit.place == "start_all_processors":
            await self._started(director, hit)
        if hit.place == "alloc" and hit.cpu == 0:
            await keep_what_alloc_returns(director, hit)
        if hit.cpu == 0 and hit.place in ("bspinitproc1", "bsp_proc", "ap_proc", *REST_PLACES):
            await self._stored(director)
        if hit.place == "bspinitproc1":
            await director.unwatch("alloc")
            await self._boot_stack(director, "boot-stack.left")
        if hit.place == "vmm_parked" and hit.cpu == 0:
            await self._boot_stack(director, "boot-stack.end")

    async def quiet(self, director: Director) -> bool:
        """The BSP came to no place at all."""
        await self._stored(director)
        return False

    async def _stored(self, director: Director) -> None:
        """What start_all_processors and bsp_continue have stored: once, on leaving them."""
        if "bsp.stackaddr" in director.facts:
            return
        director.facts["bsp.stackaddr"] = await director.stackaddr(await director.state(0)) or 0
        for name in ("initproc_bsp", "initproc_ap"):
            director.facts[name] = await director.read_u64(director.phys(name))

    async def _started(self, director: Director, hit: Hit) -> None:
        await director.watch("alloc")
        if self.swap:
            await director.gdb.write_register(0, "rdi", hit.state.rsi)
            await director.gdb.write_register(0, "rsi", hit.state.rdi)
            director.hits[-1] = replace(
                hit, state=replace(hit.state, rdi=hit.state.rsi, rsi=hit.state.rdi)
            )

    async def _boot_stack(self, director: Director, name: str) -> None:
        size = director.addr("boot_stack_top") - director.addr("boot_stack")
        await director.snapshot(name, director.phys("boot_stack"), size)


@dataclass
class LateProbe(EndProbe):
    """One AP is held before it executes physical 0, then again before it takes the lock.

    While it stands, the BSP may poll as often as it likes; it must not go on.
    """

    cpu: int = 1
    polls: int = 4
    places: tuple[str, ...] = RUNG_PLACES

    def __post_init__(self) -> None:
        self._holding = ""
        self._polls = 0

    async def start(self, director: Director) -> None:
        """Watch where the late AP is caught."""
        await EndProbe.start(self, director)
        await director.watch("physical-0", 0)

    async def hit(self, director: Director, hit: Hit) -> None:
        """Hold the late AP, count the BSP's polls, release."""
        await EndProbe.hit(self, director, hit)
        late = hit.cpu == self.cpu
        if late and hit.place == "physical-0" and not director.at("not-entered.held"):
            await self._hold(director, hit, "not-entered")
        elif late and hit.place == "ap_entry" and not director.at("not-numbered.held"):
            await self._hold(director, hit, "not-numbered")
        elif hit.place == "usleep" and hit.cpu == 0 and self._holding:
            self._polls += 1
        elif hit.place == "bsp_proc" and self._holding:
            await director.note(0, f"left while {self._holding}", hit.state)
            await self._release(director)
        await self._look(director)

    async def _hold(self, director: Director, hit: Hit, where: str) -> None:
        await director.note(hit.cpu, f"{where}.held", hit.state)
        director.held.add(self.cpu)
        self._holding, self._polls = where, 0

    async def _look(self, director: Director) -> None:
        if not self._holding:
            return
        others = [
            cpu for cpu in range(1, director.inputs.cpus)
            if cpu != self.cpu and not director.seen[cpu].rest
        ]  # fmt: skip
        numbered = {hit.cpu for hit in director.at("segment_init_ap")}
        if director.at("ap_wait") and all(cpu in numbered for cpu in others):
            await director.watch("usleep")
        if self._polls >= self.polls:
            await self._release(director)

    async def quiet(self, director: Director) -> bool:
        """The BSP waits without usleep: after the quiet time the AP is let go as well."""
        if not self._holding:
            return False
        await self._release(director)
        return True

    async def _release(self, director: Director) -> None:
        await director.snapshot(f"physical-0.{self._holding}", 0, 16)
        director.facts[f"polls.{self._holding}"] = self._polls
        director.held.discard(self.cpu)
        await director.unwatch("usleep")
        await director.unwatch("physical-0")
        self._holding = ""


@dataclass
class MissingProbe(EndProbe):
    """One AP never comes, and the VMM's patience is short."""

    cpu: int = 1

    async def start(self, director: Director) -> None:
        """Shorten `ap_delays.wait_us`, and catch the AP at its first instruction."""
        await EndProbe.start(self, director)
        await director.watch("physical-0", 0)

    async def hit(self, director: Director, hit: Hit) -> None:
        """Hold it for good; the boot is over when the BSP has said so or gone on."""
        await EndProbe.hit(self, director, hit)
        if hit.place == "physical-0" and hit.cpu == self.cpu:
            director.held.add(hit.cpu)
        if hit.cpu == 0 and hit.place in ("vmm_ap_missing", "bsp_proc"):
            director.finished = True


@dataclass
class ExclusionProbe(Probe):
    """Who can be on the shared boot stack, or between load and store of the count, at once.

    All APs are brought to `ap_entry` and then run one at a time, so the outcome does not depend
    on luck: while one stands on the boot stack, another is stepped until it either comes there
    too or turns out to wait.
    """

    places: tuple[str, ...] = (
        "ap_entry", "apinitproc0", "apinitproc1", "segment_init_ap", "ap_wait",
    )  # fmt: skip

    def __post_init__(self) -> None:
        self._lock = b""
        self._taken_by: int | None = None  # the instruction that takes the lock

    async def hit(self, director: Director, hit: Hit) -> None:
        """Collect the APs at `ap_entry`; when all are there, play."""
        await keep_bsp_in_ap_wait(director, hit)
        if hit.place != "ap_entry":
            return
        director.held.add(hit.cpu)
        aps = director.held - {0}
        if len(aps) == director.inputs.cpus - 1:
            await self._play(director, sorted(aps))
            director.held -= aps

    async def _play(self, director: Director, order: list[int]) -> None:
        director.random.shuffle(order)
        if order[1] == 1:  # its number could be its APIC id by chance
            order[1], order[2] = order[2], order[1]
        first, second, third = order[:3]
        if not await self._take(director, first):
            return
        made = await director.trial(second, "boot-stack", "apinitproc0", budget=WAIT_BUDGET)
        if made.verdict == "reached":
            return
        self._lock = await self._lock_bytes(director)
        if not await self._leave_boot_stack(director, first, second):
            return
        await self._released(director, first, second, third)

    async def _take(self, director: Director, cpu: int) -> bool:
        """Step the first AP through the free lock, and see which instruction takes it."""
        free = await self._lock_bytes(director)
        before = [(await director.state(cpu)).pc]

        async def taking(state: CpuState) -> None:
            if self._taken_by is None and await self._lock_bytes(director) != free:
                self._taken_by = before[0]
            before[0] = state.pc

        arrived = director.addr("apinitproc0")
        verdict, _ = await director.step_until(
            cpu, lambda now: now.pc == arrived, budget=CALL_BUDGET, watcher=taking
        )
        return verdict == "reached"

    async def _race(self, director: Director, slow: int, quick: int) -> bool:
        """One AP sleeps right before it takes the free lock, another takes it; then the first.

        Returns:
            Whether the boot can go on as planned: not both of them are on the boot stack.
        """
        if self._taken_by is None:
            return True
        await director.watch("lock.taken", self._taken_by)
        verdict, _ = await director.run_to(slow, "lock.taken")
        await director.unwatch("lock.taken")
        if verdict != "reached":
            return True
        made = await director.trial(quick, "lock-free", "apinitproc0", budget=CALL_BUDGET)
        if made.verdict != "reached":
            return True
        made = await director.trial(slow, "boot-stack", "apinitproc0", budget=WAIT_BUDGET)
        return made.verdict != "reached"

    async def _lock_bytes(self, director: Director) -> bytes:
        where = director.in_copy("apinit_lock")
        return await director.gdb.read_phys(where, 8) if where is not None else b""

    async def _leave_boot_stack(self, director: Director, first: int, second: int) -> bool:
        """Step the first AP off the boot stack; if the lock changes before that, try it."""
        given = {director.addr(name) for name in ("alloc", "asm_wrrsp_and_jmp", "apinitproc1")}
        changed: list[CpuState] = []

        async def lock_moved(state: CpuState) -> None:
            now = await self._lock_bytes(director)
            if now != self._lock:
                self._lock = now
                changed.append(state)

        for _ in range(CALL_BUDGET):
            verdict, state = await director.step_until(
                first,
                lambda now: bool(changed) or now.pc in given
                or not director.on_boot_stack(now.rsp),
                budget=CALL_BUDGET,
                watcher=lock_moved,
            )  # fmt: skip
            if verdict != "reached":
                return False
            if not director.on_boot_stack(state.rsp):
                return True
            if changed or state.pc == director.addr("alloc"):
                where = "boot-stack.unlocked" if changed else "boot-stack.alloc"
                changed.clear()
                made = await director.trial(second, where, "apinitproc0", budget=WAIT_BUDGET)
                if made.verdict == "reached":
                    return False
        return False

    async def _released(self, director: Director, first: int, second: int, third: int) -> None:
        """The first AP is on its own stack: find the release of the lock, then the counting."""
        counted_by: dict[int, int] = {}

        def counting(cpu: int, before: list[int]) -> Callable[[CpuState], Awaitable[None]]:
            async def look(state: CpuState) -> None:
                now = await director.read_u32(director.phys("num_of_processors"))
                if now != before[0] and cpu not in counted_by:
                    counted_by[cpu] = before[1]
                before[0], before[1] = now, state.pc

            return look

        number_at = director.addr("segment_init_ap")
        start = await director.state(first)
        before = [await director.read_u32(director.phys("num_of_processors")), start.pc]
        look = counting(first, before)
        moved: list[bool] = []

        async def watcher(state: CpuState) -> None:
            await look(state)
            if await self._lock_bytes(director) != self._lock:
                moved.append(True)

        verdict, state = await director.step_until(
            first, lambda now: bool(moved) or now.pc == number_at, budget=CALL_BUDGET,
            watcher=watcher,
        )  # fmt: skip
        if verdict != "reached" or state.pc == number_at:
            return
        await director.note(first, "lock-released", state)
        if not await self._race(director, third, second):
            return
        start = await director.state(second)
        before = [await director.read_u32(director.phys("num_of_processors")), start.pc]
        verdict, state = await director.step_until(
            second, lambda now: now.pc == number_at, budget=CALL_BUDGET * 4,
            watcher=counting(second, before),
        )  # fmt: skip
        if verdict != "reached":  # the first one may hold ap_lock already: then it counts first
            start = await director.state(first)
            before = [await director.read_u32(director.phys("num_of_processors")), start.pc]
            verdict, state = await director.step_until(
                first, lambda now: now.pc == number_at, budget=CALL_BUDGET,
                watcher=counting(first, before),
            )  # fmt: skip
            if verdict == "reached":
                await self._count_alone(director, counted_by.get(first), second, third)
            return
        director.facts["number.given"] = state.rdi & 0xFFFFFFFF
        director.facts["number.count"] = await director.read_u32(director.phys("num_of_processors"))
        director.facts["number.cpu"] = second
        if first not in counted_by:
            await self._count_alone(director, counted_by.get(second), first, third)

    async def _count_alone(
        self, director: Director, store: int | None, holder: int, other: int
    ) -> None:
        """Hold one AP right before it stores the count; nobody else may come there."""
        if store is None:
            return
        director.facts["count.store"] = store
        name = "count.store"
        await director.watch(name, store)
        verdict, state = await director.run_to(holder, name)
        if verdict == "reached":
            code = await director.code_at(holder, state)
            director.memory["count.store.code"] = code
            verdict, state = await director.step_until(
                other, lambda now: now.pc == store, budget=CALL_BUDGET * 2
            )
            director.add_trial(other, "counting", name, verdict, state)
        await director.unwatch(name)


@dataclass
class BarrierProbe(Probe):
    """Who can leave a round of the barrier before all have come, and who never leaves it.

    A barrier may make the last one wait until the others have left: that a CPU does not get on
    while others stand still proves nothing by itself. So everyone runs free in the end, and only
    if the boot does not complete then is it a mistake.
    """

    places: tuple[str, ...] = ("sync_all_processors", "vmm_synced")

    def __post_init__(self) -> None:
        self._counted_by: int | None = None  # the instruction that changes sync_count

    async def hit(self, director: Director, hit: Hit) -> None:
        """Collect all CPUs at the barrier's first round; when all are there, play."""
        if hit.place != "sync_all_processors" or director.trials:
            return
        director.held.add(hit.cpu)
        if len(director.held) == director.inputs.cpus:
            await self._play(director)
            director.held.clear()

    async def _play(self, director: Director) -> None:
        order = sorted(director.held)
        director.random.shuffle(order)
        *early, last = order
        before = [await director.read_u32(director.phys("sync_count")), 0]

        async def counting(state: CpuState) -> None:
            now = await director.read_u32(director.phys("sync_count"))
            if now != before[0] and self._counted_by is None:
                self._counted_by = before[1]
            before[0], before[1] = now, state.pc

        for cpu in early:
            made = await director.trial(
                cpu, "round-1", "vmm_synced", budget=WAIT_BUDGET, watcher=counting
            )
            if made.verdict not in STILL_THERE:
                return
        made = await director.trial(
            last, "round-1.last", "vmm_synced", budget=WAIT_BUDGET, confirm=True
        )
        if made.verdict != "reached":
            return
        await self._slow_waker(director, early[0], [*early[1:], last], last)

    async def _slow_waker(
        self, director: Director, slow: int, others: list[int], last: int
    ) -> None:
        """One CPU sleeps inside round 1 while the others go on to round 2 and must wait there."""
        for cpu in others:
            if cpu != last and not await self._leaves(director, cpu, slow):
                return
            verdict, _ = await director.run_to(cpu, "sync_all_processors")
            if verdict != "reached":
                return
        if self._counted_by:  # the first one sleeps right before it counts, the next ones come
            await director.watch("barrier.count", self._counted_by)
            await director.run_to(others[0], "barrier.count")
            await director.unwatch("barrier.count")
        for cpu in [*others[1:], others[0]]:
            made = await director.trial(cpu, "round-2", "vmm_synced", budget=WAIT_BUDGET)
            if made.verdict not in STILL_THERE:
                return
        made = await director.trial(
            slow, "round-1.slow", "vmm_synced", budget=WAIT_BUDGET, confirm=True
        )

    async def _leaves(self, director: Director, cpu: int, slow: int) -> bool:
        """Whether a CPU leaves round 1, wherever in its waiting loop the slow one stands.

        The slow one may stand inside a lock that its loop takes: then it is moved on by an
        instruction at a time before anybody is accused.
        """
        for _ in range(64):
            verdict, state = await director.step_until(
                cpu, lambda now: director.at_place(now.pc) == "vmm_synced", budget=WAIT_BUDGET
            )
            if verdict == "reached":
                return True
            if verdict in ("shutdown", "halted") or not await director.step(slow):
                break
            if director.at_place((await director.state(slow)).pc) == "vmm_synced":
                break
        verdict, state = await director.run_to(cpu, "vmm_synced")
        director.add_trial(cpu, "round-1.woken", "vmm_synced", verdict, state)
        return verdict == "reached"


def make_probe(name: str, params: Mapping[str, object]) -> Probe:
    """The probe that a scenario names.

    Args:
        name: one of the names in this module's table.
        params: the scenario's other parameters: `cpu` (index of the AP concerned) and the fields
            of `struct ap_delays` in microseconds.

    Raises:
        ValueError: there is no such probe.
    """
    delays = {key: int(str(params[key])) for key in DELAY_FIELDS if key in params}
    cpu = int(str(params.get("cpu", 1)))
    makers: dict[str, Callable[[], Probe]] = {
        "end": lambda: EndProbe(delays=delays),
        "rungs": lambda: RungsProbe(delays=delays),
        "ladder": lambda: RungsProbe(delays=delays, stepping=True),
        "initfuncs": lambda: InitfuncsProbe(delays=delays),
        "uefi": UefiProbe,
        "switch": lambda: SwitchProbe(delays=delays, swap=bool(params.get("swap"))),
        "late-ap": lambda: LateProbe(delays=delays, cpu=cpu),
        "missing-ap": lambda: MissingProbe(delays=delays, cpu=cpu),
        "exclusion": ExclusionProbe,
        "barrier": BarrierProbe,
    }
    if name not in makers:
        raise ValueError(f"no probe {name!r}; there are: {', '.join(sorted(makers))}")
    return makers[name]()
