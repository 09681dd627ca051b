"""Steps that are not written yet: at which TODO a CPU stopped."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vmmlab.base.message import msg
from vmmlab.failure import Failure
from vmmlab.observe.cpu import CpuRecord
from vmmlab.observe.observation import Observation


def stopped_at_todo(boot: Observation, cpus: Sequence[CpuRecord] | None = None) -> Failure | None:
    """Return the first TODO that a CPU ran into, if one did, and not one of a later step.

    Args:
        boot: the boot.
        cpus: the CPUs to look at; all of them if None.
    """
    for cpu in cpus if cpus is not None else boot.cpus:
        hit = boot.first("vmm_todo", cpu.index)
        step = hit.text if hit else _step_of_label(cpu)
        if step and step not in boot.later:
            return _not_written(cpu, step, _printed(boot, step))
    return None


def _printed(boot: Observation, step: str) -> str:
    """Return the file and line of the TODO that a CPU has printed; "" if there are none."""
    line = rf"^TODO\({re.escape(step)}\) in (lab\d+/\w+\.\w+:\d+)\D"
    said = re.search(line, boot.serial, re.MULTILINE)
    return said[1] if said else ""


def _not_written(cpu: CpuRecord, step: str, printed: str) -> Failure:
    place = cpu.end_place
    at = (place.lab_source if "todo" in place.symbol else "") or printed
    return Failure(
        "not-written-yet",
        cpu=cpu.index,
        place=f"TODO({step})",
        expected=msg("code instead of the TODO"),
        observed=msg("{cpu} stopped at TODO({step}), in {line}", cpu=cpu.name, step=step, line=at)
        if at
        else msg("{cpu} stopped at TODO({step})", cpu=cpu.name, step=step),
        next=msg(
            "Write what the comment before {line} says. If you have done that, delete that "
            "line: it stops the CPU.",
            line=at,
        )
        if at
        else msg(
            "Search your files for {step}: the comment there says what to write. If you "
            "have done that, delete the vmm_todo or VMM_TODO below it: it stops the CPU.",
            step=step,
        ),
        step=step,
    )


def _step_of_label(cpu: CpuRecord) -> str:
    """Return the step of the label that a CPU in assembly stopped at (boot/todo.S), "" if none."""
    label = cpu.end_place.symbol.partition("+")[0]
    return label.removeprefix("todo_").replace("_", ".") if label.startswith("todo_lab") else ""
