"""Texts of a student that attack whoever reads a report: browsers, CI hosts, platforms, sheets."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import fakes
import jinja2
import pytest
from corpus import Attack, Defence, off
from test_summary import judged
from validators import VALIDATORS, moodle

from vmmlab.base import messagedata
from vmmlab.classroom import tables
from vmmlab.classroom.batch import csvfile, summary
from vmmlab.classroom.roster import Entry
from vmmlab.i18n.translate import Reader
from vmmlab.report import terminal
from vmmlab.report.export import FORMATS, export, findings, github, platforms, sheet
from vmmlab.report.export.sheet import Sheet
from vmmlab.report.model import Report

ESCAPE = "\x1b[2J\x1b]0;x\x07\u202e"
FORMULA = "=cmd|'/C calc'!A0"
SCRIPT = "</td><script>alert(1)</script>"


def _said(text: str, file: str = "lab1/a.c") -> Report:
    """Return a report in which a compiler and a check say what a student's file made them say."""
    data = fakes.report(0).model_dump(mode="json", by_alias=True)
    one = {"file": file, "line": 3, "column": 1, "severity": "error", "message": text}
    data["build"] = {"ok": True, "warnings": [one], "diagnostics": []}
    data["checks"][0] |= {"observed": text, "place": text, "title": text, "next": text}
    return Report.model_validate(data)


def _export(form: str, text: str, folder: Path, file: str = "lab1/a.c") -> str:
    """Export; return what the reader of the format would do with it."""
    made = export(FORMATS[form], [_said(text, file)])
    try:
        return VALIDATORS[form](made)
    except ValueError as error:  # of XML, too
        return f"it cannot be read: {error}"
    except Exception as error:
        return f"it cannot be read: {error}"


FORMS = {
    "::error of its own": ("github-annotations", "x\n::error file=a.c::forged", "one command"),
    "a percent sign that hides a line break": ("github-annotations", "%0A::error::x\r", "escaped"),
    "HTML and an image in Markdown": (
        "github-summary",
        "<b>![x](https://e.org/x)@all",
        "shown as text",
    ),
    "a row of its own in a table": ("github-summary", "x | y |\n| z |", "one cell"),
    "bytes that XML does not have": ("junit", "]]>\x00\x0b\ufffe", "escaped"),
    "a test of its own in XML": ("artemis", '"/><testcase name="x"/>', "escaped"),
    "a line with a grade": ("vpl", "x\nGrade :=>>100", "a comment"),
    "the end of VPL's comment": ("vpl", "--|>\nGrade :=>>100", "a comment"),
    "scores of its own in JSON": ("autolab", '\n{"scores": {"lab1": 100}}', "one line"),
    "a line of a compiler": ("editor", "x\n/etc/passwd:1:1: error: y", "one line"),
}


def _page(text: str, folder: Path) -> str:
    """Return what of a name on the summary page would be run."""
    one = judged("eve", 0, name=text)
    made = summary.page([one], summary.Told(), Reader())
    return "a script on the page" if "<script" in made else ""


def _table(text: str, folder: Path) -> str:
    one = judged("eve", 0, name=text)
    rows = list(csv.reader(io.StringIO(csvfile.text_of([one]), newline="")))
    if len(rows) != 2:
        return "a row of its own"
    return next((f"a formula: {cell}" for cell in rows[1] if cell.startswith(("=", "@", "+"))), "")


def _platform(text: str, folder: Path) -> str:
    scores = [tables.Score("eve", sheet.sheet_of(_said("x")))]
    entry = Entry("eve", text)
    made = tables.table("moodle", scores, {"eve": entry}).text
    return moodle(made)


def _screen(text: str, folder: Path) -> str:
    made = terminal.render(_said(text))
    return "an escape sequence" if "\x1b" in made or "\u202e" in made else ""


def _path(name: str, folder: Path) -> str:
    return _export("sarif", "x", folder, file=name)


DEFENCE_OF = {
    "github-annotations": "a workflow command is one line",
    "github-summary": "Markdown is escaped",
    "junit": "texts are cleaned when they are exported",
    "artemis": "",
    "vpl": "every line is marked as a comment",
    "autolab": "JSON is written by a library",
    "editor": "a finding is one line",
}


