"""The timeline of a boot as SVG: a lane for each CPU, a column for each milestone, arrows for IPIs.

Every text has a place of its own, so that labels cannot overlap: headings above the columns, names
left of the lanes, and how a CPU ended behind the end of its lane. What is drawn is also in `data-`
attributes, from which tests read the lanes again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from vmmlab.base.message import msg
from vmmlab.base.text import cells, clean_line
from vmmlab.i18n.translate import Reader
from vmmlab.report.timeline import Lane, Point, Signal, Timeline, short_name

ROW: Final = 26  # pixels, as all lengths here
HEAD: Final = 50
CELL: Final = 7.2  # width of a narrow character
_LEFT: Final = 10
_LINE: Final = 16  # height of a line of a heading
_GAP: Final = 18  # between columns
_COLUMN_LEAST: Final = 58
_MARK: Final = 5
_END_MOST: Final = 110  # characters of the text behind a lane
_NAME_MOST: Final = 28


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is.

    Args:
        names: where the names of the lanes begin.
        start: where the lanes begin.
        signals: the middle of each column of IPIs.
        columns: the middle of the column of each milestone.
        ends: where the last column ends.
        width: of the picture.
    """

    names: float
    start: float
    signals: tuple[float, ...]
    columns: dict[str, float]
    ends: float
    width: float
    heads: dict[str, tuple[str, ...]] = field(default_factory=dict)


def text_width(text: str) -> float:
    """Return an upper bound of the width of a text."""
    return cells(text) * CELL


def svg(
    line: Timeline,
    say: Reader,
    *,
    name: str = "timeline",
    right: Sequence[Lane] = (),
    right_signals: Sequence[Signal] = (),
) -> str:
    """Return the picture.

    Args:
        line: the boot.
        say: the reader's language.
        name: unique in the page; ids in the picture begin with it.
        right: the lanes of the reference in the same scenario, drawn below and aligned with them.
        right_signals: the IPIs of the reference; it has no column of its own for them.
    """
    ends = {id(lane): _end_text(lane, say) for lane in (*line.lanes, *right)}
    rows = [*line.lanes, *right]
    layout = _layout(line, rows, ends, say)
    height = HEAD + ROW * len(line.lanes) + (ROW * (len(right) + 1) if right else 0) + 8
    title = say(msg("Timeline: how far each CPU got"))
    told = say(msg("A lane for each CPU; the table below says the same in words."))
    parts = [
        f'<svg class="lanes" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-labelledby="{name}-t {name}-d" width="{layout.width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {layout.width:.0f} {height:.0f}">',
        f'<title id="{name}-t">{_text(title)}</title><desc id="{name}-d">{_text(told)}</desc>',
        *_heads(line, layout, height, say),
    ]
    for row, lane in enumerate(line.lanes):
        parts += _lane(lane, HEAD + ROW * (row + 0.5), layout, ends[id(lane)], "own")
    parts += _signals(line, layout)
    if right:
        top = HEAD + ROW * len(line.lanes)
        words = [one.name(say) for one in right_signals]
        title = _fitting(say(msg("The right run, for comparison")), words, layout.width - _LEFT)
        parts.append(
            f'<line class="rule" x1="0" x2="{layout.width:.0f}" y1="{top + 4:.1f}" '
            f'y2="{top + 4:.1f}"/>'
            f'<text class="head" x="{_LEFT}" y="{top + ROW * 0.75:.1f}">'
            f"{title}</text>"
        )
        for row, lane in enumerate(right, 1):
            parts += _lane(lane, top + ROW * (row + 0.5), layout, ends[id(lane)], "right")
    parts.append("</svg>")
    return "".join(parts)


def _fitting(title: str, words: Sequence[str], width: float) -> str:
    """Return a title and as many of the words behind it as there is room for."""
    for count in range(len(words), 0, -1):
        more = ["…"] if count < len(words) else []
        text = _text(" · ".join([title, *words[:count], *more]))
        if text_width(text) <= width:
            return text
    return _text(title)


def _text(text: str) -> str:
    return escape(clean_line(text, 200), quote=True)


def _end_text(lane: Lane, say: Reader) -> str:
    return clean_line(say(lane.why), _END_MOST)


def _name(lane: Lane) -> str:
    count = len(lane.cpus)
    name = clean_line(lane.name, _NAME_MOST)
    return f"{name} ({count})" if count > 1 else name


def _layout(line: Timeline, rows: Sequence[Lane], ends: dict[int, str], say: Reader) -> Layout:
    heads: dict[str, tuple[str, ...]] = {}
    start = _LEFT + max([text_width(_name(lane)) for lane in rows] or [0]) + _GAP
    at = start
    signals = []
    for one in line.signals:
        wide = max(text_width(one.name(say)), _COLUMN_LEAST - _GAP)
        signals.append(at + wide / 2)
        at += wide + _GAP
    columns = {}
    for column in line.columns:
        lines = _two_lines(say.label(short_name(column)))
        heads[column.name] = lines
        wide = max([_COLUMN_LEAST - _GAP, *map(text_width, lines)])
        columns[column.name] = at + wide / 2
        at += wide + _GAP
    made = Layout(_LEFT, start, tuple(signals), columns, at, at, heads)
    most = max([_end_x(lane, made) + text_width(ends[id(lane)]) for lane in rows] or [0])
    return Layout(_LEFT, start, tuple(signals), columns, at, max(at, most) + _LEFT, heads)


def _two_lines(text: str) -> tuple[str, ...]:
    """Return a heading in one line or two."""
    before, space, after = text.partition(" ")
    return (before, after) if space and cells(text) > 9 else (text,)


