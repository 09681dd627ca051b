"""`vmmlab batch` without its command line: cluster, batch, repetitions, comparison, summary."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from distributed import Client

from vmmlab.base.choice import Choice
from vmmlab.base.errors import InfraError, UsageError
from vmmlab.base.message import Text, msg
from vmmlab.classroom.batch import cluster, compare, summary, worker
from vmmlab.classroom.batch.compare import Both, Change
from vmmlab.classroom.batch.job import Job, Settings
from vmmlab.classroom.batch.record import Record
from vmmlab.classroom.batch.record import read as read_record
from vmmlab.classroom.batch.run import Batch, Listener
from vmmlab.classroom.batch.sheets import Grading, Sheet
from vmmlab.classroom.batch.store import RECORDS, Store, opened
from vmmlab.classroom.batch.window import Ended, Window
from vmmlab.classroom.intake import Intake, Submission
from vmmlab.classroom.intake.matching import Index
from vmmlab.classroom.intake.owners import Owner
from vmmlab.classroom.roster import Entry
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader

REPEATED: Final = "repeated"
_STEP: Final = 1_000_003
"""Between the seeds of two repetitions."""

Watching = Callable[[int], AbstractContextManager[Listener]]
"""From the number of tasks to what is told of them."""


@dataclass(frozen=True)
class Options:
    """What a batch is to do.

    Attributes:
        labs: what to grade; empty: all labs that were handed in.
        out: the folder of the batch.
        jobs: how many workers an embedded cluster has; 0: as many as this process has processors.
        scheduler: the address of a cluster, or the file with it; "": an embedded one.
        tls: certificates for it.
        dashboard: serve Dask's pages on the loopback interface.
        resume: take results that are still valid.
        only: only this student; whose report it replaces is kept in the history.
        repeat: grade a sample so many times more, with other seeds.
        sample: how many students that sample has; 0: all.
        compare: the folder of another batch.
        disk_mib: as for `Store`.
        processes: those of all gradings together; 0: as many as their shares allow.
        scratch_mib: MiB of temporary files of all gradings together; 0: likewise.
        rehearse: what loads everything on a worker, as `module:function`.
        grade: what grades a job there, likewise.
    """

    labs: tuple[str, ...]
    out: Path
    jobs: int = 0
    scheduler: str = ""
    tls: tuple[Path, ...] = ()
    dashboard: bool = False
    resume: bool = False
    only: str = ""
    repeat: int = 0
    sample: int = 0
    compare: Path | None = None
    disk_mib: int = 4096
    processes: int = 0
    scratch_mib: int = 0
    rehearse: str = worker.REHEARSE
    grade: str = worker.GRADE


@dataclass(frozen=True)
class Outcome:
    """How a batch went.

    Attributes:
        page: its summary.
        records: everything that is in its folder now.
        compared: what changed since another batch.
        repeated: verdicts that differ with other seeds.
        pages_left_out: how many pages were not written for want of room.
        remarks: of the intake.
        sheets: the worksheets, if they were to be graded.
    """

    page: Path
    records: tuple[Record, ...]
    compared: tuple[Change, ...] | None = None
    repeated: tuple[Change, ...] | None = None
    pages_left_out: int = 0
    remarks: tuple[Text, ...] = ()
    sheets: tuple[Sheet, ...] = ()


def run(
    course: Course,
    handed_in: Callable[[Path], Intake],
    settings: Settings,
    options: Options,
    watching: Watching,
    say: Reader,
    worksheets: Grading | None = None,
) -> Outcome:
    """Judge a class, and write the summary.

    Args:
        course: the course.
        handed_in: takes in what was handed in; is given the folder of the batch.
        settings: of all jobs.
        options: what to do.
        watching: shows how it goes on.
        say: the language of the summary.
        worksheets: grades the worksheets, after the labs; None: they are left alone.

    Raises:
        UsageError: the folder holds another batch, or no student is called `only`.
        InfraError: the disk is full, or the cluster is gone. What is done stays.
        KeyboardInterrupt: likewise.
    """
    began = time.monotonic()
    most = settings.share.fit(options.processes, options.scratch_mib)
    with opened(options.out, options.disk_mib) as store:
        _must_be_meant(options)
        handed = handed_in(options.out)
        options = replace(options, labs=options.labs or _labs(course, handed, worksheets))
        entries = _chosen(handed.submissions, options.only)
        with contextlib.ExitStack() as stack:
            running = stack.enter_context(_Cluster(options, most))
            batch = Batch(course, settings, store, options.labs, options.resume, _Deaf(), running)
            told = summary.Told(
                handed.remarks,
                caps=_caps(options, settings, most),
                labs=[course.labs_dir / one for one in options.labs],
            )
            stack.callback(_summarised, store, told, batch, began, say)  # also if interrupted
            with watching(len(entries) * len(options.labs)) as batch.listener:
                batch.run(entries)
            told.repeated = _repeated(batch, entries, options, watching)
            told.compared = _compared(store, options)
            if worksheets is not None:
                told.sheets = tuple(worksheets(entries))
        records = everything(store)
    page = options.out / summary.PAGE
    return Outcome(
        page,
        records,
        told.compared,
        told.repeated,
        store.pages_left_out,
        tuple(handed.remarks),
        told.sheets,
    )


def _summarised(store: Store, told: summary.Told, batch: Batch, began: float, say: Reader) -> None:
    """Write the summary of what is in a folder."""
    told.took = _took(began, batch)
    with contextlib.suppress(InfraError):  # a full disk was told of already
        summary.write(store, summary.judged(store, everything(store)), told, say)


def everything(store: Store) -> tuple[Record, ...]:
    """Return all records of a folder, by student and lab."""
    paths = sorted((store.folder / RECORDS).glob("*/*.json"))
    return tuple(one for one in map(read_record, paths) if one is not None)


def _labs(course: Course, handed: Intake, worksheets: Grading | None) -> tuple[str, ...]:
    """Return the labs to grade; there may be worksheets only."""
    everybody = handed.submissions
    without = any(one.worksheets for one in everybody) and not any(one.labs for one in everybody)
    return () if worksheets is not None and without else labs_of(course, handed)


def labs_of(course: Course, handed: Intake) -> tuple[str, ...]:
    """Return the labs that were handed in.

    Raises:
        UsageError: there is none.
    """
    found = tuple(
        lab.name
        for lab in course.open_labs
        if lab.files and any(lab.name in one.labs for one in handed.submissions)
    )
    if not found:
        raise UsageError(
            msg("no submission has a folder of a lab."),
            expected=", ".join(f"{lab.name}/" for lab in course.open_labs if lab.files),
        )
    return found


class _Cluster(contextlib.ExitStack):
    """Runs jobs on a cluster, which is started with the first of them: there may be none.

    Args:
        options: what the batch is to do.
        most: how many jobs may run at a time; 0: as many as there are workers.
    """

    def __init__(self, options: Options, most: int) -> None:
        super().__init__()
        self._options = options
        self._most = most
        self._client: Client | None = None

    def __call__(self, jobs: Iterator[Job], began: Callable[[Job], None]) -> Iterator[Ended]:
        first = next(jobs, None)
        if first is None:
            return
        if self._client is None:
            self._client = self.enter_context(self._opened())
        options = self._options
        window = Window(
            self._client, options.labs, began, options.rehearse, options.grade, self._most
        )
        yield from window.run(itertools.chain((first,), jobs))

    def _opened(self) -> AbstractContextManager[Client]:
        options = self._options
        if options.scheduler:
            return cluster.connected(options.scheduler, options.tls)
        count = options.jobs or len(os.sched_getaffinity(0))
        count = min(count, self._most) if self._most else count
        return cluster.embedded(count, dashboard=options.dashboard)


class _Deaf:
    """A listener for the time before there is one."""

    def began(self, task: object) -> None:
        """Do nothing."""

    def ended(self, task: object, found: Record, *, fresh: bool) -> None:
        """Do nothing."""


def _must_be_meant(options: Options) -> None:
    """Raise UsageError if results would be replaced unasked, or nothing is there to compare."""
    if options.compare is not None and not any((options.compare / RECORDS).glob("*/*.json")):
        raise UsageError(
            msg("{folder}: there are no results of a batch here.", folder=options.compare)
        )
    if options.resume or options.only or not any((options.out / RECORDS).glob("*/*.json")):
        return
    raise UsageError(
        msg("{folder} already has results.", folder=options.out),
        expected=msg("--resume, which grades only what is missing or has changed"),
        next_step=msg("or name another folder, and use --compare to see what changed"),
    )


def _chosen(entries: Sequence[Submission], only: str) -> tuple[Submission, ...]:
    if not only:
        return tuple(entries)
    found = tuple(one for one in entries if only in (one.student, one.name))
    if not found:
        index = Index({one.student: Entry(one.student, name=one.name) for one in entries})
        meant = {one.id for one in index.student(Owner(only, only, (only,))).entries}
        found = tuple(one for one in entries if one.student in meant)
    if not found:
        raise UsageError(
            msg("no student called {name} has handed in anything.", name=only),
            expected=msg("one of {students}", students=", ".join(e.student for e in entries[:20])),
        )
    return found


def _repeated(
    batch: Batch, entries: Sequence[Submission], options: Options, watching: Watching
) -> tuple[Change, ...] | None:
    """Grade a sample with other seeds; return the verdicts that differ from the first."""
    if not options.repeat:
        return None
    sample = list(entries)
    if options.sample and options.sample < len(sample):
        sample = Choice("batch", "repeat").some(options.sample, sample)
    first = _by_task(batch.store, [*batch.records.values()])
    found: list[Change] = []
    for number in range(1, options.repeat + 1):
        folder = batch.store.folder / REPEATED / str(number)
        seed = (batch.settings.seed or 0) + number * _STEP
        settings = replace(batch.settings, seed=seed, html=False)
        with opened(folder, options.disk_mib) as store:
            again = Batch(batch.course, settings, store, batch.labs, True, _Deaf(), batch.running)
            with watching(len(sample) * len(batch.labs)) as again.listener:
                again.run(sample)
            later = _by_task(store, [*again.records.values()])
        earlier = {key: first[key] for key in later if key in first}
        for one in compare.changes(earlier, later, closely=False):
            told = msg("with seed {seed}", seed=seed)
            found.append(replace(one, what=(told, *one.what), page=""))
    return tuple(found)


def _compared(store: Store, options: Options) -> tuple[Change, ...] | None:
    if options.compare is None:
        return None
    other = Store(options.compare)
    before = everything(other)
    now = everything(store)
    stems = {summary.stem_of(one) for one in now}  # what was not graded now has not changed
    earlier = [one for one in before if summary.stem_of(one) in stems]
    return compare.changes(_by_task(other, earlier), _by_task(store, now))


def _by_task(store: Store, records: Sequence[Record]) -> Both:
    found = summary.judged(store, tuple(records))
    return {(one.record.student, summary.stem_of(one.record)): one for one in found}


def _caps(options: Options, settings: Settings, most: int) -> tuple[Text, ...]:
    """Return in words what the whole batch may use."""
    share = settings.share
    pages, results = options.disk_mib, 2 * options.disk_mib
    told = msg(
        "results: no pages beyond {pages} MiB, nothing beyond {results} MiB",
        pages=pages,
        results=results,
    )
    if not most:
        return (msg("one grading for each worker at a time; {share}", share=share.text), told)
    together = msg(
        "all gradings together: {processes} processes, {mib} MiB of temporary files, so at most "
        "{most} at a time; {share}",
        processes=options.processes or most * share.processes,
        mib=options.scratch_mib or most * share.scratch_mib,
        most=most,
        share=share.text,
    )
    return (together, told)


def _took(began: float, batch: Batch) -> tuple[Text, ...]:
    """Return in words how long it took, and what that was spent on."""
    fresh = batch.fresh
    seconds = time.monotonic() - began
    told: list[Text] = [
        msg(
            "{count} labs of students judged, {fresh} of them graded now in {seconds} s",
            count=len(batch.records),
            fresh=len(fresh),
            seconds=round(seconds),
        )
    ]
    if fresh:
        own, tools = sum(one.own_s for one in fresh), sum(one.tools_s for one in fresh)
        told.append(
            msg(
                "processor seconds of each: {own} of the grader, {tools} of its QEMUs and "
                "compilers; at most {mib} MiB",
                own=f"{own / len(fresh):.2f}",
                tools=f"{tools / len(fresh):.2f}",
                mib=max(one.peak_mib for one in fresh),
            )
        )
    return tuple(told)
