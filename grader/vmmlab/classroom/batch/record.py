"""The record of each lab of each submission in a batch's folder. Version 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vmmlab.base.files import read_regular
from vmmlab.report.model import Plain, Points
from vmmlab.report.text import ReportText

SCHEMA: Final = "vmmlab/batch/1"
_MOST: Final = 1 << 20
Verdict = Literal["graded", "ungradable", "absent", "attention"]
"""`ungradable`: 0 points; `absent`: nothing was handed in, so no grade."""


class HostRecord(BaseModel):
    """A worker, and what it enforces."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Plain
    sandbox: Plain
    limits: ReportText
    versions: dict[str, Plain] = {}


class Record(BaseModel):
    """How one lab of one submission was judged."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: Literal["vmmlab/batch/1"] = Field(SCHEMA, alias="schema")
    student: Plain
    name: Plain = ""
    lab: Plain
    arch: Plain = "x86_64"
    fingerprint: Plain = Field(description="hash of submission, grader, course, tools, settings")
    submission: Plain = Field("", description="hash of the files alone")
    report: Plain = Field("", description="hash of the report's file")
    verdict: Verdict
    reason: ReportText = Field("", description="why it is not graded")
    graded_at: Plain = Field(description="UTC, ISO 8601")
    seed: int | None = None
    label: Plain = ""
    points: Points | None = None
    max: Points = 0
    hidden_points: Points | None = None
    hidden_max: Points = 0
    late: Points = Field(0, description="points that come off because it was handed in late")
    attempts: int = 1
    wall_s: Annotated[float, Field(ge=0)] = 0.0
    own_s: Annotated[float, Field(ge=0)] = 0.0
    tools_s: Annotated[float, Field(ge=0)] = 0.0
    peak_mib: int = 0
    host: HostRecord | None = None

    def to_json(self) -> bytes:
        """Return it as JSON text."""
        data = self.model_dump(mode="json", by_alias=True)
        return json.dumps(data, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")


def read(path: Path) -> Record | None:
    """Return the record in a file; None if there is none of this version."""
    try:
        return Record.model_validate_json(read_regular(path, _MOST))
    except (OSError, ValidationError):
        return None
