"""Known-wrong files: what each validator must refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from test_formats import RUNNER
from validators import VALIDATORS, canvas, moodle

from vmmlab.report.export import FORMATS, export
from vmmlab.report.model import Report
from vmmlab.report.schema import SAMPLE_FILE


@pytest.fixture(scope="module")
def good() -> dict[str, str]:
    """A right file of each format."""
    data = json.loads(SAMPLE_FILE.read_text(encoding="utf-8"))
    del data["checks"][-1]
    data |= {"points": 13.33, "max": 35, "needs_attention": False}
    report = Report.model_validate(data)
    return {name: export(form, [report], environment=RUNNER) for name, form in FORMATS.items()}


def edit(change: Callable[[Any], object]) -> Callable[[str], str]:
    def edited(text: str) -> str:
        data = json.loads(text)
        change(data)
        return json.dumps(data)

    return edited


def put(*path: Any, to: Any) -> Callable[[str], str]:
    def change(data: Any) -> None:
        for part in path[:-1]:
            data = data[part]
        data[path[-1]] = to

    return edit(change)


def swap(old: str, new: str) -> Callable[[str], str]:
    def swapped(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return swapped


_SKIPS = (
    '<testsuites><testsuite name="lab3" tests="1" failures="0" errors="0" skipped="1" time="1">'
    '<testcase name="lab3.ljmpw.present"><skipped>x</skipped></testcase></testsuite></testsuites>'
)
_PLACE = ("runs", 0, "results", 0, "locations", 0, "physicalLocation")
WRONG: list[tuple[str, str, Callable[[str], str]]] = [
    ("gradescope", "no score", edit(lambda data: data.pop("score"))),
    ("gradescope", "points as text", put("score", to="13.33")),
    ("gradescope", "unknown visibility", put("tests", 0, "visibility", to="secret")),
    ("gradescope", "unknown status", put("tests", 0, "status", to="partial")),
    ("gradescope", "no score of a test", put("tests", 0, "score", to=None)),
    ("gradescope", "a better total", put("score", to=35)),
    ("classroom50", "a fraction", put("score", to=13.33)),
    ("classroom50", "more than the maximum", put("tests", 0, "score", to=10**6)),
    ("classroom50", "another schema", put("schema", to="classroom50/result/v2")),
    ("classroom50", "a key more", put("usernames", to=[])),
    ("classroom50", "no tag", put("submission", to="v1")),
    ("classroom50", "a time with a zone", put("datetime", to="2026-11-29T04:00:00+09:00")),
    ("prairielearn", "points in place of a share", put("score", to=13.33)),
    ("prairielearn", "no points of a test", edit(lambda data: data["tests"][0].pop("points"))),
    ("prairielearn", "a score that is not gradable", put("gradable", to=False)),
    ("prairielearn", "too large", put("output", to="x" * 1_000_000)),
    ("submitty", "points in place of a share", put("data", "score", to=13.33)),
    ("submitty", "no messages", put("data", "message", to=[])),
    ("submitty", "an unknown colour", put("data", "message", 0, "status", to="green")),
    ("submitty", "a failure with a score", put("status", to="failure")),
    ("autolab", "text behind the scores", lambda text: text + "done\n"),
    ("autolab", "scores first", lambda text: "\n".join(reversed(text.strip().split("\n"))) + "\n"),
    ("autolab", "points as text", swap('"lab3": 13.33', '"lab3": "13.33"')),
    ("autolab", "a stage that is not there", swap('["Checks"]', '["Build"]')),
    ("vpl", "a forged grade", lambda text: "Grade :=>>35\n" + text),
    ("vpl", "a text without its mark", swap("Comment :=>>>where", "where")),
    ("vpl", "a decimal comma", swap("Grade :=>>13.33", "Grade :=>>13,33")),
    ("junit", "a name twice", swap("lab3.ljmpw.target", "lab3.ljmpw.present")),
    ("junit", "a wrong count", swap('failures="2"', 'failures="1"')),
    ("junit", "an attribute that is none", swap("<testcase ", '<testcase points="5" ')),
    ("junit", "no name", swap('name="lab3.ljmpw.present" ', "")),
    ("junit", "a time that is none", swap('time="1.204"', 'time="1e3"')),
    ("artemis", "a skipped test", lambda text: _SKIPS),
    ("artemis", "a headline", swap("<failure ", '<failure message="x" ')),
    ("junit", "no text", lambda text: re.sub(r"(<failure [^>]*)>[^<]*<", r"\1><", text)),
    ("artemis", "a name twice", swap("lab3.ljmpw.target", "lab3.ljmpw.present")),
    ("github-summary", "HTML", swap("lab3", "<img src=x>")),
    ("github-summary", "a cell more", swap(" 5/5 |", " 5/5 | x |")),
    ("github-summary", "an image", swap("where", "![x](y)")),
    ("editor", "a line of its own", swap(" [lab3", "\n[lab3")),
    ("editor", "no severity", swap(": error: ", ": ")),
    ("github-annotations", "a line of its own", swap("%0A", "\n")),
    ("github-annotations", "another command", swap("::error", "::set-output")),
    ("github-annotations", "a comma in a title", swap("title=lab3", "title=lab3,x")),
    ("github-annotations", "eleven errors", lambda text: text.split("\n")[0].join(["", "\n"]) * 11),
    ("gitlab-codequality", "an unknown severity", put(0, "severity", to="error")),
    ("gitlab-codequality", "line 0", put(0, "location", "lines", "begin", to=0)),
    ("gitlab-codequality", "a path with ./", put(0, "location", "path", to="./lab3/a.c")),
    ("gitlab-codequality", "a fingerprint twice", edit(lambda data: data.append(data[0]))),
    ("sarif", "another version", put("version", to="2.0.0")),
    ("sarif", "a level that is none", put("runs", 0, "results", 0, "level", to="fatal")),
    ("sarif", "no message", edit(lambda data: data["runs"][0]["results"][0].pop("message"))),
    ("sarif", "no place", put("runs", 0, "results", 0, "locations", to=[])),
    (
        "sarif",
        "no file",
        put("runs", 0, "results", 0, "locations", to=[{"logicalLocations": [{"name": "x"}]}]),
    ),
    ("sarif", "another rule", put("runs", 0, "results", 0, "ruleIndex", to=1)),
    (
        "sarif",
        "a path outside",
        put(
            *_PLACE,
            "artifactLocation",
            "uri",
            to="../x",
        ),
    ),
    (
        "sarif",
        "line 0",
        put(*_PLACE, "region", "startLine", to=0),
    ),
]


@pytest.mark.parametrize(("form", "name", "change"), WRONG, ids=[f"{f}: {n}" for f, n, _ in WRONG])
def test_a_wrong_file_is_noticed(
    form: str, name: str, change: Callable[[str], str], good: dict[str, str]
) -> None:
    assert VALIDATORS[form](good[form]) == ""
    assert VALIDATORS[form](change(good[form])) != "", name


def test_each_format_has_two_wrong_files() -> None:
    forms = [form for form, _, _ in WRONG]
    assert [form for form in FORMATS if forms.count(form) < 2] == []


TABLE = (
    "Student,ID,SIS User ID,SIS Login ID,Section,lab3\r\n"
    "    Points Possible,,,,,35\r\nada,,,ada,,5\r\n"
)


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace("\r\n", "\n"),
        TABLE.replace("Student", "Name"),
        TABLE.replace("    Points Possible", "ada"),
        TABLE.replace("ada,,,ada,,5", "ada,,,ada,,"),
        TABLE.replace("ada,,,ada,,5", "ada,,,ada,5"),
        TABLE.replace("ada,,,", "=1+1,,,"),
    ],
)
def test_a_wrong_table_is_noticed(text: str) -> None:
    assert canvas(TABLE) == ""
    assert canvas(text) != ""


def test_a_wrong_table_of_moodle_is_noticed() -> None:
    right = "ID number,Email address,First name,Last name,lab3\r\nada,,,,5\r\n"
    assert moodle(right) == ""
    assert moodle(right.replace(",5", ",-")) != ""
    assert moodle(right.replace("ada", "@ada")) != ""
