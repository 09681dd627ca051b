"""What the process of one job does: grade, report, draw. Everything it returns is text.

It runs in a fork of a process that has rehearsed (`warm`), and with one job at a time: the other
processors belong to other workers.
"""

from __future__ import annotations

import functools
import gc
import resource
from dataclasses import replace

from markupsafe import escape

from vmmlab.base.errors import InfraError, VmmlabError
from vmmlab.base.message import Text, msg
from vmmlab.classroom.batch import warm
from vmmlab.classroom.batch.job import Job, Result
from vmmlab.course.model import Course
from vmmlab.grading.boots import LabRunner
from vmmlab.grading.request import RunRequest, default_seed
from vmmlab.report.hiding import places, without_places
from vmmlab.report.make import Judged, judge_lab
from vmmlab.report.student import report_for_student
from vmmlab.student import show

SUBMISSION = "DIR"
"""The word for the submission in the commands of a report."""


def grade(job: Job) -> Result:
    """Grade one job in this process.

    Args:
        job: what to grade.

    Returns:
        The reports; or why there is none, which is never the submission's fault.
    """
    gc.disable()  # a short process
    began = _seconds()
    try:
        request = request_of(job)
        runner = functools.partial(LabRunner, jobs=1)
        judged = judge_lab(
            request,
            submission=SUBMISSION,
            hidden=job.settings.hidden,
            notes=job.notes,
            runner_factory=runner,
        )
        found = _texts(job, request, judged)
    except VmmlabError as error:
        return Result("failed", _reason(error), own_s=_seconds() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return replace(found, own_s=_seconds() - began, peak_mib=peak)


def request_of(job: Job) -> RunRequest:
    """Return the request of a job; its seed is that of `vmmlab grade` with the same options."""
    settings = job.settings
    seed = settings.seed if job.seed is None else job.seed
    make = functools.partial(warm.request_of, settings, job.lab, job.cohort, files=dict(job.files))
    if seed is not None:
        return make(seed=seed, round="")
    found = make(seed=default_seed(job.lab, job.cohort), round="")
    if found.secret is None:
        return found
    return make(seed=found.secret.seed(job.lab, settings.round), round=settings.round)


def _texts(job: Job, request: RunRequest, judged: Judged) -> Result:
    """Return the report, the page and the student's report, without places of this host."""
    course: Course = request.course
    names = places(course.root)
    report = without_places(judged.report.to_json(), names)
    page = student = ""
    if job.settings.html:
        page = show.html_of(judged.record(), course, warm.reader(job.settings), beside=True)
        escaped = {str(escape(place)): name for place, name in names.items()}
        page = without_places(page, {**names, **escaped})
    if judged.report.label:
        runner = functools.partial(LabRunner, jobs=1)
        told = report_for_student(judged.report, request, runner_factory=runner)
        student = without_places(told.to_json(), names)
    return Result("graded", report=report, student=student, page=page)


def _reason(error: VmmlabError) -> Text:
    if isinstance(error, InfraError) and error.found:
        return msg("{message} ({found})", message=error.message, found=error.found)
    return error.message


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
