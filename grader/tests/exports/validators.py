"""Says what is wrong with an export: one function for each format; it returns "" if nothing is."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema

SCHEMAS = Path(__file__).with_name("schemas")


def _against(schema: Any, data: Any) -> str:
    validator = jsonschema.validators.validator_for(schema)(schema)
    found = next(iter(validator.iter_errors(data)), None)
    return "" if found is None else f"{list(found.absolute_path)}: {found.message[:200]}"


def _schema(name: str) -> Any:
    return json.loads((SCHEMAS / name).read_text(encoding="utf-8"))


def _strict(text: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def gradescope(text: str) -> str:
    data = _strict(text)
    wrong = _against(_schema("gradescope.json"), data)
    if not wrong and round(sum(test["score"] for test in data["tests"]), 2) != data["score"]:
        wrong = "the tests do not add up to the score"
    return wrong


def classroom50(text: str) -> str:
    data = _strict(text)
    wrong = _against(_schema("classroom50.json"), data)
    if not wrong:  # what the runner of Classroom 50 refuses
        pairs = [(data["score"], data["max-score"])]
        pairs += [(test["score"], test["max-score"]) for test in data["tests"]]
        wrong = next((f"{score} of {most}" for score, most in pairs if score > most), "")
    return wrong


def prairielearn(text: str) -> str:
    if len(text.encode()) > 1_000_000:  # "External grading": limited to 1 MB
        return "more than 1 MB"
    return _against(_schema("prairielearn.json"), _strict(text))


def submitty(text: str) -> str:
    return _against(_schema("submitty.json"), _strict(text))


def autolab(text: str) -> str:
    lines = text.split("\n")
    if len(lines) != 3 or lines[2]:
        return "not two lines"
    schema = _schema("autolab.json")
    feedback, result = _strict(lines[0]), _strict(lines[1])
    wrong = _against({**schema, "$ref": "#/$defs/feedback"}, feedback)
    wrong = wrong or _against({**schema, "$ref": "#/$defs/result"}, result)
    if not wrong and set(feedback["stages"]) != feedback.keys() - {"_presentation", "stages"}:
        wrong = "the stages are not those that follow"
    return wrong


def vpl(text: str) -> str:
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        grade = re.fullmatch(r"Grade :=>>(\d+(\.\d{1,2})?)", line)
        if not line.startswith("Comment :=>>") and not (grade and number == len(lines)):
            return f"line {number}: {line[:60]}"
    return ""


# junit-10.xsd of Jenkins' xUnit plugin, as far as this kit uses it
_ATTRIBUTES: Mapping[str, tuple[set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname", "id", "package", "file"},
    ),
    "testcase": ({"name"}, {"time", "classname", "group"}),
    "failure": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "skipped": (set(), {"type", "message"}),
}
_INSIDE = {
    "testsuites": {"testsuite"},
    "testsuite": {"testcase"},
    "testcase": {"failure", "error", "skipped"},
    "failure": set[str](),
    "error": set[str](),
    "skipped": set[str](),
}


def junit(text: str) -> str:
    root = ElementTree.fromstring(text)
    if root.tag != "testsuites":
        return f"the root is {root.tag}"
    for element in root.iter():
        needed, allowed = _ATTRIBUTES[element.tag]
        names = set(element.attrib)
        if needed - names or names - needed - allowed:
            return f"{element.tag}: attributes {sorted(names)}"
        if wrong := {child.tag for child in element} - _INSIDE[element.tag]:
            return f"{element.tag}: {sorted(wrong)} inside"
    for suite in root:
        if not re.fullmatch(
            r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]{0,3})?", suite.get("time", "")
        ):
            return "time"
        for kind, key in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            if len(suite.findall(f"testcase/{kind}")) != int(suite.get(key, "0")):
                return f"{key} are {suite.get(key)}"
        if len(suite) != int(suite.get("tests", "-1")):
            return "tests"
    # GitLab ignores a second test of the same name; Artemis refuses it.
    names = [case.get("name") for case in root.iter("testcase")]
    ends = [end for kind in ("failure", "error", "skipped") for end in root.iter(kind)]
    if not all((end.text or "").strip() for end in ends):
        return "no text, and GitLab shows nothing else"
    return "" if len(names) == len(set(names)) else "a name stands there twice"


def artemis(text: str) -> str:
    wrong = junit(text)
    if not wrong and "<skipped" in text:
        wrong = "a test is skipped"
    if not wrong and re.search(r"<(failure|error) [^>]*message=", text):
        wrong = "a headline, of which Artemis shows nothing else"
    return wrong


def summary(text: str) -> str:
    if len(text.encode()) > 1024 * 1024:
        return "more than 1 MiB"
    for line in text.split("\n"):
        if re.search(r"(?<!\\)[`*\[\]]|<(?!/?br>)|(?<!&)#(?!#* )|@|://", line):
            return f"Markdown or HTML: {line[:80]}"
        if line.startswith("|") and len(re.findall(r"(?<!\\)\|", line)) != 5:
            return f"not four cells: {line[:80]}"
    return ""


_COMMAND = re.compile(
    r"::(error|warning) (KEY=[^,:\r\n]*(,KEY=[^,:\r\n]*)*)?::[^\r\n]*".replace(
        "KEY", "(file|line|col|title)"
    )
)


def commands(text: str) -> str:
    lines = text.split("\n")
    if lines.pop():
        return "no line end"
    for line in lines:
        if not _COMMAND.fullmatch(line):
            return f"no command: {line[:80]}"
    kinds = [line.split(" ")[0] for line in lines]
    most = max(map(kinds.count, kinds), default=0)
    return "" if most <= 10 else f"{most} of a kind; GitHub shows 10"


def codequality(text: str) -> str:
    data = _strict(text)
    wrong = _against(_schema("gitlab-codequality.json"), data)
    if not wrong and len({issue["fingerprint"] for issue in data}) != len(data):
        wrong = "a fingerprint stands there twice"
    return wrong


_SARIF = _schema("sarif-2.1.0-rtm.5.json")


def sarif(text: str) -> str:
    data = _strict(text)
    wrong = _against(_SARIF, data)
    if wrong:
        return wrong
    (run,) = data["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    if len(rules) != len(set(rules)):
        return "a rule stands there twice"
    for result in run["results"]:
        if rules[result["ruleIndex"]] != result["ruleId"]:
            return "ruleIndex"
        # GitHub refuses the whole file for one result without a place in a file.
        for place in result["locations"] or [{}]:
            uri = place.get("physicalLocation", {}).get("artifactLocation", {}).get("uri", "/")
            if (
                uri.startswith("/")
                or ".." in uri.split("/")
                or not re.fullmatch(r"[\w.~/%-]+", uri)
            ):
                return f"uri {uri}"
    return ""


def canvas(text: str) -> str:
    """GradebookImporter of canvas-lms: header?, process_pp."""
    rows = _rows(text)
    if isinstance(rows, str):
        return rows
    head, possible, *students = rows
    if "Student" not in head[0] or "ID" not in head[1] or head[4] != "Section":
        return "header"
    if "Points Possible" not in possible[0]:
        return "no row with the possible points"
    return next((f"no score: {row}" for row in students if not _is_number(row[5])), "")


def moodle(text: str) -> str:
    rows = _rows(text)
    if isinstance(rows, str):
        return rows
    return next((f"no score: {row}" for row in rows[1:] if not _is_number(row[-1])), "")


def _rows(text: str) -> list[list[str]] | str:
    if re.search(r"(?<!\r)\n\Z", text) or not text.endswith("\r\n"):
        return "lines do not end with CR LF"
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    if len({len(row) for row in rows}) != 1:
        return "rows of different length"
    cells = [cell for row in rows for cell in row]
    return next((f"a formula: {cell}" for cell in cells if cell[:1] in "=+-@|\t\r" and cell), rows)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d{1,2})?", text) is not None


_EDITOR = re.compile(r"[^:\n\x00-\x1f]+:[1-9]\d*:[1-9]\d*: (error|warning|info): [^\x00-\x1f]*\]")


def editor(text: str) -> str:
    """As the problem matcher in the workspace's .vscode/tasks.json reads it."""
    wrong = [one for one in text.splitlines() if not _EDITOR.fullmatch(one)]
    return f"no problem: {wrong[0]!r}" if wrong else ""


VALIDATORS: Mapping[str, Callable[[str], str]] = {
    "gradescope": gradescope,
    "classroom50": classroom50,
    "prairielearn": prairielearn,
    "submitty": submitty,
    "autolab": autolab,
    "vpl": vpl,
    "junit": junit,
    "artemis": artemis,
    "github-summary": summary,
    "github-annotations": commands,
    "gitlab-codequality": codequality,
    "editor": editor,
    "sarif": sarif,
}
