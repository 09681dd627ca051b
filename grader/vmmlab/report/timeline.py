"""The timeline of a boot: how far each CPU got, and which IPIs it was sent. Pure.

The axis is the path of a CPU, milestone by milestone, and not time: CPUs are held and stepped while
they are watched, so that durations mean nothing. Columns come from the registry of milestones; a
lab's own milestone is shown as soon as a CPU reaches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vmmlab.base.message import Text, label, msg
from vmmlab.i18n.translate import Reader
from vmmlab.observe.cpu import CpuRecord, CpuState
from vmmlab.observe.icr import Icr, kind_text
from vmmlab.observe.milestones import LONG_MODE, PARKED, WAITING, Milestone, milestones
from vmmlab.observe.observation import Observation
from vmmlab.x86.registers import exception_name

EACH_MOST: Final = 64
"""With more CPUs than this, those with equal lanes share one."""
LANES_MOST: Final = 96
"""No more lanes than this are shown."""
SIGNALS_MOST: Final = 8
"""No more columns of IPIs than this are shown."""

_SHORT: Final[Mapping[str, str]] = {
    "physical-0": label("physical 0"),
    "real-mode": label("real mode"),
    "protected-mode": label("protected mode"),
    "long-mode": label("long mode"),
    "ap-entry": "ap_entry",
    "boot-stack": label("boot stack"),
    "own-stack": label("own stack"),
    "numbered": label("numbered"),
    "parked": label("parked"),
}
_AT_REST: Final = {
    "parked": msg("has parked"),
    "waiting-for-sipi": msg("waits for a SIPI"),
}
"""Ends of a CPU that need no place."""
_NOT_EARLY: Final = frozenset({"parked", "shown", "held", "missing"})
"""Ends that say nothing against a CPU: it came to rest, or the grader stopped it or an AP."""


@dataclass(frozen=True, slots=True)
class Point:
    """A milestone that a CPU reached, with what decides its mode.

    Args:
        name: the milestone.
        mode: "real", "protected" or "long".
        cr0: that register, as are the other three.
    """

    name: str
    mode: str
    cr0: int
    cr3: int
    cr4: int
    efer: int


@dataclass(frozen=True, slots=True)
class Lane:
    """The path of one CPU, or of several with equal paths.

    Args:
        cpus: their indices.
        points: the milestones that were recorded, in the order of the path.
        end: how it ended, as `CpuRecord.end_kind` says; "" if that is not known.
        early: it ended before a complete bring-up does, and not because the grader stopped it.
        why: how it ended, in words.
    """

    cpus: tuple[int, ...]
    points: tuple[Point, ...]
    end: str = ""
    early: bool = False
    why: Text = ""

    @property
    def name(self) -> str:
        """ "BSP", "CPU 3", "CPU 1-254" or the like."""
        if self.cpus == (0,):
            return "CPU 0 (BSP)"
        return f"CPU {ranges(self.cpus)}"

    def at(self, milestone: str) -> Point | None:
        """Return the milestone of this name, if it was recorded."""
        return next((point for point in self.points if point.name == milestone), None)


@dataclass(frozen=True, slots=True)
class Signal:
    """IPIs that one CPU sent, in a row and alike.

    Args:
        sender: index of the CPU that sent them; None if the trace does not contain it.
        kind: delivery mode as the SDM names it.
        vector: of a SIPI or a fixed interrupt, else 0.
        targets: indices of the CPUs that they are sent to.
        count: how many writes to the ICR they are.
        text: the first write in words.
    """

    sender: int | None
    kind: str
    vector: int
    targets: tuple[int, ...]
    count: int = 1
    text: Text = ""

    def name(self, say: Reader) -> str:
        """Return "INIT", "SIPI 0x00" or the like."""
        vector = f" {self.vector:#04x}" if self.kind in ("SIPI", "fixed") else ""
        times = f" ×{self.count}" if self.count > 1 else ""
        return f"{say(kind_text(self.kind))}{vector}{times}"


@dataclass(frozen=True, slots=True)
class Timeline:
    """The lanes of a boot.

    Args:
        columns: the milestones that are shown, in the order of the path.
        lanes: the CPUs.
        signals: the IPIs that are shown, in order.
        more_signals: number of writes to the ICR that are not shown.
        more_lanes: number of CPUs that are not shown.
    """

    columns: tuple[Milestone, ...]
    lanes: tuple[Lane, ...]
    signals: tuple[Signal, ...]
    more_signals: int = 0
    more_lanes: int = 0


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers with runs as ranges: "1-3, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def short_name(milestone: Milestone) -> str:
    """Return the heading of a milestone's column, a label in English."""
    return _SHORT.get(milestone.name) or milestone.name.replace("-", " ")


def point(name: str, state: CpuState) -> Point:
    """Return a milestone with the registers of a CPU there."""
    return Point(name, state.mode, state.cr0, state.cr3, state.cr4, state.efer)


