"""Barrier: all CPUs meet in sync_all_processors, three times in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmmlab.base.message import msg
from vmmlab.explore.emulator import Context
from vmmlab.explore.given import GivenCode
from vmmlab.explore.harness import Effect, Ghost, Read, Violation
from vmmlab.explore.localstate import (
    Action,
    LocalState,
    before_first_step,
    entering,
    undefined_context,
)
from vmmlab.explore.memory import Store
from vmmlab.explore.program import (
    PCPU_APIC_ID,
    PCPU_CPUNUM,
    PCPU_SELF,
    PCPU_STACKADDR,
    RETURN_MARK,
)

ROUNDS: Final = 3
"""Rounds of the barrier. A fault may show only one round after the one that causes it."""


class Barrier(GivenCode):
    """The harness around `sync_all_processors`."""

    name = "barrier"

    def initial_writes(self) -> Sequence[Store]:
        """Return stores that give every CPU its per-CPU data; no CPU has been counted."""
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
        return (*super().initial_writes(), (program.procs, 4, self.aps), *fields)

    def start(self, cpu: int) -> int:
        """Return the local state of a CPU that has not been counted."""
        local = before_first_step(cpu)._replace(context=self._idle_context(cpu), number=cpu)
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

    def reads(self, local: LocalState, action: Action) -> tuple[int, int] | None:
        """See `Harness.reads`: rounds are counted in local states, not in memory."""
        return None

    # --- events ------------------------------------------------------------------------------

    def _idle_context(self, cpu: int) -> Context:
        """Return the context of a CPU outside the barrier: its GS base, and an empty stack."""
        context = undefined_context().having(gs_base=self.program.pcpu(cpu))
        return context._replace(region=self.program.harness_stack(cpu))

    def _between_rounds(self, local: LocalState) -> int:
        local = local._replace(context=self._idle_context(local.cpu), phase="call")
        return self.model.waiting(local, Action("event", alone=True, name="call"))

    def _call_barrier(self, local: LocalState, ghost: Ghost) -> Effect:
        local = local._replace(entered=local.entered + 1)
        function = self.program.symbols.addr("sync_all_processors")
        stack = self.program.harness_stack(local.cpu)
        called = self.model.settle(entering(local, function, stack, RETURN_MARK))
        return Effect(
            called,
            ghost,
            note=msg("calls sync_all_processors, round {number}", number=local.entered),
        )

    def _complete_round(self, local: LocalState, ghost: Ghost) -> Effect:
        local = local._replace(completed=local.completed + 1)
        last = local.completed == ROUNDS
        after = self.model.end(local, "done") if last else self._between_rounds(local)
        return Effect(after, ghost, note=msg("comes out of round {number}", number=local.completed))

    # --- invariants --------------------------------------------------------------------------

    def check_step(
        self, now: Sequence[LocalState], cpu: int, before: LocalState, read: Read
    ) -> Violation | None:
        """See `Harness.check_step`."""
        last = now[cpu].completed
        if last > before.completed:
            for other in now:
                if other.entered < last:
                    what = msg(
                        "CPU {cpu} leaves round {number} before CPU {other} has come to it",
                        cpu=cpu,
                        number=last,
                        other=other.cpu,
                    )
                    return Violation("barrier-passed-early", what)
        return self.check_stacks(now, cpu, before)

    def check_end(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        """See `Harness.check_end`: nothing more has to hold."""
        return None
