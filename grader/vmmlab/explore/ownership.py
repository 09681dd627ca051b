"""Private memory of one CPU: its stack and its blocks from alloc. All else may be shared."""

from __future__ import annotations

from vmmlab.explore.emulator import Context, MemoryAccess, StepResult
from vmmlab.explore.localstate import LocalState
from vmmlab.explore.program import Program, StackRegion


def own_blocks(program: Program, local: LocalState) -> dict[int, int]:
    """Return the blocks that a CPU got from alloc: base address to size in bytes."""
    return {program.alloc_block(local.cpu, n): size for n, size in enumerate(local.allocs)}


def on_current_stack(program: Program, local: LocalState, context: Context) -> Context:
    """Return the context with the stack region that RSP now points into.

    Args:
        program: knows all stacks.
        local: the CPU before it came to this context.
        context: registers, with the region of the stack that the CPU was on.
    """
    region = context.region
    if region is not None and region.base <= context.rsp <= region.top:
        return context
    return context._replace(
        region=program.stack_at(context.rsp, own_blocks(program, local)), stack=b""
    )


def foreign_accesses(
    program: Program, cpu: int, region: StackRegion | None, done: StepResult
) -> list[MemoryAccess]:
    """Return the accesses of an instruction to memory other than its stack and constants."""
    found = []
    for one in [*done.accesses, *([done.bad_access] if done.bad_access else [])]:
        own = region and region.low <= one.address and one.address + one.size <= region.top
        if own:
            continue
        if not one.write and program.classify(cpu, one.address, one.size).kind == "rom":
            continue
        if one not in found:
            found.append(one)
    return found
