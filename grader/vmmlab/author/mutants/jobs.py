"""Runs one function for each of many pieces of work, in worker processes if there are several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import TypeVar

from vmmlab.author.mutants.progress import Watch
from vmmlab.base import workers
from vmmlab.course.load import load_course
from vmmlab.course.model import Course

J = TypeVar("J")
R = TypeVar("R")


def run_all(
    one: Callable[[J], R],
    work: Sequence[J],
    jobs: int,
    tell: Callable[[R], object] | None,
    watch: Watch | None = None,
) -> tuple[R, ...]:
    """Call `one` for each piece of work; return the results in the order of the work.

    Args:
        one: a function at the top of a module; with several jobs it runs in another process.
        work: what it is called with.
        jobs: number of calls at the same time.
        tell: called with each result when it is known.
        watch: called with the number of finished calls and their total.
    """
    results: dict[int, R] = {}

    def keep(at: int, result: R) -> None:
        results[at] = result
        if tell is not None:
            tell(result)
        if watch is not None:
            watch(len(results), len(work))

    if watch is not None:
        watch(0, len(work))

    if jobs <= 1:
        for at, job in enumerate(work):
            keep(at, one(job))
    else:
        with workers.pool(jobs) as pool:
            waiting = {pool.submit(one, job): at for at, job in enumerate(work)}
            try:
                for done in as_completed(waiting):
                    keep(waiting[done], done.result())
            except BaseException:  # Ctrl-C, too: begin nothing more
                pool.shutdown(cancel_futures=True)
                raise
    return tuple(results[at] for at in sorted(results))


@functools.lru_cache(maxsize=1)
def course_at(root: Path) -> Course:
    """Return the course in a folder, read once for each process."""
    return load_course(root)
