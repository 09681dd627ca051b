"""What a sync is asked to do, and what became of each report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vmmlab.base.errors import UsageError
from vmmlab.classroom.gradebook.marks import Mark
from vmmlab.classroom.gradebook.write import Changes
from vmmlab.classroom.roster import Entry
from vmmlab.classroom.students import ReportFile
from vmmlab.i18n.translate import Reader, error_text


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run.

    Attributes:
        folder: nbgrader's course folder.
        cohort: the cohort that the reports must be for, if the roster does not name one.
        student: the student of all reports; None: the ones that the folders name.
        roster: the students of the class, by id.
        create_students: add ids that neither the gradebook nor the roster knows.
        drop_removed: delete the cells of checks that course.yml no longer has.
        older: enter a report although the gradebook has a newer one.
        dry_run: change nothing.
    """

    folder: Path
    cohort: str
    student: str | None = None
    roster: Mapping[str, Entry] = field(default_factory=dict)
    create_students: bool = False
    drop_removed: bool = False
    older: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Synced:
    """A report that has been entered, or would be. `lab` is lab3 or lab3-i386."""

    source: ReportFile
    student: str
    lab: str
    changes: Changes
    marks: tuple[Mark, ...]
    file_changed: bool

    @property
    def changed(self) -> bool:
        """Whether anything has changed."""
        return bool(self.changes.what) or self.file_changed


@dataclass(frozen=True, slots=True)
class Refused:
    """A report that was refused, and the reason."""

    path: Path
    error: UsageError

    @property
    def reason(self) -> str:
        """The reason, in English."""
        return self.said(Reader())

    def said(self, say: Reader) -> str:
        """Return the reason in the reader's language, without the name of the file in front."""
        text = error_text(self.error, say)
        return text.removeprefix(f"{self.path}{say.label(': ')}").removeprefix(f"{self.path}: ")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run, report by report.

    `enrolled` are the students without a grade who were not in the gradebook. `absent` are, by lab,
    those of whom a report says that they handed in nothing: they get no grade, and a grade that the
    gradebook has stays.
    """

    synced: tuple[Synced, ...]
    refused: tuple[Refused, ...]
    stale: Mapping[str, tuple[str, ...]]
    awkward: tuple[str, ...]
    dry_run: bool
    enrolled: tuple[str, ...] = ()
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """2 if a report was refused, else 0."""
        return 2 if self.refused else 0
