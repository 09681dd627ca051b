"""GitHub Actions: the summary of a step in Markdown, and annotations as workflow commands.

Source: docs.github.com/actions, workflow commands: a summary has at most 1 MiB, and of each kind of
annotation a step shows ten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from vmmlab.report.export.sheet import Line, Sheet

_SHOWN: Final = 10
_MARKS: Final = {
    "pass": "✅",
    "partial": "🟡",
    "fail": "❌",
    "timeout": "⏱️",
    "skipped": "⏸️",
    "build-error": "🚫",
    "infra-error": "❓",
}
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()+!|~=$-])")
_WRITTEN: Final = {
    "&": "&amp;",
    "#": "&num;",
    "<": "&lt;",
    ">": "&gt;",
    "@": "&commat;",
    "://": "&colon;//",
    "www.": "www&period;",
}


def summary(sheets: Sequence[Sheet]) -> str:
    """Return the summary of a step: a table for each report, and why points are missing."""
    return "\n".join(part for sheet in sheets for part in _section(sheet)) + "\n"


def _section(sheet: Sheet) -> Iterator[str]:
    yield f"## {_plain(sheet.lab)}: {sheet.score}"
    yield ""
    if sheet.summary:
        yield from (f"> {_plain(line)}  " for line in sheet.summary.split("\n"))
        yield ""
    yield "| | | | |"
    yield "|---|---|--:|---|"
    for line in sheet.lines:
        cells = (line.name, line.score, line.title)
        yield f"| {_MARKS[line.outcome]} | {' | '.join(_plain(cell) for cell in cells)} |"
    yield ""
    for line in sheet.lines:
        if line.text and line.outcome not in ("skipped", "build-error"):
            yield f"### {_MARKS[line.outcome]} {_plain(line.name)}"
            yield ""
            yield from (f"{_plain(row)}  " for row in line.text.split("\n"))
            yield ""


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is: no HTML, no links, no mentions, no code."""
    for plain, written in _WRITTEN.items():
        text = text.replace(plain, written)
    return _SPECIAL.sub(r"\\\1", text)


def commands(sheets: Sequence[Sheet]) -> str:
    """Return workflow commands that show failing checks and compiler messages at their lines.

    At most ten errors and ten warnings, since no step shows more of a kind.
    """
    found = [one for sheet in sheets for one in _commands(sheet)]
    shown = [
        one for kind in ("error", "warning") for one in [c for c in found if c[0] == kind][:_SHOWN]
    ]
    return "".join(f"::{kind} {properties}::{_data(text)}\n" for kind, properties, text in shown)


def _commands(sheet: Sheet) -> Iterator[tuple[str, str, str]]:
    for one in sheet.remarks:
        if one.severity != "note":
            yield one.severity, _properties(one.file, one.line, one.column, one.source), one.text
    for line in sheet.lines:
        if line.outcome in ("fail", "partial", "timeout"):
            kind = "warning" if line.outcome == "partial" else "error"
            yield kind, _properties(line.file, line.line, 0, line.name), _told(line)
        elif line.outcome == "infra-error":
            yield "warning", _properties("", 0, 0, line.name), _told(line)


def _told(line: Line) -> str:
    return f"{line.title}\n{line.text}" if line.text else line.title


def _properties(file: str, line: int, column: int, title: str) -> str:
    named = {"file": file, "line": line, "col": column if line else 0, "title": title}
    return ",".join(f"{key}={_property(str(value))}" for key, value in named.items() if value)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
