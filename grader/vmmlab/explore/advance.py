"""Runs one CPU on to its next action: an access to memory that may be shared, or an event.

What the CPU does before that does not affect the other CPUs. It ends as "wrong" here only after a
fatal action; the harness judges whether an action is right.
"""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.explore.context import GS_BASE, RAX, Context
from vmmlab.explore.emulator import PRIVATE_LIMIT, Emulator, MemoryAccess, StepResult, Stop
from vmmlab.explore.instructions import InstructionInfo
from vmmlab.explore.localstate import Action, ActionKind, LocalState, LocalStates, returning
from vmmlab.explore.ownership import expose, foreign_accesses, on_current_stack, own_blocks
from vmmlab.explore.program import MARKS, SLOT, Program, Target

# Given functions that execute atomic or serialising instructions: all earlier stores are visible
# before they take effect.
_FENCING: Final = frozenset((
    "alloc", "printf", "vprintf", "usleep", "segment_init_ap", "vmm_ap_missing",
    "ap_first_missing", "panic",
))  # fmt: skip
# Given functions that take time and do nothing else, as far as the model knows.
_NO_EFFECT: Final = frozenset({"usleep"})


class Advance:
    """Finds the next action of a CPU and numbers the local state in which it waits to happen.

    Args:
        program: the image and its surroundings.
        emulator: runs its code.
        states: where local states are numbered.
    """

    def __init__(self, program: Program, emulator: Emulator, states: LocalStates) -> None:
        self._program = program
        self._emulator = emulator
        self._states = states
        self._fencing = _FENCING | program.declaration.stubs
        self._settled: dict[LocalState, int] = {}

    def settle(self, local: LocalState) -> int:
        """Return the number of the local state before the CPU's next action."""
        found = self._settled.get(local)
        if found is None:
            found = self._settled[local] = self._run_on(local)
        return found

    def _run_on(self, local: LocalState) -> int:
        context = local.context
        while True:
            if context.region and context.rsp < context.region.low:
                return self._below_stack(local._replace(context=context))
            context, stop = self._emulator.run(context)
            here = local._replace(context=context)
            if context.region and context.rsp < context.region.low:
                return self._below_stack(here)
            found = self._before_code(here, stop)
            if found is not None:
                return found
            instruction = self._program.instruction(context.rip)
            found = self._before_instruction(here, stop, instruction)
            if found is not None:
                return found
            # The run stopped as a precaution; see what the instruction really does.
            done = self._emulator.step(context)
            accesses = foreign_accesses(self._program, local.cpu, context.region, done)
            if accesses or done.fault:
                return self._before_access(here, done, accesses, alone=stop == "rsp")
            after = on_current_stack(self._program, local, done.context)
            if after.region != context.region:
                switch = Action("event", context.rip, alone=True, name="switch", context=after)
                return self._states.add(here, switch)
            if instruction.locked:  # an atomic instruction on the CPU's own stack is a fence, too
                return self._before_fence(here, after)
            context = after

    # --- stops -------------------------------------------------------------------------------

    def _before_code(self, local: LocalState, stop: Stop) -> int | None:
        """Return the number of a local state that no instruction follows, or None."""
        states = self._states
        if stop == "event":
            return self._before_event(local)
        if stop == "endless":
            return states.end(local, "endless")
        if stop == "long":
            what = msg(
                "a loop of more than {instructions} instructions", instructions=PRIVATE_LIMIT
            )
            return states.end(local, "unsupported", what=what)
        if stop == "halt":
            return states.end(local, "halted")
        if stop == "foreign":
            return self._outside_code(local)
        return None

    def _before_instruction(
        self, local: LocalState, stop: Stop, instruction: InstructionInfo
    ) -> int | None:
        """Return the number of a local state before an instruction that is not run, or None."""
        states, context = self._states, local.context
        if stop == "undefined":
            what = msg(
                "CPU {cpu} executes {instruction}, which causes an exception",
                cpu=local.cpu,
                instruction=instruction.text,
            )
            return states.end(local, "wrong", "cpu-died", what)
        if stop == "unsupported" and instruction.text in self._program.declaration.instructions:
            after = context.having(rip=context.rip + instruction.size)
            name = instruction.text
            event = Action("event", context.rip, alone=True, name=name, context=after)
            return states.add(local, event)
        if stop == "unsupported":
            return states.end(
                local,
                "unsupported",
                what=msg("the instruction {instruction}", instruction=instruction.text),
            )
        if stop == "cpuid":
            if context.regs[RAX] & 0xFFFF_FFFF != 1:
                return states.end(local, "unsupported", what=msg("cpuid with a leaf other than 1"))
            return self._before_fence(local, self._cpuid(local, instruction.size))
        if stop == "fence":
            return self._before_fence(local, context.having(rip=context.rip + instruction.size))
        if stop == "stack" and instruction.pushes:
            return self._no_room(local)
        return None

    def _before_fence(self, local: LocalState, after: Context) -> int:
        """Return the local state before an instruction that only waits for earlier stores."""
        event = Action("event", local.context.rip, fence=True, name="fence", context=after)
        return self._states.add(local, event)

    def _before_event(self, local: LocalState) -> int:
        rip = local.context.rip
        if rip in self._program.tracepoints:
            name = self._program.tracepoints[rip]
        elif rip >= MARKS and rip not in self._program.stubs:
            name = "return"
        else:
            name = self._program.stubs[rip]
        after = returning(local, 0).context if name in _NO_EFFECT else None
        event = Action("event", rip, fence=name in self._fencing, name=name, context=after)
        return self._states.add(local, event)

    def _cpuid(self, local: LocalState, size: int) -> Context:
        """Return the context after CPUID leaf 1.

        EBX bits 31-24 are the initial APIC id (Intel SDM volume 3, 8.4.5).
        """
        ebx = (self._program.apic_ids[local.cpu] & 0xFF) << 24  # the initial APIC id
        context = local.context
        return context.having(rip=context.rip + size, rax=0, rbx=ebx, rcx=0, rdx=0)

    # --- ends --------------------------------------------------------------------------------

    def _outside_code(self, local: LocalState) -> int:
        rip = local.context.rip
        if self._program.symbols.range_at(rip) is None:
            what = msg(
                "CPU {cpu} continues at {rip:#x}, where there is no code", cpu=local.cpu, rip=rip
            )
            return self._states.end(local, "wrong", "cpu-died", what)
        what = msg("given code: {place}", place=self._program.symbols.nearest(rip))
        return self._states.end(local, "unsupported", what=what)

    def _below_stack(self, local: LocalState) -> int:
        region = local.context.region
        assert region is not None
        if local.context.rsp < region.base:
            what = msg(
                "CPU {cpu} goes below the base of its stack: {stack}",
                cpu=local.cpu,
                stack=self._program.stack_name(region),
            )
            return self._states.end(local, "wrong", "stack-outside", what)
        return self._states.end(local, "unsupported", what=msg("more than 4096 bytes of stack"))

    def _no_room(self, local: LocalState) -> int:
        """End a CPU that pushes where it has no stack."""
        states, program, cpu = self._states, self._program, local.cpu
        rsp, region = local.context.rsp, local.context.region
        if region is not None:
            if rsp - 8 < region.base:
                what = msg(
                    "CPU {cpu} pushes below its stack, {stack}: RSP is its base",
                    cpu=cpu,
                    stack=program.stack_name(region),
                )
                return states.end(local, "wrong", "stack-outside", what)
            return states.end(local, "unsupported", what=msg("more than 4096 bytes of stack"))
        for base, size in own_blocks(program, local).items():
            if base + size < rsp <= base + SLOT:
                what = msg(
                    "the RSP of CPU {cpu} is {at:#x} bytes into a block of {size:#x}",
                    cpu=cpu,
                    at=rsp - base,
                    size=size,
                )
                return states.end(local, "wrong", "stack-outside", what)
        below = (rsp - 8) & (2**64 - 1)
        if program.classify(cpu, below, 8).kind == "fault":
            what = msg(
                "CPU {cpu} executes {instruction} without a stack: RSP is {rsp:#x}",
                cpu=cpu,
                instruction=program.instruction(local.context.rip).text,
                rsp=rsp,
            )
            return states.end(local, "wrong", "cpu-died", what)
        return states.end(local, "unsupported", what=msg("memory at {rsp:#x} as a stack", rsp=rsp))

    # --- accesses to memory that may be shared -----------------------------------------------

    def _before_access(
        self, local: LocalState, done: StepResult, accesses: list[MemoryAccess], *, alone: bool
    ) -> int:
        """Return the number of the local state before an instruction that accesses memory.

        Args:
            local: the CPU before the instruction.
            done: what the instruction did when it was tried.
            accesses: those to memory that may be shared.
            alone: the instruction also sets RSP.
        """
        program, context = self._program, local.context
        instruction = program.instruction(context.rip)
        targets = [program.classify(local.cpu, one.address, one.size) for one in accesses]
        found = self._not_possible(local, done, list(zip(accesses, targets, strict=True)))
        if found is not None:
            return found
        reads = {(one.address, one.size) for one in accesses if not one.write}
        writes = {(one.address, one.size) for one in accesses if one.write}
        if done.fault or len(reads) > 1 or len(writes) > 1:
            what = msg(
                "the instruction {instruction}, which accesses several shared places",
                instruction=instruction.text,
            )
            return self._states.end(local, "unsupported", what=done.fault or what)
        linear, size = next(iter(reads or writes))
        kind: ActionKind = "load" if not writes else "store" if not reads else "split"
        if kind == "split" and instruction.locked:
            kind = "rmw"
        store = kind == "store"
        window = any(target.window for target in targets)
        action = Action(
            kind,
            context.rip,
            program.classify(local.cpu, linear, size).address,
            size,
            next(one.value for one in accesses if one.write) if store else 0,
            linear,
            window=window,
            alone=alone or window,
            fence=kind == "rmw",
            context=on_current_stack(program, local, done.context) if store else None,
        )
        return self._states.add(local, action)

    def _not_possible(
        self, local: LocalState, done: StepResult, accesses: list[tuple[MemoryAccess, Target]]
    ) -> int | None:
        """End a CPU whose access faults, or that the model cannot follow; else return None."""
        states, program, cpu = self._states, self._program, local.cpu
        context = local.context
        instruction = program.instruction(context.rip)
        if done.unsupported:
            what = msg(
                "the instruction {instruction}: {fault}",
                instruction=instruction.text,
                fault=done.fault,
            )
            return states.end(local, "unsupported", what=what)
        if not accesses:
            what = msg(
                "CPU {cpu} executes {instruction}: {fault}",
                cpu=cpu,
                instruction=instruction.text,
                fault=done.fault,
            )
            return states.end(local, "wrong", "cpu-died", what)
        if context.regs[GS_BASE] == 0 and any(op.segment == "gs" for op in instruction.operands):
            what = msg("CPU {cpu} uses currentcpu before segment_init_ap has set it up", cpu=cpu)
            return states.end(local, "wrong", "currentcpu-too-early", what)
        for one, target in accesses:
            if target.kind == "fault":
                what = msg(
                    "CPU {cpu} executes {instruction} at {address:#x}: {why}",
                    cpu=cpu,
                    instruction=instruction.text,
                    address=one.address,
                    why=target.why,
                )
                return states.end(local, "wrong", "cpu-died", what)
            if target.kind == "stack":
                expose(program, target.address, one.size)
            if target.kind != "shared":
                return states.end(local, "unsupported", what=_not_in_model(one, target))
        return None


def _not_in_model(access: MemoryAccess, target: Target) -> Text:
    """Return what an access to memory that is not followed is called in a limit."""
    if target.kind == "rom":
        return msg("a store into code or constants")
    if target.kind == "stack" and not target.why:
        return msg("an access to the boot stack from another stack")
    return target.why or msg(
        "an access to {address:#x}, which is not in the model", address=access.address
    )
