"""One pytest item of a check: from what it raised to a record, and from that to pytest's report."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any, Final

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.checks.declaring import Check
from vmmlab.checks.failing import CheckFailed
from vmmlab.checks.scoring import CasesFailed, Score
from vmmlab.grading.results import ItemRecord
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
        super().__init__(msg("waits for {check_id}", check_id=check_id))
        self.check_id = check_id


def record_of(
    item: pytest.Item,
    check: Check,
    score: Score | None,
    error: BaseException | None,
    phase: str,
    output: str,
) -> ItemRecord:
    """Return the record of one phase of one item.

    Args:
        item: the item.
        check: the check that it belongs to.
        score: its cases, if the check has any.
        error: what it raised.
        phase: "setup", "call" or "teardown".
        output: what pytest captured.
    """
    callspec = getattr(item, "callspec", None)
    record = ItemRecord(parameters="" if callspec is None else str(callspec.id))
    if score is not None:
        record.cases = score.cases
        record.scored = bool(record.cases)
    if error is None or isinstance(error, CasesFailed):
        return record
    if isinstance(error, CheckFailed) and phase == "call":
        record.failure = error.failure
    elif isinstance(error, Waits):
        record.kind, record.waited_for, record.reason = "skipped", error.check_id, str(error)
    elif isinstance(error, InfraError):
        record.kind, record.infra, record.reason = "infra", str(error), error.message
    elif isinstance(error, BuildFailed):
        record.kind, record.reason = "build-error", msg("the code does not compile")
    else:
        record.kind = "infra"
        record.infra = _author_text(error, output)
        record.reason = _student_text(check, error)
    return record


def _student_text(check: Check, error: BaseException) -> Text:
    what = type(error).__name__
    name = Path(check.file).name
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == check.file:
            return msg(
                "the check itself broke ({what} at {name}:{lineno})",
                what=what,
                name=name,
                lineno=str(frame.lineno),
            )
    return msg("the grader broke on the way to this check ({what})", what=what)


def _author_text(error: BaseException, output: str) -> str:
    """Return the traceback without pytest's frames, advice for usual mistakes, captured output."""
    trace = traceback.TracebackException.from_exception(error)
    kept = [frame for frame in trace.stack if not _NOISE.search(frame.filename)]
    trace.stack = traceback.StackSummary.from_list(kept or trace.stack)
    lines = list(trace.format())
    if isinstance(error, (AssertionError, pytest.fail.Exception)):
        lines.append("Only vmmlab.checks.fail(cause, …) takes points.\n")
    if isinstance(error, pytest.skip.Exception):
        lines.append("A check does not skip itself: use needs=[…].\n")
    text = "".join(lines)
    return text[-_INFRA_MAX:] + output[-_OUTPUT_MAX:]


def text_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return what pytest captured, or the reason for a collection that failed."""
    if isinstance(report, pytest.CollectReport):
        return str(report.longrepr)
    return "".join(f"--- {title} ---\n{content}\n" for title, content in report.sections)


def show(report: Any, record: ItemRecord) -> None:
    """Make pytest's own report agree with the record."""
    if record.kind == "skipped":
        report.vmmlab, report.outcome = "skipped", "skipped"
        report.longrepr = (report.location[0], (report.location[1] or 0) + 1, str(record.reason))
        return
    if record.kind == "judged":
        failures = [case.failure for case in record.cases if case.failure is not None]
        first = record.failure or (failures[0] if failures else None)
        if first is None:
            report.outcome, report.longrepr = "passed", None
            return
        passed = record.failure is None and len(failures) < len(record.cases)
        report.vmmlab = "partial" if passed else "timeout" if first.timeout else "fail"
        report.longrepr = str(first.summary)
    else:
        report.vmmlab = "infra-error" if record.kind == "infra" else "build-error"
        report.longrepr = str(record.reason)
    report.outcome = "failed"
