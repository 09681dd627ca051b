"""The scenarios in which APs go from the lock to their numbers while the BSP waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from vmmlab.base.message import Text, msg
from vmmlab.explore.context import RDI, StackRegion
from vmmlab.explore.harness import Effect, Ghost, Read, Violation
from vmmlab.explore.localstate import (
    Action,
    LocalState,
    before_first_step,
    entering,
    returning,
)
from vmmlab.explore.ownership import own_blocks
from vmmlab.explore.program import PCPU_APIC_ID, PCPU_CPUNUM, PCPU_SELF, PCPU_STACKADDR, RETURN_MARK

from .exploration_common import FAR_TOO_LONG_US, LOCK_BYTES, POLL_US, WAIT_US, Handshake


class _Bsp(NamedTuple):
    """The ghost of the registration.

    Attributes:
        numbers: the numbers that APs have taken, one bit each.
        returned: ap_wait has returned.
        arrived: how many APs have called initproc_ap; they have released all locks.
        entered: in `Unlisted`, how many APs had entered when the BSP called ap_wait.
        complete: all APs had arrived when the BSP began to wait.
        slept: how many microseconds the BSP has slept.
        all_there: all APs had arrived when the BSP last called usleep, and its time was not over.
    """

    numbers: int = 0
    returned: bool = False
    arrived: int = 0
    entered: int = 0
    complete: bool = False
    slept: int = 0
    all_there: bool = False


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


class Registration(Handshake):
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
            return super().forbidden(local, action, ghost)
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

        That it sleeps longer than `POLL_US` at once is another mistake.
        """
        local = self.model.locals[lid]
        slept = ghost.slept + min(POLL_US, local.context.regs[RDI] & 0xFFFF_FFFF)
        arrived = self._all_arrived(ghost, read)
        if slept > FAR_TOO_LONG_US and not arrived:
            what = msg("the BSP goes on waiting when its time is over, and an AP has not arrived")
            return self.violated(local, Violation("bsp-waits-on", what), ghost, "usleep ()")
        # Who sleeps on when the time is over has looked when it was.
        missed = arrived and ghost.slept < WAIT_US
        ghost = ghost._replace(slept=min(slept, FAR_TOO_LONG_US), all_there=missed)
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
        if ghost.complete or ghost.all_there:
            what = (
                msg("the BSP gives up, although every CPU had arrived before it began to wait")
                if ghost.complete
                else msg("the BSP gives up, although every CPU had arrived before its last usleep")
            )
            violation = Violation("bsp-gave-up", what)
            return self.violated(local, violation, ghost, msg("gives up waiting"))
        end = self.model.end(self._noted(local, ended="gave up"), "done")
        return Effect(end, ghost, note=msg("gives up waiting, which is allowed here"))

    def _give_up_early(self, local: LocalState, ghost: Ghost) -> Effect | None:
        """Return what is wrong if the BSP gives up before its time is over, though it sleeps."""
        if ghost.complete or not 0 < ghost.slept < WAIT_US:
            return None
        what = msg(
            "the BSP gives up after {slept} microseconds, and ap_delays.wait_us is {wait}",
            slept=ghost.slept,
            wait=WAIT_US,
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
        return Handshake.forbidden(self, local, action, ghost)

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
        return super()._give_up(local, ghost._replace(complete=False, all_there=False))


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


class ManyAps(Crowd):
    """Many APs come to the lock while the first has it; each is overtaken when it unlocks.

    Some are overtaken when they take it as well: those of whose APIC id one byte is 0, and the
    first for which it is less than 0. At first 200 of them come, and the others when 150 have been
    counted.
    """

    name = "many APs"
    title = msg("many APs at the lock")
    cpus = 261
    at_once, until = 200, 150
    one_order = True

    def __init__(self, model):
        super().__init__(model)
        low = {cpu: own & 0xFF for cpu, own in enumerate(self.program.apic_ids) if cpu}
        negative = [cpu for cpu, byte in low.items() if byte & 0x80]
        self._overtaken = {cpu for cpu, byte in low.items() if not byte} | {1, *negative[:1]}

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`."""
        cpu = self.model.locals[lid].cpu
        if action.name == "begin" and cpu > self.at_once and read(self.count, 4) < self.until:
            return None
        return super().handle(lid, action, ghost, read)

    def yields(self, before: LocalState, now: LocalState, read: Read, read_now: Read) -> bool:
        """See `Harness.yields`: with the lock taken by some CPUs, and after each release."""
        if now.notes.passed_lock and not before.notes.passed_lock:
            return now.cpu in self._overtaken
        if not before.notes.passed_lock or before.phase != "run":
            return False
        return read(self.lock, LOCK_BYTES) != read_now(self.lock, LOCK_BYTES)
