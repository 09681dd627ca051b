"""What `vmmlab explore lab4` tries every order of: the lock, the registration and the barrier.

The APs go from the lock to their numbers while the BSP waits for them, and all CPUs go through
three rounds of the barrier. In one order each, there are also as many APs, and as many rounds, as
no search could try.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

from vmmlab.base.message import Text, msg
from vmmlab.explore.context import RDI, Context, StackRegion
from vmmlab.explore.declaration import Declaration, declare
from vmmlab.explore.given import GivenCode
from vmmlab.explore.harness import Effect, Ghost, Read, Repeated, Violation
from vmmlab.explore.localstate import (
    Action,
    LocalState,
    before_first_step,
    entering,
    returning,
    undefined_context,
)
from vmmlab.explore.memory import Store
from vmmlab.explore.ownership import own_blocks
from vmmlab.explore.program import PCPU_APIC_ID, PCPU_CPUNUM, PCPU_SELF, PCPU_STACKADDR, RETURN_MARK
from vmmlab.explore.rounds import SEEN, LaterRounds
from vmmlab.explore.surroundings import Variable

# Time is not modelled: the BSP polls two or three times, however late the others are. In
# nanoseconds, the interval has 32 bits and the whole time has more.
_POLL_US: Final = 4_000_000
_WAIT_US: Final = 2 * _POLL_US
# So few polls that the search still follows each of them.
_FAR_TOO_LONG_US: Final = 2 * _WAIT_US + _POLL_US
# Offsets in `ap_delays` (include/ap.h) of the interval between polls and of the whole time.
_POLL_OFFSET: Final = 8
_WAIT_OFFSET: Final = 12
LOCK_BYTES: Final = 8


class _Handshake(GivenCode):
    """What both scenarios begin with."""

    def __init__(self, model):
        super().__init__(model)
        self.count = self.program.symbols.addr("num_of_processors")
        self.lock = self.program.variables["*apinitlock"][0]
        self.procs = self.program.variables["*apinitprocs"][0]

    def initial_writes(self) -> Sequence[Store]:
        """Return the pointers into the trampoline, the delays, and what APs are to run."""
        program, addr = self.program, self.program.symbols.addr
        delays = addr("ap_delays")
        mapped = program.window - program.trampoline
        return (
            (addr("apinitlock"), 8, self.lock + mapped),
            (addr("apinitprocs"), 8, self.procs + mapped),
            (addr("apinit_addr"), 4, program.apinit_addr),
            (addr("initproc_ap"), 8, addr("ap_proc")),
            (delays + _POLL_OFFSET, 4, _POLL_US),
            (delays + _WAIT_OFFSET, 4, _WAIT_US),
            (self.lock, 8, 0),
            (self.procs, 4, 0),
        )


# --- registration ---------------------------------------------------------------------------------


class _Bsp(NamedTuple):
    """The ghost of the registration.

    Attributes:
        numbers: the numbers that APs have taken, one bit each.
        returned: ap_wait has returned.
        arrived: how many APs have called initproc_ap; they have released all locks.
        entered: in `Unlisted`, how many APs had entered when the BSP called ap_wait.
        complete: all APs had arrived when the BSP began to wait.
        slept: how many microseconds the BSP has slept.
    """

    numbers: int = 0
    returned: bool = False
    arrived: int = 0
    entered: int = 0
    complete: bool = False
    slept: int = 0


class _Registered(NamedTuple):
    """What the registration remembers about one CPU.

    Attributes:
        passed_lock: it has come to ap_locked.
        number: the argument of its call of segment_init_ap, 0 before.
        ended: how the BSP has come out of its wait: "", "returned" or "gave up".
        allowed: what `_might_return` said when the BSP returned.
    """

    passed_lock: bool = False
    number: int = 0
    ended: str = ""
    allowed: bool = False


class Registration(_Handshake):
    """From the trampoline to `initproc_ap`: APs take the lock, and get a stack and a number each.

    Meanwhile the BSP waits in ap_wait until all of them have been counted.

    Attributes:
        listed: the number of processors in the ACPI tables; None: all of them.
    """

    name = "registration"
    title = msg("registration")
    listed: ClassVar[int | None] = None

    def initial_ghost(self) -> Ghost:
        """Return the ghost before the first step: no numbers, and the BSP does not wait yet."""
        return _Bsp()

    def start(self, cpu: int) -> int:
        """Return the local state of an AP at the trampoline, or of the BSP before ap_wait."""
        begin = Action("event", alone=True, name="begin")
        return self.model.waiting(before_first_step(cpu, _Registered()), begin)

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`."""
        local = self.model.locals[lid]
        of_ap = bool(local.cpu)
        if action.name == "begin":
            return self._enter(local, ghost, read) if of_ap else self._wait(local, ghost, read)
        if action.name == "return" and not of_ap:
            local = self._noted(local, ended="returned", allowed=self._might_return(ghost, read))
            end = self.model.end(local, "done")
            return Effect(end, ghost._replace(returned=True), note=msg("ap_wait returns"))
        if action.name == "ap_locked" and of_ap:
            return self._locked(local, ghost)
        if action.name == "segment_init_ap" and of_ap:
            return self._number(local, ghost, read)
        if action.name == "ap_proc" and of_ap:
            return self._arrive(local, ghost, read)
        if action.name == "vmm_ap_missing" and not of_ap:
            return self._give_up_early(local, ghost) or self._give_up(local, ghost)
        if action.name == "panic" and not of_ap and ghost.slept:
            # The wait may have timed out; which report is right then is not judged here.
            return self._give_up(local, ghost)
        if action.name == "usleep" and not local.cpu:
            return self._sleep(lid, ghost, read)
        return self.common(lid, action, ghost)

    def reads(self, local: LocalState, action: Action) -> tuple[int, int] | None:
        """See `Harness.reads`."""
        if action.name in (("segment_init_ap",) if local.cpu else ("return", "usleep")):
            return self.count, 4
        if action.name == "ap_proc" and local.notes.number:
            return self.program.pcpu_field(local.notes.number, PCPU_STACKADDR), 8
        return None

    def shared(self) -> Sequence[tuple[int, int]]:
        """Return the per-CPU data: any AP may get any number."""
        program = self.program
        size = PCPU_STACKADDR + 8 - PCPU_SELF
        return [(program.pcpu_field(n + 1, PCPU_SELF), size) for n in range(self.aps)]

    def forbidden(self, local: LocalState, action: Action, ghost: Ghost) -> Violation | None:
        """See `Harness.forbidden`: the trampoline may be gone when ap_wait has come back."""
        if not (action.window and ghost.returned):
            return None
        what = msg(
            "CPU {cpu} uses {name} after ap_wait has returned: the BSP may have unmapped it",
            cpu=local.cpu,
            name=self.program.name(action.address),
        )
        return Violation("trampoline-gone", what)

    def outcome(self, local: LocalState) -> Text:
        """See `Harness.outcome`."""
        ends = {
            "returned": msg("has returned from ap_wait"),
            "gave up": msg("has given up waiting"),
        }
        return ends.get(local.notes.ended, "")

    def _sleep(self, lid: int, ghost: Ghost, read: Read) -> Effect:
        """Let the BSP sleep, unless its time is over by far and an AP has not arrived.

        That it sleeps longer than `_POLL_US` at once is another mistake.
        """
        local = self.model.locals[lid]
        slept = ghost.slept + min(_POLL_US, local.context.regs[RDI] & 0xFFFF_FFFF)
        arrived = self._all_arrived(ghost, read)
        if slept > _FAR_TOO_LONG_US and not arrived:
            what = msg("the BSP goes on waiting when its time is over, and an AP has not arrived")
            return self.violated(local, Violation("bsp-waits-on", what), ghost, "usleep ()")
        ghost = ghost._replace(slept=min(slept, _FAR_TOO_LONG_US))
        return self.common(lid, Action("event", name="usleep"), ghost)

    def _all_arrived(self, ghost: Ghost, read: Read) -> bool:
        return ghost.arrived == self.aps == read(self.count, 4)

    def _returned_value(self, local: LocalState, name: str) -> int | None:
        if name == "acpi_num_of_processors" and self.listed is not None:
            return self.listed
        return super()._returned_value(local, name)

    @staticmethod
    def _noted(local: LocalState, **notes: object) -> LocalState:
        return local._replace(notes=local.notes._replace(**notes))

    # --- events ------------------------------------------------------------------------------

    def _enter(self, local: LocalState, ghost: Ghost, read: Read) -> Effect:
        """Let an AP come through the trampoline, which counts it in *apinitprocs."""
        program = self.program
        context = local.context.having(rip=program.symbols.addr("apinit_enter"))
        after = self.model.settle(local._replace(context=context, phase="run"))
        write = (self.procs, 4, read(self.procs, 4) + 1)
        return Effect(after, ghost, (write,), msg("enters the trampoline, jumps to apinit_enter"))

    def _wait(self, local: LocalState, ghost: Ghost, read: Read) -> Effect | None:
        """Let the BSP call ap_wait."""
        program = self.program
        complete = self._all_arrived(ghost, read)
        stack = program.harness_stack(0)
        called = entering(local, program.symbols.addr("ap_wait"), stack, RETURN_MARK)
        ghost = ghost._replace(complete=complete)
        return Effect(self.model.settle(called), ghost, note=msg("calls ap_wait"))

    def _locked(self, local: LocalState, ghost: Ghost) -> Effect:
        """Run the given code at ap_locked, which assumes that this CPU holds the lock."""
        region = self.program.stack_at(self.program.boot_top, {})
        context = self.model.step(local.context._replace(region=None, stack=b""))
        context = context._replace(region=region, stack=b"")
        local = self._noted(local, passed_lock=True)
        stacks = tuple(dict.fromkeys((*local.stacks, self.program.boot_low)))
        after = self.model.settle(local._replace(context=context, stacks=stacks))
        return Effect(after, ghost, note=msg("reaches ap_locked, on the boot stack"))

    def _number(self, local: LocalState, ghost: Ghost, read: Read) -> Effect:
        """Replace segment_init_ap: check the number, and set up the per-CPU data."""
        edi = local.context.regs[RDI] & 0xFFFF_FFFF
        number = edi - (edi >> 31 << 32)
        cpu, program = local.cpu, self.program
        note = f"segment_init_ap ({number})"
        if not 1 <= number <= self.aps:
            violation = Violation(
                "number-wrong", msg("CPU {cpu} takes the number {number}", cpu=cpu, number=number)
            )
            return self.violated(local, violation, ghost, note)
        if ghost.numbers >> number & 1:
            what = msg(
                "CPU {cpu} takes the number {number}, which another CPU has", cpu=cpu, number=number
            )
            return self.violated(local, Violation("number-twice", what), ghost, note)
        count = read(self.count, 4)
        # The count only grows, so it never had this value. If it is 0, check_end reports it.
        if 0 < count < number:
            what = msg(
                "CPU {cpu} takes the number {number} when num_of_processors is {count}",
                cpu=cpu,
                number=number,
                count=count,
            )
            return self.violated(local, Violation("number-not-the-count", what), ghost, note)
        writes = (
            (program.pcpu_field(number, PCPU_SELF), 8, program.pcpu(number)),
            (program.pcpu_field(number, PCPU_CPUNUM), 4, number),
            (program.pcpu_field(number, PCPU_APIC_ID), 4, program.apic_ids[cpu]),
        )
        context = local.context.having(gs_base=program.pcpu(number))
        back = returning(self._noted(local._replace(context=context), number=number), 0)
        ghost = ghost._replace(numbers=ghost.numbers | 1 << number)
        return Effect(self.model.settle(back), ghost, writes, note)

    def _arrive(self, local: LocalState, ghost: Ghost, read: Read) -> Effect:
        """Check an AP that calls initproc_ap, the end of what is explored of it."""
        violation = self._not_ready(local, read)
        if violation is not None:
            return self.violated(local, violation, ghost, msg("calls initproc_ap"))
        ghost = ghost._replace(arrived=ghost.arrived + 1)
        return Effect(
            self.model.end(local, "done"), ghost, note=msg("calls initproc_ap: the AP has arrived")
        )

    def _not_ready(self, local: LocalState, read: Read) -> Violation | None:
        cpu, region = local.cpu, local.context.region
        own = [self.program.alloc_block(cpu, n) for n in range(len(local.allocs))]
        if not local.notes.number:
            return Violation(
                "not-numbered", msg("CPU {cpu} calls initproc_ap without a number", cpu=cpu)
            )
        if region is None or region.block not in own:
            return Violation("stack-not-own", self._on_wrong_stack(cpu, region))
        there = read(self.program.pcpu_field(local.notes.number, PCPU_STACKADDR), 8)
        if there == region.block:
            return None
        what = msg(
            "CPU {cpu} has stackaddr = {address:#x} ({name}), but its stack is {stack}",
            cpu=cpu,
            address=there,
            name=self.program.name(there),
            stack=self.program.stack_name(region),
        )
        return Violation("stackaddr-wrong", what)

    def _on_wrong_stack(self, cpu: int, region: StackRegion | None) -> Text:
        if region is None:
            return msg("CPU {cpu} calls initproc_ap on no stack", cpu=cpu)
        stack = self.program.stack_name(region)
        return msg("CPU {cpu} calls initproc_ap on {stack}", cpu=cpu, stack=stack)

    def _give_up(self, local: LocalState, ghost: Ghost) -> Effect:
        if ghost.complete:
            what = msg("the BSP gives up, although every CPU had arrived before it began to wait")
            violation = Violation("bsp-gave-up", what)
            return self.violated(local, violation, ghost, msg("gives up waiting"))
        end = self.model.end(self._noted(local, ended="gave up"), "done")
        return Effect(end, ghost, note=msg("gives up waiting, which is allowed here"))

    def _give_up_early(self, local: LocalState, ghost: Ghost) -> Effect | None:
        """Return what is wrong if the BSP gives up before its time is over, though it sleeps."""
        if ghost.complete or not 0 < ghost.slept < _WAIT_US:
            return None
        what = msg(
            "the BSP gives up after {slept} microseconds, and ap_delays.wait_us is {wait}",
            slept=ghost.slept,
            wait=_WAIT_US,
        )
        violation = Violation("bsp-gave-up-early", what)
        return self.violated(local, violation, ghost, msg("gives up waiting"))

    # --- invariants --------------------------------------------------------------------------

    def check_step(
        self, now: Sequence[LocalState], cpu: int, before: LocalState, read: Read
    ) -> Violation | None:
        """See `Harness.check_step`."""
        if now[cpu].notes.ended == "returned" and not before.notes.ended:
            violation = self._went_on_early(now, read)
            if violation is not None:
                return violation
        return self.check_stacks(now, cpu, before)

    def _might_return(self, ghost: Ghost, read: Read) -> bool:
        """Whether the BSP may return although not all APs have been counted."""
        return False

    def _went_on_early(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        """Check the APs when ap_wait has just returned."""
        for ap in now[1:]:
            if self._has_left(ap) or ap.notes.number:
                continue
            if ap.phase == "begin":
                what = msg("the BSP goes on although CPU {cpu} has not arrived yet", cpu=ap.cpu)
            elif ap.notes.passed_lock:
                what = msg("the BSP goes on while CPU {cpu} is on the boot stack", cpu=ap.cpu)
            else:
                what = msg("the BSP goes on while CPU {cpu} waits for the boot stack", cpu=ap.cpu)
            return Violation("bsp-went-on", what)
        count = read(self.count, 4)
        if count != self.aps:
            what = msg(
                "the BSP goes on when num_of_processors is {count} of {aps}",
                count=count,
                aps=self.aps,
            )
            return Violation("bsp-went-on", what)
        return None

    def _has_left(self, ap: LocalState) -> bool:
        """Return whether an AP has left the boot stack, or has been on a stack of its own."""
        boot, own = self.program.boot_low, own_blocks(self.program, ap)
        if any(one in own for one in ap.stacks):
            return True
        return boot in ap.stacks and ap.stacks[-1] != boot

    def check_end(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        """See `Harness.check_end`."""
        count = read(self.count, 4)
        if all(ap.phase == "done" for ap in now[1:]) and count != self.aps:
            what = msg(
                "num_of_processors is {count}, but {aps} APs have arrived",
                count=count,
                aps=self.aps,
            )
            return Violation("count-wrong", what)
        return None


class Unlisted(Registration):
    """APs come that the BSP cannot expect, since no tables list any processor.

    It may return if as many have left as had entered at any moment of its wait: an AP that enters
    between its two looks is lost, as one is that enters a moment later.
    """

    name = "without tables"
    title = msg("registration without ACPI tables")
    buffers = False
    listed = 0

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`: an AP that comes when ap_wait has returned is lost."""
        local = self.model.locals[lid]
        if action.name == "begin" and local.cpu and ghost.returned:
            return Effect(self.model.end(local, "done"), ghost)
        if action.name == "begin" and not local.cpu:
            ghost = ghost._replace(entered=read(self.procs, 4))
        return super().handle(lid, action, ghost, read)

    def forbidden(self, local: LocalState, action: Action, ghost: Ghost) -> Violation | None:
        """See `Harness.forbidden`: an AP that enters when ap_wait is about to return is lost."""
        return None

    def check_end(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        """See `Harness.check_end`: APs may have been lost."""
        return None

    def _might_return(self, ghost: Ghost, read: Read) -> bool:
        left = read(self.count, 4)
        return left >= ghost.entered and left + 1 >= (self.listed or 0)

    def _went_on_early(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        if now[0].notes.allowed:
            return None
        return super()._went_on_early([one for one in now if one.phase != "begin"], read)


class MoreThanListed(Unlisted):
    """The tables list one AP less than there are.

    A BSP that expects exactly as many as the tables list does not go on, which is allowed.
    """

    name = "more than listed"
    title = msg("more APs than listed")
    listed = 2

    def _give_up(self, local: LocalState, ghost: Ghost) -> Effect:
        return super()._give_up(local, ghost._replace(complete=False))


class Crowd(Registration):
    """Three APs at the lock, without the BSP: some mistakes need two others who overtake."""

    name = "crowd"
    title = msg("three APs at the lock")
    cpus = 4
    buffers = False

    def start(self, cpu: int) -> int:
        """Return the local state of an AP at the trampoline; the BSP is not there."""
        if cpu:
            return super().start(cpu)
        return self.model.end(before_first_step(cpu, _Registered()), "done")


# --- the barrier ----------------------------------------------------------------------------------


class _Rounds(NamedTuple):
    """What the barrier's scenario remembers about one CPU.

    Attributes:
        entered: how many rounds it has entered.
        completed: how many rounds it has completed.
    """

    entered: int = 0
    completed: int = 0


class Barrier(_Handshake):
    """All CPUs meet in sync_all_processors, three times in a row."""

    name = "barrier"
    title = msg("barrier")
    rounds = 3  # a fault may show only one round after the one that causes it
    left_out = 0  # rounds that were not run

    def initial_writes(self) -> Sequence[Store]:
        """Return stores that give every CPU its per-CPU data; no CPU has been counted."""
        program = self.program
        fields = []
        for cpu in range(self.cpus):
            region = program.harness_stack(cpu)
            fields += [
                (program.pcpu_field(cpu, PCPU_SELF), 8, program.pcpu(cpu)),
                (program.pcpu_field(cpu, PCPU_CPUNUM), 4, cpu),
                (program.pcpu_field(cpu, PCPU_APIC_ID), 4, program.apic_ids[cpu]),
                (program.pcpu_field(cpu, PCPU_STACKADDR), 8, region.base),
            ]
        return (*super().initial_writes(), (self.procs, 4, self.aps), *fields)

    def start(self, cpu: int) -> int:
        """Return the local state of a CPU that has not been counted."""
        local = before_first_step(cpu, _Rounds())._replace(context=self._idle_context(cpu))
        return self.model.waiting(local, Action("event", alone=True, name="begin"))

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`."""
        local = self.model.locals[lid]
        if action.name == "begin" and local.cpu:
            # By symmetry, the AP with number k is the k-th to be counted.
            if read(self.count, 4) != local.cpu - 1:
                return None
            write = (self.count, 4, local.cpu)
            return Effect(self._between_rounds(local), ghost, (write,), msg("has been counted"))
        if action.name == "begin":
            if read(self.count, 4) != self.aps:
                return None
            started = self.program.symbols.addr("ap_started")
            return self._call_barrier(local, ghost)._replace(writes=((started, 1, 1),))
        if action.name == "call":
            return self._call_barrier(local, ghost)
        if action.name == "return":
            return self._complete_round(local, ghost)
        return self.common(lid, action, ghost)

    def outcome(self, local: LocalState) -> Text:
        """See `Harness.outcome`."""
        return msg("is between two rounds") if local.phase == "between" else ""

    # --- events ------------------------------------------------------------------------------

    def _idle_context(self, cpu: int) -> Context:
        """Return the context of a CPU outside the barrier: its GS base, and an empty stack."""
        context = undefined_context().having(gs_base=self.program.pcpu(cpu))
        return context._replace(region=self.program.harness_stack(cpu))

    def _between_rounds(self, local: LocalState) -> int:
        local = local._replace(context=self._idle_context(local.cpu), phase="between")
        return self.model.waiting(local, Action("event", alone=True, name="call"))

    def _call_barrier(self, local: LocalState, ghost: Ghost) -> Effect:
        entered = local.notes.entered + 1
        local = local._replace(notes=local.notes._replace(entered=entered))
        function = self.program.symbols.addr("sync_all_processors")
        stack = self.program.harness_stack(local.cpu)
        called = self.model.settle(entering(local, function, stack, RETURN_MARK))
        return Effect(
            called,
            ghost,
            note=msg("calls sync_all_processors, round {number}", number=entered + self.left_out),
        )

    def _complete_round(self, local: LocalState, ghost: Ghost) -> Effect:
        completed = local.notes.completed + 1
        local = local._replace(notes=local.notes._replace(completed=completed))
        last = completed == self.rounds
        after = self.model.end(local, "done") if last else self._between_rounds(local)
        return Effect(
            after, ghost, note=msg("leaves round {number}", number=completed + self.left_out)
        )

    # --- invariants --------------------------------------------------------------------------

    def check_step(
        self, now: Sequence[LocalState], cpu: int, before: LocalState, read: Read
    ) -> Violation | None:
        """See `Harness.check_step`."""
        last = now[cpu].notes.completed
        if last > before.notes.completed:
            for other in now:
                if other.notes.entered < last:
                    what = msg(
                        "CPU {cpu} leaves round {number} before CPU {other} has entered it",
                        cpu=cpu,
                        number=last + self.left_out,
                        other=other.cpu,
                    )
                    return Violation("barrier-passed-early", what)
        return self.check_stacks(now, cpu, before)


class WideBarrier(Barrier):
    """Four CPUs meet once: some mistakes need two CPUs that come before the last AP is counted."""

    name = "wide barrier"
    title = msg("barrier of four CPUs")
    cpus = 4
    buffers = False
    rounds = 1


class ComesBack(Crowd):
    """The only AP finds that initproc_ap returns, and must panic."""

    name = "comes back"
    title = msg("initproc_ap returns")

    def start(self, cpu: int) -> int:
        """Return the local state of the AP at the trampoline; no other CPU is there."""
        if cpu == 1:
            return super().start(cpu)
        return self.model.end(before_first_step(cpu, _Registered()), "done")

    def check_end(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        """See `Harness.check_end`: the other APs are not counted."""
        return None

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`."""
        local = self.model.locals[lid]
        if action.name == "ap_proc":
            back = self.model.settle(returning(local, 0))
            return Effect(back, ghost._replace(arrived=1), note=msg("initproc_ap () returns"))
        if action.name == "panic" and ghost.arrived:
            return Effect(self.model.end(local, "done"), ghost, note=msg("panics"))
        return super().handle(lid, action, ghost, read)


class ManyCpus(Barrier):
    """More CPUs meet in the barrier than 64 bits or a table of 64 entries have room for."""

    name = "many CPUs"
    title = msg("barrier of many CPUs")
    cpus = 67
    buffers = False
    rounds = 2
    one_order = True

    def repeated(self) -> Repeated:
        """See `Harness.repeated`: all CPUs have been counted when the first one calls."""
        addr = self.program.symbols.addr
        return Repeated(
            addr("sync_all_processors"),
            self.rounds,
            tuple(self.program.pcpu(cpu) for cpu in range(self.cpus)),
            ((self.count, 4, self.aps), (addr("ap_started"), 1, 1)),
        )


class MoreCpus(ManyCpus):
    """More CPUs meet in the barrier than a byte can count."""

    name = "more CPUs"
    title = msg("barrier of more CPUs than a byte can count")
    cpus = 261


class ManyAps(Crowd):
    """Many APs come to the lock while the first has it; each is overtaken when it unlocks.

    At first 200 of them come, and the others when 150 have been counted.
    """

    name = "many APs"
    title = msg("many APs at the lock")
    cpus = 261
    at_once, until = 200, 150
    one_order = True

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`."""
        cpu = self.model.locals[lid].cpu
        if action.name == "begin" and cpu > self.at_once and read(self.count, 4) < self.until:
            return None
        return super().handle(lid, action, ghost, read)

    def yields(self, before: LocalState, now: LocalState, read: Read, read_now: Read) -> bool:
        """See `Harness.yields`: with the lock taken for the first time, and after each release."""
        if now.notes.passed_lock and not before.notes.passed_lock:
            return read(self.count, 4) == 0 and now.cpu == 1
        if not before.notes.passed_lock or before.phase != "run":
            return False
        return read(self.lock, LOCK_BYTES) != read_now(self.lock, LOCK_BYTES)


class _Met(NamedTuple):
    """How often a CPU has left a round, and has called the barrier again, since the CPUs gather."""

    left: int = 0
    called: int = 0


class ManyRounds(ManyCpus):
    """Three CPUs meet more often than a byte can count, in turns; then than two bytes can.

    After some rounds the CPUs gather between two rounds. What these rounds do to memory is carried
    on until shortly before the sign of 16 bits changes, and later until shortly before they wrap.
    """

    name = "many rounds"
    title = msg("many rounds of the barrier")
    cpus = 3
    gather_from = 257
    leaps = (gather_from + SEEN - 1, gather_from + 3 * SEEN)
    rounds = leaps[-1] + 2 * SEEN

    def __init__(self, model):
        super().__init__(model)
        self._later = LaterRounds(self.program, self.program.symbols.addr("sync_all_processors"))

    def repeated(self) -> Repeated:
        """See `Harness.repeated`: some of the rounds are left out."""
        return super().repeated()._replace(leaps=self.leaps)

    def initial_ghost(self) -> Ghost:
        """See `Harness.initial_ghost`: nothing has happened yet."""
        return _Met()

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`."""
        completed = self.model.locals[lid].notes.completed
        if action.name == "call" and completed >= self.gather_from:
            return self._call_again(lid, completed, ghost, read)
        effect = super().handle(lid, action, ghost, read)
        if effect is not None and action.name == "return" and completed + 1 >= self.gather_from:
            return effect._replace(ghost=ghost._replace(left=ghost.left + 1))
        return effect

    def _call_again(self, lid: int, completed: int, ghost: Ghost, read: Read) -> Effect | None:
        """Return the call of a CPU once all have left the round."""
        all_left = (completed - self.gather_from + 1) * self.cpus
        if ghost.left < all_left:
            return None
        writes: Sequence[Store] = ()
        if ghost.called == all_left - self.cpus:  # it is the first
            self._later.note(completed + self.left_out, read)
            if completed in self.leaps:
                more, writes = self._later.leap()
                self.left_out += more
        effect = super()._call_barrier(self.model.locals[lid], ghost)
        return effect._replace(ghost=ghost._replace(called=ghost.called + 1), writes=writes)


declare(
    Declaration(
        lab="lab4",
        scenarios=(
            Registration,
            Unlisted,
            MoreThanListed,
            Crowd,
            ComesBack,
            Barrier,
            WideBarrier,
            ManyAps,
            ManyCpus,
            MoreCpus,
            ManyRounds,
        ),
        tracepoints=frozenset({"ap_locked"}),
        variables=(
            Variable("num_of_processors", 4),
            Variable("sync_id", 4),
            Variable("sync_count", 4),
            Variable("ap_lock", 1, lock=True),
            Variable("sync_lock", 1, lock=True),
            Variable("*apinitlock", 8, "apinit_lock", trampoline=True, taken_at="ap_locked"),
            Variable("*apinitprocs", 4, "apinit_procs", trampoline=True),
        ),
        expected={
            "stack-not-own": msg(
                "apinitproc1 runs at the top of a block that alloc gave to this CPU"
            ),
            "stackaddr-wrong": msg(
                "stackaddr is the lowest address of the stack that this CPU is on"
            ),
            "number-twice": msg("every AP has a number of its own"),
            "number-wrong": msg("the numbers are 1 to n, where n is the number of APs"),
            "number-not-the-count": msg(
                "the number of an AP is what its own addition has made of num_of_processors"
            ),
            "not-numbered": msg("an AP calls segment_init_ap before initproc_ap"),
            "count-wrong": msg("at the end num_of_processors is the number of APs"),
            "bsp-went-on": msg(
                "ap_wait returns when all APs have left the boot stack and have been counted"
            ),
            "bsp-gave-up": msg("the BSP gives up only if a CPU has not arrived in time"),
            "bsp-gave-up-early": msg(
                "the BSP gives up only after ap_delays.wait_us, {wait} microseconds here",
                wait=_WAIT_US,
            ),
            "bsp-waits-on": msg(
                "the BSP gives up after ap_delays.wait_us, whichever CPU is missing"
            ),
            "trampoline-gone": msg(
                "an AP unlocks *apinitlock before it counts itself, since the BSP may go on then"
            ),
            "barrier-passed-early": msg(
                "no CPU leaves a round of the barrier before every CPU has entered it"
            ),
        },
    )
)
