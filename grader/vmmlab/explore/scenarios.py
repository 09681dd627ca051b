"""The two situations that are explored: who starts how, what given code does, what must hold.

`Registration`: the APs come from the trampoline, take the lock, get a stack and a number; the BSP
waits for them. `Barrier`: all CPUs meet three times. Knows nothing of orders or memory models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from vmmlab.explore.emulator import RDI, RIP, RSI, Core
from vmmlab.explore.machine import Action, Local, Machine
from vmmlab.explore.program import (
    PCPU_APIC_ID,
    PCPU_CPUNUM,
    PCPU_SELF,
    PCPU_STACKADDR,
    RETURN_MARK,
    SLOTS,
    Program,
)

ROUNDS: Final = 3
POLL_US: Final = 2
WAIT_US: Final = 4
"""Time is not modelled: the BSP looks two or three times, however late the others are."""
_LARGEST_BLOCK: Final = 0x10000
_NOBODY: Final = 0xFF

Write = tuple[int, int, int]
Read = Callable[[int, int], int]


class Wrong(NamedTuple):
    """A state that must not be."""

    kind: str
    what: str


class Ghost(NamedTuple):
    """What the model remembers beside memory.

    Attributes:
        numbers: which numbers are taken, bit by bit.
        bsp: "", "waits", "returned" or "gave up".
        complete: everyone had been counted when the BSP began to wait.
        slept: the BSP has slept.
    """

    numbers: int = 0
    bsp: str = ""
    complete: bool = False
    slept: bool = False


class Effect(NamedTuple):
    """What an event does."""

    lid: int
    ghost: Ghost
    writes: tuple[Write, ...] = ()
    note: str = ""
    wrong: Wrong | None = None


EXPECTED: Final = {
    "boot-stack-shared": "only the CPU that has *apinitlock is on the boot stack",
    "stack-shared": "every CPU has a stack of its own",
    "stack-outside": "a CPU stays within its stack, which grows downwards from its end",
    "stack-not-own": "apinitproc1 runs at the end of a block that this CPU got from alloc",
    "stackaddr-wrong": "stackaddr is the lowest address of the stack that this CPU is on",
    "number-twice": "every AP has a number of its own",
    "number-wrong": "the numbers are 1 to n, n the number of APs",
    "not-numbered": "an AP calls segment_init_ap before initproc_ap",
    "count-wrong": "num_of_processors is in the end the number of APs",
    "bsp-went-on": "ap_wait returns when all APs have left the boot stack and have been counted",
    "bsp-gave-up": "the BSP gives up only if somebody has not come in time",
    "trampoline-gone": "an AP unlocks *apinitlock before it counts itself: then the BSP may go on",
    "barrier-passed-early": "nobody leaves a round of the barrier before all have come to it",
    "never-completes": "from every state on, all CPUs can still come to the end",
    "currentcpu-too-early": "currentcpu is used after segment_init_ap only",
    "cpu-died": "no exception: there is no handler yet",
    "panic": "nobody panics",
}
"""Kind of a wrong state to what the contract says."""


class Scenario(Protocol):
    """What the search needs of a scenario."""

    name: str

    def memory(self) -> Sequence[Write]:
        """Shared memory that differs from the image."""

    def start(self, cpu: int) -> int:
        """The first local of a CPU."""

    def event(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """What an event does now; None if the CPU has to wait for it."""

    def asks(self, local: Local, action: Action) -> tuple[int, int] | None:
        """Address and size of the memory by which an event judges, None if by none."""

    def check(self, now: Sequence[Local], cpu: int, before: Local, read: Read) -> Wrong | None:
        """What is wrong in the state into which a step of `cpu` has led."""

    def final(self, now: Sequence[Local], read: Read) -> Wrong | None:
        """What is wrong when all have come to the end."""


class _Common:
    """Given functions, and stacks."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.program: Program = machine.program
        self.aps = self.program.cpus - 1
        self._count = self.program.symbols.addr("num_of_processors")
        self._simple: dict[tuple[int, Ghost], Effect | None] = {}

    def memory(self) -> Sequence[Write]:
        """The pointers into the copy of the trampoline, the delays, and what APs are to run."""
        addr = self.program.symbols.addr
        delays = addr("ap_delays")
        return (
            (addr("apinitlock"), 8, self.program.window + self.program.lock_offset),
            (addr("apinitprocs"), 8, self.program.window + self.program.procs_offset),
            (addr("apinit_addr"), 4, self.program.apinit_addr),
            (addr("initproc_ap"), 8, addr("ap_proc")),
            (delays + 8, 4, POLL_US),
            (delays + 12, 4, WAIT_US),
            (self.program.lock, 8, 0),
            (self.program.procs, 4, 0),
        )

    def check_stacks(self, now: Sequence[Local], cpu: int, before: Local) -> Wrong | None:
        """Two CPUs on one stack."""
        region = now[cpu].core.region
        if region is None or (before.core.region and before.core.region.block == region.block):
            return None
        for other in now:
            there = other.core.region
            if other.cpu == cpu or there is None or there.block != region.block:
                continue
            if region.name == "the boot stack":
                what = f"CPU {cpu} comes to the boot stack while CPU {other.cpu} is on it"
                return Wrong("boot-stack-shared", what)
            what = f"CPU {cpu} is on the same stack as CPU {other.cpu}: {region.name}"
            return Wrong("stack-shared", what)
        return None

    def simple(self, lid: int, action: Action, ghost: Ghost) -> Effect | None:
        """Events that mean the same in both scenarios, whatever is in memory; None for others."""
        key = (lid, ghost)
        if key not in self._simple:
            self._simple[key] = self._simply(lid, action, ghost)
        return self._simple[key]

    def _simply(self, lid: int, action: Action, ghost: Ghost) -> Effect | None:
        machine, local = self.machine, self.machine.locals[lid]
        if action.name in ("switch", "fence"):
            after = machine.after(lid)
            region = machine.locals[after].core.region
            note = f"moves to {region.name if region else 'no stack'}"
            return Effect(after, ghost, note=note if action.name == "switch" else "")
        regs = local.core.regs
        edi = regs[RDI] & 0xFFFF_FFFF
        value: int
        note = f"{action.name} ()"
        if action.name == "alloc":
            if len(local.allocs) == SLOTS or edi > _LARGEST_BLOCK:
                end = machine.end(local, "unsupported", what=f"alloc ({edi})")
                return Effect(end, ghost)
            value = self.program.block(local.cpu, len(local.allocs))
            local = local._replace(allocs=(*local.allocs, edi))
            note = f"alloc ({edi:#x}) = {value:#x}"
        elif action.name in ("printf", "vprintf"):
            value, note = 0, ""
        elif action.name == "usleep":
            value = 0
            ghost = ghost._replace(slept=ghost.slept or local.cpu == 0)
        elif action.name == "acpi_num_of_processors":
            value, note = self.program.cpus, ""
        elif action.name == "acpi_apic_id":
            value = self.program.apic_ids[edi] if edi < self.program.cpus else 0
        elif action.name == "apic_id":
            value, note = self.program.apic_ids[local.cpu], ""
        elif action.name == "acpi_pm_timer":
            found = self._no_timer(local.core, regs[RDI], regs[RSI])
            if found is None:
                what = "acpi_pm_timer with pointers to shared variables"
                return Effect(machine.end(local, "unsupported", what=what), ghost)
            local, value, note = local._replace(core=found), 0, ""
        elif action.name == "ap_first_missing":
            value, note = _NOBODY, ""
        elif action.name == "vmm_parked":
            return Effect(machine.end(local, "halted"), ghost, note="vmm_parked ()")
        elif action.name in ("vmm_todo", "todo64"):  # both have the step in RDI
            text = self.program.text(regs[RDI]) or b"?"
            what = f"TODO({text.decode(errors='replace')})"
            return Effect(machine.end(local, "unfinished", what=what), ghost)
        else:
            return None
        return Effect(machine.settle(machine.returned(local, value)), ghost, note=note)

    def _no_timer(self, core: Core, *pointers: int) -> Core | None:
        """Zero for the port (2 bytes) and the mask (4 bytes), if they are on the own stack."""
        stack = bytearray(core.stack)
        for pointer, size in zip(pointers, (2, 4), strict=True):
            at = pointer - core.rsp
            if not 0 <= at <= len(stack) - size:
                return None
            stack[at : at + size] = bytes(size)
        return core._replace(stack=bytes(stack))

    def odd(self, lid: int, action: Action, ghost: Ghost) -> Effect:
        """A given function that does not belong here."""
        local = self.machine.locals[lid]
        if action.name == "panic":
            text = self.program.text(local.core.regs[RDI]) or b""
            what = f'CPU {local.cpu} panics: "{text.decode(errors="replace")}"'
            wrong = Wrong("panic", what)
            return Effect(
                self.machine.end(local, "wrong", *wrong), ghost, note="panics", wrong=wrong
            )
        what = f"a call of {action.name} in this place"
        return Effect(self.machine.end(local, "unsupported", what=what), ghost)


