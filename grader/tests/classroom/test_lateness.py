"""Deadlines, late days, penalties and extensions: a pure function, wherever clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmmlab.classroom.lateness import Lateness, judge, late_days, moment
from vmmlab.course.deadlines import Deadlines, Due, Extension, Late

ZONES = st.sampled_from(
    ["UTC", "Asia/Tokyo", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
)  # fmt: skip
LOCAL = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31))
WAIT = st.timedeltas(timedelta(days=-3), timedelta(days=20))
DUE = datetime(2026, 11, 22, 23, 59)


def deadlines(late: Late | None = None, **more: object) -> Deadlines:
    base = {"zone": "Asia/Tokyo", "late": late or Late(), "labs": {"lab3": Due(due=DUE)}}
    return Deadlines.model_validate({**base, **more})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def one(rule: Deadlines, received: datetime | None, student: str = "s1") -> Lateness:
    return judge(rule, student, {"lab3": received})["lab3"]


@pytest.mark.parametrize(
    ("received", "days"),
    [
        ("2026-11-22T23:59:00+09:00", 0),
        ("2026-11-22T14:59:00+00:00", 0),  # the same moment
        ("2026-11-22T23:59:00.000001+09:00", 1),
        ("2026-11-23T23:59:00+09:00", 1),
        ("2026-11-23T23:59:01+09:00", 2),
        ("2026-11-22T23:59:00+00:00", 1),  # read as local time it would be in time
    ],
)
def test_days_begin_at_the_time_of_day_of_the_deadline(received: str, days: int) -> None:
    assert late_days(at(received), DUE, ZoneInfo("Asia/Tokyo")) == days


@given(due=LOCAL, wait=WAIT, name=ZONES)
def test_a_late_day_is_a_day_on_the_clocks(due: datetime, wait: timedelta, name: str) -> None:
    zone = ZoneInfo(name)
    received = moment(due, zone) + wait
    days = late_days(received, due, zone)
    assert (days == 0) == (wait <= timedelta(0))
    assert received <= moment(due + timedelta(days=days), zone)
    if days:
        assert received > moment(due + timedelta(days=days - 1), zone)


@given(due=LOCAL, first=WAIT, second=WAIT, name=ZONES)
def test_handing_in_later_is_never_cheaper(
    due: datetime, first: timedelta, second: timedelta, name: str
) -> None:
    rule = Deadlines(
        zone=name,
        free_days=2,
        late=Late(per_day=10, at_most=50, days=7, grace_minutes=15),
        labs={"lab3": Due(due=due)},
    )
    start = moment(due, ZoneInfo(name))
    early, late = (one(rule, start + wait) for wait in sorted((first, second)))
    assert early.percent <= late.percent
    assert early.left(40, 40) >= late.left(40, 40)


@given(due=LOCAL, wait=WAIT, name=ZONES, other=ZONES)
def test_the_zone_in_which_a_time_is_written_does_not_matter(
    due: datetime, wait: timedelta, name: str, other: str
) -> None:
    zone = ZoneInfo(name)
    received = moment(due, zone) + wait
    assert late_days(received, due, zone) == late_days(
        received.astimezone(ZoneInfo(other)), due, zone
    )


@given(
    earned=st.integers(0, 4000).map(lambda n: n / 100),
    percent=st.integers(0, 100),
    of=st.sampled_from(["earned", "maximum"]),
)
def test_points_never_leave_their_range(earned: float, percent: int, of: str) -> None:
    lateness = Lateness("late", datetime.now(UTC), 1, 0, percent, of)  # type: ignore[arg-type]
    left = lateness.left(earned, 40)
    assert 0 <= left <= earned
    assert abs(left + lateness.off(earned, 40) - earned) < 1e-9
    assert round(left, 2) == left
    if percent == 0:
        assert left == earned


def test_a_deadline_that_comes_twice_is_the_later_one() -> None:
    # In Berlin 02:30 comes twice on 25 October 2026: at 00:30 UTC and at 01:30 UTC.
    due, zone = datetime(2026, 10, 25, 2, 30), ZoneInfo("Europe/Berlin")
    assert moment(due, zone) == at("2026-10-25T01:30:00+00:00")
    assert late_days(at("2026-10-25T01:30:00+00:00"), due, zone) == 0
    assert late_days(at("2026-10-25T01:30:01+00:00"), due, zone) == 1


def test_a_deadline_that_does_not_come_is_the_later_moment() -> None:
    # On 29 March 2026 Berlin goes from 02:00 straight to 03:00.
    assert moment(datetime(2026, 3, 29, 2, 30), ZoneInfo("Europe/Berlin")) == at(
        "2026-03-29T03:30:00+02:00"
    )


def test_a_late_day_across_the_change_has_25_hours() -> None:
    due, zone = datetime(2026, 10, 24, 23, 59), ZoneInfo("Europe/Berlin")
    assert late_days(moment(due, zone) + timedelta(hours=25), due, zone) == 1
    assert late_days(moment(due, zone) + timedelta(hours=25, seconds=1), due, zone) == 2


def test_what_a_day_costs() -> None:
    rule = deadlines(Late(per_day=10, at_most=25, days=4))
    start = moment(DUE, ZoneInfo("Asia/Tokyo"))
    found = [one(rule, start + timedelta(days=days, seconds=1)) for days in range(5)]
    assert [late.percent for late in found] == [10, 20, 25, 25, 100]
    assert [late.status for late in found] == ["late"] * 4 + ["closed"]
    assert [late.left(35, 40) for late in found] == [31.5, 28, 26.25, 26.25, 0]
    assert str(found[0].text) == "1 day late: −10 %"
    assert str(found[4].text) == "5 days late: too late to count"


def test_a_percentage_of_the_maximum() -> None:
    late = one(
        deadlines(Late(per_day=10, of="maximum")), moment(DUE, ZoneInfo("Asia/Tokyo"))
        + timedelta(hours=1)
    )  # fmt: skip
    assert late.left(35, 40) == 31
    assert late.left(3, 40) == 0


def test_grace_moves_no_late_day() -> None:
    rule = deadlines(Late(per_day=10, grace_minutes=15))
    assert one(rule, at("2026-11-23T00:14:00+09:00")).status == "on-time"
    assert one(rule, at("2026-11-23T00:14:01+09:00")).days == 1
    assert one(rule, at("2026-11-23T23:59:01+09:00")).days == 2


def test_free_days_are_used_in_the_order_of_the_deadlines() -> None:
    rule = deadlines(
        Late(per_day=10, days=3),
        free_days=3,
        labs={
            "lab2": Due(due=datetime(2026, 11, 8, 12)),
            "lab1": Due(due=datetime(2026, 11, 1, 12)),
            "lab3": Due(due=datetime(2026, 11, 15, 12)),
        },
    )
    found = judge(
        rule,
        "s1",
        {
            "lab1": at("2026-11-03T12:00:00+09:00"),
            "lab2": at("2026-11-18T12:00:00+09:00"),
            "lab3": at("2026-11-17T12:00:00+09:00"),
        },
    )
    assert [(lab, late.days, late.free, late.percent) for lab, late in found.items()] == [
        ("lab1", 2, 2, 0),
        ("lab2", 10, 0, 100),  # closed: no free day is wasted on it
        ("lab3", 2, 1, 10),
    ]
    assert str(found["lab3"].text) == "2 days late, 1 of them free: −10 %"


def test_extensions() -> None:
    rule = deadlines(
        Late(per_day=10),
        extensions=[
            Extension(student="s1", lab="lab3", due=datetime(2026, 11, 29, 23, 59)),
            Extension(student="s2", lab="lab3", due=datetime(2026, 11, 1)),
        ],
    )
    received = at("2026-11-25T12:00:00+09:00")
    assert one(rule, received).status == "on-time"
    assert one(rule, received).extended
    assert one(rule, received, "s2").days == 3, "an extension never shortens"
    assert not one(rule, received, "s3").extended


def test_nobody_is_late_without_a_time_of_receipt() -> None:
    late = one(deadlines(Late(per_day=10, days=0)), None)
    assert (late.status, late.left(35, 40)) == ("unknown", 35)
    assert "not known" in str(late.text)


def test_labs_without_a_deadline_or_a_submission_are_not_judged() -> None:
    assert judge(deadlines(), "s1", {"lab1": datetime.now(UTC)}) == {}
    assert judge(deadlines(), "s1", {}) == {}
