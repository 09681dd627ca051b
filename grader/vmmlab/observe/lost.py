"""Makes the Observation of a boot whose machine no longer answers, or never started.

What was recorded until then stays evidence; nothing here accesses the machine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vmmlab.base.errors import InfraError
from vmmlab.observe.cpu import CpuRecord, CpuState
from vmmlab.observe.evidence import Lost
from vmmlab.observe.log import CpuLog, Log
from vmmlab.observe.observation import HowEnded, Observation
from vmmlab.observe.record import assembled, read_outside, written_down
from vmmlab.observe.session import Session
from vmmlab.observe.view import Inputs, SymbolTable

_RESET: Final = CpuState(
    pc=0xFFFFFFF0, bits=16, cs=0xF000, rip=0xFFF0, rsp=0, rbp=0, rdi=0, rsi=0, rax=0, eflags=2,
    cr0=0x60000010, cr2=0, cr3=0, cr4=0, efer=0, gs_base=0,
)  # fmt: skip
"""Registers after a reset (Intel SDM vol. 3, table 9-1), for a CPU that was never seen."""


class BootLost(InfraError):
    """The machine of a boot was lost. Another boot has to show whose fault that is.

    Args:
        error: what went wrong.
        seen: what was recorded until then.
    """

    def __init__(self, error: InfraError, seen: Observation) -> None:
        super().__init__(
            error.message, expected=error.expected, found=error.found, next_step=error.next_step
        )
        self.seen = seen


def not_booted(
    inputs: Inputs, symbols: SymbolTable, lost: Lost, how: HowEnded = "lost"
) -> Observation:
    """Return the Observation of a boot that did not begin.

    Args:
        inputs: what it would have been given.
        symbols: of the image.
        lost: why.
        how: "lost", or "timeout" if the time was up.
    """
    log = Log([CpuLog() for _ in range(inputs.cpus)])
    cpus = tuple(written_down(cpu, one, _RESET) for cpu, one in enumerate(log.cpus))
    return replace(assembled(inputs, symbols, log, cpus, how), lost=lost)


def lost_boot(session: Session, lost: Lost, how: HowEnded, wall_s: float) -> Observation:
    """Return the Observation of a boot whose machine was lost.

    Args:
        session: the boot; its machine is not accessed.
        lost: how it was lost.
        how: "lost", or "timeout" if there was no answer when the time was up.
        wall_s: how long the boot took, in seconds.
    """
    cpus = tuple(_last_seen(session, cpu) for cpu in range(session.inputs.cpus))
    made = assembled(session.inputs, session.view.symbols, session.log, cpus, how)
    return replace(made, **read_outside(session), lost=lost, wall_s=wall_s)


def _last_seen(session: Session, cpu: int) -> CpuRecord:
    log, view = session.log.cpus[cpu], session.view
    states = [*log.milestones.values(), *(step.state for step in log.steps[-1:])]
    states += [hit.state for hit in session.log.hits if hit.cpu == cpu]
    if not states:
        return written_down(cpu, log, _RESET)
    place = log.died_at or view.place(states[-1])
    return replace(written_down(cpu, log, states[-1]), end_place=place)
