"""Marks from a report: points, comments, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from gradebook_helpers import COURSE, FAIL, INFRA, make_report, write_course
from pydantic import ValidationError

from vmmlab.base.errors import UsageError
from vmmlab.base.text import cells
from vmmlab.classroom.gradebook import notebook
from vmmlab.classroom.gradebook.marks import Mark, compiler_lines, from_report
from vmmlab.course.model import Course
from vmmlab.i18n.translate import Reader
from vmmlab.report.model import Report

SKIPPED: dict[str, Any] = {
    "points": 0,
    "outcome": "skipped",
    "waited_for": "lab3.jump.target",
    "reason": "waits for lab3.jump.target",
}


def marks(course: Course, **checks: Any) -> dict[str, Mark]:
    report = make_report(course, **checks)
    return {mark.cell: mark for mark in from_report(report, course.lab("lab3"))}


def test_every_visible_check_is_a_cell_in_the_order_of_the_course(course: Course) -> None:
    assert list(marks(course)) == [
        "lab3-jump-present",
        "lab3-jump-target",
        "lab3-ladder-long",
        "lab3-hidden",
    ]
    assert [(m.score, m.max, m.comment) for m in marks(course).values()] == [
        (2, 2, ""),
        (3, 3, ""),
        (5, 5, ""),
        (4, 4, ""),
    ]


def test_a_failure_says_its_cause_and_one_hint(course: Course) -> None:
    mark = marks(course, jump_target=FAIL)["lab3-jump-target"]
    assert mark.score == 0
    assert mark.comment == (
        "far-jump-wrong-target: The segment is an address divided by 16. "
        "Hint: Work it out by hand: segment * 16 + offset."
    )
    shown = "\n".join(mark.lines)
    assert shown.startswith("fail: 0 of 3 points\n")
    for part in ("0xf000\n", "0xf0000\n", "physical address 0", "--seed 7 -k lab3.jump.target"):
        assert part in shown
    assert "second level" not in shown
    assert "/home/prof" not in shown


def test_a_japanese_gradebook_says_it_in_japanese(course: Course) -> None:
    say = Reader("ja")
    report = make_report(course, jump_target=FAIL, ladder_long=SKIPPED, secret_trick=INFRA)
    lab = course.lab("lab3")
    found = {mark.cell: mark for mark in from_report(report, lab, say)}
    mark = found["lab3-jump-target"]
    assert mark.lines[0] == "失敗：0/3 点"
    assert "ヒント：" in mark.comment
    assert any(line.startswith("期待：") for line in mark.lines)
    assert (
        found["lab3-ladder-long"].comment == "実行していません。lab3.jump.target を待っています。"
    )
    assert "0 点にはならず" in found["lab3-hidden"].comment
    assert found["lab3-hidden"].title == "非公開チェック。何を試すかは表示しません。"
    plain = {mark.cell: mark for mark in from_report(report, lab)}
    assert [(m.score, m.max) for m in found.values()] == [(m.score, m.max) for m in plain.values()]


def test_japanese_lines_are_wrapped_by_their_width(course: Course) -> None:
    report = make_report(course, jump_target={**FAIL, "observed": "遠いジャンプの行き先" * 20})
    marks_ = from_report(report, course.lab("lab3"), Reader("ja"))
    shown = notebook.text("t", {}, marks_, (), Reader("ja"))
    parts = json.loads(shown)["cells"]
    lines = "".join("".join(o["text"]) for c in parts for o in c.get("outputs", ())).splitlines()
    assert any("遠い" in line for line in lines)
    assert max(map(cells, lines)) <= 88


def test_partial_points(course: Course) -> None:
    mark = marks(course, ladder_long={**FAIL, "points": 2.5, "outcome": "partial"})
    assert mark["lab3-ladder-long"].score == 2.5
    assert mark["lab3-ladder-long"].lines[0] == "partly: 2.5 of 5 points"


def test_a_check_that_waited_has_0_points_and_says_for_what(course: Course) -> None:
    mark = marks(course, jump_target=FAIL, ladder_long=SKIPPED)["lab3-ladder-long"]
    assert (mark.score, mark.comment) == (0, "Not run: it waits for lab3.jump.target.")


def test_code_that_does_not_build_has_0_points_and_says_why(course: Course) -> None:
    broken = {"points": 0, "outcome": "build-error", "reason": "the code does not build"}
    build = {
        "ok": False,
        "diagnostics": [
            {"file": "lab3/ap_start.c", "line": 3, "severity": "note", "message": "in this"},
            {"file": "lab3/ap_start.c", "line": 4, "severity": "error", "message": "expected ';'"},
        ],
    }
    ids = ("jump_present", "jump_target", "ladder_long", "secret_trick")
    report = make_report(course, changes={"build": build}, **dict.fromkeys(ids, broken))
    first = from_report(report, course.lab("lab3"))[0]
    assert first.score == 0
    assert first.comment == (
        "The code does not compile, so nothing could be graded. "
        "lab3/ap_start.c:4: error: expected ';'"
    )
    assert compiler_lines(report)[1] == "lab3/ap_start.c:4: error: expected ';'"
    assert compiler_lines(make_report(course)) == ()


@pytest.mark.parametrize(
    "broken", [INFRA, {**INFRA, "points": 0}, {"points": None, "outcome": "fail"}]
)
def test_what_the_grader_could_not_judge_is_never_0(course: Course, broken: Any) -> None:
    mark = marks(course, jump_target=broken)["lab3-jump-target"]
    assert mark.score is None
    assert "does not count as 0" in mark.comment
    assert "QEMU" not in "".join(mark.lines) + mark.comment  # for the instructor only
    assert mark.trouble


def test_a_real_0_is_0(course: Course) -> None:
    assert marks(course, jump_target=FAIL)["lab3-jump-target"].score == 0


# --- hidden checks ---------------------------------------------------------------------------


def test_hidden_checks_show_points_and_nothing_else(course: Course) -> None:
    found = marks(course, secret_trick=FAIL, ladder_long={**SKIPPED, "waited_for": None})
    mark = found["lab3-hidden"]
    assert (mark.score, mark.max, mark.lines, mark.comment) == (0, 4, ("0 of 4 points",), "")


def test_hidden_checks_that_course_yml_names_are_missed(course: Course, tmp_path: Path) -> None:
    text = COURSE.replace("    points:", "    hidden_points: 2\n    points:", 1)
    both = write_course(
        tmp_path, f"{text}    hidden:\n      lab3.hidden.one: {{points: 2, step: lab3.1}}\n"
    )
    assert marks(both)["lab3-hidden"].max == marks(course)["lab3-hidden"].max + 2
    with pytest.raises(UsageError, match="lacks checks") as caught:
        from_report(make_report(course), both.lab("lab3"))
    assert "--hidden" in str(caught.value)


def test_a_visible_check_does_not_name_the_hidden_one_it_waits_for(course: Course) -> None:
    waits = {**SKIPPED, "waited_for": "lab3.secret.trick", "reason": "waits for lab3.secret.trick"}
    mark = marks(course, ladder_long=waits)["lab3-ladder-long"]
    assert mark.comment == "Not run: it waits for a hidden check."
    assert "secret" not in repr(mark)


def test_a_hidden_check_that_nobody_judged_is_not_0_either(course: Course) -> None:
    mark = marks(course, secret_trick=INFRA)["lab3-hidden"]
    assert mark.score is None
    assert "lab3.secret.trick: QEMU did not start" in str(mark.trouble)
    assert "secret" not in "".join((*mark.lines, mark.comment, mark.title))


# --- refused ---------------------------------------------------------------------------------


def without(report: Report, check_id: str) -> Report:
    return report.model_copy(update={"checks": tuple(c for c in report.checks if c.id != check_id)})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mode": "own"}, "not a grade"),
        ({"mode": "reference"}, "not a grade"),
        ({"partial_run": True}, "only some of the checks"),
    ],
)
def test_what_is_no_grade_is_refused(course: Course, changes: dict[str, Any], word: str) -> None:
    report = make_report(course, changes=changes)
    with pytest.raises(UsageError, match=word):
        from_report(report, course.lab("lab3"))


def test_more_points_than_a_check_is_worth_are_refused(course: Course) -> None:
    """nbgrader drops the whole submission if it has such a score."""
    with pytest.raises(UsageError, match=r"(?s)more points than it is worth.*at most 3.*3\.5"):
        marks(course, jump_target={"points": 3.5})
    with pytest.raises(ValidationError, match="finite"):  # no report can hold it
        marks(course, jump_target={"points": float("inf")})


def test_other_points_than_the_course_has_are_refused(course: Course) -> None:
    with pytest.raises(UsageError, match=r"(?s)lab3.jump.target: 3.*found: +4"):
        marks(course, jump_target={"max": 4, "points": 4})


def test_other_checks_than_the_course_has_are_refused(course: Course) -> None:
    report = make_report(course)
    lab = course.lab("lab3")
    with pytest.raises(UsageError, match=r"(?s)lacks checks.*lab3.jump.present"):
        from_report(without(report, "lab3.jump.present"), lab)
    extra = report.checks[0].model_copy(update={"id": "lab3.jump.new"})
    with pytest.raises(UsageError, match=r"(?s)does not have.*lab3.jump.new"):
        from_report(report.model_copy(update={"checks": (*report.checks, extra)}), lab)
    with pytest.raises(UsageError, match=r"lab3.jump.present: more than once"):
        from_report(report.model_copy(update={"checks": (*report.checks, report.checks[0])}), lab)


# --- text in the notebook and the feedback ---------------------------------------------------


@pytest.mark.parametrize(
    "plain",
    [
        "<script>alert(1)</script>",
        "`a` <img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "![x](javascript:alert(1))",
        "an odd ` backtick <b>",
        r"a\<b>x",
        "*loud* and __louder__ ~~gone~~",
        "mov $1, %eax; mov $2, %ebx",
        "a & b &amp; c",
    ],
)
def test_comments_are_shown_as_they_are(plain: str) -> None:
    """nbgrader renders comments as Markdown, with HTML in it."""
    from html.parser import HTMLParser

    from nbconvert.filters import markdown2html

    seen: list[str] = []
    texts: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            seen.append(tag)

        def handle_data(self, data: str) -> None:
            texts.append(data)

    def render(text: str) -> None:
        seen.clear()
        texts.clear()
        Tags().feed(markdown2html(text))

    render(notebook.markdown(plain))
    assert set(seen) <= {"p", "code"}
    assert "".join(texts).strip() == plain.replace("`a`", "a").strip()
    render(plain)  # the known-wrong case: unescaped it is rendered differently
    rendered = "".join(texts).strip()
    assert not set(seen) <= {"p", "code"} or rendered != plain or "$" in plain


def test_no_formula_begins_at_a_dollar_sign() -> None:
    """MathJax leaves code alone."""
    assert notebook.markdown("mov $1, %eax") == "mov `$1,` %eax"
    assert notebook.markdown("`mov $1, %eax` and $2") == "`mov $1, %eax` and `$2`"


def test_ordinary_comments_are_not_changed() -> None:
    text = "far-jump: (apinit_addr - APINIT_OFFSET) >> 4, DS * 16 + offset, see `p a_b - c`"
    assert notebook.markdown(text) == text
