"""The timeline of a boot as text for a terminal: a line for each CPU, a column for each milestone.

    CPU              INIT  SIPI   physical  real   ap_entry  parked
    CPU 0 (BSP)      o->   o->                               #  parked
    CPU 1            v     v      *---------*------*---------#  parked
    CPU 2            v     v      *---------x  #GP (13): ...

In a terminal the characters are Unicode's; a terminal that has none of them gets escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from vmmlab.base.message import Text, msg
from vmmlab.base.text import cells, clean_line
from vmmlab.i18n.translate import Reader
from vmmlab.report.timeline import Lane, Timeline, short_name
from vmmlab.report.wrapping import breaks

_GAP: Final = 2
_NAME_MOST: Final = 24
_NAMED: Final = 6
"""So many CPUs are named that ended in the same way."""
_MODES: Final = {"real": "┄", "protected": "╌", "long": "━"}
_UNKNOWN: Final = "·"
_POINT, _REST, _EARLY, _STOP, _FROM, _TO = "●", "■", "✗", "┃", "◉", "▼"


def lines(line: Timeline, say: Reader, title: Text, width: int = 100) -> Iterator[str]:
    """Yield the lines of a timeline, none of them wider than the terminal.

    Args:
        line: the timeline.
        say: the reader's language.
        title: what is above it.
        width: columns of the terminal.
    """
    yield _cut(clean_line(say(title)), width)
    heads = [one.name(say) for one in line.signals]
    heads += [say.label(short_name(one)) for one in line.columns]
    names = [_name(lane) for lane in line.lanes]
    first = max([cells(name) for name in names] or [0]) + _GAP
    wide = [cells(head) + _GAP for head in heads]
    if first + sum(wide) > width:  # a narrow terminal: numbers in place of words, which follow
        wide = [4 if first + 4 * len(heads) <= width else 3] * len(heads)
        heads = [str(number) for number in range(1, len(heads) + 1)]
        yield from _numbered(line, say, width)
    head = "".join(_padded(word, most) for word, most in zip(heads, wide, strict=True))
    yield _cut(" " * first + head, width)
    cut: dict[str, list[str]] = {}
    for name, lane in zip(names, line.lanes, strict=True):
        row = _padded(name, first) + _row(lane, line, wide, say)
        if cells(row) > width:
            cut.setdefault(_why(lane, say), []).append(name)
        yield _cut(row, width)
    for why, whose in cut.items():
        yield from _whole(why, whose, width)
    if line.more_lanes:
        yield say(msg("and {count} more CPUs", count=line.more_lanes))
    if line.more_signals:
        yield say(msg("and {count} more writes to the ICR", count=line.more_signals))


def legend(say: Reader, width: int = 100) -> Iterator[str]:
    """Yield lines that say what the characters mean, none of them wider than the terminal."""
    words = [
        f"{_FROM} {say(msg('sends an IPI'))}",
        f"{_TO} {say(msg('target of an IPI'))}",
        f"{_POINT} {say(msg('milestone'))}",
        f"{_MODES['real'] * 2} {say(msg('real mode'))}",
        f"{_MODES['protected'] * 2} {say(msg('protected mode'))}",
        f"{_MODES['long'] * 2} {say(msg('long mode'))}",
        f"{_UNKNOWN * 2} {say(msg('not recorded'))}",
        f"{_REST} {say(msg('has parked'))}",
        f"{_STOP} {say(msg('stopped by the grader'))}",
        f"{_EARLY} {say(msg('ended too early'))}",
    ]
    line = ""
    for word in words:
        if line and cells(line) + cells(word) + 3 > width:
            yield line
            line = ""
        line += f"   {word}" if line else word
    yield line


def _numbered(line: Timeline, say: Reader, width: int) -> Iterator[str]:
    words = [one.name(say) for one in line.signals]
    words += [say.label(short_name(one)) for one in line.columns]
    told = " "
    for number, word in enumerate(words, 1):
        one = f" {number} {word} "
        if cells(told) + cells(one) > width:
            yield told.rstrip()
            told = " "
        told += one
    yield told.rstrip()


def _name(lane: Lane) -> str:
    return clean_line(lane.name, _NAME_MOST)


def _padded(text: str, wide: int) -> str:
    return text + " " * (wide - cells(text))


def _cut(text: str, width: int) -> str:
    if cells(text) <= width:
        return text.rstrip()
    while cells(text) > width - 1:
        text = text[: len(text) - 1 - max(0, (cells(text) - width) // 2)]
    return f"{text.rstrip()}…"


def _row(lane: Lane, line: Timeline, wide: Sequence[int], say: Reader) -> str:
    """Return what stands behind the name of a lane."""
    count = len(line.signals)
    told = ""
    for one, width in zip(line.signals, wide[:count], strict=True):
        mark = _FROM if one.sender in lane.cpus else _TO if set(lane.cpus) & {*one.targets} else ""
        told += _padded(mark, width)
    reached = {one.name: one for one in lane.points}
    stops = [number for number, one in enumerate(line.columns) if one.name in reached]
    last = max(stops, default=-1)
    end = _REST if lane.end == "parked" else _EARLY if lane.early else _STOP
    for number, (column, width) in enumerate(zip(line.columns, wide[count:], strict=True)):
        if number > last:
            break
        here, then = reached.get(column.name), line.columns[min(number + 1, last)].name in reached
        between = " " if number < stops[0] else _MODES[here.mode] if here and then else _UNKNOWN
        mark = between
        if here:
            mark = end if number == last and lane.end == "parked" else _POINT
        told += mark + ("" if number == last else between * (width - 1))
    rest = "" if lane.end == "parked" and last >= 0 else end
    return f"{told}{rest} {_why(lane, say)}".rstrip()


def _why(lane: Lane, say: Reader) -> str:
    return clean_line(say(lane.why))


def _whole(why: str, names: Sequence[str], width: int) -> Iterator[str]:
    """Yield how lanes ended, which have no room for it: `  CPU 1, CPU 2: at a TODO: ...`."""
    more = ["…"] if len(names) > _NAMED else []
    text = f"{', '.join([*names[:_NAMED], *more])}: {why}"
    at = 0
    for end in (*breaks(text, width - 4), len(text)):
        yield ("    " if at else "  ") + text[at:end].strip()
        at = end
