"""The report on a terminal: readable, safe, aligned."""

from __future__ import annotations

import io
import json
import os
import pty
import re
from pathlib import Path
from typing import Any

import pytest

from vmmlab.base.text import cells
from vmmlab.cli.complaints import explain
from vmmlab.i18n.translate import LANGUAGES, Reader
from vmmlab.images.model import BuildFailed, Diagnostic
from vmmlab.report import Report, read_json
from vmmlab.report.schema import SAMPLE_FILE
from vmmlab.report.terminal import print_report, render

LABS = Path(__file__).resolve().parents[3] / "labs"
CHECK = {
    "id": "lab3.a.one",
    "title": "The far jump.",
    "points": 0,
    "max": 5,
    "outcome": "fail",
    "scenario": "ladder(cpus=4)",
    "again": "pytest lab3 -k lab3.a.one",
    "step": "lab3.1",
}
REPORT = {
    "schema": "vmmlab/report/2",
    "mode": "standalone",
    "lab": "lab3",
    "cohort": "dev",
    "seed": 4711,
    "arch": "x86_64",
    "versions": {"qemu": "7.2.15"},
    "build": {"ok": True},
    "duration_s": 1.25,
}
STEP = {
    "id": "lab3.1",
    "title": "write the far jump",
    "file": "lab3/ap_start.c",
    "function": "ap_start",
    "line": 12,
}


def report(*checks: dict[str, Any], **fields: Any) -> Report:
    checks = tuple({**CHECK, **check} for check in checks)
    known = [check["points"] for check in checks]
    total = None if None in known else sum(known)
    data = {
        **REPORT,
        "checks": checks,
        "points": total,
        "max": sum(check["max"] for check in checks),
        "needs_attention": None in known,
        **fields,
    }
    return Report.model_validate(data)


PASS = {"outcome": "pass", "points": 5}


def test_headline_and_list():
    text = render(report({**PASS, "id": "lab3.a.zero", "title": "Zero."}, {}))
    lines = text.splitlines()
    assert lines[0] == "lab3  5/10 points"
    assert "  pass  5/5  Zero." in lines
    assert "  FAIL  0/5  The far jump." in lines
    assert lines[-1] == "seed 4711 · cohort dev · x86_64 · qemu 7.2.15 · 1.2 s"
    assert "\x1b" not in text


def test_a_failure_says_everything():
    text = render(
        report(
            {
                "cause": "far-jump-wrong",
                "cpu": 2,
                "place": "physical 0",
                "expected": "ea 00",
                "observed": "90 90",
                "next": "look at the segment",
                "hints": ["divide by 16"],
            }
        )
    )
    block = text[text.index("FAIL  The far jump.\n") :]
    for line in (
        "where     CPU 2, physical 0",
        "expected  ea 00",
        "observed  90 90",
        "next      look at the segment",
        "hint      divide by 16",
        "step      lab3.1, seed 4711, cohort dev",
        "again     pytest lab3 -k lab3.a.one",
    ):
        assert f"      {line}\n" in block


def test_without_details_the_cause_is_said():
    assert "observed  far jump wrong\n" in render(report({"cause": "far-jump-wrong"}))


def test_waiting_checks_stand_in_one_line_under_what_they_wait_for():
    waits = {"outcome": "skipped", "title": "Later."}
    text = render(
        report(
            {},
            {**waits, "id": "lab3.a.two", "waited_for": "lab3.a.one"},
            {**waits, "id": "lab3.a.three", "waited_for": "lab3.a.two"},
        )
    )
    assert "waiting   lab3.a.two, lab3.a.three\n" in text
    assert text.count("again") == 1


def test_many_waiting_checks_are_counted():
    waits = {"outcome": "skipped", "title": "Later. " * 30, "waited_for": "lab3.a.one"}
    text = render(report({}, *({**waits, "id": f"lab3.b.c{n}"} for n in range(17))), width=80)
    assert "waiting   17 checks wait for this one\n" in text
    rows = [line for line in text.splitlines() if line.startswith("  wait")]
    assert len(rows) == 17
    assert all(row.endswith("…") for row in rows)


