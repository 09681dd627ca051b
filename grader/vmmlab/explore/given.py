"""Models of given functions, and everything else that harnesses have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from vmmlab.base.message import Text, msg
from vmmlab.explore.context import RDI, RSI, Context
from vmmlab.explore.cpumodel import CpuModel
from vmmlab.explore.harness import Effect, Ghost, Read, Repeated, Violation
from vmmlab.explore.localstate import Action, LocalState, returning
from vmmlab.explore.memory import Store
from vmmlab.explore.program import SLOTS, Program

# Calls of no interest in a counterexample.
_NOT_SHOWN: Final = frozenset((
    "acpi_num_of_processors", "ap_first_missing", "apic_id", "printf", "vprintf",
))  # fmt: skip
# Largest size in bytes that alloc gives in the model.
_LARGEST_BLOCK: Final = 0x10000
# What ap_first_missing returns: the id of no CPU of the model, but not NO_APIC_ID (include/apic.h).
_MISSING_APIC_ID: Final = 0xFF
# Sizes in bytes of what acpi_pm_timer stores: the port and the mask.
_PORT_BYTES: Final = 2
_MASK_BYTES: Final = 4


class GivenCode:
    """Base class of the harnesses.

    Args:
        model: the CPUs.

    Attributes:
        model: as given.
        program: the image and its surroundings.
        aps: number of APs.
    """

    name: ClassVar[str]
    title: ClassVar[Text]
    cpus: ClassVar[int] = 3
    buffers: ClassVar[bool] = True
    one_order: ClassVar[bool] = False

    def __init__(self, model: CpuModel) -> None:
        self.model = model
        self.program: Program = model.program
        self.aps = self.cpus - 1
        self._calls: dict[tuple[int, Ghost], Effect | None] = {}

    # --- what a scenario may leave as it is; see `Harness` -----------------------------------

    def initial_ghost(self) -> Ghost:
        """See `Harness.initial_ghost`: no facts."""
        return None

    def initial_writes(self) -> Sequence[Store]:
        """See `Harness.initial_writes`: memory as in the image."""
        return ()

    def shared(self) -> Sequence[tuple[int, int]]:
        """See `Harness.shared`: only the variables that the lab declares."""
        return ()

    def reads(self, local: LocalState, action: Action) -> tuple[int, int] | None:
        """See `Harness.reads`: no event depends on memory."""
        return None

    def forbidden(self, local: LocalState, action: Action, ghost: Ghost) -> Violation | None:
        """See `Harness.forbidden`: every access is allowed."""
        return None

    def stays_away(self, local: LocalState) -> bool:
        """See `Harness.stays_away`: no CPU does."""
        return False

    def yields(self, before: LocalState, now: LocalState, read: Read, read_now: Read) -> bool:
        """See `Harness.yields`: a CPU runs until it waits."""
        return False

    def repeated(self) -> Repeated | None:
        """See `Harness.repeated`: the CPUs do more."""
        return None

    def outcome(self, local: LocalState) -> Text:
        """See `Harness.outcome`: nothing beside the phase."""
        return ""

    def check_step(
        self, now: Sequence[LocalState], cpu: int, before: LocalState, read: Read
    ) -> Violation | None:
        """See `Harness.check_step`: every CPU has a stack of its own."""
        return self.check_stacks(now, cpu, before)

    def check_end(self, now: Sequence[LocalState], read: Read) -> Violation | None:
        """See `Harness.check_end`: nothing more has to hold."""
        return None

    def sleeping(self, local: LocalState, ghost: Ghost) -> Ghost:
        """Return the ghost after a CPU has called usleep."""
        return ghost

    def check_stacks(
        self, now: Sequence[LocalState], cpu: int, before: LocalState
    ) -> Violation | None:
        """Check that a CPU has not come to a stack that another CPU is on.

        Args:
            now: the local states of all CPUs.
            cpu: the CPU that has moved.
            before: its local state before the move.
        """
        region, old = now[cpu].context.region, before.context.region
        if region is None or (old is not None and old.block == region.block):
            return None
        for other in now:
            there = other.context.region
            if other.cpu == cpu or there is None or there.block != region.block:
                continue
            if region.block == self.program.boot_low:
                what = msg(
                    "CPU {cpu} reaches the boot stack while CPU {other} is on it",
                    cpu=cpu,
                    other=other.cpu,
                )
                return Violation("boot-stack-shared", what)
            what = msg(
                "CPU {cpu} is on the same stack as CPU {other}: {stack}",
                cpu=cpu,
                other=other.cpu,
                stack=self.program.stack_name(region),
            )
            return Violation("stack-shared", what)
        return None

    # --- events ------------------------------------------------------------------------------

    def violated(self, local: LocalState, violation: Violation, ghost: Ghost, note: Text) -> Effect:
        """Return the effect of an event that is wrong whatever the other CPUs do."""
        return Effect(self.model.end(local, "wrong", *violation), ghost, note=note)

    def common(self, lid: int, action: Action, ghost: Ghost) -> Effect:
        """Return what an event does that means the same in every harness.

        Args:
            lid: number of the CPU's local state before the event.
            action: the event.
            ghost: the ghost before it.
        """
        key = (lid, ghost)
        if key not in self._calls:
            self._calls[key] = self._call(lid, action, ghost)
        return self._calls[key] or self._misplaced(lid, action, ghost)

    def _call(self, lid: int, action: Action, ghost: Ghost) -> Effect | None:
        model, local = self.model, self.model.locals[lid]
        if action.name in ("switch", "fence"):
            after = model.after(lid)
            switches = action.name == "switch"
            return Effect(after, ghost, note=self._moved(after) if switches else "")
        if action.name == "vmm_parked":
            return Effect(model.end(local, "halted"), ghost, note="vmm_parked ()")
        if action.name in ("vmm_todo", "todo64"):  # both have the step in RDI
            text = self.program.string_at(local.context.regs[RDI]) or b"?"
            what = f"TODO({text.decode(errors='replace')})"
            return Effect(model.end(local, "unfinished", what=what), ghost)
        if action.name == "alloc":
            return self._alloc(local, ghost)
        if action.name == "acpi_pm_timer":
            return self._acpi_pm_timer(local, ghost)
        if action.name == "usleep":
            ghost = self.sleeping(local, ghost)
            return Effect(model.after(lid), ghost, note="usleep ()")
        value = self._returned_value(local, action.name)
        if value is None:
            return None
        note = "" if action.name in _NOT_SHOWN else f"{action.name} ()"
        return Effect(model.settle(returning(local, value)), ghost, note=note)

    def _moved(self, lid: int) -> Text:
        """Return what a change to the stack of this local state is called."""
        region = self.model.locals[lid].context.region
        if region is None:
            return msg("switches to an address that is in no stack")
        return msg("switches to {stack}", stack=self.program.stack_name(region))

    def _returned_value(self, local: LocalState, name: str) -> int | None:
        """Return what a given function returns that has no other effect, None for any other."""
        program = self.program
        if name == "acpi_apic_id":
            number = local.context.regs[RDI] & 0xFFFF_FFFF
            return program.apic_ids[number] if number < self.cpus else 0
        return {
            "printf": 0,
            "vprintf": 0,
            "acpi_num_of_processors": self.cpus,
            "apic_id": program.apic_ids[local.cpu],
            "ap_first_missing": _MISSING_APIC_ID,
        }.get(name)

    def _alloc(self, local: LocalState, ghost: Ghost) -> Effect:
        size = local.context.regs[RDI] & 0xFFFF_FFFF
        if len(local.allocs) == SLOTS or size > _LARGEST_BLOCK:
            end = self.model.end(local, "unsupported", what=f"alloc ({size})")
            return Effect(end, ghost)
        block = self.program.alloc_block(local.cpu, len(local.allocs))
        local = local._replace(allocs=(*local.allocs, size))
        after = self.model.settle(returning(local, block))
        return Effect(after, ghost, note=f"alloc ({size:#x}) = {block:#x}")

    def _acpi_pm_timer(self, local: LocalState, ghost: Ghost) -> Effect:
        """Report that there is no timer: port and mask are 0."""
        regs = local.context.regs
        context = self._zeroed(local.context, ((regs[RDI], _PORT_BYTES), (regs[RSI], _MASK_BYTES)))
        if context is None:
            what = msg("acpi_pm_timer with pointers to shared variables")
            return Effect(self.model.end(local, "unsupported", what=what), ghost)
        return Effect(self.model.settle(returning(local._replace(context=context), 0)), ghost)

    def _lost_patience(self, local: LocalState, ghost: Ghost) -> Effect:
        """End a CPU that reports that others are late.

        The model does not know time, so it cannot tell whether they may be that late.
        """
        what = msg("a panic of a CPU that has waited for many passes of a loop")
        return Effect(self.model.end(local, "unsupported", what=what), ghost)

    @staticmethod
    def _zeroed(context: Context, variables: Sequence[tuple[int, int]]) -> Context | None:
        """Return the context with these variables set to 0, or None if one is not on its stack."""
        stack = bytearray(context.stack)
        for pointer, size in variables:
            at = pointer - context.rsp
            if not 0 <= at <= len(stack) - size:
                return None
            stack[at : at + size] = bytes(size)
        return context._replace(stack=bytes(stack))

    def _misplaced(self, lid: int, action: Action, ghost: Ghost) -> Effect:
        """Return the effect of a given function that is not called in this harness."""
        local = self.model.locals[lid]
        if action.name == "panic":
            text = self.program.string_at(local.context.regs[RDI]) or b""
            if local.impatient:
                return self._lost_patience(local, ghost)
            what = msg(
                'CPU {cpu} panics: "{text}"', cpu=local.cpu, text=text.decode(errors="replace")
            )
            return self.violated(local, Violation("panic", what), ghost, msg("panics"))
        what = msg("a call of {function} here", function=action.name)
        return Effect(self.model.end(local, "unsupported", what=what), ghost)
