"""Registration: APs come from the trampoline, take the lock, and get a stack and a number each.

Meanwhile the BSP waits in ap_wait until all of them have been counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmmlab.base.message import Text, msg
from vmmlab.explore.emulator import RDI
from vmmlab.explore.given import GivenCode
from vmmlab.explore.harness import Effect, Ghost, Read, Violation
from vmmlab.explore.localstate import Action, LocalState, before_first_step, entering, returning
from vmmlab.explore.program import (
    PCPU_APIC_ID,
    PCPU_CPUNUM,
    PCPU_SELF,
    PCPU_STACKADDR,
    RETURN_MARK,
    StackRegion,
)


class Registration(GivenCode):
    """The harness from the trampoline to `initproc_ap`."""

    name = "registration"

    def start(self, cpu: int) -> int:
        """Return the local state of an AP at the trampoline, or of the BSP before ap_wait."""
        return self.model.waiting(before_first_step(cpu), Action("event", alone=True, name="begin"))

    def handle(self, lid: int, action: Action, ghost: Ghost, read: Read) -> Effect | None:
        """See `Harness.handle`."""
        local = self.model.locals[lid]
        of_ap = bool(local.cpu)
        if action.name == "begin":
            return self._enter(local, ghost, read) if of_ap else self._wait(local, ghost, read)
        if action.name == "return" and not of_ap:
            end = self.model.end(local, "returned")
            return Effect(end, ghost._replace(bsp="returned"), note=msg("ap_wait returns"))
        if action.name == "ap_locked" and of_ap:
            return self._locked(local, ghost)
        if action.name == "segment_init_ap" and of_ap:
            return self._number(local, ghost)
        if action.name == "ap_proc" and of_ap:
            return self._arrive(local, ghost, read)
        if action.name == "vmm_ap_missing" and not of_ap:
            return self._give_up(local, ghost)
        if action.name == "panic" and not of_ap and ghost.slept:
            # The wait may have timed out; which report is right then is not judged here.
            return self._give_up(local, ghost)
        return self.common(lid, action, ghost)

    def reads(self, local: LocalState, action: Action) -> tuple[int, int] | None:
        """See `Harness.reads`."""
        if action.name == "return" and not local.cpu:
            return self.count, 4
        if action.name == "ap_proc" and local.number:
            return self.program.pcpu_field(local.number, PCPU_STACKADDR), 8
        return None

    # --- events ------------------------------------------------------------------------------

    def _enter(self, local: LocalState, ghost: Ghost, read: Read) -> Effect:
        """Let an AP come through the trampoline, which counts it in *apinitprocs."""
        program = self.program
        context = local.context.having(rip=program.symbols.addr("apinit_enter"))
        after = self.model.settle(local._replace(context=context, phase="run"))
        write = (program.procs, 4, read(program.procs, 4) + 1)
        return Effect(after, ghost, (write,), msg("enters the trampoline, goes to apinit_enter"))

    def _wait(self, local: LocalState, ghost: Ghost, read: Read) -> Effect:
        """Let the BSP call ap_wait."""
        program = self.program
        complete = read(self.count, 4) == self.aps == read(program.procs, 4)
        stack = program.harness_stack(0)
        called = entering(local, program.symbols.addr("ap_wait"), stack, RETURN_MARK)
        ghost = ghost._replace(bsp="waits", complete=complete)
        return Effect(self.model.settle(called), ghost, note=msg("calls ap_wait"))

    def _locked(self, local: LocalState, ghost: Ghost) -> Effect:
        """Run the given code at ap_locked, which assumes that this CPU holds the lock."""
        region = self.program.stack_at(self.program.boot_top, {})
        context = self.model.step(local.context._replace(region=None, stack=b""))
        context = context._replace(region=region, stack=b"")
        after = self.model.settle(local._replace(context=context, passed_lock=True))
        return Effect(after, ghost, note=msg("comes to ap_locked, on the boot stack"))

    def _number(self, local: LocalState, ghost: Ghost) -> Effect:
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
                "CPU {cpu} takes the number {number}, which is taken", cpu=cpu, number=number
            )
            return self.violated(local, Violation("number-twice", what), ghost, note)
        writes = (
            (program.pcpu_field(number, PCPU_SELF), 8, program.pcpu(number)),
            (program.pcpu_field(number, PCPU_CPUNUM), 4, number),
            (program.pcpu_field(number, PCPU_APIC_ID), 4, program.apic_ids[cpu]),
        )
        context = local.context.having(gs_base=program.pcpu(number))
        back = returning(local._replace(context=context, number=number), 0)
        ghost = ghost._replace(numbers=ghost.numbers | 1 << number)
        return Effect(self.model.settle(back), ghost, writes, note)

    def _arrive(self, local: LocalState, ghost: Ghost, read: Read) -> Effect:
        """Check an AP that calls initproc_ap, the end of what is explored of it."""
        violation = self._not_ready(local, read)
        if violation is not None:
            return self.violated(local, violation, ghost, msg("calls initproc_ap"))
        return Effect(self.model.end(local, "done"), ghost, note=msg("calls initproc_ap: has come"))

    def _not_ready(self, local: LocalState, read: Read) -> Violation | None:
        cpu, region = local.cpu, local.context.region
        own = [self.program.alloc_block(cpu, n) for n in range(len(local.allocs))]
        if not local.number:
            return Violation(
                "not-numbered", msg("CPU {cpu} calls initproc_ap without a number", cpu=cpu)
            )
        if region is None or region.block not in own:
            return Violation("stack-not-own", self._on_wrong_stack(cpu, region))
        there = read(self.program.pcpu_field(local.number, PCPU_STACKADDR), 8)
        if there == region.block:
            return None
        what = msg(
            "CPU {cpu} has stackaddr = {address:#x} ({name}), and its stack is {stack}",
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
            what = msg("the BSP gives up, and all had come before it began to wait")
            violation = Violation("bsp-gave-up", what)
            return self.violated(local, violation, ghost, msg("gives up waiting"))
        end = self.model.end(local, "gave up")
        return Effect(
            end, ghost._replace(bsp="gave up"), note=msg("gives up waiting, which it may")
        )

    # --- invariants --------------------------------------------------------------------------

    def check_step(
        self, now: Sequence[LocalState], cpu: int, before: LocalState, read: Read
    ) -> Violation | None:
        """See `Harness.check_step`."""
        if now[cpu].phase == "returned" and before.phase != "returned":
            violation = self._went_on_early(now, read)
            if violation is not None:
                return violation
        return self.check_stacks(now, cpu, before)

    def _went_on_early(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        """Check the APs when ap_wait has just returned."""
        for ap in now[1:]:
            if ap.left_boot_stack or ap.number:
                continue
            if ap.phase == "begin":
                what = msg("the BSP goes on while CPU {cpu} has not come yet", cpu=ap.cpu)
            elif ap.passed_lock:
                what = msg("the BSP goes on while CPU {cpu} is on the boot stack", cpu=ap.cpu)
            else:
                what = msg(
                    "the BSP goes on while CPU {cpu} waits before the boot stack", cpu=ap.cpu
                )
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

    def check_end(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        """See `Harness.check_end`."""
        count = read(self.count, 4)
        if all(ap.phase == "done" for ap in now[1:]) and count != self.aps:
            what = msg(
                "num_of_processors is {count}, and {aps} APs have come", count=count, aps=self.aps
            )
            return Violation("count-wrong", what)
        return None
