"""What was taken in: one entry for each student. It can be written as JSON and read again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vmmlab.base.box import Refused
from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.files import write_atomically
from vmmlab.base.message import Text, msg
from vmmlab.classroom.lateness import Lateness
from vmmlab.report.text import ReportText

SCHEMA: Final = "vmmlab/intake/1"

INTAKE: Final = "intake.json"
"""The name of the file, in the folder of a batch."""

Platform = Literal["folder", "nbgrader", "gradescope", "moodle", "canvas"]
"""Where submissions come from."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Left(_Model):
    """Something of a submission that was not taken."""

    name: str
    why: ReportText

    @property
    def line(self) -> Text:
        """One line for a reader."""
        return msg("{name}: {why}", name=self.name, why=self.why)


class Submission(_Model):
    """What one student has handed in.

    Attributes:
        student: the id: of the roster, or made of the name.
        name: for people.
        cohort: that of the roster; "": the course's own.
        group: members of a group have the same, and the same files.
        origin: what the platform calls this submission.
        number: the platform's number for the student, or for the group.
        folder: has LAB/FILE: private copies of the files that course.yml asks for.
        labs: those of which at least one file came.
        worksheets: the labs whose worksheet came.
        digests: for each of both that of its files.
        received: when each lab was received, in UTC, if that is known.
        late: how late each lab is that has a deadline.
        problem: why nothing can be graded; "": it can.
        attention: a person should decide about the problem: it need not be the student's.
        refused: what could not be taken.
        left_out: the names of other files, which were not asked for.
        renamed: the names that files have in the upload, by their names here.
    """

    student: str
    name: str
    cohort: str = ""
    group: str = ""
    origin: str = ""
    number: str = ""
    folder: Path
    labs: tuple[str, ...] = ()
    worksheets: tuple[str, ...] = ()
    digests: Mapping[str, str] = {}
    received: Mapping[str, datetime] = {}
    late: Mapping[str, Lateness] = {}
    problem: ReportText = ""
    attention: bool = False
    refused: tuple[Left, ...] = ()
    left_out: tuple[str, ...] = ()
    renamed: Mapping[str, str] = {}

    @property
    def received_at(self) -> datetime | None:
        """When the last lab was received; None if that is unknown."""
        return max(self.received.values(), default=None)

    def handed_in(self, lab: str) -> bool:
        """Whether anything came for a lab, be it of use or not."""
        if lab in self.labs or self.refused:
            return True
        return bool(self.left_out) and not (self.labs or self.worksheets)

    def digest(self, lab: str) -> str:
        """Return the SHA-256 of a lab's files and their names; "" if none came."""
        return self.digests.get(lab, "")


class Intake(_Model):
    """The submissions of a class.

    Attributes:
        platform: where they come from.
        submissions: one for each student, by id.
        remarks: what a person should know, one line each.
    """

    schema_: Literal["vmmlab/intake/1"] = Field(default=SCHEMA, alias="schema")
    platform: Platform
    submissions: tuple[Submission, ...]
    remarks: tuple[ReportText, ...] = ()

    def write(self, path: Path) -> None:
        """Write this as JSON, whole or not at all; folders are named from where the file lies.

        Raises:
            UsageError: it cannot be written there.
        """
        here = path.absolute().parent
        text = self._placed(lambda folder: os.path.relpath(folder, here)).model_dump_json(
            by_alias=True, indent=1
        )
        try:
            write_atomically(path, f"{text}\n".encode())
        except OSError as error:
            raise UsageError(
                msg("{path}: cannot be written: {reason}.", path=path, reason=os_reason(error))
            ) from None

    def _placed(self, named: Callable[[Path], str]) -> Intake:
        """Return this with other names for the folders of the submissions."""
        placed = (
            one.model_copy(update={"folder": Path(named(one.folder))}) for one in self.submissions
        )
        return self.model_copy(update={"submissions": tuple(placed)})


def read_intake(path: Path) -> Intake:
    """Return what `Intake.write` has written.

    Raises:
        UsageError: it cannot be read, or is something else.
    """
    try:
        found = Intake.model_validate_json(path.read_bytes())
        return found._placed(lambda folder: os.path.normpath(path.parent / folder))
    except OSError as error:
        raise UsageError(
            msg("{path}: cannot be read: {reason}.", path=path, reason=os_reason(error))
        ) from None
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise UsageError(
            msg("{path}: this is not what `vmmlab batch` wrote: {place}.", path=path, place=place),
            expected=SCHEMA,
        ) from None


def left(refused: tuple[Refused, ...]) -> tuple[Left, ...]:
    """Return what a box has refused, as data."""
    return tuple(Left(name=one.name, why=one.why) for one in refused)
