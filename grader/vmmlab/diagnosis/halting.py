"""Which CPU stopped itself, or all others with it: it took an exception, or panicked."""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import msg
from vmmlab.diagnosis.bsp import exception_text
from vmmlab.failure import Failure
from vmmlab.observe.cpu import CpuRecord
from vmmlab.observe.observation import Observation

_HALTS_IN: Final = "nmi_handler"  # a CPU that another one's panic has stopped


def stopped_by_an_ap(boot: Observation, cpu: int) -> Failure | None:
    """Return the exception or the panic of an AP that kept a CPU from going on, if there is one.

    Args:
        boot: the boot.
        cpu: index of the CPU that did not come as far as it should.
    """
    if boot.panic is not None and boot.panic.cpu is not None:  # the grader's own
        return None
    ended = [ap for ap in boot.aps if gave_up(ap)]
    judged = next((one for one in boot.cpus if one.index == cpu), None)
    if judged in ended:
        ended = [judged]
    elif judged is None or not judged.end_place.is_in(_HALTS_IN):
        return None
    # One that halts in the handler is not the first to have panicked.
    first = min(ended, key=lambda ap: ap.end_place.is_in(_HALTS_IN), default=None)
    return crash(first) if first else None


def gave_up(cpu: CpuRecord) -> bool:
    """Whether a CPU has taken an exception or called panic: it does nothing more."""
    return cpu.exception is not None or cpu.panicked is not None


def crash(cpu: CpuRecord) -> Failure | None:
    """Return the exception or the panic at which the VMM ended on a CPU, if it did."""
    goes_on = msg("{cpu} goes on", cpu=cpu.name)
    if (taken := cpu.exception) is not None:
        return Failure(
            "exception-in-the-vmm",
            cpu=cpu.index,
            place=taken.place.text,
            expected=goes_on,
            observed=exception_text(taken),
            next=msg("Look at this instruction, and at what it reads or writes."),
            function=taken.place.lab_function,
        )
    if (called := cpu.panicked) is not None:
        return Failure(
            "vmm-panic",
            cpu=cpu.index,
            place=called.place.text,
            expected=goes_on,
            observed=msg("the VMM panicked: {text}", text=called.text),
            next=msg("Read the message of the panic: it says what was wrong."),
            function=called.place.lab_function,
        )
    return None
