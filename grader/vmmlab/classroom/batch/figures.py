"""The figures of a class: how points are distributed, what failed most, why, and what was slow.

Pure: from records and reports to numbers. Computes no points.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vmmlab.base.message import Text
from vmmlab.classroom.batch.record import Record
from vmmlab.report.model import CheckReport, Report

BINS: Final = 10
_SLOWEST: Final = 10
_FAILED: Final = ("fail", "partial", "timeout")


@dataclass(frozen=True, slots=True)
class Judged:
    """A lab of a student, with its report.

    Attributes:
        record: what the batch remembers.
        report: the report.
        page: the file of its page, from the folder of the batch; that of the report without one.
    """

    record: Record
    report: Report
    page: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A check, and how many did not get all of its points.

    Attributes:
        id: the check.
        title: what it checks.
        failed: how many failed it.
        waiting: for how many it waited for another check.
        judged: how many were judged.
    """

    id: str
    title: Text
    failed: int
    waiting: int
    judged: int

    @property
    def any(self) -> bool:
        """Whether it was lost by anyone."""
        return bool(self.failed or self.waiting)


@dataclass(frozen=True, slots=True)
class Misunderstood:
    """A cause of failures.

    Attributes:
        cause: its identifier.
        next: what its students are told to look at.
        students: how many have it.
        examples: some of them.
    """

    cause: str
    next: Text
    students: int
    examples: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one lab.

    Attributes:
        stem: the lab, with its architecture.
        judged: what was graded.
        max: the points of the lab.
        bins: how many have 0-10 %, 10-20 % and so on of the points; the last has 100 %, too.
        full: how many have all points.
        mean: of the points; None if no student was graded.
        median: likewise.
        failed: the checks by how many failed them.
        causes: the causes by how many have them.
        slowest: what took longest.
    """

    stem: str
    judged: tuple[Judged, ...]
    max: float
    bins: tuple[int, ...]
    full: int
    mean: float | None
    median: float | None
    failed: tuple[Failed, ...]
    causes: tuple[Misunderstood, ...]
    slowest: tuple[Judged, ...]


def of_lab(stem: str, everything: Iterable[Judged]) -> Figures:
    """Return the figures of one lab.

    Args:
        stem: the lab, with its architecture.
        everything: all that was judged in it; what needs attention has no points and does not
            count.
    """
    judged = tuple(one for one in everything if one.record.points is not None)
    points = [float(one.record.points or 0) for one in judged]
    most = max((float(one.record.max) for one in judged), default=0.0)
    graded = [one for one in judged if one.record.verdict == "graded"]
    return Figures(
        stem=stem,
        judged=judged,
        max=most,
        bins=_bins(points, most),
        full=sum(one >= most for one in points),
        mean=statistics.fmean(points) if points else None,
        median=statistics.median(points) if points else None,
        failed=_failed(graded),
        causes=_causes(graded),
        slowest=tuple(sorted(graded, key=lambda one: -one.record.wall_s)[:_SLOWEST]),
    )


def _bins(points: Sequence[float], most: float) -> tuple[int, ...]:
    found = [0] * BINS
    for one in points:
        share = one / most if most else 1.0
        found[min(BINS - 1, max(0, int(share * BINS)))] += 1
    return tuple(found)


def _failed(judged: Sequence[Judged]) -> tuple[Failed, ...]:
    titles: dict[str, Text] = {}
    failed: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for check in (check for one in judged for check in one.report.checks):
        titles.setdefault(check.id, check.title)
        failed[check.id] += check.outcome in _FAILED
        waiting[check.id] += check.outcome in ("skipped", "build-error")
    found = [
        Failed(name, title, failed[name], waiting[name], len(judged))
        for name, title in titles.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.failed, -one.waiting)))


def _causes(judged: Sequence[Judged]) -> tuple[Misunderstood, ...]:
    having: dict[str, list[Judged]] = {}
    told: dict[str, Text] = {}
    for one in judged:
        mine: dict[str, CheckReport] = {}
        for check in one.report.checks:
            if check.cause:
                mine.setdefault(check.cause, check)
        for cause, check in mine.items():
            having.setdefault(cause, []).append(one)
            told.setdefault(cause, check.next)
    found = [
        Misunderstood(cause, told[cause], len(ones), tuple(ones[:3]))
        for cause, ones in having.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.students))
