"""What was handed in, as a batch sees it: one entry a student."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vmmlab.base.errors import UsageError, os_reason
from vmmlab.base.message import Text, msg
from vmmlab.base.text import clean_line
from vmmlab.classroom.roster import valid_id

Penalty = Callable[[float], float]
"""From points to the points that come off."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What one student has handed in.

    Attributes:
        student: the id; the name of a folder.
        folder: holds lab3/ap_start.c and so on.
        name: for people.
        cohort: "" for the course's.
        labs: the labs of which something came; None: not known.
        problem: why it cannot be graded; "" if it can.
        attention: the problem may not be the student's.
        notes: remarks that belong into the report.
        received_at: when it was handed in.
        late: what comes off for being late, by lab.
    """

    student: str
    folder: Path
    name: str = ""
    cohort: str = ""
    labs: tuple[str, ...] | None = None
    problem: Text = ""
    attention: bool = False
    notes: tuple[Text, ...] = ()
    received_at: datetime | None = None
    late: Mapping[str, Penalty] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The name for people."""
        return clean_line(self.name or self.student, 60)


@dataclass(frozen=True, slots=True)
class Class:
    """What a class has handed in.

    Attributes:
        entries: one a student.
        remarks: what belongs to nobody, or was refused.
    """

    entries: tuple[Submitted, ...]
    remarks: tuple[Text, ...] = ()


def from_folder(source: Path) -> Class:
    """Return the submissions of a folder that has one folder for each student.

    Raises:
        UsageError: it cannot be read, or there is none in it.
    """
    try:
        folders = sorted(path for path in source.iterdir() if path.is_dir())
    except OSError as error:
        raise UsageError(
            msg("{source} cannot be read.", source=source), found=os_reason(error)
        ) from None
    entries = tuple(Submitted(path.name, path) for path in folders if valid_id(path.name))
    if not entries:
        raise UsageError(
            msg("{source}: no submissions in this folder.", source=source),
            expected=msg("STUDENT/lab3/ap_start.c and so on"),
        )
    remarks = tuple(
        msg("{name}: not taken: this cannot be a student's id", name=clean_line(path.name, 60))
        for path in folders
        if not valid_id(path.name)
    )
    return Class(entries, remarks)
