"""Which language, and how a text finds its translation."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len

from vmmlab.base.errors import CourseError, UsageError
from vmmlab.i18n.translate import Reader, cells, choose, error_text, remembered, report_for
from vmmlab.report import read_json
from vmmlab.report.schema import SAMPLE_FILE
from vmmlab.report.terminal import render
from vmmlab.report.wrapping import breaks

CATALOG = """
"CPU {} waits as well": "CPU {} も待っています"
"{} before {}": "{1} より {0} が先"
"it ended {} at {}": "{1} で{0}終わった"
"parked": "パークして"
"long mode": "ロングモード"
"at {}": "{} で"
"todo": " TODO で"
"(a)": "（あ）"
"it is in {} now": "{} に居る"
"the disk is full": "ディスクがいっぱい"
"label: expected": "期待"
"label: next": "次に"
"label: :": "："
"label: : ": "："
"""


@pytest.fixture
def say(tmp_path: Path) -> Reader:
    (tmp_path / "messages.ja.yml").write_text(CATALOG, encoding="utf-8")
    return Reader("ja", [tmp_path])


@pytest.mark.parametrize(
    ("wanted", "environment", "workspace", "language"),
    [
        (None, {}, "", "en"),
        (None, {"LANG": "ja_JP.UTF-8"}, "", "ja"),
        (None, {"LANG": "ja_JP.eucJP@x"}, "", "ja"),
        (None, {"LANG": "ja_JP.UTF-8", "LC_MESSAGES": "C"}, "", "en"),
        (None, {"LANG": "C", "LC_MESSAGES": "ja_JP", "LC_ALL": ""}, "", "ja"),
        (None, {"LANG": "ja", "LC_MESSAGES": "ja", "LC_ALL": "de_DE.UTF-8"}, "", "en"),
        (None, {"LANG": "jam_JM"}, "", "en"),
        ("ja", {"LC_ALL": "C"}, "en", "ja"),
        ("en", {"LC_ALL": "ja_JP.UTF-8"}, "ja", "en"),
        ("tlh", {"LC_ALL": "ja_JP.UTF-8"}, "ja", "en"),
        (None, {"LC_ALL": "C"}, "ja", "ja"),
    ],
)
def test_the_command_comes_before_the_workspace_and_that_before_the_environment(
    wanted: str | None, environment: dict[str, str], workspace: str, language: str
) -> None:
    assert choose(wanted, environment, workspace) == language


def test_a_workspace_remembers(tmp_path: Path) -> None:
    (tmp_path / "lab3").mkdir()
    assert remembered(tmp_path / "lab3") == ""
    for text, lang in (('lang = "ja"', "ja"), ("lang = 1", ""), ("", ""), ("][", "")):
        (tmp_path / "workspace.toml").write_text(text)
        assert remembered(tmp_path / "lab3") == lang


@pytest.mark.parametrize(
    ("english", "shown"),
    [
        ("the disk is full", "ディスクがいっぱい"),
        ("CPU 2 waits as well", "CPU 2 も待っています"),
        ("a before b", "b より a が先"),
        ("it ended parked at 0x10", "0x10 でパークして終わった"),
        ("it ended todo at 0x10", "0x10 で TODO で終わった"),
        ("it is in (a) now", "（あ）に居る"),
        ("it ended {0} at {1}", "{1} で{0}終わった"),  # values that look like templates
        ("lab3/apinit.S:7: the disk is full", "lab3/apinit.S:7：ディスクがいっぱい"),
        ("nobody knows this", "nobody knows this"),
        ("", ""),
        ("CPU 2 waits as wel", "CPU 2 waits as wel"),
        ("x before at y", "at y より x が先"),  # "at {}" is too little to go by inside a text
    ],
)
def test_a_text_finds_its_translation(say: Reader, english: str, shown: str) -> None:
    assert say(english) == shown


def test_the_template_that_says_most_wins(tmp_path: Path) -> None:
    text = '"it ended {}": "A {}"\n"it ended {}; last line: {}": "B {} {}"\n'
    (tmp_path / "messages.ja.yml").write_text(text)
    assert Reader("ja", [tmp_path])("it ended here; last line: x") == "B here x"


def test_english_reads_no_catalog(tmp_path: Path) -> None:
    (tmp_path / "messages.en.yml").write_text("][")
    (tmp_path / "messages.ja.yml").write_text("][")
    english = Reader("en", [tmp_path])
    assert english.of(tmp_path) is english
    assert english("parked") == english.label("parked") == "parked"
    with pytest.raises(CourseError):
        Reader("ja", [tmp_path])("parked")


@pytest.mark.parametrize("text", ["- a", "1: a", "a: 1"])
def test_what_is_no_catalog_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "messages.ja.yml").write_text(text)
    with pytest.raises(CourseError, match=r"messages\.ja\.yml:1"):
        Reader("ja", [tmp_path])("parked")


def test_an_error_keeps_its_form(say: Reader) -> None:
    error = UsageError("the disk is full", expected="room", found="none", next_step="at once")
    assert error_text(error, Reader()) == str(error)
    assert error_text(error, say).split("\n") == [
        "ディスクがいっぱい",
        "  期待：  room",
        "  found： none",
        "  次に：  once で",
    ]


def test_a_report_is_not_changed_by_showing_it() -> None:
    report = read_json(SAMPLE_FILE)
    before = report.to_json()
    lab = Path(__file__).resolve().parents[3] / "labs" / report.lab
    render(report, say=Reader("ja").of(lab))
    shown = report_for(report, Reader("ja").of(lab))
    assert report.to_json() == before
    assert report_for(report, Reader()) is report
    mine, other = json.loads(before), json.loads(shown.to_json())
    for check, translated in zip(mine["checks"], other["checks"], strict=True):
        for name in ("id", "points", "max", "outcome", "cause", "cpu", "again", "step"):
            assert check[name] == translated[name]


# --- lines and columns ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "width", "parts"),
    [
        ("あいうえお", 4, ["あい", "うえ", "お"]),
        ("あい、うえ。お", 4, ["あ", "い、", "う", "え。", "お"]),  # no line begins with a comma
        ("ああ（いい）", 6, ["ああ", "（い", "い）"]),
        ("CPU 1 は cpuinit_start に居る", 14, ["CPU 1 は", "cpuinit_start", "に居る"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("", 3, [""]),
    ],
)
def test_lines_are_broken_where_japanese_may_be(line: str, width: int, parts: list[str]) -> None:
    cuts = [0, *breaks(line, width), len(line)]
    made = [line[a:b].strip() for a, b in pairwise(cuts)]
    assert made == parts
    assert all(cells(part) <= width for part in made)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_of_a_japanese_report_is_too_wide_and_columns_are_straight(width: int) -> None:
    report = read_json(SAMPLE_FILE)
    lab = Path(__file__).resolve().parents[3] / "labs" / report.lab
    lines = render(report, width=width, say=Reader("ja").of(lab)).splitlines()
    names = {"場所", "期待", "実際", "内訳", "次に", "ヒント", "手順", "待機中", "再実行"}
    for line in lines:
        assert cell_len(line) <= width or "再実行" in line, line
    rows = [line for line in lines if line.startswith(" " * 6) and line.split()[0] in names]
    assert {line.split()[0] for line in rows} > {"場所", "期待", "実際", "再実行"}
    for line in rows:
        value = line[6:].removeprefix(line.split()[0]).lstrip(" ")
        assert cell_len(line) - cell_len(value) == 16, line
