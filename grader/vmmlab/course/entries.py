"""course.yml as pydantic validates it, before names and sums are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, StringConstraints

from vmmlab.course import cohort
from vmmlab.course.deadlines import Deadlines
from vmmlab.course.model import ARCHES, CheckSpec, Kind, Step
from vmmlab.course.values import STRICT, Text

SCHEMA: Final = 1
"""The version of course.yml."""

_Points = Annotated[int, Field(ge=0)]
_CohortName = Annotated[str, StringConstraints(pattern=f"^{cohort.NAME.pattern}$")]
_Cpus = Annotated[int, Field(ge=1, le=255)]


class LabEntry(BaseModel):
    """A lab: the keys below its name."""

    model_config = STRICT

    title: Text
    points: _Points = 0
    points_i386: _Points = 0
    hidden_points: _Points = 0
    files: dict[str, list[Text]] = {}
    links: Text | None = None
    given: list[Text] = []
    guest: Text | None = None
    guest_uefi: Text | None = None
    steps: list[Step] = []
    checks: dict[str, CheckSpec] = {}
    hidden: dict[str, CheckSpec] = {}
    cpus: Annotated[list[_Cpus], Field(min_length=1)] = [4]
    firmware: Annotated[list[Text], Field(min_length=1)] = ["qboot"]

    def checks_for(self, arch: str) -> dict[str, CheckSpec]:
        """Return the open checks for one architecture by id."""
        return {check_id: check for check_id, check in self.checks.items() if check.arch == arch}

    @property
    def sums(self) -> dict[str, tuple[str, int]]:
        """For each architecture the key of its sum and the number that stands there."""
        return {ARCHES[0]: ("points", self.points), ARCHES[1]: ("points_i386", self.points_i386)}


def linked(labs: Mapping[str, LabEntry], name: str) -> list[str]:
    """Return the names of the labs whose objects an image of the lab called `name` has."""
    names = list(labs)
    return names[: names.index(labs[name].links or name) + 1]


Language = Literal["en", "ja"]
"""A language that authors may have to write in."""


class CourseEntry(BaseModel):
    """The whole file."""

    model_config = STRICT

    schema_: Annotated[Literal[1], Field(alias="schema")]
    title: Text
    cohort: _CohortName = "dev"
    until: Text | None = None
    kind: Kind = "kit"
    self_study_at: Text | None = None
    vmmlab: Text | None = None
    languages: Annotated[list[Language], Field(min_length=1)] = ["en", "ja"]
    deadlines: Deadlines | None = None
    labs: Annotated[dict[str, LabEntry], Field(min_length=1)]