def timeline(seen: Observation, also: Sequence[Lane] = ()) -> Timeline:
    """Return the timeline of a boot.

    Args:
        seen: the boot.
        also: lanes that are shown beside it: their milestones get columns, too.
    """
    every = [_lane(cpu) for cpu in seen.cpus]
    lanes = every if len(every) <= EACH_MOST else grouped(every)
    signals, more = signals_of(seen)
    return Timeline(
        columns_of([*every, *also], seen.arch),
        tuple(lanes[:LANES_MOST]),
        signals,
        more,
        sum(len(lane.cpus) for lane in lanes[LANES_MOST:]),
    )


def columns_of(lanes: Iterable[Lane], arch: str) -> tuple[Milestone, ...]:
    """Return the milestones that get a column: the given ones, and those that a CPU reached.

    In a boot that was watched only behind the trampoline, those of the trampoline get none, and
    in a boot without APs only those that were reached do.
    """
    lanes = tuple(lanes)
    reached = {one.name for lane in lanes for one in lane.points}
    shown = [
        one
        for one in milestones()
        if one != WAITING and (one.name in reached or (one <= PARKED and _is_given(one, arch)))
    ]
    first = next((one for one in shown if one.name in reached), None)
    if first is not None and first > LONG_MODE:
        shown = [one for one in shown if one >= first]
    if all(lane.cpus == (0,) for lane in lanes):
        shown = [one for one in shown if one.name in reached]
    return tuple(shown)


def _is_given(one: Milestone, arch: str) -> bool:
    return one.name in _SHORT and (arch != "i386" or one != LONG_MODE)


def grouped(lanes: Iterable[Lane]) -> list[Lane]:
    """Return lanes of which no two are alike; the BSP has its own."""
    found: dict[object, Lane] = {}
    for lane in lanes:
        path = tuple((one.name, one.mode) for one in lane.points)
        key = (lane.cpus == (0,), path, lane.end, str(lane.why))
        first = found.get(key)
        found[key] = lane if first is None else replace(first, cpus=first.cpus + lane.cpus)
    return list(found.values())


def _lane(cpu: CpuRecord) -> Lane:
    known = [one.name for one in milestones() if one != WAITING]
    points = tuple(point(name, cpu.milestones[name]) for name in known if name in cpu.milestones)
    early = cpu.end_kind not in _NOT_EARLY or bool(_fault(cpu))
    return Lane((cpu.index,), points, cpu.end_kind, early, _why(cpu))


def _why(cpu: CpuRecord) -> Text:
    """Return how a CPU ended: what stopped it, and where."""
    place = cpu.end_place.text
    if fault := _fault(cpu):
        return fault
    if cpu.end_kind in _AT_REST:
        return _AT_REST[cpu.end_kind]
    if cpu.end_kind == "shown":
        return msg("stopped by the grader at {place}", place=place)
    if cpu.end_kind == "held":
        return msg("held by the grader at {place}", place=place)
    if cpu.waits:
        return msg("waits for another CPU at {place}", place=place)
    return msg("{ended}: {place}", ended=cpu.ended, place=place)


def _fault(cpu: CpuRecord) -> Text:
    """Return the fault that ended a CPU; "" if none did."""
    if cpu.refusal is not None:
        return msg(
            "{exception} on a real processor: {place}",
            exception=exception_name(cpu.refusal.vector),
            place=cpu.end_place.text,
        )
    if cpu.triple_fault is not None:
        return msg(
            "triple fault, which began with {exception} at {address:#x}",
            exception=exception_name(cpu.triple_fault.vector),
            address=cpu.triple_fault.pc,
        )
    if cpu.exception is not None:
        return msg(
            "{exception}: {place}",
            exception=exception_name(cpu.exception.vector),
            place=cpu.exception.place.text,
        )
    if cpu.left_code is not None:
        return msg("was about to execute {address:#x}, where no code is", address=cpu.left_code)
    return ""


def signals_of(seen: Observation) -> tuple[tuple[Signal, ...], int]:
    """Return the IPIs of a boot that are shown, and how many writes to the ICR are not."""
    found: list[Signal] = []
    for write in seen.icr:
        found.append(_signal(seen, write))
    runs = _merged(found, far=False)
    if len(runs) > SIGNALS_MOST:
        runs = _merged(found, far=True)
    return tuple(runs[:SIGNALS_MOST]), sum(one.count for one in runs[SIGNALS_MOST:])


def _signal(seen: Observation, write: Icr) -> Signal:
    vector = write.vector if write.kind in ("SIPI", "fixed") else 0
    targets = tuple(cpu.index for cpu in seen.cpus if seen.reaches(write, cpu.index))
    return Signal(write.cpu, write.kind, vector, targets, text=write.text)


def _merged(signals: Sequence[Signal], *, far: bool) -> list[Signal]:
    """Put IPIs together that differ in their targets only.

    Args:
        signals: in order.
        far: also those that do not follow each other.
    """
    found: list[Signal] = []
    for one in signals:
        key = (one.sender, one.kind, one.vector)
        for at in range(len(found) - 1, -1 if far else max(len(found) - 2, -1), -1):
            other = found[at]
            if (other.sender, other.kind, other.vector) == key:
                targets = tuple(sorted({*other.targets, *one.targets}))
                found[at] = replace(other, targets=targets, count=other.count + one.count)
                break
        else:
            found.append(one)
    return found
