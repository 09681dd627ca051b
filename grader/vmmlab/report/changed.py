"""What has changed between two reports on the same lab: a mark for each changed check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vmmlab.base.message import Text, listed, msg
from vmmlab.report.model import CheckReport, Report


@dataclass(frozen=True, slots=True)
class Mark:
    """How a check changed.

    Attributes:
        sign: one character.
        style: of the sign.
        says: what it means.
    """

    sign: str
    style: str
    says: Text


_BETTER: Final = Mark("▲", "bold green", msg("▲ better than before"))
_WORSE: Final = Mark("▼", "bold red", msg("▼ worse than before"))
_OTHER: Final = Mark("•", "bold yellow", msg("• fails in another way"))
_RANK: Final = {"pass": 3, "partial": 2, "fail": 1, "timeout": 1}


def changes(report: Report, before: Report | None) -> Mapping[str, Mark]:
    """Return the marks of the checks that end otherwise than before.

    Args:
        report: the newer report.
        before: the older one; None: there is none, and nothing is marked.
    """
    old = {} if before is None else {check.id: check for check in before.checks}
    found = {one.id: _mark(one, old[one.id]) for one in report.checks if one.id in old}
    return {name: mark for name, mark in found.items() if mark is not None}


def _mark(now: CheckReport, old: CheckReport) -> Mark | None:
    rank = (_RANK.get(now.outcome, 0), now.points or 0)
    was = (_RANK.get(old.outcome, 0), old.points or 0)
    if rank != was:
        return _BETTER if rank > was else _WORSE
    same = (now.cause, now.cpu, str(now.place)) == (old.cause, old.cpu, str(old.place))
    return None if same else _OTHER


def legend(marks: Mapping[str, Mark]) -> Text:
    """Return what the marks mean, those that occur."""
    return listed(dict.fromkeys(mark.says for mark in marks.values()))
