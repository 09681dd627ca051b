"""Keeps each worker busy with one job, passes results on at once, and retries failures.

With everything queued at once, one job that kills its worker costs others as well. Here it costs at
most what runs beside it on the same worker, and that is run again. Knows no files and no students.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from distributed import Client, Future, KilledWorker

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.base.notices import notify
from vmmlab.classroom.batch import cluster, worker
from vmmlab.classroom.batch.job import Job, Result
from vmmlab.report.model import Report

ATTEMPTS: Final = 3
"""How often a job is tried. The last attempt runs alone, after all other jobs."""
_LOOK_S: Final = 5.0
"""How often the number of workers is asked for while nothing ends."""
_LONELY_LOOKS: Final = 24
"""After so many looks without any worker the batch ends; `--resume` continues it."""


@dataclass
class Trial:
    """A job under way.

    Attributes:
        job: the job.
        attempts: how often it was begun.
        avoided: workers on which it has failed.
        reasons: why it failed so far.
    """

    job: Job
    attempts: int = 0
    avoided: set[str] = field(default_factory=set)
    reasons: list[Text] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended.

    Attributes:
        job: the job.
        result: how.
        attempts: how often it was tried.
    """

    job: Job
    result: Result
    attempts: int


class Window:
    """The jobs that run on a cluster.

    Args:
        client: of the cluster.
        labs: all labs of the batch.
        began: called with each job when it is begun.
        rehearse: what loads everything on a worker, as `module:function`.
        grade: what grades a job there, likewise.
        most: how many jobs may run at a time; 0: as many as there are workers.

    Attributes:
        strangers: workers that have another grader, course or toolchain.
    """

    def __init__(
        self,
        client: Client,
        labs: Iterable[str],
        began: Callable[[Job], None] = lambda job: None,
        rehearse: str = worker.REHEARSE,
        grade: str = worker.GRADE,
        most: int = 0,
    ) -> None:
        self.strangers: set[str] = set()
        self._client = client
        self._more = (tuple(labs), rehearse, grade)
        self._began = began
        self._most = most
        self._done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._running: dict[Future, Trial] = {}
        self._again: deque[Trial] = deque()
        self._last: deque[Trial] = deque()  # what may have suffered from its neighbours

    def run(self, jobs: Iterable[Job]) -> Iterator[Ended]:
        """Run all jobs; yield each one as it ends.

        Args:
            jobs: taken one by one, as workers become free.

        Raises:
            InfraError: the cluster is gone, or has no workers for minutes.
        """
        todo = iter(jobs)
        lonely = 0
        try:
            while True:
                room = self._room()
                lonely = 0 if room else lonely + 1
                if lonely > _LONELY_LOOKS:
                    raise self._no_workers()
                if lonely == 1 and not self.strangers:
                    notify(msg("the cluster has no workers: waiting for some"))
                more = self._fill(todo, room)
                if not self._running and not more:
                    return
                with suppress(queue.Empty):
                    ended = self._ended(self._done.get(timeout=_LOOK_S))
                    if ended is not None:
                        yield ended
        finally:
            with suppress(Exception):  # the cluster may be gone
                self._client.cancel(list(self._running), force=True)
            self._running.clear()

    def _room(self) -> int:
        """Return how many jobs may run at a time now."""
        if self._client.status != "running":
            raise InfraError(
                msg("the cluster is gone."), next_step=msg("start it again, then use --resume")
            )
        known = cluster.threads(self._client)
        room = sum(count for address, count in known.items() if address not in self.strangers)
        return min(room, self._most) if self._most else room

    def _fill(self, todo: Iterator[Job], room: int) -> bool:
        """Begin jobs while there is room; return whether there may be more."""
        while len(self._running) < room:
            trial = self._next(todo)
            if trial is None:
                return bool(self._last)
            self._begin(trial)
        return True

    def _next(self, todo: Iterator[Job]) -> Trial | None:
        """Return what to begin next; None if there is nothing, or nothing yet."""
        if self._again:
            return self._again.popleft()
        if (job := next(todo, None)) is not None:
            return Trial(job)
        return self._last.popleft() if self._last and not self._running else None

    def _begin(self, trial: Trial) -> None:
        known = set(cluster.threads(self._client)) - self.strangers
        elsewhere = sorted(known - trial.avoided) or sorted(known)
        limited = self.strangers or trial.avoided
        future: Future = self._client.submit(
            worker.grade,
            trial.job,
            *self._more,
            key=f"{trial.job.key}-{trial.attempts}",
            pure=False,
            retries=0,
            workers=elsewhere if limited else None,
            allow_other_workers=bool(trial.avoided) and not self.strangers,
        )
        trial.attempts += 1
        self._running[future] = trial
        self._began(trial.job)
        future.add_done_callback(self._done.put)

    def _ended(self, future: Future) -> Ended | None:
        """Return how a job ended; None if it is tried again."""
        trial = self._running.pop(future, None)
        if trial is None:
            return None
        result = _result_of(future)
        if result.end == "stranger":
            self.strangers.add(result.worker)
            trial.attempts -= 1
            self._again.append(trial)
            return None
        why = failure_of(result)
        if not why:
            return Ended(trial.job, result, trial.attempts)
        trial.reasons.append(why)
        trial.avoided.add(result.worker)
        if trial.attempts < ATTEMPTS:
            (self._last if trial.attempts == ATTEMPTS - 1 else self._again).append(trial)
            return None
        return Ended(trial.job, result, trial.attempts)

    def _no_workers(self) -> InfraError:
        if self.strangers:
            return InfraError(
                msg("every worker has another grader, course or toolchain than this host."),
                expected=msg("the same vmmlab, the same course at the same path, the same tools"),
                next_step=msg("install the same on all hosts, then use --resume"),
            )
        return InfraError(
            msg("the cluster has no workers."),
            next_step=msg("start some, then use --resume"),
        )


def failure_of(result: Result) -> Text:
    """Return why a job has to be tried again; "" if it has not."""
    if result.end != "graded":
        return result.reason
    report = Report.model_validate_json(result.report)
    if not report.needs_attention:
        return ""
    reasons: Iterator[Text] = (one.reason for one in report.checks if one.points is None)
    return next(reasons, "") or msg("a check could not be judged")


def _result_of(future: Future) -> Result:
    """Return the result of a task that has ended; what broke in Dask is one, too."""
    try:
        data: Any = future.result(timeout=60)
        return Result.from_json(data)
    except KilledWorker:
        return Result("died", msg("the worker died several times while it graded this"))
    except Exception as error:
        told = msg("the worker failed: {error}", error=f"{type(error).__name__}: {error}"[:300])
        return Result("failed", told)
    finally:
        with suppress(Exception):
            future.release()
