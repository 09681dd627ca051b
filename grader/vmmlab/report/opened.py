"""Removes what only the instructor may see from a report: hidden checks, their names, the seed.

Whatever is shown to students goes through here. Points are not touched.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

from vmmlab.base.message import Message, msg
from vmmlab.course.ids import HIDDEN_TOPIC, LAB_NAME
from vmmlab.report.model import CheckReport, Report

SEED_IS_PUBLIC: Final[Message] = msg(
    "The seed is public, and so are the numbers of the cohort of the hidden checks. "
    "--secret-file makes them secret."
)
"""A note for the instructor alone."""

_UNNAMED: Final[Message] = msg("a hidden check")
_NAME: Final = re.compile(rf"\b{LAB_NAME.pattern}\.{HIDDEN_TOPIC}\.[a-z0-9][a-z0-9_-]*")


def opened(report: Report) -> Report:
    """Return a report without hidden checks, tracebacks, reasons for a review and secret seeds.

    An open text that names a hidden check says "a hidden check" in its place.

    Args:
        report: the instructor's, or one that is open already.
    """
    visible = [check for check in report.checks if check.visibility == "visible"]
    secret = [check.id for check in report.checks if check.visibility == "hidden"]
    official = bool(report.label)
    made = report.model_copy(
        update={
            "seed": None if official else report.seed,
            "checks": tuple(_check(one, official and report.seed is not None) for one in visible),
            "hidden_points": None,
            "hidden_judged": False,
            "hidden_elsewhere": True,
            "review_reasons": (),
            "notes": tuple(note for note in report.notes if note != SEED_IS_PUBLIC),
        }
    )
    return _without_names(made, secret)


def _check(check: CheckReport, command_is_secret: bool) -> CheckReport:
    # A command with the secret needs its file.
    again = "" if command_is_secret else _command(check.again)
    changes: dict[str, Any] = {"infra": None, "review": "", "again": again}
    return check.model_copy(update=changes)


def _command(again: str) -> str:
    """Return a command for the student's own folder, where there are no hidden checks."""
    try:
        words = [word for word in shlex.split(again) if word != "--hidden"]
    except ValueError:  # a report that was changed
        return ""
    if "--submission" in words[:-1]:
        at = words.index("--submission") + 1
        words[at] = "."
    return shlex.join(words)


def _without_names(report: Report, names: list[str]) -> Report:
    text = report.model_dump_json(by_alias=True)
    longest_first = sorted(filter(None, names), key=len, reverse=True)
    known = "|".join(rf"(?<![\w.]){re.escape(name)}(?!\.?\w)" for name in longest_first)
    found = re.compile(f"{_NAME.pattern}|{known}" if known else _NAME.pattern)
    shown = found.sub(str(_UNNAMED), text)
    return report if shown == text else Report.model_validate_json(shown)
