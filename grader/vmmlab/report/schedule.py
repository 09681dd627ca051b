"""A counterexample of the explorer, step by step: rows for the slider, and who held what.

Here a step is a step of the model, so the order is exact and so is what each CPU holds after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from vmmlab.base.message import msg
from vmmlab.base.text import clean_line
from vmmlab.explore import Counterexample
from vmmlab.explore.exploration import number_text
from vmmlab.explore.text import access, cpu_name
from vmmlab.i18n.translate import Reader
from vmmlab.report.lanes import text_width

STEPS_MOST: Final = 400
_ROW: Final = 30
_TOP: Final = 24
_STEP: Final = 22


@dataclass(frozen=True, slots=True)
class Row:
    """A step as it is shown."""

    number: int
    cpu: str
    what: str
    where: str
    source: str
    instruction: str
    holds: str
    doomed: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """A counterexample as it is shown."""

    what: str
    expected: str
    rows: Sequence[Row]
    ends: Sequence[tuple[str, str, str]]
    values: Sequence[tuple[str, str]]
    svg: str
    cut: int


def schedule(found: Counterexample, say: Reader) -> Schedule:
    """Return a counterexample as it is shown.

    Args:
        found: from the Exploration.
        say: the reader's language.
    """
    steps = found.steps[:STEPS_MOST]
    rows = [
        Row(
            number=step.number,
            cpu=cpu_name(step.cpu),
            what=clean_line(say.label(", ").join([say(access(step)), *map(say, step.details)])),
            where=clean_line(step.place or step.function),
            source=clean_line(step.source, 200),
            instruction=clean_line(step.instruction, 200),
            holds=clean_line(
                say.label(", ").join(f"{_held(name, say)}: {cpu_name(c)}" for name, c in
                                     step.holds.items())
            ),
            doomed=found.doomed is not None and step.number > found.doomed,
        )
        for step in steps
    ]  # fmt: skip
    return Schedule(
        clean_line(say(found.what)),
        clean_line(say(found.expected)),
        rows,
        [
            (
                cpu_name(one.cpu),
                clean_line(say(one.doing)),
                clean_line(", ".join(filter(None, (one.place, one.function)))),
            )
            for one in found.cpus
        ],
        [(clean_line(name), number_text(value)) for name, value in found.values.items()],
        _svg(found, say),
        len(found.steps) - len(steps),
    )


def _held(name: str, say: Reader) -> str:
    return say(msg("boot stack")) if name == "boot stack" else name


def _svg(found: Counterexample, say: Reader) -> str:
    """Return a picture: a lane for each CPU, a column for each step, bars for what is held."""
    steps = found.steps[:STEPS_MOST]
    cpus = sorted({step.cpu for step in steps} | {one.cpu for one in found.cpus})
    names = sorted({name for step in steps for name in step.holds})
    start = 20 + max([text_width(cpu_name(cpu)) for cpu in cpus] or [0])
    width, height = start + _STEP * (len(steps) + 1), _TOP + _ROW * len(cpus) + 4
    title = escape(say(msg("Who took each step, and who held what")))
    parts = [
        '<svg class="schedule" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-labelledby="schedule-t" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}"><title id="schedule-t">{title}</title>'
    ]
    row_of = {cpu: _TOP + _ROW * (row + 0.5) for row, cpu in enumerate(cpus)}
    for cpu, y in row_of.items():
        parts.append(
            f'<text class="name" x="8" y="{y + 4:.0f}">{escape(cpu_name(cpu))}</text>'
            f'<line class="bar before" x1="{start:.0f}" x2="{width - 6:.0f}" y1="{y:.0f}" '
            f'y2="{y:.0f}"/>'
        )
    for at, step in enumerate(steps):
        x = start + _STEP * (at + 0.5)
        for name, holder in step.holds.items():
            if holder in row_of:
                y = row_of[holder] - 11 + 6 * (names.index(name) % 4)
                parts.append(
                    f'<rect class="held h{names.index(name) % 4}" data-step="{step.number}" '
                    f'data-held="{escape(name)}" data-cpu="{holder}" x="{x:.0f}" y="{y:.0f}" '
                    f'width="{_STEP}" height="5"><title>{escape(_held(name, say))}</title></rect>'
                )
    for at, step in enumerate(steps):
        x, y = start + _STEP * (at + 0.5), row_of[step.cpu]
        parts.append(
            f'<g class="turn" data-step="{step.number}" data-cpu="{step.cpu}">'
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="8"/>'
            f'<text text-anchor="middle" x="{x:.0f}" y="{y + 3.5:.1f}">{step.number}</text></g>'
        )
    return "".join([*parts, "</svg>"])
