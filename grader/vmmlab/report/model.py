"""report.json, the input of everything that follows grading. Version 2.

Within a version, fields may be added, and readers ignore those they do not know; no field is
renamed or changes its meaning. A text for a reader is an object (`ReportText`), everything else is
plain.
`report.schema.json` beside this file is generated from here (`python -m vmmlab.report.schema`),
`report.sample.json` is an example.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from vmmlab.base.errors import InfraError, UsageError, VmmlabError, os_reason
from vmmlab.base.files import write_atomically
from vmmlab.base.message import Message, msg
from vmmlab.base.messagedata import bounded
from vmmlab.base.text import clean_line
from vmmlab.course.ids import LAB_NAME
from vmmlab.report.hiding import without_places
from vmmlab.report.text import ReportText

SCHEMA: Final = "vmmlab/report/2"
_AGAIN: Final = msg("grade the submission again with this version of vmmlab")
_FOUND_MAX: Final = 200
_IN_RANGE: Final = Field(ge=0, le=1_000_000)
FILE_MAX: Final = 32 * 1024 * 1024
"""No report has more bytes: texts are bounded, and a lab has some tens of checks."""


def _bounded(value: Any) -> Any:
    return bounded(value) if isinstance(value, str) else value


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Plain = Annotated[str, BeforeValidator(_bounded)]
"""Text that is the same in every language: a name, a command, a traceback."""
Points = Annotated[
    Annotated[int, _IN_RANGE] | Annotated[float, _IN_RANGE], BeforeValidator(_number)
]
Outcome = Literal["pass", "partial", "fail", "skipped", "build-error", "timeout", "infra-error"]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,  # every field is written
    )


class Diagnostic(_Model):
    """What a compiler, an assembler or the linker said. `file` is the path the student knows."""

    file: Plain = ""
    line: int = Field(0, ge=0, description="from 1; 0 if unknown")
    column: int = Field(0, ge=0, description="from 1; 0 if unknown")
    severity: Literal["error", "warning", "note"]
    message: ReportText


class Build(_Model):
    """How the student's files compiled."""

    ok: bool
    warnings: tuple[Diagnostic, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = Field((), description="why it did not build")


class Case(_Model):
    """One sub-score."""

    name: ReportText
    outcome: Literal["pass", "fail", "timeout"]
    message: ReportText = Field("", description="the failure in one line")


class StepPlace(_Model):
    """A step, and where the student writes it."""

    id: str
    title: ReportText
    file: str
    function: str
    line: int | None = Field(None, description="where its TODO still stands; null: it is gone")


class CheckReport(_Model):
    """How one check ended."""

    id: str = Field(description="labN.topic.name, never changed")
    title: ReportText
    points: Points | None = Field(description="null: could not be judged, never to be read as 0")
    max: Points
    outcome: Outcome
    cause: str | None = Field(None, description="identifier of the failure; hints are keyed by it")
    cpu: int | None = Field(None, description="0-based index")
    place: ReportText = Field("", description="address, symbol or file:line")
    expected: ReportText = ""
    observed: ReportText = ""
    next: ReportText = Field("", description="the next thing to look at")
    hints: tuple[ReportText, ...] = Field((), description="the first level of the cause's hints")
    waited_for: str | None = Field(None, description="the needed check that did not pass")
    reason: ReportText = Field("", description="one line on why it could not be judged")
    cases: tuple[Case, ...] = ()
    visibility: Literal["visible", "hidden"] = "visible"
    scenario: Plain = Field(description="how the machine was booted")
    cohort: Plain = Field("", description="cohort of the boot that failed; empty if several")
    numbers: ReportText = Field("", description="how that cohort differs from the student's own")
    again: Plain = Field(
        description="the command that runs just this check again; empty in the student's report of "
        "an official grading if the failure does not show with the public seed"
    )
    step: str | None = Field(None, description="the step of the lab that earns these points")
    mistake: StepPlace | None = Field(
        None, description="the step that contains the mistake; null: the check does not fail"
    )
    infra: Plain | None = Field(None, description="for the lab author: what broke")
    review: ReportText = Field(
        "", description="why a person should look at this check; empty: there is no need"
    )


class Audit(_Model):
    """What was graded, when, and by which version of the course."""

    graded_at: Plain = Field(description="UTC, ISO 8601")
    files: Plain = Field(description="SHA-256 of the lab's submitted files and their names")
    course: Plain = Field(description="SHA-256 of course.yml and of the checks of the lab")


class Report(_Model):
    """The verdict on one lab."""

    schema_: Literal["vmmlab/report/2"] = Field(SCHEMA, alias="schema")
    mode: Literal["standalone", "own", "reference"] = Field(
        description="standalone: the student's lab with stand-ins for the others; "
        "own: only the student's work; reference: the kit's own solution"
    )
    lab: str = Field(pattern=rf"^{LAB_NAME.pattern}$")
    cohort: str
    seed: int | None = Field(description="null: official, and kept by the instructor")
    label: Plain = Field("", description="names an official grading; empty: the seed is public")
    arch: str
    versions: dict[str, Plain] = {}
    build: Build
    checks: tuple[CheckReport, ...]
    points: Points | None = Field(description="null: a check could not be judged")
    max: Points
    hidden_points: Points | None = Field(
        None, description="what the hidden checks earned, a sum of its own; null: not judged"
    )
    hidden_max: Points = Field(0, description="what the hidden checks of the lab are worth")
    hidden_judged: bool = Field(
        False, description="the hidden checks were run; else they are judged elsewhere"
    )
    hidden_elsewhere: bool = Field(
        False, description="the hidden checks belong to a class: its instructor has them"
    )
    self_study: bool = Field(
        False,
        description="graded by a release for self-study: no check is hidden from its reader",
    )
    later: tuple[str, ...] = Field(
        (), description="open checks that need a lab which is held back: they are judged later"
    )
    later_max: Points = Field(0, description="what these are worth; not part of `max`")
    needs_attention: bool = Field(
        False, description="something of the grader's broke: a person has to look, no grade yet"
    )
    review: bool = Field(
        False, description="a person should look at this report; its points stand until then"
    )
    review_reasons: tuple[ReportText, ...] = Field((), description="why; empty without `review`")
    handed_in: bool = Field(
        True, description="false: nothing was handed in for this lab, so its points judge nothing"
    )
    partial_run: bool = Field(False, description="only some checks ran: this is not a grade")
    first_step: StepPlace | None = Field(
        None, description="the first step that is missing or contains a mistake"
    )
    notes: tuple[ReportText, ...] = ()
    audit: Audit | None = Field(None, description="null: written by a version that kept none")
    duration_s: float = Field(ge=0)

    @property
    def usable(self) -> bool:
        """Whether there was something to build; a missing file, for example, leaves nothing."""
        return self.build.ok or self.seed is not None or bool(self.label)

    @property
    def why_nothing_ran(self) -> Message:
        """The sentence above the messages of a build that failed."""
        if not self.usable:
            return msg("What was handed in could not be graded, so no check could run.")
        return msg("The code does not compile, so no check could run.")

    def to_json(self) -> str:
        """Return the report as JSON text with a final newline."""
        data = self.model_dump(mode="json", by_alias=True)
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def exit_code(*reports: Report) -> int:
    """Return the exit code of a command that made these reports.

    Returns:
        0 if all their checks pass, 3 if something could not be judged, else 1.
    """
    if any(report.needs_attention for report in reports):
        return 3
    passed = all(check.outcome == "pass" for report in reports for check in report.checks)
    return 0 if passed else 1


def read_json(path: Path) -> Report:
    """Read a report.

    Raises:
        UsageError: the file cannot be read, or is not a report of this version.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
        if len(data) > FILE_MAX:
            raise UsageError(
                msg("{path}: this is not a report.", path=path),
                expected=msg("at most {count} MiB", count=FILE_MAX // 2**20),
                next_step=_AGAIN,
            )
        return Report.model_validate_json(data)
    except OSError as error:
        raise UsageError(
            msg("{path}: cannot be read: {reason}.", path=path, reason=os_reason(error))
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        said = f"{place}: {first['msg']}" if place else first["msg"]
        if place == "schema" and isinstance(first["input"], str):
            said = first["input"]  # that of another version
        raise UsageError(
            msg("{path}: this is not a report.", path=path),
            expected=SCHEMA,
            found=clean_line(said, _FOUND_MAX),
            next_step=_AGAIN,
        ) from None


def write_json(report: Report, path: Path, places: Mapping[str, str] | None = None) -> None:
    """Write the report; a reader sees the old file or the whole new one.

    Args:
        report: the report.
        path: where to.
        places: what places of this host are called, from `vmmlab.report.hiding.places`; None if
            the reader is the one who graded.

    Raises:
        UsageError: the file cannot be written.
        InfraError: the disk is full or broken.
    """
    try:
        write_atomically(path, without_places(report.to_json(), places or {}).encode())
    except OSError as error:
        kind: type[VmmlabError] = UsageError
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            kind = InfraError
        raise kind(
            msg("the report could not be written to {path}.", path=path),
            found=os_reason(error),
            next_step=msg("name a file in a folder that exists and that you may write to")
            if kind is UsageError
            else msg("free some space, then grade again"),
        ) from None