def test_the_same_failure_is_told_once():
    same = {"cause": "todo", "observed": "stopped at TODO(lab3.1)"}
    text = render(report(same, {**same, "id": "lab3.a.two", "title": "Two."}))
    assert text.count("stopped at TODO") == 1
    assert "also in   lab3.a.two\n" in text


def test_cases():
    cases = [{"name": f"CPU {n}", "outcome": "pass"} for n in range(1, 3)]
    cases += [
        {"name": f"CPU {n}", "outcome": "fail", "message": f"CPU {n}: lost"} for n in range(3, 30)
    ]
    text = render(report({"outcome": "partial", "points": 2, "cases": cases}))
    assert "cases     2 of 29 pass\n" in text
    assert text.count("lost") == 1
    assert "CPU 14: lost\n" in text
    assert "CPU 25" not in text
    assert "and 15 more\n" in text


def test_a_case_does_not_repeat_what_was_observed():
    cases = [
        {"name": "4 CPUs", "outcome": "fail", "message": "CPU 1, here: RSP = 0x10"},
        {"name": "2 CPUs", "outcome": "fail", "message": "CPU 1, here: RSP = 0x10"},
        {"name": "1 CPU", "outcome": "fail", "message": "CPU 0, here: RSP = 0x20"},
        {"name": "8 CPUs", "outcome": "fail", "message": "CPU 1, there: RSP = 0x10"},
    ]
    text = render(report({"cpu": 1, "place": "here", "observed": "RSP = 0x10", "cases": cases}))
    block = text[text.index("cases ") :].split("\n")
    assert [line.strip() for line in block[1:4]] == [
        "4 CPUs, 2 CPUs",
        "1 CPU: CPU 0, here: RSP = 0x20",
        "8 CPUs: CPU 1, there: RSP = 0x10",
    ]
    assert text.count("RSP = 0x10") == 2


def test_cpus_that_fail_alike_are_listed_once():
    cases = [
        {"name": f"CPU {n}", "outcome": "fail", "message": f"CPU {n}, here: lost"} for n in (1, 2)
    ]
    text = render(report({"cpu": 1, "place": "here", "observed": "lost", "cases": cases}))
    assert "                CPU 1, CPU 2\n" in text
    assert text.count("lost") == 1
    text = render(report({"cpu": 1, "place": "there", "observed": "lost", "cases": cases}))
    assert "                CPU 1, CPU 2: here: lost\n" in text


def test_a_long_text_with_other_numbers_is_shown_once():
    def told(cpu: int, base: str) -> str:
        return (
            f"the GDT that CPU {cpu} loads has base {base}, " + "which no entry of it can use " * 4
        )

    cases = [
        {"name": "CPU 1", "outcome": "fail", "message": f"CPU 1, here: {told(1, '0x0')}"},
        {"name": "CPU 2", "outcome": "fail", "message": f"CPU 2, here: {told(2, '0x0')}"},
        {"name": "dev2", "outcome": "fail", "message": f"CPU 1, here: {told(1, '0x50')}"},
        {"name": "bios", "outcome": "fail", "message": f"CPU 1, there: {told(1, '0x50')}"},
        {"name": "four", "outcome": "fail", "message": "CPU 1, here: 4 of 7"},
        {"name": "eight", "outcome": "fail", "message": "CPU 1, here: 5 of 8"},
    ]
    observed = told(1, "0x0")
    text = render(report({"cpu": 1, "place": "here", "observed": observed, "cases": cases}))
    block = " ".join(text[text.index("cases ") :].split())
    assert "0 of 6 pass CPU 1, CPU 2 dev2: the same, with other numbers bios: CPU 1, there" in block
    assert "four: CPU 1, here: 4 of 7 eight: CPU 1, here: 5 of 8" in block
    assert text.count("0x50") == 1


def test_a_mistake_comes_before_what_is_not_written_yet():
    todo = {"cause": "not-written-yet", "place": "TODO(lab3.4)", "observed": "stopped there"}
    text = render(
        report(
            {**todo, "id": "lab3.a.zero"},
            {**todo, "id": "lab3.a.two", "cpu": 2},
            {"cause": "far-jump-wrong", "observed": "90 90"},
            {"id": "lab3.a.four", "outcome": "skipped", "waited_for": "lab3.a.zero"},
        )
    )
    assert text.count("again  ") == 1
    assert "observed  90 90" in text
    assert "stopped there" not in text
    assert "not written yet: TODO(lab3.4); 3 checks wait for it" in text


