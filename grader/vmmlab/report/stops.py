"""The stops of a boot in order, and who held the boot stack: a picture and rows.

A CPU stops at each place that is watched, so the stops of all CPUs have one order. A CPU has the
boot stack from apinitproc0 to apinitproc1, or to where it released the lock, if a probe watched
that. (It stops at the instruction that takes the lock before it executes that, so the lock is not
yet its own there.) Two bars side by side are two CPUs on one stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from vmmlab.base.message import msg
from vmmlab.base.text import clean_line
from vmmlab.i18n.translate import Reader
from vmmlab.observe.observation import Hit, Observation
from vmmlab.probes.placewords import place_words
from vmmlab.report.lanes import text_width

SHOWN_MOST: Final = 120
"""How many stops are drawn."""
CPUS_MOST: Final = 16
"""With more CPUs there is no picture."""

_TAKEN: Final = "apinitproc0"
_ROW: Final = 26
_TOP: Final = 26
_STEP: Final = 15
_TICK: Final = 10  # stops between two numbers of the axis


@dataclass(frozen=True, slots=True)
class Hold:
    """A CPU that had the boot stack.

    Args:
        cpu: the CPU.
        start: the stop with which it began.
        end: the stop with which it ended; None if it had it until the end.
    """

    cpu: int
    start: int
    end: int | None

    def overlaps(self, other: Hold) -> bool:
        """Whether both CPUs had it at the same time."""
        return (
            self.cpu != other.cpu
            and (other.end is None or self.start < other.end)
            and (self.end is None or other.start < self.end)
        )


def holds(hits: Sequence[Hit]) -> list[Hold]:
    """Return who had the boot stack, in the order of the stops.

    A release that was watched ends a hold; without one, the switch to the CPU's own stack does.
    """
    found: list[Hold] = []
    open_: dict[int, tuple[int, int | None]] = {}
    for hit in hits:
        if hit.place == _TAKEN and hit.cpu not in open_:
            open_[hit.cpu] = (hit.order, None)
        elif hit.place == "apinitproc1" and hit.cpu in open_:
            open_[hit.cpu] = (open_[hit.cpu][0], hit.order)
        elif hit.place == "lock-released" and hit.cpu in open_:
            found.append(Hold(hit.cpu, open_.pop(hit.cpu)[0], hit.order))
    found += [Hold(cpu, start, end) for cpu, (start, end) in open_.items()]
    return sorted(found, key=lambda one: one.start)


def shared(found: Sequence[Hold]) -> list[tuple[Hold, Hold]]:
    """Return each two holds at the same time."""
    return [
        (one, other)
        for number, one in enumerate(found)
        for other in found[number + 1 :]
        if one.overlaps(other)
    ]


def svg(seen: Observation, say: Reader, name: str) -> str:
    """Return the picture; "" if there are too many CPUs or no stops.

    Args:
        seen: the boot.
        say: the reader's language.
        name: unique in the page.
    """
    hits = [hit for hit in seen.hits[:SHOWN_MOST] if 0 <= hit.cpu < len(seen.cpus)]
    if not hits or len(seen.cpus) > CPUS_MOST:
        return ""
    start = 10 + max(text_width(cpu.name) for cpu in seen.cpus) + 14
    place = {hit.order: start + _STEP * number for number, hit in enumerate(hits)}
    width, height = start + _STEP * len(hits) + 10, _TOP + _ROW * len(seen.cpus) + 6
    title = say(msg("The stops in their order, and who had the boot stack"))
    parts = [
        f'<svg class="stops" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-labelledby="{name}-t" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}"><title id="{name}-t">{escape(title)}</title>'
    ]
    for number, hit in enumerate(hits):
        if number % _TICK == 0:
            x = place[hit.order]
            parts.append(
                f'<text class="head" text-anchor="middle" x="{x:.0f}" y="14">{hit.order}</text>'
                f'<line class="grid" x1="{x:.0f}" x2="{x:.0f}" y1="{_TOP - 6}" y2="{height}"/>'
            )
    found = holds(seen.hits)
    bad = {one for pair in shared(found) for one in pair}
    for cpu in seen.cpus:
        y = _TOP + _ROW * (cpu.index + 0.5)
        parts.append(
            f'<text class="name" x="10" y="{y + 4:.0f}">{escape(cpu.name)}</text>'
            f'<line class="bar before" x1="{start - 6:.0f}" x2="{width - 8:.0f}" '
            f'y1="{y:.0f}" y2="{y:.0f}"/>'
        )
    parts += _bars([one for one in found if one.start in place], place, width, bad)
    for hit in hits:
        y = _TOP + _ROW * (hit.cpu + 0.5)
        told = escape(clean_line(f"{hit.order}: {place_words(hit.place, say)} {hit.text}", 120))
        parts.append(
            f'<circle class="stop-mark" data-order="{hit.order}" data-cpu="{hit.cpu}" '
            f'cx="{place[hit.order]:.0f}" cy="{y:.0f}" r="4"><title>{told}</title></circle>'
        )
    return "".join([*parts, "</svg>"])


def _bars(
    found: Sequence[Hold], place: dict[int, float], width: float, bad: set[Hold]
) -> Iterator[str]:
    for one in found:
        x = place[one.start]
        end = place.get(-1 if one.end is None else one.end, width - 10)
        y = _TOP + _ROW * (one.cpu + 0.5)
        wrong = " shared" if one in bad else ""
        yield (
            f'<rect class="hold{wrong}" data-cpu="{one.cpu}" data-start="{one.start}" '
            f'data-end="{"" if one.end is None else one.end}" x="{x:.0f}" y="{y - 8:.0f}" '
            f'width="{max(end - x, 4):.0f}" height="16" rx="3"/>'
        )
