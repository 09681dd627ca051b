"""Private memory of one CPU: its stack and its blocks from alloc. All else may be shared."""

from __future__ import annotations

from typing import Final

from vmmlab.explore.context import Context, StackRegion
from vmmlab.explore.emulator import MemoryAccess, StepResult
from vmmlab.explore.localstate import LocalState
from vmmlab.explore.program import ARENA, HEAP, SLOT, STACK_SIZE, STACKS, WORD, Program

# At most this many words of stacks are shared.
_MOST_EXPOSED: Final = 400


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
        if own and not program.is_exposed(one.address, one.size):
            continue
        if not one.write and program.classify(cpu, one.address, one.size).kind == "rom":
            continue
        if one not in found:
            found.append(one)
    return found


class StackExposed(Exception):
    """A CPU uses memory on the stack of another: the search must begin again and share it.

    Attributes:
        words: addresses of the words.
    """

    def __init__(self, words: frozenset[int]) -> None:
        super().__init__()
        self.words = words


def expose(program: Program, address: int, size: int) -> None:
    """Raise StackExposed for memory on a stack, unless it cannot be shared.

    The same words of all CPUs' stacks are shared at once, to begin again less often.
    """
    step, base, end = (0, 0, 0)
    if STACKS <= address < STACKS + program.cpus * SLOT:
        step, base, end = SLOT, STACKS, STACK_SIZE - 8  # not the harness's return address
    elif HEAP <= address < HEAP + program.cpus * ARENA:
        step, base, end = ARENA, HEAP, ARENA
    elif not program.boot_low <= address < program.boot_top:
        return
    if (step and (address - base) % step + size > end) or len(program.exposed) > _MOST_EXPOSED:
        return
    words = {address & -WORD, (address + size - 1) & -WORD}
    if step:
        offsets = {(one - base) % step for one in words}
        words = {base + cpu * step + one for cpu in range(program.cpus) for one in offsets}
    raise StackExposed(frozenset(words))
