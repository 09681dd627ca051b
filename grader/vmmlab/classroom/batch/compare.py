"""What changed between two batches, or between two gradings of the same class with other seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vmmlab.base.message import Text, msg
from vmmlab.classroom.batch.figures import Judged
from vmmlab.report.model import CheckReport, Report

Both = Mapping[tuple[str, str], Judged]
"""What was judged, by student and the name of the lab's files."""


@dataclass(frozen=True, slots=True)
class Change:
    """A lab of a student that was judged in another way.

    Attributes:
        student: the id.
        stem: the lab, with its architecture.
        what: what changed, in words.
        page: the file of the later report, from the folder of the later batch; "": there is none.
    """

    student: str
    stem: str
    what: tuple[Text, ...]
    page: str = ""


def changes(before: Both, after: Both, *, closely: bool = True) -> tuple[Change, ...]:
    """Return what is different in two batches.

    Args:
        before: the earlier one.
        after: the later one.
        closely: also another cause of the same verdict is a change.
    """
    found = []
    for student, stem in sorted(before.keys() | after.keys()):
        old, new = before.get((student, stem)), after.get((student, stem))
        what = tuple(_between(old, new, closely))
        if what:
            found.append(Change(student, stem, what, new.page if new else ""))
    return tuple(found)


def _between(old: Judged | None, new: Judged | None, closely: bool) -> Iterator[Text]:
    if old is None or new is None:
        yield msg("only in the later one") if old is None else msg("only in the earlier one")
        return
    if old.record.verdict != new.record.verdict:
        yield msg("was {before}, is {after}", before=old.record.verdict, after=new.record.verdict)
    elif old.record.points != new.record.points:
        yield msg(
            "points: {before}, now {after}",
            before=str(old.record.points),
            after=str(new.record.points),
        )
    mine, theirs = _checks(old.report), _checks(new.report)
    for name in sorted(mine.keys() & theirs.keys()):
        was, now = mine[name], theirs[name]
        if (was.outcome, was.points) != (now.outcome, now.points):
            yield _changed(name, was.outcome, now.outcome)
        elif closely and was.cause != now.cause:
            yield _changed(name, was.cause or "-", now.cause or "-")


def _changed(check: str, before: str, after: str) -> Text:
    return msg("{check}: {before}, now {after}", check=check, before=before, after=after)


def _checks(report: Report) -> dict[str, CheckReport]:
    return {check.id: check for check in report.checks}
