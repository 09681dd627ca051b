"""Recognises a value read from memory where the address of that memory was meant."""

from __future__ import annotations

from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.diagnosis.passage import at
from vmmlab.failure import Failure
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuRecord, TrampolineStep
from vmmlab.observe.observation import Observation

FLAGS_OF_CR3: Final = 0xFFF


def other_tables(boot: Observation, cpu: CpuRecord) -> bool:
    """Whether what an AP has loaded into CR3 last is not the address of ap_pagetable."""
    loaded = [step.value or 0 for step in cpu.steps if step.register == "cr3"]
    return bool(loaded) and loaded[-1] & ~FLAGS_OF_CR3 != _page_tables(boot)


def _page_tables(boot: Observation) -> int:
    return boot.symbols.get("ap_pagetable", 0) - VMM_BASE


def read_in_place(boot: Observation, cpu: CpuRecord, label: str) -> TrampolineStep | None:
    """Return the first instruction of an AP that loads what is in memory at a label of the VMM.

    Args:
        boot: the boot.
        cpu: the AP.
        label: such as "ap_entry".
    """
    if label not in boot.symbols:
        return None
    physical = boot.symbols[label] - VMM_BASE
    for step in cpu.steps:
        met = any(touch.reads and touch.address == physical for touch in step.touches)
        if met and step.text.startswith(("mov", "jmp")):
            return step
    return None


def told(boot: Observation, step: TrampolineStep, label: str) -> Text:
    """Return in words that an instruction has read at a label."""
    linked = boot.symbols[label]
    return msg(
        "`{instruction}` reads what is in memory at {label}, not the address of {label}, "
        "{address:#x}",
        instruction=step.text,
        label=label,
        address=linked - VMM_BASE if label == "ap_pagetable" else linked,
    )


def page_tables_read(boot: Observation, cpu: CpuRecord) -> Failure | None:
    """Return that CR3 of an AP at ap_entry was read from the page tables."""
    step = read_in_place(boot, cpu, "ap_pagetable")
    if step is None or not other_tables(boot, cpu):
        return None
    return Failure(
        "address-read-from-memory",
        cpu=cpu.index,
        place=at(step),
        expected=msg("CR3 = {right:#x}", right=_page_tables(boot)),
        observed=told(boot, step, "ap_pagetable"),
    )
