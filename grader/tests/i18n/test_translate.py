"""Which language, and how a message is shown in it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from vmmlab.base.errors import UsageError
from vmmlab.base.message import Message, Text, listed, msg, nmsg
from vmmlab.base.text import cells
from vmmlab.i18n.translate import Reader, choose, error_text, remembered
from vmmlab.report import read_json
from vmmlab.report.schema import SAMPLE_FILE
from vmmlab.report.terminal import render
from vmmlab.report.wrapping import breaks

CATALOG = """
msgid "the disk is full"
msgstr "ディスクがいっぱい"

msgid "{first} before {second}"
msgstr "{second} より {first} が先"

msgid "{count} CPU waits"
msgid_plural "{count} CPUs wait"
msgstr[0] "{count} 個の CPU が待つ"

msgid "long mode"
msgstr "ロングモード"

msgid "(a)"
msgstr "（あ）"

msgid "in {mode} now"
msgstr "{mode} に居る"

msgid "parked"
msgstr ""

#, fuzzy
msgid "halted"
msgstr "パーク"

msgid ", "
msgstr "、"

msgctxt "label"
msgid "expected"
msgstr "期待"

msgctxt "label"
msgid ":"
msgstr "："
"""


@pytest.fixture
def say(tmp_path: Path) -> Reader:
    po = tmp_path / "locale" / "ja.po"
    po.parent.mkdir()
    po.write_text(CATALOG, encoding="utf-8")
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


def test_ones_own_workspace_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab3").mkdir()
    assert remembered(tmp_path / "lab3") == ""
    for text, lang in (('lang = "ja"', "ja"), ("lang = 1", ""), ("", ""), ("][", "")):
        (tmp_path / "workspace.toml").write_text(text)
        assert remembered(tmp_path / "lab3") == ""
        with monkeypatch.context() as patch:
            patch.setenv("VMMLAB_OWN", str(tmp_path))
            assert remembered(tmp_path / "lab3") == lang


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (msg("the disk is full"), "ディスクがいっぱい"),
        ("the disk is full", "the disk is full"),  # plain text is nobody's to translate
        (msg("{first} before {second}", first="a", second="b"), "b より a が先"),
        (msg("{first} before {second}", first="{second}", second="}"), "} より {second} が先"),
        (msg("in {mode} now", mode=msg("long mode")), "ロングモード に居る"),
        (msg("in {mode} now", mode="long mode"), "long mode に居る"),
        (msg("in {mode} now", mode=msg("(a)")), "（あ）に居る"),  # no space behind a wide bracket
        (nmsg("{count} CPU waits", "{count} CPUs wait", count=1), "1 個の CPU が待つ"),
        (nmsg("{count} CPU waits", "{count} CPUs wait", count=2), "2 個の CPU が待つ"),
        (nmsg("{count} AP waits", "{count} APs wait", count=2), "2 APs wait"),
        (listed([msg("long mode"), 2, "x"]), "ロングモード、2、x"),
        (listed(["a", "b"], "; "), "a; b"),
        (msg("nobody knows {what}", what=msg("long mode")), "nobody knows ロングモード"),
        (msg("parked"), "parked"),  # not translated yet
        (msg("halted"), "halted"),  # a guess of a tool's
        (Message(""), ""),
        ("", ""),
    ],
)
def test_a_text_finds_its_translation(say: Reader, text: Text, shown: str) -> None:
    assert say(text) == shown
    assert Reader()(text) == str(text)


def test_the_catalog_of_a_lab_wins_and_the_hidden_one_over_it(tmp_path: Path) -> None:
    for folder, word in (("lab", "課題"), ("lab/hidden", "非公開"), (".", "本体")):
        po = tmp_path / folder / "locale" / "ja.po"
        po.parent.mkdir(parents=True)
        known = [
            "core",
            *(["lab"] if folder != "." else []),
            *(["hidden"] if "/" in folder else []),
        ]
        po.write_text("\n".join(f'msgid "{one}"\nmsgstr "{word}"\n' for one in known))
    say = Reader("ja", [tmp_path]).of(tmp_path / "lab")
    assert [say(msg(one)) for one in ("core", "lab", "hidden")] == ["課題", "課題", "非公開"]
    (tmp_path / "lab" / "hidden" / "locale" / "ja.po").unlink()
    say = Reader("ja", [tmp_path]).of(tmp_path / "lab")
    assert [say(msg(one)) for one in ("core", "lab", "hidden")] == ["課題", "課題", "hidden"]


def test_english_reads_no_catalog(tmp_path: Path) -> None:
    for name in ("en", "ja"):
        (tmp_path / "locale").mkdir(exist_ok=True)
        (tmp_path / "locale" / f"{name}.po").write_text("msgid broken")
    english = Reader("en", [tmp_path])
    assert english.of(tmp_path) is english
    assert english(msg("parked")) == english.label("parked") == "parked"


def test_an_error_keeps_its_form(say: Reader) -> None:
    error = UsageError(
        msg("the disk is full"),
        expected="room",
        found=msg("in {mode} now", mode="x"),
        next_step="a",
    )
    assert str(error) == "the disk is full\n  expected: room\n  found:    in x now\n  next:     a"
    assert error_text(error, Reader()) == str(error)
    assert error_text(error, say).split("\n") == [
        "ディスクがいっぱい",
        "  期待：  room",
        "  found： x に居る",
        "  next：  a",
    ]


def test_a_report_is_not_changed_by_showing_it() -> None:
    report = read_json(SAMPLE_FILE)
    before = report.to_json()
    lab = Path(__file__).resolve().parents[3] / "labs" / report.lab
    assert render(report, say=Reader("ja").of(lab)) != render(report)
    assert report.to_json() == before


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
        assert cells(line) <= width or "再実行" in line, line
    rows = [line for line in lines if line.startswith(" " * 6) and line.split()[0] in names]
    assert {line.split()[0] for line in rows} > {"場所", "期待", "実際", "再実行"}
    for line in rows:
        value = line[6:].removeprefix(line.split()[0]).lstrip(" ")
        assert cells(line) - cells(value) == 16, line
