"""How a plain English text finds its translation in messages.ja.yml."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError, UsageError
from vmmlab.base.message import listed, msg
from vmmlab.i18n.translate import Reader, error_text

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


@pytest.mark.parametrize("text", ["- a", "1: a", "a: 1"])
def test_what_is_no_catalog_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "messages.ja.yml").write_text(text)
    with pytest.raises(CourseError, match=r"messages\.ja\.yml:1"):
        Reader("ja", [tmp_path])("parked")


def test_plain_english_inside_a_message_is_translated_too(say: Reader, tmp_path: Path) -> None:
    po = tmp_path / "locale" / "ja.po"
    po.parent.mkdir()
    po.write_text('msgid "{a} and {b}"\nmsgstr "{b} と {a}"\n', encoding="utf-8")
    assert (
        say(msg("{a} and {b}", a="a before b", b=listed(["parked"])))
        == "パークして と b より a が先"
    )
    assert say(msg("CPU {cpu} waits as well", cpu=2)) == "CPU 2 も待っています"


def test_an_error_keeps_its_form(say: Reader) -> None:
    error = UsageError("the disk is full", expected="room", found="none", next_step="at once")
    assert error_text(error, say).split("\n") == [
        "ディスクがいっぱい",
        "  期待：  room",
        "  found： none",
        "  次に：  once で",
    ]
