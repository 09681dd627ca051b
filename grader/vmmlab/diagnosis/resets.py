"""Finds the instruction that reset a machine in which no CPU had a triple fault."""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import msg
from vmmlab.failure import Failure
from vmmlab.observe.cpu import CpuRecord
from vmmlab.observe.observation import Observation

_A20_GATE: Final = "outb %al, $0x92"  # bit 0: reset; bit 1: A20
_KEYBOARD: Final = "outb %al, $0x64"  # 0xf0 to 0xff pulse the lines whose bits are 0
_PULSE_RESET: Final = 0xF0


def reset_by_request(boot: Observation) -> bool:
    """Whether the machine was reset, and not by a triple fault."""
    faulted = any(cpu.triple_fault is not None or cpu.faulted for cpu in boot.cpus)
    return boot.how_ended == "shutdown" and not faulted


def reset_by_ap(cpu: CpuRecord) -> Failure | None:
    """Return that an AP has asked for a reset in the trampoline, whether or not it came at once.

    Args:
        cpu: the AP, with its steps.
    """
    for step in cpu.steps:
        low = step.state.rax & 0xFF
        by_a20 = step.text == _A20_GATE and low & 1
        by_keyboard = step.text == _KEYBOARD and low & 0xF1 == _PULSE_RESET
        if not by_a20 and not by_keyboard:
            continue
        return Failure(
            "machine-reset-by-port",
            cpu=cpu.index,
            place=step.place.text if step.place else "",
            expected=msg("an AP goes on to ap_entry, and uses no port on its way"),
            observed=msg(
                "`{instruction}` writes {value:#x}, which resets the machine",
                instruction=step.text,
                value=low,
            ),
            next=msg("An AP needs no port on its way: take it out."),
        )
    return None


def reset_by_bsp(boot: Observation) -> Failure | None:
    """Return that the student's code on the BSP has reset the machine, if it is still there."""
    place = boot.bsp.end_place
    if not boot.bsp.after_out or not reset_by_request(boot) or not place.in_lab:
        return None
    return Failure(
        "machine-reset-by-port",
        cpu=0,
        place=place.text,
        expected=msg("the BSP goes on"),
        observed=msg(
            "the machine was reset right before {place}, and no CPU had a triple fault: a write to "
            "a port, such as 0x64, 0x92 or 0xcf9, asks for that",
            place=place.text,
        ),
        next=msg("Which port does the line that is named write to, and what is bit 0 for there?"),
        function=place.lab_function,
    )
