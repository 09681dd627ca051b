"""The key `deadlines` of course.yml: when each lab is due, what lateness costs, extensions.

`vmmlab.classroom.lateness` judges by it. Nothing here knows students' work.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from vmmlab.course.values import STRICT, Text

_FORMS: Final = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")
_END_OF_DAY: Final = time(23, 59, 59, 999_999)


def _moment(value: Any) -> datetime:
    """Return a local time; a date alone means the end of that day.

    YAML has three forms of it: text, a date, and, with seconds, a time.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return value
    elif isinstance(value, date):
        return datetime.combine(value, _END_OF_DAY)
    elif isinstance(value, str):
        for form in _FORMS:
            try:
                return datetime.strptime(value, form)
            except ValueError:
                continue
    raise PydanticCustomError("moment", "a time such as 2026-11-22 23:59, without a zone")


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A time on the clocks of the course's zone."""
_Percent = Annotated[int, Field(ge=0, le=100)]


class Late(BaseModel):
    """What lateness costs.

    A late day has begun when the time of day of the deadline has passed once more. `per_day` is
    what each of them takes off, in percent, at most `at_most` together. After `days` late days
    nothing is counted any more. Who is late by no more than `grace_minutes` is not late. `of` says
    what the percentage is of: the points that were earned, or the lab's maximum.
    """

    model_config = STRICT

    per_day: _Percent = 0
    at_most: _Percent = 100
    days: Annotated[int, Field(ge=0)] | None = None
    grace_minutes: Annotated[int, Field(ge=0)] = 0
    of: Literal["earned", "maximum"] = "earned"


class Due(BaseModel):
    """When a lab is due; `late` replaces the course's own rule as a whole."""

    model_config = STRICT

    due: Moment
    late: Late | None = None


class Extension(BaseModel):
    """More time for one student and one lab. A release has none of these."""

    model_config = STRICT

    student: Text
    lab: Text
    due: Moment


class Deadlines(BaseModel):
    """All of it. `zone` is a name of the IANA time zone database, such as Asia/Tokyo.

    `free_days` is the number of late days that each student may use without a penalty, in all labs
    together.
    """

    model_config = STRICT

    zone: Text = "UTC"
    free_days: Annotated[int, Field(ge=0)] = 0
    late: Late = Late()
    labs: Annotated[dict[str, Due], Field(min_length=1)]
    extensions: list[Extension] = []


EXTENSIONS: Final = "extensions"
"""The key that a release leaves out: it names students."""

PARTS: Final[Mapping[str, type[BaseModel]]] = {"late": Late, "labs": Due, EXTENSIONS: Extension}
"""The model of each key that has keys of its own."""


def known_zone(name: str) -> bool:
    """Return whether there is such a time zone; True if this host knows none at all."""
    import zoneinfo  # only a course with deadlines needs it

    for one in (name, "Etc/UTC"):
        try:
            zoneinfo.ZoneInfo(one)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            continue
        return one == name
    return True
