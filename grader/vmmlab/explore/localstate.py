"""The local state of one CPU, and its next action.

"Local" as in model checking: the part of a state that belongs to one CPU. Plain data, and a table
that numbers it; nothing here runs code.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Literal, NamedTuple

from vmmlab.base.message import Text
from vmmlab.explore.context import GS_BASE, INDEX, RFLAGS, RIP, RSP, Context, StackRegion

Phase = Literal["begin", "run", "between", "done", "halted", "endless", "unsupported",
                "unfinished", "wrong"]  # fmt: skip
"""How far a CPU has come: "between" is outside code, but not at the end; "done" is the end."""

# Registers that a called function may change (System V AMD64 ABI 1.0, figure 3.4).
_SCRATCH: Final = ("rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
# Value of an undefined register, which no correct program uses by accident.
_UNDEFINED: Final = 0x5A5A_5A5A_0000_0000


class LocalState(NamedTuple):
    """Everything that belongs to one CPU.

    Attributes:
        cpu: 0 is the BSP.
        context: registers and stack.
        phase: how far the CPU has come, or how it ended.
        pending: address, size and value of the store in the second half of an instruction.
        allocs: sizes in bytes of the blocks that it got from alloc.
        stacks: base addresses of the blocks that it has had as stacks, in the order of the first
            time.
        impatient: it has left a waiting loop because it had counted many passes.
        notes: what the harness remembers about it, in a form of its own.
        reason: kind and sentence of an end that is wrong or not supported.
    """

    cpu: int
    context: Context
    phase: Phase
    pending: tuple[int, int, int] | None = None
    allocs: tuple[int, ...] = ()
    stacks: tuple[int, ...] = ()
    impatient: bool = False
    notes: Hashable = None
    reason: tuple[str, Text] = ("", "")


ActionKind = Literal["load", "store", "rmw", "split", "commit", "event", "end"]


class Action(NamedTuple):
    """The next action of a CPU.

    Attributes:
        kind: "rmw" is an atomic read-modify-write; "split" is the load of one that is not atomic,
            and "commit" its store; "end" is no action.
        rip: address of the instruction.
        address: of the shared memory, the same for all CPUs.
        size: in bytes.
        value: what "store" and "commit" write.
        linear: the address as the instruction computes it.
        window: the access goes through the mapping of the copy of the trampoline.
        alone: always a move of its own, whether or not others use the memory.
        fence: waits until all earlier stores of this CPU are visible.
        name: of an event.
        context: the CPU after "store", "commit" and the events "switch", "fence"
            and "usleep".
    """

    kind: ActionKind
    rip: int = 0
    address: int = 0
    size: int = 0
    value: int = 0
    linear: int = 0
    window: bool = False
    alone: bool = False
    fence: bool = False
    name: str = ""
    context: Context | None = None


class LocalStates:
    """Numbers every local state and keeps its next action.

    Attributes:
        locals: the local states by number.
        actions: the next action of each.
    """

    def __init__(self) -> None:
        self.locals: list[LocalState] = []
        self.actions: list[Action] = []
        self._ids: dict[LocalState, int] = {}

    def add(self, local: LocalState, action: Action) -> int:
        """Return the number of a local state; the action counts only when it is new."""
        found = self._ids.get(local)
        if found is None:
            found = self._ids[local] = len(self.locals)
            self.locals.append(local)
            self.actions.append(action)
        return found

    def end(self, local: LocalState, phase: Phase, kind: str = "", what: Text = "") -> int:
        """Return the number of a local state in which the CPU does nothing any more.

        Args:
            local: the CPU when it stops.
            phase: how it ends.
            kind: identifier of a violation, or "".
            what: the violation, or what the model cannot follow, in words.
        """
        if phase == "done":
            region = local.context.region
            local = local._replace(context=undefined_context()._replace(region=region))
        local = local._replace(phase=phase, pending=None, reason=(kind, what))
        return self.add(local, Action("end", rip=local.context.rip))


def undefined_context() -> Context:
    """Return a context before the first instruction: undefined registers, and no stack."""
    regs = [_UNDEFINED + 0x1111 * at for at in range(len(INDEX))]
    regs[RSP], regs[RFLAGS], regs[GS_BASE], regs[RIP] = 0, 2, 0, 0
    return Context(tuple(regs), None, b"")


def before_first_step(cpu: int, notes: Hashable = None) -> LocalState:
    """Return the local state of a CPU that has not begun.

    Args:
        cpu: 0 is the BSP.
        notes: what the harness remembers about it at first.
    """
    return LocalState(cpu, undefined_context(), "begin", notes=notes)


def entering(local: LocalState, function: int, stack: StackRegion, return_to: int) -> LocalState:
    """Return the CPU as it enters a function on a fresh stack.

    Args:
        local: the CPU before; its GS base stays.
        function: address of the function.
        stack: the stack, empty.
        return_to: the return address.
    """
    context = Context(undefined_context().regs, stack, return_to.to_bytes(8, "little"))
    context = context.having(rip=function, rsp=stack.top - 8, rbp=0)
    context = context.having(gs_base=local.context.regs[GS_BASE])
    return local._replace(context=context, phase="run")


def returning(local: LocalState, value: int) -> LocalState:
    """Return the CPU after a function that the model replaces: scratch registers are undefined.

    Args:
        local: the CPU at the first instruction of the function.
        value: the return value.
    """
    context = local.context
    back = int.from_bytes(context.stack[:8], "little")
    scratch = {name: _UNDEFINED + at for at, name in enumerate(_SCRATCH)}
    after = context.having(rip=back, rsp=context.rsp + 8, rax=value, rflags=2, **scratch)
    return local._replace(context=after._replace(stack=context.stack[8:]))
