"""Probes: what a boot is watched for, and how its CPUs are held and let go.

A probe is named in a scenario (`scenario ("late", probe="late-ap", cpu=2)`). It writes down what
happens; whether that is right is for the checks to say. All of them work through the gdbstub and
need nothing in the guest.

========== ===============================================================================
end        how many CPUs park, and with which number; the cheapest
rungs      the APs come in one after the other: every rung, and what alloc gives each
ladder     every rung, and each instruction from physical 0 to ap_entry single-stepped
delay      what the BSP does between INIT and SIPI if the delay is to be very long
initfuncs  which init functions run, in which order; the multiboot information poisoned
uefi       vmm_main called with 0 instead of a multiboot pointer
switch     the BSP's change of stacks, and what happens to the boot stack after it
calls      asm_wrrsp_and_jmp called by the convention, with decoys where its arguments are not
late-ap    one AP stands still before it has counted itself in, then before the lock
missing-ap one AP never comes; the patience of the VMM is shortened
exclusion  who can be on the boot stack, and in the counting, at the same time
barrier    who can leave a round of the barrier before all have come
========== ===============================================================================
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from vmmlab.observe.observation import Hit
from vmmlab.observe.session import REST_PLACES, VMM_BASE, Director, Probe
from vmmlab.probes.barrier import BarrierProbe
from vmmlab.probes.base import DELAY_FIELDS, EndProbe, keep_what_alloc_returns
from vmmlab.probes.handshake import ExclusionProbe, LateProbe, MissingProbe, OneByOneProbe
from vmmlab.x86.decode import decode

RUNG_PLACES = ("ap_entry", "apinitproc0", "apinitproc1", "segment_init_ap", "ap_wait", "bsp_proc")
INITPROCS = ("initproc_bsp", "initproc_ap")
UNDECIDED = b"\x55"  # put into a bool that the VMM must decide about
ICR_INIT, ICR_STARTUP = 0x500, 0x600  # include/apic.h
VERY_LONG_US = 4_000_000_000
# A segment register in QEMU's monitor: selector, then the hidden part, base, limit and flags.
SEGMENT = re.compile(r"^([CDES]S) ?=[0-9a-f]{4} ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE)
PIECES = 64  # calls of usleep after which nobody waits for the sum any more
MAPMEM_BASE, WINDOW_PAGES = 0xC0000000, 8 * 512  # include/layout.h
PTE_ADDRESS = 0x000FFFFFFFFFF000
MULTIBOOT_INFO_SIZE = 88  # bytes, Multiboot 0.6.96, 3.3, up to and including vbe_interface_len


@dataclass
class LadderProbe(EndProbe):
    """Every rung of every AP, with each instruction of the trampoline.

    The BSP stands still after each SIPI until those that it has called are there: how long they
    take on a busy host is not the student's doing.
    """

    places: tuple[str, ...] = RUNG_PLACES
    patient: bool = field(default=True, init=False)

    async def start(self, director: Director) -> None:
        """Watch where an AP executes its first instruction, and who sends interrupts."""
        await EndProbe.start(self, director)
        await director.watch("physical-0", 0)
        # An INIT that reaches the BSP as well leaves no later moment to look.
        await director.watch("apic_write_icr")

    async def hit(self, director: Director, hit: Hit) -> None:
        """Climb with the AP that has just executed physical 0."""
        await EndProbe.hit(self, director, hit)
        if hit.place == "apic_write_icr" and hit.cpu == 0:
            await self.look_while_needed(director, final=False)
            await self._let_them_come(director, hit)
        if hit.place == "bsp_proc":
            await self._left_mapped(director)
        if hit.place == "physical-0" and hit.cpu != 0:
            await self._climb(director, hit)
        if hit.place == "ap_entry":
            await self._look_at_entry(director, hit.cpu)

    async def _left_mapped(self, director: Director) -> None:
        """Which of the pages that ap_start needs mapmem's window still shows (core/mapmem.c)."""
        raw = await director.gdb.read_phys(director.phys("mapmem_pagetables"), WINDOW_PAGES * 8)
        copy = director.inputs.apinit_addr
        needed = {0, *range(copy & ~0xFFF, copy + director.trampoline_size, 4096)}
        for page, (entry,) in enumerate(struct.iter_unpack("<Q", raw)):
            if entry & 1 and (physical := entry & PTE_ADDRESS) in needed:
                director.facts.setdefault("left-mapped.physical", physical)
                director.facts.setdefault("left-mapped.virtual", MAPMEM_BASE + page * 4096)

    async def _let_them_come(self, director: Director, hit: Hit) -> None:
        """The BSP sends what it wants to send; then whoever has got a SIPI comes to physical 0."""
        await director.run_to_return(0, hit.state)
        sipis = [one for one in director.icr() if one.kind == "SIPI"]
        for sipi in sipis:
            for ap in director.free() - {0} if sipi.vector else ():
                if sipi.reaches(ap, sipi.cpu or 0) and not director.at("physical-0", ap):
                    director.hold_astray(ap, sipi.vector << 12)
        while self.patient and not director.ended:
            missing = {
                ap
                for ap in director.free() - {0}
                if not director.at("physical-0", ap)
                and any(sipi.reaches(ap, sipi.cpu or 0) for sipi in sipis)
            }
            if not missing:
                break
            stop = await director.go(missing, director.limits.alone_s)
            self.patient = stop.kind == "break"  # once in a boot: who does not come never will
            if (came := await director.arrive(stop)) is not None:
                await director.look_at_fault(came)
                await self.hit(director, came)

    async def _climb(self, director: Director, hit: Hit) -> None:
        await self.look_while_needed(director)
        times = len(director.at("physical-0", hit.cpu))
        if not director.seen[hit.cpu].steps:
            other = await self._count_at_once(director, hit.cpu)
            await self._step_alone(director, hit.cpu)
            if other is not None:
                at_store = director.trials[-1].verdict == "reached"
                await self._lose_a_count(director, -1 if at_store else 0)
                await self._step_alone(director, other)
                await self._lose_a_count(director, 1 if at_store else 0)
        elif times > 3 or all(director.at("physical-0", cpu) for cpu in director.ap_indices):
            await director.unwatch("physical-0")  # it is lost, and comes by again and again

    async def _step_alone(self, director: Director, cpu: int) -> None:
        before = await director.around_trampoline()
        await director.step_trampoline(cpu)
        after = await director.around_trampoline()
        changed = next((at for at in before if before[at] != after.get(at)), None)
        if changed is not None:
            director.facts[f"trampoline.overrun.{cpu}"] = changed
        if director.at("ap_entry", cpu):
            await self._look_at_entry(director, cpu)

    async def _lose_a_count(self, director: Director, by: int) -> None:
        """Of two APs that were held before the same store one count is lost: that was our doing."""
        where = director.in_copy("apinit_procs")
        if by and where is not None:
            value = (await director.read_u32(where) + by) & 0xFFFFFFFF
            await director.gdb.write_phys(where, value.to_bytes(4, "little"))

    async def _count_at_once(self, director: Director, cpu: int) -> int | None:
        """Can two APs stand before the same store of the count, if that has no lock prefix?

        Asked once, of the second AP to come and the next one: the first has shown the store.

        Returns:
            The other AP, if it has been brought into the trampoline for this.
        """
        steps = [step for other in director.seen for step in other.steps if step.counted]
        if not steps or list(director.trials) or director.at("ap_entry", cpu):
            return None
        store = steps[0].state
        decoded = decode(steps[0].code, store.pc, store.bits)
        others = [one for one in director.ap_indices if not director.seen[one].steps and one != cpu]
        if not others or decoded is None or decoded.locked:
            return None
        if not await director.step_trampoline(cpu, store.pc):
            return None
        other = others[0]
        verdict, state = await director.run_to(other, "physical-0")
        if verdict != "reached":
            return None
        reached = await director.step_trampoline(other, store.pc)
        state = await director.state(other)
        director.add_trial(other, "counting", "count", "reached" if reached else "waits", state)
        return other

    async def _look_at_entry(self, director: Director, cpu: int) -> None:
        """What the segment registers hold: only QEMU's monitor tells."""
        told = await director.gdb.monitor(f"info registers {cpu}")
        director.facts.setdefault(f"ap_entry.{cpu}.cs64", int("CS64" in told))
        if f"ap_entry.{cpu}.cs.base" not in director.facts:
            for name, *values in SEGMENT.findall(told):
                for part, value in zip(("base", "limit", "flags"), values, strict=True):
                    director.facts[f"ap_entry.{cpu}.{name.lower()}.{part}"] = int(value, 16)