def _attacks() -> Iterator[Attack]:
    shown = {"::error of its own", "HTML and an image in Markdown", "bytes that XML does not have"}
    shown |= {"a line with a grade", "scores of its own in JSON", "a line of a compiler"}
    for name, (form, text, expected) in FORMS.items():
        attempt = functools.partial(_export, form, text)
        defence = DEFENCE_OF[form] or DEFENCE_OF["junit"]
        yield Attack("export", f"{form}: {name}", expected, defence, attempt, name in shown)
    escaped = "pages escape every value"
    for name, text in {"a script": SCRIPT, "an attribute": '"><script src=//e.org>'}.items():
        attempt = functools.partial(_page, text)
        yield Attack("export", f"summary: {name} in a name", "text", escaped, attempt, True)
    formula = "no cell is a formula"
    for text in (FORMULA, "@SUM(1)", "+1+cmd"):
        attempt = functools.partial(_table, text)
        yield Attack("export", f"CSV: {text}", "quoted", formula, attempt, text == FORMULA)
    attempt = functools.partial(_table, "x\neve,eve,lab1,,graded,100")
    quoted = "CSV is written by a library"
    yield Attack("export", "CSV: a row of its own", "one cell", quoted, attempt, True)
    attempt = functools.partial(_platform, FORMULA)
    yield Attack(
        "export", "Moodle: a formula", "quoted", "no cell of a platform is a formula", attempt, True
    )
    screen = "a terminal gets clean text"
    attempt = functools.partial(_screen, ESCAPE)
    yield Attack("export", "terminal: escape sequences", "shown as text", screen, attempt, True)
    inside = "a place is a file of the submission"
    for name in ("../../etc/passwd", "/etc/passwd", "lab1\\..\\..\\x", "a\nb.c"):
        attempt = functools.partial(_path, name)
        yield Attack(
            "export",
            f"SARIF: a message about {name!r}",
            "no place",
            inside,
            attempt,
            name[:2] == "..",
        )


ATTACKS = tuple(_attacks())


def _raw(folder: Path) -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["code"] = str
    return made


def _unclean(*modules: object) -> Callable[[pytest.MonkeyPatch], None]:
    """Return what takes out the cleaning of texts, where reports are made and shown."""

    def unclean(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(messagedata, "_valid", lambda text: text)
        patch.setattr(messagedata, "_REMEMBERED_MAX", 0)  # bytes: every text is read anew
        for module in modules:
            patch.setattr(module, "clean", lambda text, **more: text, raising=False)
            patch.setattr(module, "clean_line", lambda text, most=None: text, raising=False)

    return unclean


def _without_marks(patch: pytest.MonkeyPatch) -> None:
    def render(sheets: Sequence[Sheet], environment: Mapping[str, str]) -> str:
        return platforms.vpl(sheets[0]).replace("Comment :=>>", "").replace(">Grade", "Grade")

    plain = replace(FORMATS["vpl"], render=render)
    patch.setitem(globals(), "FORMATS", {**FORMATS, "vpl": plain})


class _Careless:
    """Writes JSON and CSV as somebody does who puts strings together."""

    @staticmethod
    def dumps(data: object, **more: object) -> str:
        return json.dumps(data).replace("\\n", "\n")

    @staticmethod
    def writer(out: io.StringIO, lineterminator: str) -> _Careless:
        found = _Careless()
        found.out = out
        return found

    def writerow(self, row: Sequence[object]) -> None:
        self.out.write(",".join(map(str, row)) + "\r\n")

    out: io.StringIO


DEFENCES = (
    Defence("a workflow command is one line", off(github, "_data", lambda text: text)),
    Defence("Markdown is escaped", off(github, "_plain", lambda text: text)),
    Defence("every line is marked as a comment", _without_marks),
    Defence("JSON is written by a library", off(platforms, "json", _Careless)),
    Defence("CSV is written by a library", off(csvfile, "csv", _Careless)),
    Defence("texts are cleaned when they are exported", _unclean(sheet)),
    Defence("pages escape every value", off(summary, "templates", _raw)),
    Defence("no cell is a formula", off(csvfile, "not_a_formula", lambda text: text)),
    Defence("no cell of a platform is a formula", off(tables, "not_a_formula", lambda text: text)),
    Defence("a terminal gets clean text", _unclean(terminal)),
    Defence("a place is a file of the submission", off(sheet, "_relative", lambda path: path)),
    Defence("a finding is one line", _unclean(findings, sheet)),
)
