"""The recorded steps of CPUs as data for the slider of the HTML report.

Registers are written as what changed since the step before, instructions once each, so that the
steps of sixteen CPUs are small. Code of prebuilt labs is not shown: it is made from a solution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vmmlab.base.message import msg
from vmmlab.base.text import clean_line
from vmmlab.i18n.translate import Reader
from vmmlab.observe.cpu import CpuRecord, CpuState, TrampolineStep
from vmmlab.observe.observation import Observation
from vmmlab.x86.decode import as_intel, as_text

REGISTERS: Final = (
    *("cs", "rip", "rsp", "rbp", "rax", "rsi", "rdi", "eflags"),
    *("cr0", "cr2", "cr3", "cr4", "efer", "gs_base"),
)
"""The registers that are shown, by their names in `CpuState`."""
STEPS_MOST: Final = 12_000
"""How many steps of all CPUs of a boot are shown."""


def replay(
    seen: Observation, lines: Mapping[str, Mapping[int, str]], say: Reader
) -> dict[str, Any]:
    """Return the steps of a boot; no CPU has any if none were recorded.

    Args:
        seen: the boot.
        lines: file → line → its text.
        say: the reader's language.
    """
    table = _Instructions(lines, say)
    cpus, left = [], STEPS_MOST
    for cpu in seen.cpus:
        steps = cpu.steps[:left]
        left -= len(steps)
        if steps:
            cpus.append(
                {
                    "cpu": cpu.index,
                    "name": cpu.name,
                    "steps": [_step(cpu, at, table) for at in range(len(steps))],
                }
            )
    return {"registers": REGISTERS, "instructions": table.rows, "cpus": cpus}


def _step(cpu: CpuRecord, at: int, table: _Instructions) -> list[Any]:
    """Return a step: its instruction, the mode, the registers that changed, and its memory."""
    step = cpu.steps[at]
    before = cpu.steps[at - 1].state if at else None
    changed = {
        number: f"{getattr(step.state, name):x}"
        for number, name in enumerate(REGISTERS)
        if before is None or getattr(before, name) != getattr(step.state, name)
    }
    return [table.number(step), step.state.mode, changed, _memory(step)]


def _memory(step: TrampolineStep) -> list[str]:
    told = []
    for touch in step.touches[:4]:
        where = "?" if touch.address is None else f"{touch.address:#x}"
        kind = "rw" if touch.reads and touch.writes else "w" if touch.writes else "r"
        told.append(f"{kind} {where}+{touch.size}")
    return told


class _Instructions:
    """Each instruction once: address, AT&T, Intel, place, file and line, source text.

    Args:
        lines: file → line → its text.
        say: the reader's language.
    """

    def __init__(self, lines: Mapping[str, Mapping[int, str]], say: Reader) -> None:
        self.rows: list[list[str]] = []
        self._numbers: dict[tuple[int, int, bytes], int] = {}
        self._lines = lines
        self._say = say

    def number(self, step: TrampolineStep) -> int:
        """Return the number of a step's instruction."""
        key = (step.state.pc, step.state.bits, step.code)
        if key not in self._numbers:
            self._numbers[key] = len(self.rows)
            self.rows.append(self._row(step))
        return self._numbers[key]

    def _row(self, step: TrampolineStep) -> list[str]:
        state, place = step.state, step.place
        if place is not None and place.owner == "prebuilt":
            hidden = self._say(msg("code of a lab that is not yours"))
            return [f"{state.pc:#x}", hidden, hidden, "", "", ""]
        att, intel = _texts(step.code, state)
        told = clean_line(step.text, 200)
        where = "" if place is None else clean_line(self._say(place.text), 200)
        source, line = "", ""
        if place is not None and place.file:
            source = clean_line(place.source, 200)
            line = clean_line(self._lines.get(place.file, {}).get(place.line, ""), 200)
        return [f"{state.pc:#x}", att or told, intel or told, where, source, line]


def _texts(code: bytes, state: CpuState) -> tuple[str, str]:
    return as_text(code, state.pc, state.bits), as_intel(code, state.pc, state.bits)