@dataclass
class DelayProbe(EndProbe):
    """What lies between INIT and the first SIPI, if `ap_delays.init_us` is more than an hour.

    Time proves nothing on a busy host: so it is not measured. usleep comes back at once, and what
    it was asked for is added up; whoever waits in another way does not come to the SIPI.
    """

    places: tuple[str, ...] = ("apic_write_icr", "usleep")

    async def start(self, director: Director) -> None:
        """Ask for a very long delay."""
        await director.write_u32("ap_delays", VERY_LONG_US, DELAY_FIELDS["init_us"])

    async def hit(self, director: Director, hit: Hit) -> None:
        """After the first INIT, follow the BSP to the SIPI."""
        if hit.place == "usleep":
            await director.set_argument(hit.cpu, "usleep", 0, 0)
        if hit.cpu != 0 or hit.place != "apic_write_icr":
            return
        if _kind(await director.argument(0, hit.place, 1)) != ICR_INIT:
            return
        slept = 0
        for _ in range(PIECES):
            verdict, state = await director.run_to(0, "apic_write_icr", "usleep", attempts=2)
            if verdict != "reached":
                break
            if director.at_place(state.pc) == "usleep":
                slept += await director.argument(0, "usleep") & 0xFFFFFFFF
                await director.set_argument(0, "usleep", 0, 0)
            elif _kind(await director.argument(0, "apic_write_icr", 1)) == ICR_STARTUP:
                director.facts["delay.sipi"] = 1
                break
        director.facts["delay.slept"] = slept
        director.finished = True


