"""Reads from a batch what reports lack: the submitted files, and how late they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmmlab.base.files import read_regular
from vmmlab.classroom.intake import INTAKE, read_intake
from vmmlab.classroom.lateness import Lateness
from vmmlab.classroom.students import ReportFile
from vmmlab.course.digest import digests
from vmmlab.course.model import Lab
from vmmlab.report.model import Report

_FILE_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class HandedIn:
    """What is known of submissions.

    Attributes:
        late: how late a lab of a student was.
        folders: where a student's files are: LAB/FILE below it.
    """

    late: Mapping[tuple[str, str], Lateness]
    folders: Mapping[str, Path]

    def sources(self, student: str, lab: Lab, report: Report) -> Mapping[str, str]:
        """Return the files that a report judges, by name; empty if they are others by now.

        Args:
            student: the id.
            lab: the lab, with the names of its files.
            report: has the hash of the files that were graded.
        """
        folder = self.folders.get(student)
        if folder is None or report.audit is None:
            return {}
        try:
            files = {name: read_regular(folder / name, _FILE_MAX) for name in lab.files}
        except OSError:
            return {}
        if digests(files).get(lab.name) != report.audit.files:
            return {}
        return {name: data.decode("utf-8", "replace") for name, data in files.items()}


def handed_in(found: Sequence[ReportFile]) -> HandedIn:
    """Return what `vmmlab batch` has noted beside some reports.

    Raises:
        UsageError: what it noted cannot be read.
    """
    late: dict[tuple[str, str], Lateness] = {}
    places: dict[str, Path] = {}
    folders = {folder for one in found for folder in one.path.absolute().parents[1:3]}
    for path in sorted(folder / INTAKE for folder in folders):
        if path.is_file():
            for one in read_intake(path).submissions:
                late |= {(one.student, lab): lateness for lab, lateness in one.late.items()}
                places[one.student] = one.folder
    return HandedIn(late, places)
