"""docs/kill-matrix.md: what is in it is what there is, and all of it was killed."""

import re
from pathlib import Path

import pytest

from vmmlab.author import mutants
from vmmlab.author.mutants import Mutant, Result, Variant, VariantResult
from vmmlab.base.errors import UsageError
from vmmlab.course.load import load_course

ROOT = Path(__file__).parents[3]
COURSE = load_course(ROOT)
PAGES = [ROOT / "docs" / name for name in ("kill-matrix.md", "kill-matrix.ja.md")]
MUTANT = Mutant("lab1.a.b", "a | b", "lab1", (), "lab1.mi.copied", "mi-not-copied", "dev", "x:1")
RIGHT = Variant("odd-looks", "lab1", ROOT)
EMPTY = """\
# A page

<!-- mutants: written by `vmmlab mutants --write` -->
old
<!-- end of mutants -->
between
<!-- variants: written by `vmmlab mutants --write` -->
<!-- end of variants -->
end
"""


def written(tmp_path: Path, *results: Result) -> str:
    path = tmp_path / "page.md"
    path.write_text(EMPTY)
    mutants.write_page(path, results, [VariantResult(RIGHT, "dev gcc", ())])
    return path.read_text()


def test_the_tables_are_put_between_their_marks(tmp_path):
    killed = Result(MUTANT, "killed", names="line")
    text = written(tmp_path, killed)
    assert "old" not in text
    assert "between\n" in text
    assert text.endswith("<!-- end of variants -->\nend\n")
    assert "1 of 1 mutants killed" in text
    assert "1 of 1 messages name the function or the line" in text
    row = ("a | b", "lab1.mi.copied", "mi-not-copied", "line", "killed")
    assert mutants.page_rows(text, "mutants") == {"lab1.a.b": row}
    assert mutants.page_rows(text, "variants") == {"odd-looks/lab1": ("dev gcc", "all points")}


def test_what_names_nothing_is_counted_as_such(tmp_path):
    text = written(tmp_path, Result(MUTANT, "killed"), Result(MUTANT, "survived", message="no"))
    assert "1 of 2 mutants killed" in text
    assert "0 of 1 messages name" in text
    assert mutants.page_rows(text, "mutants")["lab1.a.b"][-1] == "survived: no"


def test_it_can_be_written_again(tmp_path):
    first = written(tmp_path, Result(MUTANT, "killed"))
    (tmp_path / "page.md").write_text(first)
    mutants.write_page(
        tmp_path / "page.md", [Result(MUTANT, "killed")], [VariantResult(RIGHT, "dev gcc", ())]
    )
    assert (tmp_path / "page.md").read_text() == first


def test_the_twin_is_written_too(tmp_path):
    (tmp_path / "page.ja.md").write_text(EMPTY)
    written(tmp_path, Result(MUTANT, "killed", names="line"))
    text = (tmp_path / "page.ja.md").read_text()
    assert "ミュータント 1 個中 1 個を、" in text
    row = ("a | b", "lab1.mi.copied", "mi-not-copied", "行", "捕まえた")
    assert mutants.page_rows(text, "mutants") == {"lab1.a.b": row}
    assert mutants.page_rows(text, "variants") == {"odd-looks/lab1": ("dev gcc", "満点")}


def test_a_page_without_marks_is_refused(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("# A page\n")
    with pytest.raises(UsageError, match="no marks for the table"):
        mutants.write_page(path, [], [])
    with pytest.raises(UsageError, match="cannot be written"):
        mutants.write_page(tmp_path / "gone.md", [], [])


def said(page: Path, word: str) -> str:
    """A word of the tables in the language of a page."""
    japanese = {"killed": "捕まえた", "line": "行", "function": "関数", "all points": "満点"}
    return japanese[word] if page.name.endswith(".ja.md") else word


def waiting(page: Path) -> set[str]:
    """What the page itself names as added or changed since everything was graded together."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r"^<!-- waiting -->$(.*?)^<!-- end of waiting -->$", text, re.M | re.S)
    return set(re.findall(r"`([^` ]+)`", found.group(1))) if found else set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_mutant_is_in_the_page_as_it_is_now_and_was_killed(page):
    there = mutants.page_rows(page.read_text(encoding="utf-8"), "mutants")
    now = {one.id: (one.title, one.check, one.cause) for one in mutants.load(COURSE)}
    stale = {id for id in now.keys() | there.keys() if there.get(id, ())[:3] != now.get(id)}
    named = {id for id in waiting(page) if "/" not in id}
    assert stale == named, "vmmlab mutants --write PAGE, then correct the list of what waits"
    assert {id: row[-1] for id, row in there.items() if row[-1] != said(page, "killed")} == {}


def test_both_pages_name_the_same_as_waiting():
    first, second = PAGES
    assert waiting(first) == waiting(second)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nine_messages_of_ten_name_the_place_to_change(page):
    rows = mutants.page_rows(page.read_text(encoding="utf-8"), "mutants")
    naming = [
        id for id, row in rows.items() if row[3] in (said(page, "line"), said(page, "function"))
    ]
    assert rows
    assert len(naming) >= 0.9 * len(rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_right_solution_is_in_the_page_and_has_all_points(page):
    there = mutants.page_rows(page.read_text(encoding="utf-8"), "variants")
    now = {str(one) for one in mutants.load_variants(COURSE)}
    assert set(there) ^ now == {name for name in waiting(page) if "/" in name}
    assert {row[-1] for row in there.values()} == {said(page, "all points")}