def _kind(icr_low: int) -> int:
    """Delivery mode (SDM vol. 3, 11.6.1); 0 for an INIT level de-assert, which starts nothing."""
    level_deassert = icr_low & 0x8000 and not icr_low & 0x4000
    return 0 if level_deassert else icr_low & 0x700


@dataclass
class InitfuncsProbe(EndProbe):
    """The order of init functions, and what vmm_main does before it calls them."""

    places: tuple[str, ...] = ("initfunc_init", "call_initfunc", "start_all_processors")

    async def start(self, director: Director) -> None:
        """Keep the multiboot information as the boot loader left it; stop at every function."""
        self._original = await director.argument(0, "vmm_main")
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
            await director.watch("call_initfunc returned", await director.stack_word(0))

    async def _table(self, director: Director, name: str) -> tuple[tuple[str, str, str], ...]:
        """Keep the records of .initfunc as they are now: (id, file name, function)."""
        start, end = director.addr("__initfunc_start"), director.addr("__initfunc_end")
        raw = await director.gdb.read_phys(start - VMM_BASE, end - start)
        self._functions: dict[str, int] = {}
        rows = []
        word = director.abi.word
        size = 3 * word  # struct initfunc_data, include/initfunc.h
        for at in range(0, len(raw) - size + 1, size):
            filename, ident, function = (
                director.abi.pointer(raw[at + i :]) for i in range(0, size, word)
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
        await director.set_argument(0, "vmm_main", 0, 0)
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
    """The BSP's change to its own stack.

    Args:
        swap: exchange the two arguments of start_all_processors.
        elsewhere: in its place call bsp_continue, and for vmm_parked; the VMM itself only ever asks
            for bspinitproc1.
    """

    swap: bool = False
    elsewhere: bool = False

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
        for name in INITPROCS:
            director.facts[name] = await director.read_pointer(director.phys(name))

    async def _started(self, director: Director, hit: Hit) -> None:
        await director.watch("alloc")
        given = [await director.argument(0, hit.place, number) for number in (0, 1)]
        if self.swap:
            given.reverse()
            for number, value in enumerate(given):
                await director.set_argument(0, hit.place, number, value)
            director.hits[-1] = replace(hit, state=await director.state(0))
        for name, value in zip(INITPROCS, given, strict=True):
            director.facts[f"given.{name}"] = value
        if director.abi.on_stack:
            await self._mislead(director)
        if self.elsewhere:
            await director.set_argument(0, "bsp_continue", 0, director.addr("vmm_parked"))
            await director.gdb.write_register(0, "rip", director.addr("bsp_continue"))

    async def _mislead(self, director: Director) -> None:
        """Leave other functions where a function that is asmlinkage would look for its arguments.

        The caller's frame is there; nobody comes back to it.
        """
        for number, name in enumerate(INITPROCS):
            director.facts[f"decoy.{name}"] = director.addr("vmm_parked") + number
            at = (await director.state(0)).rsp + (1 + number) * director.abi.word
            physical = await director.translate(0, at)
            if physical is not None:
                raw = director.facts[f"decoy.{name}"].to_bytes(director.abi.word, "little")
                await director.gdb.write_phys(physical, raw)

    async def _boot_stack(self, director: Director, name: str) -> None:
        size = director.addr("boot_stack_top") - director.addr("boot_stack")
        await director.snapshot(name, director.phys("boot_stack"), size)


@dataclass
class CallsProbe(EndProbe):
    """asm_wrrsp_and_jmp called as its declaration says, with decoys in the argument registers.

    For an architecture on which asmlinkage makes a difference. The grader itself makes the call, in
    place of start_all_processors: so the caller is right, whatever else the student wrote.
    """

    places: tuple[str, ...] = ("start_all_processors",)

    async def hit(self, director: Director, hit: Hit) -> None:
        """Make the call, see where it leads, and end the boot."""
        if hit.place == "start_all_processors" and hit.cpu == 0:
            await self._call(director, hit.state.rsp)
        director.finished = True

    async def _call(self, director: Director, rsp: int) -> None:
        base, word = director.addr("boot_stack"), director.abi.word
        places = {"called.asked": base + 0x10, "called.decoy": base + 0x20, "returned": base + 0x30}
        asked, decoy = (
            (base + 0x400, places["called.asked"]),
            (base + 0x800, places["called.decoy"]),
        )
        director.facts |= {"called.asked.rsp": asked[0], "called.decoy.rsp": decoy[0]}
        for name, address in places.items():
            await director.watch(name, address)
        rsp = (rsp - 0x100 & ~0xF) - word  # as a call leaves it
        frame = b"".join(value.to_bytes(word, "little") for value in (places["returned"], *asked))
        await director.gdb.write_phys(rsp - VMM_BASE, frame)
        registers = zip(director.abi.registers, (*decoy, decoy[1]), strict=True)
        target = director.addr("asm_wrrsp_and_jmp")
        for register, value in (*registers, ("rsp", rsp), ("rip", target)):
            await director.gdb.write_register(0, register, value)
        await director.run_to(0, *places)
        await director.look_at_fault(director.hits[-1])


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
        "rungs": lambda: OneByOneProbe(delays=delays),
        "ladder": lambda: LadderProbe(delays=delays),
        "delay": DelayProbe,
        "initfuncs": InitfuncsProbe,
        "uefi": UefiProbe,
        "switch": lambda: SwitchProbe(
            delays=delays, swap=bool(params.get("swap")), elsewhere=bool(params.get("elsewhere"))
        ),
        "calls": CallsProbe,
        "late-ap": lambda: LateProbe(delays=delays, late=cpu),
        "missing-ap": lambda: MissingProbe(delays=delays, late=cpu),
        "exclusion": ExclusionProbe,
        "barrier": BarrierProbe,
    }
    if name not in makers:
        raise ValueError(f"no probe {name!r}; there are: {', '.join(sorted(makers))}")
    return makers[name]()