class Registration(_Common):
    """The APs come in one by one, the BSP waits for all."""

    name = "registration"

    def start(self, cpu: int) -> int:
        """An AP at the trampoline; the BSP before ap_wait."""
        local = self.machine.begin(cpu)
        return self.machine.place(local, Action("event", alone=True, name="begin"))

    def event(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Scenario.event`."""
        machine, program, local = self.machine, self.program, self.machine.locals[lid]
        cpu = local.cpu
        if action.name == "begin" and cpu:
            core = local.core.having(rip=program.symbols.addr("apinit_enter"))
            after = machine.settle(local._replace(core=core, phase="run"))
            write = (program.procs, 4, read(program.procs, 4) + 1)
            return Effect(after, ghost, (write,), "enters the trampoline, goes to apinit_enter")
        if action.name == "begin":
            complete = read(self._count, 4) == self.aps == read(program.procs, 4)
            stack = program.harness_stack(0)
            called = machine.call(local, program.symbols.addr("ap_wait"), stack, RETURN_MARK)
            ghost = ghost._replace(bsp="waits", complete=complete)
            return Effect(machine.settle(called), ghost, note="calls ap_wait")
        if action.name == "return" and not cpu:
            end = machine.end(local, "returned")
            return Effect(end, ghost._replace(bsp="returned"), note="ap_wait returns")
        if action.name == "ap_locked" and cpu:
            return self._locked(local, ghost)
        if action.name == "segment_init_ap" and cpu:
            return self._numbered(local, ghost)
        if action.name == "ap_proc" and cpu:
            return self._done(local, ghost, read)
        if action.name == "vmm_ap_missing" and not cpu:
            return self._missing(local, ghost)
        if action.name == "panic" and not cpu and ghost.slept:
            # Its time may be over: what is right then is another check's business.
            return self._missing(local, ghost)
        return self.simple(lid, action, ghost) or self.odd(lid, action, ghost)

    def asks(self, local: Local, action: Action) -> tuple[int, int] | None:
        """See `Scenario.asks`."""
        if action.name == "return" and not local.cpu:
            return self._count, 4
        if action.name == "ap_proc" and local.number:
            return self.program.pcpu_field(local.number, PCPU_STACKADDR), 8
        return None

    def _locked(self, local: Local, ghost: Ghost) -> Effect:
        """The given code behind apinit_enter: this CPU takes itself for the holder of the lock."""
        region = self.program.region(self.program.boot_top, {})
        core = self.machine.one(local.core._replace(region=None, stack=b""))
        core = core._replace(region=region, stack=b"")
        after = self.machine.settle(local._replace(core=core, passed=True))
        return Effect(after, ghost, note="comes to ap_locked, on the boot stack")

    def _numbered(self, local: Local, ghost: Ghost) -> Effect:
        edi = local.core.regs[RDI] & 0xFFFF_FFFF
        number = edi - (edi >> 31 << 32)
        cpu, program = local.cpu, self.program
        note = f"segment_init_ap ({number})"
        wrong = None
        if not 1 <= number <= self.aps:
            wrong = Wrong("number-wrong", f"CPU {cpu} takes the number {number}")
        elif ghost.numbers >> number & 1:
            wrong = Wrong("number-twice", f"CPU {cpu} takes the number {number}, which is taken")
        if wrong:
            return Effect(self.machine.end(local, "wrong", *wrong), ghost, note=note, wrong=wrong)
        writes = (
            (program.pcpu_field(number, PCPU_SELF), 8, program.pcpu(number)),
            (program.pcpu_field(number, PCPU_CPUNUM), 4, number),
            (program.pcpu_field(number, PCPU_APIC_ID), 4, program.apic_ids[cpu]),
        )
        core = local.core.having(gs_base=program.pcpu(number))
        back = self.machine.returned(local._replace(core=core, number=number), 0)
        ghost = ghost._replace(numbers=ghost.numbers | 1 << number)
        return Effect(self.machine.settle(back), ghost, writes, note)

    def _done(self, local: Local, ghost: Ghost, read: Read) -> Effect:
        cpu, region = local.cpu, local.core.region
        own = [self.program.block(cpu, n) for n in range(len(local.allocs))]
        wrong = None
        if not local.number:
            wrong = Wrong("not-numbered", f"CPU {cpu} calls initproc_ap without a number")
        elif region is None or region.block not in own:
            where = region.name if region else "no stack"
            wrong = Wrong("stack-not-own", f"CPU {cpu} calls initproc_ap on {where}")
        else:
            there = read(self.program.pcpu_field(local.number, PCPU_STACKADDR), 8)
            if there != region.block:
                name = self.program.name(there)
                what = (
                    f"CPU {cpu} has stackaddr = {there:#x} ({name}), and its stack is {region.name}"
                )
                wrong = Wrong("stackaddr-wrong", what)
        if wrong:
            end = self.machine.end(local, "wrong", *wrong)
            return Effect(end, ghost, note="calls initproc_ap", wrong=wrong)
        return Effect(self.machine.end(local, "done"), ghost, note="calls initproc_ap: has come")

    def _missing(self, local: Local, ghost: Ghost) -> Effect:
        if ghost.complete:
            what = "the BSP gives up, and all had come before it began to wait"
            wrong = Wrong("bsp-gave-up", what)
            end = self.machine.end(local, "wrong", *wrong)
            return Effect(end, ghost, note="gives up waiting", wrong=wrong)
        end = self.machine.end(local, "gave up")
        return Effect(end, ghost._replace(bsp="gave up"), note="gives up waiting, which it may")

    def check(self, now: Sequence[Local], cpu: int, before: Local, read: Read) -> Wrong | None:
        """See `Scenario.check`."""
        local = now[cpu]
        if local.phase == "returned" and before.phase != "returned":
            for ap in now[1:]:
                if not (ap.left or ap.number):
                    place = "has not come yet" if ap.phase == "begin" else (
                        "is on the boot stack" if ap.passed else "waits before the boot stack"
                    )  # fmt: skip
                    return Wrong("bsp-went-on", f"the BSP goes on while CPU {ap.cpu} {place}")
            count = read(self._count, 4)
            if count != self.aps:
                what = f"the BSP goes on when num_of_processors is {count} of {self.aps}"
                return Wrong("bsp-went-on", what)
        return self.check_stacks(now, cpu, before)

    def final(self, now: Sequence[Local], read: Read) -> Wrong | None:
        """See `Scenario.final`."""
        count = read(self._count, 4)
        if all(ap.phase == "done" for ap in now[1:]) and count != self.aps:
            return Wrong(
                "count-wrong", f"num_of_processors is {count}, and {self.aps} APs have come"
            )
        return None


class Barrier(_Common):
    """All CPUs meet at sync_all_processors, three times in a row."""

    name = "barrier"

    def memory(self) -> Sequence[Write]:
        """All CPUs have their per-CPU data; nobody has been counted."""
        program = self.program
        fields = []
        for cpu in range(program.cpus):
            region = program.harness_stack(cpu)
            fields += [
                (program.pcpu_field(cpu, PCPU_SELF), 8, program.pcpu(cpu)),
                (program.pcpu_field(cpu, PCPU_CPUNUM), 4, cpu),
                (program.pcpu_field(cpu, PCPU_APIC_ID), 4, program.apic_ids[cpu]),
                (program.pcpu_field(cpu, PCPU_STACKADDR), 8, region.base),
            ]
        return (*super().memory(), (program.procs, 4, self.aps), *fields)

    def start(self, cpu: int) -> int:
        """A CPU that has not been counted."""
        local = self.machine.begin(cpu)
        core = local.core.having(gs_base=self.program.pcpu(cpu))
        region = self.program.harness_stack(cpu)
        local = local._replace(core=core._replace(region=region), number=cpu)
        return self.machine.place(local, Action("event", alone=True, name="begin"))

    def event(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Scenario.event`."""
        local = self.machine.locals[lid]
        if action.name == "begin" and local.cpu:
            # By symmetry: number k is the k-th to be counted.
            if read(self._count, 4) != local.cpu - 1:
                return None
            write = (self._count, 4, local.cpu)
            return Effect(self._between(local), ghost, (write,), "has been counted")
        if action.name == "begin":
            if read(self._count, 4) != self.aps:
                return None
            started = self.program.symbols.addr("ap_started")
            after, note = self._called(local)
            return Effect(after, ghost, ((started, 1, 1),), note)
        if action.name == "call":
            after, note = self._called(local)
            return Effect(after, ghost, note=note)
        if action.name == "return":
            out = local.out + 1
            note = f"comes out of round {out}"
            if out == ROUNDS:
                return Effect(self.machine.end(local._replace(out=out), "done"), ghost, note=note)
            return Effect(self._between(local._replace(out=out)), ghost, note=note)
        return self.simple(lid, action, ghost) or self.odd(lid, action, ghost)

    def asks(self, local: Local, action: Action) -> tuple[int, int] | None:
        """See `Scenario.asks`: who is in which round is no memory, and does not go back."""
        return None

    def _between(self, local: Local) -> int:
        core = self.machine.begin(local.cpu).core.having(gs_base=self.program.pcpu(local.cpu))
        core = core._replace(region=self.program.harness_stack(local.cpu))
        local = local._replace(core=core, phase="call")
        return self.machine.place(local, Action("event", alone=True, name="call"))

    def _called(self, local: Local) -> tuple[int, str]:
        local = local._replace(round=local.round + 1)
        address = self.program.symbols.addr("sync_all_processors")
        stack = self.program.harness_stack(local.cpu)
        called = self.machine.call(local, address, stack, RETURN_MARK)
        return self.machine.settle(called), f"calls sync_all_processors, round {local.round}"

    def check(self, now: Sequence[Local], cpu: int, before: Local, read: Read) -> Wrong | None:
        """See `Scenario.check`."""
        out = now[cpu].out
        if out > before.out:
            for other in now:
                if other.round < out:
                    what = f"CPU {cpu} leaves round {out} before CPU {other.cpu} has come to it"
                    return Wrong("barrier-passed-early", what)
        return self.check_stacks(now, cpu, before)

    def final(self, now: Sequence[Local], read: Read) -> Wrong | None:
        """See `Scenario.final`."""
        return None


__all__ = ["EXPECTED", "RIP", "ROUNDS", "Barrier", "Effect", "Ghost", "Registration", "Scenario",
           "Wrong"]  # fmt: skip
