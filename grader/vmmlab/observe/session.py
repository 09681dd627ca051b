"""The director: drives one boot through the gdbstub and writes down what it sees.

It knows how to let some CPUs run and hold others, how to single-step one of them, and how to tell
that a boot is over. What to look for is the probe's business (`probes`), what it means is the
checks'. Nothing here knows what is right or wrong.

A breakpoint stops all CPUs and reports one of them. Another one that stood at a breakpoint at the
same moment stops again as soon as it may run, so that nothing is lost.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from vmmlab.machine.gdb import GdbError, Registers, Stop
from vmmlab.machine.qemu import Machine
from vmmlab.observe import deadlock, segments
from vmmlab.observe.icr import icr_writes
from vmmlab.observe.observation import (
    CR0_PG,
    CR4_PAE,
    EFER_LME,
    CpuRecord,
    CpuState,
    EndKind,
    Hit,
    Icr,
    Observation,
    Rung,
    TrampolineStep,
    Trial,
)
from vmmlab.x86.abi import abi_of
from vmmlab.x86.decode import decode
from vmmlab.x86.encode import INT3

VMM_BASE = 0x40000000
REST_PLACES: Mapping[str, EndKind] = {
    "vmm_parked": "parked",
    "vmm_todo": "todo",
    "exception_panic": "exception",
    "panic": "panic",
    "vmm_ap_missing": "missing",
}
"""Places after which a CPU does nothing more, and what that end is called."""

RESTARTED = "early_init"  # given, and called once: when it comes again, the BSP was reset
TRAMPOLINE_BUDGET = 2000  # instructions between physical 0 and ap_entry
FILLED = 0x1800  # bytes that are filled with INT3, from the page in which the trampoline begins
RUN_ATTEMPTS = 8  # times that a CPU may take long before it is said to wait
SHORT_ATTEMPTS = 3  # before them: each twice as long as the one before, up to `limits.alone_s`
SPIN_BUDGET = 200  # instructions in which a waiting CPU's state repeats
CALLER_WORDS = 32  # of a stack, in which to look for the caller
FAR_JUMP_ROOM = 16  # bytes at physical 0 that may be the far jump
SPIN_REPEATS = 1  # times that the same registers may be seen again before a CPU "waits"
RUN_TO_RETURN = (
    "printf", "vprintf", "usleep", "putchar", "memset", "memcpy", "memmove", "alloc",
)  # fmt: skip
"""Given functions that are long and uninteresting: a stepped CPU runs through them."""


class SymbolTable(Protocol):
    """What the director asks of the symbols of an image."""

    def maybe(self, name: str) -> int | None:
        """Address of a global symbol, or None."""

    def nearest(self, addr: int) -> str:
        """The nearest symbol as text."""

    def line(self, addr: int) -> tuple[str, int] | None:
        """File and line of an instruction, where known."""

    def owner(self, address: int) -> str:
        """ "given", "student", "standin" or "extra"; "" outside the image."""


@dataclass(frozen=True)
class Inputs:
    """What one boot is given: everything that the seed or the cohort decides.

    Args:
        scenario: name of the scenario.
        seed: seed of this boot's inputs.
        cpus: number of vCPUs.
        apinit_addr: physical address where the trampoline is to be copied.
        apinit_offset: IP with which it is to be entered.
        stack_size: VMM_STACKSIZE in bytes.
        pcpu_pad: bytes of padding before the first field of `struct pcpu`.
        arch: what the image was built for.
    """

    scenario: str
    seed: int
    cpus: int
    apinit_addr: int
    apinit_offset: int
    stack_size: int
    pcpu_pad: int
    arch: str = "x86_64"


@dataclass
class Seen:
    """What has been written down of one CPU so far."""

    rungs: dict[Rung, CpuState] = field(default_factory=dict)
    steps: list[TrampolineStep] = field(default_factory=list)
    whole: bool = True
    rest: EndKind | None = None
    died_at: str = ""


Watcher = Callable[[CpuState], Awaitable[None]]
Verdict = Literal["reached", "waits", "budget", "halted", "shutdown"]


class Probe:
    """What a boot is to be watched for; this one watches nothing but the end."""

    places: tuple[str, ...] = ()
    """Symbols to stop at, besides those at which a CPU comes to rest."""

    async def start(self, director: Director) -> None:
        """Called once, with all CPUs stopped and the BSP at the entry of `vmm_main`."""

    async def hit(self, director: Director, hit: Hit) -> None:
        """Called for every stop at a named place, with all CPUs stopped."""

    async def quiet(self, director: Director) -> bool:
        """Called when nothing has happened for a while; True if the boot should go on."""
        return False


class Director:
    """One boot, from the entry of `vmm_main` to its end.

    Args:
        machine: a started machine; no CPU has run yet.
        symbols: symbols of the image that it boots.
        inputs: what the seed and the cohort decide.
    """

    def __init__(self, machine: Machine, symbols: SymbolTable, inputs: Inputs) -> None:
        self.machine = machine
        self.gdb = machine.gdb
        self.symbols = symbols
        self.inputs = inputs
        self.abi = abi_of(inputs.arch)
        self.limits = machine.limits
        self.random = random.Random(f"{inputs.seed}/{inputs.scenario}")
        self.held: set[int] = set()
        self.trouble = False
        self.finished = False
        self.seen = [Seen() for _ in range(inputs.cpus)]
        self.hits: list[Hit] = []
        self.memory: dict[str, bytes] = {}
        self.tables: dict[str, tuple[tuple[str, str, str], ...]] = {}
        self.trials: list[Trial] = []
        self.facts: dict[str, int] = {}
        self.notes: list[str] = []
        self._modes = [_ModeTracker() for _ in range(inputs.cpus)]
        self._places: dict[int, str] = {}
        self._noted: dict[int, int] = {}
        self._shutdown = False
        self._since_s = 0.0
        self._code: dict[tuple[int, str], bytes] = {}

    # ---- addresses -------------------------------------------------------------------------

    def addr(self, name: str) -> int:
        """Address of a given or contract symbol.

        Raises:
            KeyError: the image has no such global symbol.
        """
        found = self.symbols.maybe(name)
        if found is None:
            raise KeyError(name)
        return found

    def phys(self, name: str) -> int:
        """Physical address of a symbol of the VMM."""
        return self.addr(name) - VMM_BASE

    def place(self, addr: int) -> str:
        """An address of the VMM as a student finds it: symbol, file and line."""
        line = self.symbols.line(addr)
        return self.symbols.nearest(addr) + (f" ({line[0]}:{line[1]})" if line else "")

    def in_copy(self, name: str) -> int | None:
        """Physical address that a label of the trampoline has in the copy."""
        label, start = self.symbols.maybe(name), self.symbols.maybe("cpuinit_start")
        if label is None or start is None:
            return None
        return self.inputs.apinit_addr + label - start

    @property
    def trampoline_size(self) -> int:
        """Bytes from cpuinit_start to cpuinit_end."""
        return self.addr("cpuinit_end") - self.addr("cpuinit_start")

    @property
    def ap_indices(self) -> range:
        """Indices of the APs."""
        return range(1, self.inputs.cpus)

    async def around_trampoline(self) -> dict[int, int]:
        """Address to byte of the memory around the copy that was filled with INT3."""
        inputs = self.inputs
        page = inputs.apinit_addr & ~0xFFF
        raw = await self.gdb.read_phys(page, FILLED)
        inside = range(inputs.apinit_addr, inputs.apinit_addr + self.trampoline_size)
        return {page + at: byte for at, byte in enumerate(raw) if page + at not in inside}

    def on_boot_stack(self, rsp: int) -> bool:
        """Whether `rsp` points into the shared boot stack (its top included)."""
        return self.addr("boot_stack") <= rsp <= self.addr("boot_stack_top")

    # ---- the machine -----------------------------------------------------------------------

    async def state(self, cpu: int) -> CpuState:
        """Registers of a stopped CPU."""
        return self._modes[cpu].state(await self.gdb.registers(cpu))

    async def read_u32(self, physical: int) -> int:
        """A 32-bit word of physical memory."""
        return int.from_bytes(await self.gdb.read_phys(physical, 4), "little")

    async def read_u64(self, physical: int) -> int:
        """A 64-bit word of physical memory."""
        return int.from_bytes(await self.gdb.read_phys(physical, 8), "little")

    async def read_pointer(self, physical: int) -> int:
        """A pointer in physical memory."""
        return self.abi.pointer(await self.gdb.read_phys(physical, self.abi.word))

    async def stack_word(self, cpu: int, offset: int = 0) -> int:
        """A word of a CPU's stack, `offset` bytes from where its stack pointer is.

        Raises:
            GdbError: it cannot be read.
        """
        at = (await self.state(cpu)).rsp + offset
        return self.abi.pointer(await self.gdb.read_virt(cpu, at, self.abi.word))

    async def argument(self, cpu: int, place: str, number: int = 0) -> int:
        """An argument of the function `place`, at whose first instruction a CPU stands.

        Args:
            cpu: the CPU.
            place: the function.
            number: from 0.

        Raises:
            GdbError: it is on a stack that cannot be read.
        """
        where = self.abi.argument(place, number)
        if isinstance(where, int):
            return await self.stack_word(cpu, where)
        return (await self.gdb.registers(cpu))[where]

    async def set_argument(self, cpu: int, place: str, number: int, value: int) -> None:
        """Change an argument of the function at whose first instruction a CPU stands."""
        where = self.abi.argument(place, number)
        if isinstance(where, int):
            at = (await self.state(cpu)).rsp + where
            physical = await self.translate(cpu, at)
            if physical is not None:
                await self.gdb.write_phys(physical, value.to_bytes(self.abi.word, "little"))
        else:
            await self.gdb.write_register(cpu, where, value)

    async def write_u32(self, name: str, value: int, offset: int = 0) -> None:
        """Write a 32-bit word of a given variable."""
        await self.gdb.write_phys(self.phys(name) + offset, value.to_bytes(4, "little"))

    async def read_text(self, cpu: int, address: int) -> str:
        """The C string at `address` as CPU `cpu` sees it, at most 64 bytes; "" if unreadable."""
        try:
            raw = await self.gdb.read_virt(cpu, address, 64)
        except GdbError:
            return ""
        return raw.split(b"\0", 1)[0].decode("ascii", "replace")

    async def snapshot(self, name: str, physical: int, size: int) -> bytes:
        """Keep `size` bytes of physical memory under `name`; an unreadable range is kept empty."""
        try:
            self.memory[name] = await self.gdb.read_phys(physical, size)
        except GdbError:
            self.memory[name] = b""
        return self.memory[name]

    async def code_at(self, cpu: int, state: CpuState) -> bytes:
        """The bytes that a stopped CPU is about to execute."""
        key = (state.pc, state.mode)
        if key not in self._code:
            self._code[key] = await self._fetch(cpu, state.pc)
        return self._code[key]

    async def _fetch(self, cpu: int, pc: int) -> bytes:
        for size in (15, 4096 - pc % 4096):
            try:
                return await self.gdb.read_virt(cpu, pc, min(size, 15))
            except GdbError:
                continue
        return b""

    async def instruction(self, cpu: int, state: CpuState) -> str:
        """The instruction that a stopped CPU is about to execute, as text."""
        decoded = decode(await self.code_at(cpu, state), state.pc, state.bits)
        return decoded.text if decoded else "(no instruction)"

    async def translate(self, cpu: int, virtual: int) -> int | None:
        """The physical address that a CPU's page tables give for a virtual one, or None."""
        table = (await self.state(cpu)).cr3 & self.abi.root_mask
        for shift in self.abi.shifts:
            try:
                entry = await self.read_u64(table + (virtual >> shift & 511) * 8)
            except GdbError:  # the table is overwritten, or nothing is there
                return None
            if not entry & 1:
                return None
            frame = entry & 0x000FFFFFFFFFF000
            if shift == 12 or (shift < 39 and entry & 1 << 7):
                inside = (1 << shift) - 1
                return (frame & ~inside) | (virtual & inside)
            table = frame
        return None

    def icr(self) -> tuple[Icr, ...]:
        """What has been written to the interrupt command register so far."""
        return icr_writes(self.machine.trace(), self._since_s)

    # ---- places ----------------------------------------------------------------------------

    async def watch_all(self, names: Iterable[str]) -> None:
        """Stop whatever CPU comes to one of these symbols; those that are not there are not."""
        found = {where: name for name in names if (where := self.symbols.maybe(name)) is not None}
        new = {where: name for where, name in found.items() if where not in self._places}
        self._places |= new
        await self.gdb.set_breaks(new)

    async def watch(self, name: str, address: int | None = None) -> None:
        """Stop whatever CPU is about to execute the instruction at a place.

        Args:
            name: a symbol, or any name if `address` is given. A symbol that the image does not
                have is passed over.
            address: linear address.
        """
        where = address if address is not None else self.symbols.maybe(name)
        if where is not None and where not in self._places:
            self._places[where] = name
            await self.gdb.set_break(where)

    async def unwatch(self, name: str) -> None:
        """Take a place back."""
        for where in [w for w, n in self._places.items() if n == name]:
            del self._places[where]
            await self.gdb.clear_break(where)

    def at_place(self, pc: int) -> str | None:
        """The name of the watched place at a linear address."""
        return self._places.get(pc)

    # ---- running ---------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the machine has shut down, so that nobody can run any more."""
        return self._shutdown

    def free(self) -> set[int]:
        """The CPUs that are not held."""
        return set(range(self.inputs.cpus)) - self.held

    async def go(self, cpus: Collection[int] | None = None, timeout_s: float | None = None) -> Stop:
        """Let CPUs run until one is at a place, the machine shuts down or nothing happens.

        Args:
            cpus: who runs; all that are not held if None.
            timeout_s: how long nothing may happen, in seconds of this host.

        Returns:
            The stop; kind "break", "shutdown" or "interrupt" (nothing happened).
        """
        who = self.free() if cpus is None else set(cpus)
        while who:
            await self.gdb.resume(who)
            stop = await self.gdb.wait(self.limits.quiet_s if timeout_s is None else timeout_s)
            if stop is None:
                stop = await self.gdb.interrupt()
            if stop.kind in ("shutdown", "exit"):
                self._shutdown = True
            if stop.kind == "break" and stop.cpu is not None:
                if self._noted.pop(stop.cpu, None) == stop.address:
                    continue  # it was stepped there, and that is written down already
                self._noted.pop(stop.cpu, None)
            return stop
        return Stop("interrupt")

    async def arrive(self, stop: Stop) -> Hit | None:
        """Write down a stop at a place; None if the CPU is at no place."""
        if stop.cpu is None:
            return None
        state = await self.state(stop.cpu)
        place = self.at_place(state.pc)
        return await self.note(stop.cpu, place, state) if place else None

    async def note(self, cpu: int, place: str, state: CpuState, value: int | None = None) -> Hit:
        """Write down that a CPU is at a place."""
        text = ""
        if place in ("vmm_todo", "call_initfunc", "panic"):
            text = await self._text_argument(cpu, place)
        hit = Hit(len(self.hits), cpu, place, state, text, value)
        self.hits.append(hit)
        seen = self.seen[cpu]
        rung = _RUNG_OF_PLACE.get(place)
        own_stack_or_other = rung is not Rung.OWN_STACK or not self.on_boot_stack(state.rsp)
        if rung is not None and cpu != 0 and own_stack_or_other:
            seen.rungs.setdefault(rung, state)
        if place == "ap_entry" and not seen.whole:
            for passed in (Rung.REAL_MODE, Rung.PROTECTED_MODE, Rung.LONG_MODE):
                seen.rungs.setdefault(passed, state)
        if place == RESTARTED:
            self.facts["restarted"] = 1
            self.notes.append("the VMM was started a second time: something reset the BSP")
            self._shutdown = True
        if place in REST_PLACES and seen.rest is None:
            seen.rest = REST_PLACES[place]
            self.trouble = self.trouble or place != "vmm_parked"
        return hit

    async def _text_argument(self, cpu: int, place: str) -> str:
        try:
            return await self.read_text(cpu, await self.argument(cpu, place))
        except GdbError:  # no stack
            return ""

    def at(self, place: str, cpu: int | None = None) -> list[Hit]:
        """Hits at a place so far, of one CPU or of all."""
        return [h for h in self.hits if h.place == place and cpu in (None, h.cpu)]

    def give_value(self, place: str, cpu: int, value: int) -> None:
        """Add a number to the last hit of a CPU at a place."""
        for at in range(len(self.hits) - 1, -1, -1):
            if (self.hits[at].place, self.hits[at].cpu) == (place, cpu):
                self.hits[at] = replace(self.hits[at], value=value)
                return

    async def step(self, cpu: int, *, peek: Iterable[tuple[int, int]] = ()) -> bool:
        """One instruction of one CPU, all others standing still.

        Args:
            cpu: the CPU.
            peek: physical addresses and sizes in bytes of what will be looked at next.

        Returns:
            False when the CPU can do no more: it halted, or the machine shut down on it.
        """
        self._noted.pop(cpu, None)
        stop = await self.gdb.step(cpu, peek=peek)
        if stop.kind in ("shutdown", "exit"):
            self._shutdown = True
        return stop.kind not in ("shutdown", "exit", "halted")

    async def step_until(
        self,
        cpu: int,
        wanted: Callable[[CpuState], bool],
        *,
        budget: int,
        watcher: Watcher | None = None,
        peek: Iterable[tuple[int, int]] = (),
    ) -> tuple[Verdict, CpuState]:
        """Step one CPU until `wanted` holds, it turns out to wait, or the budget is used up.

        With all other CPUs standing still, a CPU whose registers repeat is in a loop that only
        another CPU can end. Long given functions are run through, not stepped.

        Args:
            cpu: the CPU to step.
            wanted: asked with the registers after every instruction.
            budget: instructions at most.
            watcher: awaited with the registers after every instruction, for its effects.
            peek: physical addresses and sizes in bytes of what it will look at.
        """
        skip = {found for name in RUN_TO_RETURN if (found := self.symbols.maybe(name))}
        repeats: Counter[Registers] = Counter()
        state = await self.state(cpu)
        for _ in range(budget):
            alive = await self.step(cpu, peek=peek)
            state = await self.state(cpu)
            if alive and state.pc in skip and not wanted(state):
                state = await self.run_to_return(cpu, state)
            if self._shutdown:
                return "shutdown", state
            if not alive:
                return "halted", state
            if watcher is not None:
                await watcher(state)
            if place := self.at_place(state.pc):
                await self.note_stepped(cpu, place, state)
            if wanted(state):
                return "reached", state
            registers = await self.gdb.registers(cpu)
            repeats[registers] += 1
            if repeats[registers] > SPIN_REPEATS:
                return "waits", state
        return "budget", state

    async def run_to_return(self, cpu: int, state: CpuState) -> CpuState:
        """Let a CPU at the first instruction of a function run until that comes back.

        Args:
            cpu: who runs; everyone else stands still.
            state: its registers now.
        """
        back = await self.stack_word(cpu)
        known = back in self._places
        if not known:
            await self.gdb.set_break(back)
        for _ in range(RUN_ATTEMPTS):
            stop = await self.go([cpu], self.limits.alone_s)
            if stop.kind == "break" and stop.address != back:
                await self.arrive(stop)
            if stop.kind != "interrupt":
                break
        if not known:
            await self.gdb.clear_break(back)
        return await self.state(cpu)

    async def trial(
        self,
        cpu: int,
        while_at: str,
        until: str,
        *,
        budget: int,
        watcher: Watcher | None = None,
    ) -> Trial:
        """Let one CPU run alone, step by step, and see whether it comes to a place.

        Args:
            cpu: who runs; everyone else stands still.
            while_at: what the held CPUs are doing, as a name for the record.
            until: the watched place.
            budget: instructions to step at most.
            watcher: as for `step_until`.
        """
        target = self.addr(until)
        verdict, state = await self.step_until(
            cpu, lambda now: now.pc == target, budget=budget, watcher=watcher
        )
        return self.add_trial(cpu, while_at, until, verdict, state)

    def add_trial(
        self, cpu: int, while_at: str, until: str, verdict: Verdict, state: CpuState
    ) -> Trial:
        """Write down what came of letting one CPU run while all others stood still."""
        held = tuple(sorted(set(range(self.inputs.cpus)) - {cpu}))
        reached = until if verdict == "reached" else ""
        made = Trial(cpu, held, while_at, reached, verdict, self.describe(state))
        self.trials.append(made)
        return made

    async def run_to(
        self, cpu: int, *places: str, attempts: int = RUN_ATTEMPTS
    ) -> tuple[Verdict, CpuState]:
        """Let one CPU run alone, at full speed, until it comes to one of the places.

        That it takes long proves nothing on a busy host: then it is stepped, and only if its
        state repeats does it wait.
        """
        ends = {*places, *REST_PLACES}
        patience_s = self.limits.alone_s / 2**SHORT_ATTEMPTS
        for _ in range(SHORT_ATTEMPTS + attempts):
            verdict, state = await self.run_free(cpu, *places, patience_s=patience_s)
            patience_s = min(2 * patience_s, self.limits.alone_s)
            if verdict != "waits":
                return verdict, state
            if not self.is_code(state):
                return "budget", state  # it is lost, and will not find the way back
            verdict, state = await self.step_until(
                cpu, lambda now: self.at_place(now.pc) in ends, budget=SPIN_BUDGET
            )
            if verdict == "reached" and self.at_place(state.pc) not in places:
                return "halted", state
            if verdict != "budget":
                return verdict, state
        return "waits", state

    async def run_free(
        self, cpu: int, *places: str, patience_s: float | None = None
    ) -> tuple[Verdict, CpuState]:
        """Let one CPU run alone until it comes to one of the places, or nothing happens.

        Other places that it passes are written down on the way.

        Args:
            cpu: who runs.
            places: where it is to come.
            patience_s: how long nothing may happen, in seconds; `limits.alone_s` if None.
        """
        while True:
            stop = await self.go([cpu], patience_s or self.limits.alone_s)
            if stop.kind == "shutdown":
                return "shutdown", await self.state(cpu)
            state = await self.state(cpu)
            if stop.kind != "break":
                return "waits", state
            hit = await self.arrive(stop)
            if self._shutdown:
                return "shutdown", state
            if hit and hit.place in places:
                return "reached", state
            if hit and hit.place in REST_PLACES:
                return "halted", state

    async def note_stepped(self, cpu: int, place: str, state: CpuState) -> None:
        """Write down that a CPU was stepped to a place; the stop that follows is the same one."""
        await self.note(cpu, place, state)
        self._noted[cpu] = state.pc

    # ---- the trampoline --------------------------------------------------------------------

    async def step_trampoline(self, cpu: int, stop_at: int | None = None) -> bool:
        """Single-step an AP from physical 0 until it is in `ap_entry`, dies or gets nowhere.

        Args:
            cpu: the AP.
            stop_at: the instruction before which to stop on the way; another call goes on.

        Returns:
            Whether it stands at `stop_at`.
        """
        seen = self.seen[cpu]
        goal = self.symbols.maybe("ap_entry")
        counter_at = self.in_copy("apinit_procs")
        state = await self.state(cpu)
        count = await self.read_u32(counter_at) if counter_at is not None else 0
        repeats: Counter[Registers] = Counter()
        for _ in range(TRAMPOLINE_BUDGET):
            self._climb(cpu, state)
            if state.pc == stop_at:
                return True
            if state.pc == goal:
                await self.note_stepped(cpu, "ap_entry", state)
                return False
            if not self.is_code(state):
                self.hold_astray(cpu, state.pc)
                return False
            registers = await self.gdb.registers(cpu)
            repeats[registers] += 1
            if repeats[registers] > SPIN_REPEATS:
                break
            code = await self.code_at(cpu, state)
            decoded = decode(code, state.pc, state.bits)
            text = decoded.text if decoded else "(no instruction)"
            size = decoded.size if decoded else 1
            if state.mode == "protected" and state.bits == 16:
                told = await self.gdb.describe(cpu)
                self.facts |= {
                    f"gdtr.{cpu}.{part}": told[f"gdt_{part}"] for part in ("base", "limit")
                }
            if (no := await segments.refused(self.gdb, cpu, state, code, registers)) is not None:
                seen.steps.append(TrampolineStep(state, code[:size], text, 0))
                self._refuse(cpu, no, state)
                return False
            alive = await self.step(cpu)
            before = count
            if alive and counter_at is not None and decoded and decoded.writes_memory:
                count = await self.read_u32(counter_at)
            seen.steps.append(TrampolineStep(state, code[:size], text, count - before))
            if not alive:
                self._give_up(cpu)  # real processors do not leave HLT at the next SIPI; QEMU's do
                return False
            state = await self.state(cpu)
            if _paging_refused(text, registers, state):
                # QEMU goes on without paging; a real processor raises #GP (SDM vol. 3, 9.8.5).
                self.facts[f"paging-refused.{cpu}"] = seen.steps[-1].state.pc
                seen.died_at = self.describe(seen.steps[-1].state)
                self._give_up(cpu)
                return False
        if stop_at is None:
            seen.whole = False  # it waits, or is long: it runs free from here
        return False

    def _refuse(self, cpu: int, no: segments.Refusal, state: CpuState) -> None:
        """An AP's next instruction raises an exception on a real processor: it ends here."""
        self.facts |= {
            f"segment-refused.{cpu}": segments.NAMES.index(no.segment),
            f"segment-refused.{cpu}.reason": segments.REASONS.index(no.reason),
            f"segment-refused.{cpu}.offset": no.offset,
            f"segment-refused.{cpu}.limit": no.limit,
            f"segment-refused.{cpu}.vector": no.vector,
        }
        self.seen[cpu].died_at = self.describe(state)
        self._give_up(cpu)

    def is_code(self, state: CpuState) -> bool:
        """Whether an AP is at physical 0, in the trampoline's copy or in the VMM's image."""
        start = self.inputs.apinit_addr
        if state.pc < FAR_JUMP_ROOM and state.mode == "real":
            return True
        if start <= state.pc < start + self.trampoline_size:
            return True
        virtual = state.cr0 & CR0_PG and self.symbols.owner(state.pc)
        return bool(virtual or self.symbols.owner(state.pc + VMM_BASE))

    def hold_astray(self, cpu: int, pc: int) -> None:
        """An AP is about to execute what is no code: that could overwrite what others still need.

        Args:
            cpu: the AP.
            pc: linear address of the instruction that it does not get to execute.
        """
        self.facts[f"astray.{cpu}"] = pc
        if steps := self.seen[cpu].steps:
            self.seen[cpu].died_at = self.describe(steps[-1].state)
        self._give_up(cpu)

    def _give_up(self, cpu: int) -> None:
        """An AP can do nothing sensible any more: it stands still for the rest of the boot."""
        self.trouble = True
        self.held.add(cpu)

    def _climb(self, cpu: int, state: CpuState) -> None:
        rungs = self.seen[cpu].rungs
        start = self.inputs.apinit_addr
        if state.mode == "real":
            if start <= state.pc < start + max(self.trampoline_size, 1):
                rungs.setdefault(Rung.REAL_MODE, state)
        elif state.mode == "protected":
            rungs.setdefault(Rung.PROTECTED_MODE, state)
        else:
            rungs.setdefault(Rung.LONG_MODE, state)

    # ---- a whole boot ----------------------------------------------------------------------

    async def run(self, probe: Probe) -> Observation:
        """Boot, watch and return what was seen.

        Raises:
            MachineDied: QEMU ended although the guest did not ask for it.
        """
        began = time.monotonic()
        await self.watch("vmm_main")
        stop = await self.go(timeout_s=self.limits.start_s)
        self._since_s = time.time()
        if stop.kind == "break":
            await self.arrive(stop)
            await self._prepare(probe)
            how = await self._watch_it(probe)
        else:
            self.notes.append("the VMM did not come to vmm_main")
            how = "shutdown" if stop.kind == "shutdown" else "quiet"
        return await self._finish(how, time.monotonic() - began)

    async def _prepare(self, probe: Probe) -> None:
        inputs = self.inputs
        fill = bytes(self.random.randrange(1, 256) for _ in range(16))
        await self.gdb.write_phys(0, fill)
        self.memory["physical-0.before"] = fill
        page = inputs.apinit_addr & ~0xFFF
        await self.gdb.write_phys(page, INT3 * FILLED)
        start, size = self.symbols.maybe("cpuinit_start"), self.trampoline_size
        if start is not None:
            await self.snapshot("trampoline.image", start - VMM_BASE, size)
        for label in ("apinit_procs", "apinit_lock"):
            if (copy := self.in_copy(label)) is not None:
                self.facts[f"{label}.copy"] = copy
        await self.unwatch("vmm_main")  # it may be a loop to itself
        await self.watch_all((*REST_PLACES, RESTARTED, *probe.places))
        await probe.start(self)

    async def _watch_it(self, probe: Probe) -> Literal["complete", "shutdown", "quiet", "shown"]:
        end = time.monotonic() + self.limits.total_s
        while time.monotonic() < end:
            stop = await self._next_event()
            if stop.kind == "shutdown":
                return "shutdown"
            if stop.kind != "break":
                if await probe.quiet(self):
                    continue
                return "quiet"
            hit = await self.arrive(stop)
            if hit is not None and not self._shutdown:
                await self.look_at_fault(hit)
                await probe.hit(self, hit)
            if self._shutdown:
                return "shutdown"
            if self.finished:
                return "shown"
            if all(seen.rest for seen in self.seen):
                return "complete"
        return "quiet"

    async def _next_event(self) -> Stop:
        """Let the machine run until something happens, or it is clear that nothing will."""
        left_s, look_s = self._patience(), self.limits.look_s
        while True:
            began_s = time.time()
            stop = await self.go(timeout_s=min(look_s, left_s))
            left_s -= look_s
            if stop.kind != "interrupt" or left_s <= 0:
                return stop
            if not self._called_since(began_s):
                found = await deadlock.look(self)
                if isinstance(found, Stop):
                    return found
                if found:
                    return stop
                if self._shutdown:
                    return Stop("shutdown")
            look_s *= 2

    def _called_since(self, time_s: float) -> bool:
        """Whether an IPI was sent after this moment of the host: it may still be on its way."""
        return bool(icr_writes(self.machine.trace(), time_s))

    async def look_at_fault(self, hit: Hit) -> None:
        """Read the frame that the exception handler was given (include/exception.h).

        The first exception of each CPU is kept, under `exception.CPU`.
        """
        key = f"exception.{hit.cpu}"
        if hit.place != "exception_panic" or f"{key}.vector" in self.facts:
            return
        abi = self.abi
        try:
            at = await self.argument(hit.cpu, hit.place)
            frame = await self.gdb.read_virt(hit.cpu, at, abi.frame * abi.word)
        except GdbError:
            return
        words = [abi.pointer(frame[i:]) for i in range(0, len(frame), abi.word)]
        vector, error, ip = words[abi.vector : abi.vector + 3]
        self.facts |= {
            f"{key}.vector": vector,
            f"{key}.error": error,
            f"{key}.rip": ip,
            f"{key}.cr2": hit.state.cr2,
        }
        self.notes.append(f"exception on CPU {hit.cpu} at {self.place(ip)}")

    def _patience(self) -> float:
        """How long nothing may happen before the boot counts as over, in seconds.

        Where something has already gone wrong, or where the BSP waits and nobody was called,
        little can come any more.
        """
        return self.limits.trouble_s if self.trouble else self.limits.quiet_s

    async def _finish(
        self, how: Literal["complete", "shutdown", "quiet", "shown"], wall_s: float
    ) -> Observation:
        if how == "shutdown":
            await self._look_at_triple_faults()
        count, guard = self.phys("num_of_processors"), self.phys("ap_lock")
        counter = self.in_copy("apinit_procs")
        places = [self._stackaddr_at(r["gs_base"]) for r in await self.gdb.all_registers()]
        words = [(at, self.abi.word) for at in places if at is not None]
        counts = [(at, 4) for at in (count, counter) if at is not None]
        await self.gdb.peek([(0, 16), (guard, 1), *counts, *words])
        await self.snapshot("physical-0.after", 0, 16)
        self.facts["num_of_processors.end"] = await self.read_u32(count)
        self.facts["ap_lock.end"] = (await self.gdb.read_phys(guard, 1))[0]
        if counter is not None:
            self.facts["apinit_procs.end"] = await self.read_u32(counter)
        inputs = self.inputs
        self.facts |= {
            "cohort.apinit_addr": inputs.apinit_addr,
            "cohort.apinit_offset": inputs.apinit_offset,
            "cohort.stack_size": inputs.stack_size,
        }
        self.facts["ap_pagetable.physical"] = self.phys("ap_pagetable")
        for name in (
            "boot_stack", "boot_stack_top", "bspinitproc1", "bsp_proc", "ap_proc", "ap_entry",
            "__image_start", "__image_end",
        ):  # fmt: skip
            if (found := self.symbols.maybe(name)) is not None:
                self.facts[name] = found
        cpus = tuple([await self._record(cpu, how) for cpu in range(inputs.cpus)])
        return Observation(
            scenario=inputs.scenario,
            seed=inputs.seed,
            cpus=cpus,
            hits=tuple(self.hits),
            icr=self.icr(),
            memory=dict(self.memory),
            tables=dict(self.tables),
            trials=tuple(self.trials),
            facts=dict(self.facts),
            how_ended=how,
            serial=self.machine.serial(),
            wall_s=wall_s,
            notes=tuple(self.notes),
            arch=inputs.arch,
        )

    async def _look_at_triple_faults(self) -> None:
        """Which exceptions began the end of which CPU, from QEMU's own log."""
        for cpu, fault in await self.machine.culprits():
            first = fault.first or fault.last
            if first is None:
                continue
            self.facts[f"triple-fault.{cpu}.vector"] = first.vector
            self.facts[f"triple-fault.{cpu}.pc"] = first.pc
            self.facts[f"triple-fault.{cpu}.cr2"] = first.registers.get("cr2", 0)

    async def _record(self, cpu: int, how: str) -> CpuRecord:
        seen = self.seen[cpu]
        state = await self.state(cpu)
        code = await self.instruction(cpu, state)
        kind = self._end_kind(cpu, state, code, how)
        if kind == "parked":  # nobody asks for its line; to find one means to read the whole DWARF
            place = self.symbols.nearest(state.pc)
        else:
            place = seen.died_at or self.describe(state) + await self._called_by(cpu, state)
        return CpuRecord(
            index=cpu,
            rungs=dict(seen.rungs),
            steps=tuple(seen.steps),
            whole=seen.whole,
            end=state,
            end_kind=kind,
            end_place=place,
            end_code=code,
            stackaddr=await self.stackaddr(state),
        )

    async def _called_by(self, cpu: int, state: CpuState) -> str:
        """For a CPU in given code: the place in the student's code that it will come back to.

        Found by looking for such an address on the stack; for people, not for checks.
        """
        if state.mode != self.abi.mode or self.symbols.owner(state.pc) != "given":
            return ""
        try:
            raw = await self.gdb.read_virt(cpu, state.rsp, CALLER_WORDS * self.abi.word)
        except GdbError:
            return ""
        for at in range(0, len(raw), self.abi.word):
            word = self.abi.pointer(raw[at:])
            # What it comes back to may be the next line, or after a noreturn call another function.
            if self.symbols.owner(word - 1) == "student":
                return f", called by {self.place(word - 1)}"
        return ""

    def _end_kind(self, cpu: int, state: CpuState, code: str, how: str) -> EndKind:
        seen = self.seen[cpu]
        if seen.rest is not None:
            return seen.rest
        if cpu != 0 and not seen.rungs and state.mode == "real":
            return "waiting-for-sipi"
        if how == "shutdown":
            return "shutdown"
        if cpu in self.held:
            return "held"
        if code == "hlt" or code == "(no instruction)":
            return "halted"
        return "shown" if how == "shown" else "running"

    def describe(self, state: CpuState) -> str:
        """Where a CPU is, in words that a student can find in their files."""
        start = self.inputs.apinit_addr
        base = self.symbols.maybe("cpuinit_start")
        if base is not None and start <= state.pc < start + self.trampoline_size:
            original = base + state.pc - start
            inside = self.place(original)
            return f"trampoline+{state.pc - start:#x}, {inside}"
        if state.pc < 16 and state.mode == "real":
            return f"physical address {state.pc:#x}"
        if state.mode == "real" or state.pc < VMM_BASE:
            low = state.pc + VMM_BASE
            image = self.place(low) if state.mode != "real" and state.pc >= 0x100000 else ""
            return f"{state.pc:#x}" + (f" ({image}, by its physical address)" if image else "")
        return self.place(state.pc)

    async def stackaddr(self, state: CpuState) -> int | None:
        """`currentcpu->stackaddr` of a CPU, or None if its GS leads to no per-CPU data."""
        at = self._stackaddr_at(state.gs_base)
        try:
            return None if at is None else await self.read_pointer(at)
        except GdbError:
            return None

    def _stackaddr_at(self, gs_base: int) -> int | None:
        if not VMM_BASE <= gs_base < 2 * VMM_BASE:
            return None
        return gs_base - VMM_BASE + self.inputs.pcpu_pad + self.abi.stackaddr