def _last_x(lane: Lane, layout: Layout) -> float:
    """Return where a lane ends: at its last milestone, or where the IPIs end."""
    known = [layout.columns[one.name] for one in lane.points if one.name in layout.columns]
    first = min(layout.columns.values(), default=layout.ends)
    if 0 in lane.cpus:  # the BSP does not take the path of the APs
        if lane.end == "parked":
            return layout.columns.get("parked", layout.ends)
        return max([first - _GAP, *known])
    return max([*known, layout.start + 2])


def _end_x(lane: Lane, layout: Layout) -> float:
    """Return where the text behind a lane begins; never between the columns of IPIs."""
    past = max(layout.signals, default=layout.start) + _COLUMN_LEAST / 2
    return max(_last_x(lane, layout), past) + 2 * _MARK + 4


def _heads(line: Timeline, layout: Layout, height: float, say: Reader) -> Iterator[str]:
    for x, one in zip(layout.signals, line.signals, strict=True):
        told = _text(say(one.text))
        yield (
            f'<text class="head ipi" data-head="ipi" x="{x:.1f}" y="{HEAD - 8 - _LINE:.1f}" '
            f'text-anchor="middle">{_text(one.name(say))}<title>{told}</title></text>'
        )
    for name, x in layout.columns.items():
        lines = layout.heads[name]
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD}" y2="{height - 6:.0f}"/>'
        for number, text in enumerate(lines):
            y = HEAD - 8 - _LINE * (len(lines) - 1 - number)
            yield (
                f'<text class="head" data-head="{escape(name)}" x="{x:.1f}" y="{y:.1f}" '
                f'text-anchor="middle">{_text(text)}</text>'
            )


def _lane(lane: Lane, y: float, layout: Layout, end: str, run: str) -> Iterator[str]:
    last = _last_x(lane, layout)
    early = " early" if lane.early else ""
    yield (
        f'<g class="lane {run}{early}" data-run="{run}" data-cpus="{_indices(lane)}" '
        f'data-end="{_text(lane.end)}">'
        f'<text class="name" x="{layout.names:.1f}" y="{y + 4:.1f}">{_text(_name(lane))}</text>'
    )
    at, mode = layout.start, "before"
    if 0 in lane.cpus:
        mode = "bsp"
    for one in lane.points:
        if one.name not in layout.columns:
            continue
        x = layout.columns[one.name]
        gap = any(at < other < x for other in layout.columns.values())
        yield _bar(at, x, y, "unknown" if gap else mode)
        at, mode = x, one.mode
    yield _bar(at, last, y, mode)  # not empty only for the BSP and before the first milestone
    yield from (_point(one, layout, y) for one in lane.points if one.name in layout.columns)
    yield _end_mark(lane, last, y)
    if end:
        yield (
            f'<text class="end" x="{_end_x(lane, layout):.1f}" y="{y + 4:.1f}">{_text(end)}</text>'
        )
    yield "</g>"


def _indices(lane: Lane) -> str:
    return " ".join(map(str, lane.cpus))


def _bar(start: float, end: float, y: float, mode: str) -> str:
    if end <= start:
        return ""
    return f'<line class="bar {mode}" x1="{start:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _point(one: Point, layout: Layout, y: float) -> str:
    registers = f"CR0={one.cr0:#x} CR3={one.cr3:#x} CR4={one.cr4:#x} EFER={one.efer:#x}"
    return (
        f'<circle class="point {one.mode}" data-milestone="{escape(one.name)}" '
        f'data-mode="{one.mode}" cx="{layout.columns[one.name]:.1f}" cy="{y:.1f}" r="{_MARK}">'
        f"<title>{_text(' '.join(layout.heads[one.name]))}: {registers}</title></circle>"
    )


def _end_mark(lane: Lane, x: float, y: float) -> str:
    r = _MARK
    if lane.end == "parked":
        return (
            f'<rect class="rest" x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r}" height="{2 * r}"/>'
        )
    if lane.early:
        return (
            f'<path class="cross" d="M{x - r:.1f} {y - r:.1f}l{2 * r} {2 * r}m0 {-2 * r}'
            f'l{-2 * r} {2 * r}"/>'
        )
    return f'<line class="stop" x1="{x:.1f}" x2="{x:.1f}" y1="{y - r:.1f}" y2="{y + r:.1f}"/>'


def _signals(line: Timeline, layout: Layout) -> Iterator[str]:
    """Draw each IPI as a line from its sender through the lanes, with a head at each target."""
    row_of = {cpu: row for row, lane in enumerate(line.lanes) for cpu in lane.cpus}
    for x, one in zip(layout.signals, line.signals, strict=True):
        targets = sorted({row_of[cpu] for cpu in one.targets if cpu in row_of})
        sender = row_of.get(-1 if one.sender is None else one.sender)
        rows = [*targets, *([] if sender is None else [sender])]
        yield (
            f'<g class="signal {escape(one.kind.split()[0])}" data-kind="{escape(one.kind)}" '
            f'data-vector="{one.vector}" data-count="{one.count}" '
            f'data-sender="{"" if one.sender is None else one.sender}" '
            f'data-targets="{" ".join(map(str, one.targets))}">'
        )
        if rows:
            top, bottom = (HEAD + ROW * (row + 0.5) for row in (min(rows), max(rows)))
            yield f'<line class="wire" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'
        if sender is not None:
            y = HEAD + ROW * (sender + 0.5)
            yield f'<circle class="from" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        for row in targets:
            y = HEAD + ROW * (row + 0.5)
            if row == sender:
                continue
            back = -7 if sender is None or row > sender else 7
            yield f'<path class="to" d="M{x - 5:.1f} {y + back:.1f}h10l-5 {-back}z"/>'
        yield "</g>"
