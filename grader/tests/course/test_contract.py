"""The sentences of contracts: which comments have them, where they end, and their ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.course.comments import comments
from vmmlab.course.contract import (
    contracts,
    differing_paragraphs,
    english_sentences,
    japanese_sentences,
    read,
)
from vmmlab.course.load import load_course

ROOT = Path(__file__).resolve().parents[3]

STARTER = """\
/* lab9: a heading.  It has no ids. */

/* Do it.
 *
 * On entry: any CPU (SDM 8.4.3 and
 * 9.1).  value is 0.5 or more.
 *
 * Must: set a.b as in core/a.c, once.  (On i386 it is 0.  EAX, too.) */
void
first (int value)
{
	/* TODO(lab9.1): set it.  Then return. */
	second ();
}

/* Number of calls. */
int second;
"""


def test_contracts_are_all_comments_but_the_heading_and_todos() -> None:
    one, two = contracts(STARTER, ("second", "first"))
    assert (one.about, two.about) == ("first", "second")
    assert one.sentences == (
        "Do it.",
        "any CPU (SDM 8.4.3 and 9.1).",
        "value is 0.5 or more.",
        "set a.b as in core/a.c, once.",
        "(On i386 it is 0.",
        "EAX, too.)",
    )
    assert two.sentences == ("Number of calls.",)
    assert two.text == "/* Number of calls. */"


def test_the_first_comment_has_a_contract_below_its_heading() -> None:
    (one,) = contracts(
        "/* lab9: a heading.\n *\n * Must: run. */\n\t.globl\tcode\ncode:\n", ("code",)
    )
    assert (one.about, one.sentences) == ("code", ("run.",))


def test_a_comment_above_no_symbol_is_about_nothing() -> None:
    (one,) = contracts("/* lab9: x. */\n/* Do it. */\nvoid\nother (void);\n", ("first",))
    assert one.about == ""


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One sentence; with a colon: here.", 1),
        ("Is it? It is! (Yes.) No.", 4),
        ("boot/entry.S calls 0.6.96, 3.3", 1),
    ],
)
def test_where_english_sentences_end(text: str, count: int) -> None:
    assert len(english_sentences(text)) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("する。しない（SDM 8.1）。", 2),
        ("する（そして。）", 1),
        ("（i386 では 0。EAX も。）する。", 3),
        ("語", 1),
    ],
)
def test_where_japanese_sentences_end(text: str, count: int) -> None:
    assert len(japanese_sentences(text)) == count


def test_paragraphs_with_another_number_of_sentences() -> None:
    (comment,) = comments("/* Do it.  Do more.\n *\n * And that. */\n")
    assert [*differing_paragraphs(comment, "する。もっとする。\n\nあれも。")] == []
    assert [*differing_paragraphs(comment, "する。\n\nあれも。\n\nこれも。")] == [
        (1, 2, 1),
        (3, 0, 1),
    ]


def test_ids_are_made_of_the_names(tmp_path: Path) -> None:
    path = tmp_path / "contract.yml"
    path.write_text(
        "lab9/a.c:\n  first:\n    word: {says: Do it, judged_by: [lab9.a.b]}\n"
        "    other-1: {says: Do, not_judged: a freedom}\nlab9/b.c:\n"
    )
    (one,) = read(path, "lab9")
    assert (one.file, one.about, one.line) == ("lab9/a.c", "first", 2)
    assert [(clause.id, clause.judged_by, clause.line) for clause in one.clauses] == [
        ("lab9.c.first.word", ("lab9.a.b",), 3),
        ("lab9.c.first.other-1", (), 4),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "word: {says: Do it}",
        "word: {judged_by: [lab9.a.b]}",
        "word: {says: Do it, judged_by: lab9.a.b}",
        "word: {says: Do it, judged_by: []}",
        "word: {says: Do it, judged_by: [3]}",
        "word: {says: Do it, given: [x]}",
        "word: {says: '', given: x}",
        "word: {says: Do it, given: x, not_judged: y}",
        "word: {says: Do it, because: y}",
        "Word: {says: Do it, given: x}",
        "word: Do it",
        "3: {says: Do it, given: x}",
    ],
)
def test_an_entry_of_another_form_is_refused(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "contract.yml"
    path.write_text(f"lab9/a.c:\n  first:\n    {entry}\n")
    with pytest.raises(CourseError, match=r"contract\.yml:[23]: "):
        read(path, "lab9")


def test_every_id_is_its_own() -> None:
    ids = [
        clause.id
        for lab in load_course(ROOT).labs.values()
        if (path := ROOT / "labs" / lab.name / "contract.yml").is_file()
        for one in read(path, lab.name)
        for clause in one.clauses
    ]
    assert ids
    assert len(ids) == len(set(ids))