def _paging_refused(text: str, before: Registers, after: CpuState) -> bool:
    """Whether an instruction asked for paging with EFER.LME but without CR4.PAE.

    Args:
        text: the instruction.
        before: the registers before it.
        after: what is left of them after it.
    """
    name = text.removeprefix("mov cr0, ")
    if name == text or after.cr0 & CR0_PG or not before.efer & EFER_LME or before.cr4 & CR4_PAE:
        return False
    return bool(before[f"r{name[1:]}"] & CR0_PG)


_RUNG_OF_PLACE = {
    "physical-0": Rung.PHYSICAL_0,
    "trampoline": Rung.REAL_MODE,
    "ap_entry": Rung.AP_ENTRY,
    "apinitproc0": Rung.BOOT_STACK,
    "apinitproc1": Rung.OWN_STACK,
    "segment_init_ap": Rung.NUMBERED,
    "vmm_parked": Rung.PARKED,
}


@dataclass
class _ModeTracker:
    """Follows one CPU through its modes: gdb's registers lack the hidden part of CS.

    After long mode is active, 32-bit code goes on until a far jump loads CS: as long as the
    selector is the old one, so is the code.
    """

    protected_cs: int | None = None

    def state(self, registers: Registers) -> CpuState:
        """The part of a CPU's registers that an Observation keeps."""
        bits: Literal[16, 32, 64] = 64
        if registers.mode == "real" or (registers.mode == "protected" and registers.cs_base):
            bits, self.protected_cs = 16, None
        elif registers.mode == "protected":
            bits, self.protected_cs = 32, registers.cs
        elif registers.cs == self.protected_cs:
            bits = 32
        else:
            self.protected_cs = None
        return CpuState(
            pc=registers.linear_pc,
            bits=bits,
            **{name: registers[name] for name in _KEPT},
        )


_KEPT = (
    "cs", "rip", "rsp", "rbp", "rdi", "rsi", "rax", "eflags", "cr0", "cr2", "cr3", "cr4", "efer",
    "gs_base",
)  # fmt: skip
