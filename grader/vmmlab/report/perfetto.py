"""Boots in the Chrome trace format, which ui.perfetto.dev and chrome://tracing open.

A boot is a process, a CPU a thread. The unit is a place in the order of what was seen, not time:
CPUs are held and stepped while they are watched. Format: "Trace Event Format" of the Chromium
project; complete events (X), instants (i), flows from an IPI to its targets (s, f), names (M).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final

from vmmlab.base.text import clean_line
from vmmlab.i18n.translate import Reader
from vmmlab.report.runrecord import RecordedBoot
from vmmlab.report.timeline import Lane, Timeline, short_name, timeline

_STEP: Final = 1000  # microseconds of the viewer for one column
_FLOWS_MOST: Final = 2000


def trace(boots: Sequence[RecordedBoot], say: Reader) -> str:
    """Return the boots as JSON text.

    Args:
        boots: of one grading.
        say: the reader's language.
    """
    events = [one for pid, boot in enumerate(boots, 1) for one in _boot(pid, boot, say)]
    data = {"traceEvents": events, "displayTimeUnit": "ms"}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"


def _boot(pid: int, boot: RecordedBoot, say: Reader) -> Iterator[dict[str, Any]]:
    line = timeline(boot.seen)
    yield _named("process_name", pid, 0, clean_line(say(boot.title)))
    for lane in line.lanes:
        yield _named("thread_name", pid, _thread(lane), lane.name)
        yield from _lane(pid, lane, line, say)
    flows = 0
    threads = {cpu: _thread(lane) for lane in line.lanes for cpu in lane.cpus}
    for at, one in enumerate(line.signals):
        name = one.name(say)
        yield {
            "name": name, "cat": "ipi", "ph": "X", "pid": pid, "ts": at * _STEP,
            "tid": threads.get(one.sender or 0, 0), "dur": _STEP // 4,
            "args": {"text": clean_line(say(one.text)), "count": one.count},
        }  # fmt: skip
        for thread in sorted({threads[cpu] for cpu in one.targets if cpu in threads}):
            flows += 1
            if flows > _FLOWS_MOST:
                return
            flow = {"name": name, "cat": "ipi", "id": f"{pid}.{at}.{thread}", "pid": pid}
            yield {**flow, "ph": "s", "tid": threads.get(one.sender or 0, 0), "ts": at * _STEP}
            yield {**flow, "ph": "f", "bp": "e", "tid": thread, "ts": at * _STEP + _STEP // 2}
            yield {
                "name": name, "cat": "ipi", "ph": "X", "pid": pid, "tid": thread,
                "ts": at * _STEP + _STEP // 2, "dur": _STEP // 4,
            }  # fmt: skip


def _lane(pid: int, lane: Lane, line: Timeline, say: Reader) -> Iterator[dict[str, Any]]:
    places = {one.name: at for at, one in enumerate(line.columns, len(line.signals))}
    titles = {one.name: say.label(short_name(one)) for one in line.columns}
    points = [one for one in lane.points if one.name in places]
    for one, after in zip_longest(points, points[1:]):
        start = places[one.name] * _STEP
        end = start + _STEP // 2 if after is None else places[after.name] * _STEP
        registers = {name: f"{getattr(one, name):#x}" for name in ("cr0", "cr3", "cr4", "efer")}
        yield {
            "name": titles[one.name], "cat": one.mode, "ph": "X", "pid": pid,
            "tid": _thread(lane), "ts": start, "dur": end - start,
            "args": {"mode": one.mode, **registers},
        }  # fmt: skip
    at = places[points[-1].name] + 0.5 if points else float(len(line.signals))
    yield {
        "name": clean_line(say(lane.why)) or lane.end, "cat": "end", "ph": "i", "s": "t",
        "pid": pid, "tid": _thread(lane), "ts": int(at * _STEP),
    }  # fmt: skip


def _thread(lane: Lane) -> int:
    return lane.cpus[0]


def _named(kind: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
