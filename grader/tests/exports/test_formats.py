"""Every format, of any report: valid, with the report's points, and without anything hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_reports import SECRET, reports
from validators import VALIDATORS

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.course.load import load_course
from vmmlab.report import ungraded
from vmmlab.report.export import FORMATS, Format, export
from vmmlab.report.export.sheet import sheet_of
from vmmlab.report.model import Report, read_json
from vmmlab.report.schema import SAMPLE_FILE

RUNNER = {
    "CLASSROOM": "vmm26",
    "ASSIGNMENT": "lab3",
    "USERNAME": "ada",
    "SUBMISSION_TAG": "submit/20261129-abc",
    "COMMIT_URL": "https://example.org/c",
    "RELEASE_URL": "https://example.org/r",
}
QUICK = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def made(form: str, report: Report, *, hidden: bool = False) -> str:
    return export(FORMATS[form], [report], hidden=hidden, environment=RUNNER)


def test_each_format_has_a_validator() -> None:
    assert FORMATS.keys() == VALIDATORS.keys()


@pytest.mark.parametrize("form", FORMATS)
@QUICK
@given(report=reports())
def test_any_report_gives_valid_output_that_names_nothing_hidden(form: str, report: Report) -> None:
    try:
        text = made(form, report)
    except InfraError:
        assert report.needs_attention
        assert not FORMATS[form].ungraded
        return
    assert VALIDATORS[form](text) == ""
    assert len(text.encode()) <= FORMATS[form].most
    assert SECRET.lower() not in text.lower()
    if report.label:
        assert "4815162342" not in text


# --- points ---------------------------------------------------------------------------------------

Numbers = tuple[Fraction | None, list[Fraction | None]]
"""The total, and that of each check; None if the format gives none."""


def _gradescope(text: str) -> Numbers:
    data = json.loads(text, parse_float=Fraction, parse_int=Fraction)
    return data["score"], [test["score"] for test in data["tests"]]


def _classroom50(text: str) -> Numbers:
    data = json.loads(text)
    return Fraction(data["score"], 100), [Fraction(t["score"], 100) for t in data["tests"]]


def _prairielearn(text: str) -> Numbers:
    data = json.loads(text, parse_float=Fraction, parse_int=Fraction)
    tests = data["tests"]
    worth = sum(test["max_points"] for test in tests)
    return round(data["score"] * worth, 2), [test["points"] for test in tests]


def _bracketed(texts: list[str]) -> list[Fraction | None]:
    found = [re.findall(r"\((\d+(?:\.\d+)?)/\d+\)", text.split("\n")[0])[-1] for text in texts]
    return [Fraction(one) for one in found]


def _submitty(text: str) -> Numbers:
    data = json.loads(text)["data"]
    checks = [one["message"] for one in data["message"] if one["status"] != "information"]
    worth = sum(int(one.split("\n")[0].rsplit("/", 1)[1].rstrip(")")) for one in checks)
    return round(Fraction(data["score"]) * worth, 2), _bracketed(checks)


def _autolab(text: str) -> Numbers:
    data = json.loads(text.split("\n")[1], parse_float=Fraction, parse_int=Fraction)
    return data["scores"]["lab3"], []


def _vpl(text: str) -> Numbers:
    grade = re.findall(r"^Grade :=>>(.*)$", text, re.MULTILINE)
    checks = re.findall(r"^Comment :=>>-lab3[.].*$", text, re.MULTILINE)
    return Fraction(grade[0]), _bracketed(checks)


def _junit(text: str) -> Numbers:
    cases = ElementTree.fromstring(text).iter("testcase")
    told = [case[0].text or "" if len(case) else "" for case in cases]
    return None, [_bracketed([one])[0] if one else None for one in told]


POINTS: Mapping[str, Callable[[str], Numbers]] = {
    "gradescope": _gradescope,
    "classroom50": _classroom50,
    "prairielearn": _prairielearn,
    "submitty": _submitty,
    "autolab": _autolab,
    "vpl": _vpl,
    "artemis": _junit,
    "junit": _junit,
}


@pytest.mark.parametrize("form", POINTS)
@QUICK
@given(report=reports(judged=True), hidden=st.booleans())
def test_points_never_change(form: str, report: Report, hidden: bool) -> None:
    hidden = hidden and report.hidden_judged
    whole, parts = POINTS[form](made(form, report, hidden=hidden))
    expected = Fraction(str(report.points))
    checks = [Fraction(str(one.points)) for one in report.checks if one.visibility == "visible"]
    if hidden:
        checks.append(Fraction(str(report.hidden_points)))
        expected += checks[-1]
    if whole is not None:
        assert whole == expected
    if parts:
        assert len(parts) == len(checks)
        assert all(part in (None, known) for part, known in zip(parts, checks, strict=True))


@pytest.mark.parametrize("form", FORMATS)
@QUICK
@given(report=reports(judged=True), hidden=st.just(True))
def test_the_hidden_line_names_nothing(form: str, report: Report, hidden: bool) -> None:
    if not report.hidden_judged:
        with pytest.raises(UsageError, match="no points for hidden checks"):
            made(form, report, hidden=True)
        return
    text = made(form, report, hidden=True)
    assert VALIDATORS[form](text) == ""
    assert SECRET.lower() not in text.lower()


@pytest.mark.parametrize("form", POINTS)
def test_without_a_judgement_there_are_no_points(form: str) -> None:
    report = read_json(SAMPLE_FILE)
    assert report.points is None
    if not FORMATS[form].ungraded:
        with pytest.raises(InfraError, match="no grade yet"):
            made(form, report)
        return
    text = made(form, report)
    assert VALIDATORS[form](text) == ""
    assert not re.search(r'"score"|"points"|Grade :=>>', text)


# --- what is no grade -----------------------------------------------------------------------------


def changed(report: Report, **fields: object) -> Report:
    return Report.model_validate({**json.loads(report.to_json()), **fields})


@pytest.fixture
def graded() -> Report:
    """The sample without the check that could not be judged."""
    data = json.loads(SAMPLE_FILE.read_text(encoding="utf-8"))
    del data["checks"][-1]
    return Report.model_validate({**data, "points": 13.33, "max": 35, "needs_attention": False})


@pytest.mark.parametrize("form", [name for name, one in FORMATS.items() if one.grade])
def test_a_partial_run_is_refused(form: str, graded: Report) -> None:
    with pytest.raises(UsageError, match="only some of the checks"):
        made(form, changed(graded, partial_run=True))


def check(report: Report, number: int, **fields: object) -> list[dict[str, object]]:
    checks = json.loads(report.to_json())["checks"]
    checks[number] |= fields
    return checks


CONTRADICTIONS: Mapping[str, Callable[[Report], dict[str, object]]] = {
    "a better total": lambda report: {"points": 35},
    "another maximum": lambda report: {"max": 13.33},
    "no total": lambda report: {"points": None},
    "more than the maximum": lambda r: {"checks": check(r, 0, points=6), "points": 14.33},
    "a check twice": lambda r: {"checks": check(r, 0, id="lab3.ljmpw.target")},
    "an id that is none": lambda r: {"checks": check(r, 0, id="../x")},
    "a third of a cent": lambda r: {"checks": check(r, 0, points=0.001), "points": 8.331},
    "a machine that is none": lambda report: {"arch": "vax\n"},
    "points for what was not judged": lambda r: {
        "checks": check(r, 0, points=None),
        "points": None,
    },
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_report_that_contradicts_itself_is_refused(name: str, graded: Report) -> None:
    sheet_of(graded)
    wrong = changed(graded, **CONTRADICTIONS[name](graded))
    with pytest.raises(UsageError, match="contradicts itself") as caught:
        sheet_of(wrong)
    assert "\n" not in str(caught.value.found)


def test_a_lab_without_points_has_no_share(graded: Report) -> None:
    free = changed(graded, checks=check(graded, 0, points=0, max=0)[:1], points=0, max=0)
    assert json.loads(made("gradescope", free))["score"] == 0
    for form in ("prairielearn", "submitty"):
        with pytest.raises(UsageError, match="no points"):
            made(form, free)


def test_classroom50_needs_its_runner(graded: Report) -> None:
    for name in RUNNER:
        less = {key: value for key, value in RUNNER.items() if key != name}
        with pytest.raises(UsageError, match=name):
            export(FORMATS["classroom50"], [graded], environment=less)


# --- several reports ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [name for name, one in FORMATS.items() if one.together])
@QUICK
@given(one=reports(), other=reports(lab="lab4"))
def test_labs_together(form: str, one: Report, other: Report) -> None:
    text = export(FORMATS[form], [one, other])
    assert VALIDATORS[form](text) == ""
    with pytest.raises(UsageError, match="same lab"):
        export(FORMATS[form], [one, one])


# --- size -----------------------------------------------------------------------------------------


def test_a_file_that_is_too_large_loses_text_and_no_points(graded: Report) -> None:
    long = "an observation " * 250
    report = changed(
        graded, checks=[{**one, "observed": {"text": long}} for one in check(graded, 0)]
    )
    whole = made("gradescope", report)
    assert long.strip() in whole
    small = Format(FORMATS["gradescope"].render, "results.json", most=len(whole.encode()) // 2)
    text = export(small, [report])
    assert len(text.encode()) <= small.most
    assert VALIDATORS["gradescope"](text) == ""
    assert _gradescope(text) == _gradescope(whole)
    with pytest.raises(UsageError, match="too large"):
        export(Format(small.render, "results.json", most=100), [report])


# --- where a finding is shown ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("trampoline+0x2f, cpuinit_start+0x2f (lab3/apinit.S:78), `lgdtl 0xb0`", 78),
        ("ap_entry (core/entry.S:9)", 158),  # another file: where the TODO of the step still is
        ("xlab3/apinit.S:78", 158),
        ("", 158),
    ],
)
def test_a_finding_is_at_the_line_of_the_evidence(graded: Report, place: str, shown: int) -> None:
    step = {"id": "lab3.5", "title": "t", "file": "lab3/apinit.S", "function": "cpuinit_start"}
    failed = next(n for n, one in enumerate(graded.checks) if one.outcome == "fail")
    wrong = check(graded, failed, place=place, mistake={**step, "line": 158})
    text = export(FORMATS["editor"], [changed(graded, checks=wrong)])
    assert f"lab3/apinit.S:{shown}:1: error" in text


def test_a_finding_without_a_file_is_at_the_folder_of_the_lab(graded: Report) -> None:
    failed = next(n for n, one in enumerate(graded.checks) if one.outcome == "fail")
    report = changed(graded, checks=check(graded, failed, mistake=None, place=""))
    name = graded.checks[failed].id
    (run,) = json.loads(made("sarif", report))["runs"]
    (found,) = (one for one in run["results"] if one["ruleId"] == name)
    assert found["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "lab3", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1},
    }
    issues = json.loads(made("gitlab-codequality", report))
    (issue,) = (one for one in issues if one["check_name"] == name)
    assert issue["location"] == {"path": "lab3", "lines": {"begin": 1}}


# --- what a platform shows of a failure -----------------------------------------------------------


def artemis_shows(case: ElementTree.Element) -> str:
    """As TestResultXmlParser of Artemis: the attribute if there is one, and else the text."""
    return case[0].get("message", case[0].text or "")


def gitlab_shows(case: ElementTree.Element) -> str:
    """As lib/gitlab/ci/parsers/test/junit.rb of GitLab: the text; attributes are lost."""
    return case[0].text or ""


@pytest.mark.parametrize(("form", "shown"), [("artemis", artemis_shows), ("junit", gitlab_shows)])
def test_a_platform_shows_why_a_test_fails(
    form: str, shown: Callable[[ElementTree.Element], str], graded: Report
) -> None:
    failed = next(one for one in graded.checks if one.outcome == "fail")
    cases = ElementTree.fromstring(made(form, graded)).iter("testcase")
    (case,) = (one for one in cases if one.get("name") == failed.id)
    assert shown(case).startswith(f"{failed.title} ({failed.points}/{failed.max})\n")
    assert "observed: " in shown(case)


@pytest.mark.parametrize("form", [name for name, one in FORMATS.items() if one.grade])
def test_the_first_error_of_the_compiler_is_in_what_is_shown(form: str, graded: Report) -> None:
    at = {"file": "lab3/ap_start.c", "line": 188, "column": 9}
    notes = [{**at, "severity": "note", "message": "declared here"}]
    errors = [{**at, "severity": "error", "message": "stray token in program"}]
    checks = [
        {**one, "outcome": "build-error", "points": 0}
        for one in json.loads(graded.to_json())["checks"]
    ]
    build = {"ok": False, "diagnostics": notes + errors}
    report = changed(graded, checks=checks, points=0, build=build)
    text = made(form, report)
    assert VALIDATORS[form](text) == ""
    assert "lab3/ap_start.c:188:9: error: stray token in program" in text


NOT_GRADED = sorted(FORMATS.keys() - {"editor", "classroom50"})


@pytest.mark.parametrize("form", NOT_GRADED)
def test_what_was_not_graded_is_told_once_and_blames_no_compiler(
    form: str,
) -> None:
    course = load_course(Path(__file__).parents[3])
    why = "lab3/apinit.S is missing"
    report = ungraded.report(course, "lab3", "x86_64", "dev", why, attention=False, hidden=False)
    text = made(form, report)
    assert why in re.sub(r"\\+", "", text)
    assert "compiler" not in text
    assert "lab3.ljmpw.present: lab3.ljmpw.present" not in text
    assert f"note: {why}" not in text
