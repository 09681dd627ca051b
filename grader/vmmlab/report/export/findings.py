"""Failing checks and compiler messages as findings in files: SARIF and GitLab code quality.

Sources: SARIF 2.1.0 (OASIS) with what GitHub's code scanning asks for; GitLab's code quality report
(docs.gitlab.com/ci/testing/code_quality). A check whose mistake has no known line is shown at the
first line of the file; one without a file, at the lab's folder: GitHub refuses a whole SARIF file
if one result has no physical location (github/codeql-action, issue 2459).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from vmmlab.base.text import clean_line
from vmmlab.report.export.sheet import Sheet

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_SAID: Final = ("compiler", "submission")
_FAILING: Final = ("fail", "partial", "timeout")
_LEVELS: Final = {"fail": "error", "timeout": "error", "partial": "warning"}
_EDITOR: Final = {"note": "info"}
_EDITOR_TEXT: Final = 500  # characters
_GITLAB: Final = {"error": "major", "warning": "minor", "note": "info"}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One thing that is wrong, at its place."""

    rule: str
    title: str
    level: str
    text: str
    file: str
    line: int
    column: int
    function: str
    lab: str

    @property
    def fingerprint(self) -> str:
        """What stays the same while the student edits other lines."""
        parts = (self.rule, self.file, self.function, self.text if self.rule in _SAID else "")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _findings(sheet: Sheet) -> Iterator[_Finding]:
    for one in sheet.remarks:
        yield _Finding(
            one.source,
            one.text,
            one.severity,
            one.text,
            one.file,
            one.line,
            one.column,
            "",
            sheet.lab,
        )
    for line in sheet.lines:
        if line.outcome in _FAILING:
            yield _Finding(
                line.name,
                line.title,
                _LEVELS[line.outcome],
                f"{line.title}\n{line.text}".strip(),
                line.file,
                line.line,
                0,
                line.function,
                sheet.lab,
            )


def editor(sheets: Sequence[Sheet]) -> str:
    """Return a line for each finding, FILE:LINE:COLUMN: SEVERITY: TEXT, as compilers write it.

    The problem matcher in a workspace's .vscode/tasks.json reads it. What has no file is left out,
    and so is a file with a colon in its name, after which no place could be read.
    """
    lines: list[str] = []
    found = (one for sheet in sheets for one in _findings(sheet))
    for one in (one for one in found if one.file and ":" not in one.file):
        file, text = clean_line(one.file, _EDITOR_TEXT), clean_line(one.text, _EDITOR_TEXT)
        place = f"{file}:{max(one.line, 1)}:{max(one.column, 1)}"
        lines.append(f"{place}: {_EDITOR.get(one.level, one.level)}: {text} [{one.rule}]\n")
    return "".join(lines)


def sarif(sheets: Sequence[Sheet]) -> str:
    """Return a SARIF log with one run for all reports.

    A check that the grader could not judge is no finding: it is a notification of a run that did
    not succeed.
    """
    found = [one for sheet in sheets for one in _findings(sheet)]
    rules = list(dict.fromkeys(one.rule for one in found))
    unjudged = [line for sheet in sheets for line in sheet.lines if line.points is None]
    driver: dict[str, Any] = {
        "name": "vmmlab",
        "rules": [_rule(next(one for one in found if one.rule == rule)) for rule in rules],
    }
    if version := next((sheet.version for sheet in sheets if sheet.version), ""):
        driver["version"] = version
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not unjudged,
                "toolExecutionNotifications": [
                    {"level": "error", "message": {"text": f"{line.name}: {line.text}"}}
                    for line in unjudged
                ],
            }
        ],
        "results": [_result(one, rules.index(one.rule)) for one in found],
    }
    return _json({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(one: _Finding) -> dict[str, Any]:
    title = one.rule if one.rule in _SAID else one.title
    return {
        "id": one.rule,
        "shortDescription": {"text": title},
        "fullDescription": {"text": title},
        "help": {"text": title},
    }


def _result(one: _Finding, index: int) -> dict[str, Any]:
    region = {"startLine": max(one.line, 1)}
    if one.line and one.column:
        region["startColumn"] = one.column
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(one.file or one.lab), "uriBaseId": "%SRCROOT%"},
            "region": region,
        }
    }
    if one.function:
        location["logicalLocations"] = [{"name": one.function, "kind": "function"}]
    return {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": one.level,
        "message": {"text": one.text},
        "locations": [location],
        "partialFingerprints": {"vmmlab/v1": one.fingerprint},
    }


def codequality(sheets: Sequence[Sheet]) -> str:
    """Return the findings as a code quality report of GitLab: fingerprints are unique."""
    issues: dict[str, dict[str, Any]] = {}
    for sheet in sheets:
        for one in _findings(sheet):
            mark = one.fingerprint
            while mark in issues:
                mark = hashlib.sha256(mark.encode()).hexdigest()
            issues[mark] = {
                "description": one.text,
                "check_name": one.rule,
                "fingerprint": mark,
                "severity": _GITLAB[one.level],
                "location": {
                    "path": one.file or one.lab,
                    "lines": {"begin": max(one.line, 1)},
                },
            }
    return _json(list(issues.values()))


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