def test_a_starter_shows_one_todo_in_full():
    todo = {"cause": "not-written-yet", "observed": "stopped there"}
    text = render(
        report(
            {**todo, "place": "TODO(lab3.1)"},
            {**todo, "place": "TODO(lab3.4)", "id": "lab3.a.two"},
        )
    )
    assert text.count("stopped there") == 1
    assert "where     TODO(lab3.1)" in text
    assert "not written yet: TODO(lab3.4); 1 check waits for it" in text


@pytest.mark.parametrize("elsewhere", [False, True])
def test_hidden_checks_are_judged_elsewhere_only_if_there_is_an_elsewhere(elsewhere):
    text = render(report(PASS, hidden_max=4, hidden_elsewhere=elsewhere))
    assert ("hidden checks: 4 more points, judged elsewhere" in text) is elsewhere


def test_a_lab_without_points_is_not_praised_for_all_of_them():
    text = render(report({**PASS, "points": 0, "max": 0}))
    assert text.splitlines()[0] == "lab3  no points to earn"
    assert "lab3 works. It has no points" in text
    assert "0/0 points" not in text
    assert "All points" not in text


TOOLS = [
    "expected ')' before 'p'",
    "expected ';' before '}' token",
    "CPU 1 reaches the boot stack while CPU 2 is on it",
    "the first 4 bytes are right, the rest differ: 00 …",
    "undefined reference to `start_all_processors'",
    "relocation truncated to fit: R_X86_64_16 against `.text'",
    "bad register name `%rax'",
    "'x' is defined twice",
    "no such instruction: `mvo %eax,%ebx'",
    "use of undeclared identifier 'p'",
    "multiple definition of `ap_start'; lab3/a.o: first defined here",
    "RSP = 0x10",
    "it could not be built",
    "a before b",
]


@pytest.mark.parametrize("words", TOOLS)
def test_the_words_of_a_tool_are_never_translated(words):
    say = Reader("ja").of(*sorted(LABS.glob("lab?")))
    one = {"file": "lab3/a.c", "line": 3, "column": 1, "severity": "error", "message": words}
    build = {"ok": False, "diagnostics": [one]}
    failed = report({"outcome": "build-error"}, build=build)
    again = Report.model_validate_json(failed.to_json())
    assert f"lab3/a.c:3:1: {words}\n" in render(again, width=120, say=say)
    warned = report(PASS, build={"ok": True, "warnings": [{**one, "severity": "warning"}]})
    assert f"lab3/a.c:3:1: {words}\n" in render(warned, width=120, say=say)


