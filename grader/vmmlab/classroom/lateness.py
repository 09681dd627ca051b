"""How late a submission is, and what that costs: pure functions over the deadlines of course.yml.

A deadline is a time on the wall clock of the course's zone. Where clocks are changed such a time
can come twice or not at all; then the later possible moment counts, which favours students. So
"one day later" is the same time of day on the next day, whether that day has 23, 24 or 25 hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Literal
from zoneinfo import ZoneInfo

from vmmlab.base.message import EMPTY, Text, msg, nmsg
from vmmlab.course.deadlines import Deadlines, Late
from vmmlab.grading.score import Points, rounded

Status = Literal["on-time", "late", "closed", "unknown"]


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late one student's submission of one lab is.

    Attributes:
        status: closed: too late to count; unknown: the time of receipt is unknown.
        due: the deadline for this student, in UTC.
        days: the late days that have begun.
        free: how many of them are covered by the student's free days.
        percent: what is taken off.
        of: what it is a percentage of.
        extended: the deadline is that of an extension.
    """

    status: Status
    due: datetime
    days: int = 0
    free: int = 0
    percent: int = 0
    of: Literal["earned", "maximum"] = "earned"
    extended: bool = False

    def off(self, earned: Points, maximum: Points) -> Points:
        """Return the points that are taken off, at most those that were earned.

        Args:
            earned: the points of the report.
            maximum: the most that it could have.
        """
        base = Fraction(str(earned if self.of == "earned" else maximum))
        return min(earned, rounded(base * self.percent / 100))

    def left(self, earned: Points, maximum: Points) -> Points:
        """Return the points that remain."""
        return rounded(Fraction(str(earned)) - Fraction(str(self.off(earned, maximum))))

    @property
    def text(self) -> Text:
        """Say it to a person; "" if it was in time."""
        if self.status == "on-time":
            return EMPTY
        if self.status == "unknown":
            return msg("late or not is not known: there is no time of receipt")
        days = nmsg("{count} day late", "{count} days late", count=self.days)
        if self.status == "closed":
            return msg("{days}: too late to count", days=days)
        if self.free:
            days = msg("{days}, {free} of them free", days=days, free=self.free)
        return msg("{days}: −{percent} %", days=days, percent=self.percent)


def moment(local: datetime, zone: ZoneInfo) -> datetime:
    """Return when it is this time on the clocks of a zone, in UTC: the later possible moment.

    Args:
        local: a time without a zone.
        zone: where the clocks are.
    """
    folds = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return max(folds)


def late_days(received: datetime, due: datetime, zone: ZoneInfo) -> int:
    """Return how many late days have begun; 0 if it was received in time.

    Args:
        received: the time of receipt, with a zone.
        due: the deadline, on the clocks of `zone`.
        zone: where these are.
    """
    if received <= moment(due, zone):
        return 0
    # A change of the clocks moves a deadline by less than a day.
    days = max(1, (received - moment(due, zone)).days - 1)
    while received > moment(due + timedelta(days=days), zone):
        days += 1
    return days


def judge(
    deadlines: Deadlines, student: str, received: Mapping[str, datetime | None]
) -> Mapping[str, Lateness]:
    """Return how late a student is with each lab that has a deadline.

    Free late days are used in the order of the deadlines, as far as they last, and never for a lab
    that is too late to count.

    Args:
        deadlines: those of course.yml.
        student: the id, for extensions.
        received: when each lab was received, with a zone; None if the time is unknown.
            Labs that were not handed in are not in it.
    """
    zone = ZoneInfo(deadlines.zone)
    left = deadlines.free_days
    found: dict[str, Lateness] = {}
    for lab in sorted(deadlines.labs, key=lambda name: deadlines.labs[name].due):
        if lab not in received:
            continue
        rule = deadlines.labs[lab].late or deadlines.late
        due = deadlines.labs[lab].due
        extended = [e.due for e in deadlines.extensions if (e.student, e.lab) == (student, lab)]
        if extended:
            due = max(due, *extended)
        one = _judged(received[lab], due, zone, rule)
        if one.status == "late":
            free = min(left, one.days)
            left -= free
            percent = min(rule.at_most, rule.per_day * (one.days - free))
            one = replace(one, free=free, percent=percent)
        found[lab] = replace(one, extended=bool(extended), of=rule.of)
    return found


def _judged(received: datetime | None, due: datetime, zone: ZoneInfo, rule: Late) -> Lateness:
    at = moment(due, zone)
    if received is None:
        return Lateness("unknown", at)
    if received <= at + timedelta(minutes=rule.grace_minutes):
        return Lateness("on-time", at)
    days = late_days(received, due, zone)
    if rule.days is not None and days > rule.days:
        return Lateness("closed", at, days, percent=100)
    return Lateness("late", at, days)
