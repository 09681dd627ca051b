"""Hints on request: each request gives the next level. They cost no points.

The levels of a check are those of its cause, from the record of the last grading. A pointer to
the handout's section and to the manuals comes after the first, which is a question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Text, listed, msg
from vmmlab.base.nearest import nearest_names
from vmmlab.course.handout import section_of
from vmmlab.course.ids import LAB_NAME
from vmmlab.course.model import Course
from vmmlab.report.model import CheckReport, Report
from vmmlab.report.runrecord import RunRecord
from vmmlab.student import show
from vmmlab.workspace import progress
from vmmlab.workspace.model import Workspace

_JUDGED: Final = ("fail", "partial", "timeout")


@dataclass(frozen=True)
class Hints:
    """The hints on one check.

    Attributes:
        check: how it ended.
        waiting: the check that was asked for, if that only waits for `check`; else "".
        levels: the texts, the gentlest first.
        changed: files that have changed since the grading.
        key: under which the progress remembers how many were shown.
    """

    check: CheckReport
    waiting: str
    levels: tuple[Text, ...]
    changed: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class Shown:
    """Hints that are shown now.

    Attributes:
        hints: all of them.
        numbers: which, from 1.
        asked: how many were ever shown.
    """

    hints: Hints
    numbers: range
    asked: int


def ask(hints: Hints, root: Path, *, everything: bool = False, again: bool = False) -> Shown:
    """Return the next level of hints, and remember that it was shown.

    When all levels were shown, that is the last one once more.

    Args:
        hints: the hints on a check.
        root: the workspace.
        everything: show all levels.
        again: show those that were shown before, and no new one.
    """
    known, _ = progress.load(root)
    before = min(known.hints.get(hints.key, 0), len(hints.levels))
    if again and before:
        return Shown(hints, range(1, before + 1), before)
    now = len(hints.levels) if everything else min(before + 1, len(hints.levels))
    if now != before:
        known.hints[hints.key] = now
        progress.store(root, known)
    return Shown(hints, range(1 if everything else now, now + 1), now)


def find(here: Workspace, course: Course, wanted: str | None, arch: str, language: str) -> Hints:
    """Return the hints on a check of the last run.

    Args:
        here: the workspace.
        course: the course.
        wanted: a check, a part of its id, or a lab, for its first check that fails; None for the
            first one of the last run.
        arch: what was built for.
        language: of the handout.

    Raises:
        UsageError: there is no such check, it does not fail, or nothing was graded.
    """
    known = None if wanted is None else checks_meant(course, wanted, arch)
    records = _records(here, course, wanted, arch)
    ids = [check.id for record in records for check in record.report.checks]
    chosen = ids if known is None else [one for one in ids if one in known]
    fault = None
    for record in records:
        for check in record.report.checks:
            if check.id not in chosen:
                continue
            cause = _blamed(record.report, check)
            if not record.report.build.ok:
                fault = fault or does_not_compile(record.report)
            elif cause is not None and cause.outcome in _JUDGED:
                waiting = "" if cause is check or wanted is None else check.id
                return _hints(here, course, record, cause, waiting, language)
            elif cause is not None:
                fault = fault or _not_judged(cause)
    raise fault or _no_fault(chosen, wanted)


def _records(here: Workspace, course: Course, wanted: str | None, arch: str) -> list[RunRecord]:
    """Return the records that a check is looked for in: those of the last run, or of one lab."""
    if wanted is not None:
        lab = wanted.partition(".")[0]
        if lab in course.labs:
            return [show.last(here.root, lab, arch)]
        labs = [name for name in course.labs if show.path_of(here.root, name, arch).is_file()]
        records = [show.last(here.root, name, arch) for name in labs]
        if records:
            return records
    found = show.last_run(here.root, course)
    if not found:
        first = next((lab.name for lab in course.open_labs if lab.files), "")
        raise UsageError(
            msg("nothing has been graded in this workspace yet."),
            next_step=msg("grade it first: {command}", command=f"pytest {first}".strip()),
        )
    return found


def checks_meant(course: Course, wanted: str, arch: str) -> list[str]:
    """Return the checks that are meant: by an id, a part of it, or a lab.

    Raises:
        UsageError: there is none, or no such lab.
    """
    lab = wanted.partition(".")[0]
    if LAB_NAME.fullmatch(lab):
        course.lab(lab)
    known = [one for lab in course.open_labs for one in course.students_checks(lab, arch)]
    if LAB_NAME.fullmatch(wanted):
        return [one for one in known if one.startswith(f"{wanted}.")]
    found = [wanted] if wanted in known else [one for one in known if wanted.lower() in one]
    if not found:
        raise UsageError(
            msg("there is no check {name}.", name=wanted),
            expected=msg("a check, a part of its name, or a lab"),
            next_step=msg("the nearest are: {near}", near=", ".join(nearest_names(wanted, known))),
        )
    return found


def _blamed(report: Report, check: CheckReport) -> CheckReport | None:
    """Return the check that is to be mended first so that `check` passes; None if it passes."""
    by_id = {one.id: one for one in report.checks}
    seen: set[str] = set()
    while check.outcome == "skipped" and check.waited_for in by_id and check.id not in seen:
        seen.add(check.id)
        check = by_id[check.waited_for]
    return None if check.outcome == "pass" else check


def _hints(
    here: Workspace,
    course: Course,
    record: RunRecord,
    check: CheckReport,
    waiting: str,
    language: str,
) -> Hints:
    cause = check.cause or ""
    own = record.hints.get(cause, ())
    pointer = tuple(_pointers(here, course, record.report, check, language))
    levels = (*own[:1], *pointer, *own[1:]) or ((check.next,) if check.next else ())
    return Hints(
        check=check,
        waiting=waiting,
        levels=levels,
        changed=tuple(show.changed_since(record, here.root)),
        key=f"{check.id}:{cause}",
    )


def _pointers(
    here: Workspace, course: Course, report: Report, check: CheckReport, language: str
) -> Iterator[Text]:
    """Yield where the handout and the manuals describe the step that contains the mistake."""
    if check.mistake is None:
        return
    steps = {step.id: step for step in course.lab(report.lab).steps}
    step = steps.get(check.mistake.id)
    section = section_of(here.root / report.lab, check.mistake.id, language)
    if section is None or step is None:
        return
    place = f"{section.file}:{section.line}"
    if step.manual:
        yield msg(
            'Read {place}, "{title}". The manuals: {manual}.',
            place=place,
            title=section.title,
            manual=step.manual,
        )
    else:
        yield msg('Read {place}, "{title}".', place=place, title=section.title)


def does_not_compile(report: Report) -> UsageError:
    """Return the error about a lab that did not compile, with the compiler's first."""
    errors = [one for one in report.build.diagnostics if one.severity == "error"]
    found: Text = ""
    if errors:
        first = errors[0]
        place = f"{first.file}:{first.line}: " if first.file else ""
        found = listed([place, first.message], "")
    return UsageError(
        msg("{lab} did not compile, so no check could run.", lab=report.lab),
        found=found,
        next_step=msg("start with the first error, then grade again"),
    )


def _not_judged(check: CheckReport) -> UsageError:
    return UsageError(
        msg("{check} could not be judged.", check=check.id),
        found=check.reason,
        next_step=msg("grade the lab again"),
    )


def _no_fault(chosen: Sequence[str], wanted: str | None) -> UsageError:
    if wanted is not None and len(chosen) == 1:
        return UsageError(msg("{check} passes: it needs no hint.", check=chosen[0]))
    return UsageError(
        msg("all these checks pass: they need no hint."),
        next_step="vmmlab progress",
    )
