"""The pytest item of a check: from what it raised to a result, and from that to pytest's report."""

from __future__ import annotations

import re
import traceback
from fractions import Fraction
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

import pytest

from vmmlab.base.errors import CourseError, InfraError
from vmmlab.base.message import Text, msg
from vmmlab.checks.declaring import PLAIN, Check
from vmmlab.checks.failing import CheckFailed
from vmmlab.checks.scoring import Case
from vmmlab.grading.results import CheckResult, judged
from vmmlab.images.model import BuildFailed

STATUS: Final = {
    "error": ("not graded", "E", "NOT GRADED"),
    "fail": ("not passed", "F", "FAILED"),
    "partial": ("not passed", "P", "PARTIAL"),
    "timeout": ("not passed", "T", "TIMEOUT"),
    "build-error": ("not built", "B", "BUILD ERROR"),
    "infra-error": ("not judged", "I", "NOT JUDGED"),
    "skipped": ("waiting", "w", "WAITING"),
}
"""What pytest shows for `report.vmmlab`: category, letter and word."""

_NOISE: Final = re.compile(r"/(_pytest|pluggy|vmmlab/checks)/")
_INFRA_MAX: Final = 2800  # characters of a traceback
_OUTPUT_MAX: Final = 1000  # characters of captured output


class Waits(Exception):
    """The check waits for another one, which did not pass."""

    def __init__(self, check_id: str) -> None:
        super().__init__(check_id)
        self.check_id = check_id


def refuse_pytest(path: Path, module: ModuleType) -> None:
    """Check that a test file has no fixtures and marks: the engine itself calls the checks.

    Args:
        path: the file.
        module: the same, loaded.

    Raises:
        CourseError: it has one.
    """
    for name, value in vars(module).items():
        # A fixture is an object of its own since pytest 8.4, and a marked function before.
        fixture = type(value).__name__ == "FixtureFunctionDefinition" or hasattr(
            value, "_pytestfixturefunction"
        )
        marked = isinstance(value, (FunctionType, type)) and hasattr(value, "pytestmark")
        if fixture or marked or name == "pytestmark":
            raise CourseError(
                msg("{path}: {name} is a pytest fixture.", path=path.name, name=name)
                if fixture
                else msg("{path}: {name} has a pytest mark.", path=path.name, name=name)
                if marked
                else msg("{path}: pytestmark marks every check.", path=path.name),
                next_step=PLAIN,
            )


def result_of(
    check: Check,
    cases: tuple[Case, ...],
    error: BaseException | None,
    phase: str,
    output: str,
) -> CheckResult:
    """Return how a check ended, from what became of its item.

    Args:
        check: the check.
        cases: its cases, if it has any.
        error: what the item raised.
        phase: "setup", "call" or "teardown".
        output: what pytest captured.
    """
    if error is None:
        return judged(check, cases=cases)
    if isinstance(error, CheckFailed) and phase == "call":
        return judged(check, error.failure)
    if isinstance(error, Waits):
        reason = msg("waits for {waited_for}", waited_for=error.check_id)
        return CheckResult(check, "skipped", Fraction(0), waited_for=error.check_id, reason=reason)
    if isinstance(error, BuildFailed):
        reason = msg("the code does not compile")
        return CheckResult(check, "build-error", Fraction(0), reason=reason)
    if isinstance(error, InfraError):
        return CheckResult(check, "infra-error", None, infra=str(error), reason=error.message)
    return CheckResult(
        check,
        "infra-error",
        None,
        infra=_author_text(error, output),
        reason=_student_text(check, error),
    )


def _student_text(check: Check, error: BaseException) -> Text:
    what = type(error).__name__
    name = Path(check.file).name
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == check.file:
            return msg(
                "the check itself failed ({what} at {name}:{lineno})",
                what=what,
                name=name,
                lineno=str(frame.lineno),
            )
    return msg("the grader failed before this check could be judged ({what})", what=what)


def _author_text(error: BaseException, output: str) -> str:
    """Return the traceback without pytest's frames, advice for usual mistakes, captured output."""
    trace = traceback.TracebackException.from_exception(error)
    kept = [frame for frame in trace.stack if not _NOISE.search(frame.filename)]
    trace.stack = traceback.StackSummary.from_list(kept or trace.stack)
    lines = list(trace.format())
    if isinstance(error, (AssertionError, pytest.fail.Exception)):
        lines.append("Only vmmlab.checks.fail(cause, …) takes points.\n")
    if isinstance(error, pytest.skip.Exception):
        lines.append("A check does not skip itself: use after=….\n")
    text = "".join(lines)
    return text[-_INFRA_MAX:] + output[-_OUTPUT_MAX:]


def text_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return what pytest captured, or the reason for a collection that failed."""
    if isinstance(report, pytest.CollectReport):
        return str(report.longrepr)
    return "".join(f"--- {title} ---\n{content}\n" for title, content in report.sections)


def show(report: Any, result: CheckResult) -> None:
    """Make pytest's own report agree with the result."""
    report.vmmlab = result.outcome
    if result.outcome == "pass":
        report.outcome, report.longrepr = "passed", None
    elif result.outcome == "skipped":
        report.outcome = "skipped"
        report.longrepr = (report.location[0], (report.location[1] or 0) + 1, str(result.reason))
    else:
        report.outcome = "failed"
        report.longrepr = str(result.failure.summary if result.failure else result.reason)