@pytest.mark.parametrize("words", TOOLS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_make_shows_the_words_of_a_tool_once_and_as_they_are(words, language, capsys):
    say = Reader(language).of(*sorted(LABS.glob("lab?")))
    errors = [Diagnostic("lab3/a.c", line, 1, "error", words) for line in (3, 9)]
    explain(BuildFailed("lab3", errors), say)
    shown = capsys.readouterr().err.splitlines()
    assert shown[:2] == [f"lab3/a.c:{line}:1: error: {words}" for line in (3, 9)]
    assert len(shown) == 3
    assert words not in shown[2]
    assert ("It does not compile: 2 errors" in shown[2]) == (language == "en")


def test_build_failure():
    diagnostics = [
        {
            "file": "lab3/ap_start.c",
            "line": 12,
            "column": 3,
            "severity": "error",
            "message": "'x' undeclared",
        },
        {"severity": "error", "message": "no function ap_start"},
        {"file": "lab3/a.c", "line": 1, "severity": "note", "message": "a note"},
    ]
    text = render(
        report(
            {"outcome": "build-error"},
            build={"ok": False, "diagnostics": diagnostics},
            first_step=STEP,
        )
    )
    assert "The code does not compile" in text
    assert "  lab3/ap_start.c:12:3: 'x' undeclared\n  no function ap_start\n" in text
    assert "a note" not in text
    assert "TODO" not in text
    assert "again" not in text


def test_many_errors_and_warnings_are_cut():
    many = [{"file": "a.c", "line": n, "severity": "error", "message": "m"} for n in range(50)]
    text = render(report({"outcome": "build-error"}, build={"ok": False, "diagnostics": many}))
    assert "and 42 more" in text
    warned = [{**one, "severity": "warning"} for one in many]
    text = render(report(PASS, build={"ok": True, "warnings": warned}))
    assert "50 warnings; they cost no points" in text
    assert "and 45 more" in text
    text = render(report(PASS, build={"ok": True, "warnings": warned[:1]}))
    assert "a warning; it costs no points" in text


def test_nobody_reads_an_infrastructure_failure_as_zero():
    text = render(
        report(
            PASS,
            {"id": "lab3.a.two", "outcome": "infra-error", "points": None, "reason": "QEMU died"},
            {
                "id": "lab3.a.three",
                "outcome": "skipped",
                "points": None,
                "waited_for": "lab3.a.two",
            },
            first_step=STEP,
        )
    )
    lines = text.splitlines()
    assert lines[0] == "lab3  5 of 15 points so far  needs attention, no grade yet"
    assert "  open  ?/5  The far jump." in lines
    assert "QEMU died" in text
    assert "not your code, and it costs no points" in text
    assert "0/5" not in text
    assert "TODO" not in text


def test_a_starter_gets_an_encouraging_first_step():
    text = render(report({"cause": "not-written-yet"}, first_step=STEP))
    assert "every lab begins" in text
    where = "TODO(lab3.1) in lab3/ap_start.c:12, function ap_start: write the far jump"
    assert f"  {where}\n" in text


def test_a_todo_comment_above_written_code_is_no_beginning():
    text = render(report({"cause": "jump-not-present"}, first_step=STEP))
    assert "Next: TODO(lab3.1) in lab3/ap_start.c:12, function ap_start" in text
    assert "every lab begins" not in text


def test_on_the_way_the_next_step_is_named():
    text = render(report(PASS, {"id": "lab3.a.two"}, first_step=STEP))
    assert "Next: TODO(lab3.1) in lab3/ap_start.c:12, function ap_start" in text
    assert "every lab begins" not in text


@pytest.mark.parametrize("others", [[], [PASS]])
def test_no_todo_is_named_that_is_not_there(others):
    text = render(report({"id": "lab3.a.two"}, *others, first_step={**STEP, "line": None}))
    assert "Next: lab3.1 in lab3/ap_start.c, function ap_start" in text
    assert "TODO" not in text
    assert "every lab begins" not in text


def test_full_marks_get_praise():
    text = render(report(PASS))
    assert text.splitlines()[0] == "lab3  5/5 points"
    assert "well done" in text


def test_a_partial_run_is_no_grade():
    text = render(report(PASS, partial_run=True))
    assert "partial run, not a grade" in text.splitlines()[0]
    assert "well done" not in text
    assert "run the whole lab" in text


@pytest.mark.parametrize(
    ("mode", "words"),
    [("own", "all labs from your own files"), ("reference", "the reference solution")],
)
def test_mode(mode, words):
    assert words in render(report(PASS, mode=mode)).splitlines()[0]


EVIL = "\x1b[2J\x1b]0;title\x07\r\x08\x9b31m\u202egnp\u200b\ud800 [bold red]x[/] :smile: \x00\u2028"


def test_text_from_the_guest_cannot_paint():
    fields = ("title", "place", "expected", "observed", "next", "again", "reason")
    check = {
        **dict.fromkeys(fields, EVIL),
        "hints": [EVIL],
        "cases": [{"name": EVIL, "outcome": "fail", "message": EVIL}],
    }
    warning = {"file": EVIL, "line": 1, "severity": "warning", "message": EVIL}
    for outcome in ("fail", "infra-error"):
        text = render(
            report(
                {**check, "outcome": outcome},
                notes=[EVIL],
                build={"ok": True, "warnings": [warning]},
                first_step={**STEP, "title": EVIL},
                versions={"qemu": EVIL},
            ),
            width=120,
        )
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2028\ud800]", text)
        assert "\\x1b[2J" in text
        assert "[bold red]x[/] :smile:" in text, "no markup, no emoji codes"


