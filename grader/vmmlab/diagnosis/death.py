"""What killed an AP in the trampoline, and what the explainers ask of its steps."""

from __future__ import annotations

from dataclasses import dataclass

from vmmlab.base.message import Text
from vmmlab.observe.cpu import CpuRecord, TrampolineStep
from vmmlab.observe.observation import Observation
from vmmlab.x86.registers import CR0_PE


@dataclass(frozen=True, slots=True)
class Death:
    """What killed an AP.

    Args:
        cause: identifier of the cause.
        what: what happened, as part of a sentence.
        look: the next thing to look at; "" leaves it to causes.yml.
        step: the instruction that contains the mistake, if it is not the last one.
        cpu: the CPU that executed it, if it is another one.
        place: where that is, if there is no `step`.
    """

    cause: str
    what: Text
    look: Text = ""
    step: TrampolineStep | None = None
    cpu: int | None = None
    place: Text = ""


def far_jumps(cpu: CpuRecord) -> list[TrampolineStep]:
    """Return the instructions that loaded CS in protected mode, in order."""
    return [step for step in cpu.steps if step.register == "cs" and step.state.cr0 & CR0_PE]


def in_protected_mode(cpu: CpuRecord) -> list[TrampolineStep]:
    """Return the instructions that were executed with CR0.PE set."""
    return [step for step in cpu.steps if step.state.cr0 & CR0_PE]


def faulted(boot: Observation, cpu: CpuRecord) -> bool:
    """Whether the last instruction of an AP raised an exception."""
    return cpu.faulted or boot.how_ended == "shutdown"
