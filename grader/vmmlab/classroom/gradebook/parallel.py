"""Grades the worksheets of a class in several processes, into one gradebook.

Each process runs nbgrader's autograde for one student after the other. What takes long is running
the notebooks, and that is done side by side; the gradebook is used by one process at a time.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final

from vmmlab.base.files import write_atomically
from vmmlab.base.message import msg
from vmmlab.classroom.gradebook import worksheets
from vmmlab.classroom.gradebook.worksheets import Graded
from vmmlab.classroom.intake import Submission
from vmmlab.course.upload import WORKSHEETS
from vmmlab.worksheet import turns

_SUBMITTED: Final = "submitted"
_TIMESTAMP: Final = "timestamp.txt"
_DIED: Final = msg("the process that graded it died; run the command again")


def grade(
    folder: Path,
    assignment: str,
    students: Sequence[str],
    *,
    jobs: int,
    again: bool = False,
    sandbox_required: bool = True,
    one: Callable[[Path, str, bool, bool, str], Graded] | None = None,
    tell: Callable[[Graded], None] = lambda _: None,
) -> list[Graded]:
    """Grade the worksheets of some students.

    Args:
        folder: nbgrader's course folder.
        assignment: for example `lab3`.
        students: their ids.
        jobs: how many at a time; 0: as many as this process has processors.
        again: grade worksheets again that are graded already.
        sandbox_required: refuse to grade without a sandbox.
        one: grades one (for tests).
        tell: called with each result, in this order, as soon as it is there.

    Returns:
        one result for each, in the same order.

    Raises: as for `worksheets.grade`.
    """
    jobs = min(jobs or len(os.sched_getaffinity(0)), len(students))
    if jobs < 1:
        return []
    make = functools.partial(one or _one, folder, assignment, again, sandbox_required)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = {student: pool.submit(make, student) for student in students}
        found: list[Graded] = []
        for student, future in waiting.items():
            try:
                found.append(future.result())
            except BrokenProcessPool:
                found.append(Graded(student, problem=_DIED, exit_code=3))
            tell(found[-1])
        return found


def _one(
    folder: Path, assignment: str, again: bool, sandbox_required: bool, student: str
) -> Graded:
    with turns.taken(folder):
        (found,) = worksheets.grade(
            folder,
            assignment,
            student=student,
            again=again,
            sandbox_required=sandbox_required,
        )
    return found


def handed_in(folder: Path, assignment: str) -> list[str]:
    """Return the ids of those who have submitted an assignment, in order."""
    return sorted(path.parent.name for path in (folder / _SUBMITTED).glob(f"*/{assignment}"))


def hand_over(folder: Path, lab: str, submissions: Sequence[Submission]) -> list[str]:
    """Put worksheets that a batch has taken in where nbgrader looks for them.

    Args:
        folder: nbgrader's course folder.
        lab: the lab.
        submissions: what the batch has taken in.

    Returns:
        the ids of those whose worksheet was not there, or was another one.
    """
    changed = []
    for one in submissions:
        if lab not in one.worksheets:
            continue
        place = folder / _SUBMITTED / one.student / lab
        new = False
        for name in WORKSHEETS:
            source = one.folder / lab / name
            if source.is_file():
                new |= _put(place / name, source.read_bytes())
        if (at := one.received.get(lab)) is not None:
            _put(place / _TIMESTAMP, at.strftime("%Y-%m-%d %H:%M:%S %z").encode())
        if new:
            changed.append(one.student)
    return changed


def _put(path: Path, data: bytes) -> bool:
    """Write a file unless it is there already; return whether it was written."""
    if path.is_symlink():
        path.unlink()
    elif path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return True
