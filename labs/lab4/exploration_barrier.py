"""The scenarios in which all CPUs go through rounds of the barrier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from vmmlab.base.message import Text, msg
from vmmlab.explore.context import Context
from vmmlab.explore.harness import Effect, Ghost, Read, Repeated, Violation
from vmmlab.explore.localstate import (
    Action,
    LocalState,
    before_first_step,
    entering,
    undefined_context,
)
from vmmlab.explore.memory import Store
from vmmlab.explore.program import PCPU_APIC_ID, PCPU_CPUNUM, PCPU_SELF, PCPU_STACKADDR, RETURN_MARK
from vmmlab.explore.rounds import SEEN, LaterRounds

from .exploration_common import Handshake


class _Rounds(NamedTuple):
    """What the barrier's scenario remembers about one CPU.

    Attributes:
        entered: how many rounds it has entered.
        completed: how many rounds it has completed.
    """

    entered: int = 0
    completed: int = 0


class Barrier(Handshake):
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


class ManyCpus(Barrier):
    """More CPUs meet in the barrier than 64 bits or a table of 64 entries have room for.

    One of those for which there is no room comes to each round when no other CPU gets on.
    """

    name = "many CPUs"
    title = msg("barrier of many CPUs")
    cpus = 67
    buffers = False
    rounds = 2
    one_order = True
    late: ClassVar[int | None] = 65

    def stays_away(self, local: LocalState) -> bool:
        """See `Harness.stays_away`: the late one, before each round."""
        return local.cpu == self.late and local.phase == "between"

    def repeated(self) -> Repeated:
        """See `Harness.repeated`: all CPUs have been counted when the first one calls."""
        addr = self.program.symbols.addr
        return Repeated(
            addr("sync_all_processors"),
            self.rounds,
            tuple(self.program.pcpu(cpu) for cpu in range(self.cpus)),
            ((self.count, 4, self.aps), (addr("ap_started"), 1, 1)),
            late=self.late,
        )


class MoreCpus(ManyCpus):
    """More CPUs meet in the barrier than a byte can count."""

    name = "more CPUs"
    title = msg("barrier of more CPUs than a byte can count")
    cpus = 261
    late = 258


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
    late = None
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
