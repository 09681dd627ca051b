"""Loads everything that a grading needs and that does not depend on the submission.

A rehearsal grades a submission without files, with a runner that builds and boots nothing. After it
the imports, the tests of the lab, its causes and the templates are in memory, and no thread runs:
a fork of the process begins where a new process would be after more than a second.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vmmlab.base.message import listed, msg
from vmmlab.classroom.batch import identity
from vmmlab.classroom.batch.job import DEADLINE_S, Host, Settings
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.secret import Secret
from vmmlab.grading.request import RunFacts, RunRequest
from vmmlab.host import cgroup
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader
from vmmlab.images.model import BuildFailed
from vmmlab.probes.scenario import Scenario
from vmmlab.report import html
from vmmlab.report.make import judge_lab
from vmmlab.student import show

_LATE: Final = (
    "asyncio",
    "capstone",
    "elftools.dwarf.lineprogram",
    "elftools.elf.elffile",
    "qemu.qmp",
    "vmmlab.diagnosis",
    "vmmlab.explore.isolated",
    "vmmlab.grading.engine",
    "vmmlab.report.seen",
    "vmmlab.report.student",
)
"""Modules that a grading imports only when it needs them."""


@functools.lru_cache(maxsize=4)
def course_at(root: str) -> Course:
    """Return the course in a folder, read once.

    Raises:
        CourseError: its course.yml is wrong.
    """
    return load_course(Path(root))


def reader(settings: Settings) -> Reader:
    """Return the reader of the pages."""
    return Reader(settings.lang)


def request_of(
    settings: Settings, lab: str, cohort: str, seed: int, round: str, files: dict[str, bytes]
) -> RunRequest:
    """Return the request to grade one lab.

    Args:
        settings: those of the batch.
        lab: the lab.
        cohort: name of the submission's cohort.
        seed: seed of the boots.
        round: the occasion, if the seed follows from the secret; "": it does not.
        files: the submitted files by path.
    """
    return RunRequest(
        course=course_at(settings.course),
        lab=lab,
        files=files,
        cohort=Cohort.derive(cohort),
        seed=seed,
        sandbox_required=settings.sandbox_required,
        arch=settings.arch,
        compiler=settings.compiler,
        opt=settings.opt,
        secret=Secret(settings.secret) if settings.secret else None,
        round=round,
    )


def rehearse(settings: Settings, labs: Sequence[str]) -> Host:
    """Load everything for some labs; return what this host enforces.

    Args:
        settings: those of the batch.
        labs: the labs.

    Raises:
        VmmlabError: the course is wrong, a tool is missing, or there is no sandbox.
    """
    for name in _LATE:
        importlib.import_module(name)
    course = course_at(settings.course)
    host = _host(settings, course)
    if settings.html:
        html.preload()
    for lab in labs:
        request = request_of(settings, lab, course.cohort, 0, "", {})
        judged = judge_lab(request, hidden=settings.hidden, runner_factory=_NothingBuilt)
        judged.report.to_json()
        if settings.html:
            show.html_of(judged.record(), course, reader(settings), beside=True)
    return host


def _host(settings: Settings, course: Course) -> Host:
    import platform

    support = cgroup.examine()
    sandbox = Sandbox.choose(require=settings.sandbox_required)
    kind = "rlimits" if support.parent is None else "cgroup"
    return Host(
        name=platform.node(),
        sandbox=f"{sandbox.kind}+{kind}",
        limits=listed((support.text, settings.share.text, _DEADLINE), "; "),
        identity=identity.of(course),
        versions=identity.versions(),
    )


_DEADLINE: Final = msg("ended after {seconds:.0f} s", seconds=DEADLINE_S)


class _NothingBuilt:
    """The runner of a rehearsal: for it nothing builds, so nothing is booted.

    Args:
        request: what would be built.
    """

    def __init__(self, request: RunRequest) -> None:
        self._lab = request.lab

    def prepare(self, scenarios: Sequence[Scenario]) -> None:
        """Do nothing."""

    def observe(self, scenario: Scenario) -> object:
        """Raise BuildFailed."""
        raise BuildFailed(self._lab, ())

    def facts(self) -> RunFacts:
        """Return nothing."""
        return RunFacts()

    def close(self) -> None:
        """Do nothing."""
