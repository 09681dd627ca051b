"""Starters with Japanese comments: the same code, the same TODOs, a twin for every comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmmlab.base.errors import CourseError
from vmmlab.base.text import cells
from vmmlab.course import comments as contracts
from vmmlab.course.comments import comments, translated
from vmmlab.course.load import load_course
from vmmlab.course.markup import starter_text

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "reference"
FILES = [path for lab in load_course(ROOT).labs.values() for path in lab.files]


def starter(path: str) -> str:
    return starter_text((REFERENCE / path).read_text(encoding="utf-8"), path=path)


def japanese(path: str) -> str:
    return translated(starter(path), path, (REFERENCE / path).parent, "ja")


def code(text: str) -> list[str]:
    """What is left without the comments, line by line."""
    return [line for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).split("\n") if line]


@pytest.mark.parametrize("path", FILES)
def test_only_the_comments_differ(path: str) -> None:
    english, other = starter(path), japanese(path)
    assert code(other) == code(english)
    assert [one.step for one in comments(other)] == [one.step for one in comments(english)]
    assert english != other


@pytest.mark.parametrize("path", FILES)
def test_every_comment_has_its_twin(path: str) -> None:
    for comment in comments(japanese(path)):
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", " ".join(comment.lines)), comment.lines
    for line in japanese(path).split("\n"):
        assert cells(line.expandtabs(8)) <= 90, line


def twins() -> Iterator[tuple[str, str, str]]:
    """What each translation says it is about, and the code that follows it in the starter."""
    from vmmlab.base import yamlfile

    for path in FILES:
        entries = yamlfile.read((REFERENCE / path).parent / "contracts.ja.yml").data[path]
        text = japanese(path)
        for entry, comment in zip(entries, comments(text), strict=True):
            yield path, entry["of"], (comment.step or text[comment.end : comment.end + 200])


def test_translations_stand_above_what_they_are_about() -> None:
    for path, about, follows in twins():
        assert about == "file" or re.search(rf"\b{re.escape(about)}\b", follows), (path, about)


CATALOG = """\
lab9/a.c:
  - of: f
    english: "{checksum}"
    text: |
      {text}
"""


@pytest.mark.parametrize(
    ("english", "entry", "said"),
    [
        (
            "/* Does it. */\n",
            {"text": "TODO(lab9.1): する。"},
            "cannot replace the English comment",
        ),
        ("/* TODO(lab9.1): do it. */\n", {"text": "する。"}, "cannot replace the English comment"),
        ("/* Does it. */\n", {"text": "する。 */ evil ();"}, "cannot replace the English comment"),
        ("/* Does it. */\n", {"checksum": "00000000", "text": "する。"}, "has changed"),
        ("/* Does it. */\n/* And that. */\n", {"text": "する。"}, "a different number of comments"),
        ("int i;\n", {"text": "する。"}, "a different number of comments"),
    ],
)
def test_a_translation_that_does_not_fit_is_refused(
    tmp_path: Path, english: str, entry: dict[str, str], said: str
) -> None:
    checksum = next((one.checksum for one in comments(english)), "")
    text = CATALOG.format(**{"checksum": checksum, **entry})
    (tmp_path / "contracts.ja.yml").write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match=said) as caught:
        translated(english, "lab9/a.c", tmp_path, "ja")
    assert re.search(r"contracts\.ja\.yml:[12]: lab9/a\.c", str(caught.value))


def test_without_a_catalog_the_starter_stays_as_it_is(tmp_path: Path) -> None:
    assert contracts.translated("/* a */\n", "lab9/a.c", tmp_path, "ja") == "/* a */\n"


def test_words_change_the_checksum_and_line_breaks_do_not() -> None:
    one, two, three = (
        comments(text)[0].checksum for text in ("/* a b */", "/* a\n * b\n */", "/* a c */")
    )
    assert one == two != three
