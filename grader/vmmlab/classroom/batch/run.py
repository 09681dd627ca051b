"""One batch: from what was handed in to records. Knows no terminal and no summary."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from vmmlab.base.errors import SubmissionError
from vmmlab.base.message import Text, listed, msg
from vmmlab.base.text import clean_line
from vmmlab.classroom.batch.job import Job, Result, Settings
from vmmlab.classroom.batch.record import HostRecord, Record, Verdict
from vmmlab.classroom.batch.store import Store
from vmmlab.classroom.batch.window import Ended, failure_of
from vmmlab.classroom.intake import Submission
from vmmlab.course.model import ARCHES, Course
from vmmlab.course.submission import take
from vmmlab.grading.score import Points
from vmmlab.images.cache import digest_files
from vmmlab.report import ungraded
from vmmlab.report.model import Report

_NAME_MOST: Final = 60


@dataclass(frozen=True, slots=True)
class Task:
    """One lab of one student.

    Attributes:
        entry: what the student has handed in.
        lab: the lab.
        stem: the name of its files.
    """

    entry: Submission
    lab: str
    stem: str

    @property
    def shown(self) -> str:
        """The name for people."""
        return clean_line(self.entry.name or self.entry.student, _NAME_MOST)


class Listener(Protocol):
    """Is told how a batch goes on."""

    def began(self, task: Task) -> None:
        """A task is being graded."""

    def ended(self, task: Task, found: Record, *, fresh: bool) -> None:
        """A task has its record; `fresh`: it was graded now."""


@dataclass
class Batch:
    """One batch.

    Args:
        course: the course.
        settings: the settings of all jobs.
        store: where results go.
        labs: what to grade.
        resume: take results that are still valid.
        listener: is told how it goes on.
        running: runs jobs; yields each when it has ended.

    Attributes:
        records: all records so far.
        fresh: those of what was graded now, not taken from an earlier batch.
    """

    course: Course
    settings: Settings
    store: Store
    labs: Sequence[str]
    resume: bool
    listener: Listener
    running: Callable[[Iterator[Job], Callable[[Job], None]], Iterator[Ended]]
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    fresh: list[Record] = field(default_factory=list)

    def run(self, entries: Sequence[Submission]) -> None:
        """Judge all labs of all students; each result is on the disk before the next is taken.

        Args:
            entries: what was handed in.

        Raises:
            InfraError: the disk is full, or the cluster is gone; what is done stays.
        """
        tasks = [Task(one, lab, self._stem(lab)) for one in entries for lab in self.labs]
        by_key: dict[str, tuple[Task, str]] = {}

        def began(job: Job) -> None:
            self.listener.began(by_key[job.key][0])

        for ended in self.running(self._jobs(tasks, by_key), began):
            task, submission = by_key.pop(ended.job.key)
            self._keep(task, submission, ended)

    def _stem(self, lab: str) -> str:
        arch = self.settings.arch
        return lab if arch == ARCHES[0] else f"{lab}-{arch}"

    def _jobs(self, tasks: Sequence[Task], by_key: dict[str, tuple[Task, str]]) -> Iterator[Job]:
        """Yield a job for each task that needs one; judge the others."""
        for task in tasks:
            files, why, notes = self._files(task)
            submission = "" if files is None else digest_files(files)
            told = json.dumps([submission, str(why), task.entry.cohort, task.entry.attention])
            fingerprint = self._fingerprint(task, told)
            old = self.store.record(task.entry.student, task.stem) if self.resume else None
            if old and old.fingerprint == fingerprint and old.verdict != "attention":
                late = _late(task, old.points, old.max)  # an extension grades nothing again
                if late != old.late:
                    old = self.store.put_record(task.stem, old.model_copy(update={"late": late}))
                self._tell(task, old, fresh=False)
            elif files is None:
                self._refuse(task, fingerprint, why)
            else:
                key = secrets.token_hex(8)
                by_key[key] = (task, fingerprint)
                yield Job(key, task.lab, files, self._cohort(task), self.settings, notes)

    def _files(self, task: Task) -> tuple[dict[str, bytes] | None, Text, tuple[Text, ...]]:
        """Return the files of a task, or None and why there are none; and remarks."""
        entry = task.entry
        notes = tuple(one.line for one in entry.refused)
        if entry.problem:
            return None, entry.problem, notes
        if task.lab not in entry.labs:
            return None, msg("nothing was handed in for {lab}", lab=task.lab), notes
        try:
            taken = take(entry.folder, [task.lab], self.course, beside=entry.left_out)
        except SubmissionError as error:
            # What was refused may be what is missing.
            return None, listed([error.found or error.message, *notes], "; "), notes
        return dict(taken.files), "", (*notes, *taken.notes)

    def _cohort(self, task: Task) -> str:
        return task.entry.cohort or self.course.cohort

    def _fingerprint(self, task: Task, submission: str) -> str:
        parts = (self.settings.digest(), task.stem, self._cohort(task), submission)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _refuse(self, task: Task, fingerprint: str, why: Text) -> None:
        """Judge what cannot be graded."""
        attention = task.entry.attention
        told = self._report(task, why, attention=attention)
        refused: Verdict = "ungradable" if told.handed_in else "absent"
        verdict: Verdict = "attention" if attention else refused
        self._put(task, fingerprint, told, Result("graded", why, told.to_json()), verdict, 0)

    def _report(self, task: Task, why: Text, *, attention: bool) -> Report:
        arch, cohort = self.settings.arch, self._cohort(task)
        return ungraded.report(
            self.course,
            task.lab,
            arch,
            cohort,
            why,
            attention=attention,
            hidden=self.settings.hidden,
            handed_in=attention or task.entry.handed_in(task.lab),
            files=task.entry.digest(task.lab),
        )

    def _keep(self, task: Task, fingerprint: str, ended: Ended) -> None:
        result = ended.result
        why = failure_of(result)
        if result.end == "graded":
            report = Report.model_validate_json(result.report)
        else:
            report = self._report(task, why, attention=True)
            result = replace(result, report=report.to_json())
        verdict: Verdict = "attention" if why else "graded"
        result = replace(result, reason=why)
        self._put(task, fingerprint, report, result, verdict, ended.attempts)

    def _put(
        self,
        task: Task,
        fingerprint: str,
        report: Report,
        result: Result,
        verdict: Verdict,
        attempts: int,
    ) -> None:
        entry, host = task.entry, result.host
        absent = verdict == "absent"  # no grade, though the report has 0 points
        points = None if absent else report.points
        found = Record.model_construct(
            student=entry.student,
            name=task.shown,
            lab=task.lab,
            arch=self.settings.arch,
            fingerprint=fingerprint,
            verdict=verdict,
            reason=result.reason,
            graded_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=report.seed,
            label=report.label,
            points=points,
            max=report.max,
            hidden_points=None if absent else report.hidden_points,
            hidden_max=report.hidden_max,
            late=_late(task, points, report.max),
            attempts=attempts,
            wall_s=round(result.wall_s, 3),
            own_s=round(result.own_s, 3),
            tools_s=round(result.tools_s, 3),
            peak_mib=result.peak_mib,
            host=None if host is None else HostRecord.model_validate(host.to_json()),
        )
        self._tell(
            task, self.store.put(task.stem, found, result, entry.received.get(task.lab)), fresh=True
        )

    def _tell(self, task: Task, found: Record, *, fresh: bool) -> None:
        self.records[task.entry.student, task.stem] = found
        if fresh and found.wall_s:
            self.fresh.append(found)
        self.listener.ended(task, found, fresh=fresh)


def _late(task: Task, points: Points | None, most: Points) -> Points:
    """Return the points that come off because it was handed in late."""
    lateness = task.entry.late.get(task.lab)
    return 0 if lateness is None or points is None else lateness.off(points, most)
