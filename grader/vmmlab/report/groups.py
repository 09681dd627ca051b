"""Failed checks put together: those that failed in the same way, and those that wait for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from vmmlab.base.message import Message, msg
from vmmlab.base.text import clean_line
from vmmlab.failure import Failure
from vmmlab.i18n.translate import Reader
from vmmlab.report.model import CheckReport

_AND: Final = Message(", ")
_CASES_SHOWN: Final = 12
_LONG: Final = 120
"""From this length on, a text that differs in its numbers only is not shown again."""
_CPU: Final = re.compile(r"\bCPU \d+")
_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d+")


class Group:
    """A failure.

    Args:
        first: the first check that shows it.

    Attributes:
        same: other checks that failed in the same way.
        waiting: checks that were skipped because of them.
    """

    def __init__(self, first: CheckReport) -> None:
        self.first = first
        self.same: list[CheckReport] = []
        self.waiting: list[CheckReport] = []


def grouped(checks: Sequence[CheckReport]) -> list[Group]:
    """Return the failures of a report, in its order."""
    groups: dict[object, Group] = {}
    group_of: dict[str, Group] = {}
    for check in checks:
        if check.outcome in ("pass", "build-error"):
            continue
        if check.outcome == "skipped":
            waited = group_of.get(check.waited_for or "")
            if waited is not None:
                waited.waiting.append(check)
                group_of[check.id] = waited
            continue
        if check.outcome == "infra-error":
            key: object = ("infra", check.reason)
        else:
            key = (check.cause, check.cpu, check.place, check.expected, check.observed)
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(check)
        else:
            group.same.append(check)
        group_of[check.id] = group
    return list(groups.values())


def cases_text(check: CheckReport, say: Reader) -> str:
    """Return the cases of a check that fail, a line for those that fail alike."""
    failed = [case for case in check.cases if case.outcome != "pass"]
    lines = [
        say(
            msg(
                "{passed} of {total} pass",
                passed=len(check.cases) - len(failed),
                total=len(check.cases),
            )
        )
    ]
    colon, comma = say.label(": "), say(_AND)
    known = {_of_any_cpu(text) for text in _said(check, say)}
    shapes = {_shape(text) for text in known}
    same: dict[str, tuple[str, list[str]]] = {}
    for case in failed[:_CASES_SHOWN]:
        name, text = clean_line(say(case.name)), clean_line(say(case.message))
        for prefix in (f"{name}{colon}", f"{name}{comma}"):
            text = text.removeprefix(prefix.strip()).lstrip() if text.startswith(prefix) else text
        key = _of_any_cpu(text)
        if key in known:
            key = text = ""
        elif key not in same and len(text) >= _LONG and _shape(key) in shapes:
            key = text = say(msg("the same, with other numbers"))
        shapes.add(_shape(key))
        same.setdefault(key, (text, []))[1].append(name)
    for text, names in same.values():
        lines.append(_side_by_side(names, comma, say) + (f"{colon}{text}" if text else ""))
    if len(failed) > _CASES_SHOWN:
        lines.append(say(msg("and {count} more", count=len(failed) - _CASES_SHOWN)))
    return "\n".join(lines)


def _side_by_side(names: Sequence[str], comma: str, say: Reader) -> str:
    """Return the names of cases; what follows the comma in several of them is said once.

    A name is that of a CPU, followed by what is special about its boot.
    """
    if len(names) == 1 or not any(comma in name for name in names):
        return comma.join(names)
    boots: dict[str, list[str]] = {}
    for name in names:
        cpu, _, boot = name.partition(comma)
        boots.setdefault(boot, []).append(cpu)
    return comma.join(
        say(msg("{words} ({name})", words=comma.join(cpus), name=boot))
        if boot
        else comma.join(cpus)
        for boot, cpus in boots.items()
    )


def _said(check: CheckReport, say: Reader) -> set[str]:
    """Return what a case need not say again: the rows "where" and "observed" say it."""
    of = partial(Failure, check.cause or "", observed=check.observed)
    failures = [of(), of(place=check.place), of(cpu=check.cpu, place=check.place)]
    return {clean_line(say(failure.summary)) for failure in failures}


def _of_any_cpu(text: str) -> str:
    return _CPU.sub("CPU #", text)


def _shape(text: str) -> str:
    return _NUMBER.sub("#", text)