def test_lines_of_the_guest_stay_in_their_column():
    text = render(report({"observed": "first\n      again     rm -rf /\nthird"}))
    assert "      observed  first\n                      again     rm -rf /\n" in text


@pytest.mark.parametrize("width", [1, 40, 80, 120, 500])
def test_no_line_is_wider_than_the_terminal(width):
    wide = {
        "title": "すべての AP が 64 ビットモードに達する。" * 4,
        "observed": "x" * 300 + "ー" * 90,
    }
    text = render(report(wide, {**PASS, "id": "lab3.a.two", "title": "一"}), width=width)
    limit = min(max(width, 40), 120)
    assert all(cells(line) <= limit for line in text.splitlines() if "again" not in line)
    assert text.count("x") >= 300


def test_the_command_to_copy_is_never_broken():
    again = "vmmlab grade lab3 --submission '/a/very/long way/to/a/folder' --seed 4711 -k lab3.a.b"
    text = render(report({"again": again}), width=40)
    assert f"again     {again}\n" in text


def test_titles_align_whatever_their_width():
    lines = render(
        report(
            {**PASS, "title": "すべて", "id": "lab3.a.x", "points": 10, "max": 10},
            {"outcome": "partial", "points": 3.33, "title": "Part."},
        )
    ).splitlines()
    assert "  pass   10/10  すべて" in lines
    assert "  part  3.33/5  Part." in lines


def test_color_only_when_asked():
    assert "\x1b[" in render(report({}), color=True)
    assert "\x1b[" not in render(report({}))


def printed_on_a_terminal(monkeypatch, **environment) -> str:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as file:  # noqa: PTH123
        print_report(report({"points": 0}), file)
        text = os.read(ours, 65536).decode()
    os.close(ours)
    return text


def test_color_on_a_terminal(monkeypatch):
    assert "\x1b[" in printed_on_a_terminal(monkeypatch)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_when_unwanted(monkeypatch, environment):
    assert "\x1b[" not in printed_on_a_terminal(monkeypatch, **environment)


def test_no_color_into_a_file(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_report(report({}))
    out = capsys.readouterr().out
    assert out.startswith("lab3  0/5 points\n")
    assert "\x1b[" not in out


def test_a_terminal_that_knows_only_ascii():
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    print_report(report({"title": "すべて"}), file)
    assert b"\\u3059" in raw.getvalue()


def test_the_sample_renders():
    sample = read_json(SAMPLE_FILE)
    text = render(sample)
    for check in json.loads(SAMPLE_FILE.read_text())["checks"]:
        assert check["title"]["text"][:40] in text


def test_a_report_that_a_person_will_look_at_says_so_and_why():
    reason = "The check broke on this submission."
    text = render(report(PASS, review=True, review_reasons=[reason]))
    assert text.splitlines()[0] == "lab3  5/5 points  a person will look at it"
    assert f"to be looked at: {reason}" in text
    assert "look" not in render(report(PASS))


def test_nothing_is_hidden_from_those_who_study_alone():
    hidden = {**PASS, "id": "lab3.more", "visibility": "hidden"}
    told = {"hidden_max": 4, "hidden_points": 4, "hidden_judged": True}
    alone = render(report(PASS, hidden, self_study=True, **told))
    assert "instructor" not in alone
    assert "hidden" not in alone.lower()
    assert "further checks 4/4" in alone
    assert "for the instructor only" in render(report(PASS, hidden, **told))


def test_a_long_warning_stays_indented():
    place = {"file": "lab1/a.c", "line": 3, "column": 1}
    long = {"severity": "warning", "message": "word " * 40, **place}
    told = render(report(PASS, build={"ok": True, "warnings": [long]})).splitlines()
    at = next(number for number, line in enumerate(told) if "lab1/a.c:3:1" in line)
    assert told[at].startswith("  lab1/a.c:3:1: word word")
    assert told[at + 1].startswith("  word")
