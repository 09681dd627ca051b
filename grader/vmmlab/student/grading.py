"""One grading of a lab in a student's own workspace, with the workspace's copy of the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmmlab.base.errors import SubmissionError, VmmlabError
from vmmlab.base.message import Text
from vmmlab.base.workspacefile import PREBUILT_FOLDER
from vmmlab.checks.causes import Causes
from vmmlab.course import submission
from vmmlab.course.cohort import Cohort
from vmmlab.course.model import Course
from vmmlab.grading.boots import LabRunner
from vmmlab.grading.grade import Grading
from vmmlab.grading.request import Runner, RunnerFactory, RunRequest, default_seed
from vmmlab.report import Report
from vmmlab.report.make import causes_for, preload, report_of
from vmmlab.report.seen import run_record
from vmmlab.student.show import keep


@dataclass(frozen=True)
class OwnWork:
    """Whose work is graded, and how.

    Attributes:
        root: the workspace.
        course: its course.
        cohort: the numbers of its cohort.h.
        copied: it is not where it was made, so that its files are not trusted.
        arch: what to build for.
        seed: varies the inputs of the boots; None: always the same for a lab.
    """

    root: Path
    course: Course
    cohort: Cohort
    copied: bool
    arch: str = "x86_64"
    seed: int | None = None


@dataclass(frozen=True)
class OwnLab:
    """One lab of the workspace on its way to a report.

    Attributes:
        grading: its checks and boots.
        causes: its causes.
        again: the words of the command that grades it again, without `-k`.
        notes: remarks on the submitted files.
    """

    grading: Grading
    causes: Causes
    again: Sequence[str]
    notes: Sequence[Text]

    def report(self, root: Path) -> Report:
        """End the boots, keep the record in the workspace, and return the report.

        Raises:
            CourseError: the hints are wrong.
        """
        grade = self.grading.grade()
        made = report_of(grade, causes=self.causes, again=self.again, notes=self.notes)
        keep(run_record(grade, made, self.causes), root)
        return made


def own_lab(work: OwnWork, lab: str) -> OwnLab:
    """Return a lab of a workspace, ready to be graded.

    A file that is missing or cannot be read is an error only when the boots start.
    """
    runner: RunnerFactory = LabRunner
    try:
        taken = submission.take(work.root, [lab], work.course, own=not work.copied)
    except SubmissionError as error:
        taken = submission.Submission(files={})
        runner = _refusing(error)
    again = ["pytest", lab]
    seed = default_seed(lab, work.cohort.name)
    if work.seed is not None:
        seed = work.seed
        again += ["--vmm-seed", str(seed)]
    if work.arch != "x86_64":
        again += ["--arch", work.arch]
    request = RunRequest(
        course=work.course,
        lab=lab,
        files=taken.of(lab),
        cohort=work.cohort,
        seed=seed,
        arch=work.arch,
        sandbox_required=work.copied,
        prebuilt=work.root / PREBUILT_FOLDER,
    )
    causes = causes_for(request)
    grading = Grading(
        request,
        tests_dir=work.root / lab,
        hidden=work.course.self_study,
        meanwhile=lambda: preload(causes),
        runner_factory=runner,
    )
    return OwnLab(grading, causes, again, taken.notes)


def _refusing(error: VmmlabError) -> RunnerFactory:
    """Return a factory of runners that only raises `error`."""

    def refuse(request: RunRequest) -> Runner:
        raise error

    return refuse
